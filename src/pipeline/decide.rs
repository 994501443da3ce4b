//! Step decide: what is known of the conversation is looked up, the policy asked, and where it goes remembered.

use std::borrow::Cow;
use std::sync::Arc;

use http::HeaderMap;

use super::bill::Bill;
use super::exchange::Exchange;
use super::policy::text;
use super::{charge, converse, signals};
use crate::journal::UsageSource;
use crate::route::{Answered, Basis, Facts, Past, Prefixes, Speaker, Turn, Workload};
use crate::tier::{Complexity, Tier};
use crate::wire::envelope::Envelope;
use crate::wire::error::Refusal;
use crate::wire::headers;
use crate::wire::meter::Metered;

/// A request's place in its conversation, to be completed by its answer.
pub struct Course {
    prefixes: Prefixes,
    pub(super) past: Past,
    workload: Workload,
    /// Tokens of the prompt before this one; 0 for the first.
    pub(super) before_tokens: u64,
    /// Bytes of the system prompt and the tools.
    preamble_bytes: u64,
    /// The model that counted the prompt before this one, and what it counted.
    pub(super) counted: Option<(String, u64)>,
}

/// Decides which model answers, and remembers it for the conversation.
pub(super) fn decide(
    exchange: &mut Exchange,
    envelope: &Envelope<'_>,
    complexity: &Complexity,
) -> Result<(), Refusal> {
    let override_tier = match exchange.ours.tier.as_deref() {
        None => None,
        Some(name) => Some(name.parse::<Tier>().map_err(|()| {
            Refusal::malformed(format!("x-tercet-tier: {name:?} is none of haiku, sonnet, opus"))
        })?),
    };
    let runtime = &exchange.tercet.runtime;
    let prefixes = prefixes(exchange, envelope);
    let mut past = prefixes.as_ref().and_then(|prefixes| runtime.conversations.lookup(prefixes));
    if let Some(past) = &mut past {
        past.note_tools(envelope);
        signals::returned(exchange, envelope, past);
    }
    let agent = headers::agent_id(&exchange.headers).is_some();
    let fingerprint = exchange.workload.map_or(0, |belonging| belonging.fingerprints.narrowest());
    let workload = Workload::of(exchange.tenant(), agent, fingerprint);
    let ahead = runtime.habits.ahead(workload, turn_number(past.as_ref(), envelope));
    let betas = betas(&exchange.headers);
    let tight = runtime.headroom.tight(exchange.timestamp).into_iter();
    let tight_pools: Vec<Cow<'_, str>> = tight.map(|pool| Cow::Owned(pool.to_string())).collect();
    let facts = Facts {
        api_version: text(&exchange.headers, headers::API_VERSION).unwrap_or(""),
        betas: &betas,
        override_tier,
        route_off: exchange.ours.route.as_deref() == Some("off"),
        past: past.as_ref(),
        ahead: &ahead,
        lot: exchange.lot(),
        count_tokens: exchange.endpoint.is_count(),
        tight_pools: &tight_pools,
        budget_low: charge::is_low(exchange),
        at: exchange.timestamp,
    };
    let basis = Basis::of(envelope, complexity, &facts);
    let (catalog, tiers) = (&exchange.snapshot.catalog, &exchange.snapshot.config.tiers);
    let decided = basis.decide(catalog, tiers, exchange.routing(), exchange.lot(), exchange.timestamp);
    let decision = decided.map_err(|unroutable| Refusal::malformed(unroutable.to_string()))?;
    exchange.basis = Some(basis.record());
    if let Some(prefixes) = prefixes.filter(|_| !exchange.endpoint.is_count()) {
        let before_tokens = past.as_ref().map_or(0, |past| past.prompt_tokens);
        let counted = past.as_ref().and_then(counted);
        let past = Past::sent(past.as_ref(), envelope, exchange.id.as_str(), decision.model());
        let bytes = |part: Option<&[u8]>| part.map_or(0, |part| part.len() as u64);
        let preamble_bytes = bytes(envelope.system) + bytes(envelope.tools);
        let same = runtime.conversations.record(&prefixes, past.clone());
        if let Some(same) = same.filter(|_| !exchange.cache_settings().enabled) {
            signals::repeated(exchange, &same);
        }
        exchange.course =
            Some(Box::new(Course { prefixes, past, workload, before_tokens, preamble_bytes, counted }));
    }
    exchange.decision = Some(Arc::new(decision));
    Ok(())
}

/// Which model counted the prompt before, and what it counted.
fn counted(past: &Past) -> Option<(String, u64)> {
    (past.answered && !past.parted).then(|| (past.model.clone(), past.prompt_tokens))
}

/// Tells the other instances where a request goes that was let through.
pub(super) fn tell(exchange: &Exchange) {
    if let Some(course) = &exchange.course {
        converse::tell(exchange, &course.prefixes);
    }
}

/// Remembers that a request went elsewhere after all.
pub(super) fn moved(exchange: &mut Exchange) {
    let model = exchange.sent_model().to_owned();
    let Some(course) = &mut exchange.course else { return };
    course.past.model = model;
    let conversations = &exchange.tercet.runtime.conversations;
    conversations.record(&course.prefixes, course.past.clone());
    let prefixes = course.prefixes;
    converse::tell(exchange, &prefixes);
}

/// Remembers what the answer says of the conversation: what is warm, who thought, whether it was cut or refused.
pub(super) fn learn(exchange: &mut Exchange, bill: &Bill, metered: &Metered) {
    let Some(mut course) = exchange.course.take() else { return };
    let (UsageSource::Upstream, false, Some(usage)) = (bill.source, bill.free, metered.usage) else { return };
    let at_s = exchange.settled_at.as_second();
    course.past.note_answer(&Answered {
        usage,
        stop_reason: metered.stop_reason.as_deref(),
        has_thinking: metered.has_thinking,
        at_s,
    });
    let turn = Turn {
        number: course.past.turn,
        model: &course.past.model,
        usage: &usage,
        before_tokens: course.before_tokens,
        preamble_bytes: course.preamble_bytes,
        at_s,
    };
    let runtime = &exchange.tercet.runtime;
    runtime.habits.observe(course.workload, &turn);
    runtime.conversations.record(&course.prefixes, course.past);
    converse::tell(exchange, &course.prefixes);
}

/// A thread holds its history upstream, so its requests do not extend one another.
pub(super) fn prefixes(exchange: &Exchange, envelope: &Envelope<'_>) -> Option<Prefixes> {
    let speaker = Speaker {
        tenant: exchange.tenant(),
        user: exchange.user(),
        session: headers::session_id(&exchange.headers),
        agent: headers::agent_id(&exchange.headers),
    };
    if envelope.thread.is_some() { None } else { Prefixes::of(&speaker, envelope) }
}

/// Which turn of its conversation a request is, from 1.
fn turn_number(past: Option<&Past>, envelope: &Envelope<'_>) -> u32 {
    let before = past.map_or_else(
        || u32::try_from(envelope.history.assistant_messages).unwrap_or(u32::MAX),
        |past| past.turn,
    );
    before.saturating_add(1)
}

/// Returns the betas asked for.
pub(super) fn betas(sent: &HeaderMap) -> Vec<&str> {
    sent.get_all(headers::BETA)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|beta| !beta.is_empty())
        .collect()
}
