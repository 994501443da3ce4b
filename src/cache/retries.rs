//! Requests of late, so that a client's retry gets the answer of its original and not a second one.
//!
//! Only clients that mark their retries are remembered: `x-stainless-retry-count`, which the official ones send with
//! every request, or `idempotency-key`. A retry is the same key, user, query, headers and bytes. One that
//! follows a failure its client was told of is none: it goes upstream as any request does.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{CachedAnswer, Flight, Found};

/// A request as its retry repeats it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exact {
    terms: Box<[u8]>,
    body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Body {
    /// Of at most [`BODY_HELD_MAX_BYTES`].
    Held(Bytes),
    Hashed([u8; 32]),
}

/// Originals that run, and those that ended within [`WINDOW`], up to `HELD_MAX_BYTES`; safe to share.
#[derive(Default)]
pub struct Retries {
    recent: Mutex<Recent>,
    marks: RandomState,
}

#[derive(Default)]
struct Recent {
    originals: HashMap<u64, Original>,
    ended: VecDeque<Ended>,
    held_bytes: usize,
}

struct Original {
    exact: Exact,
    flight: Arc<Flight>,
    answer: Option<Arc<CachedAnswer>>,
    /// Failures that clients were told of and have not come back from.
    failures: u32,
}

struct Ended {
    at: Instant,
    mark: u64,
    flight: Arc<Flight>,
    bytes: usize,
}

impl Exact {
    /// Gathers what a retry has in common with its original.
    #[must_use]
    pub fn of(terms: &[&[u8]], body: &Bytes) -> Self {
        let mut joined = Vec::with_capacity(256);
        for term in terms {
            joined.extend_from_slice(&(term.len() as u64).to_le_bytes());
            joined.extend_from_slice(term);
        }
        let body = match body.len() {
            ..=BODY_HELD_MAX_BYTES => Body::Held(body.clone()),
            _ => Body::Hashed(*blake3::hash(body).as_bytes()),
        };
        Self { terms: joined.into(), body }
    }

    /// Hashes the terms and a sample of the body; who has the same hash is compared.
    fn mark(&self, marks: &RandomState) -> u64 {
        let mut hasher = marks.build_hasher();
        hasher.write(&self.terms);
        match &self.body {
            Body::Hashed(hash) => hasher.write(hash),
            Body::Held(body) => {
                hasher.write_usize(body.len());
                let step = (body.len() / SAMPLES).max(SAMPLE_BYTES);
                body.chunks(step).for_each(|part| hasher.write(part.get(..SAMPLE_BYTES).unwrap_or(part)));
                hasher.write(body.get(body.len().saturating_sub(TAIL_BYTES)..).unwrap_or_default());
            }
        }
        hasher.finish()
    }

    fn held_bytes(&self) -> usize {
        match &self.body {
            // A body is a slice of the buffer it was read into.
            Body::Held(body) => body.len().max(BUFFER_BYTES),
            Body::Hashed(hash) => hash.len(),
        }
    }
}

impl Retries {
    /// Returns what a retry shares with its original, if that is remembered and did not fail.
    #[must_use]
    pub fn claim(&self, exact: &Exact, now: Instant) -> Option<Found<Arc<CachedAnswer>>> {
        let mut recent = self.recent();
        recent.forget(now);
        let original = recent.originals.get_mut(&exact.mark(&self.marks))?;
        if original.exact != *exact {
            return None;
        }
        if original.failures > 0 {
            original.failures -= 1;
            return None;
        }
        match &original.answer {
            Some(answer) => Some(Found::Kept(Arc::clone(answer))),
            None => original.flight.join().map(Found::Join),
        }
    }

    /// Remembers a request that is about to be sent, in place of an equal one before it.
    pub fn begin(&self, exact: Exact, flight: &Arc<Flight>) {
        let mark = exact.mark(&self.marks);
        let mut recent = self.recent();
        let before = recent.originals.get(&mark).filter(|original| original.exact == exact);
        let failures = before.map_or(0, |original| original.failures);
        let original = Original { exact, flight: Arc::clone(flight), answer: None, failures };
        recent.originals.insert(mark, original);
    }

    /// Notes how a request ended: with an answer, or with a failure its client was told of.
    pub fn end(&self, exact: &Exact, flight: &Arc<Flight>, answer: Option<Arc<CachedAnswer>>, now: Instant) {
        let mark = exact.mark(&self.marks);
        let mut recent = self.recent();
        recent.forget(now);
        let Some(original) = recent.originals.get_mut(&mark).filter(|original| original.exact == *exact)
        else {
            return;
        };
        original.failures += u32::from(answer.is_none());
        if !Arc::ptr_eq(&original.flight, flight) {
            return;
        }
        let bytes = exact.held_bytes() + answer.as_ref().map_or(0, |answer| answer.weight_bytes());
        original.answer = answer;
        recent.held_bytes += bytes;
        recent.ended.push_back(Ended { at: now, mark, flight: Arc::clone(flight), bytes });
        recent.forget(now);
    }

