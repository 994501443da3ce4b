//! What a caller is told of its own limits and budgets, in the headers of an answer.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::exchange::Exchange;
use super::{charge, headroom};
use crate::budget::Utilization;
use crate::clock;
use crate::limit;
use crate::store::Standing;
use crate::wire::headers;
use crate::wire::unified::{Status, Unified};

/// Puts the caller's own rates in place of the upstream's, and what is used of its fullest budget; each where it has any.
pub(super) fn put(exchange: &Exchange, into: &mut HeaderMap) {
    let Some(identity) = &exchange.identity else { return };
    let (mut standings, mut fullest) = (Vec::with_capacity(STANDINGS), None);
    for level in &identity.levels {
        let own = charge::standings(level, &exchange.tercet.runtime.accounts);
        let warn_at = level.ceilings.budget.warn_at_permille;
        let full = own.iter().filter_map(|one| Utilization::of(&level.id, one, warn_at));
        fullest = fullest.into_iter().chain(full).max_by_key(|one| (one.is_due(), one.permille));
        standings.extend(own);
    }
    let rates = headers_of(&standings);
    if !rates.is_empty() {
        headers::strip_upstream_ratelimits(into);
        into.extend(rates);
    }
    let Some(fullest) = fullest else { return };
    headers::strip_upstream_unified(into);
    let status = if fullest.is_due() { Status::AllowedWarning } else { Status::Allowed };
    let Utilization { resets_at: reset, used, limit, .. } = fullest;
    into.extend(Unified { status, reset, claim: fullest.claim(), used, limit }.headers());
    into.extend(fullest.is_due().then(|| warning(&fullest)).flatten());
}

/// Returns names and values of the `anthropic-ratelimit-*` headers of the caller's own limits.
pub(super) fn rates(exchange: &Exchange) -> Vec<(HeaderName, HeaderValue)> {
    let levels = exchange.identity.as_ref().map_or(&[][..], |identity| &identity.levels);
    let of = |level| charge::standings(level, &exchange.tercet.runtime.accounts);
    headers_of(&levels.iter().flat_map(of).collect::<Vec<_>>())
}

/// Puts down the tightest rates; none where there are none.
fn headers_of(standings: &[Standing]) -> Vec<(HeaderName, HeaderValue)> {
    let facts = limit::HeaderFacts::of(standings);
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

/// `daily_budget; level=tenant; utilization=0.813; reset=2026-11-27T00:00:00Z`
fn warning(due: &Utilization<'_>) -> Option<(HeaderName, HeaderValue)> {
    let (claim, level) = (due.claim(), due.id.level.name());
    let share = format!("{}.{:03}", due.permille / 1_000, due.permille % 1_000);
    let value = format!("{claim}; level={level}; utilization={share}; reset={}", due.resets_at);
    Some((WARNING, HeaderValue::try_from(value).ok()?))
}

const WARNING: HeaderName = HeaderName::from_static("x-tercet-warning");
/// Of most callers: rates and budgets of a few levels.
const STANDINGS: usize = 16;
