//! The rules on `tools`, `tool_choice` and cache breakpoints.

use serde_json::{Map, Value};

use super::blocks;
use super::call::Call;
use super::fault::Fault;
use super::models::{self, Model};
use super::rules;

/// Checks tools, the choice among them and the breakpoints.
pub(super) fn check(
    body: &Map<String, Value>,
    messages: &[Value],
    model: &Model,
    call: &Call,
) -> Result<(), Fault> {
    let tools = tools_of(body);
    let mut names = Vec::new();
    for (index, tool) in tools.iter().enumerate() {
        let name = tool.get("name").and_then(Value::as_str);
        if let Some(name) = name.filter(|_| !matches!(blocks::kind(tool), "mcp_toolset")) {
            if names.contains(&name) {
                return Err(Fault::invalid("tools: Tool names must be unique."));
            }
            names.push(name);
        }
        check_tool(index, tool, model, call)?;
    }
    choice(body, &names, model)?;
    breakpoints(body, messages)
}

/// Returns the tools of a body.
pub(super) fn tools_of(body: &Map<String, Value>) -> &[Value] {
    body.get("tools").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Says whether `tool_choice` forces a call.
pub(super) fn forced(body: &Map<String, Value>) -> bool {
    matches!(choice_type(body), Some("any" | "tool"))
}

/// Returns `tool_choice.type`.
pub(super) fn choice_type(body: &Map<String, Value>) -> Option<&str> {
    body.get("tool_choice").map(blocks::kind)
}

fn check_tool(index: usize, tool: &Value, model: &Model, call: &Call) -> Result<(), Fault> {
    let kind = tool.get("type").and_then(Value::as_str).unwrap_or("custom");
    let unsupported = || {
        Fault::invalid(format!(
            "'{}' does not support tool types: {kind}. Did you mean one of another model?",
            model.id
        ))
    };
    let unknown = || {
        Fault::invalid(format!("tools.{index}: Input tag '{kind}' found using 'type' does not match any tag"))
    };
    match kind {
        "custom" => custom(index, tool),
        "computer_toolset_20260801" => {
            if model.computer.contains(&kind) {
                Ok(())
            } else {
                Err(unsupported())
            }
        }
        "computer_20241022" | "computer_20250124" | "computer_20251124" => {
            if !call.has_beta("computer-use-") {
                Err(unknown())
            } else if model.computer.contains(&kind) {
                Ok(())
            } else {
                Err(unsupported())
            }
        }
        "browser_toolset_20260801" => {
            if model.browser {
                Ok(())
            } else {
                Err(unsupported())
            }
        }
        "mcp_toolset" => {
            if call.has_beta("mcp-client-") {
                Ok(())
            } else {
                Err(unknown())
            }
        }
        "advisor_20260301" => advisor(index, tool, model, call),
        _ if TYPES.contains(&kind) => Ok(()),
        _ => Err(unknown()),
    }
}

fn custom(index: usize, tool: &Value) -> Result<(), Fault> {
    let path = format!("tools.{index}.custom");
    super::shape::only(tool, &path, CUSTOM)?;
    let Some(name) = tool.get("name").and_then(Value::as_str) else {
        return Err(Fault::invalid(format!("{path}.name: Field required")));
    };
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if name.is_empty() || name.len() > 128 || !name.bytes().all(legal) {
        return Err(Fault::invalid(format!(
            "{path}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
        )));
    }
    let Some(schema) = tool.get("input_schema") else {
        return Err(Fault::invalid(format!("{path}.input_schema: Field required")));
    };
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        return Err(Fault::invalid(format!("{path}.input_schema.type: Input should be 'object'")));
    }
    Ok(())
}

/// Pairs of executor and advisor are restricted for two executors; any other known model will do.
fn advisor(index: usize, tool: &Value, model: &Model, call: &Call) -> Result<(), Fault> {
    if !call.has_beta("advisor-tool-2026-03-01") {
        return Err(Fault::invalid(format!(
            "tools.{index}: Input tag 'advisor_20260301' found using 'type' does not match any tag"
        )));
    }
    let named = tool.get("model").and_then(Value::as_str).unwrap_or("");
    let Some(advisor) = models::find(named) else { return Err(Fault::not_found(format!("model: {named}"))) };
    let allowed = match model.id {
        "claude-sonnet-5-5" => {
            !advisor.id.starts_with("claude-opus-4")
                && !matches!(advisor.id, "claude-sonnet-5" | "claude-haiku-5-5")
        }
        "claude-fable-5-2" => matches!(advisor.id, "claude-fable-5-2" | "claude-mythos-5-2"),
        _ => true,
    };
    if allowed {
        return Ok(());
    }
    Err(Fault::invalid(format!("tools.{index}.model: '{named}' cannot advise {}", model.id)))
}

