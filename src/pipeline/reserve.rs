//! Step reserve: request, tokens and money held at every level in one step, and written down.

use super::charge;
use super::estimate::{estimate, plain_text};
use super::exchange::Exchange;
use crate::budget::Estimate;
use crate::journal::ReservationRecord;
use crate::money::NanoUsd;
use crate::store::{Cell, Rate};
use crate::telemetry::Phase;
use crate::wire::envelope::Envelope;
use crate::wire::error::Refusal;

/// Holds what the request may come to, at all levels or at none; count_tokens is free.
pub(super) async fn hold(exchange: &mut Exchange, envelope: &Envelope<'_>) -> Result<(), Refusal> {
    if exchange.endpoint.is_count() {
        return Ok(());
    }
    let begun = exchange.tercet.runtime.clock.instant();
    let estimate = estimate(exchange, envelope, exchange.sent_model());
    take(exchange, charge::claims(exchange, &estimate)).await?;
    exchange.estimate = Some(estimate);
    exchange.asked.plain = plain_text(envelope);
    exchange.spent_in(Phase::Limits, begun);
    Ok(())
}

/// Holds the request alone, for an answer that costs nothing.
pub(super) async fn hold_request(exchange: &mut Exchange) -> Result<(), Refusal> {
    take(exchange, charge::request_claims(exchange)).await
}

/// Holds a place at every ceiling for a path whose cost is known only from its answer.
pub(super) async fn hold_nothing_yet(exchange: &mut Exchange) -> Result<(), Refusal> {
    take(exchange, charge::claims(exchange, &Estimate::NOTHING)).await
}

async fn take(exchange: &mut Exchange, claims: Vec<crate::store::Claim>) -> Result<(), Refusal> {
    let held = exchange.tercet.runtime.accounts.hold(claims).await;
    let reservation = held.map_err(|refused| charge::refused(exchange, &refused))?;
    exchange.reservation = Some(reservation);
    Ok(())
}

/// Holds what a second attempt at the same request may come to; the request itself is held already.
pub(super) async fn hold_again(exchange: &mut Exchange, envelope: &Envelope<'_>) -> Result<(), Refusal> {
    let estimate = estimate(exchange, envelope, exchange.sent_model());
    let mut claims = charge::claims(exchange, &estimate);
    for claim in &mut claims {
        claim.demands.retain(|demand| !matches!(demand.cell, Cell::Rate(Rate::Requests) | Cell::Concurrency));
    }
    take(exchange, claims).await?;
    exchange.estimate = Some(estimate);
    Ok(())
}

/// Writes down what is held, so that a crash leaves a charge at the estimate and never a free request.
pub(super) async fn record(exchange: &Exchange) -> Result<(), Refusal> {
    note(exchange, NanoUsd::ZERO).await;
    charge::require_journal(exchange)
}

/// Writes down what is held for an exchange that has cost `spent` already, in place of what was written before.
pub(super) async fn note(exchange: &Exchange, spent: NanoUsd) {
    let (Some(identity), Some(estimate), Some(_)) =
        (&exchange.identity, exchange.estimate, &exchange.reservation)
    else {
        return;
    };
    let (cost, tokens) = charge::held(&identity.levels, &estimate);
    let record = ReservationRecord {
        timestamp: exchange.timestamp,
        request_id: exchange.id.clone(),
        tenant: identity.tenant.to_string(),
        user_id: Some(identity.user.to_string()),
        key_id: identity.key_id.as_ref().map(ToString::to_string),
        sent_model: exchange.sent_model().to_owned(),
        tier: exchange.tier(),
        estimate_nanousd: cost + spent,
        estimate_tokens: tokens,
        batch: None,
        sample: None,
    };
    // Waits until whatever is ready on this thread has come as far: their records are one write, and the requests go up
    // one after the other, as their answers go down (`server::pace`).
    let noted = exchange.tercet.runtime.journal.note(&record.into()).await;
    if let Err(failure) = noted {
        tracing::error!(request_id = %exchange.id, %failure, "reservation not written");
    }
}
