//! What writes one stream: groups of records, chained, and whoever waits answered after the write.
//!
//! A second thread syncs: at once after the first write, then at most once per interval, so a power cut loses no more
//! than an interval and a sync. When a write fails, the waiters are told, the records are kept (at most
//! [`RETAINED_BYTES`]) and tried again in order; until one succeeds the stream is not healthy. Who writes, and when,
//! is for [`super::desk`] to say.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use super::cell::Summed;
use super::chain::Link;
use super::gathered::Gathering;
use super::tail::Tail;

pub(super) type Waiter = oneshot::Sender<Result<u64, StoreFailure>>;

/// Why a record is not, or not yet, in the journal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreFailure {
    /// The journal is closed.
    #[error("the journal is closed")]
    Closed,
    /// The record is over the bound, or cannot be put as JSON.
    #[error("the record is too large for the journal")]
    TooLarge,
    /// The write failed; the record is kept and tried again, but nothing promises that it will succeed.
    #[error("the journal cannot be written: {0}")]
    Unwritten(String),
}

/// What is known of a stream from outside.
#[derive(Debug)]
pub(super) struct State {
    link: Mutex<Link>,
    is_failing: AtomicBool,
    is_unsynced: AtomicBool,
    is_syncing: AtomicBool,
    retained: AtomicU64,
    dropped: AtomicU64,
    failures: AtomicU64,
    gathering: Gathering,
}

impl State {
    /// What the exchanges come to that were written last.
    pub(super) const fn gathering(&self) -> &Gathering {
        &self.gathering
    }

