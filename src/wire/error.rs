//! Our own refusals, in the API's shape: status, error type, headers, and whose fault it was from birth.
//!
//! [`body`] is the only place that writes an error body. Messages are shown to people as they are; they never
//! hold a secret or a prompt.

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use jiff::Timestamp;

use crate::wire::json::{Malformed, quote};
use crate::wire::unified::{Status, Unified, ceil_seconds};

/// Whose fault a refusal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The caller's: sending the same again will be refused again, or later allowed.
    Client,
    /// Ours.
    Gateway,
    /// The upstream's.
    Upstream,
}

/// One answer of ours in place of the upstream's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// The API's error type.
    pub kind: &'static str,
    /// What is wrong and what to do about it.
    pub message: String,
    /// Headers to answer with besides `content-type`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Whose fault it is.
    pub fault: Fault,
    /// Whether the same request may succeed soon.
    pub retryable: bool,
}

/// A budget or quota that has nothing left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spent<'a> {
    /// What is spent, without the time of its reset, which is appended.
    pub message: &'a str,
    /// When the period ends.
    pub reset: Timestamp,
    /// The present.
    pub now: Timestamp,
    /// The name of the ceiling, such as `monthly`; a header value.
    pub claim: &'a str,
    /// What is used up, in the unit of `limit`.
    pub used: u64,
    /// The ceiling.
    pub limit: u64,
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        Self::malformed(malformed.message)
    }
}

impl Refusal {
    /// 400: the request cannot be read or is not allowed in this form.
    #[must_use]
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::client(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// 401: no key, or one we do not know; tells clients not to retry.
    #[must_use]
    pub fn unauthenticated() -> Self {
        let message = "the API key is missing, unknown, expired or revoked";
        Self::client(StatusCode::UNAUTHORIZED, "authentication_error", message).no_retry()
    }

    /// 403: a known caller may not do this.
    #[must_use]
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::client(StatusCode::FORBIDDEN, "permission_error", message)
    }

    /// 404: nothing here, or nothing of this caller's.
    #[must_use]
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::client(StatusCode::NOT_FOUND, "not_found_error", message)
    }

    /// 405: the path exists, for another method; `allow` is that header's value.
    #[must_use]
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let message = format!("this path allows {allow} only");
        let refusal = Self::client(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", message);
        refusal.with_header(http::header::ALLOW, HeaderValue::from_static(allow))
    }

    /// 413: the body is over `max_bytes`.
    #[must_use]
    pub fn too_large(max_bytes: u64) -> Self {
        let message = format!("the body is over the limit of {max_bytes} bytes");
        Self::client(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message)
    }

    /// 431: the head is over 64 KiB or 100 headers.
    #[must_use]
    pub fn head_too_large() -> Self {
        let message = "the request's head is over the limit of 64 KiB and 100 headers";
        Self::client(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "invalid_request_error", message)
    }

    /// 415: a content-encoding we do not read.
    #[must_use]
    pub fn unsupported_encoding() -> Self {
        let message = "send the body without content-encoding, for compressed bodies are not read here";
        Self::client(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request_error", message)
    }

    /// 429: a limit is reached; `retry_after_s` is brought into 1 to 60 seconds.
    #[must_use]
    pub fn rate_limited(message: impl Into<String>, retry_after_s: u64) -> Self {
        let refusal = Self::client(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message);
        Self { retryable: true, ..refusal }.with_header(RETRY_AFTER, number(retry_after_s.clamp(1, 60)))
    }

    /// 429: a budget or quota is spent; tells clients to stop until it resets.
    #[must_use]
    pub fn budget_spent(spent: &Spent<'_>) -> Self {
        let message = format!("{}; it resets at {}", spent.message, spent.reset);
        let mut refusal = Self::client(StatusCode::TOO_MANY_REQUESTS, "billing_error", message).no_retry();
        refusal.headers.push((RETRY_AFTER, number(seconds_until(spent.reset, spent.now))));
        let Spent { reset, claim, used, limit, .. } = *spent;
        refusal.headers.extend(Unified { status: Status::Rejected, reset, claim, used, limit }.headers());
        refusal
    }

    /// 500: a fault of ours.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::server(StatusCode::INTERNAL_SERVER_ERROR, "api_error", message, Fault::Gateway)
    }

    /// 502: the upstream cannot be reached, or its answer cannot be read.
    #[must_use]
    pub fn bad_gateway(message: impl Into<String>) -> Self {
        Self::server(StatusCode::BAD_GATEWAY, "api_error", message, Fault::Upstream)
    }

    /// 503: something needed to decide is not available.
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::server(StatusCode::SERVICE_UNAVAILABLE, "api_error", message, Fault::Gateway)
    }

    /// 503: likewise, for `retry_after_s`, brought into 1 to 60 seconds.
    #[must_use]
    pub fn unavailable_for(message: impl Into<String>, retry_after_s: u64) -> Self {
        Self::unavailable(message).with_header(RETRY_AFTER, number(retry_after_s.clamp(1, 60)))
    }

    /// 504: the upstream did not answer in time.
    #[must_use]
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::server(StatusCode::GATEWAY_TIMEOUT, "timeout_error", message, Fault::Upstream)
    }

    /// 529: we are past capacity or draining; in a second it may be tried again.
    #[must_use]
    pub fn overloaded(message: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(529).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        Self::server(status, "overloaded_error", message, Fault::Gateway).with_header(RETRY_AFTER, number(1))
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    fn no_retry(self) -> Self {
        self.with_header(SHOULD_RETRY, HeaderValue::from_static("false"))
    }

    fn client(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, kind, message, headers: Vec::new(), fault: Fault::Client, retryable: false }
    }

    fn server(status: StatusCode, kind: &'static str, message: impl Into<String>, fault: Fault) -> Self {
        Self { status, kind, message: message.into(), headers: Vec::new(), fault, retryable: true }
    }
}

