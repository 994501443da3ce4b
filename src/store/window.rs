//! What was used and is held within one day, week or month of a zone's calendar.
//!
//! A window turns forward only. A clock set back keeps the later period, and so does one that jumped ahead
//! and came back: a period that was granted is never granted again. A changed zone takes effect at its first
//! boundary after the current period's end. What is held stays held across a turn; it is used in the period
//! in which it is posted, which is how a rebuild from the journal counts it too.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::cell::Period;

/// One period's counter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) end: Timestamp,
    pub(super) used: u64,
    pub(super) reserved: u64,
    /// By how much all that is held may be exceeded: the most of each, less what is held for it.
    pub(super) unheld: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self { end: Timestamp::MIN, used: 0, reserved: 0, unheld: 0 }
    }
}

impl Window {
    /// Enters the period of `at` if it begins at or after the end of the one held.
    pub(super) fn turn(&mut self, period: Period, zone: &TimeZone, at: Timestamp) {
        if at < self.end {
            return;
        }
        // Outside of the calendar's range the window never turns again: no grant rather than a second one.
        let (start, end) = bounds(period, zone, at).unwrap_or((Timestamp::MIN, Timestamp::MAX));
        if start >= self.end {
            self.used = 0;
        }
        self.end = self.end.max(end);
    }

    /// Returns what neither was used nor is held.
    pub(super) const fn remaining(&self, ceiling: u64) -> u64 {
        ceiling.saturating_sub(self.used).saturating_sub(self.reserved)
    }
}

/// Returns the first instant of the period that holds `at`, and the first after it.
fn bounds(period: Period, zone: &TimeZone, at: Timestamp) -> Option<(Timestamp, Timestamp)> {
    let today = at.to_zoned(zone.clone()).date();
    let (first, next) = match period {
        Period::Day => (today, today.tomorrow().ok()?),
        Period::Week => {
            let monday = today.checked_sub(today.weekday().to_monday_zero_offset().days()).ok()?;
            (monday, monday.checked_add(1.week()).ok()?)
        }
        Period::Month => {
            let first = today.first_of_month();
            (first, first.checked_add(1.month()).ok()?)
        }
    };
    Some((midnight(first, zone)?, midnight(next, zone)?))
}