    /// Returns how many requests are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.recent().originals.len()
    }

    /// Tells whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    /// Lets go of what ended too long ago, and of the oldest where all of it is too much.
    fn forget(&mut self, now: Instant) {
        while let Some(oldest) = self.ended.front() {
            let fresh = now.saturating_duration_since(oldest.at) < WINDOW;
            if fresh && self.held_bytes <= HELD_MAX_BYTES {
                return;
            }
            let Some(oldest) = self.ended.pop_front() else { return };
            self.held_bytes = self.held_bytes.saturating_sub(oldest.bytes);
            // A later request of the same bytes may have taken its place.
            let original = self.originals.get(&oldest.mark);
            if original.is_some_and(|original| Arc::ptr_eq(&original.flight, &oldest.flight)) {
                self.originals.remove(&oldest.mark);
            }
        }
    }
}

/// How long an original is remembered after it ended; the official clients come back within eight seconds.
pub const WINDOW: Duration = Duration::from_secs(30);
/// Ended requests and their answers, all together.
const HELD_MAX_BYTES: usize = 32 << 20;
/// The largest body that is held to be compared; of larger ones the hash is.
const BODY_HELD_MAX_BYTES: usize = 64 << 10;
/// What a read buffer holds at least.
const BUFFER_BYTES: usize = 8 << 10;
/// Pieces of a body that are hashed to find it, and their size; and the end, where the last turn and the model are.
const SAMPLES: usize = 8;
const SAMPLE_BYTES: usize = 32;
const TAIL_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn exact(user: &str, body: &str) -> Exact {
        Exact::of(&[user.as_bytes(), b""], &Bytes::from(body.to_owned()))
    }

    fn answer(bytes: usize) -> Arc<CachedAnswer> {
        Arc::new(CachedAnswer {
            headers: http::HeaderMap::new(),
            body: vec![0; bytes].into(),
            streamed: false,
            facts: Arc::default(),
            made_at: jiff::Timestamp::UNIX_EPOCH,
        })
    }

    #[test]
    fn an_answer_is_there_for_a_short_window_and_then_nothing_is_held() {
        let (retries, flight, begun) = (Retries::default(), Flight::new(1_000), Clock::default().instant());
        let one = exact("ann", "hi");
        retries.begin(one.clone(), &flight);
        assert!(matches!(retries.claim(&one, begun), Some(Found::Join(_))));
        assert!(retries.claim(&exact("bob", "hi"), begun).is_none());
        assert!(retries.claim(&exact("ann", "hi "), begun).is_none());
        retries.end(&one, &flight, Some(answer(10)), begun);
        assert!(matches!(retries.claim(&one, begun + WINDOW / 2), Some(Found::Kept(_))));
        assert!(retries.claim(&one, begun + WINDOW).is_none());
        assert!(retries.is_empty());
        assert_eq!(retries.recent().held_bytes, 0);
    }

    #[test]
    fn a_failure_is_paid_back_by_one_retry() {
        let (retries, now, one) = (Retries::default(), Clock::default().instant(), exact("ann", "hi"));
        let (first, second) = (Flight::new(1_000), Flight::new(1_000));
        retries.begin(one.clone(), &first);
        retries.begin(one.clone(), &second);
        retries.end(&one, &first, None, now);
        assert!(retries.claim(&one, now).is_none(), "it follows the failure");
        assert!(matches!(retries.claim(&one, now), Some(Found::Join(_))), "the other still runs");
    }

    #[test]
    fn what_is_held_is_bounded_and_a_large_body_is_known_by_its_hash() {
        let (retries, now) = (Retries::default(), Clock::default().instant());
        for number in 0..100 {
            let flight = Flight::new(1_000);
            let one = exact("ann", &format!("{number}{}", "x".repeat(BODY_HELD_MAX_BYTES)));
            assert_eq!(one.held_bytes(), 32);
            retries.begin(one.clone(), &flight);
            retries.end(&one, &flight, Some(answer(1 << 20)), now);
            assert!(matches!(retries.claim(&one, now), Some(Found::Kept(_))));
            assert!(retries.recent().held_bytes <= HELD_MAX_BYTES);
        }
        assert_eq!(retries.len(), 31);
        assert_eq!(retries.recent().ended.len(), 31);
    }
}
