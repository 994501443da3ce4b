//! Views of the journal that are kept outside this process; none is ever the truth.
//!
//! `sums` is the database of sums beside the journal, `clickhouse` the copy of its exchanges on a server. Each keeps the place in the journal up to which it goes together
//! with what it made of it, so that no record counts twice or never, and is made anew where it cannot be trusted.

mod cells;
mod clickhouse;
#[cfg(feature = "otlp")]
mod otlp;
mod sums;

pub use cells::Picked;
pub use clickhouse::{Sent, Sink, SinkFailure};
#[cfg(feature = "otlp")]
pub use otlp::{Meters, Resource, spans};
pub use sums::{Stood, Sums, SumsFailure};
