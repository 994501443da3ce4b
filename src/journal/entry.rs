//! The closed set of things a journal holds, and their bytes.
//!
//! An entry knows its stream: administrative changes have one of their own, everything else is an exchange's.
//! Its bytes are one JSON object without a line break, `kind` first; at most [`MAX_RECORD_BYTES`].

use std::sync::Arc;

use serde::Serialize;

use super::chain::Stream;
use super::record::{AdminRecord, ExchangeRecord, ObjectRecord, OpenRecord, ReservationRecord};

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
}

impl Entry {
    /// Returns the stream the entry is written to.
    #[must_use]
    pub const fn stream(&self) -> Stream {
        match self {
            Self::Admin(_) => Stream::Admin,
            _ => Stream::Exchanges,
        }
    }

    /// Returns the entry as one line of JSON without the line's end; `None` if it is too large.
    pub(super) fn to_json(&self) -> Option<Vec<u8>> {
        match self {
            Self::Exchange(record) => line(&**record),
            Self::Reservation(record) => line(record),
            Self::Object(record) => line(record),
            Self::Admin(record) => line(record),
            Self::Open(record) => line(record),
        }
    }

    /// Reads an entry of `kind` from a whole line; `Ok(None)` for a kind of a later version.
    pub(super) fn from_line(kind: &[u8], line: &[u8]) -> Result<Option<Self>, serde_json::Error> {
        Ok(Some(match kind {
            b"exchange" => Self::Exchange(Arc::new(serde_json::from_slice(line)?)),
            b"reservation" => Self::Reservation(serde_json::from_slice(line)?),
            b"object" => Self::Object(serde_json::from_slice(line)?),
            b"admin" => Self::Admin(serde_json::from_slice(line)?),
            b"open" => Self::Open(serde_json::from_slice(line)?),
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

fn line(record: &impl Serialize) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(TYPICAL_RECORD_BYTES);
    serde_json::to_writer(&mut bytes, record).ok()?;
    if bytes.len() > MAX_RECORD_BYTES {
        return None;
    }
    // Spliced JSON may be laid out over several lines; in JSON a bare line break is only ever layout.
    if memchr::memchr2(b'\n', b'\r', &bytes).is_some() {
        for byte in &mut bytes {
            if matches!(*byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
    }
    Some(bytes)
}

/// The largest record that is written.
pub const MAX_RECORD_BYTES: usize = 4 << 20;
const TYPICAL_RECORD_BYTES: usize = 1536;
