//! The append-only, hash-chained record of what happened; everything else is a view of it.
//!
//! Two streams of JSON lines in segments, `PATH/exchanges/*.jsonl` and `PATH/admin/*.jsonl`: `record` says what
//! is written, `chain` how lines hold together, `checkpoint` who signs for them, `desk`, `writer` and `tail` how they
//! reach the disk, `recover` how a start reads them back and `snapshot` what spares it, `verify` how an auditor does,
//! `retention` what is dropped and what stays of it, `rollup`, `recent` and `sessions` are the views in memory, `follow`
//! is for who watches it and `reader` for views that are kept elsewhere. It
//! decides nothing about requests and knows no prompt text. Bounds: 4,096 queued records and 64 MiB kept for a
//! failing disk per stream, 4 MiB a record, 64 MiB a segment.

mod cell;
mod chain;
mod changes;
mod checkpoint;
mod columns;
mod desk;
#[cfg(test)]
pub(crate) mod disk;
mod entry;
mod finds;
mod follow;
mod gathered;
mod instance;
mod prompt;
mod reader;
mod recent;
mod record;
mod recover;
mod report;
mod retention;
mod rollup;
mod sample;
mod segment;
mod sessions;
mod snapshot;
mod sweep;
mod tail;
mod trace;
mod verify;
mod walk;
mod writer;
mod written;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::oneshot;

pub use cell::{Cell, Summed};
pub use chain::{Head, RecordHash, Stream};
pub use changes::{AdminRecord, changes};
pub use checkpoint::{CheckpointRecord, SigningKey};
pub use columns::SUM_COLUMNS;
pub use entry::{Entry, Line, MAX_RECORD_BYTES};
pub use finds::GuardFind;
pub use follow::Follower;
pub use gathered::Gathered;
pub use instance::instance_id;
pub use prompt::{Marks, PromptRecord};
pub use reader::{Pause, Place, ReadFailure, Reader};
pub use recent::{Found, Recent, find};
pub use record::{
    Baselines, ExchangeRecord, ObjectName, ObjectRecord, ObjectType, OpenRecord, Outcome, ReservationRecord,
    ToolCall, UsageSource,
};
pub use recover::{OpenFailure, Recovered, Torn};
pub use report::{By, CacheSums, Query, Row, Sums, UsageReport};
pub use retention::{Dropped, RetentionFailure};
pub use rollup::{DaySums, KeptSums, Rollup};
pub use sample::{Ground, Quality, SampleRecord, SampleSums, Verdict};
pub use sessions::SessionSums;
pub use snapshot::{SnapshotPlace, View};
pub use trace::Trace;
pub use verify::{Selection, Verified, export, head, signed_heads, verify};
pub use walk::{Finding, FindingKind, WalkFailure};
pub use writer::StoreFailure;

use crate::aside::aside;
use crate::clock::Clock;
use crate::config;
use desk::{Desk, Order, Refused};
use writer::{Kept, State};

/// The journal of this process; the folder is its own until it is closed.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    key: SigningKey,
    exchanges: Lane,
    admin: Lane,
}

#[derive(Debug)]
struct Lane {
    desk: Desk,
    state: Arc<State>,
    origin: String,
}

/// How a journal fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// Whether writes and syncs succeed.
    pub is_healthy: bool,
    /// Records kept for a disk that refuses.
    pub retained: u64,
    /// Records given up since the start, because no more could be kept.
    pub dropped: u64,
    /// Writes and syncs that failed since the start.
    pub failures: u64,
}

impl Journal {
    /// Opens the journal, reading all of it: `each` gets every entry of both streams with its number.
    ///
    /// Blocks for as long as that takes. Fails if another process holds the folder, if the chain is damaged
    /// other than by a last line that was never finished, or if files cannot be read or written.
    pub fn open(
        settings: &config::Journal,
        clock: &Clock,
        each: impl FnMut(u64, Entry),
    ) -> Result<(Self, Recovered), OpenFailure> {
        Self::open_view(settings, clock, &mut snapshot::Each(each))
    }

    /// Likewise, into a view that may have been kept: it takes up the snapshot and the entries behind it.
    pub fn open_view(
        settings: &config::Journal,
        clock: &Clock,
        view: &mut impl View,
    ) -> Result<(Self, Recovered), OpenFailure> {
        let segment_bytes = SEGMENT_BYTES;
        #[cfg(test)]
        let segment_bytes = disk::segment_bytes().unwrap_or(segment_bytes);
        Self::open_with(settings, clock, segment_bytes, view, |tail| tail)
    }

    /// Keeps what the sealed segments say, so that the next start need not replay them; `view` is an empty one.
    ///
    /// Reads what was sealed since the last snapshot, in a thread that requests come before, and returns where it stands now; where
    /// that is `known` already it does nothing. Fails if segments are damaged or the file cannot be written.
    pub async fn keep_snapshot(
        &self,
        mut view: impl View + Send + 'static,
        known: Option<SnapshotPlace>,
    ) -> Result<Option<SnapshotPlace>, WalkFailure> {
        let (path, key) = (self.path.clone(), self.key.clone());
        let renewed = aside(move || snapshot::renew(&path, &key, &mut view, known));
        let failed = |source| WalkFailure::Unreadable { file: self.path.clone(), source };
        renewed.await.map_err(failed)?
    }

