//! What is counted of upstreams: tries, limits, fallbacks, and which of them are left alone.

use super::Metrics;
use crate::telemetry::facts::{AttemptResult, UpstreamLimit};
use crate::telemetry::family::count;
use crate::tier::Tier;

impl Metrics {
    /// Counts one try at the upstream.
    pub fn record_attempt(&self, tier: Tier, result: AttemptResult) {
        count(self.attempts.cell(&[tier.name(), result.name()]).as_ref(), 1);
    }

    /// Counts one exchange that went to a fallback.
    pub fn record_fallback(&self, upstream: &str) {
        count(self.fallbacks.cell(&[upstream]).as_ref(), 1);
    }

    /// Notes whether an upstream is left alone for not answering.
    pub fn record_breaker(&self, upstream: &str, open: bool) {
        if let Some(gauge) = self.open.cell(&[upstream]) {
            gauge.set(i64::from(open));
        }
    }

    /// Notes the upstream's limit as its last answer told it.
    pub fn record_upstream_limit(&self, limit: &UpstreamLimit<'_>) {
        let values = [limit.limit, limit.remaining, limit.reset_timestamp_s];
        for (family, value) in self.upstream_limits.iter().zip(values) {
            if let Some(gauge) = family.cell(&[limit.family, limit.kind]) {
                gauge.set(value);
            }
        }
    }
}

/// What the configured upstream is called beside its fallbacks.
pub const CONFIGURED: &str = "configured";
