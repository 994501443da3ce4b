//! What is held, by number: a reservation that its exchange lost is found here and does not stay held for ever.
//!
//! A lease ends once: by its reservation, or by the sweep that finds it silent for longer than any exchange may be. It
//! has no clock of its own; an exchange that moves leaves a mark, and the sweep takes the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use foldhash::quality::RandomState;

use super::cell::Claim;
use super::locks::{Mutex, MutexGuard, PoisonError};

/// All leases that are open; as many as there are reservations.
#[derive(Debug, Default)]
pub(super) struct Leases {
    open: DashMap<u64, Arc<Lease>, RandomState>,
    opened: AtomicU64,
}

/// What one reservation holds.
#[derive(Debug)]
pub(super) struct Lease {
    number: u64,
    moved: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Held {
        claims: Vec<Claim>,
        /// The first sweep that found it without a mark, since its last one.
        silent_since: Option<Instant>,
    },
    /// Settled as held by a sweep; its exchange may yet tell what it came to.
    Expired(Vec<Claim>),
    Ended,
}

/// What the end of a reservation finds.
pub(super) enum Ended {
    /// What it held, now the caller's to settle.
    Held(Vec<Claim>),
    /// What a sweep has settled as held.
    Expired(Vec<Claim>),
    /// It has ended before.
    Before,
}

impl Leases {
    pub(super) fn open(&self, claims: Vec<Claim>) -> Arc<Lease> {
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let state = Mutex::new(State::Held { claims, silent_since: None });
        let lease = Arc::new(Lease { number, moved: AtomicBool::new(true), state });
        self.open.insert(number, Arc::clone(&lease));
        lease
    }

    /// Ends a lease and hands out what there is to settle.
    pub(super) fn end(&self, lease: &Lease) -> Ended {
        let state = std::mem::replace(&mut *lease.lock(), State::Ended);
        match state {
            State::Held { claims, .. } => {
                self.open.remove(&lease.number);
                Ended::Held(claims)
            }
            State::Expired(claims) => Ended::Expired(claims),
            State::Ended => Ended::Before,
        }
    }

    /// Hands out, by number, what leases held that gave no sign of life for `silence`.
    pub(super) fn expired(&self, now: Instant, silence: Duration) -> Vec<(u64, Vec<Claim>)> {
        let all: Vec<Arc<Lease>> = self.open.iter().map(|entry| Arc::clone(entry.value())).collect();
        let expired = all.iter().filter_map(|lease| Some((lease.number, lease.expire(now, silence)?)));
        let expired: Vec<_> = expired.collect();
        for (number, _) in &expired {
            self.open.remove(number);
        }
        expired
    }
}

impl Lease {
    /// Leaves a mark that the exchange goes on.
    pub(super) fn touch(&self) {
        self.moved.store(true, Ordering::Relaxed);
    }

    fn expire(&self, now: Instant, silence: Duration) -> Option<Vec<Claim>> {
        let mut state = self.lock();
        let State::Held { claims, silent_since } = &mut *state else { return None };
        if self.moved.swap(false, Ordering::Relaxed) || silent_since.is_none() {
            *silent_since = Some(now);
            return None;
        }
        if silent_since.is_some_and(|since| now.saturating_duration_since(since) < silence) {
            return None;
        }
        let claims = std::mem::take(claims);
        *state = State::Expired(claims.clone());
        Some(claims)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
