//! The hash chain: what one line looks like, and how it holds on to the line before.
//!
//! A line is `{"seq":N,"prev":"<64 hex>",` + the record's fields + `,"hash":"<64 hex>"}`. Its hash is the
//! SHA-256 of the 32 bytes of `prev` and the line's bytes up to, not including, `,"hash":`; so every byte of a
//! line is covered. `seq` counts from 1 through all segments. The first `prev` is made from the stream's name
//! and its random origin, so that no two instances share a chain. Nothing here does I/O.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

/// The hash of a record: SHA-256, as 64 lower-case hexadecimal digits in text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RecordHash([u8; 32]);

/// The two streams of a journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Exchanges, reservations and ownership.
    #[default]
    Exchanges,
    /// Administrative changes.
    Admin,
}

impl Stream {
    /// Both streams.
    pub const ALL: [Self; 2] = [Self::Exchanges, Self::Admin];

    /// Returns the name of the stream, which is that of its folder.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exchanges => "exchanges",
            Self::Admin => "admin",
        }
    }
}

/// The last record of a stream; kept elsewhere, it anchors everything before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The stream; exchanges where it is not named.
    #[serde(default)]
    pub stream: Stream,
    /// The record's number; 0 where there is none.
    pub seq: u64,
    /// The record's hash.
    pub hash: RecordHash,
}

/// The end of a chain, to which the next record is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// The number of the last record; 0 before the first.
    pub(super) seq: u64,
    /// What the next record's `prev` has to be.
    pub(super) hash: RecordHash,
}

impl Link {
    /// Returns the link before the first record of the stream with this origin.
    pub(super) fn genesis(stream: Stream, origin: &str) -> Self {
        let text = format!("tercet journal\n{}\n{origin}\n", stream.name());
        Self { seq: 0, hash: RecordHash::of(&[text.as_bytes()]) }
    }

    /// Appends the line of `record`, a JSON object with at least one field, to `lines` and moves on to it.
    pub(super) fn chain(&mut self, record: &[u8], lines: &mut Vec<u8>) {
        let start = lines.len();
        let fields = record.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}")).unwrap_or(record);
        self.seq += 1;
        lines.extend_from_slice(SEQ);
        lines.extend_from_slice(self.seq.to_string().as_bytes());
        lines.extend_from_slice(PREV);
        lines.extend_from_slice(&self.hash.hex());
        lines.extend_from_slice(b"\",");
        lines.extend_from_slice(fields);
        self.hash = RecordHash::of(&[&self.hash.0, lines.get(start..).unwrap_or_default()]);
        lines.extend_from_slice(HASH);
        lines.extend_from_slice(&self.hash.hex());
        lines.extend_from_slice(b"\"}\n");
    }
}

/// A line taken apart, its form checked; whether it is true is for [`Line::is_intact`] to say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    pub(super) seq: u64,
    pub(super) prev: RecordHash,
    pub(super) kind: &'a [u8],
    pub(super) hash: RecordHash,
    pub(super) bytes: &'a [u8],
    covered: &'a [u8],
}

impl<'a> Line<'a> {
    /// Takes apart a line given without its end; `None` if it is not of the exact form.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (covered, tail) = bytes.split_at_checked(bytes.len().checked_sub(TAIL_BYTES)?)?;
        let hash = RecordHash::from_hex(tail.strip_prefix(HASH)?.strip_suffix(b"\"}")?)?;
        let rest = covered.strip_prefix(SEQ)?;
        let (number, rest) = rest.split_at_checked(memchr::memchr(b',', rest)?)?;
        let (prev, rest) = rest.strip_prefix(PREV)?.split_at_checked(64)?;
        let rest = rest.strip_prefix(b"\",\"kind\":\"")?;
        let (kind, _) = rest.split_at_checked(memchr::memchr(b'"', rest)?)?;
        let seq = str::from_utf8(number).ok()?.parse().ok()?;
        Some(Self { seq, prev: RecordHash::from_hex(prev)?, kind, hash, bytes, covered })
    }

    /// Says whether the line's hash is that of its bytes.
    pub(super) fn is_intact(&self) -> bool {
        RecordHash::of(&[&self.prev.0, self.covered]) == self.hash
    }
}

impl RecordHash {
    /// What is before the first record as long as nobody has read it.
    pub(super) const NONE: Self = Self([0; 32]);

