//! Why a request would be routed as it would be, without sending it anywhere.

use serde_json::Value;

use super::runtime::Snapshot;
use crate::classify::{RequestHints, classify};
use crate::config::Routing;
use crate::route::{Asked, Facts, RouteDecision, decide};
use crate::wire::envelope;
use crate::wire::error::Refusal;

/// Decides on a body as if it came without headers, under `routing`.
///
/// # Errors
/// A body that would be refused, with the same words.
pub fn explain_body(
    snapshot: &Snapshot,
    routing: &Routing,
    body: &[u8],
    at: jiff::Timestamp,
) -> Result<(RouteDecision, Value), Refusal> {
    let envelope = envelope::read(body)?;
    let complexity = classify(&envelope, &RequestHints::default());
    let facts = Facts {
        api_version: DEFAULT_VERSION,
        betas: &[],
        override_tier: None,
        route_off: false,
        conversation_stays: None,
        request_id: "explain",
        count_tokens: false,
        at,
    };
    let tiers = &snapshot.config.tiers;
    let asked = Asked::parse(&envelope.model);
    let decision = decide(&asked, &envelope, &complexity, &snapshot.catalog, tiers, routing, &facts)
        .map_err(|unroutable| Refusal::malformed(unroutable.to_string()))?;
    let value = decision.explain(None, &snapshot.config.version);
    Ok((decision, value))
}

/// What curl and most clients send.
const DEFAULT_VERSION: &str = "2023-06-01";
