//! What is read from its owners at each scrape, and counted nowhere here.

use super::facts::Window;
use super::outbox::OutboxReading;
use crate::money::NanoUsd;

/// The state of one budget.
#[derive(Clone, Debug)]
pub struct BudgetReading {
    /// A configured tenant's name.
    pub tenant: String,
    /// Which period.
    pub window: Window,
    /// Spent in the running period, by the counter that enforces.
    pub spend: NanoUsd,
    /// Held for requests in flight; zero when idle.
    pub reserved: NanoUsd,
    /// By how much those may exceed what they hold.
    pub overshoot: NanoUsd,
    /// The ceiling; `None` where none is set.
    pub budget: Option<NanoUsd>,
    /// When the period ends, in seconds since 1970.
    pub reset_timestamp_s: i64,
}

/// What one tenant loses by one way of breaking the upstream's prompt cache.
#[derive(Clone, Debug)]
pub struct AtStakeReading {
    /// A configured tenant's name.
    pub tenant: String,
    /// Which way.
    pub cause: &'static str,
    /// What mending it would have saved, today's and yesterday's requests.
    pub amount: NanoUsd,
}

/// How much of one limit is used.
#[derive(Clone, Debug)]
pub struct LimitReading {
    /// A configured tenant's name.
    pub tenant: String,
    /// `requests`, `input_tokens`, `output_tokens`, `concurrency`, `daily_tokens` or `monthly_tokens`.
    pub limit: &'static str,
    /// Used of it, in millionths of the ceiling; above 1,000,000 where the last request exceeded it.
    pub used_millionths: u64,
}

/// The journal's own counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct JournalReading {
    /// Records written since start.
    pub records: u64,
    /// Writes and syncs that failed since start.
    pub write_failures: u64,
    /// Sequence number of the last record.
    pub head_sequence: u64,
}

/// A shared Redis as its link sees it.
#[derive(Clone, Debug)]
pub struct RedisReading {
    /// `counters` or `answers`.
    pub name: &'static str,
    /// Whether it takes reads and writes.
    pub up: bool,
    /// Calls it answered.
    pub round_trips: u64,
    /// Calls it did not answer, by reason.
    pub failures: Vec<(&'static str, u64)>,
}

/// What is read from others at each scrape.
#[derive(Clone, Debug, Default)]
pub struct Readings {
    /// Every budget of every tenant.
    pub budgets: Vec<BudgetReading>,
    /// Every limit and quota of every tenant.
    pub limits: Vec<LimitReading>,
    /// Money held for requests in flight; zero when idle.
    pub reserved: NanoUsd,
    /// The journal's counts.
    pub journal: JournalReading,
    /// What the prompt caches of tenants lose, by cause.
    pub at_stake: Vec<AtStakeReading>,
    /// Every Redis that is configured.
    pub redis: Vec<RedisReading>,
    /// How counters are shared with other instances, where they are.
    pub sharing: Option<SharingReading>,
    /// What became of notices to the webhook.
    pub outbox: OutboxReading,
    /// Every copy of the journal that is kept.
    pub copies: Vec<CopyReading>,
    /// What became of texts that were to be kept.
    pub content: ContentReading,
}

/// How far a copy of the journal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyReading {
    /// `sums`, `clickhouse` or `otlp`.
    pub name: &'static str,
    /// Records of the journal that it does not have yet.
    pub behind_records: u64,
    /// Time since it last had all of them, in milliseconds; 0 while it has.
    pub behind_ms: u64,
    /// Rounds that failed since the start.
    pub failures: u64,
}

/// What became of texts that were to be kept, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContentReading {
    /// Exchanges written.
    pub kept: u64,
    /// Exchanges dropped, as too many waited.
    pub no_room: u64,
    /// Exchanges dropped, as the disk did not take them.
    pub failed: u64,
    /// Bytes on the disk.
    pub stored_bytes: u64,
}

/// What an instance holds of shared counters.
#[derive(Clone, Copy, Debug)]
pub struct SharingReading {
    /// Accounts of which something is held or set aside.
    pub leases: u64,
    /// Reservations that asked nobody.
    pub unasked: u64,
    /// Reservations that waited for Redis.
    pub asked: u64,
}
