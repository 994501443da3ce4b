//! The counters themselves: one method per event.
//!
//! Called from the pipeline and the edges; never blocks and never fails. Cells that an exchange needs are
//! resolved once per tenant, model and tier and kept ([`Cells`], at most [`CELLS_MAX`] sets; beyond that
//! they are resolved each time). Budgets, reservations and the journal are not counted here but read from
//! their owners when `/metrics` is asked for ([`Metrics::read_from`]).

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use foldhash::fast::RandomState;
use jiff::Timestamp;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, Registry, Result};

use super::exemplar::Timed;
use super::facts::{
    AttemptResult, CacheResult, ExchangeFacts, LimitDecision, LimitKind, Mechanism, Outcome, Phase,
    SampleResult,
};
use super::family::{Family, OTHER, SeriesCap, count, count_all, observe, options, registered};
use super::readings::Readings;
use super::table::{self, Row, known_tool};
use crate::tier::Tier;

/// Every metric of the process.
pub struct Metrics {
    pub(super) registry: Registry,
    pub(super) cap: Arc<SeriesCap>,
    requests: Family<IntCounter>,
    pub(super) durations: Family<Timed>,
    first_token: Family<Histogram>,
    per_token: Family<Histogram>,
    overhead: Vec<Option<Histogram>>,
    inflight: Family<IntGauge>,
    connections: IntGauge,
    attempts: Family<IntCounter>,
    fallbacks: Family<IntCounter>,
    open: Family<IntGauge>,
    tokens: Family<IntCounter>,
    pub(super) cost: Family<IntCounter>,
    pub(super) baseline: Family<IntCounter>,
    pub(super) rewrite: Family<IntCounter>,
    pub(super) cache_saved: Family<IntCounter>,
    routes: Family<IntCounter>,
    escalations: Family<IntCounter>,
    samples: Family<IntCounter>,
    pub(super) sample_cost: Family<IntCounter>,
    scores: Vec<Option<Histogram>>,
    tools: Family<IntCounter>,
    tool_streaks: Family<IntCounter>,
    cache_requests: Family<IntCounter>,
    guard_finds: Family<IntCounter>,
    limit_decisions: Family<IntCounter>,
    warnings: Family<IntCounter>,
    leaked: IntCounter,
    upstream_limits: [Family<IntGauge>; 3],
    unpriced: Family<IntCounter>,
    panics: IntCounter,
    reload_ok: IntGauge,
    reload_time: IntGauge,
    pub(super) policy_version: Mutex<String>,
    pub(super) source: OnceLock<Source>,
    keeps_exemplars: bool,
    cells: DashMap<Box<str>, Arc<Cells>, RandomState>,
}

type Source = Box<dyn Fn() -> Readings + Send + Sync>;

/// The cells of one tenant, model and tier.
struct Cells {
    tokens: [Option<IntCounter>; 5],
    cost: [Option<IntCounter>; 6],
    baseline: [Option<IntCounter>; 2],
    durations: [OnceLock<Option<Timed>>; 2],
    first_token: Option<Histogram>,
    per_token: Option<Histogram>,
}

/// One request being handled; gone from the gauge when dropped.
#[derive(Debug)]
pub struct InFlight(Option<IntGauge>);

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(gauge) = &self.0 {
            gauge.dec();
        }
    }
}

