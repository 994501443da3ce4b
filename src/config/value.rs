//! The kinds of value a file may hold, read from TOML so that an error carries the value's own span.
//!
//! Durations, sizes, money and zones are strings with units; shares are floats from 0 to 1 with three
//! decimals; counts are whole numbers above zero. A message may carry a hint after a line break. Nothing
//! here looks at the environment or at files, and no message repeats what might be a secret.

use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::time::Duration;

use http::Uri;
use jiff::{Timestamp, tz::TimeZone};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::guards::{Action, Side};
use super::suggest::{closest, listed};
use super::{Adaptation, Ceiling, FailurePolicy, LogFormat, Mode, Reserve, Scope, WhenLow};
use crate::money::NanoUsd;
use crate::secret::KeyHash;
use crate::tier::Tier;

/// A value written as a string.
#[derive(Clone, Debug)]
pub(super) struct Text<T>(pub(super) T);

/// What a string can mean.
pub(super) trait FromText: Sized {
    /// Completes "expected …".
    const EXPECTED: &'static str;

    /// Reads the string; the error is what is wrong, a line break, and a hint, the last two optional.
    fn from_text(text: &str) -> Result<Self, String>;
}

/// A table, and never a list in its place.
#[derive(Clone, Debug, Default)]
pub(super) struct Section<T>(pub(super) T);

/// A whole number of at least one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count(pub(super) u64);

/// A share in parts per thousand, 0 to 1,000.
#[derive(Clone, Copy, Debug)]
pub(super) struct Permille(pub(super) u16);

/// A size in bytes of at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bytes(pub(super) u64);

/// A moment, as a string or as TOML's own date and time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment(pub(super) Timestamp);

impl<'de, T: FromText> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor<T>(PhantomData<T>);
        impl<T: FromText> Visitor<'_> for TextVisitor<T> {
            type Value = Text<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(T::EXPECTED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<T>, E> {
                if text.chars().any(char::is_control) {
                    return Err(E::custom("control characters do not belong here"));
                }
                T::from_text(text).map(Text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(TextVisitor(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Section<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SectionVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for SectionVisitor<T> {
            type Value = Section<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Section<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Section)
            }
        }
        deserializer.deserialize_map(SectionVisitor(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CountVisitor;
        impl Visitor<'_> for CountVisitor {
            type Value = Count;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a whole number")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Count, E> {
                match u64::try_from(number) {
                    Ok(0) => Err(E::custom(ZERO)),
                    Ok(number) => Ok(Count(number)),
                    Err(_) => Err(E::custom("must not be negative")),
                }
            }

            fn visit_u64<E: Error>(self, _number: u64) -> Result<Count, E> {
                Err(E::custom("too large a number"))
            }
        }
        deserializer.deserialize_u64(CountVisitor)
    }
}

impl<'de> Deserialize<'de> for Permille {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ShareVisitor;
        impl Visitor<'_> for ShareVisitor {
            type Value = Permille;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a share from 0.0 to 1.0")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Permille, E> {
                match number {
                    0 => Ok(Permille(0)),
                    1 => Ok(Permille(1000)),
                    _ => Err(E::custom("a share lies between 0.0 and 1.0")),
                }
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Permille, E> {
                if !(0.0..=1.0).contains(&number) {
                    return Err(E::custom("a share lies between 0.0 and 1.0"));
                }
                let rounded = (number * 1000.0).round();
                if (number * 1000.0 - rounded).abs() > 1e-6 {
                    return Err(E::custom("a share has three decimals at most"));
                }
                Ok(Permille(rounded as u16))
            }
        }
        deserializer.deserialize_f64(ShareVisitor)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MomentVisitor;
        impl<'de> Visitor<'de> for MomentVisitor {
            type Value = Moment;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a date and time such as 2027-01-31T00:00:00Z")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Moment, E> {
                text.parse().map(Moment).map_err(|_| {
                    E::custom("not a date and time with a zone\nwrite it like 2027-01-31T00:00:00Z")
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Moment, A::Error> {
                let moment = toml::value::Datetime::deserialize(MapAccessDeserializer::new(map));
                let moment = moment.map_err(|_| A::Error::custom("not a date and time"))?;
                self.visit_str(&moment.to_string())
            }
        }
        deserializer.deserialize_any(MomentVisitor)
    }
}

impl FromText for Duration {
    const EXPECTED: &'static str = "a duration such as \"5m\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let problem = || {
            format!("not a duration: `{text}`\nwrite numbers with units: ms, s, m, h, d; such as \"1h30m\"")
        };
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(problem());
        }
        let mut total_ms = 0_u64;
        while !rest.is_empty() {
            let (number, after) = split_number(rest).ok_or_else(problem)?;
            let end = after.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(after.len());
            let (unit, next) = after.split_at(end);
            let (_, unit_ms) = DURATION_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(problem)?;
            let part_ms = number.checked_mul(*unit_ms).ok_or_else(problem)?;
            total_ms = part_ms.checked_add(total_ms).ok_or_else(problem)?;
            rest = next.trim_start();
        }
        if total_ms > DURATION_MAX_MS {
            return Err(format!("too long a duration: `{text}`\nat most 36500d"));
        }
        Ok(Self::from_millis(total_ms))
    }
}

