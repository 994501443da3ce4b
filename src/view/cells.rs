//! How a report picks from sums by the hour.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::journal::{By, Cell, Query, Row, Sums, UsageReport};

/// Sums by the values of what they are split by, and all together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picked {
    /// The sum.
    pub totals: Sums,
    /// The parts, by the values in the order in which they were asked for.
    pub rows: BTreeMap<Vec<String>, Sums>,
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

pub(super) const HOUR_S: i64 = 3_600;
