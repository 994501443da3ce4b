//! Which questions the sums in memory answer as the records would: those that no folded cell blurs.

use std::sync::PoisonError;

use super::Rollup;
use crate::journal::cell::{Cell, OTHER};
use crate::journal::report::{By, DAY_S, Query, month_of};

impl Rollup {
    /// Says whether [`Self::query`] tells what the records of the same whole hours come to.
    ///
    /// It does not where a day or month lies partly in the times asked for, or is to be split by less than itself, and
    /// where users or models are asked for that were folded.
    #[must_use]
    pub fn is_exact(&self, query: &Query) -> bool {
        let within = |start: i64, end: i64| {
            query.from.is_none_or(|from| from.as_second() <= start)
                && query.to.is_none_or(|to| end <= to.as_second())
        };
        let apart = |start: i64, end: i64| {
            query.from.is_some_and(|from| end <= from.as_second())
                || query.to.is_some_and(|to| to.as_second() <= start)
        };
        let names = query.user.is_some()
            || query.model.is_some()
            || query.by.iter().any(|by| matches!(by, By::User | By::Model));
        let splits = |by: &[By]| query.by.iter().any(|asked| by.contains(asked));
        let is_clear = |cell: &Cell, end: i64, is_split: bool| {
            let unnamed = names && (&*cell.user, &*cell.model) == (OTHER, OTHER);
            apart(cell.start, end) || (within(cell.start, end) && !is_split && !unnamed)
        };
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let (by_hour, by_less) = (splits(&[By::Hour]), splits(&[By::Hour, By::Day, By::Week]));
        cells.days.keys().all(|cell| is_clear(cell, cell.start + DAY_S, by_hour))
            && cells.months.keys().all(|cell| is_clear(cell, month_of(cell.start).1, by_less))
            && (!names || cells.hours.keys().all(|cell| (&*cell.user, &*cell.model) != (OTHER, OTHER)))
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::id::RequestId;
    use crate::journal::{ExchangeRecord, Summed};

    #[test]
    fn what_was_folded_is_not_told_by_less_than_it_was_folded_to() {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let rollup = Rollup::new();
        for at in ["2026-11-10T10:30:00Z", "2026-11-20T08:30:00Z"] {
            let mut record =
                ExchangeRecord::begin(RequestId::generate(), time(at), "acme".into(), "asked".into());
            record.user_id = Some("ann".into());
            rollup.add(&Summed::of(&record));
        }
        let asked = |from: Option<&str>, to: Option<&str>, by: &[By]| {
            rollup.is_exact(&Query {
                from: from.map(time),
                to: to.map(time),
                by: by.to_vec(),
                ..Query::default()
            })
        };
        let (old, noon, new) = ("2026-11-10T00:00:00Z", "2026-11-10T12:00:00Z", "2026-11-20T08:00:00Z");
        assert!(asked(None, None, &[By::Day, By::User]));
        assert!(asked(Some(old), Some("2026-11-11T00:00:00Z"), &[By::Day]));
        assert!(asked(Some(new), None, &[By::Hour]));
        assert!(asked(Some("2026-11-11T00:00:00Z"), Some(new), &[By::Hour]), "nothing is there");
        for (from, to, by) in [
            (None, None, By::Hour),
            (Some(noon), None, By::Day),
            (Some(old), Some(noon), By::Tenant),
            (Some(old), Some("2026-11-11T00:00:00Z"), By::Hour),
        ] {
            assert!(!asked(from, to, &[by]), "{from:?} to {to:?} by {by:?}");
        }
    }
}
