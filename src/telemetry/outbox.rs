//! What is to be told to somebody else, until it is told: a bounded queue that nobody waits for.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// One message, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The same for the same event, however often and by whomever it is told.
    pub id: String,
    /// What kind of event it is.
    pub event: &'static str,
    /// JSON.
    pub body: String,
}

/// Notices that wait, at most [`Outbox::MAX`], and what became of the others.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: Mutex<VecDeque<Notice>>,
    wake: Notify,
    delivered: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

/// What became of notices since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxReading {
    /// Taken by the receiver.
    pub delivered: u64,
    /// Given up.
    pub failed: u64,
    /// Not queued, because the queue was full.
    pub dropped: u64,
}

impl Outbox {
    /// Most notices that wait.
    pub const MAX: usize = 256;

    /// Queues a notice, or drops it where there is no room; never waits.
    pub fn put(&self, notice: Notice) {
        let mut waiting = self.waiting();
        if waiting.len() >= Self::MAX {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            drop(waiting);
            tracing::warn!(id = notice.id, event = notice.event, "a notice was dropped: too many wait");
            return;
        }
        waiting.push_back(notice);
        drop(waiting);
        self.wake.notify_one();
    }

    /// Takes the notice that waits longest; for one reader.
    pub async fn next(&self) -> Notice {
        loop {
            if let Some(notice) = self.try_next() {
                return notice;
            }
            self.wake.notified().await;
        }
    }

    /// Takes it where there is one.
    #[must_use]
    pub fn try_next(&self) -> Option<Notice> {
        self.waiting().pop_front()
    }

    /// Counts a notice that was taken.
    pub fn count(&self, delivered: bool) {
        let counter = if delivered { &self.delivered } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns what metrics show.
    #[must_use]
    pub fn reading(&self) -> OutboxReading {
        OutboxReading {
            delivered: self.delivered.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, VecDeque<Notice>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(number: usize) -> Notice {
        Notice { id: number.to_string(), event: "test", body: String::new() }
    }

    #[tokio::test]
    async fn notices_come_in_order_and_what_finds_no_room_is_counted() {
        let outbox = Outbox::default();
        (0..Outbox::MAX + 3).for_each(|number| outbox.put(notice(number)));
        for number in 0..Outbox::MAX {
            assert_eq!(outbox.next().await, notice(number));
        }
        assert_eq!(outbox.try_next(), None);
        outbox.count(true);
        outbox.count(false);
        assert_eq!(outbox.reading(), OutboxReading { delivered: 1, failed: 1, dropped: 3 });
    }
}
