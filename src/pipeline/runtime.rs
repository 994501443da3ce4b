//! The two things that exist besides an exchange: the snapshot a request pins, and what outlives a reload.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use tokio_util::task::TaskTracker;

use super::batch::Batches;
use super::content::Heard;
use super::converse::Telling;
use super::sample::Samples;
use super::twin::Precedent;
use crate::budget::{Densities, Forecast, Told};
use crate::cache::{AnswerCache, Retries, Twins};
use crate::catalog::Catalog;
use crate::classify::Weights;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::content::Waiting;
use crate::journal::{Journal, Recent, Rollup};
use crate::limit::{Gate, Room, TenantGates};
use crate::route::{Conversations, Habits};
use crate::store::{Accounts, Link};
use crate::telemetry::{Copies, Metrics, Outbox};
use crate::tenant::Directory;
use crate::tenant::ownership::Ownership;
use crate::upstream::{Allowance, Headroom, Upstream};
use crate::workload::{Care, Workloads};

/// An immutable compiled configuration; swapped whole.
pub struct Snapshot {
    /// What the operator asked for.
    pub config: Config,
    /// Models, prices, capabilities.
    pub catalog: Catalog,
    /// Keys by hash.
    pub directory: Directory,
    /// Where requests go; shared with the snapshot before where its settings did not change.
    pub upstream: Arc<Upstream>,
    /// Where requests go while that one cannot answer, in this order; shared likewise.
    pub fallbacks: Vec<(config::Fallback, Arc<Upstream>)>,
    /// Kept answers; shared likewise.
    pub cache: Arc<AnswerCache>,
    /// What was made of requests under this configuration whose answers may be kept.
    pub twins: Twins<Precedent>,
}

/// What survives a reload.
pub struct Runtime {
    /// Time.
    pub clock: Clock,
    /// Counters of limits, quotas and budgets.
    pub accounts: Accounts,
    /// Bounds count_tokens by tenant.
    pub count_tokens: TenantGates,
    /// Bounds what is in flight, fairly by tenant.
    pub room: Room,
    /// Bounds the trying of keys.
    pub failed_logins: Gate,
    /// What the classifier was trained to.
    pub weights: Weights,
    /// What outcomes have taught.
    pub workloads: Workloads,
    /// Where conversations went.
    pub conversations: Conversations,
    /// What other instances are told of that.
    pub telling: Telling,
    /// How the conversations of workloads go on.
    pub habits: Habits,
    /// The last exchanges.
    pub recent: Recent,
    /// The Redis that counters are shared through.
    pub counters: Option<Arc<Link>>,
    /// The Redis that kept answers are shared through.
    pub answers: Option<Arc<Link>>,
    /// What is left of the upstream's rate limits.
    pub headroom: Headroom,
    /// Tries at fallbacks.
    pub allowance: Allowance,
    /// Batches whose results are not known.
    pub batches: Batches,
    /// Requests that are asked again elsewhere.
    pub samples: Samples,
    /// Learned sizes of answers.
    pub forecast: Forecast,
    /// Learned density of text.
    pub densities: Densities,
    /// The record of what happened.
    pub journal: Journal,
    /// Sums over it.
    pub rollup: Arc<Rollup>,
    /// How clients treat the upstream's prompt cache.
    pub care: Care,
    /// Requests of late that may be made again.
    pub retries: Retries,
    /// Who owns which upstream object.
    pub ownership: Ownership,
    /// Counters and histograms.
    pub metrics: Arc<Metrics>,
    /// Of which budgets it was told that they near their end.
    pub told: Told,
    /// What is to be told to the webhook.
    pub outbox: Outbox,
    /// How far the copies of the journal are.
    pub copies: Copies,
    /// What prompts and answers said that is to be kept.
    pub content: Waiting<Heard>,
    /// Every background task of a request.
    pub tasks: TaskTracker,
    /// Whether new requests are refused because the process is ending.
    pub draining: AtomicBool,
    /// Exchanges between their first step and their end.
    pub in_flight: AtomicUsize,
    /// Exchanges whose client has left and whose answer is read to its end.
    pub drained: AtomicUsize,
    /// What those may cost at most, in nano-dollars.
    pub drained_nanousd: AtomicU64,
}

/// The gateway as requests see it.
pub struct Tercet {
    /// Replaced by a reload.
    pub snapshot: ArcSwap<Snapshot>,
    /// Never replaced.
    pub runtime: Runtime,
}

impl Runtime {
    /// Returns the links to what is shared with other instances.
    pub fn links(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.counters.iter().chain(&self.answers)
    }
}

/// Counts an exchange in flight as long as it lives.
pub(super) struct InFlight(Arc<Tercet>);

impl InFlight {
    /// Counts one more.
    #[must_use]
    pub(super) fn enter(tercet: &Arc<Tercet>) -> Self {
        tercet.runtime.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(tercet))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.runtime.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
