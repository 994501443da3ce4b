//! Which upstream a request goes to: the configured one, or the first of its fallbacks that may have it while that one
//! cannot answer.
//!
//! A request moves on only while nothing of an answer was passed on and the upstream before cannot have worked on it:
//! there was no connection, or it said itself that it did not (429, 502, 503, 504, 529, or an error in place of a stream's
//! first content). What is bound to an account stays with it. Further tries are bounded by an allowance, so that a storm of refusals is not made worse by us.

use std::time::Duration;

use http::StatusCode;

use super::exchange::Exchange;
use super::forward::{Forwarded, Unanswered};
use crate::catalog::Switch;
use crate::config::{Credential, Fallback};
use crate::telemetry::CONFIGURED;
use crate::upstream::{Change, FailureKind, Health, Phase, RequestBody, UpstreamFailure};
use crate::wire::error::Refusal;

/// Returns a copy of a request that may be sent elsewhere, or there once more; `None` where it may not.
pub(super) fn spare(exchange: &Exchange, body: &RequestBody) -> Option<RequestBody> {
    let routed = exchange.endpoint.is_message() || exchange.endpoint.is_count();
    let may = routed && exchange.snapshot.fallbacks.iter().any(|(fallback, _)| may_use(exchange, fallback));
    if may || asks_again(exchange) { body.replay() } else { None }
}

/// Chooses where a request goes first.
///
/// An upstream of which nothing is heard is not asked again and again: where no other may have the request, it is
/// refused at once. One that says it is overloaded is asked all the same, for what it says is meant for the client.
pub(super) fn first(exchange: &mut Exchange, elsewhere: bool) -> Result<(), Refusal> {
    let runtime = &exchange.tercet.runtime;
    runtime.allowance.earn();
    let closed = exchange.snapshot.upstream.breaker().admit(runtime.clock.instant());
    if closed.is_ok() && !(elsewhere && waits(exchange)) {
        return Ok(());
    }
    if let Some(via) = elsewhere.then(|| from(exchange, 0)).flatten() {
        exchange.via = Some(via);
        return Ok(());
    }
    match closed {
        Err(open) if open.unreachable => Err(left_alone(exchange, open.wait)),
        _ => Ok(()),
    }
}

/// Returns where a request is tried next, if what came is no answer: at the next fallback that may have it, or where it
/// was, `again` at most, where a stream began and failed.
pub(super) fn next(came: &Result<Forwarded, Unanswered>, again: &mut bool) -> Option<Option<usize>> {
    let (exchange, unworked, failed) = match came {
        Ok(forwarded) => {
            let status = forwarded.response.status().as_u16();
            (&forwarded.exchange, CANNOT.contains(&status), forwarded.failed)
        }
        Err(unanswered) => (&unanswered.exchange, unanswered.failure.retryable, false),
    };
    let after = exchange.via.map_or(0, |via| via + 1);
    let another = after < exchange.snapshot.fallbacks.len();
    let same = failed && *again && asks_again(exchange);
    if !(unworked || failed) || !(another || same) || !exchange.tercet.runtime.allowance.spend() {
        return None;
    }
    if let Some(via) = another.then(|| from(exchange, after)).flatten() {
        return Some(Some(via));
    }
    *again &= !same;
    same.then_some(exchange.via)
}

/// Tells whether a stream that failed before its first content is asked for where it failed.
fn asks_again(exchange: &Exchange) -> bool {
    exchange.asked.stream && exchange.endpoint.is_message() && exchange.snapshot.config.upstream.retry_streams
}

/// Notes what an attempt said of the upstream it was made at.
pub(super) fn note(exchange: &Exchange, health: Option<Health>) {
    let (Some(health), runtime) = (health, &exchange.tercet.runtime) else { return };
    let Some(change) = exchange.upstream().breaker().note(health, runtime.clock.instant()) else { return };
    let name = exchange.via_name().unwrap_or(CONFIGURED);
    runtime.metrics.record_breaker(name, change == Change::Opened);
    match change {
        Change::Opened => {
            tracing::warn!(upstream = name, ?health, "upstream does not answer; it is left alone");
        }
        Change::Closed => tracing::info!(upstream = name, "upstream answers again"),
    }
}

/// Returns what an answer's status says; a client's own mistakes, and limits, say that it answers.
pub(super) fn health_of(status: StatusCode) -> Health {
    if matches!(status.as_u16(), 502..=504 | 529) { Health::Overloaded } else { Health::Answers }
}

/// Returns what a failure says; nothing where the client's own body was at fault.
pub(super) fn health_of_failure(failure: &UpstreamFailure) -> Option<Health> {
    match (failure.phase, failure.kind) {
        (_, FailureKind::Request) | (Phase::Stream, _) => None,
        _ => Some(Health::Unreachable),
    }
}

/// Returns the first fallback from `index` on that may have the request and is not left alone.
fn from(exchange: &Exchange, index: usize) -> Option<usize> {
    let now = exchange.tercet.runtime.clock.instant();
    let mut rest = exchange.snapshot.fallbacks.iter().enumerate().skip(index);
    let found = rest.find(|(_, (fallback, upstream))| {
        may_use(exchange, fallback) && upstream.breaker().admit(now).is_ok()
    });
    found.map(|(index, _)| index)
}

/// Tells whether a fallback may have a request: one of another account not where the request names an object of the
/// account, or where thinking is in it or may come that only its own account reads.
fn may_use(exchange: &Exchange, fallback: &Fallback) -> bool {
    if fallback.same_account || matches!(fallback.credential, Credential::Client) {
        return true;
    }
    let asked = &exchange.asked;
    let accepts =
        exchange.snapshot.catalog.model(exchange.sent_model()).and_then(|model| model.accepts.as_ref());
    let bound = accepts.is_none_or(|accepts| {
        let rules = &accepts.thinking;
        rules.account_bound && asked.thinks.unwrap_or(rules.omitted == Switch::On)
    });
    !asked.bound && !bound
}

/// Tells whether the account has asked for its model's pool to be left alone for now.
fn waits(exchange: &Exchange) -> bool {
    let model = exchange.snapshot.catalog.model(exchange.sent_model());
    model.is_some_and(|model| exchange.tercet.runtime.headroom.waits(&model.pool, exchange.timestamp))
}

fn left_alone(exchange: &Exchange, wait: Duration) -> Refusal {
    let host =
        exchange.snapshot.config.upstream.base_url.authority().map_or("the upstream", |host| host.as_str());
    let message = format!("{host} did not answer the last requests; it is asked again in a moment");
    Refusal::unavailable_for(message, wait.as_secs())
}

/// Statuses by which an upstream says that it did no work.
const CANNOT: [u16; 5] = [429, 502, 503, 504, 529];
