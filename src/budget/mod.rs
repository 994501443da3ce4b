//! Ceilings on money and tokens per calendar period, and what a request holds of them beforehand.
//!
//! Turns `config::{Budget, Quota}` of one level into demands on the store, and a ceiling that was run into
//! into the facts of a `billing_error`. Money and tokens are counted at every level, ceiling or not, so that a
//! ceiling set by a reload sees what was used. `estimate` says what a request may come to, `density` learns how many
//! tokens text makes, `forecast` how long answers usually are and how much of a prompt is cached.
//!
//! Prices come from the pipeline as a function; counting is the store's work. Overshoot: none where
//! `reserve = "max"`; else a request may cost more than it held, and near the end of a budget requests are
//! served one after the other, so that the last one exceeds it by its own cost at most.

mod density;
mod estimate;
mod forecast;
mod warning;

use jiff::Timestamp;

pub use density::{Content, Densities};
pub use estimate::{Counted, Estimate, PromptSize, PromptTokens, Tokenizer, estimate_tokens};
pub use forecast::{Expected, Forecast};
pub use warning::{Told, Utilization};

use crate::config::{Budget, Quota, Reserve};
use crate::money::NanoUsd;
use crate::store::{AccountId, Cell, Demand, Exhausted, Period, Unit, Wait};

/// Adds what a request asks of one level's budget and quota.
pub fn demands(budget: &Budget, quota: &Quota, estimate: &Estimate, into: &mut Vec<Demand>) {
    let (money, tokens) = (nanousd(estimate.cost), estimate.total_tokens());
    let (most_money, most_tokens) = (nanousd(estimate.max_cost), estimate.max_total_tokens());
    let (money, tokens) = match budget.reserve {
        Reserve::Expected => (money, tokens),
        Reserve::Max => (most_money, most_tokens),
    };
    for (cell, ceiling) in ceilings(budget, quota) {
        let (amount, most) = match cell {
            Cell::Window(Unit::Tokens, _) => (tokens, most_tokens),
            _ => (money, most_money),
        };
        into.push(Demand { cell, amount, most: most.max(amount), ceiling });
    }
}

/// Adds what was used already, for [`crate::store::Accounts::charge`]: a record of the journal, or a batch.
pub fn charges(budget: &Budget, quota: &Quota, cost: NanoUsd, total_tokens: u64, into: &mut Vec<Demand>) {
    for (cell, ceiling) in ceilings(budget, quota) {
        let amount = if matches!(cell, Cell::Window(Unit::Tokens, _)) { total_tokens } else { nanousd(cost) };
        into.push(Demand { cell, amount, most: amount, ceiling });
    }
}

/// A budget or quota that a request ran into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spent {
    /// Whose it is.
    pub id: AccountId,
    /// Money or tokens.
    pub unit: Unit,
    /// Over which period.
    pub period: Period,
    /// The ceiling; nano-dollars for money.
    pub limit: u64,
    /// What was used, without what requests in flight hold.
    pub used: u64,
    /// `used` in parts per thousand of `limit`; above 1,000 where the last request exceeded it.
    pub utilization_permille: u64,
    /// When the period ends.
    pub resets_at: Timestamp,
    /// The request would fit if those in flight gave back all they hold: it may pass in a few seconds.
    pub held_in_flight: bool,
    /// What to tell the caller; names the ceiling. The refusal adds when it resets.
    pub message: String,
}

impl Spent {
    /// Reads the store's answer; `None` where it is about a rate.
    #[must_use]
    pub fn of(exhausted: &Exhausted) -> Option<Self> {
        let (Cell::Window(unit, period), Wait::Until(resets_at)) = (exhausted.cell, exhausted.wait) else {
            return None;
        };
        let (limit, used) = (exhausted.ceiling, exhausted.used);
        let held_in_flight = used.saturating_add(exhausted.amount) <= limit;
        Some(Self {
            id: exhausted.id.clone(),
            unit,
            period,
            limit,
            used,
            utilization_permille: permille(used, limit),
            resets_at,
            held_in_flight,
            message: message(exhausted, unit, period, held_in_flight),
        })
    }

    /// Returns whole seconds from `now` until the reset, at least one.
    #[must_use]
    pub fn retry_after_s(&self, now: Timestamp) -> u64 {
        let nanos = self.resets_at.as_nanosecond().saturating_sub(now.as_nanosecond());
        u64::try_from(nanos).unwrap_or(0).div_ceil(1_000_000_000).max(1)
    }
}

fn ceilings(budget: &Budget, quota: &Quota) -> [(Cell, Option<u64>); 5] {
    let money = |period, ceiling: Option<NanoUsd>| (Cell::Window(Unit::Money, period), ceiling.map(nanousd));
    let tokens = |period, ceiling| (Cell::Window(Unit::Tokens, period), ceiling);
    [
        money(Period::Day, budget.daily),
        money(Period::Week, budget.weekly),
        money(Period::Month, budget.monthly),
        tokens(Period::Day, quota.daily_tokens),
        tokens(Period::Month, quota.monthly_tokens),
    ]
}

fn message(exhausted: &Exhausted, unit: Unit, period: Period, held_in_flight: bool) -> String {
    let (used, limit) = (written(exhausted.used, unit), written(exhausted.ceiling, unit));
    let what = named(unit, period, &exhausted.id);
    let held = if held_in_flight { " is held by requests in flight" } else { " does not cover this request" };
    let amount = written(exhausted.amount, unit);
    if exhausted.used >= exhausted.ceiling {
        format!("{what} is spent ({used} of {limit})")
    } else {
        format!("{what}{held} ({used} of {limit} used, {amount} asked)")
    }
}

/// As in messages: ``the daily budget of tenant `acme` ``.
fn named(unit: Unit, period: Period, id: &AccountId) -> String {
    let every = match period {
        Period::Day => "daily",
        Period::Week => "weekly",
        Period::Month => "monthly",
    };
    let name = match unit {
        Unit::Money => "budget",
        Unit::Tokens => "token quota",
    };
    format!("the {every} {name} of {id}")
}

/// Returns the name of a ceiling in headers and in what is told the webhook.
#[must_use]
pub const fn claim(unit: Unit, period: Period) -> &'static str {
    match (unit, period) {
        (Unit::Money, Period::Day) => "daily_budget",
        (Unit::Money, Period::Week) => "weekly_budget",
        (Unit::Money, Period::Month) => "monthly_budget",
        (Unit::Tokens, Period::Day) => "daily_quota",
        (Unit::Tokens, Period::Week) => "weekly_quota",
        (Unit::Tokens, Period::Month) => "monthly_quota",
    }
}

/// Exact: `$25.00`, `$0.0005`, `1200 tokens`.
fn written(amount: u64, unit: Unit) -> String {
    match unit {
        Unit::Tokens => format!("{amount} tokens"),
        Unit::Money => {
            let (dollars, nanos) = (amount / 1_000_000_000, format!("{:09}", amount % 1_000_000_000));
            let digits = nanos.trim_end_matches('0').len().max(2);
            format!("${dollars}.{}", &nanos[..digits])
        }
    }
}

fn nanousd(amount: NanoUsd) -> u64 {
    u64::try_from(amount.0).unwrap_or(0)
}

fn permille(used: u64, limit: u64) -> u64 {
    match used.checked_mul(1_000) {
        Some(thousandths) => thousandths / limit.max(1),
        None => u64::try_from(u128::from(used) * 1_000 / u128::from(limit.max(1))).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests;
