//! The record of an exchange, and everything that is derived from it at once: sums, metrics, the log line.

use std::sync::Arc;

use http::header;

use super::bill::Bill;
use super::exchange::Exchange;
use super::runtime::{Runtime, Tercet};
use crate::config::Mode;
use crate::guard::Finds;
use crate::journal::{self, Entry, ExchangeRecord, GuardFind, Line, Summed, ToolCall};
use crate::money::NanoUsd;
use crate::route::{Origin, RouteDecision};
use crate::telemetry::{
    self, CostParts, ExchangeFacts, LimitDecision, LimitKind, Metrics, Phase, ToolUse, TraceFacts,
};
use crate::wire::error::Refusal;
use crate::wire::headers;
use crate::wire::json::Json;
use crate::wire::meter::Metered;
use crate::workload::Belonging;

/// Returns the record of an exchange that has just ended, but for how it ended.
pub(super) fn record(exchange: &Exchange, bill: &Bill) -> ExchangeRecord {
    let tenant = exchange.tenant().to_owned();
    let requested = exchange.asked.model.clone();
    let mut record = ExchangeRecord::begin(exchange.id.clone(), exchange.timestamp, tenant, requested);
    if let Some(identity) = &exchange.identity {
        record.user_id = Some(identity.user.to_string());
        record.key_id = identity.key_id.as_ref().map(ToString::to_string);
    }
    let text = |value: Option<&str>| value.map(ToOwned::to_owned);
    record.upstream_request_id.clone_from(&exchange.upstream_request_id);
    record.session_id = text(headers::session_id(&exchange.headers));
    record.agent_id = text(headers::agent_id(&exchange.headers));
    record.client =
        exchange.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).map(shortened);
    record.traceparent = headers::traceparent(&exchange.headers).map(ToOwned::to_owned);
    record.tags = exchange.tags();
    record.thread_id = exchange.asked.thread.clone().flatten();
    record.settled_at = exchange.settled_at;
    record.endpoint = Some(exchange.uri.path().to_owned());
    if let Some(decision) = &exchange.decision {
        let sent = exchange.attempts > 0 || exchange.cache.is_shared();
        record.sent_model = sent.then(|| decision.model().to_owned());
        record.tier = decision.tier();
        record.decision = Some(match &exchange.precedent {
            Some(precedent) => precedent.written(exchange, decision),
            None => written(exchange, decision, exchange.basis.as_ref()),
        });
        record.mode = Some(exchange.mode().name().to_owned());
        record.cache = Some(exchange.cache.name().to_owned());
    }
    record.set_usage(&bill.usage);
    record.usage_source = bill.source;
    record.cost_nanousd = bill.cost;
    record.baseline_nanousd = bill.baselines;
    record.price_version = Some(exchange.snapshot.catalog.version().to_owned());
    record.prompt_cache =
        exchange.prompt.as_ref().and_then(|prompt| prompt.record(&bill.usage)).map(Box::new);
    record.guards = exchange.guarded.as_ref().map(|guarded| found(&guarded.finds)).unwrap_or_default();
    record.stream = exchange.asked.stream;
    let now = exchange.tercet.runtime.clock.instant();
    let millis = |instant: std::time::Instant| instant.duration_since(exchange.begun).as_millis();
    record.latency_ms = u64::try_from(millis(now)).unwrap_or(u64::MAX);
    record.ttft_ms = exchange.first_content.map(|at| u64::try_from(millis(at)).unwrap_or(u64::MAX));
    record.overhead_us = u64::try_from(exchange.overhead().as_micros()).unwrap_or(u64::MAX);
    record.attempts = exchange.attempts;
    record.upstream = exchange.via_name().map(ToOwned::to_owned);
    record
}

fn found(finds: &Finds) -> Vec<GuardFind> {
    let told = finds.iter().map(|find| GuardFind {
        found: find.what.to_string(),
        side: find.side.name().to_owned(),
        action: find.action.name().to_owned(),
        count: find.count,
    });
    told.collect()
}

/// Returns a decision as it stands in the record, with what it was made of where that is to stand there too.
pub(super) fn written(exchange: &Exchange, decision: &RouteDecision, basis: Option<&Json>) -> Json {
    let workload = exchange.workload.as_ref().and_then(Belonging::name);
    let origin = Origin {
        workload: workload.as_deref(),
        policy_version: &exchange.snapshot.config.version,
        weights_version: exchange.tercet.runtime.weights.version(),
    };
    decision.record(origin, basis)
}

