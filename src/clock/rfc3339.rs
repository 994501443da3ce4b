//! Times as text in records: RFC 3339, UTC, microseconds.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serializer, de};

use super::{Precision, push_rfc3339};

/// Writes a time.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    let mut text = String::new();
    push_rfc3339(&mut text, *time, Precision::Micros);
    serializer.serialize_str(&text)
}

/// Reads a time.
///
/// # Errors
/// Where it is none.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
}
