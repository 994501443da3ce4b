//! What of the journal is summed together, and how a report picks from it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::journal::{By, ExchangeRecord, Query, Row, Sums, UsageReport};
use crate::tier::Tier;

/// What is summed together: an hour's first second of Unix time, and whose and what it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cell {
    pub(super) hour: i64,
    pub(super) tenant: String,
    pub(super) user: String,
    pub(super) model: String,
    pub(super) tier: Tier,
}

/// Sums by the values of what they are split by, and all together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picked {
    /// The sum.
    pub totals: Sums,
    /// The parts, by the values in the order in which they were asked for.
    pub rows: BTreeMap<Vec<String>, Sums>,
}

impl Cell {
    pub(super) fn of(record: &ExchangeRecord) -> Self {
        Self {
            hour: record.timestamp.as_second().div_euclid(HOUR_S) * HOUR_S,
            tenant: record.tenant.clone(),
            user: record.user_id.clone().unwrap_or_default(),
            model: record.sent_model.as_ref().unwrap_or(&record.requested_model).clone(),
            tier: record.tier,
        }
    }

    /// The one that users and models beyond the bound are summed in.
    pub(super) fn without_names(self) -> Self {
        Self { user: OTHER.to_owned(), model: OTHER.to_owned(), ..self }
    }

    fn part(&self, by: By) -> String {
        match by {
            By::Hour | By::Day | By::Week | By::Month => by.period(self.hour),
            By::Tenant => self.tenant.clone(),
            By::User => self.user.clone(),
            By::Model => self.model.clone(),
            By::Tier => self.tier.to_string(),
        }
    }
}

impl Picked {
    /// Returns it in the shape of a report.
    #[must_use]
    pub fn report(self, by: &[By]) -> UsageReport {
        let row = |(key, sums): (Vec<String>, Sums)| Row {
            key: by.iter().map(|by| by.name()).zip(key).collect(),
            sums,
        };
        UsageReport { totals: self.totals, rows: self.rows.into_iter().map(row).collect() }
    }

    pub(super) fn add(&mut self, by: &[By], cell: &Cell, sums: &Sums) {
        self.totals.add(sums);
        if !by.is_empty() {
            self.rows.entry(by.iter().map(|by| cell.part(*by)).collect()).or_default().add(sums);
        }
    }
}

/// Says whether hours are all that a question is about: then cells answer it as the records would.
pub(super) fn is_by_the_hour(query: &Query) -> bool {
    let whole = |time: &Option<Timestamp>| {
        time.is_none_or(|time| time.as_nanosecond().rem_euclid(i128::from(HOUR_S) * 1_000_000_000) == 0)
    };
    whole(&query.from) && whole(&query.to)
}

/// Widens a question to the whole hours that its times lie in, as the sums in memory answer it.
pub(super) fn by_the_hour(query: &Query) -> Query {
    let second = |time: Timestamp, up: i64| {
        let exact = time.as_second() + i64::from(up > 0 && time.subsec_nanosecond() > 0);
        Timestamp::from_second((exact + up).div_euclid(HOUR_S) * HOUR_S).unwrap_or(time)
    };
    let (from, to) = (query.from.map(|from| second(from, 0)), query.to.map(|to| second(to, HOUR_S - 1)));
    Query { from, to, ..query.clone() }
}

pub(super) fn holds(query: &Query, cell: &Cell) -> bool {
    let is = |wanted: &Option<String>, text: &str| wanted.as_deref().is_none_or(|name| name == text);
    is(&query.tenant, &cell.tenant)
        && is(&query.user, &cell.user)
        && is(&query.model, &cell.model)
        && query.from.is_none_or(|from| from.as_second() < cell.hour + HOUR_S)
        && query.to.is_none_or(|to| cell.hour < to.as_second())
}

pub(super) const HOUR_S: i64 = 3_600;
const OTHER: &str = "_other";
