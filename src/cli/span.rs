//! Times and durations as they are typed: `2026-11-20`, `20261120`, RFC 3339, `7d` ago, `10s`.
//!
//! A day is a day of UTC. As the end of a span a day counts whole. Durations are one whole number and one
//! unit of `ms`, `s`, `m`, `h` or `d`.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// Reads the start of a span: a day's beginning, a time, or how long before `now`.
pub(super) fn since(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Some(ago) = duration_of(text) {
        return now.checked_sub(ago).map_err(|_| format!("`{text}` ago is before all time"));
    }
    moment(text, 0)
}

/// Reads the end of a span, which is not part of it: the end of a day, or a time.
pub(super) fn until(text: &str) -> Result<Timestamp, String> {
    moment(text, 1)
}

/// Reads a duration such as `10s`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    duration_of(text).ok_or_else(|| format!("`{text}` is not a duration such as 500ms, 10s, 5m, 2h or 7d"))
}

fn moment(text: &str, days_after: i64) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let expected = || format!("`{text}` is neither a day (2026-11-20) nor a time (2026-11-20T08:00:00Z)");
    let date = text.parse::<Date>().map_err(|_| expected())?;
    let span = jiff::Span::new().days(days_after);
    let midnight = date.checked_add(span).and_then(|date| date.to_zoned(TimeZone::UTC));
    midnight.map(|zoned| zoned.timestamp()).map_err(|_| expected())
}

fn duration_of(text: &str) -> Option<Duration> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit_ms).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_day_begins_a_span_at_its_midnight_and_ends_it_at_the_next() {
        let now = time("2026-11-20T12:00:00Z");
        for text in ["2026-11-19", "20261119", "36h"] {
            assert_eq!(since(text, now), Ok(time("2026-11-19T00:00:00Z")), "{text}");
        }
        assert_eq!(until("2026-11-19"), Ok(time("2026-11-20T00:00:00Z")));
        assert_eq!(until("2026-11-19T08:00:00Z"), Ok(time("2026-11-19T08:00:00Z")));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let now = time("2026-11-20T12:00:00Z");
        for text in ["", "yesterday", "7", "7w", "2026-13-01", "99999999999999999999d"] {
            assert!(since(text, now).is_err(), "{text}");
        }
        assert!(duration("5").is_err());
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
    }
}
