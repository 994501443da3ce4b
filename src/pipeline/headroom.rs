//! What the upstream says of its own rate limits, for the metrics; clients see theirs, or these.

use http::HeaderMap;
use jiff::Timestamp;

use super::exchange::Exchange;
use crate::telemetry::UpstreamLimit;

/// Notes what is left of the limits of the pool that the sent model belongs to.
pub(super) fn note(exchange: &Exchange, headers: &HeaderMap) {
    let Some(model) = exchange.snapshot.catalog.model(exchange.sent_model()) else { return };
    for (kind, [limit, remaining, reset]) in LIMIT_HEADERS {
        let number = |name: &str| headers.get(name)?.to_str().ok()?.parse::<i64>().ok();
        let time = |name: &str| headers.get(name)?.to_str().ok()?.parse::<Timestamp>().ok();
        if let (Some(limit), Some(remaining), Some(reset)) = (number(limit), number(remaining), time(reset)) {
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
pub(super) const LIMIT_HEADERS: [(&str, [&str; 3]); 4] = [
    (
        "requests",
        [
            "anthropic-ratelimit-requests-limit",
            "anthropic-ratelimit-requests-remaining",
            "anthropic-ratelimit-requests-reset",
        ],
    ),
    (
        "tokens",
        [
            "anthropic-ratelimit-tokens-limit",
            "anthropic-ratelimit-tokens-remaining",
            "anthropic-ratelimit-tokens-reset",
        ],
    ),
    (
        "input_tokens",
        [
            "anthropic-ratelimit-input-tokens-limit",
            "anthropic-ratelimit-input-tokens-remaining",
            "anthropic-ratelimit-input-tokens-reset",
        ],
    ),
    (
        "output_tokens",
        [
            "anthropic-ratelimit-output-tokens-limit",
            "anthropic-ratelimit-output-tokens-remaining",
            "anthropic-ratelimit-output-tokens-reset",
        ],
    ),
];
