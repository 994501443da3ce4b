//! Times as text in records: RFC 3339, UTC, microseconds.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serializer, de};

use crate::clock;

pub(super) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    let mut text = String::new();
    clock::push_rfc3339(&mut text, *time, clock::Precision::Micros);
    serializer.serialize_str(&text)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
}
