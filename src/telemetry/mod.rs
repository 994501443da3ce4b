//! Metrics and logs: what the gateway tells the outside about itself.
//!
//! [`Metrics`] counts, `table` names what is counted, `family` keeps the number of series bounded, `render`
//! writes the Prometheus text format, [`logs`] sets up log lines. Nothing here decides anything about a
//! request, and nothing here is the truth about money: that is the journal, of which these are a view.
//! Money is kept in integer nano-dollars and written with nine decimals, so that a sum over series equals
//! the journal's. No label ever holds a user, a key, a session, a path or text of a prompt.

pub mod logs;

mod copies;
mod exemplar;
mod facts;
mod family;
mod metrics;
mod outbox;
mod readings;
mod render;
mod sink;
mod table;

pub use copies::{Copied, Copies};
pub use exemplar::TraceFacts;
pub use facts::{
    AttemptResult, CacheResult, CostParts, ExchangeFacts, LimitDecision, LimitKind, Mechanism, Outcome,
    Phase, SampleResult, ToolUse, UpstreamLimit, Window,
};
pub use metrics::{CONFIGURED, InFlight, Metrics};
pub use outbox::{Notice, Outbox, OutboxReading};
pub use readings::{
    AtStakeReading, BudgetReading, ContentReading, CopyReading, JournalReading, LimitReading, Readings,
    RedisReading, SharingReading,
};
pub use render::Exposition;
pub use sink::flush;
pub use table::{Kind, Row, TABLE, markdown};
