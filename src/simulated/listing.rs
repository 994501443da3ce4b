//! `GET /v1/models` and `/v1/models/{id}`: the rows of the table in the API's shape.

use serde_json::{Value, json};

use super::call::Call;
use super::fault::Fault;
use super::model_table::MODELS;
use super::models::{self, Disabled, Model};
use super::paging;
use super::state::State;

/// Answers a request below `/v1/models`; `rest` is the path after it.
pub(super) fn route(rest: &str, call: &Call, state: &State) -> Result<Value, Fault> {
    let id = rest.trim_matches('/');
    let visible = |model: &Model| state.options.verified || !model.is_mythos();
    if call.method != "GET" {
        return Err(Fault::new(405, "invalid_request_error", "Method Not Allowed"));
    }
    if !id.is_empty() {
        let found = models::find(id).filter(|model| visible(model));
        return found.map(info).ok_or_else(|| Fault::not_found(format!("model: {id}")));
    }
    let stages: Vec<&str> = call
        .query
        .iter()
        .filter(|(name, _)| name == "lifecycle" || name == "lifecycle[]")
        .map(|(_, value)| value.as_str())
        .collect();
    let wanted = |model: &&Model| visible(model) && (stages.is_empty() || stages.contains(&lifecycle(model)));
    paging::by_id(MODELS.iter().filter(wanted).map(info).collect(), call)
}

fn lifecycle(model: &Model) -> &'static str {
    if model.retires.is_some() { "deprecated" } else { "active" }
}

fn info(model: &Model) -> Value {
    json!({
        "id": model.id,
        "type": "model",
        "display_name": model.name,
        "created_at": model.released,
        "line": model.line,
        "lifecycle": lifecycle(model),
        "deprecated_at": model.retires.map(|_| "2026-09-28T00:00:00Z"),
        "retires_at": model.retires,
        "max_input_tokens": model.context_tokens,
        "max_tokens": model.max_output_tokens,
        "capabilities": capabilities(model),
    })
}

fn capabilities(model: &Model) -> Value {
    let says = |supported: bool| json!({ "supported": supported });
    let effort = |level: &str| says(model.efforts.contains(&level));
    json!({
        "batch": says(true),
        "citations": says(true),
        "code_execution": says(true),
        "context_management": {
            "supported": true,
            "clear_thinking_20251015": says(true),
            "clear_tool_uses_20250919": says(true),
            "compact_20260112": says(model.compaction),
        },
        "effort": {
            "supported": !model.efforts.is_empty(),
            "low": effort("low"),
            "medium": effort("medium"),
            "high": effort("high"),
            "xhigh": effort("xhigh"),
            "max": effort("max"),
        },
        "image_input": says(true),
        "pdf_input": says(true),
        "server_tools": { "supported": true, "code_execution": says(true), "web_search": says(true) },
        "structured_outputs": says(true),
        "thinking": {
            "supported": true,
            "types": {
                "adaptive": says(model.thinking.adaptive),
                "between_tools": says(model.thinking.between_tools),
                "disabled": says(model.thinking.disabled != Disabled::Never),
                "enabled": says(model.thinking.enabled),
            },
        },
    })
}
