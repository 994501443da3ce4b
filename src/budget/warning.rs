//! How full budgets and quotas are, and which of them it was told of already that they near their end.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use super::{claim, named, permille, written};
use crate::store::{AccountId, Cell, Period, Standing, Unit};

/// How full one budget or quota is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utilization<'a> {
    /// Whose it is.
    pub id: &'a AccountId,
    /// Money or tokens.
    pub unit: Unit,
    /// Over which period.
    pub period: Period,
    /// The ceiling; nano-dollars for money.
    pub limit: u64,
    /// What was used, without what requests in flight hold.
    pub used: u64,
    /// `used` in parts per thousand of `limit`; may pass 1,000.
    pub permille: u64,
    /// The share at which a warning is due, in parts per thousand.
    pub warn_at_permille: u16,
    /// When the period ends.
    pub resets_at: Timestamp,
}

impl<'a> Utilization<'a> {
    /// Reads where a window of `id` with a ceiling stands; `None` for a rate, and where there is no ceiling.
    #[must_use]
    pub fn of(id: &'a AccountId, standing: &Standing, warn_at_permille: u16) -> Option<Self> {
        let (Cell::Window(unit, period), Some(limit)) = (standing.cell, standing.ceiling) else {
            return None;
        };
        let Standing { used, resets_at, .. } = *standing;
        let permille = permille(used, limit);
        Some(Self { id, unit, period, limit, used, permille, warn_at_permille, resets_at })
    }

    /// Tells whether so much is used that a warning is due.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.permille >= u64::from(self.warn_at_permille)
    }

    /// Returns its name in headers: `daily_budget`, `monthly_quota`.
    #[must_use]
    pub const fn claim(&self) -> &'static str {
        claim(self.unit, self.period)
    }

    /// Says how much is used of what, and until when.
    #[must_use]
    pub fn message(&self) -> String {
        let (used, limit) = (written(self.used, self.unit), written(self.limit, self.unit));
        let (what, percent, reset) =
            (named(self.unit, self.period, self.id), self.permille / 10, self.resets_at);
        format!("{what} is used to {percent} % ({used} of {limit}); it resets at {reset}")
    }
}

/// Of which windows it was told that a warning is due: at most [`Told::MAX`] at a time.
#[derive(Debug, Default)]
pub struct Told(Mutex<HashMap<(AccountId, Cell), Telling>>);

/// A window by its end, under a ceiling.
#[derive(Debug, PartialEq, Eq)]
struct Telling {
    ends: Timestamp,
    limit: u64,
}

impl Told {
    /// Most windows that are remembered; beyond it nothing new is told.
    pub const MAX: usize = 200_000;

    /// Notes a warning that is due; tells whether it is the first for this window under this ceiling.
    pub fn first(&self, due: &Utilization<'_>, now: Timestamp) -> bool {
        let place = (due.id.clone(), Cell::Window(due.unit, due.period));
        let telling = Telling { ends: due.resets_at, limit: due.limit };
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.get(&place) == Some(&telling) {
            return false;
        }
        if told.len() >= Self::MAX && !told.contains_key(&place) {
            told.retain(|_, telling| telling.ends > now);
            if told.len() >= Self::MAX {
                return false;
            }
        }
        told.insert(place, telling);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> AccountId {
        AccountId::tenant(name.into())
    }

    fn full<'a>(id: &'a AccountId, used: u64, limit: u64, ends: &str) -> Utilization<'a> {
        let standing = Standing {
            cell: Cell::Window(Unit::Money, Period::Day),
            ceiling: Some(limit),
            used,
            reserved: 5,
            unheld: 0,
            remaining: 0,
            resets_at: ends.parse().unwrap(),
        };
        Utilization::of(id, &standing, 800).unwrap()
    }

    #[test]
    fn a_warning_is_due_from_its_share_on() {
        let acme = tenant("acme");
        for (used, due) in [(7_999, false), (8_000, true), (12_000, true)] {
            assert_eq!(full(&acme, used, 10_000, "2026-11-27T00:00:00Z").is_due(), due, "{used}");
        }
        let told = full(&acme, 8_130_000_000, 10_000_000_000, "2026-11-27T00:00:00Z").message();
        let expected = "the daily budget of tenant `acme` is used to 81 % ($8.13 of $10.00); it resets at 2026-11-27T00:00:00Z";
        assert_eq!(told, expected);
    }

    #[test]
    fn each_window_is_told_once_and_again_under_another_ceiling() {
        let (told, now) = (Told::default(), "2026-11-26T12:00:00Z".parse().unwrap());
        let first = |name, used, limit, ends| told.first(&full(&tenant(name), used, limit, ends), now);
        assert!(first("a", 8, 10, "2026-11-27T00:00:00Z"));
        assert!(!first("a", 9, 10, "2026-11-27T00:00:00Z"));
        assert!(first("b", 9, 10, "2026-11-27T00:00:00Z"));
        assert!(first("a", 9, 11, "2026-11-27T00:00:00Z"), "a raised ceiling nears its end as well");
        assert!(first("a", 9, 11, "2026-11-28T00:00:00Z"), "the next day");
    }

    #[test]
    fn what_is_remembered_is_bounded_and_windows_that_ended_make_room() {
        let (told, now) = (Told::default(), "2026-11-26T12:00:00Z".parse().unwrap());
        for number in 0..Told::MAX {
            assert!(told.first(&full(&tenant(&number.to_string()), 8, 10, "2026-11-27T00:00:00Z"), now));
        }
        let late = tenant("late");
        assert!(!told.first(&full(&late, 8, 10, "2026-11-27T00:00:00Z"), now));
        let later = "2026-11-27T00:00:00Z".parse().unwrap();
        assert!(told.first(&full(&late, 8, 10, "2026-11-28T00:00:00Z"), later));
        assert_eq!(told.0.lock().unwrap().len(), 1);
    }
}
