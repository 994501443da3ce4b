//! Counters that can be held, posted and voided across several levels in one step.
//!
//! An [`Account`] counts for one organisation, tenant, user or key: three rate buckets, the requests in
//! flight, and windows of money and tokens. A [`Claim`] is what one request asks of one account;
//! [`Accounts::reserve`] takes all claims or none, under the locks of all accounts at once. A
//! [`Reservation`] ends exactly once: posted with the actual, or voided; one that is lost is found by a sweep.
//!
//! The store knows cells, amounts and ceilings, not what they are for; policies say what is asked. It keeps
//! nothing on disk: after a start the counters are rebuilt from the journal with [`Accounts::charge`].
//! Ceilings travel with each claim, so changing one never resets what was used. Rates run on monotonic
//! time; windows turn with the calendar of the budget's zone, and only forward. Money is in nano-dollars.

mod account;
mod bucket;
mod cell;
mod lease;
mod link;
mod locks;
mod reservation;
mod share;
mod sharing;
mod talk;
mod window;

pub use account::{Account, AccountId, Accounts, Held, Level};
pub use cell::{Actual, Cell, Claim, Demand, Period, Rate, Unit};
pub use link::{ANSWER_WITHIN, Link, LinkFailure, LinkReading, LinkUse};
pub use reservation::{Exhausted, Reservation, Standing, Wait};
pub use sharing::{DECIDE_WITHIN, Refused, Sharing, SharingReading};

#[cfg(test)]
mod tests;

#[cfg(test)]
#[cfg(tercet_loom)]
mod interleavings;
