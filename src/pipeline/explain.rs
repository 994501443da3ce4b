//! Why a request would be routed as it would be, or was; nothing is sent anywhere.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::catalog::Catalog;
use crate::classify::{RequestHints, Weights, classify};
use crate::config::{Config, Routing};
use crate::journal::Found;
use crate::route::{Ahead, Asked, Facts, decide};
use crate::wire::envelope;
use crate::wire::error::Refusal;
use crate::workload;

/// Decides on a body as if it came without headers and history, under `routing`, and says why.
///
/// The share held back as control is left out, as it is a draw of lots.
///
/// # Errors
/// A body that would be refused, with the same words.
pub fn explain_body(
    config: &Config,
    catalog: &Catalog,
    weights: &Weights,
    routing: &Routing,
    body: &[u8],
    at: Timestamp,
) -> Result<Value, Refusal> {
    let envelope = envelope::read(body)?;
    let complexity = workload::weigh(&classify(&envelope, &RequestHints::default(), weights), None);
    let routing = Routing { control_permille: 0, ..routing.clone() };
    let facts = Facts {
        api_version: DEFAULT_VERSION,
        betas: &[],
        override_tier: None,
        route_off: false,
        past: None,
        ahead: &Ahead::default(),
        lot: "",
        count_tokens: false,
        tight_pools: &[],
        budget_low: false,
        at,
    };
    let asked = Asked::parse(&envelope.model);
    let decision = decide(&asked, &envelope, &complexity, catalog, &config.tiers, &routing, &facts)
        .map_err(|unroutable| Refusal::malformed(unroutable.to_string()))?;
    Ok(decision.explain(None, &config.version))
}

/// Says why a recorded exchange was routed as it was: the same object; candidates are not recorded, the record
/// itself is added.
#[must_use]
pub fn explain_record(found: &Found) -> Value {
    let decision = found.record.decision.as_ref();
    let decision: Value =
        decision.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or(Value::Null);
    let part = |name: &str| decision.get(name).cloned().unwrap_or(Value::Null);
    json!({
        "asked": found.record.requested_model,
        "candidates": decision.get("candidates").cloned().unwrap_or_else(|| json!([])),
        "workload": part("workload"),
        "conversation": part("conversation"),
        "policy_version": part("policy_version"),
        "weights_version": part("weights_version"),
        "decision": decision,
        "record": serde_json::from_str::<Value>(&found.line).unwrap_or(Value::Null),
    })
}

/// What curl and most clients send.
const DEFAULT_VERSION: &str = "2023-06-01";