impl FromText for Bytes {
    const EXPECTED: &'static str = "a size such as \"32 MiB\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let problem =
            || format!("not a size: `{text}`\nwrite a whole number and a unit: B, KB, KiB, MB, MiB, GB, GiB");
        let (number, unit) = split_number(text.trim()).ok_or_else(problem)?;
        let unit = unit.trim_start();
        let (_, unit_bytes) = SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(problem)?;
        match number.checked_mul(*unit_bytes) {
            Some(0) => Err(ZERO.to_owned()),
            Some(bytes) if i64::try_from(bytes).is_ok() => Ok(Self(bytes)),
            _ => Err(format!("too large a size: `{text}`")),
        }
    }
}

impl FromText for NanoUsd {
    const EXPECTED: &'static str = "an amount of money such as \"25.00 USD\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        let (amount, currency) = trimmed.rsplit_once(char::is_whitespace).unwrap_or((trimmed, ""));
        if currency != "USD" {
            return Err(
                "budgets are in USD\nwrite the amount and the currency, such as \"25.00 USD\"".to_owned()
            );
        }
        if amount.starts_with('-') {
            return Err("must not be negative".to_owned());
        }
        match Self::parse_dollars(amount.trim_end()) {
            Some(Self::ZERO) => Err(ZERO.to_owned()),
            Some(money) => Ok(money),
            None => Err(format!("not an amount of money: `{amount}`\ndigits, and nine decimals at most")),
        }
    }
}

impl FromText for SocketAddr {
    const EXPECTED: &'static str = "an address and a port such as \"127.0.0.1:8787\"";

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| {
            format!("not an IP address and port: `{text}`\nsuch as \"127.0.0.1:8787\", or \"0.0.0.0:8787\" for every interface")
        })
    }
}

/// `http` or `https`, a host, an optional path; no trailing slash is kept.
impl FromText for Uri {
    const EXPECTED: &'static str = "an address such as \"https://api.anthropic.com\"";

    fn from_text(text: &str) -> Result<Self, String> {
        if text.contains('@') {
            return Err("an address must not hold a user or a password".to_owned());
        }
        if text.contains(['?', '#']) {
            return Err("an address must not hold a query or a fragment".to_owned());
        }
        let uri: Self =
            text.trim_end_matches('/').parse().map_err(|_| format!("not an address: `{text}`"))?;
        match (uri.scheme_str(), uri.host()) {
            (Some("http" | "https"), Some(host)) if !host.is_empty() => Ok(uri),
            _ => {
                Err(format!("not an http or https address: `{text}`\nsuch as \"https://api.anthropic.com\""))
            }
        }
    }
}

impl FromText for TimeZone {
    const EXPECTED: &'static str = "a time zone such as \"Europe/Berlin\"";

    fn from_text(text: &str) -> Result<Self, String> {
        Self::get(text).map_err(|_| {
            format!("unknown time zone `{text}`\nuse \"UTC\" or a name of the system's time zone database, such as \"Europe/Berlin\"")
        })
    }
}

impl FromText for KeyHash {
    const EXPECTED: &'static str = "a hash such as \"blake3:<64 hex digits>\"";

    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(|| {
            "not a hash of a key: expected blake3:<64 hex digits>\n`tercet keys hash` makes one from a key".to_owned()
        })
    }
}

/// Types of which each value is a word.
macro_rules! words {
    ($($kind:ident, $expected:literal: $($word:literal = $value:ident),+;)+) => {$(
        impl FromText for $kind {
            const EXPECTED: &'static str = $expected;

            fn from_text(text: &str) -> Result<Self, String> {
                choose(text, &[$(($word, Self::$value)),+])
            }
        }
    )+};
}

words! {
    Mode, "\"shadow\", \"enforce\" or \"off\"": "shadow" = Shadow, "enforce" = Enforce, "off" = Off;
    Ceiling, "\"requested\" or \"opus\"": "requested" = Requested, "opus" = Opus;
    Adaptation, "the name of an adaptation": "thinking-default" = ThinkingDefault;
    Scope, "\"tenant\" or \"user\"": "tenant" = Tenant, "user" = User;
    Reserve, "\"expected\" or \"max\"": "expected" = Expected, "max" = Max;
    FailurePolicy, "\"open\" or \"closed\"": "open" = Open, "closed" = Closed;
    WhenLow, "\"warn\" or \"cheaper\"": "warn" = Warn, "cheaper" = Cheaper;
    Action, "\"flag\", \"redact\" or \"refuse\"": "flag" = Flag, "redact" = Redact, "refuse" = Refuse;
    Side, "\"prompt\" or \"answer\"": "prompt" = Prompt, "answer" = Answer;
    LogFormat, "\"json\" or \"text\"": "json" = Json, "text" = Text;
}

impl FromText for Tier {
    const EXPECTED: &'static str = "a tier: \"haiku\", \"sonnet\" or \"opus\"";

    fn from_text(text: &str) -> Result<Self, String> {
        choose(text, &Self::ROUTED.map(|tier| (tier.name(), tier)))
    }
}

pub(super) fn choose<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
        return Ok(*value);
    }
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    let hint = closest(text, &names).map_or_else(|| listed(&names), |name| format!("did you mean `{name}`?"));
    Err(format!("unknown value `{text}`\n{hint}"))
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    digits.parse().ok().map(|number| (number, rest))
}

/// Zero never means "no ceiling", so that nobody is surprised either way.
pub(super) const ZERO: &str = "must be more than zero\nleave the key out for its default";

/// Milliseconds in each unit of a duration, longest first.
pub(super) const DURATION_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Bytes in each unit of a size.
pub(super) const SIZE_UNITS: [(&str, u64); 9] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1000),
    ("kB", 1000),
    ("B", 1),
    ("", 1),
];

/// A hundred years.
const DURATION_MAX_MS: u64 = 36_500 * 86_400_000;
