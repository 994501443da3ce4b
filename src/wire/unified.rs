//! The `anthropic-ratelimit-unified-*` headers, in which clients are told how much of a budget is left.
//!
//! Claude Code knows the three states; the SDKs hand the headers on.

use http::header::{HeaderName, HeaderValue};
use jiff::Timestamp;

/// How it stands with a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Something is left.
    Allowed,
    /// Something is left, and little.
    AllowedWarning,
    /// Nothing is left for this request.
    Rejected,
}

impl Status {
    /// Returns the value of the header.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::AllowedWarning => "allowed_warning",
            Self::Rejected => "rejected",
        }
    }
}

/// The budget or quota that leaves a caller least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unified<'a> {
    /// How it stands.
    pub status: Status,
    /// When the period ends.
    pub reset: Timestamp,
    /// The name of the ceiling, such as `monthly_budget`; a header value.
    pub claim: &'a str,
    /// What is used up, in the unit of `limit`.
    pub used: u64,
    /// The ceiling.
    pub limit: u64,
}

impl Unified<'_> {
    /// Returns names and values.
    #[must_use]
    pub fn headers(&self) -> [(HeaderName, HeaderValue); 6] {
        let status = HeaderValue::from_static(self.status.name());
        let reset = HeaderValue::from(ceil_seconds(self.reset.as_millisecond()));
        let claim = HeaderValue::from_str(self.claim).unwrap_or(HeaderValue::from_static("budget"));
        [
            (STATUS, status.clone()),
            (RESET, reset.clone()),
            (CLAIM, claim),
            (SPEND_STATUS, status),
            (SPEND_UTILIZATION, ratio(self.used, self.limit)),
            (SPEND_RESET, reset),
        ]
    }
}

/// Whole seconds, rounded up.
pub(super) fn ceil_seconds(milliseconds: i64) -> u64 {
    u64::try_from(milliseconds).unwrap_or(0).div_ceil(1_000)
}

/// `used / limit` with four decimals, cut off rather than rounded.
fn ratio(used: u64, limit: u64) -> HeaderValue {
    let parts = u128::from(used) * 10_000 / u128::from(limit.max(1));
    let text = format!("{}.{:04}", parts / 10_000, parts % 10_000);
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("1.0000"))
}

const STATUS: HeaderName = HeaderName::from_static("anthropic-ratelimit-unified-status");
const RESET: HeaderName = HeaderName::from_static("anthropic-ratelimit-unified-reset");
const CLAIM: HeaderName = HeaderName::from_static("anthropic-ratelimit-unified-representative-claim");
const SPEND_STATUS: HeaderName = HeaderName::from_static("anthropic-ratelimit-unified-spend-status");
const SPEND_UTILIZATION: HeaderName =
    HeaderName::from_static("anthropic-ratelimit-unified-spend-utilization");
const SPEND_RESET: HeaderName = HeaderName::from_static("anthropic-ratelimit-unified-spend-reset");