/// Returns the tools of an exchange: results that came with the request, calls that went with the answer.
pub(super) fn tool_calls(exchange: &Exchange, metered: &Metered) -> Vec<ToolCall> {
    let results = exchange.asked.tool_results.iter();
    let calls = metered.tool_calls.iter().map(|name| ToolCall { name: name.clone(), is_error: None });
    results
        .map(|(name, failed)| ToolCall { name: name.clone(), is_error: Some(*failed) })
        .chain(calls)
        .collect()
}

/// Adds an ended exchange to the sums and the metrics, and logs it; returns its line for the journal.
pub(super) fn publish(exchange: &Exchange, bill: &Bill, record: ExchangeRecord) -> Option<Line> {
    let runtime = &exchange.tercet.runtime;
    let record = Arc::new(record);
    let line = written_down(runtime, &record);
    let catalog = &exchange.snapshot.catalog;
    runtime.care.add(&record, catalog);
    runtime.recent.add(Arc::clone(&record));
    let model = catalog.model(exchange.sent_model()).map_or("_other", |model| &model.id);
    let tools: Vec<ToolUse<'_>> =
        exchange.asked.tool_results.iter().map(|(name, failed)| ToolUse { name, failed: *failed }).collect();
    let decision = exchange.decision.as_ref();
    let served = matches!(record.outcome, journal::Outcome::Ok | journal::Outcome::ClientAborted);
    runtime.metrics.record_exchange(&ExchangeFacts {
        tenant: exchange.tenant(),
        model,
        requested_tier: catalog
            .model(exchange.requested_model())
            .map_or(crate::tier::Tier::Other, |model| model.tier),
        tier: exchange.tier(),
        decided_tier: match (decision, exchange.mode()) {
            (Some(decision), Mode::Shadow) => decision.decided().tier,
            _ => exchange.tier(),
        },
        outcome: outcome(record.outcome),
        stream: record.stream,
        duration: Some(runtime.clock.instant().duration_since(exchange.begun)),
        time_to_first_token: exchange.first_content.map(|at| at.duration_since(exchange.begun)),
        usage: bill.usage,
        cost: bill.cost,
        cost_parts: bill.parts,
        baseline_requested: bill.baselines.requested,
        baseline_all_opus: bill.baselines.all_opus,
        rewrite: bill.rewrite,
        cache_saved: record.cache_saved_nanousd,
        cache: decision.map(|_| cache_result(exchange.cache)),
        reason: decision.and_then(|decision| decision.reasons.first()).map(|reason| reason.code),
        trace: trace(exchange, &record),
        mode: exchange.mode(),
        unpriced: bill.unpriced,
        tools: &tools,
        // A client that tries again after a refusal sends the same results again.
        failed_thrice: if served { &exchange.asked.failed_thrice } else { &[] },
        difficulty: exchange.difficulty,
    });
    runtime.metrics.record_overhead(Phase::Total, exchange.overhead());
    for (phase, time) in &exchange.phases {
        runtime.metrics.record_overhead(*phase, *time);
    }
    if let Some(name) = exchange.via_name() {
        runtime.metrics.record_fallback(name);
    }
    if exchange.estimate.is_some() {
        runtime.metrics.record_limit(exchange.tenant(), LimitKind::Requests, LimitDecision::Allowed);
    }
    telemetry::logs::log_exchange(line.as_ref().map_or("{}", Line::as_str));
    line
}

/// Puts a record as its line, `None` where it is too large for the journal, and adds it to the sums.
fn written_down(runtime: &Runtime, record: &Arc<ExchangeRecord>) -> Option<Line> {
    let line = Entry::Exchange(Arc::clone(record)).to_line();
    match line.as_ref().and_then(Line::summed) {
        Some(summed) => runtime.rollup.add(summed),
        None => runtime.rollup.add(&Summed::of(record)),
    }
    line
}

/// Adds what one model's share of a batch came to to the sums and the metrics, logs it, and writes it down.
pub(super) fn publish_batch(tercet: &Tercet, record: ExchangeRecord, parts: CostParts, unpriced: bool) {
    publish_aside(tercet, record, parts, unpriced, Metrics::record_exchange);
}

