//! Step recall: the response cache, asked with the decided model; and what is kept for it.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response, StatusCode, header};

use super::exchange::Exchange;
use super::finish;
use super::relay::Reply;
use super::reply;
use super::watch::starts_with;
use crate::cache::{
    CacheResult, CachedAnswer, Identity, Parts, Recording, bypass_reason, is_keepable_ending,
};
use crate::config::{Credential, Scope};
use crate::secret::KeyHash;
use crate::usage::Billed;
use crate::wire::envelope::Envelope;
use crate::wire::headers;
use crate::wire::meter::Metered;

/// What the cache had.
pub(super) enum Recalled {
    /// An answer to give again, in the form that is asked for.
    Hit(Kept),
    /// None; the one to come may be kept.
    Miss(Box<Keeping>),
    /// The cache has nothing to do with this request.
    Bypass,
}

/// A kept answer as it is given.
pub(super) struct Kept {
    answer: Arc<CachedAnswer>,
    headers: HeaderMap,
    body: Bytes,
}

/// An answer on its way into the cache.
pub(super) struct Keeping {
    identity: Identity,
    recording: Recording,
    headers: HeaderMap,
}

/// Looks the request up, where the tenant's cache is on and the request can be answered again.
pub(super) fn recall(exchange: &mut Exchange, envelope: &Envelope<'_>, body: &Bytes) -> Recalled {
    exchange.cache = CacheResult::Bypass;
    let settings = exchange.cache_settings();
    let switched_off = !settings.enabled || exchange.ours.cache.as_deref() == Some("off");
    if exchange.endpoint.is_count() || switched_off || bypass_reason(envelope).is_some() {
        return Recalled::Bypass;
    }
    let refresh = exchange.ours.cache.as_deref() == Some("refresh");
    let Some(identity) = identify(exchange, envelope, body, settings.scope) else { return Recalled::Bypass };
    let max_bytes = usize::try_from(settings.max_bytes / 8).unwrap_or(usize::MAX).min(ANSWER_MAX_BYTES);
    let found = (!refresh).then(|| exchange.snapshot.cache.get(&identity)).flatten();
    if let Some(kept) = found.and_then(|answer| Kept::of(answer, envelope.stream)) {
        exchange.cache = CacheResult::Hit;
        return Recalled::Hit(kept);
    }
    exchange.cache = CacheResult::Miss;
    let recording = Recording::new(max_bytes.saturating_sub(identity.weight_bytes()));
    Recalled::Miss(Box::new(Keeping { identity, recording, headers: HeaderMap::new() }))
}

/// Gathers what makes the request what it is; `None` where nobody can be told apart who may share its answer.
fn identify(exchange: &Exchange, envelope: &Envelope<'_>, body: &Bytes, scope: Scope) -> Option<Identity> {
    let tenant = exchange.tenant().as_bytes();
    let user = exchange.user().as_bytes();
    let upstream = &exchange.snapshot.config.upstream;
    // Thinking is bound to the account that pays for it, so whose credential goes upstream always counts.
    let account = match &upstream.credential {
        Credential::Client => KeyHash::of(headers::presented_key(&exchange.headers).ok().flatten()?).0,
        Credential::Ours(secret) => KeyHash::of(secret.expose().as_bytes()).0,
    };
    let caller;
    let shared: &[&[u8]] = if !exchange.has_tenants() {
        // Strangers are told apart by the whole hash of their credential; its first digits are but a name.
        caller = KeyHash::of(headers::presented_key(&exchange.headers).ok().flatten()?).0;
        &[b"credential", &caller]
    } else if scope == Scope::Tenant {
        &[b"tenant", tenant]
    } else {
        &[b"user", tenant, user]
    };
    Some(Identity::of(&Parts {
        scope: shared,
        upstream: &upstream.base_url.to_string(),
        credential: &account,
        model: exchange.sent_model(),
        adaptation: exchange.adaptation(),
        query: exchange.query(),
        headers: &exchange.headers,
        body,
        left_out: &envelope.formalities,
    }))
}

/// Gives a kept answer again; the exchange ends here.
pub(super) async fn replay(exchange: Box<Exchange>, kept: Kept) -> Response<Reply> {
    let now = exchange.tercet.runtime.clock.now();
    let age_s = now.duration_since(kept.answer.made_at).as_secs().max(0);
    let mut response = Response::new(Reply::whole(kept.body));
    *response.status_mut() = StatusCode::OK;
    *response.headers_mut() = kept.headers;
    response.headers_mut().insert(header::AGE, age_s.into());
    let (mut head, body) = response.into_parts();
    reply::dress(&exchange, &mut head);
    finish::finish_hit(exchange, &kept.answer).await;
    Response::from_parts(head, body)
}

impl Kept {
    fn of(answer: Arc<CachedAnswer>, streamed: bool) -> Option<Self> {
        let (headers, body) = answer.in_form(streamed)?;
        Some(Self { answer, headers, body })
    }
}

impl Keeping {
    /// Remembers the headers that describe the answer.
    pub(super) fn describe(mut self: Box<Self>, headers: &HeaderMap) -> Box<Self> {
        for name in KEPT_HEADERS {
            if let Some(value) = headers.get(&name) {
                self.headers.insert(name, value.clone());
            }
        }
        self
    }

    /// Writes a passing chunk down.
    pub(super) fn push(&mut self, chunk: &Bytes) {
        self.recording.push(chunk);
    }

    /// Puts a complete answer into the cache.
    pub(super) fn keep(self, exchange: &Exchange, metered: &Metered, billed: Vec<Billed>) {
        let ttl = exchange.cache_settings().ttl;
        if !is_keepable_ending(metered.stop_reason.as_deref()) {
            return;
        }
        if let Some(body) = self.recording.finish() {
            let answer = CachedAnswer {
                streamed: starts_with(&self.headers, &header::CONTENT_TYPE, "text/event-stream"),
                headers: self.headers,
                body,
                billed,
                answered_model: metered.answered_model.clone(),
                message_id: metered.message_id.clone(),
                stop_reason: metered.stop_reason.clone(),
                made_at: exchange.settled_at,
                ttl,
            };
            exchange.snapshot.cache.insert(self.identity, Arc::new(answer));
        }
    }
}

/// Headers of an answer that are true of it whenever it is given.
const KEPT_HEADERS: [HeaderName; 3] = [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CACHE_CONTROL];
/// Largest answer that is kept; also at most an eighth of the cache.
const ANSWER_MAX_BYTES: usize = 16 << 20;
