//! The messages of a request: roles, content blocks, and the pairing of tool calls with their results.

use serde_json::Value;

use super::call::{Call, Version};
use super::fault::Fault;
use super::shape;

/// Checks every message and block.
pub(super) fn check(messages: &[Value], call: &Call) -> Result<(), Fault> {
    if messages.is_empty() {
        return Err(Fault::invalid("messages: at least one message is required"));
    }
    if messages.len() > 100_000 {
        return Err(Fault::invalid("messages: List should have at most 100000 items"));
    }
    for (index, message) in messages.iter().enumerate() {
        check_message(index, message, messages.len(), call)?;
    }
    let summarized = content(&messages[0]).iter().any(|block| kind(block) == "compaction");
    if role(&messages[0]) == "assistant" && !summarized {
        return Err(Fault::invalid("messages: first message must use the \"user\" role"));
    }
    pairing(messages)
}

/// Returns the role of a message, empty if it has none.
pub(super) fn role(message: &Value) -> &str {
    message.get("role").and_then(Value::as_str).unwrap_or("")
}

/// Returns the blocks of a message; a string counts as none.
pub(super) fn content(message: &Value) -> &[Value] {
    message.get("content").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Returns the type of a block, empty if it has none.
pub(super) fn kind(block: &Value) -> &str {
    block.get("type").and_then(Value::as_str).unwrap_or("")
}

fn check_message(index: usize, message: &Value, count: usize, call: &Call) -> Result<(), Fault> {
    let path = format!("messages.{index}");
    shape::only(message, &path, &["role", "content", "output_config", "clear_at"])?;
    let role = role(message);
    if !matches!(role, "user" | "assistant" | "system") {
        return Err(Fault::invalid(format!("{path}.role: Input should be 'user', 'assistant' or 'system'")));
    }
    if role == "system" && index == 0 {
        return Err(Fault::invalid("messages.0.role: the first message must not use the \"system\" role"));
    }
    if let Some(config) = message.get("output_config") {
        let enabled = call.has_beta("mid-conversation-output-config-") || call.has_beta("per-turn-control-");
        if !enabled || role != "system" {
            return Err(Fault::extra(&format!("{path}.output_config")));
        }
        shape::output_config(config, &format!("{path}.output_config"), call)?;
    }
    if message.get("clear_at").is_some()
        && !(role == "system" && call.has_beta("mid-conversation-system-clear-at-2026-08-21"))
    {
        return Err(Fault::extra(&format!("{path}.clear_at")));
    }
    let last_assistant = role == "assistant" && index + 1 == count;
    match message.get("content") {
        None => Err(Fault::invalid(format!("{path}.content: Field required"))),
        Some(Value::String(text)) if text.is_empty() && !last_assistant => {
            Err(Fault::invalid(format!("{path}: {role} messages must have non-empty content")))
        }
        Some(Value::String(_)) => Ok(()),
        Some(Value::Array(blocks)) => {
            if blocks.is_empty() && !last_assistant {
                return Err(Fault::invalid(format!("{path}: {role} messages must have non-empty content")));
            }
            let mut blocks = blocks.iter().enumerate();
            blocks.try_for_each(|(place, block)| {
                check_block(&format!("{path}.content.{place}"), role, block, call)
            })
        }
        Some(_) => Err(Fault::invalid(format!("{path}.content: Input should be a valid string or list"))),
    }
}

fn check_block(path: &str, role: &str, block: &Value, call: &Call) -> Result<(), Fault> {
    let kind = kind(block);
    let Some((_, roles, fields)) = BLOCKS.iter().find(|(name, ..)| *name == kind) else {
        return Err(Fault::invalid(format!(
            "{path}: Input tag '{kind}' found using 'type' does not match any tag"
        )));
    };
    if !fields.is_empty() {
        shape::only(block, &format!("{path}.{kind}"), fields)?;
    }
    if !roles.contains(&role) {
        return Err(Fault::invalid(format!(
            "{path}: `{kind}` blocks are not permitted in `{role}` messages"
        )));
    }
    let text = |field: &str| block.get(field).and_then(Value::as_str);
    let missing = |field: &str| Fault::invalid(format!("{path}.{kind}.{field}: Field required"));
    match kind {
        "text" => {
            if text("text").ok_or_else(|| missing("text"))?.is_empty() {
                return Err(Fault::invalid("messages: text content blocks must be non-empty"));
            }
            let cited = block.get("citations").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
            if cited && role == "user" && call.version == Version::October2026 {
                return Err(Fault::extra(&format!("{path}.text.citations")));
            }
        }
        "document" if role == "assistant" && call.version == Version::October2026 => {
            return Err(Fault::invalid(format!(
                "{path}: `document` blocks are not permitted in `assistant` messages"
            )));
        }
        "image" | "document" if !block.get("source").is_some_and(Value::is_object) => {
            return Err(missing("source"));
        }
        "tool_use" => {
            text("id").ok_or_else(|| missing("id"))?;
            text("name").ok_or_else(|| missing("name"))?;
            if !block.get("input").is_some_and(Value::is_object) {
                return Err(Fault::invalid(format!(
                    "{path}.tool_use.input: Input should be a valid dictionary"
                )));
            }
        }
        "tool_result" => {
            text("tool_use_id").ok_or_else(|| missing("tool_use_id"))?;
        }
        "thinking" => {
            text("thinking").ok_or_else(|| missing("thinking"))?;
            text("signature").ok_or_else(|| missing("signature"))?;
        }
        "tool_addition" | "tool_removal" if !call.has_beta("mid-conversation-tool-changes-2026-07-01") => {
            return Err(Fault::invalid(format!(
                "{path}: Input tag '{kind}' found using 'type' does not match any tag"
            )));
        }
        _ => {}
    }
    Ok(())
}

/// Every `tool_use` of a turn is answered in the next turn, and nothing else is.
fn pairing(messages: &[Value]) -> Result<(), Fault> {
    let mut open: Vec<&str> = Vec::new();
    let mut opened_at = 0;
    let mut turn = "";
    for (index, message) in messages.iter().enumerate() {
        let role = role(message);
        if role == "system" {
            continue;
        }
        if role != turn && role == "assistant" {
            unanswered(&open, opened_at)?;
            open.clear();
        }
        for (place, block) in content(message).iter().enumerate() {
            match kind(block) {
                "tool_use" => {
                    let id = block.get("id").and_then(Value::as_str).unwrap_or("");
                    if open.contains(&id) {
                        return Err(Fault::invalid("messages: `tool_use` ids must be unique"));
                    }
                    open.push(id);
                    opened_at = index;
                }
                "tool_result" => {
                    let id = block.get("tool_use_id").and_then(Value::as_str).unwrap_or("");
                    let Some(found) = open.iter().position(|known| *known == id) else {
                        return Err(Fault::invalid(format!(
                            "messages.{index}.content.{place}: unexpected `tool_use_id` found in `tool_result` \
                             blocks: {id}. Each `tool_result` block must have a corresponding `tool_use` block in \
                             the previous message."
                        )));
                    };
                    open.remove(found);
                }
                _ => {}
            }
        }
        if role == "user" && !open.is_empty() {
            let more =
                messages.get(index + 1..).unwrap_or(&[]).iter().find(|next| self::role(next) != "system");
            if more.is_none_or(|next| self::role(next) != "user") {
                unanswered(&open, opened_at)?;
            }
        }
        turn = role;
    }
    unanswered(&open, opened_at)
}

fn unanswered(open: &[&str], index: usize) -> Result<(), Fault> {
    if open.is_empty() {
        return Ok(());
    }
    Err(Fault::invalid(format!(
        "messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: {}. Each \
         `tool_use` block must have a corresponding `tool_result` block in the next message.",
        open.join(", ")
    )))
}

const ANY: &[&str] = &["user", "assistant", "system"];
const USER: &[&str] = &["user"];
const SYSTEM: &[&str] = &["system", "user"];
const ASSISTANT: &[&str] = &["assistant"];
const BOTH: &[&str] = &["user", "assistant"];

/// Block types, the roles they may stand in, and their fields (none listed: not looked at).
const BLOCKS: &[(&str, &[&str], &[&str])] = &[
    ("text", ANY, &["type", "text", "cache_control", "citations"]),
    ("image", USER, &["type", "source", "cache_control"]),
    ("document", BOTH, &["type", "source", "title", "context", "citations", "cache_control"]),
    ("search_result", USER, &["type", "source", "title", "content", "citations", "cache_control"]),
    ("thinking", ASSISTANT, &["type", "thinking", "signature"]),
    ("redacted_thinking", ASSISTANT, &["type", "data"]),
    ("tool_use", ASSISTANT, &["type", "id", "name", "input", "cache_control", "caller", "toolset_name"]),
    ("tool_result", USER, &["type", "tool_use_id", "content", "is_error", "cache_control", "toolset_name"]),
    ("server_tool_use", ASSISTANT, &[]),
    ("web_search_tool_result", BOTH, &[]),
    ("web_fetch_tool_result", BOTH, &[]),
    ("code_execution_tool_result", BOTH, &[]),
    ("bash_code_execution_tool_result", BOTH, &[]),
    ("text_editor_code_execution_tool_result", BOTH, &[]),
    ("tool_search_tool_result", BOTH, &[]),
    ("advisor_tool_result", BOTH, &[]),
    ("mcp_tool_use", ASSISTANT, &[]),
    ("mcp_tool_result", BOTH, &[]),
    ("mcp_tool_listing", BOTH, &[]),
    ("container_upload", USER, &["type", "file_id", "cache_control"]),
    ("compaction", BOTH, &[]),
    ("fallback", ASSISTANT, &[]),
    ("tool_addition", SYSTEM, &[]),
    ("tool_removal", SYSTEM, &[]),
    ("browser_state", USER, &[]),
];
