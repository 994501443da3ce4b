//! The one source of time: wall time for records and periods, monotonic time for rates and waits.
//!
//! Tests hold a manual clock; nothing else in the library asks the system for the time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Tells wall and monotonic time; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    Manual(Arc<Mutex<(Timestamp, Instant)>>),
}

impl Clock {
    /// Returns a clock that stands still at `start` until it is moved.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the clock is where time comes from")]
    pub fn manual(start: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(Mutex::new((start, Instant::now())))))
    }

    /// Returns the wall time (UTC).
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the clock is where time comes from")]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => Timestamp::now(),
            Source::Manual(held) => held.lock().unwrap_or_else(PoisonError::into_inner).0,
        }
    }

    /// Returns monotonic time, for differences only.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the clock is where time comes from")]
    pub fn instant(&self) -> Instant {
        match &self.0 {
            Source::System => Instant::now(),
            Source::Manual(held) => held.lock().unwrap_or_else(PoisonError::into_inner).1,
        }
    }

    /// Moves a manual clock forward by `step`, wall and monotonic time alike; a system clock ignores it.
    pub fn advance(&self, step: Duration) {
        if let Source::Manual(held) = &self.0 {
            let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
            held.0 = held.0.checked_add(step).unwrap_or(held.0);
            held.1 += step;
        }
    }

    /// Sets the wall time of a manual clock, as an operator or NTP would; monotonic time stands.
    pub fn set_wall(&self, time: Timestamp) {
        if let Source::Manual(held) = &self.0 {
            held.lock().unwrap_or_else(PoisonError::into_inner).0 = time;
        }
    }
}