impl Metrics {
    /// Returns empty metrics that hold about `series_max` series at most.
    ///
    /// # Errors
    ///
    /// Only if the table is at odds with itself, which tests rule out.
    pub fn new(series_max: usize) -> Result<Self> {
        let registry = Registry::new();
        let dropped = registered(
            IntCounterVec::new(options(table::SERIES_DROPPED), table::SERIES_DROPPED.labels)?,
            &registry,
        )?;
        for row in table::TABLE.iter().filter(|row| !row.labels.is_empty()) {
            dropped.get_metric_with_label_values(&[row.name])?;
        }
        let cap = SeriesCap::new(series_max, dropped);
        let counter = |row| Family::counter(row, &cap, &registry);
        let gauge = |row| Family::<IntGauge>::gauge(row, &cap, &registry);
        let histogram = |row| Family::<Histogram>::histogram(row, &cap, &registry);
        let single = |row: &Row| registered(IntCounter::with_opts(options(row))?, &registry);
        let single_gauge = |row: &Row| registered(IntGauge::with_opts(options(row))?, &registry);
        let overhead = histogram(table::OVERHEAD)?;
        let scores = histogram(table::SCORE)?;
        let metrics = Self {
            requests: counter(table::REQUESTS)?,
            durations: Family::timed(table::DURATION, &cap, &registry)?,
            first_token: histogram(table::FIRST_TOKEN)?,
            per_token: histogram(table::PER_TOKEN)?,
            overhead: Phase::ALL.iter().map(|phase| overhead.cell(&[phase.name()])).collect(),
            inflight: gauge(table::INFLIGHT)?,
            connections: single_gauge(table::CONNECTIONS)?,
            attempts: counter(table::ATTEMPTS)?,
            fallbacks: counter(table::FALLBACKS)?,
            open: gauge(table::UPSTREAM_OPEN)?,
            tokens: counter(table::TOKENS)?,
            cost: Family::money(table::COST, &cap),
            baseline: Family::money(table::BASELINE, &cap),
            rewrite: Family::money(table::REWRITE, &cap),
            cache_saved: Family::money(table::CACHE_SAVED, &cap),
            routes: counter(table::ROUTES)?,
            escalations: counter(table::ESCALATIONS)?,
            samples: counter(table::SAMPLES)?,
            sample_cost: Family::money(table::SAMPLE_COST, &cap),
            scores: Mechanism::ALL.iter().map(|one| scores.cell(&[one.name()])).collect(),
            tools: counter(table::TOOLS)?,
            tool_streaks: counter(table::TOOL_STREAKS)?,
            cache_requests: counter(table::CACHE_REQUESTS)?,
            guard_finds: counter(table::GUARD_FINDS)?,
            limit_decisions: counter(table::LIMIT_DECISIONS)?,
            warnings: counter(table::WARNINGS)?,
            leaked: single(table::LEAKED)?,
            upstream_limits: [
                gauge(table::UPSTREAM_LIMIT)?,
                gauge(table::UPSTREAM_REMAINING)?,
                gauge(table::UPSTREAM_RESET)?,
            ],
            unpriced: counter(table::UNPRICED)?,
            panics: single(table::PANICS)?,
            reload_ok: single_gauge(table::RELOAD_OK)?,
            reload_time: single_gauge(table::RELOAD_TIME)?,
            policy_version: Mutex::default(),
            source: OnceLock::new(),
            keeps_exemplars: false,
            cells: DashMap::default(),
            cap,
            registry,
        };
        metrics.expect_rare();
        Ok(metrics)
    }

    /// Keeps the trace that fell last into each bucket of the durations, for who reads OpenMetrics.
    #[must_use]
    pub fn with_exemplars(self, keeps_exemplars: bool) -> Self {
        Self { keeps_exemplars, ..self }
    }

    /// Says whether traces of exchanges are kept.
    #[must_use]
    pub const fn keeps_exemplars(&self) -> bool {
        self.keeps_exemplars
    }

    /// Sets where budgets, reservations and the journal's counts are read at each scrape; the first call counts.
    pub fn read_from(&self, source: impl Fn() -> Readings + Send + Sync + 'static) {
        let _ = self.source.set(Box::new(source));
    }

    /// Creates the rare counters of these tenants at zero, so that their first event is an increase.
    pub fn expect_tenants(&self, tenants: &[&str]) {
        for tenant in tenants {
            for limit in LimitKind::ALL {
                self.limit_decisions.cell(&[tenant, limit.name(), LimitDecision::Refused.name()]);
            }
            for baseline in BASELINES {
                self.baseline.cell(&[tenant, baseline]);
            }
            for level in ["tenant", "user", "key"] {
                SPENDING.iter().for_each(|limit| drop(self.warnings.cell(&[tenant, level, limit.name()])));
            }
            self.rewrite.cell(&[tenant]);
            self.sample_cost.cell(&[tenant]);
            self.cache_saved.cell(&[tenant]);
            self.inflight.cell(&[tenant]);
        }
    }

    /// Counts a request of `tenant` as being handled until the guard is dropped.
    #[must_use]
    pub fn enter(&self, tenant: &str) -> InFlight {
        let gauge = self.inflight.cell(&[tenant]);
        if let Some(gauge) = &gauge {
            gauge.inc();
        }
        InFlight(gauge)
    }

