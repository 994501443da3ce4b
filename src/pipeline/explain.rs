//! Why a request would be routed as it would be, or was; nothing is sent anywhere.

use http::{HeaderMap, HeaderName};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::decide::betas;
use super::policy::{fingerprints, hints, text};
use crate::catalog::Catalog;
use crate::classify::{Weights, classify};
use crate::config::{Config, Routing};
use crate::journal::Found;
use crate::route::{Ahead, Basis, DECISION_FIELDS, Facts, Origin, RouteDecision, USUAL_VERSION, told_whole};
use crate::tier::Tier;
use crate::wire::envelope;
use crate::wire::error::Refusal;
use crate::wire::headers::API_VERSION;
use crate::workload;

/// Decides on a body as if it came first in its conversation, with nothing learned, under `routing`.
///
/// The shares held back as control and as canary are left out, as they are drawn by lot. Without
/// `anthropic-version` it is taken for the one that most clients send.
///
/// # Errors
/// A body or a header that would be refused, with the same words.
pub fn judge(
    config: &Config,
    catalog: &Catalog,
    weights: &Weights,
    routing: &Routing,
    headers: &HeaderMap,
    body: &[u8],
    at: Timestamp,
) -> Result<RouteDecision, Refusal> {
    let envelope = envelope::read(body)?;
    let complexity = workload::weigh(&classify(&envelope, &hints(headers), weights), None);
    let routing = Routing { control_permille: 0, canary: None, ..routing.clone() };
    let override_tier = match text(headers, HeaderName::from_static("x-tercet-tier")) {
        None => None,
        Some(name) => Some(name.parse::<Tier>().map_err(|()| {
            Refusal::malformed(format!("x-tercet-tier: {name:?} is none of haiku, sonnet, opus"))
        })?),
    };
    let facts = Facts {
        api_version: text(headers, API_VERSION).unwrap_or(USUAL_VERSION),
        betas: &betas(headers),
        override_tier,
        route_off: text(headers, HeaderName::from_static("x-tercet-route")) == Some("off"),
        past: None,
        ahead: &Ahead::default(),
        lot: "",
        count_tokens: false,
        tight_pools: &[],
        budget_low: false,
        at,
    };
    let decided = Basis::of(&envelope, &complexity, &facts).decide(catalog, &config.tiers, &routing, "", at);
    decided.map_err(|unroutable| Refusal::malformed(unroutable.to_string()))
}

/// Decides on a body without headers, and says why.
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
    let decision = judge(config, catalog, weights, routing, &HeaderMap::new(), body, at)?;
    let workload = fingerprints(&HeaderMap::new(), &envelope::read(body)?).name();
    Ok(decision.explain(Origin {
        workload: workload.as_deref(),
        policy_version: &config.version,
        weights_version: weights.version(),
    }))
}

/// Says why a recorded exchange was routed as it was: the object that explaining its body gave, as recorded.
#[must_use]
pub fn explain_record(found: &Found) -> Value {
    let kept = found.record.decision.as_ref();
    let mut kept: Value = kept.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or(Value::Null);
    if let Some(decision) = kept.as_object_mut() {
        told_whole(decision, found.record.mode.as_deref());
    }
    let part = |name: &str| kept.get(name).cloned().unwrap_or(Value::Null);
    let fields = DECISION_FIELDS.iter().map(|name| ((*name).to_owned(), part(name))).collect();
    json!({
        "asked": found.record.requested_model,
        "candidates": kept.get("candidates").cloned().unwrap_or_else(|| json!([])),
        "workload": part("workload"),
        "conversation": part("conversation"),
        "policy_version": part("policy_version"),
        "weights_version": part("weights_version"),
        "decision": if kept.is_null() { Value::Null } else { Value::Object(fields) },
    })
}
