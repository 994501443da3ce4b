//! What the operator asked for, as the rest of the program uses it.
//!
//! `schema` mirrors the file, `check` gives it meaning, `problem` says what is wrong and where. The types
//! here hold meaning only: durations, sizes and money are parsed, secrets are read, defaults are filled in.
//! Configuration does no I/O but read the files it is given, and nothing else reads environment variables.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::money::NanoUsd;
use crate::secret::Secret;
use crate::tier::Tier;

mod address;
mod amend;
mod check;
mod clickhouse;
mod content;
mod describe;
mod detectors;
mod excerpt;
mod guards;
mod load;
mod problem;
mod read;
mod redis;
mod sample;
mod schema;
mod source;
mod suggest;
mod telemetry;
mod tenants;
#[cfg(test)]
mod tests;
mod upstream;
mod value;
mod webhook;

pub use amend::{Amendments, CREATED, FORGET, Touched};
pub use clickhouse::ClickHouse;
pub use content::Content;
pub use describe::describe;
pub use detectors::Detector;
pub use guards::{Action, Guard, Side, WINDOW_BYTES};
pub use load::{default_config, digest_of_files, load, parse, parse_duration, resolve_default_path};
pub use problem::{ConfigProblem, Place};
pub use redis::{FailurePolicy, OnFailure, Redis, RedisServer, Sentinels};
pub use sample::ShadowSample;
pub use source::{Source, environment};
pub use telemetry::{LogFormat, Otlp, Telemetry};
pub use tenants::{Key, Previous, Tenant, is_kept_apart};
pub use upstream::{Credential, Fallback, Upstream};
pub use webhook::Webhook;

/// The whole configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data listener.
    pub server: Server,
    /// The admin listener.
    pub admin: Admin,
    /// Where requests go.
    pub upstream: Upstream,
    /// The model each tier maps to.
    pub tiers: Tiers,
    /// Routing where a tenant says nothing else.
    pub routing: Routing,
    /// The response cache.
    pub cache: Cache,
    /// The journal's place and habits.
    pub journal: Journal,
    /// What is shared with other instances.
    pub redis: Redis,
    /// Who is told of budgets that near their end.
    pub webhook: Option<Webhook>,
    /// Where exchanges are copied to for analysis.
    pub clickhouse: Option<ClickHouse>,
    /// Ceilings of the whole gateway.
    pub organisation: Ceilings,
    /// Tenants by name; empty means pass-through without identification.
    pub tenants: BTreeMap<String, Tenant>,
    /// `[[guards]]`, which hold for everybody, in order.
    pub guards: Arc<[Guard]>,
    /// What placeholders are made with; there wherever a guard redacts.
    pub redaction_key: Option<Secret>,
    /// Logs and metrics.
    pub telemetry: Telemetry,
    /// A catalog file in place of the embedded one.
    pub catalog: Option<PathBuf>,
    /// BLAKE3 of the effective text, 12 hex digits; names the policy in records.
    pub version: String,
    /// What it was read from.
    pub source: Source,
}

/// `[server]`
#[derive(Clone, Debug)]
pub struct Server {
    /// Default 127.0.0.1:8787.
    pub listen: SocketAddr,
    /// Base of rewritten `results_url`s; default made from `listen`. No trailing slash.
    pub public_url: String,
    /// Certificate chain and key, PEM files.
    pub tls: Option<Tls>,
    /// Largest body of messages and count_tokens; default 32 MiB.
    pub max_body_bytes: u64,
    /// Time for a request's head; default 10 s.
    pub header_timeout: Duration,
    /// Time for a request's body; default 120 s.
    pub body_timeout: Duration,
    /// Open client connections; default 10,000.
    pub max_connections: usize,
    /// Requests in flight, shared by the tenants that have any; default 20,000.
    pub max_in_flight: usize,
    /// Their bodies together, as far as they are kept in memory, shared likewise; default 1 GiB.
    pub max_in_flight_bytes: u64,
    /// How long SIGTERM waits for requests in flight; default 60 s.
    pub drain_timeout: Duration,
}

/// PEM files of a TLS listener.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Certificate chain, leaf first.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
    /// Roots that clients' certificates go back to; with it every client needs one.
    pub client_ca: Option<PathBuf>,
}

/// `[admin]`
#[derive(Clone, Debug)]
pub struct Admin {
    /// Default 127.0.0.1:8788.
    pub listen: SocketAddr,
    /// Bearer token; required when `listen` is not loopback.
    pub token: Option<Secret>,
    /// Certificate chain and key, PEM files.
    pub tls: Option<Tls>,
}

/// `[tiers]`: the model id of each tier.
#[derive(Clone, Debug, PartialEq)]
pub struct Tiers {
    /// Default claude-haiku-5-5.
    pub haiku: String,
    /// Default claude-sonnet-5-5.
    pub sonnet: String,
    /// Default claude-opus-5-5.
    pub opus: String,
}

/// Whether routing acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The asked model, nothing decided.
    Off,
    /// Decide and record, send as asked.
    Shadow,
    /// Decide and act.
    Enforce,
}

impl Mode {
    /// Returns the name used in configuration, the journal, metrics and the dashboard.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Shadow => "shadow",
            Self::Enforce => "enforce",
        }
    }
}

/// The dearest model routing may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ceiling {
    /// Never dearer than the model asked for.
    Requested,
    /// Up to the opus tier.
    Opus,
}