    pub(super) fn link(&self) -> Link {
        *self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether writes succeed; a failed sync is never forgotten, as the system may have dropped its pages.
    pub(super) fn is_healthy(&self) -> bool {
        !self.is_failing.load(Ordering::Acquire) && !self.is_unsynced.load(Ordering::Acquire)
    }

    fn note_sync(&self, synced: io::Result<()>) {
        if let Err(error) = synced {
            tracing::error!(%error, "the journal could not be synced; restart to check what is on the disk");
            self.is_unsynced.store(true, Ordering::Release);
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn retained(&self) -> u64 {
        self.retained.load(Ordering::Relaxed)
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Writes and syncs that failed since the start; never falls.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}

/// The end of a stream, and what waits for the disk.
#[derive(Debug)]
pub(super) struct Writer {
    tail: Tail,
    state: Arc<State>,
    kept: Vec<Kept>,
    kept_bytes: usize,
    current: Arc<Mutex<Option<Arc<File>>>>,
    ticks: Ticks,
}

/// The way to who syncs; full means that a sync is due anyway, and it begins after this write.
#[derive(Debug)]
enum Ticks {
    Thread(blocking::SyncSender<()>),
    /// Where a simulation has but one thread.
    #[cfg(test)]
    Task(Arc<tokio::sync::Notify>),
}

/// A record to be written.
#[derive(Debug)]
pub(super) struct Kept {
    /// One JSON object.
    pub(super) record: Vec<u8>,
    /// What the exchange it tells of comes to.
    pub(super) summed: Option<Box<Summed>>,
    /// Who waits to hear its number.
    pub(super) done: Option<Waiter>,
}

impl Writer {
    /// Returns the writer of the stream that ends with `tail`, and starts the thread that syncs it.
    pub(super) fn start(name: &str, tail: Tail, fsync: Duration) -> io::Result<Self> {
        let state = Arc::new(State {
            link: Mutex::new(tail.link()),
            is_failing: AtomicBool::new(false),
            is_unsynced: AtomicBool::new(false),
            is_syncing: AtomicBool::new(false),
            retained: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            gathering: Gathering::behind(tail.place()),
        });
        let current = Arc::new(Mutex::new(tail.file()));
        let (synced, synced_state) = (Arc::clone(&current), Arc::clone(&state));
        #[cfg(test)]
        if let Some(disk) = tail.faults.disk() {
            let ticked = Arc::new(tokio::sync::Notify::new());
            let ticks = Ticks::Task(Arc::clone(&ticked));
            tokio::spawn(played::keep_synced(synced, ticked, (disk.clone(), fsync), synced_state));
            return Ok(Self { tail, state, kept: Vec::new(), kept_bytes: 0, current, ticks });
        }
        let (ticks, ticked) = blocking::sync_channel(1);
        let ticks = Ticks::Thread(ticks);
        thread::Builder::new().name(format!("sync-{name}")).spawn(move || {
            keep_synced(&synced, &ticked, fsync, &synced_state);
        })?;
        Ok(Self { tail, state, kept: Vec::new(), kept_bytes: 0, current, ticks })
    }

    pub(super) fn state(&self) -> Arc<State> {
        Arc::clone(&self.state)
    }

    /// Says whether the next group is likely to be written without waiting for the disk: nothing is tried again, no
    /// segment begins, and no sync runs, as file systems let a write wait for one.
    pub(super) fn is_quick(&self) -> bool {
        let syncs = self.state.is_syncing.load(Ordering::Acquire);
        self.kept.is_empty() && !syncs && !self.tail.begins_segment()
    }

    /// Says whether something is kept for a disk that refused it.
    pub(super) fn waits_for_disk(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Takes a record to be written by the next [`Self::commit`]; beyond the bound it is dropped, and said so.
    pub(super) fn keep(&mut self, kept: Kept) {
        if self.kept_bytes + kept.record.len() > RETAINED_BYTES {
            self.state.dropped.fetch_add(1, Ordering::Relaxed);
            tracing::error!(
                dropped = self.state.dropped(),
                "a record was dropped: the journal cannot be written and holds no more"
            );
            tell(kept.done, &StoreFailure::Unwritten("too many records wait for the disk".to_owned()));
            return;
        }
        self.kept_bytes += kept.record.len();
        self.kept.push(kept);
    }

    /// Tries to write all that is kept, in groups, in order.
    pub(super) fn commit(&mut self) {
        while !self.kept.is_empty() {
            let count = group_len(&self.kept, self.tail.until_checkpoint());
            let begins_segment = self.tail.begins_segment();
            let group = self.kept.iter().take(count).map(|kept| kept.record.as_slice());
            if let Err(error) = self.tail.write(group) {
                self.fail(&error);
                return;
            }
            self.publish(count, begins_segment);
            if count == self.kept.len() {
                self.heal();
            }
            let mut seq = self.tail.link().seq - count as u64;
            for kept in self.kept.drain(..count) {
                seq += 1;
                self.kept_bytes -= kept.record.len();
                if let Some(done) = kept.done {
                    // Whoever waited may have left; the record is written all the same.
                    let _ = done.send(Ok(seq));
                }
            }
        }
    }

    /// Notes that nothing waits for the disk any more, before anybody hears that their record is written.
    fn heal(&self) {
        self.state.retained.store(0, Ordering::Relaxed);
        if self.state.is_failing.swap(false, Ordering::AcqRel) {
            tracing::warn!(seq = self.tail.link().seq, "the journal is written again");
        }
    }

    /// Makes the new end of the stream, `count` records further, known to readers and to the thread that syncs.
    fn publish(&mut self, count: usize, begins_segment: bool) {
        let exchanges = self.kept.iter_mut().take(count).filter_map(|kept| kept.summed.take());
        self.state.gathering.add(exchanges, self.tail.place());
        *self.state.link.lock().unwrap_or_else(PoisonError::into_inner) = self.tail.link();
        if begins_segment {
            *self.current.lock().unwrap_or_else(PoisonError::into_inner) = self.tail.file();
        }
        match &self.ticks {
            Ticks::Thread(ticks) => drop(ticks.try_send(())),
            #[cfg(test)]
            Ticks::Task(ticked) => ticked.notify_one(),
        }
    }

    fn fail(&mut self, error: &io::Error) {
        self.state.retained.store(self.kept.len() as u64, Ordering::Relaxed);
        self.state.failures.fetch_add(1, Ordering::Relaxed);
        if !self.state.is_failing.swap(true, Ordering::AcqRel) {
            tracing::error!(%error, records = self.kept.len(), "the journal cannot be written");
        }
        let failure = StoreFailure::Unwritten(error.to_string());
        for kept in &mut self.kept {
            tell(kept.done.take(), &failure);
        }
    }

    /// Syncs what was written; fails where something is kept that was not.
    pub(super) fn close(&mut self) -> Result<Link, StoreFailure> {
        if !self.kept.is_empty() {
            let records = self.kept.len();
            tracing::error!(records, "the journal closes without records that it could not write");
            return Err(StoreFailure::Unwritten(format!("{records} records are lost")));
        }
        let synced = self.tail.file().map_or(Ok(()), |file| self.tail.sync(&file));
        synced.map_err(|error| StoreFailure::Unwritten(error.to_string()))?;
        Ok(self.tail.link())
    }
}

fn tell(done: Option<Waiter>, failure: &StoreFailure) {
    if let Some(done) = done {
        // Whoever waited may have left.
        let _ = done.send(Err(failure.clone()));
    }
}

/// Returns how many records make the next group, at least one and beyond that at most `most`.
fn group_len(kept: &[Kept], most: usize) -> usize {
    let mut bytes = 0;
    let fitting = kept.iter().take(most).take_while(|kept| {
        bytes += kept.record.len();
        bytes <= GROUP_BYTES
    });
    fitting.count().max(1)
}

/// Syncs the current file after a tick, then rests for the interval.
fn keep_synced(
    current: &Mutex<Option<Arc<File>>>,
    ticks: &blocking::Receiver<()>,
    interval: Duration,
    state: &State,
) {
    while ticks.recv().is_ok() {
        let file = current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        state.is_syncing.store(true, Ordering::Release);
        let synced = file.map_or(Ok(()), |file| file.sync_data());
        state.is_syncing.store(false, Ordering::Release);
        state.note_sync(synced);
        thread::sleep(interval);
    }
}

/// The size of a group, not counting its last record.
const GROUP_BYTES: usize = 4 << 20;
/// How much is kept for a disk that refuses; beyond it records are dropped, counted and logged.
pub(super) const RETAINED_BYTES: usize = 64 << 20;

/// Who syncs as a task, by the runtime's time.
#[cfg(test)]
mod played {
    use super::{Arc, Duration, File, Mutex, Ordering, State};
    use crate::journal::disk::Disk;

    pub(super) async fn keep_synced(
        current: Arc<Mutex<Option<Arc<File>>>>,
        ticked: Arc<tokio::sync::Notify>,
        (disk, interval): (Disk, Duration),
        state: Arc<State>,
    ) {
        loop {
            ticked.notified().await;
            let file = current.lock().unwrap().clone();
            state.is_syncing.store(true, Ordering::Release);
            tokio::time::sleep(disk.sync_time()).await;
            state.is_syncing.store(false, Ordering::Release);
            state.note_sync(file.map_or(Ok(()), |file| disk.sync(&file)));
            tokio::time::sleep(interval).await;
        }
    }
}