    /// Returns how many requests are being handled.
    #[must_use]
    pub fn inflight_requests(&self) -> u64 {
        let sum: i64 = self.inflight.cells().iter().map(|(_, gauge)| gauge.get()).sum();
        u64::try_from(sum).unwrap_or(0)
    }

    /// Counts one ended exchange.
    pub fn record_exchange(&self, facts: &ExchangeFacts<'_>) {
        let cells = self.cells_of(facts);
        let (tier, stream) = (facts.tier.name(), flag(facts.stream));
        count(
            self.requests.cell(&[facts.tenant, tier, facts.model, facts.outcome.name(), stream]).as_ref(),
            1,
        );
        if let Some(time) = facts.duration {
            let duration = cells.durations[usize::from(facts.stream)]
                .get_or_init(|| self.durations.cell(&[facts.tenant, tier, stream]));
            if let Some(duration) = duration {
                duration.observe(time, facts.trace);
            }
        }
        record_pace(facts, &cells);
        self.record_spending(facts, &cells);
        let baselines = [facts.baseline_requested, facts.baseline_all_opus];
        count_all(&cells.baseline, &baselines.map(|amount| u64::try_from(amount.0).unwrap_or(0)));
        for (family, amount) in [(&self.cache_saved, facts.cache_saved), (&self.rewrite, facts.rewrite)] {
            if amount.0 > 0 {
                count(family.cell(&[facts.tenant]).as_ref(), amount.0.unsigned_abs());
            }
        }
        if let Some(result) = facts.cache {
            self.record_cache(facts.tenant, result);
        }
        if let Some(reason) = facts.reason {
            let (requested, decided) = (facts.requested_tier.name(), facts.decided_tier.name());
            let labels = [facts.tenant, requested, decided, reason, facts.mode.name()];
            count(self.routes.cell(&labels).as_ref(), 1);
        }
        self.record_tools(facts);
        if let Some((mechanism, permille)) = facts.difficulty
            && let Some(Some(histogram)) = self.scores.get(mechanism as usize)
        {
            histogram.observe(f64::from(permille) / 1_000.0);
        }
    }

    /// Counts what a sample spent, which is no request of a client and has no baseline.
    pub fn record_sample_spending(&self, facts: &ExchangeFacts<'_>) {
        self.record_spending(facts, &self.cells_of(facts));
        count(self.sample_cost.cell(&[facts.tenant]).as_ref(), u64::try_from(facts.cost.0).unwrap_or(0));
    }

    /// Counts what a drawn request came to.
    pub fn record_sample(&self, tenant: &str, result: SampleResult) {
        count(self.samples.cell(&[tenant, result.name()]).as_ref(), 1);
    }

    fn record_spending(&self, facts: &ExchangeFacts<'_>, cells: &Cells) {
        let usage = &facts.usage;
        let tokens = [
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_tokens,
            usage.cache_write_5m_tokens,
            usage.cache_write_1h_tokens,
        ];
        count_all(&cells.tokens, &tokens);
        count_all(&cells.cost, &facts.cost_parts.fitted_to(facts.cost));
        if facts.unpriced {
            count(self.unpriced.cell(&[facts.model]).as_ref(), 1);
        }
    }

    fn record_tools(&self, facts: &ExchangeFacts<'_>) {
        for tool in facts.tools {
            let name = known_tool(tool.name);
            let result = if tool.failed { "error" } else { "ok" };
            count(self.tools.cell(&[facts.tenant, name, result]).as_ref(), 1);
            // There at zero, as a rule, before its first event.
            count(self.tool_streaks.cell(&[facts.tenant, name]).as_ref(), 0);
        }
        for tool in facts.failed_thrice {
            count(self.tool_streaks.cell(&[facts.tenant, known_tool(tool)]).as_ref(), 1);
        }
    }

    /// Counts the time that one phase of ours took.
    pub fn record_overhead(&self, phase: Phase, time: Duration) {
        observe(self.overhead.get(phase as usize).and_then(Option::as_ref), time);
    }

    /// Counts one answer that was asked for again one tier up.
    pub fn record_escalation(&self, tenant: &str, from: Tier, to: Tier, reason: &str) {
        count(self.escalations.cell(&[tenant, from.name(), to.name(), reason]).as_ref(), 1);
    }