/// Likewise what a sampled request came to, which is no exchange of a client.
pub(super) fn publish_sample(tercet: &Tercet, record: ExchangeRecord, parts: CostParts, unpriced: bool) {
    publish_aside(tercet, record, parts, unpriced, Metrics::record_sample_spending);
}

fn publish_aside(
    tercet: &Tercet,
    record: ExchangeRecord,
    parts: CostParts,
    unpriced: bool,
    count: impl Fn(&Metrics, &ExchangeFacts<'_>),
) {
    let runtime = &tercet.runtime;
    let record = Arc::new(record);
    let line = written_down(runtime, &record);
    runtime.recent.add(Arc::clone(&record));
    let snapshot = tercet.snapshot.load();
    let model = snapshot.catalog.model(&record.requested_model).map_or("_other", |model| &model.id);
    let facts = ExchangeFacts {
        tenant: &record.tenant,
        model,
        requested_tier: record.tier,
        tier: record.tier,
        decided_tier: record.tier,
        outcome: outcome(record.outcome),
        stream: false,
        duration: None,
        time_to_first_token: None,
        usage: record.usage(),
        cost: record.cost_nanousd,
        cost_parts: parts,
        baseline_requested: record.baseline_nanousd.requested,
        baseline_all_opus: record.baseline_nanousd.all_opus,
        rewrite: NanoUsd::ZERO,
        cache_saved: NanoUsd::ZERO,
        cache: None,
        reason: None,
        trace: None,
        mode: Mode::Off,
        unpriced,
        tools: &[],
        failed_thrice: &[],
        difficulty: None,
    };
    count(&runtime.metrics, &facts);
    let request_id = record.request_id.clone();
    telemetry::logs::log_exchange(line.as_ref().map_or("{}", Line::as_str));
    // Queued here and now, in the order of the settling; what is waited for is the write.
    let appended = runtime.journal.append_line(line);
    runtime.tasks.spawn(async move {
        if let Err(failure) = appended.await {
            tracing::error!(%request_id, %failure, "journal record not written yet");
        }
    });
}

/// Returns the trace of an exchange where metrics keep it and somebody has it: its client, or who is told by OTLP.
fn trace(exchange: &Exchange, record: &ExchangeRecord) -> Option<TraceFacts> {
    let is_told = record.traceparent.is_some() || exchange.snapshot.config.telemetry.otlp.is_some();
    let is_kept = is_told && exchange.tercet.runtime.metrics.keeps_exemplars();
    let trace_id = is_kept.then(|| record.trace()).flatten()?.trace_id;
    Some(TraceFacts { trace_id, at: record.settled_at })
}

/// Logs a refusal that gets no record.
pub(super) fn log_refusal(exchange: &Exchange, refusal: &Refusal) {
    tracing::info!(
        request_id = %exchange.id,
        tenant = exchange.tenant(),
        status = refusal.status.as_u16(),
        error_type = refusal.kind,
        "request refused"
    );
}

const fn outcome(outcome: journal::Outcome) -> telemetry::Outcome {
    match outcome {
        journal::Outcome::Ok => telemetry::Outcome::Ok,
        journal::Outcome::ClientError => telemetry::Outcome::ClientError,
        journal::Outcome::RateLimited => telemetry::Outcome::RateLimited,
        journal::Outcome::QuotaRejected => telemetry::Outcome::QuotaRejected,
        journal::Outcome::UpstreamError => telemetry::Outcome::UpstreamError,
        journal::Outcome::ProxyError | journal::Outcome::Lost => telemetry::Outcome::ProxyError,
        journal::Outcome::ClientAborted => telemetry::Outcome::ClientAborted,
    }
}

const fn cache_result(result: crate::cache::CacheResult) -> telemetry::CacheResult {
    match result {
        crate::cache::CacheResult::Hit => telemetry::CacheResult::Hit,
        crate::cache::CacheResult::Joined => telemetry::CacheResult::Joined,
        crate::cache::CacheResult::Miss => telemetry::CacheResult::Miss,
        crate::cache::CacheResult::Bypass => telemetry::CacheResult::Bypass,
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(CLIENT_CHARACTERS_MAX).collect()
}

/// Longest client name that is recorded.
const CLIENT_CHARACTERS_MAX: usize = 120;
