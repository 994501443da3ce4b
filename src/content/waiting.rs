//! Texts between the request they came with and the disk: bounded, and nobody waits for room.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Texts that wait, at most [`Waiting::MAX`], and what became of the others.
#[derive(Debug)]
pub struct Waiting<T> {
    queue: Mutex<VecDeque<T>>,
    wake: Notify,
    held_bytes: Arc<AtomicUsize>,
    no_room: AtomicU64,
    failed: AtomicU64,
    kept: AtomicU64,
    stored_bytes: AtomicU64,
}

/// Bytes taken of what all texts in memory may have; given back when dropped.
#[derive(Debug)]
pub struct Room {
    all: Arc<AtomicUsize>,
    bytes: usize,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self {
            queue: Mutex::default(),
            wake: Notify::new(),
            held_bytes: Arc::default(),
            no_room: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            kept: AtomicU64::new(0),
            stored_bytes: AtomicU64::new(0),
        }
    }
}

impl<T> Waiting<T> {
    /// Most exchanges that wait.
    pub const MAX: usize = 256;
    /// Most bytes of texts in memory, of requests in flight as well as of those that wait.
    pub const BYTES_MAX: usize = 128 << 20;

    /// Takes room for so many bytes; without it the exchange counts as dropped.
    pub fn room(&self, bytes: usize) -> Option<Room> {
        let mut room = Room { all: Arc::clone(&self.held_bytes), bytes: 0 };
        if room.grow(bytes) {
            return Some(room);
        }
        self.no_room.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Queues what an exchange said, or drops and counts it; never waits.
    pub fn put(&self, texts: T) {
        let mut queue = self.queue();
        if queue.len() >= Self::MAX {
            drop(queue);
            self.no_room.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.push_back(texts);
        drop(queue);
        self.wake.notify_one();
    }

    /// Waits until there is something to take; for one reader.
    pub async fn filled(&self) {
        while self.queue().is_empty() {
            self.wake.notified().await;
        }
    }

    /// Takes so many that wait longest.
    #[must_use]
    pub fn take(&self, most: usize) -> Vec<T> {
        let mut queue = self.queue();
        let count = queue.len().min(most);
        queue.drain(..count).collect()
    }

    /// Counts what was written and what was not, and notes how much is on the disk.
    pub fn count(&self, kept: u64, failed: u64, stored_bytes: u64) {
        self.kept.fetch_add(kept, Ordering::Relaxed);
        self.failed.fetch_add(failed, Ordering::Relaxed);
        self.stored_bytes.store(stored_bytes, Ordering::Relaxed);
    }

    /// Returns what metrics show: written, dropped for want of room, dropped by the disk; and the bytes stored.
    #[must_use]
    pub fn reading(&self) -> ([u64; 3], u64) {
        let counts = [&self.kept, &self.no_room, &self.failed].map(|count| count.load(Ordering::Relaxed));
        (counts, self.stored_bytes.load(Ordering::Relaxed))
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, VecDeque<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// Takes so many bytes more; takes none and says no where they are not there.
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        let take = |held: usize| held.checked_add(bytes).filter(|held| *held <= Waiting::<()>::BYTES_MAX);
        let taken = self.all.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        self.bytes += if taken { bytes } else { 0 };
        taken
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
