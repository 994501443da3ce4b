//! The closed set of things a journal holds, and their bytes.
//!
//! An entry knows its stream: administrative changes have one of their own, everything else is an exchange's.
//! Its bytes are one JSON object without a line break, `kind` first; at most [`MAX_RECORD_BYTES`].

use std::sync::Arc;

use super::cell::Summed;
use super::chain::Stream;
use super::changes::AdminRecord;
use super::checkpoint::CheckpointRecord;
use super::record::{ExchangeRecord, ObjectRecord, OpenRecord, ReservationRecord};

/// One record of any kind.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A settled exchange.
    Exchange(Arc<ExchangeRecord>),
    /// What is held for a request in flight.
    Reservation(ReservationRecord),
    /// An upstream object and its owner.
    Object(ObjectRecord),
    /// An administrative change.
    Admin(AdminRecord),
    /// The beginning of a stream.
    Open(OpenRecord),
    /// A signature over the record before it.
    Checkpoint(CheckpointRecord),
}

/// An entry as it is written, put as JSON once for everybody who writes it down.
#[derive(Clone, Debug)]
pub struct Line {
    stream: Stream,
    json: String,
    /// What the exchange it tells of comes to.
    summed: Option<Box<Summed>>,
}

impl Entry {
    /// Returns the stream the entry is written to.
    #[must_use]
    pub const fn stream(&self) -> Stream {
        match self {
            Self::Admin(_) => Stream::Admin,
            Self::Checkpoint(checkpoint) => checkpoint.stream,
            _ => Stream::Exchanges,
        }
    }

    /// Returns the entry as one line of JSON; `None` if it is too large.
    #[must_use]
    pub fn to_line(&self) -> Option<Line> {
        let json = match self {
            Self::Exchange(record) => record.to_json(),
            Self::Reservation(record) => record.to_json(),
            Self::Object(record) => serde_json::to_string(record).ok()?,
            Self::Admin(record) => serde_json::to_string(record).ok()?,
            Self::Open(record) => serde_json::to_string(record).ok()?,
            Self::Checkpoint(record) => serde_json::to_string(record).ok()?,
        };
        // Spliced JSON may be laid out over several lines; in JSON a bare line break is only ever layout.
        let json = match memchr::memchr2(b'\n', b'\r', json.as_bytes()) {
            None => json,
            Some(_) => json.replace(['\n', '\r'], " "),
        };
        let summed = match self {
            Self::Exchange(record) => Some(Box::new(Summed::of(record))),
            _ => None,
        };
        (json.len() <= MAX_RECORD_BYTES).then_some(Line { stream: self.stream(), json, summed })
    }

    /// Reads an entry of `kind` from a whole line; `Ok(None)` for a kind of a later version.
    pub(super) fn from_line(kind: &[u8], line: &[u8]) -> Result<Option<Self>, serde_json::Error> {
        Ok(Some(match kind {
            b"exchange" => Self::Exchange(Arc::new(serde_json::from_slice(line)?)),
            RESERVATION => Self::Reservation(serde_json::from_slice(line)?),
            b"object" => Self::Object(serde_json::from_slice(line)?),
            b"admin" => Self::Admin(serde_json::from_slice(line)?),
            b"open" => Self::Open(serde_json::from_slice(line)?),
            CHECKPOINT => Self::Checkpoint(serde_json::from_slice(line)?),
            _ => return Ok(None),
        }))
    }
}

impl From<ExchangeRecord> for Entry {
    fn from(record: ExchangeRecord) -> Self {
        Self::Exchange(Arc::new(record))
    }
}

impl From<ReservationRecord> for Entry {
    fn from(record: ReservationRecord) -> Self {
        Self::Reservation(record)
    }
}

impl From<ObjectRecord> for Entry {
    fn from(record: ObjectRecord) -> Self {
        Self::Object(record)
    }
}

impl From<AdminRecord> for Entry {
    fn from(record: AdminRecord) -> Self {
        Self::Admin(record)
    }
}

impl Line {
    pub(super) const fn stream(&self) -> Stream {
        self.stream
    }

    /// Returns the JSON object, `kind` first, without the line's end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.json
    }

    /// Returns what the exchange it tells of comes to; `None` where it tells of something else.
    #[must_use]
    pub fn summed(&self) -> Option<&Summed> {
        self.summed.as_deref()
    }

    pub(super) fn take_summed(&mut self) -> Option<Box<Summed>> {
        self.summed.take()
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.json.into_bytes()
    }
}

/// The kind of a reservation's record.
pub(super) const RESERVATION: &[u8] = b"reservation";
/// The kind of a checkpoint's record.
pub(super) const CHECKPOINT: &[u8] = b"checkpoint";
/// The largest record that is written.
pub const MAX_RECORD_BYTES: usize = 4 << 20;
