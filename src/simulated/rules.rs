//! What a model refuses: the per-model rules on limits, thinking, effort, sampling, prefill and speed.
//!
//! Reads `models`; the rules about tools are in `tool_rules`. The texts that the documentation quotes are exact.

use serde_json::{Map, Value};

use super::blocks;
use super::call::Call;
use super::fault::Fault;
use super::models::{Disabled, Fast, Model};
use super::shape::Endpoint;

/// Checks a well-formed body against what the model accepts.
pub(super) fn check(
    body: &Map<String, Value>,
    messages: &[Value],
    model: &Model,
    endpoint: Endpoint,
    call: &Call,
) -> Result<(), Fault> {
    max_tokens(body, model, endpoint, call)?;
    thinking(body, model)?;
    display(body, call)?;
    effort(body.get("output_config"), body, model)?;
    sampling(body, model)?;
    speed(body, model, endpoint, call)?;
    system_messages(messages, body, model)?;
    prefill(body, messages, model)?;
    extras(body, model)
}

/// Says whether thinking runs for this request, forced tool use aside.
pub(super) fn thinks(body: &Map<String, Value>, model: &Model) -> bool {
    match thinking_type(body) {
        Some(kind) => matches!(kind, "adaptive" | "enabled"),
        None => model.thinking.on_by_default,
    }
}

/// Returns `thinking.type`.
pub(super) fn thinking_type(body: &Map<String, Value>) -> Option<&str> {
    body.get("thinking").and_then(|thinking| thinking.get("type")).and_then(Value::as_str)
}

fn max_tokens(
    body: &Map<String, Value>,
    model: &Model,
    endpoint: Endpoint,
    call: &Call,
) -> Result<(), Fault> {
    if endpoint == Endpoint::CountTokens {
        return Ok(());
    }
    let asked = body.get("max_tokens").and_then(Value::as_u64).unwrap_or(0);
    let long =
        endpoint == Endpoint::Batch && model.max_output_tokens == 128_000 && call.has_beta("output-300k-");
    let most = if long { 300_000 } else { model.max_output_tokens };
    if asked > most {
        return Err(Fault::invalid(format!(
            "max_tokens: {asked} > {most}, which is the maximum allowed number of output tokens for {}",
            body.get("model").and_then(Value::as_str).unwrap_or(model.id)
        )));
    }
    if asked == 0 && body.get("stream") == Some(&Value::Bool(true)) {
        return Err(Fault::invalid("max_tokens: 0 is not supported with `stream`"));
    }
    Ok(())
}

fn thinking(body: &Map<String, Value>, model: &Model) -> Result<(), Fault> {
    let Some(config) = body.get("thinking") else { return Ok(()) };
    let Some(kind) = thinking_type(body) else { return Err(Fault::invalid("thinking.type: Field required")) };
    let accepts = model.thinking;
    let accepted = match kind {
        "adaptive" => accepts.adaptive,
        "enabled" => accepts.enabled,
        "disabled" => accepts.disabled != Disabled::Never,
        "between_tools" => accepts.between_tools,
        _ => {
            return Err(Fault::invalid(format!(
                "thinking: Input tag '{kind}' found using 'type' does not match any of the expected tags: \
                 'adaptive', 'between_tools', 'disabled', 'enabled'"
            )));
        }
    };
    if kind == "adaptive" && !accepted {
        return Err(Fault::invalid("adaptive thinking is not supported on this model"));
    }
    if !accepted {
        return Err(Fault::invalid(format!(
            "\"thinking.type.{kind}\" is not supported for this model. Use \"thinking.type.adaptive\" and \
             \"output_config.effort\" to control thinking behavior."
        )));
    }
    let fields: &[&str] = match kind {
        "adaptive" => &["type", "display", "block_binding"],
        "enabled" => &["type", "display", "budget_tokens", "block_binding"],
        _ => &["type"],
    };
    super::shape::only(config, &format!("thinking.{kind}"), fields)?;
    budget(config, kind, body)
}

