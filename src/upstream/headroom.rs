//! What is left of the upstream's rate limits, pool by pool, as its answers say.
//!
//! A pool is tight while less than a twentieth of one of its limits is left and that limit has not refilled, or
//! while the wait that a 429 named has not passed. Both end by themselves, so a pool that nobody uses for being
//! tight is used again. There are as many pools as the catalog names.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

/// The pools of one upstream account.
#[derive(Debug, Default)]
pub struct Headroom(Mutex<HashMap<Arc<str>, Pool>>);

/// What an answer said of one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// The ceiling.
    pub limit: i64,
    /// What is left of it.
    pub remaining: i64,
    /// When all of it is there again.
    pub resets_at: Timestamp,
}

#[derive(Debug, Default)]
struct Pool {
    /// By kind of limit, in the order in which they are noted.
    limits: [Option<Left>; KINDS],
    waits_until: Option<Timestamp>,
}

impl Headroom {
    /// Notes what an answer of `pool` said; a kind it did not name stays as it was.
    pub fn note(&self, pool: &str, limits: [Option<Left>; KINDS]) {
        self.with(pool, |held| {
            for (held, said) in held.limits.iter_mut().zip(limits) {
                *held = said.or(*held);
            }
        });
    }

    /// Notes that `pool` asked to be left alone for `wait` from `now` on; an hour is believed.
    pub fn wait(&self, pool: &str, now: Timestamp, wait: Duration) {
        let until = now.checked_add(wait.min(WAIT_MAX)).unwrap_or(now);
        self.with(pool, |held| held.waits_until = held.waits_until.max(Some(until)));
    }

    /// Tells whether `pool` asked to be left alone and the wait has not passed.
    #[must_use]
    pub fn waits(&self, pool: &str, now: Timestamp) -> bool {
        let pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pools.get(pool).is_some_and(|pool| pool.waits(now))
    }

    /// Returns the pools that are tight, in no order.
    #[must_use]
    pub fn tight(&self, now: Timestamp) -> Vec<Arc<str>> {
        let pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pools.iter().filter(|(_, pool)| pool.is_tight(now)).map(|(name, _)| Arc::clone(name)).collect()
    }

    fn with(&self, pool: &str, change: impl FnOnce(&mut Pool)) {
        let mut pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match pools.get_mut(pool) {
            Some(held) => change(held),
            None => change(pools.entry(Arc::from(pool)).or_default()),
        }
    }
}

impl Pool {
    fn waits(&self, now: Timestamp) -> bool {
        self.waits_until.is_some_and(|until| now < until)
    }

    fn is_tight(&self, now: Timestamp) -> bool {
        let short =
            |left: &Left| left.remaining.saturating_mul(TIGHT_SHARE) < left.limit && now < left.resets_at;
        self.waits(now) || self.limits.iter().flatten().any(short)
    }
}

/// Kinds of limit: requests, tokens, input tokens, output tokens.
const KINDS: usize = 4;
/// Less than one part in so many is tight.
const TIGHT_SHARE: i64 = 20;
const WAIT_MAX: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn names(headroom: &Headroom, now: &str) -> Vec<String> {
        headroom.tight(at(now)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_pool_with_less_than_a_twentieth_left_is_tight_until_it_has_refilled() {
        let headroom = Headroom::default();
        let left = |remaining| Left { limit: 1_000, remaining, resets_at: at("2026-11-20T12:01:00Z") };
        headroom.note("haiku", [Some(left(50)), None, None, None]);
        headroom.note("opus", [Some(left(900)), None, Some(left(49)), None]);
        assert_eq!(names(&headroom, "2026-11-20T12:00:00Z"), ["opus"]);
        // Another kind says nothing of this one.
        headroom.note("opus", [Some(left(800)), None, None, None]);
        assert_eq!(names(&headroom, "2026-11-20T12:00:59Z"), ["opus"]);
        assert!(names(&headroom, "2026-11-20T12:01:00Z").is_empty());
        headroom.note("opus", [None, None, Some(left(50)), None]);
        assert!(names(&headroom, "2026-11-20T12:00:59Z").is_empty());
    }

    #[test]
    fn a_named_wait_is_kept_and_never_cut_short() {
        let headroom = Headroom::default();
        headroom.wait("opus", at("2026-11-20T12:00:00Z"), Duration::from_secs(30));
        headroom.wait("opus", at("2026-11-20T12:00:01Z"), Duration::from_secs(5));
        assert_eq!(names(&headroom, "2026-11-20T12:00:29Z"), ["opus"]);
        assert!(
            headroom.waits("opus", at("2026-11-20T12:00:29Z"))
                && !headroom.waits("haiku", at("2026-11-20T12:00:29Z"))
        );
        assert!(names(&headroom, "2026-11-20T12:00:30Z").is_empty());
        headroom.wait("opus", at("2026-11-20T13:00:00Z"), Duration::MAX);
        assert!(names(&headroom, "2026-11-20T14:00:00Z").is_empty(), "an hour at most");
    }

    #[test]
    fn absurd_numbers_make_nothing_overflow() {
        let headroom = Headroom::default();
        let left = |limit, remaining| Left { limit, remaining, resets_at: Timestamp::MAX };
        headroom.note("a", [Some(left(i64::MAX, i64::MAX)), Some(left(i64::MIN, i64::MIN)), None, None]);
        assert!(names(&headroom, "2026-11-20T12:00:00Z").is_empty());
        headroom.note("b", [Some(left(0, 0)), None, None, None]);
        assert!(names(&headroom, "2026-11-20T12:00:00Z").is_empty());
    }
}