    fn of(parts: &[&[u8]]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in parts {
            context.update(part);
        }
        let mut hash = [0; 32];
        for (to, from) in hash.iter_mut().zip(context.finish().as_ref()) {
            *to = *from;
        }
        Self(hash)
    }

    /// Returns its bytes.
    #[must_use]
    pub const fn bytes(&self) -> [u8; 32] {
        self.0
    }

    fn hex(&self) -> [u8; 64] {
        let mut text = [b'0'; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            if let [high, low] = pair {
                *high = hex_digit(byte >> 4);
                *low = hex_digit(byte & 15);
            }
        }
        text
    }

    fn from_hex(text: &[u8]) -> Option<Self> {
        if text.len() != 64 {
            return None;
        }
        let mut hash = [0; 32];
        // Two of these stand in each line: read by a table and judged once, they are a fifth of what an audit takes less.
        let mut all = 0;
        for (byte, pair) in hash.iter_mut().zip(text.chunks_exact(2)) {
            let [high, low] = pair else { return None };
            let (high, low) = (HEX_VALUES[usize::from(*high)], HEX_VALUES[usize::from(*low)]);
            all |= high;
            all |= low;
            *byte = high << 4 | low & 15;
        }
        (all & NO_HEX == 0).then_some(Self(hash))
    }
}

impl fmt::Display for RecordHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&String::from_utf8_lossy(&self.hex()))
    }
}

impl fmt::Debug for RecordHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for RecordHash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_hex(text.as_bytes()).ok_or("a hash is 64 lower-case hexadecimal digits")
    }
}

impl TryFrom<String> for RecordHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<RecordHash> for String {
    fn from(hash: RecordHash) -> Self {
        hash.to_string()
    }
}

/// Returns `bytes` in lower-case hexadecimal.
pub(super) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [hex_digit(byte >> 4), hex_digit(byte & 15)]).map(char::from).collect()
}

/// Reads bytes from lower-case hexadecimal.
pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    let value = |digit: &u8| Some(HEX_VALUES[usize::from(*digit)]).filter(|value| *value != NO_HEX);
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(value(high)? << 4 | value(low)?),
        _ => None,
    };
    pairs.map(byte).collect()
}

/// What each byte is as a digit; [`NO_HEX`] where it is none.
static HEX_VALUES: [u8; 256] = {
    let mut values = [NO_HEX; 256];
    let mut digit = 0;
    while digit < 16 {
        values[hex_digit(digit) as usize] = digit;
        digit += 1;
    }
    values
};
const NO_HEX: u8 = 0x80;

const fn hex_digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}

const SEQ: &[u8] = b"{\"seq\":";
const PREV: &[u8] = b",\"prev\":\"";
const HASH: &[u8] = b",\"hash\":\"";
const TAIL_BYTES: usize = HASH.len() + 64 + 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_chained() {
        let mut link = Link::genesis(Stream::Exchanges, "00");
        let before = link;
        let mut lines = Vec::new();
        link.chain(br#"{"kind":"object","note":"a, \"hash\": b"}"#, &mut lines);
        let line = Line::read(lines.strip_suffix(b"\n").unwrap()).unwrap();
        assert_eq!((line.seq, line.prev, line.hash, line.kind), (1, before.hash, link.hash, &b"object"[..]));
        assert!(line.is_intact());
        let value: serde_json::Value = serde_json::from_slice(&lines).unwrap();
        assert_eq!(value["hash"], link.hash.to_string());
        assert_eq!(value["note"], "a, \"hash\": b");
    }

    #[test]
    fn every_byte_of_a_line_is_covered() {
        let mut link = Link::genesis(Stream::Admin, "ff");
        let mut lines = Vec::new();
        link.chain(br#"{"kind":"admin","action":"reload"}"#, &mut lines);
        lines.pop();
        for index in 0..lines.len() {
            for change in [1, 0x20, 0x80] {
                let mut edited = lines.clone();
                edited[index] ^= change;
                let intact = Line::read(&edited).is_some_and(|line| line.is_intact());
                assert!(!intact, "byte {index} changed by {change}");
            }
        }
    }

    #[test]
    fn streams_and_origins_begin_different_chains() {
        let first = Link::genesis(Stream::Exchanges, "00");
        assert_ne!(first, Link::genesis(Stream::Exchanges, "01"));
        assert_ne!(first, Link::genesis(Stream::Admin, "00"));
    }
}
