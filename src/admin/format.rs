//! Numbers for people: dollars, counts, shares and times, rounded for reading; the exact figures are in the API.

use jiff::Timestamp;

use crate::money::NanoUsd;

/// Writes dollars with two decimals: `$1,234.56`; four below one dollar, `<$0.0001` below that.
pub(super) fn dollars(amount: NanoUsd) -> String {
    let decimals = if amount.0.unsigned_abs() >= 1_000_000_000 || amount.0 == 0 { 2 } else { 4 };
    dollars_to(amount, decimals)
}

/// Writes dollars with `decimals` decimals, at most nine, rounded half away from zero.
pub(super) fn dollars_to(amount: NanoUsd, decimals: u32) -> String {
    let scale = 10u64.pow(decimals.min(9));
    let unit = 1_000_000_000 / scale;
    let magnitude = amount.0.unsigned_abs();
    let rounded = magnitude / unit + u64::from(magnitude % unit * 2 >= unit);
    let sign = if amount.0 < 0 && rounded > 0 { "−" } else { "" };
    if rounded == 0 && magnitude > 0 {
        return format!("<$0.{:0>width$}", 1, width = decimals as usize);
    }
    format!("{sign}${}.{:0width$}", count(rounded / scale), rounded % scale, width = decimals as usize)
}

/// Writes a count with a comma between thousands.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes a count short: `812`, `4.1k`, `126k`, `3.2M`.
pub(super) fn short(number: u64) -> String {
    let (unit, suffix) = match number {
        0..=999 => return number.to_string(),
        1_000..=999_999 => (1_000, "k"),
        _ => (1_000_000, "M"),
    };
    let tenths = number / (unit / 10);
    if tenths >= 100 {
        format!("{}{suffix}", count(tenths / 10))
    } else {
        format!("{}.{}{suffix}", tenths / 10, tenths % 10)
    }
}

/// Returns `part` of `whole` in parts per thousand, rounded down; zero of nothing.
pub(super) fn permille(part: u64, whole: u64) -> u64 {
    let share = u128::from(part) * 1_000 / u128::from(whole.max(1));
    u64::try_from(share).unwrap_or(u64::MAX)
}

/// Writes parts per thousand as a whole percentage, rounded; only nothing is `0%`, only all is `100%`.
pub(super) fn percent(permille: u64) -> String {
    match permille {
        0 => "0%".to_owned(),
        1..=9 => "<1%".to_owned(),
        10..1_000 => format!("{}%", ((permille + 5) / 10).min(99)),
        _ => format!("{}%", permille / 10),
    }
}

/// Writes how long until `then`: `42 s`, `12 min`, `5 h 12 min`, `9 d 3 h`.
pub(super) fn until(now: Timestamp, then: Timestamp) -> String {
    let seconds = then.as_second().saturating_sub(now.as_second()).max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3_600 => format!("{minutes} min"),
        3_600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// Writes the time of day in UTC: `14:03:27`.
pub(super) fn time_of_day(time: Timestamp) -> String {
    time.strftime("%H:%M:%S").to_string()
}

/// Writes text for one value of a query string.
pub(super) fn query_value(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.') {
            value.push(char::from(byte));
        } else {
            value.push_str(&format!("%{byte:02X}"));
        }
    }
    value
}

/// Cuts a text from outside to 48 characters, so that none can stretch the page.
pub(super) fn clip(text: &str) -> String {
    match text.char_indices().nth(48) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Writes a lower-case name with a capital.
pub(super) fn title(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        for (nanos, text) in [
            (0, "$0.00"),
            (1, "<$0.0001"),
            (4_249_999, "$0.0042"),
            (4_250_000, "$0.0043"),
            (999_999_999, "$1.0000"),
            (1_234_565_000_000, "$1,234.57"),
            (-120_000_000, "−$0.1200"),
            (i64::MIN, "−$9,223,372,036.85"),
        ] {
            assert_eq!(dollars(NanoUsd(nanos)), text);
        }
        for (number, text) in
            [(0, "0"), (999, "999"), (4_149, "4.1k"), (126_500, "126k"), (3_200_000, "3.2M")]
        {
            assert_eq!(short(number), text);
        }
        assert_eq!(
            (count(1_234_567), percent(permille(1, 3)), percent(permille(1, 900))),
            ("1,234,567".to_owned(), "33%".to_owned(), "<1%".to_owned())
        );
        assert_eq!(query_value("tct_1 &é"), "tct_1%20%26%C3%A9");
    }

    #[test]
    fn time_left_is_told_in_two_units_and_never_negative() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        for (seconds, text) in
            [(-5, "0 s"), (42, "42 s"), (720, "12 min"), (18_730, "5 h 12 min"), (788_400, "9 d 3 h")]
        {
            assert_eq!(until(now, Timestamp::from_second(1_000_000 + seconds).unwrap()), text);
        }
    }
}
