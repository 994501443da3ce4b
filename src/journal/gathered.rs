//! What the exchanges come to that were written since a place, summed in memory for the view that follows the journal.
//!
//! What was in memory a moment ago need not be read back, held against its hash and parsed, which takes ten times as
//! long as to sum it. A view that is not at that place reads the segments up to where gathering begins anew.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::cell::{Cell, Summed};
use super::reader::Place;
use super::report::Sums;

/// Sums by hour, tenant, user, model and tier of all exchanges between two places.
#[derive(Debug)]
pub struct Gathered {
    /// They are of the records behind the one of this number.
    pub from: u64,
    /// Up to here.
    pub until: Place,
    /// How many exchanges there are, samples among them.
    pub exchanges: u64,
    /// What they come to.
    pub cells: BTreeMap<Cell, Sums>,
}

/// Where they are gathered.
#[derive(Debug)]
pub(super) struct Gathering(Mutex<Gathered>);

impl Gathering {
    /// Gathers what is written behind a place.
    pub(super) const fn behind(place: Place) -> Self {
        Self(Mutex::new(Gathered::behind(place)))
    }

    /// Adds the exchanges among the records that were written up to a place.
    pub(super) fn add(&self, exchanges: impl Iterator<Item = Box<Summed>>, until: Place) {
        let mut gathered = self.lock();
        for summed in exchanges {
            let Summed { cell, sums } = *summed;
            gathered.exchanges += 1;
            gathered.cells.entry(cell).or_default().add(&sums);
        }
        gathered.until = until;
        if gathered.cells.len() > CELLS_MAX {
            *gathered = Gathered::behind(until);
        }
    }

    /// Takes what was gathered behind the record of a number, and gathers on from there; `None` where that begins elsewhere.
    pub(super) fn take(&self, behind: u64) -> Option<Gathered> {
        let mut gathered = self.lock();
        if gathered.from != behind {
            return None;
        }
        let rest = Gathered::behind(gathered.until);
        Some(std::mem::replace(&mut *gathered, rest))
    }

    /// Begins anew behind the last record, whose number it returns.
    pub(super) fn begin_anew(&self) -> u64 {
        let mut gathered = self.lock();
        *gathered = Gathered::behind(gathered.until);
        gathered.from
    }

    fn lock(&self) -> MutexGuard<'_, Gathered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gathered {
    const fn behind(place: Place) -> Self {
        Self { from: place.seq, until: place, exchanges: 0, cells: BTreeMap::new() }
    }
}

/// About a megabyte and a half.
const CELLS_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::super::record::ExchangeRecord;
    use super::*;
    use crate::id::RequestId;

    fn place(seq: u64) -> Place {
        Place { seq, ..Place::BEGINNING }
    }

    fn add(gathering: &Gathering, users: std::ops::RangeInclusive<u64>, until: u64) {
        let time = "2026-11-20T12:00:00Z".parse().unwrap();
        let record = |user: u64| {
            let mut record = ExchangeRecord::begin(RequestId::generate(), time, "acme".into(), "m".into());
            record.user_id = Some(user.to_string());
            Box::new(Summed::of(&record))
        };
        gathering.add(users.map(record), place(until));
    }

    fn taken(gathering: &Gathering, behind: u64) -> Option<(u64, usize, u64)> {
        gathering.take(behind).map(|gathered| (gathered.exchanges, gathered.cells.len(), gathered.until.seq))
    }

    #[test]
    fn what_was_gathered_is_taken_once_and_by_whoever_has_all_before_it() {
        let gathering = Gathering::behind(place(10));
        assert_eq!(taken(&gathering, 10), Some((0, 0, 10)));
        add(&gathering, 1..=3, 14);
        add(&gathering, 3..=4, 20);
        assert_eq!((taken(&gathering, 9), taken(&gathering, 14)), (None, None));
        assert_eq!(taken(&gathering, 10), Some((5, 4, 20)));
        assert_eq!(taken(&gathering, 10), None);
        add(&gathering, 1..=1, 21);
        assert_eq!(gathering.begin_anew(), 21);
        assert_eq!((taken(&gathering, 20), taken(&gathering, 21)), (None, Some((0, 0, 21))));
    }

    #[test]
    fn beyond_the_bound_it_begins_anew() {
        let gathering = Gathering::behind(place(0));
        add(&gathering, 1..=CELLS_MAX as u64 + 1, 9_000);
        assert_eq!((taken(&gathering, 0), taken(&gathering, 9_000)), (None, Some((0, 0, 9_000))));
    }
}
