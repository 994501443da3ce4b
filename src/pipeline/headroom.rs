//! What the upstream says of its own rate limits, for the metrics and for routing; clients see theirs, or these.

use std::time::Duration;

use http::{HeaderMap, HeaderName, Response, StatusCode, header};
use jiff::Timestamp;

use super::exchange::Exchange;
use crate::config::Credential;
use crate::telemetry::UpstreamLimit;
use crate::upstream::Left;

/// Notes what an answer says is left of the limits of the pool that the sent model belongs to.
///
/// Where callers bring their own credentials each has an upstream account, and no one's limits steer another.
pub(super) fn note<B>(exchange: &Exchange, answer: &Response<B>) {
    // A fallback's limits are another account's, and steer nothing.
    if exchange.via.is_some() {
        return;
    }
    let Some(model) = exchange.snapshot.catalog.model(exchange.sent_model()) else { return };
    let (runtime, headers) = (&exchange.tercet.runtime, answer.headers());
    let left = LIMIT_HEADERS.map(|(_, names)| left(headers, names));
    for ((kind, _), left) in LIMIT_HEADERS.iter().zip(left) {
        let Some(Left { limit, remaining, resets_at }) = left else { continue };
        runtime.metrics.record_upstream_limit(&UpstreamLimit {
            family: &model.pool,
            kind,
            limit,
            remaining,
            reset_timestamp_s: resets_at.as_second(),
        });
    }
    if matches!(exchange.snapshot.config.upstream.credential, Credential::Client) {
        return;
    }
    runtime.headroom.note(&model.pool, left);
    if answer.status() == StatusCode::TOO_MANY_REQUESTS
        && let Some(seconds) = number(headers, &header::RETRY_AFTER)
    {
        let wait = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        runtime.headroom.wait(&model.pool, runtime.clock.now(), wait);
    }
}

fn left(headers: &HeaderMap, [limit, remaining, reset]: [HeaderName; 3]) -> Option<Left> {
    Some(Left {
        limit: number(headers, &limit)?,
        remaining: number(headers, &remaining)?,
        resets_at: headers.get(reset)?.to_str().ok()?.parse::<Timestamp>().ok()?,
    })
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<i64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// Each kind of limit, and its headers: limit, rest, reset.
pub(super) const LIMIT_HEADERS: [(&str, [HeaderName; 3]); 4] = [
    (
        "requests",
        [
            HeaderName::from_static("anthropic-ratelimit-requests-limit"),
            HeaderName::from_static("anthropic-ratelimit-requests-remaining"),
            HeaderName::from_static("anthropic-ratelimit-requests-reset"),
        ],
    ),
    (
        "tokens",
        [
            HeaderName::from_static("anthropic-ratelimit-tokens-limit"),
            HeaderName::from_static("anthropic-ratelimit-tokens-remaining"),
            HeaderName::from_static("anthropic-ratelimit-tokens-reset"),
        ],
    ),
    (
        "input_tokens",
        [
            HeaderName::from_static("anthropic-ratelimit-input-tokens-limit"),
            HeaderName::from_static("anthropic-ratelimit-input-tokens-remaining"),
            HeaderName::from_static("anthropic-ratelimit-input-tokens-reset"),
        ],
    ),
    (
        "output_tokens",
        [
            HeaderName::from_static("anthropic-ratelimit-output-tokens-limit"),
            HeaderName::from_static("anthropic-ratelimit-output-tokens-remaining"),
            HeaderName::from_static("anthropic-ratelimit-output-tokens-reset"),
        ],
    ),
];
