//! Gates: rates on what needs neither levels nor refunds, each with a fixed number.
//!
//! They protect the gateway and its upstream from floods, not anyone's share; the numbers are far above what
//! honest use reaches, and nothing about a gate is configured, stored or reported to clients but the wait.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use governor::clock::Clock as GovernorClock;
use governor::state::keyed::HashMapStateStore;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::clock::Clock;

/// What a gate stands before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateKind {
    /// `count_tokens` calls of one tenant: 50 per second, 500 at once (Claude Code sends 25 at once).
    CountTokens,
    /// Failed logins at the whole gateway: 20 per second, 200 at once.
    FailedLogins,
    /// New connections: 2,000 per second, 4,000 at once.
    NewConnections,
}

/// One gate.
#[derive(Debug)]
pub struct Gate {
    limiter: RateLimiter<NotKeyed, InMemoryState, Ticks>,
    clock: Clock,
}

/// A gate for each tenant; bounded by the tenants the configuration names, since no other name is asked for.
#[derive(Debug)]
pub struct TenantGates {
    limiter: RateLimiter<Arc<str>, HashMapStateStore<Arc<str>>, Ticks>,
    clock: Clock,
}

impl Gate {
    /// Returns an open gate.
    #[must_use]
    pub fn new(kind: GateKind, clock: Clock) -> Self {
        Self { limiter: RateLimiter::direct_with_clock(kind.quota(), Ticks(clock.clone())), clock }
    }

    /// Lets one through.
    ///
    /// # Errors
    /// Returns how long to wait.
    pub fn pass(&self) -> Result<(), Duration> {
        self.limiter.check().map_err(|shut| shut.wait_time_from(self.clock.instant()))
    }
}

impl TenantGates {
    /// Returns open gates.
    #[must_use]
    pub fn new(kind: GateKind, clock: Clock) -> Self {
        let ticks = Ticks(clock.clone());
        Self { limiter: RateLimiter::new(kind.quota(), HashMapStateStore::default(), ticks), clock }
    }

    /// Lets one of a tenant through.
    ///
    /// # Errors
    /// Returns how long to wait.
    pub fn pass(&self, tenant: &Arc<str>) -> Result<(), Duration> {
        self.limiter.check_key(tenant).map_err(|shut| shut.wait_time_from(self.clock.instant()))
    }
}

impl GateKind {
    const fn quota(self) -> Quota {
        let (per_second, at_once) = match self {
            Self::CountTokens => (50, 500),
            Self::FailedLogins => (20, 200),
            Self::NewConnections => (2_000, 4_000),
        };
        Quota::per_second(at_least_one(per_second)).allow_burst(at_least_one(at_once))
    }
}

/// Monotonic time of our clock, as governor reads it.
#[derive(Clone, Debug)]
struct Ticks(Clock);

impl GovernorClock for Ticks {
    type Instant = Instant;

    fn now(&self) -> Instant {
        self.0.instant()
    }
}

const fn at_least_one(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}