    /// Counts one answer of a limit, quota or budget.
    pub fn record_limit(&self, tenant: &str, limit: LimitKind, decision: LimitDecision) {
        count(self.limit_decisions.cell(&[tenant, limit.name(), decision.name()]).as_ref(), 1);
    }

    /// Counts what a guard found.
    pub fn record_find(&self, tenant: &str, found: &str, action: &str, side: &str, times: u64) {
        count(self.guard_finds.cell(&[tenant, found, action, side]).as_ref(), times);
    }

    /// Counts one budget or quota that came to its warning.
    pub fn record_warning(&self, tenant: &str, level: &str, limit: LimitKind) {
        count(self.warnings.cell(&[tenant, level, limit.name()]).as_ref(), 1);
    }

    /// Notes that the configuration `policy_version` is in force since `now`.
    pub fn record_reload(&self, policy_version: &str, now: Timestamp) {
        policy_version.clone_into(&mut self.policy_version.lock().unwrap_or_else(PoisonError::into_inner));
        self.reload_ok.set(1);
        self.reload_time.set(now.as_second());
    }

    /// Notes that a load failed and the configuration before it stays.
    pub fn record_failed_reload(&self) {
        self.reload_ok.set(0);
    }

    /// Counts what the response cache did.
    pub fn record_cache(&self, tenant: &str, result: CacheResult) {
        count(self.cache_requests.cell(&[tenant, result.name()]).as_ref(), 1);
    }

    /// Creates at zero what is rare and needs no tenant.
    fn expect_rare(&self) {
        self.unpriced.cell(&[OTHER]);
        SPENDING.iter().for_each(|limit| drop(self.warnings.cell(&["_gateway", "gateway", limit.name()])));
        self.open.cell(&[CONFIGURED]);
        for tier in Tier::ROUTED {
            for result in AttemptResult::ALL {
                self.attempts.cell(&[tier.name(), result.name()]);
            }
        }
    }

    fn cells_of(&self, facts: &ExchangeFacts<'_>) -> Arc<Cells> {
        let key = [facts.tenant, facts.model, facts.tier.name()].join("\u{1f}");
        if let Some(cells) = self.cells.get(key.as_str()) {
            return Arc::clone(&cells);
        }
        let cells = Arc::new(Cells {
            tokens: TOKEN_TYPES.map(|kind| self.tokens.cell(&[facts.tenant, facts.model, kind])),
            cost: COST_TYPES.map(|kind| self.cost.cell(&[facts.tenant, facts.model, kind])),
            baseline: BASELINES.map(|baseline| self.baseline.cell(&[facts.tenant, baseline])),
            durations: Default::default(),
            first_token: self.first_token.cell(&[facts.tier.name()]),
            per_token: self.per_token.cell(&[facts.tier.name()]),
        });
        if self.cells.len() < CELLS_MAX {
            self.cells.insert(key.into_boxed_str(), Arc::clone(&cells));
        }
        cells
    }
}

/// Records the time to the first token, and the time per token after it where there are at least two.
fn record_pace(facts: &ExchangeFacts<'_>, cells: &Cells) {
    let Some(first) = facts.time_to_first_token else { return };
    observe(cells.first_token.as_ref(), first);
    let later = facts.usage.output_tokens.saturating_sub(1);
    if let (Some(duration), true, Outcome::Ok) = (facts.duration, facts.stream && later > 0, facts.outcome) {
        let later = u32::try_from(later).unwrap_or(u32::MAX);
        observe(cells.per_token.as_ref(), duration.saturating_sub(first) / later);
    }
}

const fn flag(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

const TOKEN_TYPES: [&str; 5] = ["input", "output", "cache_read", "cache_write_5m", "cache_write_1h"];
const COST_TYPES: [&str; 6] = ["input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "other"];
const SPENDING: [LimitKind; 2] = [LimitKind::Budget, LimitKind::Quota];
const BASELINES: [&str; 2] = ["requested", "all_opus"];

/// Resolved sets of cells that are kept.
const CELLS_MAX: usize = 8_192;

mod events;
mod upstreams;

pub use upstreams::CONFIGURED;

#[cfg(test)]
mod tests;
