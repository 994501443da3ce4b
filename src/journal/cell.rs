//! What exchanges are summed by: a period, and whose and what they are.

use jiff::Timestamp;

use super::record::ExchangeRecord;
use super::report::{By, HOUR_S, Query, Sums, period};
use crate::tier::Tier;

/// What is summed together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// The first second of its hour, day or month, of Unix time.
    pub start: i64,
    /// Who owned the keys.
    pub tenant: Box<str>,
    /// The person or service inside the tenant; empty for none.
    pub user: Box<str>,
    /// The model requests were sent to; where they were sent nowhere, the one asked for.
    pub model: Box<str>,
    /// That model's tier.
    pub tier: Tier,
}

/// What one exchange adds, and to what: made once for all views that sum by the hour.
#[derive(Clone, Debug)]
pub struct Summed {
    /// What is summed together with it.
    pub cell: Cell,
    /// What it comes to.
    pub sums: Sums,
}

impl Summed {
    /// Returns what an exchange comes to.
    #[must_use]
    pub fn of(record: &ExchangeRecord) -> Self {
        Self { cell: Cell::of(record), sums: Sums::of(record) }
    }
}

impl Cell {
    /// Returns the one of an exchange's hour.
    #[must_use]
    pub fn of(record: &ExchangeRecord) -> Self {
        Self {
            start: floor(record.timestamp.as_second(), HOUR_S),
            tenant: record.tenant.as_str().into(),
            user: record.user_id.as_deref().unwrap_or_default().into(),
            model: record.sent_model.as_deref().unwrap_or(&record.requested_model).into(),
            tier: record.tier,
        }
    }

    /// The least cell of a period.
    pub(super) fn first(start: i64) -> Self {
        Self { start, tenant: "".into(), user: "".into(), model: "".into(), tier: Tier::Haiku }
    }

    /// Returns the one that users and models beyond a bound are summed in.
    #[must_use]
    pub fn without_names(self) -> Self {
        Self { user: OTHER.into(), model: OTHER.into(), ..self }
    }

    /// Returns the text of what a report is split by.
    #[must_use]
    pub fn part(&self, by: By) -> String {
        match by {
            By::Hour | By::Day | By::Week | By::Month => period(by, self.start),
            By::Tenant => self.tenant.to_string(),
            By::User => self.user.to_string(),
            By::Model => self.model.to_string(),
            By::Tier => self.tier.to_string(),
        }
    }
}

impl Query {
    /// Says whether a cell is asked for, whose period ends at a second of Unix time.
    #[must_use]
    pub fn holds(&self, cell: &Cell, end: i64) -> bool {
        let is = |wanted: &Option<String>, text: &str| wanted.as_deref().is_none_or(|name| name == text);
        is(&self.tenant, &cell.tenant)
            && is(&self.user, &cell.user)
            && is(&self.model, &cell.model)
            && self.from.is_none_or(|from| from.as_second() < end)
            && self.to.is_none_or(|to| Timestamp::from_second(cell.start).is_ok_and(|start| start < to))
    }
}

pub(super) const fn floor(second: i64, unit: i64) -> i64 {
    second.div_euclid(unit) * unit
}

pub(super) const OTHER: &str = "_other";