fn display(body: &Map<String, Value>, call: &Call) -> Result<(), Fault> {
    let display =
        body.get("thinking").and_then(|config| config.get("display")).filter(|display| !display.is_null());
    match display.map(Value::as_str) {
        None | Some(Some("summarized" | "omitted")) => Ok(()),
        Some(Some("updates")) if call.has_beta("thinking-display-updates-") => Ok(()),
        Some(_) => Err(Fault::invalid("thinking.display: Input should be 'summarized' or 'omitted'")),
    }
}

fn budget(config: &Value, kind: &str, body: &Map<String, Value>) -> Result<(), Fault> {
    if kind != "enabled" {
        return Ok(());
    }
    let Some(budget) = config.get("budget_tokens") else {
        return Err(Fault::invalid("thinking.enabled.budget_tokens: Field required"));
    };
    let Some(budget) = budget.as_u64().filter(|budget| *budget >= 1024) else {
        return Err(Fault::invalid(
            "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
        ));
    };
    match body.get("max_tokens").and_then(Value::as_u64) {
        Some(most) if budget >= most => {
            Err(Fault::invalid("`max_tokens` must be greater than `thinking.budget_tokens`"))
        }
        _ => Ok(()),
    }
}

fn effort(config: Option<&Value>, body: &Map<String, Value>, model: &Model) -> Result<(), Fault> {
    let effort = config.and_then(|config| config.get("effort")).and_then(Value::as_str);
    let budget = config.and_then(|config| config.get("task_budget")).filter(|budget| !budget.is_null());
    if budget.is_some() && !model.task_budget {
        return Err(Fault::invalid("This model does not support task budgets."));
    }
    let Some(effort) = effort else { return Ok(()) };
    if model.efforts.is_empty() {
        return Err(Fault::invalid("This model does not support the effort parameter."));
    }
    if !model.efforts.contains(&effort) {
        return Err(Fault::invalid(format!(
            "output_config.effort: '{effort}' is not supported for this model. Supported levels: {}.",
            model.efforts.join(", ")
        )));
    }
    let off = match thinking_type(body) {
        Some("between_tools") => true,
        Some("disabled") => model.thinking.disabled == Disabled::UpToHigh,
        _ => false,
    };
    if off && matches!(effort, "xhigh" | "max") {
        return Err(Fault::invalid(format!(
            "output_config.effort: '{effort}' is not supported with thinking off. Use 'high' or below."
        )));
    }
    Ok(())
}

fn sampling(body: &Map<String, Value>, model: &Model) -> Result<(), Fault> {
    let number = |field: &str| body.get(field).and_then(Value::as_f64);
    let (temperature, top_p) = (number("temperature"), number("top_p"));
    let deprecated = |field: &str| Err(Fault::invalid(format!("`{field}` is deprecated for this model.")));
    for (field, value) in [("temperature", temperature), ("top_p", top_p)] {
        if value.is_some_and(|value| !(0.0..=1.0).contains(&value)) {
            return Err(Fault::invalid(format!("{field}: Input should be between 0 and 1")));
        }
    }
    let thinks = thinks(body, model);
    if model.sampling_free && !thinks {
        if temperature.is_some() && top_p.is_some() {
            return Err(Fault::invalid(
                "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
            ));
        }
        return Ok(());
    }
    if model.sampling_free {
        if temperature.is_some_and(|value| !is(value, 1.0)) {
            return Err(Fault::invalid("`temperature` may only be set to 1 when thinking is enabled."));
        }
        if body.contains_key("top_k") {
            return Err(Fault::invalid("`top_k` must be unset when thinking is enabled."));
        }
        return if top_p.is_some() {
            Err(Fault::invalid("`top_p` must be unset when thinking is enabled."))
        } else {
            Ok(())
        };
    }
    if temperature.is_some_and(|value| !is(value, 1.0)) {
        return deprecated("temperature");
    }
    if top_p.is_some_and(|value| !is(value, 0.99)) {
        return deprecated("top_p");
    }
    if body.contains_key("top_k") { deprecated("top_k") } else { Ok(()) }
}

