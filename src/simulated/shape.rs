//! The form of a request body: which fields exist, their types, and the betas that some of them need.
//!
//! Knows nothing about models; `rules` does. An unknown field, or one whose beta is missing, is refused with the
//! documented text `<field>: Extra inputs are not permitted`.

use serde_json::{Map, Value};

use super::call::{Call, Version};
use super::fault::Fault;

/// Which endpoint a body is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Messages,
    CountTokens,
    /// One item of a batch.
    Batch,
}

/// Checks the top level of a body.
pub(super) fn check(body: &Map<String, Value>, endpoint: Endpoint, call: &Call) -> Result<(), Fault> {
    for (field, value) in body {
        known(field, endpoint, call)?;
        kind(field, value)?;
    }
    required(body, "model")?;
    if endpoint != Endpoint::CountTokens {
        required(body, "max_tokens")?;
    }
    required(body, "messages")?;
    if let Some(metadata) = body.get("metadata") {
        only(metadata, "metadata", &["user_id"])?;
    }
    if let Some(config) = body.get("output_config") {
        output_config(config, "output_config", call)?;
    }
    sampling_version(body, call)?;
    enumerated(body, "service_tier", &["auto", "standard_only"])?;
    enumerated(body, "speed", &["standard", "fast"])?;
    system(body.get("system"))
}

/// Checks an `output_config`, at the top or on a message.
pub(super) fn output_config(config: &Value, path: &str, call: &Call) -> Result<(), Fault> {
    only(config, path, &["effort", "format", "task_budget"])?;
    if let Some(effort) = config.get("effort").filter(|effort| !effort.is_null()) {
        let known = effort.as_str().is_some_and(|effort| EFFORTS.contains(&effort));
        if !known {
            return Err(Fault::invalid(format!(
                "{path}.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'"
            )));
        }
    }
    if let Some(format) = config.get("format").filter(|format| !format.is_null()) {
        only(format, &format!("{path}.format"), &["type", "schema"])?;
        if format.get("type").and_then(Value::as_str) != Some("json_schema") {
            return Err(Fault::invalid(format!("{path}.format.type: Input should be 'json_schema'")));
        }
        if !format.get("schema").is_some_and(Value::is_object) {
            return Err(Fault::invalid(format!("{path}.format.schema: Field required")));
        }
    }
    let Some(budget) = config.get("task_budget").filter(|budget| !budget.is_null()) else { return Ok(()) };
    if !call.has_beta("task-budgets-2026-03-13") {
        return Err(Fault::extra(&format!("{path}.task_budget")));
    }
    only(budget, &format!("{path}.task_budget"), &["type", "total", "remaining"])?;
    if budget.get("type").and_then(Value::as_str) != Some("tokens") {
        return Err(Fault::invalid(format!("{path}.task_budget.type: Input should be 'tokens'")));
    }
    if budget.get("total").and_then(Value::as_u64).is_none_or(|total| total < 20_000) {
        return Err(Fault::invalid(format!(
            "{path}.task_budget.total: Input should be greater than or equal to 20000"
        )));
    }
    Ok(())
}

/// Refuses keys that are not listed.
pub(super) fn only(value: &Value, path: &str, keys: &[&str]) -> Result<(), Fault> {
    let Some(object) = value.as_object() else {
        return Err(Fault::invalid(format!("{path}: Input should be a valid dictionary")));
    };
    match object.keys().find(|key| !keys.contains(&key.as_str())) {
        Some(key) => Err(Fault::extra(&format!("{path}.{key}"))),
        None => Ok(()),
    }
}

fn known(field: &str, endpoint: Endpoint, call: &Call) -> Result<(), Fault> {
    let counted = COUNTED.contains(&field);
    let plain = counted || (endpoint != Endpoint::CountTokens && GENERATED.contains(&field));
    let by_beta = BETA_FIELDS.iter().any(|(name, counts, betas)| {
        *name == field
            && (*counts || endpoint != Endpoint::CountTokens)
            && betas.iter().any(|beta| call.has_beta(beta))
    });
    if plain || by_beta { Ok(()) } else { Err(Fault::extra(field)) }
}

