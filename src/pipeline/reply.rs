//! The head of an answer: what is taken off, what of ours is put on.

use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::exchange::Exchange;
use super::{own_limits, redact};
use crate::wire::headers;

/// Prepares the head of an answer for the client.
///
/// Upstream headers stay as they are but for the hop-by-hop ones, and the shared account's rate limits where
/// the caller has limits of its own. With our credential its cookies stay with us.
pub(super) fn dress(exchange: &Exchange, head: &mut Parts) {
    // Room for ours at once: a map that grows sorts everything in it anew.
    head.headers.reserve(OURS_MAX);
    headers::strip_hop_by_hop(&mut head.headers);
    if let Some(secret) = redact::ours(exchange) {
        // Cookies of our account, which are no client's.
        head.headers.remove(header::SET_COOKIE);
        redact::headers(secret, head);
    }
    if head.status.is_success() {
        own_limits::put(exchange, &mut head.headers);
    }
    ours(exchange, &mut head.headers);
}

/// Puts our own headers on.
pub(super) fn ours(exchange: &Exchange, headers: &mut HeaderMap) {
    put(headers, REQUEST_ID, exchange.id.as_str());
    if let Some(name) = exchange.via_name() {
        put(headers, UPSTREAM, name);
    }
    if !headers.contains_key(UPSTREAM_REQUEST_ID) {
        put(headers, UPSTREAM_REQUEST_ID, exchange.id.as_str());
    }
    if let Some(guarded) = exchange.guarded.as_ref().filter(|guarded| !guarded.finds.is_empty()) {
        put(headers, GUARD, &guarded.finds.header());
    }
    if let Some(decision) = &exchange.decision {
        put(headers, MODEL, decision.model());
        put(headers, TIER, decision.tier().name());
        put(headers, REASON, &decision.codes());
        put(headers, CACHE, exchange.cache.name());
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Headers of ours, rate limits among them.
const OURS_MAX: usize = 27;
// Constants, because `from_static` walks the name byte by byte wherever it runs.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-tercet-request-id");
const UPSTREAM_REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const UPSTREAM: HeaderName = HeaderName::from_static("x-tercet-upstream");
const GUARD: HeaderName = HeaderName::from_static("x-tercet-guard");
const MODEL: HeaderName = HeaderName::from_static("x-tercet-model");
const TIER: HeaderName = HeaderName::from_static("x-tercet-tier");
const REASON: HeaderName = HeaderName::from_static("x-tercet-reason");
const CACHE: HeaderName = HeaderName::from_static("x-tercet-cache");