/// A named change of the request that routing may make besides the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adaptation {
    /// `thinking-default`: writes out `thinking` where the asked model's default is off and the target's is on.
    ThinkingDefault,
}

impl Adaptation {
    /// Returns the name used in configuration and decisions.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ThinkingDefault => "thinking-default",
        }
    }
}

/// `[routing]`, or a tenant's own.
#[derive(Clone, Debug, PartialEq)]
pub struct Routing {
    /// Default shadow.
    pub mode: Mode,
    /// Share of the asked model's quality to keep, in parts per thousand; default 950.
    pub quality_permille: u16,
    /// Default requested.
    pub ceiling: Ceiling,
    /// Default `[ThinkingDefault]`.
    pub adaptations: Vec<Adaptation>,
    /// Share of requests held back as control, in parts per thousand; default 0.
    pub control_permille: u16,
    /// Tiers this tenant may be routed to; default all three.
    pub tiers: Vec<Tier>,
    /// Whether `x-tercet-tier` and `x-tercet-route` are obeyed; default true.
    pub header_override: bool,
    /// Whether answers that surely failed at a lower tier are asked for again one tier up; default false.
    pub escalate: bool,
    /// What is asked again elsewhere to measure quality; nothing by default.
    pub shadow_sample: ShadowSample,
    /// Another policy for a share of the traffic; it has none of its own.
    pub canary: Option<Box<Canary>>,
}

/// `[routing.canary]`: a policy tried on a share of the traffic.
#[derive(Clone, Debug, PartialEq)]
pub struct Canary {
    /// The share, in parts per thousand.
    pub share_permille: u16,
    /// What holds there.
    pub routing: Routing,
}

impl Routing {
    /// Returns the policy that holds for the session or request `lot`: this one, or its canary.
    #[must_use]
    pub fn drawn<'l>(&self, lot: impl FnOnce() -> &'l str) -> &Self {
        // Another lot than control's, so that both policies have a control of their own.
        let drawn = |canary: &&Canary| is_drawn(&format!("canary {}", lot()), canary.share_permille);
        self.canary.as_deref().filter(drawn).map_or(self, |canary| &canary.routing)
    }
}

/// Tells whether `lot` is in a share of so many parts per thousand; the same lot always is, or is not.
#[must_use]
pub fn is_drawn(lot: &str, share_permille: u16) -> bool {
    if share_permille == 0 {
        return false;
    }
    let hash = blake3::hash(lot.as_bytes());
    let drawn = hash.as_bytes().iter().take(8).fold(0u64, |sum, byte| sum << 8 | u64::from(*byte)) % 1_000;
    drawn < u64::from(share_permille)
}

/// `[cache]`
#[derive(Clone, Debug)]
pub struct Cache {
    /// Default false.
    pub enabled: bool,
    /// Default 5 minutes.
    pub ttl: Duration,
    /// Default 256 MiB.
    pub max_bytes: u64,
    /// Who shares answers.
    pub scope: Scope,
}

/// Who shares cached answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The users of a tenant.
    Tenant,
    /// Nobody but the user.
    User,
}

/// `[journal]`
#[derive(Clone, Debug)]
pub struct Journal {
    /// Folder; default `data`, or the user's data folder where no file was given.
    pub path: PathBuf,
    /// Longest time between two fsyncs; default 100 ms.
    pub fsync: Duration,
    /// How long records are kept; default 90 days.
    pub retention: Duration,
    /// What is kept of prompts and answers, beside it.
    pub content: Content,
}

/// Ceilings of one level: the organisation, a tenant, a user or a key.
#[derive(Clone, Debug, Default)]
pub struct Ceilings {
    /// Rates.
    pub limits: Limits,
    /// Money per period.
    pub budget: Budget,
    /// Tokens per period.
    pub quota: Quota,
}

/// Ceilings on rates; `None` is unlimited, zero is refused at load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests in a minute.
    pub requests_per_minute: Option<u64>,
    /// Uncached input tokens and cache writes in a minute.
    pub input_tokens_per_minute: Option<u64>,
    /// Output tokens in a minute.
    pub output_tokens_per_minute: Option<u64>,
    /// Requests in flight.
    pub concurrent_requests: Option<u64>,
}

/// How much a request holds before its cost is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reserve {
    /// A usual answer's cost.
    #[default]
    Expected,
    /// The cost of `max_tokens`.
    Max,
}

/// What happens between a budget's warning and its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenLow {
    /// Nothing but the warning.
    #[default]
    Warn,
    /// Cheaper models answer where they can.
    Cheaper,
}

/// Ceilings on money per period.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Per day.
    pub daily: Option<NanoUsd>,
    /// Per ISO week, from Monday.
    pub weekly: Option<NanoUsd>,
    /// Per calendar month.
    pub monthly: Option<NanoUsd>,
    /// In which the periods turn; default UTC.
    pub zone: TimeZone,
    /// Default expected.
    pub reserve: Reserve,
    /// Share of a budget at which a warning is due, in parts per thousand; default 800.
    pub warn_at_permille: u16,
    /// What happens from then on; default warn.
    pub when_low: WhenLow,
}

/// Ceilings on tokens per period; periods turn with the budget's zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Per day.
    pub daily_tokens: Option<u64>,
    /// Per calendar month.
    pub monthly_tokens: Option<u64>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            daily: None,
            weekly: None,
            monthly: None,
            zone: TimeZone::UTC,
            reserve: Reserve::Expected,
            warn_at_permille: 800,
            when_low: WhenLow::Warn,
        }
    }
}