    fn open_with(
        settings: &config::Journal,
        clock: &Clock,
        segment_bytes: u64,
        view: &mut impl View,
        prepare: impl Fn(tail::Tail) -> tail::Tail,
    ) -> Result<(Self, Recovered), OpenFailure> {
        let path = settings.path.clone();
        let lock = Arc::new(recover::hold(&path)?);
        let key = SigningKey::read_or_make(&path)
            .map_err(|source| OpenFailure::Unusable { file: path.join(checkpoint::KEY_FILE), source })?;
        let mut found = Recovered::default();
        let mut lane = |stream| {
            let (tail, origin) =
                recover::recover(&path, stream, (&key, clock), segment_bytes, &mut found, view)?;
            let started = desk::start(stream.name(), prepare(tail), settings.fsync, Arc::clone(&lock));
            let (desk, state) =
                started.map_err(|source| OpenFailure::Unusable { file: path.clone(), source })?;
            Ok::<_, OpenFailure>(Lane { desk, state, origin })
        };
        // First the one that a snapshot is of: what is restored replaces what a view has seen.
        let (exchanges, admin) = (lane(Stream::Exchanges)?, lane(Stream::Admin)?);
        Ok((Self { path, key, exchanges, admin }, found))
    }

    /// Appends an entry; the future ends with its number once it is written, not necessarily synced.
    ///
    /// The entry is queued before the future is first polled, unless the queue is full; then the future waits for room
    /// and has to be driven. It is written when this thread's other tasks have come as far, with what they queued, or
    /// when the future is dropped. A failure to write leaves the record retained and retried.
    pub fn append(&self, entry: &Entry) -> impl Future<Output = Result<u64, StoreFailure>> + Send + use<> {
        self.append_line(entry.to_line())
    }

    /// Appends an entry that is put as a line already; `None` fails as too large.
    pub fn append_line(
        &self,
        line: Option<Line>,
    ) -> impl Future<Output = Result<u64, StoreFailure>> + Send + use<> {
        let (done, outcome) = oneshot::channel();
        let sent = self.send(line, Some(done));
        async move {
            sent.await?;
            outcome.await.map_err(|_| StoreFailure::Closed)?
        }
    }

    /// Likewise, without waiting for its number: when the future ends the entry is written unless the disk is busy, else
    /// within a millisecond when it is healthy.
    pub fn note(&self, entry: &Entry) -> impl Future<Output = Result<(), StoreFailure>> + Send + use<> {
        self.send(entry.to_line(), None)
    }

    /// Says whether both streams can be written and synced.
    #[must_use]
    pub fn healthy(&self) -> bool {
        self.health().is_healthy
    }

    /// Returns how the journal fares, both streams together.
    #[must_use]
    pub fn health(&self) -> Health {
        let (one, other) = (&self.exchanges.state, &self.admin.state);
        Health {
            is_healthy: self.exchanges.is_healthy() && self.admin.is_healthy(),
            retained: one.retained() + other.retained(),
            dropped: one.dropped() + other.dropped(),
            failures: one.failures() + other.failures(),
        }
    }

    /// Returns the last written record of a stream.
    #[must_use]
    pub fn head(&self, stream: Stream) -> Head {
        let link = self.lane(stream).state.link();
        Head { stream, seq: link.seq, hash: link.hash }
    }

    /// Takes what the exchanges behind record `seq` come to, and gathers on behind them, for one view.
    ///
    /// `None` where gathering did not begin there, or there were too many cells: then [`Reader`] has the records.
    #[must_use]
    pub fn take_gathered(&self, seq: u64) -> Option<Gathered> {
        self.exchanges.state.gathering().take(seq)
    }

    /// Gathers anew from here on, and returns the number of the last record.
    pub fn gather_anew(&self) -> u64 {
        self.exchanges.state.gathering().begin_anew()
    }

    /// Returns where the chain of exchanges begins: random, and no other journal's.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.exchanges.origin
    }

    /// Returns the journal's folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes and syncs everything queued so far, ends both streams and frees the folder.
    ///
    /// Later appends fail as closed. Fails if records could not be written.
    pub async fn flush_and_close(&self) -> Result<(), StoreFailure> {
        let exchanges = self.exchanges.close().await;
        let admin = self.admin.close().await;
        exchanges.and(admin)
    }

    fn send(
        &self,
        line: Option<Line>,
        done: Option<oneshot::Sender<Result<u64, StoreFailure>>>,
    ) -> impl Future<Output = Result<(), StoreFailure>> + Send + use<> {
        let desk = self.lane(line.as_ref().map(Line::stream).unwrap_or_default()).desk.clone();
        let sent = line.map(|mut line| {
            let summed = line.take_summed();
            desk.submit(Order::Write(Kept { record: line.into_bytes(), summed, done }))
        });
        async move {
            match sent {
                None => Err(StoreFailure::TooLarge),
                Some(Ok(queued)) => {
                    tokio::task::yield_now().await;
                    drop(queued);
                    Ok(())
                }
                Some(Err(Refused::Full(order))) => desk.submit_when_room(order).await,
                Some(Err(Refused::Closed)) => Err(StoreFailure::Closed),
            }
        }
    }

    const fn lane(&self, stream: Stream) -> &Lane {
        match stream {
            Stream::Exchanges => &self.exchanges,
            Stream::Admin => &self.admin,
        }
    }
}

impl Lane {
    /// A stream that has ended takes nothing, so it is not healthy either.
    fn is_healthy(&self) -> bool {
        self.state.is_healthy() && !self.desk.is_closed()
    }

    async fn close(&self) -> Result<(), StoreFailure> {
        let (done, closed) = oneshot::channel();
        self.desk.submit_when_room(Order::Close { done: Some(done) }).await?;
        closed.await.map_err(|_| StoreFailure::Closed)?.map(|_| ())
    }
}

/// Without an orderly end what is queued is written all the same, where the queue has room for the word.
impl Drop for Lane {
    fn drop(&mut self) {
        drop(self.desk.submit(Order::Close { done: None }));
    }
}

/// A segment that has grown this large is the last's predecessor.
const SEGMENT_BYTES: u64 = 64 << 20;