fn choice(body: &Map<String, Value>, names: &[&str], model: &Model) -> Result<(), Fault> {
    let Some(choice) = body.get("tool_choice") else { return Ok(()) };
    let kind = blocks::kind(choice);
    let fields: &[&str] = match kind {
        "auto" | "any" => &["type", "disable_parallel_tool_use"],
        "tool" => &["type", "name", "disable_parallel_tool_use"],
        "none" => &["type"],
        _ => {
            return Err(Fault::invalid(format!(
                "tool_choice: Input tag '{kind}' found using 'type' does not match any of the expected tags: \
                 'any', 'auto', 'none', 'tool'"
            )));
        }
    };
    super::shape::only(choice, &format!("tool_choice.{kind}"), fields)?;
    if forced(body) && !model.forced_tool_choice {
        return Err(Fault::invalid(
            "tool_choice: type \"tool\" and \"any\" are not supported for this model.",
        ));
    }
    if forced(body) && rules::thinking_type(body) == Some("enabled") {
        return Err(Fault::invalid("Thinking may not be enabled when tool_choice forces tool use."));
    }
    if forced(body) && tools_of(body).is_empty() {
        return Err(Fault::invalid("tool_choice: may only be specified while providing tools"));
    }
    if kind == "tool" {
        let named = choice.get("name").and_then(Value::as_str);
        let Some(named) = named else { return Err(Fault::invalid("tool_choice.tool.name: Field required")) };
        if !names.contains(&named) {
            return Err(Fault::invalid(format!("Tool '{named}' not found in provided tools")));
        }
    }
    Ok(())
}

fn breakpoints(body: &Map<String, Value>, messages: &[Value]) -> Result<(), Fault> {
    let mut marks: Vec<&Value> = Vec::new();
    let tools = tools_of(body).iter();
    let system = body.get("system").and_then(Value::as_array).map_or(&[][..], Vec::as_slice).iter();
    for holder in tools.chain(system) {
        marks.extend(mark(holder));
    }
    for block in messages.iter().flat_map(blocks::content) {
        marks.extend(mark(block));
        marks.extend(blocks::content(block).iter().filter_map(mark));
    }
    marks.extend(body.get("cache_control").filter(|mark| !mark.is_null()));
    if marks.len() > 4 {
        return Err(Fault::invalid(format!(
            "A maximum of 4 blocks with cache_control may be provided. Found {}.",
            marks.len()
        )));
    }
    let mut short_seen = false;
    for mark in marks {
        super::shape::only(mark, "cache_control", &["type", "ttl", "scope"])?;
        if blocks::kind(mark) != "ephemeral" {
            return Err(Fault::invalid("cache_control.type: Input should be 'ephemeral'"));
        }
        match mark.get("ttl").and_then(Value::as_str).unwrap_or("5m") {
            "5m" => short_seen = true,
            "1h" if short_seen => {
                return Err(Fault::invalid(
                    "cache_control: a ttl='1h' cache_control block must not come after a ttl='5m' block",
                ));
            }
            "1h" => {}
            _ => return Err(Fault::invalid("cache_control.ttl: Input should be '5m' or '1h'")),
        }
    }
    Ok(())
}

fn mark(block: &Value) -> Option<&Value> {
    block.get("cache_control").filter(|mark| !mark.is_null())
}

const CUSTOM: &[&str] = &[
    "type",
    "name",
    "description",
    "input_schema",
    "strict",
    "defer_loading",
    "eager_input_streaming",
    "input_examples",
    "allowed_callers",
    "cache_control",
];

/// Tool types that every model takes.
const TYPES: &[&str] = &[
    "bash_20250124",
    "text_editor_20250124",
    "text_editor_20250429",
    "text_editor_20250728",
    "code_execution_20250522",
    "code_execution_20250825",
    "code_execution_20260120",
    "code_execution_20260521",
    "memory_20250818",
    "web_search_20250305",
    "web_search_20260209",
    "web_search_20260318",
    "web_fetch_20250910",
    "web_fetch_20260209",
    "web_fetch_20260309",
    "web_fetch_20260318",
    "tool_search_tool_bm25_20251119",
    "tool_search_tool_regex_20251119",
    "tool_search_tool_bm25",
    "tool_search_tool_regex",
];
