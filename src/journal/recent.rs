//! The last exchanges, for the dashboard's list, and the search for one by its id; the last sessions.
//!
//! The ring holds the last [`RING_RECORDS`] records; older ones are searched for in the segments, newest file
//! first. The search reads files and blocks; it does not verify the chain.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use memchr::memmem;

use super::chain::{Line, Stream};
use super::record::ExchangeRecord;
use super::segment::{self, Lines};
use super::sessions::{SessionSums, Sessions};

/// A ring of the last exchanges, shared.
#[derive(Debug, Default)]
pub struct Recent {
    records: Mutex<VecDeque<Arc<ExchangeRecord>>>,
    sessions: Sessions,
}

/// An exchange found in the journal.
#[derive(Clone, Debug)]
pub struct Found {
    /// The record's number.
    pub seq: u64,
    /// The whole line as it was written, without its end.
    pub line: String,
    /// The same, read.
    pub record: ExchangeRecord,
}

impl Recent {
    /// Adds an exchange of a client; the oldest leaves.
    pub fn add(&self, record: Arc<ExchangeRecord>) {
        if record.sample.is_some() {
            return;
        }
        self.sessions.add(&record);
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        if records.len() >= RING_RECORDS {
            records.pop_front();
        }
        records.push_back(record);
    }

    /// Returns the last `count` exchanges, newest first.
    #[must_use]
    pub fn last(&self, count: usize) -> Vec<Arc<ExchangeRecord>> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.iter().rev().take(count).cloned().collect()
    }

    /// Returns what a session has used, by tenant; of the last 10,000 sessions.
    #[must_use]
    pub fn session(&self, session: &str) -> Vec<(String, SessionSums)> {
        self.sessions.get(session)
    }

    /// Returns the exchange with this id, ours or the upstream's, if it is among the last.
    #[must_use]
    pub fn get(&self, request_id: &str) -> Option<Arc<ExchangeRecord>> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.iter().rev().find(|record| is_named(record, request_id)).cloned()
    }
}

/// Searches the journal at `path` for the exchange with this id, ours or the upstream's.
///
/// Blocks; fails if a segment cannot be read.
pub fn find(path: &Path, request_id: &str) -> io::Result<Option<Found>> {
    let finder = memmem::Finder::new(request_id);
    let mut found = None;
    for segment in segment::list(&path.join(Stream::Exchanges.name()))?.into_iter().rev() {
        let mut lines = Lines::open(&segment.path)?;
        while let Some(raw) = lines.next()? {
            if finder.find(raw.bytes).is_none() {
                continue;
            }
            let Some(line) = Line::read(raw.bytes).filter(|line| line.kind == b"exchange") else { continue };
            if let Ok(record) = serde_json::from_slice::<ExchangeRecord>(raw.bytes)
                && is_named(&record, request_id)
            {
                let text = String::from_utf8_lossy(raw.bytes).into_owned();
                found = Some(Found { seq: line.seq, line: text, record });
            }
        }
        if found.is_some() {
            break;
        }
    }
    Ok(found)
}

fn is_named(record: &ExchangeRecord, request_id: &str) -> bool {
    record.request_id.as_str() == request_id || record.upstream_request_id.as_deref() == Some(request_id)
}

/// How many exchanges the ring holds.
pub(super) const RING_RECORDS: usize = 200;