fn kind(field: &str, value: &Value) -> Result<(), Fault> {
    if value.is_null() {
        let nullable = NULLABLE.contains(&field) || BETA_FIELDS.iter().any(|(name, ..)| *name == field);
        return if nullable {
            Ok(())
        } else {
            Err(Fault::invalid(format!("{field}: Input should not be null")))
        };
    }
    let (right, expected) = match field {
        "model" | "inference_geo" => (value.is_string(), "a valid string"),
        "messages" | "tools" | "stop_sequences" | "mcp_servers" => (value.is_array(), "a valid list"),
        "max_tokens" => (value.is_u64(), "a valid integer"),
        "top_k" => (value.is_u64(), "a valid integer"),
        "temperature" | "top_p" => (value.is_number(), "a valid number"),
        "stream" => (value.is_boolean(), "a valid boolean"),
        "metadata" | "thinking" | "output_config" | "tool_choice" | "cache_control" | "diagnostics"
        | "thread" | "compaction" | "context_management" => (value.is_object(), "a valid dictionary"),
        "system" => (value.is_string() || value.is_array(), "a valid string or list"),
        "container" => (value.is_string() || value.is_object(), "a valid string or dictionary"),
        "fallbacks" => (value.is_array() || value == "default", "a valid list or 'default'"),
        _ => (true, ""),
    };
    if right { Ok(()) } else { Err(Fault::invalid(format!("{field}: Input should be {expected}"))) }
}

fn required(body: &Map<String, Value>, field: &str) -> Result<(), Fault> {
    if body.contains_key(field) { Ok(()) } else { Err(Fault::invalid(format!("{field}: Field required"))) }
}

fn enumerated(body: &Map<String, Value>, field: &str, values: &[&str]) -> Result<(), Fault> {
    match body.get(field).filter(|value| !value.is_null()) {
        Some(value) if !value.as_str().is_some_and(|text| values.contains(&text)) => {
            let listed: Vec<String> = values.iter().map(|value| format!("'{value}'")).collect();
            Err(Fault::invalid(format!("{field}: Input should be {}", listed.join(" or "))))
        }
        _ => Ok(()),
    }
}

fn sampling_version(body: &Map<String, Value>, call: &Call) -> Result<(), Fault> {
    if call.version == Version::June2023 {
        return Ok(());
    }
    match ["temperature", "top_p", "top_k"].into_iter().find(|field| body.contains_key(*field)) {
        Some(field) => Err(Fault::extra(field)),
        None => Ok(()),
    }
}

fn system(system: Option<&Value>) -> Result<(), Fault> {
    let Some(blocks) = system.and_then(Value::as_array) else { return Ok(()) };
    for (index, block) in blocks.iter().enumerate() {
        let path = format!("system.{index}");
        only(block, &path, &["type", "text", "cache_control", "citations"])?;
        if block.get("type").and_then(Value::as_str) != Some("text") {
            return Err(Fault::invalid(format!("{path}.type: Input should be 'text'")));
        }
        match block.get("text").and_then(Value::as_str) {
            None => return Err(Fault::invalid(format!("{path}.text: Field required"))),
            Some("") => return Err(Fault::invalid("system: text content blocks must be non-empty")),
            Some(_) => {}
        }
    }
    Ok(())
}

const EFFORTS: &[&str] = &["low", "medium", "high", "xhigh", "max"];

/// Fields of every body.
const COUNTED: &[&str] = &[
    "model",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "cache_control",
    "speed",
];

/// Fields of bodies that generate.
const GENERATED: &[&str] = &[
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "stop_sequences",
    "metadata",
    "stream",
    "service_tier",
    "inference_geo",
    "container",
    "diagnostics",
];

const NULLABLE: &[&str] =
    &["cache_control", "container", "diagnostics", "inference_geo", "speed", "stop_sequences"];

/// Fields that exist only with one of these betas (by prefix), and whether count_tokens takes them too.
const BETA_FIELDS: &[(&str, bool, &[&str])] = &[
    ("mcp_servers", true, &["mcp-client-", "mcp-servers-"]),
    ("context_management", true, &["context-management-2025-06-27", "compact-2026-01-12"]),
    ("compaction", true, &["compact-2026-09-04"]),
    ("fallbacks", false, &["server-side-fallback-"]),
    ("fallback_credit_token", false, &["fallback-credit-"]),
    ("thread", false, &["message-threads-2026-08-12"]),
    ("billing_policy", true, &["user-profiles-billing-2026-10-01"]),
    ("output_format", true, &["structured-outputs-2025-11-13"]),
    ("safeguards", false, &["afk-mode-2026-01-31", "dangerous-tool-use-2026-09-03"]),
    ("context_hint", false, &["context-hint-2026-04-09"]),
];
