//! What the upstream says of its own rate limits, for the metrics; clients see theirs, or these.

use http::{HeaderMap, HeaderName};
use jiff::Timestamp;

use super::exchange::Exchange;
use crate::telemetry::UpstreamLimit;

/// Notes what is left of the limits of the pool that the sent model belongs to.
pub(super) fn note(exchange: &Exchange, headers: &HeaderMap) {
    let Some(model) = exchange.snapshot.catalog.model(exchange.sent_model()) else { return };
    for (kind, [limit, remaining, reset]) in LIMIT_HEADERS {
        let number = |name: HeaderName| headers.get(name)?.to_str().ok()?.parse::<i64>().ok();
        let time = |name: HeaderName| headers.get(name)?.to_str().ok()?.parse::<Timestamp>().ok();
        let Some(limit) = number(limit) else { continue };
        if let (Some(remaining), Some(reset)) = (number(remaining), time(reset)) {
            exchange.tercet.runtime.metrics.record_upstream_limit(&UpstreamLimit {
                family: &model.pool,
                kind,
                limit,
                remaining,
                reset_timestamp_s: reset.as_second(),
            });
        }
    }
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
