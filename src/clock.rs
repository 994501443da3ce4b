//! The one source of time: wall time for records and periods, monotonic time for rates and waits.
//!
//! Tests hold a manual clock; nothing else in the library asks the system for the time.

pub mod rfc3339;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Tells wall and monotonic time; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    Manual(Arc<Mutex<(Timestamp, Instant)>>),
    /// As the runtime's time goes on since then, which tests may have paused.
    #[cfg(test)]
    Runtime(Timestamp, tokio::time::Instant),
}

impl Clock {
    /// Returns a clock that stands still at `start` until it is moved.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the clock is where time comes from")]
    pub fn manual(start: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(Mutex::new((start, Instant::now())))))
    }

    /// Returns a clock that shows `start` now and goes on as the runtime's own time does.
    #[cfg(test)]
    pub(crate) fn of_runtime(start: Timestamp) -> Self {
        Self(Source::Runtime(start, tokio::time::Instant::now()))
    }

    /// Returns the wall time (UTC).
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the clock is where time comes from")]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => Timestamp::now(),
            Source::Manual(held) => held.lock().unwrap_or_else(PoisonError::into_inner).0,
            #[cfg(test)]
            Source::Runtime(start, since) => start.saturating_add(since.elapsed()).unwrap_or(*start),
        }
    }

    /// Returns monotonic time, for differences only.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the clock is where time comes from")]
    pub fn instant(&self) -> Instant {
        match &self.0 {
            Source::System => Instant::now(),
            Source::Manual(held) => held.lock().unwrap_or_else(PoisonError::into_inner).1,
            #[cfg(test)]
            Source::Runtime(..) => tokio::time::Instant::now().into_std(),
        }
    }

    /// Moves a manual clock forward by `step`, wall and monotonic time alike; a system clock ignores it.
    pub fn advance(&self, step: Duration) {
        if let Source::Manual(held) = &self.0 {
            let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
            held.0 = held.0.checked_add(step).unwrap_or(held.0);
            held.1 += step;
        }
    }

    /// Sets the wall time of a manual clock, as an operator or NTP would; monotonic time stands.
    pub fn set_wall(&self, time: Timestamp) {
        if let Source::Manual(held) = &self.0 {
            held.lock().unwrap_or_else(PoisonError::into_inner).0 = time;
        }
    }
}

/// How much of a second is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// None of it.
    Seconds,
    /// Six digits.
    Micros,
}

/// Appends a time as RFC 3339 in UTC, cut to the precision: `2026-11-20T12:00:00.123456Z`.
///
/// Five times are written for each request; by the calendar library's general printer one takes 2,500 instructions,
/// so by arithmetic a hundred.
pub fn push_rfc3339(text: &mut String, time: Timestamp, precision: Precision) {
    let micros = time.as_microsecond();
    let (second, micro) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let (day, second) = (second.div_euclid(86_400), second.rem_euclid(86_400));
    let [year, month, day] = civil(day);
    if !(0..=9_999).contains(&year) {
        // Beyond four digits the form differs, and no clock gets there.
        text.push_str(&format!("{time:.6}"));
        return;
    }
    let mut written = *b"0000-00-00T00:00:00.000000Z";
    let places = [
        (0, year / 100),
        (2, year % 100),
        (5, month),
        (8, day),
        (11, second / 3_600),
        (14, second / 60 % 60),
        (17, second % 60),
        (20, micro / 10_000),
        (22, micro / 100 % 100),
        (24, micro % 100),
    ];
    for (place, value) in places {
        if let (Some([tens, ones, ..]), Ok(value)) = (written.get_mut(place..), u8::try_from(value)) {
            (*tens, *ones) = (b'0' + value / 10, b'0' + value % 10);
        }
    }
    let length = if precision == Precision::Micros { written.len() } else { written.len() - ".000000".len() };
    if let Some(last) = written.get_mut(length - 1) {
        *last = b'Z';
    }
    text.push_str(std::str::from_utf8(&written[..length]).unwrap_or_default());
}

/// Returns year, month and day of a day counted from 1970-01-01, in the Gregorian calendar.
///
/// Years are counted from March, so that the leap day is the last: a month's first day is then a straight line.
const fn civil(day: i64) -> [i64; 3] {
    const DAYS_OF_400_YEARS: i64 = 146_097;
    let shifted = day + 719_468;
    let (era, of_era) = (shifted.div_euclid(DAYS_OF_400_YEARS), shifted.rem_euclid(DAYS_OF_400_YEARS));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + (month <= 2) as i64;
    [year, month, day]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_time_is_written_as_the_calendar_library_writes_it(micros in -62_135_596_800_000_000_i64..253_402_207_199_999_999) {
            let time = Timestamp::from_microsecond(micros).unwrap();
            let written = |precision| {
                let mut text = String::new();
                push_rfc3339(&mut text, time, precision);
                text
            };
            prop_assert_eq!(written(Precision::Micros), format!("{time:.6}"));
            prop_assert_eq!(written(Precision::Seconds).parse::<Timestamp>().unwrap().as_second(), micros.div_euclid(1_000_000));
        }
    }

    #[test]
    fn leap_days_and_the_ends_of_years_are_where_they_belong() {
        for text in
            ["2024-02-29T23:59:59Z", "2100-03-01T00:00:00Z", "2000-12-31T23:59:59Z", "1969-12-31T00:00:00Z"]
        {
            let mut written = String::new();
            push_rfc3339(&mut written, text.parse().unwrap(), Precision::Seconds);
            assert_eq!(written, text);
        }
    }
}
