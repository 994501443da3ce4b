//! What a caller is told of its own limits and budgets, in the headers of an answer.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::exchange::Exchange;
use super::{charge, headroom};
use crate::budget::Utilization;
use crate::clock;
use crate::limit;
use crate::wire::headers;
use crate::wire::unified::{Status, Unified};

/// Puts the caller's own rates in place of the upstream's, and what is used of its fullest budget; each where it has any.
pub(super) fn put(exchange: &Exchange, into: &mut HeaderMap) {
    let rates = rates(exchange);
    if !rates.is_empty() {
        headers::strip_upstream_ratelimits(into);
        into.extend(rates);
    }
    let Some(fullest) = fullest(exchange) else { return };
    headers::strip_upstream_unified(into);
    let status = if fullest.is_due() { Status::AllowedWarning } else { Status::Allowed };
    let Utilization { resets_at: reset, used, limit, .. } = fullest;
    into.extend(Unified { status, reset, claim: fullest.claim(), used, limit }.headers());
    into.extend(fullest.is_due().then(|| warning(&fullest)).flatten());
}

/// Returns names and values of the `anthropic-ratelimit-*` headers of the caller's own limits.
pub(super) fn rates(exchange: &Exchange) -> Vec<(HeaderName, HeaderValue)> {
    let facts = limit::HeaderFacts::of(&charge::rate_standings(exchange));
    let groups = [facts.requests, facts.tokens, facts.input_tokens, facts.output_tokens];
    let mut headers = Vec::with_capacity(12);
    for (facts, (_, [limit, remaining, reset])) in groups.into_iter().zip(headroom::LIMIT_HEADERS) {
        let Some(facts) = facts else { continue };
        let mut time = String::with_capacity(20);
        clock::push_rfc3339(&mut time, facts.resets_at, clock::Precision::Seconds);
        headers.push((limit, facts.limit.into()));
        headers.push((remaining, facts.remaining.into()));
        headers.extend(HeaderValue::try_from(time).ok().map(|time| (reset, time)));
    }
    headers
}

/// The budget or quota of which the largest share is used; first one for which a warning is due.
fn fullest(exchange: &Exchange) -> Option<Utilization> {
    let identity = exchange.identity.as_ref()?;
    let accounts = &exchange.tercet.runtime.accounts;
    let all = identity.levels.iter().flat_map(|level| charge::utilizations(level, accounts));
    all.max_by_key(|one| (one.is_due(), one.permille))
}

/// `daily_budget; level=tenant; utilization=0.813; reset=2026-11-27T00:00:00Z`
fn warning(due: &Utilization) -> Option<(HeaderName, HeaderValue)> {
    let (claim, level) = (due.claim(), due.id.level.name());
    let share = format!("{}.{:03}", due.permille / 1_000, due.permille % 1_000);
    let value = format!("{claim}; level={level}; utilization={share}; reset={}", due.resets_at);
    Some((WARNING, HeaderValue::try_from(value).ok()?))
}

const WARNING: HeaderName = HeaderName::from_static("x-tercet-warning");