fn is(value: f64, wanted: f64) -> bool {
    (value - wanted).abs() < 1e-9
}

fn speed(body: &Map<String, Value>, model: &Model, endpoint: Endpoint, call: &Call) -> Result<(), Fault> {
    let speed = body.get("speed").and_then(Value::as_str);
    if speed.is_some() && model.fast == Fast::Preview && !call.has_beta("fast-mode-2026-02-01") {
        return Err(Fault::extra("speed"));
    }
    if speed != Some("fast") {
        return Ok(());
    }
    if endpoint == Endpoint::Batch {
        return Err(Fault::invalid("speed: 'fast' is not supported in batches"));
    }
    if model.fast == Fast::No {
        return Err(Fault::invalid("speed: 'fast' is not supported for this model."));
    }
    Ok(())
}

fn system_messages(messages: &[Value], body: &Map<String, Value>, model: &Model) -> Result<(), Fault> {
    for (index, message) in
        messages.iter().enumerate().filter(|(_, message)| blocks::role(message) == "system")
    {
        if !model.system_messages {
            return Err(Fault::invalid(format!(
                "messages.{index}.role: role \"system\" is not supported for this model. Use the top-level `system` \
                 parameter."
            )));
        }
        let Some(config) = message.get("output_config") else { continue };
        if config.get("effort").is_some() && !(model.message_effort && thinks(body, model)) {
            return Err(Fault::invalid(format!(
                "messages.{index}.output_config.effort: per-message effort needs a model that supports it, with \
                 thinking on"
            )));
        }
        effort(Some(config), body, model)?;
    }
    Ok(())
}

fn prefill(body: &Map<String, Value>, messages: &[Value], model: &Model) -> Result<(), Fault> {
    let Some(last) = messages.last().filter(|last| blocks::role(last) == "assistant") else { return Ok(()) };
    let paused = blocks::content(last).last().is_some_and(|block| blocks::kind(block) != "text");
    if paused {
        return Ok(());
    }
    if !model.prefill {
        return Err(Fault::invalid(
            "This model does not support assistant message prefill. The conversation must end with a user message.",
        ));
    }
    if thinks(body, model) {
        return Err(Fault::invalid("messages: prefill is not supported when thinking is enabled"));
    }
    let text = last.get("content").and_then(Value::as_str);
    let text = text.or_else(|| blocks::content(last).last()?.get("text")?.as_str()).unwrap_or("");
    if text.ends_with(char::is_whitespace) {
        return Err(Fault::invalid("messages: final assistant content cannot end with trailing whitespace"));
    }
    Ok(())
}

fn extras(body: &Map<String, Value>, model: &Model) -> Result<(), Fault> {
    if let Some(list) = body.get("fallbacks").and_then(Value::as_array) {
        if model.fallbacks.is_empty() {
            return Err(Fault::invalid(
                "fallbacks: a list of fallback models is not supported for this model",
            ));
        }
        for (index, entry) in list.iter().enumerate() {
            let named = entry.get("model").and_then(Value::as_str).unwrap_or("");
            if !model.fallbacks.contains(&named) {
                return Err(Fault::invalid(format!(
                    "fallbacks.{index}.model: '{named}' is not an allowed fallback for {}",
                    model.id
                )));
            }
        }
    }
    let edits =
        body.get("context_management").and_then(|config| config.get("edits")).and_then(Value::as_array);
    let compacts =
        edits.is_some_and(|edits| edits.iter().any(|edit| blocks::kind(edit) == "compact_20260112"));
    let summarizes = body.get("compaction").is_some_and(Value::is_object);
    if (compacts || summarizes) && !model.compaction {
        return Err(Fault::invalid("compaction is not supported for this model"));
    }
    if summarizes && body.get("context_management").is_some_and(Value::is_object) {
        return Err(Fault::invalid("compaction: cannot be combined with `context_management`"));
    }
    Ok(())
}
