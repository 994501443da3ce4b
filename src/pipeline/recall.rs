//! Step recall: the response cache, asked with the decided model; and what is kept for it.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response, StatusCode, header};

use super::exchange::Exchange;
use super::finish;
use super::relay::Reply;
use super::reply;
use crate::cache::{
    CacheKey, CacheResult, CachedAnswer, KeyParts, Recording, bypass_reason, is_keepable_ending,
};
use crate::config::{Credential, Scope};
use crate::secret::KeyHash;
use crate::usage::Billed;
use crate::wire::envelope::Envelope;
use crate::wire::headers;
use crate::wire::meter::Metered;

/// What the cache had.
pub(super) enum Recalled {
    /// An answer to give again.
    Hit(Arc<CachedAnswer>),
    /// None; the one to come may be kept.
    Miss(Box<Keeping>),
    /// The cache has nothing to do with this request.
    Bypass,
}

/// An answer on its way into the cache.
pub(super) struct Keeping {
    key: CacheKey,
    recording: Recording,
    headers: HeaderMap,
}

/// Looks the request up, where the tenant's cache is on and the request can be answered again.
pub(super) fn recall(exchange: &mut Exchange, envelope: &Envelope<'_>) -> Recalled {
    exchange.cache = CacheResult::Bypass;
    let settings = exchange.cache_settings();
    let switched_off = !settings.enabled || exchange.ours.cache.as_deref() == Some("off");
    if exchange.endpoint.is_count() || switched_off || bypass_reason(envelope).is_some() {
        return Recalled::Bypass;
    }
    let refresh = exchange.ours.cache.as_deref() == Some("refresh");
    let Some(key) = key_of(exchange, envelope, settings.scope) else { return Recalled::Bypass };
    let max_bytes = usize::try_from(settings.max_bytes / 8).unwrap_or(usize::MAX).min(ANSWER_MAX_BYTES);
    if let Some(answer) = (!refresh).then(|| exchange.snapshot.cache.get(&key)).flatten() {
        exchange.cache = CacheResult::Hit;
        return Recalled::Hit(answer);
    }
    exchange.cache = CacheResult::Miss;
    Recalled::Miss(Box::new(Keeping { key, recording: Recording::new(max_bytes), headers: HeaderMap::new() }))
}

/// Names the request; `None` where nobody can be told apart who may share its answer.
fn key_of(exchange: &Exchange, envelope: &Envelope<'_>, scope: Scope) -> Option<CacheKey> {
    let tenant = exchange.tenant().as_bytes();
    let user = exchange.user().as_bytes();
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
    let upstream = &exchange.snapshot.config.upstream;
    let ours = match &upstream.credential {
        Credential::Client => None,
        Credential::Ours(secret) => Some(KeyHash::of(secret.expose().as_bytes()).0),
    };
    Some(CacheKey::of(&KeyParts {
        scope: shared,
        upstream: &upstream.base_url.to_string(),
        credential: ours.as_ref().map_or(&[], <[u8; 32]>::as_slice),
        model: exchange.sent_model(),
        adaptation: exchange.adaptation(),
        query: exchange.query(),
        headers: &exchange.headers,
        body: envelope.body,
    }))
}

/// Gives a kept answer again; the exchange ends here.
pub(super) async fn replay(exchange: Box<Exchange>, answer: &CachedAnswer) -> Response<Reply> {
    let mut response = Response::new(Reply::whole(answer.body.clone()));
    *response.status_mut() = StatusCode::OK;
    *response.headers_mut() = answer.headers.clone();
    let (mut head, body) = response.into_parts();
    reply::dress(&exchange, &mut head);
    finish::finish_hit(exchange, answer).await;
    Response::from_parts(head, body)
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
                headers: self.headers,
                body,
                billed,
                answered_model: metered.answered_model.clone(),
                message_id: metered.message_id.clone(),
                stop_reason: metered.stop_reason.clone(),
                ttl,
            };
            exchange.snapshot.cache.insert(self.key, answer);
        }
    }
}

/// Headers of an answer that are true of it whenever it is given.
const KEPT_HEADERS: [HeaderName; 3] = [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CACHE_CONTROL];
/// Largest answer that is kept; also at most an eighth of the cache.
const ANSWER_MAX_BYTES: usize = 16 << 20;
