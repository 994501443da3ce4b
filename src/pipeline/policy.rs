//! Steps identify, admit, own and classify: what each policy is asked, and what its answer means.

use std::sync::atomic::Ordering;

use http::{HeaderMap, HeaderName, header};

use super::exchange::Exchange;
use super::{charge, visitor};
use crate::budget::Estimate;
use crate::classify::{self, RequestHints};
use crate::journal::ObjectType;
use crate::limit::Full;
use crate::store::Claim;
use crate::telemetry::{LimitDecision, LimitKind, Mechanism};
use crate::tier::{Complexity, Judged, Reason};
use crate::wire::envelope::Envelope;
use crate::wire::error::Refusal;
use crate::wire::{file_ids, headers};
use crate::workload::{self, Belonging, Fingerprints};

/// Finds out who is calling, from the key alone; where no key is asked for, refuses foreign pages.
pub(super) fn identify(exchange: &mut Exchange) -> Result<(), Refusal> {
    visitor::refuse_pages(exchange)?;
    let presented = headers::presented_key(&exchange.headers)?;
    let now = exchange.tercet.runtime.clock.now();
    let named = exchange.ours.user.as_deref();
    let identity = exchange.snapshot.directory.identify(presented, named, now);
    exchange.identity = Some(identity.map_err(|stranger| {
        let gate = &exchange.tercet.runtime.failed_logins;
        match gate.pass() {
            Ok(()) => charge::stranger(stranger),
            Err(wait) => Refusal::rate_limited("too many unknown keys are being tried", wait.as_secs()),
        }
    })?);
    exchange.gauge = Some(exchange.tercet.runtime.metrics.enter(exchange.tenant()));
    Ok(())
}

/// Refuses early what cannot be served, before the body is read; takes a place among what is in flight.
pub(super) async fn admit(exchange: &mut Exchange) -> Result<(), Refusal> {
    let runtime = &exchange.tercet.runtime;
    if runtime.draining.load(Ordering::Relaxed) {
        return Err(Refusal::overloaded("this gateway is shutting down; send the request again"));
    }
    if let Some(identity) = &exchange.identity {
        let entered = runtime.room.enter(&identity.tenant, exchange.snapshot.config.server.max_in_flight);
        exchange.stay = Some(entered.map_err(|full| no_room(exchange, full, "requests"))?);
    }
    let runtime = &exchange.tercet.runtime;
    if exchange.endpoint.is_count() {
        let gate = runtime.count_tokens.pass(&exchange.tenant().into());
        return gate.map_err(|wait| Refusal::rate_limited("too many count_tokens requests", wait.as_secs()));
    }
    if !exchange.endpoint.is_message() {
        return Ok(());
    }
    // A kept answer costs nothing: where there may be one, the request alone has to be within its limits.
    if exchange.cache_settings().enabled {
        return look(exchange, &charge::request_claims(exchange)).await;
    }
    may_spend(exchange).await
}

/// Counts that there was no room, and says so; in a second some of it is free again.
pub(super) fn no_room(exchange: &Exchange, full: Full, what: &str) -> Refusal {
    count_limit(exchange, LimitKind::Room, LimitDecision::Refused);
    let message = match full {
        Full::Share(share) => {
            format!(
                "this gateway is full, and {} has its share of it: {share} {what} in flight",
                exchange.tenant()
            )
        }
        Full::Whole => format!("this gateway is full: it has all the {what} in flight that it may have"),
    };
    Refusal::overloaded(message)
}

/// Refuses what costs money where nothing is left to spend, or where it could not be recorded.
pub(super) async fn may_spend(exchange: &Exchange) -> Result<(), Refusal> {
    charge::require_journal(exchange)?;
    look(exchange, &charge::claims(exchange, &Estimate::LEAST)).await
}

async fn look(exchange: &Exchange, claims: &[Claim]) -> Result<(), Refusal> {
    let looked = exchange.tercet.runtime.accounts.look_around(claims).await;
    looked.map_err(|refused| charge::refused(exchange, &refused))
}

/// Refuses to touch upstream objects of another tenant.
pub(super) fn own(exchange: &Exchange, envelope: &Envelope<'_>) -> Result<(), Refusal> {
    if !exchange.has_owners() {
        return Ok(());
    }
    let owns = |kind, id: &str| owns(exchange, kind, id);
    if let Some(container) = envelope.container.as_deref().filter(|id| !id.is_empty()) {
        owns(ObjectType::Container, container)?;
    }
    let previous = envelope.thread.as_ref().and_then(|thread| thread.previous_message_id.as_deref());
    if let Some(previous) = previous {
        owns(ObjectType::Thread, previous)?;
    }
    if exchange.asked.names_files {
        for file in file_ids::file_ids(envelope.body)? {
            owns(ObjectType::File, &file)?;
        }
    }
    Ok(())
}

/// Refuses an object that is not the caller's tenant's; as if it did not exist.
pub(super) fn owns(exchange: &Exchange, kind: ObjectType, id: &str) -> Result<(), Refusal> {
    let owned = exchange.tercet.runtime.ownership.owns(exchange.tenant(), kind, id);
    let name = match kind {
        ObjectType::Batch => "batch",
        ObjectType::File => "file",
        ObjectType::Container => "container",
        ObjectType::Thread => "thread",
    };
    owned.then_some(()).ok_or_else(|| Refusal::not_found(format!("{name}: {id}")))
}

/// Asks how much model the request needs: what it says itself, and what its workload has taught. Notes the workload.
pub(super) fn classify(exchange: &mut Exchange, envelope: &Envelope<'_>) -> Complexity {
    let judged = classify::classify(envelope, &hints(&exchange.headers), &exchange.tercet.runtime.weights);
    let fingerprints = fingerprints(&exchange.headers, envelope);
    let known = exchange.tercet.runtime.workloads.known(exchange.tenant(), &fingerprints);
    let spoke = known.as_ref().map(|known| known.fingerprint);
    exchange.workload = Some(Belonging { fingerprints, spoke, logits: judged.logits });
    let complexity = workload::weigh(&judged, known.as_ref());
    exchange.difficulty = Some((mechanism(&judged, &complexity), complexity.score_permille));
    complexity
}

/// Returns what the last word on a request's difficulty was.
fn mechanism(judged: &Judged, complexity: &Complexity) -> Mechanism {
    let spoke = complexity.reasons.last().map(|reason| reason.code);
    let is = |reason: Option<Reason>| reason.is_some_and(|reason| Some(reason.code) == spoke);
    match spoke {
        _ if is(judged.hinted) => Mechanism::Hint,
        _ if is(judged.formed) => Mechanism::Form,
        Some("text") | None => Mechanism::Text,
        Some(_) => Mechanism::Workload,
    }
}

/// Returns the workloads a request may belong to.
pub(super) fn fingerprints(headers: &HeaderMap, envelope: &Envelope<'_>) -> Fingerprints {
    let client = text(headers, header::USER_AGENT).unwrap_or("");
    Fingerprints::of(envelope, client.split('/').next().unwrap_or(client))
}

/// Returns what the headers say about a request.
pub(super) fn hints(sent: &HeaderMap) -> RequestHints<'_> {
    RequestHints {
        request_class: text(sent, headers::REQUEST_CLASS),
        auxiliary_type: text(sent, headers::AUXILIARY_TYPE),
    }
}

/// Counts what a limit said.
pub(super) fn count_limit(exchange: &Exchange, limit: LimitKind, decision: LimitDecision) {
    exchange.tercet.runtime.metrics.record_limit(exchange.tenant(), limit, decision);
}

/// Returns a header's text.
pub(super) fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
