//! Whether an upstream is worth asking: closed while it answers, open for a while after failures in a row.
//!
//! While open one request in each pause goes through to see whether it answers again. It is let through and not waited
//! for, as an answer may take minutes: the next may follow it after the next pause.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What one attempt said of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It answered.
    Answers,
    /// It answered that it cannot: 502, 503, 504, 529.
    Overloaded,
    /// No connection, or no answer on one.
    Unreachable,
}

/// An upstream that is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// Until it is tried again.
    pub wait: Duration,
    /// Whether nothing was heard of it at all.
    pub unreachable: bool,
}

/// What an attempt changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is left alone from now on.
    Opened,
    /// It answers again.
    Closed,
}

/// The breaker of one upstream; safe to share.
#[derive(Debug, Default)]
pub struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    unreachable: bool,
    open: Option<Until>,
}

#[derive(Debug)]
struct Until {
    next: Instant,
    pause: Duration,
}

impl Breaker {
    /// Lets a request through, or says how long the upstream is left alone.
    ///
    /// # Errors
    /// While open, but for one request a pause.
    pub fn admit(&self, now: Instant) -> Result<(), Open> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let unreachable = state.unreachable;
        let Some(until) = &mut state.open else { return Ok(()) };
        if now < until.next {
            return Err(Open { wait: until.next.duration_since(now), unreachable });
        }
        until.pause = (until.pause * 2).min(PAUSE_MAX);
        until.next = now + until.pause;
        Ok(())
    }

    /// Notes what an attempt said.
    pub fn note(&self, health: Health, now: Instant) -> Option<Change> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if health == Health::Answers {
            let was_open = state.open.is_some();
            *state = State::default();
            return was_open.then_some(Change::Closed);
        }
        state.unreachable = health == Health::Unreachable;
        state.failures = state.failures.saturating_add(1);
        if state.open.is_some() || state.failures < FAILURES {
            return None;
        }
        state.open = Some(Until { next: now + PAUSE, pause: PAUSE });
        Some(Change::Opened)
    }
}

/// Failures in a row that open it.
const FAILURES: u32 = 5;
/// How long it is left alone at first; doubled with each try.
const PAUSE: Duration = Duration::from_secs(1);
/// And at most.
const PAUSE_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn failed(breaker: &Breaker, times: u32, now: Instant) -> Option<Change> {
        (0..times).map(|_| breaker.note(Health::Unreachable, now)).last().flatten()
    }

    #[test]
    fn failures_in_a_row_open_it_and_an_answer_between_them_does_not_let_them() {
        let (breaker, now) = (Breaker::default(), Clock::default().instant());
        assert_eq!(failed(&breaker, FAILURES - 1, now), None);
        assert_eq!(breaker.note(Health::Answers, now), None);
        assert_eq!(failed(&breaker, FAILURES - 1, now), None);
        assert_eq!(breaker.admit(now), Ok(()));
        assert_eq!(failed(&breaker, 1, now), Some(Change::Opened));
        assert_eq!(breaker.admit(now), Err(Open { wait: PAUSE, unreachable: true }));
        // What was under way and fails as well says nothing new.
        assert_eq!(failed(&breaker, 50, now), None);
        assert_eq!(breaker.admit(now + PAUSE / 2), Err(Open { wait: PAUSE / 2, unreachable: true }));
    }

    #[test]
    fn one_request_a_pause_is_let_through_and_pauses_double_to_ten_seconds() {
        let (breaker, mut now) = (Breaker::default(), Clock::default().instant());
        failed(&breaker, FAILURES, now);
        let mut waited = Vec::new();
        for _ in 0..6 {
            let wait = breaker.admit(now).unwrap_err().wait;
            now += wait;
            assert_eq!(breaker.admit(now), Ok(()));
            assert!(breaker.admit(now).is_err(), "the second one waits");
            waited.push(wait.as_secs());
        }
        assert_eq!(waited, [1, 2, 4, 8, 10, 10]);
        assert_eq!(breaker.note(Health::Answers, now), Some(Change::Closed));
        assert_eq!(breaker.admit(now), Ok(()));
    }

    #[test]
    fn it_tells_an_upstream_that_refuses_from_one_that_is_gone() {
        let (breaker, now) = (Breaker::default(), Clock::default().instant());
        failed(&breaker, FAILURES - 1, now);
        assert_eq!(breaker.note(Health::Overloaded, now), Some(Change::Opened));
        assert!(!breaker.admit(now).unwrap_err().unreachable);
        breaker.note(Health::Unreachable, now);
        assert!(breaker.admit(now).unwrap_err().unreachable);
    }
}