/// Midnight, or the first moment after it where a change of the clocks skips it.
fn midnight(date: Date, zone: &TimeZone) -> Option<Timestamp> {
    Some(date.to_zoned(zone.clone()).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (zone, period, an instant, its period's start and end)
    const CALENDAR: &[(&str, Period, &str, &str, &str)] = &[
        (
            "UTC",
            Period::Day,
            "2026-11-20T23:59:59.999999999Z",
            "2026-11-20T00:00:00Z",
            "2026-11-21T00:00:00Z",
        ),
        ("UTC", Period::Day, "2026-11-21T00:00:00Z", "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z"),
        ("UTC", Period::Week, "2026-11-22T23:59:59Z", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z"),
        ("UTC", Period::Week, "2027-01-01T12:00:00Z", "2026-12-28T00:00:00Z", "2027-01-04T00:00:00Z"),
        ("UTC", Period::Month, "2028-02-29T12:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
        ("UTC", Period::Month, "2026-12-31T23:59:59Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        // A day of 25 hours and one of 23.
        (
            "Europe/Berlin",
            Period::Day,
            "2026-10-25T12:00:00Z",
            "2026-10-24T22:00:00Z",
            "2026-10-25T23:00:00Z",
        ),
        (
            "Europe/Berlin",
            Period::Day,
            "2026-03-29T12:00:00Z",
            "2026-03-28T23:00:00Z",
            "2026-03-29T22:00:00Z",
        ),
        // Clocks that change at midnight: Santiago skips it, then has the hour before it twice.
        (
            "America/Santiago",
            Period::Day,
            "2026-09-06T12:00:00Z",
            "2026-09-06T04:00:00Z",
            "2026-09-07T03:00:00Z",
        ),
        (
            "America/Santiago",
            Period::Day,
            "2026-04-04T12:00:00Z",
            "2026-04-04T03:00:00Z",
            "2026-04-05T04:00:00Z",
        ),
        // A month that begins in summer time and ends in winter time.
        (
            "America/New_York",
            Period::Month,
            "2026-11-15T12:00:00Z",
            "2026-11-01T04:00:00Z",
            "2026-12-01T05:00:00Z",
        ),
    ];

    #[test]
    fn periods_begin_and_end_at_the_zones_midnight() {
        for (zone, period, at, start, end) in CALENDAR {
            let zone = TimeZone::get(zone).unwrap();
            let found = bounds(*period, &zone, at.parse().unwrap()).unwrap();
            assert_eq!(found, (start.parse().unwrap(), end.parse().unwrap()), "{zone:?} {period:?} {at}");
        }
    }

    /// (an instant, what the window shows after it)
    type Spending = &'static [(&'static str, u64)];

    /// Spends 5 at each instant in turn; the window must then show what is listed.
    #[test]
    fn a_period_is_granted_once_whatever_the_clock_does() {
        let table: &[(&str, Period, Spending)] = &[
            // An hour back, over the edge and on.
            (
                "UTC",
                Period::Day,
                &[
                    ("2026-11-20T23:50:00Z", 5),
                    ("2026-11-21T00:10:00Z", 5),
                    ("2026-11-20T23:10:00Z", 10),
                    ("2026-11-21T00:10:00Z", 15),
                    ("2026-11-22T00:00:00Z", 5),
                ],
            ),
            // A month ahead and back: the later period stays until it ends.
            (
                "UTC",
                Period::Month,
                &[
                    ("2026-11-20T00:00:00Z", 5),
                    ("2026-12-20T00:00:00Z", 5),
                    ("2026-11-20T01:00:00Z", 10),
                    ("2026-12-01T00:00:00Z", 15),
                    ("2026-12-31T23:59:59Z", 20),
                    ("2027-01-01T00:00:00Z", 5),
                ],
            ),
            // The hour that comes twice belongs to one day.
            (
                "America/Santiago",
                Period::Day,
                &[
                    ("2026-04-05T02:59:59Z", 5),
                    ("2026-04-05T03:00:00Z", 10),
                    ("2026-04-05T03:59:59Z", 15),
                    ("2026-04-05T04:00:00Z", 5),
                ],
            ),
        ];
        for (zone, period, steps) in table {
            let zone = TimeZone::get(zone).unwrap();
            let mut window = Window::default();
            for (at, used) in *steps {
                window.turn(*period, &zone, at.parse().unwrap());
                window.used += 5;
                assert_eq!(window.used, *used, "{zone:?} {period:?} {at}");
            }
        }
    }

    #[test]
    fn a_changed_zone_grants_nothing_until_its_first_boundary_after_the_period() {
        let new_york = TimeZone::get("America/New_York").unwrap();
        let mut window = Window::default();
        window.turn(Period::Day, &TimeZone::UTC, "2026-11-20T12:00:00Z".parse().unwrap());
        window.used = 5;
        for (at, used) in
            [("2026-11-20T23:59:59Z", 5), ("2026-11-21T04:59:59Z", 5), ("2026-11-21T05:00:00Z", 0)]
        {
            window.turn(Period::Day, &new_york, at.parse().unwrap());
            assert_eq!(window.used, used, "{at}");
        }
    }

    #[test]
    fn the_ends_of_the_calendar_grant_nothing_more() {
        let mut window = Window::default();
        for at in [Timestamp::MAX, Timestamp::MIN, Timestamp::MAX] {
            window.turn(Period::Month, &TimeZone::UTC, at);
            window.used += 1;
        }
        assert_eq!(window.used, 3);
    }
}