/// Returns the body of a refusal, JSON on one line.
#[must_use]
pub fn body(refusal: &Refusal, request_id: &str) -> Bytes {
    let (kind, message, id) = (quote(refusal.kind), quote(&refusal.message), quote(request_id));
    Bytes::from(format!(
        r#"{{"type":"error","error":{{"type":{kind},"message":{message}}},"request_id":{id}}}"#
    ))
}

/// Returns a refusal as an event, for a stream that has begun.
#[must_use]
pub fn sse_error_event(refusal: &Refusal, request_id: &str) -> Bytes {
    let body = body(refusal, request_id);
    Bytes::from([b"event: error\ndata: ", &*body, b"\n\n"].concat())
}

fn number(value: u64) -> HeaderValue {
    HeaderValue::from(value)
}

/// Whole seconds until the reset, rounded up, at least one.
fn seconds_until(reset: Timestamp, now: Timestamp) -> u64 {
    ceil_seconds(reset.as_millisecond().saturating_sub(now.as_millisecond())).max(1)
}

const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(refusal: &Refusal) -> String {
        let lines =
            refusal.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn every_refusal_has_its_status_type_fault_and_headers() {
        use Fault::{Client, Gateway, Upstream};
        for (refusal, status, kind, fault, retryable, expected) in [
            (Refusal::malformed("m"), 400, "invalid_request_error", Client, false, ""),
            (Refusal::unauthenticated(), 401, "authentication_error", Client, false, "x-should-retry: false"),
            (Refusal::forbidden("m"), 403, "permission_error", Client, false, ""),
            (Refusal::not_found("m"), 404, "not_found_error", Client, false, ""),
            (Refusal::method_not_allowed("POST"), 405, "invalid_request_error", Client, false, "allow: POST"),
            (Refusal::too_large(9), 413, "request_too_large", Client, false, ""),
            (Refusal::unsupported_encoding(), 415, "invalid_request_error", Client, false, ""),
            (Refusal::rate_limited("m", 0), 429, "rate_limit_error", Client, true, "retry-after: 1"),
            (Refusal::rate_limited("m", 61), 429, "rate_limit_error", Client, true, "retry-after: 60"),
            (Refusal::internal("m"), 500, "api_error", Gateway, true, ""),
            (Refusal::bad_gateway("m"), 502, "api_error", Upstream, true, ""),
            (Refusal::unavailable("m"), 503, "api_error", Gateway, true, ""),
            (Refusal::timeout("m"), 504, "timeout_error", Upstream, true, ""),
            (Refusal::overloaded("m"), 529, "overloaded_error", Gateway, true, "retry-after: 1"),
        ] {
            assert_eq!(refusal.status.as_u16(), status);
            assert_eq!((refusal.kind, refusal.fault, refusal.retryable), (kind, fault, retryable));
            assert_eq!(headers(&refusal), expected);
        }
    }

    #[test]
    fn a_spent_budget_says_when_it_resets_and_that_retrying_is_useless() {
        let refusal = Refusal::budget_spent(&Spent {
            message: "the monthly budget of 25.00 USD is spent",
            reset: "2026-12-01T00:00:00Z".parse().unwrap(),
            now: "2026-11-30T23:59:00.5Z".parse().unwrap(),
            claim: "monthly",
            used: 25_010_000_000,
            limit: 25_000_000_000,
        });
        assert_eq!((refusal.status.as_u16(), refusal.kind, refusal.retryable), (429, "billing_error", false));
        assert_eq!(
            headers(&refusal),
            "x-should-retry: false\n\
             retry-after: 60\n\
             anthropic-ratelimit-unified-status: rejected\n\
             anthropic-ratelimit-unified-reset: 1796083200\n\
             anthropic-ratelimit-unified-representative-claim: monthly\n\
             anthropic-ratelimit-unified-spend-status: rejected\n\
             anthropic-ratelimit-unified-spend-utilization: 1.0004\n\
             anthropic-ratelimit-unified-spend-reset: 1796083200"
        );
        let expected = r#"{"type":"error","error":{"type":"billing_error","message":"the monthly budget of 25.00 USD is spent; it resets at 2026-12-01T00:00:00Z"},"request_id":"tct_1"}"#;
        assert_eq!(body(&refusal, "tct_1"), expected);
    }

    #[test]
    fn a_reset_in_the_past_and_a_ceiling_of_nothing_are_answered() {
        let now: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
        let spent = Spent { message: "m", reset: now, now, claim: "a\nb", used: u64::MAX, limit: 0 };
        let headers = headers(&Refusal::budget_spent(&spent));
        assert!(headers.contains("retry-after: 1\n") && headers.contains("claim: budget\n"));
    }

    #[test]
    fn an_error_event_is_one_event_with_the_same_body() {
        let refusal = Refusal::internal("a \"quoted\"\nline");
        let expected = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\
                        \"a \\\"quoted\\\"\\nline\"},\"request_id\":\"r\"}\n\n";
        assert_eq!(sse_error_event(&refusal, "r"), expected);
    }

    proptest! {
        #[test]
        fn any_message_makes_valid_json_on_one_line(message in any::<String>(), id in any::<String>()) {
            let body = body(&Refusal::malformed(message.clone()), &id);
            let read: serde_json::Value = serde_json::from_slice(&body).unwrap();
            prop_assert_eq!(read["error"]["message"].as_str(), Some(&*message));
            prop_assert_eq!(read["request_id"].as_str(), Some(&*id));
            prop_assert!(!body.contains(&b'\n') && !body.contains(&b'\r'));
        }
    }
}
