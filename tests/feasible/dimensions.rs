//! Every dimension of a request in which models differ: what it does to a plain first turn, and which headers it
//! needs. Written from the API's documentation, not from the catalog.

use serde_json::{Value, json};

/// One dimension.
pub(crate) struct Dimension {
    pub(crate) name: &'static str,
    pub(crate) betas: &'static str,
    pub(crate) change: fn(&mut Value),
}

const fn plain(name: &'static str, change: fn(&mut Value)) -> Dimension {
    Dimension { name, betas: "", change }
}

const fn beta(name: &'static str, betas: &'static str, change: fn(&mut Value)) -> Dimension {
    Dimension { name, betas, change }
}

/// A plain first turn.
pub(crate) fn first_turn(model: &str) -> Value {
    json!({ "model": model, "max_tokens": 8_000, "messages": [{ "role": "user", "content": "say hello" }] })
}

fn tool(kind: &str, name: &str) -> Value {
    match kind {
        "custom" => json!({ "name": name, "input_schema": { "type": "object", "properties": {} } }),
        _ => json!({ "type": kind, "name": name }),
    }
}

fn tools(body: &mut Value, listed: Value) {
    body["tools"] = listed;
}

fn forced(body: &mut Value, choice: Value) {
    tools(body, json!([tool("custom", "record")]));
    body["tool_choice"] = choice;
}

fn say(body: &mut Value, message: Value) {
    body["messages"].as_array_mut().unwrap().push(message);
}

fn instructions(body: &mut Value, effort: Option<&str>) {
    say(body, json!({ "role": "assistant", "content": "hello" }));
    say(body, json!({ "role": "user", "content": "say more" }));
    let mut message = json!({ "role": "system", "content": "Be brief." });
    if let Some(effort) = effort {
        message["output_config"] = json!({ "effort": effort });
    }
    say(body, message);
}

fn advisor(body: &mut Value, model: &str) {
    tools(body, json!([{ "type": "advisor_20260301", "name": "advisor", "model": model }]));
}

fn effort(body: &mut Value, effort: &str) {
    body["output_config"] = json!({ "effort": effort });
}

const ADVISOR: &str = "advisor-tool-2026-03-01";
const PER_TURN: &str = "per-turn-control-2026-07-01";
const COMPUTER: &str = "computer-use-2025-11-24";
const FALLBACK: &str = "server-side-fallback-2026-07-01";
const CONTEXT: &str = "context-management-2025-06-27";

pub(crate) const DIMENSIONS: [Dimension; 75] = [
    plain("nothing", |_| ()),
    plain("stream", |body| body["stream"] = json!(true)),
    plain("system", |body| body["system"] = json!("Answer in verse.")),
    plain("stop sequences", |body| body["stop_sequences"] = json!(["ll"])),
    plain("small answer", |body| {
        body["max_tokens"] = json!(200);
        body["messages"][0]["content"] = json!("write 500 words");
    }),
    plain("tiny answer", |body| body["max_tokens"] = json!(50)),
    plain("tight answer", |body| {
        body["max_tokens"] = json!(3_000);
        body["messages"][0]["content"] = json!("write 1900 words");
    }),
    plain("pre-warming", |body| body["max_tokens"] = json!(0)),
    plain("largest old answer", |body| body["max_tokens"] = json!(64_000)),
    plain("longer than the old", |body| body["max_tokens"] = json!(64_001)),
    plain("largest answer", |body| body["max_tokens"] = json!(128_000)),
    plain("adaptive", |body| body["thinking"] = json!({ "type": "adaptive" })),
    plain("adaptive, shown", |body| {
        body["thinking"] = json!({ "type": "adaptive", "display": "summarized" });
    }),
    plain("adaptive, hidden", |body| {
        body["thinking"] = json!({ "type": "adaptive", "display": "omitted" });
    }),
    plain("adaptive, small", |body| {
        body["thinking"] = json!({ "type": "adaptive" });
        body["max_tokens"] = json!(100);
    }),
    plain("enabled", |body| body["thinking"] = json!({ "type": "enabled", "budget_tokens": 2_048 })),
    plain("enabled, hidden", |body| {
        body["thinking"] = json!({ "type": "enabled", "budget_tokens": 2_048, "display": "omitted" });
    }),
    plain("disabled", |body| body["thinking"] = json!({ "type": "disabled" })),
    plain("disabled at max", |body| {
        body["thinking"] = json!({ "type": "disabled" });
        effort(body, "max");
    }),
    plain("disabled at high", |body| {
        body["thinking"] = json!({ "type": "disabled" });
        effort(body, "high");
    }),
    plain("between tools", |body| {
        body["thinking"] = json!({ "type": "between_tools" });
        tools(body, json!([tool("custom", "record")]));
    }),
    plain("between tools at xhigh", |body| {
        body["thinking"] = json!({ "type": "between_tools" });
        effort(body, "xhigh");
    }),
    plain("effort low", |body| effort(body, "low")),
    plain("effort medium", |body| effort(body, "medium")),
    plain("effort high", |body| effort(body, "high")),
    plain("effort xhigh", |body| effort(body, "xhigh")),
    plain("effort max", |body| effort(body, "max")),
    plain("structured output", |body| {
        let schema = json!({ "type": "object", "properties": { "a": { "type": "string" } } });
        body["output_config"] = json!({ "format": { "type": "json_schema", "schema": schema } });
    }),
    plain("temperature 1", |body| body["temperature"] = json!(1)),
    plain("temperature 0.2", |body| body["temperature"] = json!(0.2)),
    plain("top_p 0.99", |body| body["top_p"] = json!(0.99)),
    plain("top_p 0.5", |body| body["top_p"] = json!(0.5)),
    plain("top_k", |body| body["top_k"] = json!(40)),
    plain("temperature without thinking", |body| {
        body["temperature"] = json!(0.2);
        body["thinking"] = json!({ "type": "disabled" });
    }),
    plain("prefill", |body| say(body, json!({ "role": "assistant", "content": "Hel" }))),
    plain("any tool", |body| forced(body, json!({ "type": "any" }))),
    plain("one tool", |body| forced(body, json!({ "type": "tool", "name": "record" }))),
    plain("no tool", |body| forced(body, json!({ "type": "none" }))),
    plain("a tool by choice", |body| forced(body, json!({ "type": "auto" }))),
    plain("one tool, thinking", |body| {
        forced(body, json!({ "type": "tool", "name": "record" }));
        body["thinking"] = json!({ "type": "adaptive" });
    }),
    plain("instructions in mid-conversation", |body| instructions(body, None)),
    beta("effort of a message", PER_TURN, |body| instructions(body, Some("low"))),
    beta("effort of a message without thinking", PER_TURN, |body| {
        instructions(body, Some("low"));
        body["thinking"] = json!({ "type": "disabled" });
    }),
    beta("task budget", "task-budgets-2026-03-13", |body| {
        body["output_config"] = json!({ "task_budget": { "type": "tokens", "total": 50_000 } });
    }),
    plain("fast", |body| body["speed"] = json!("fast")),
    beta("fast, previewed", "fast-mode-2026-02-01", |body| body["speed"] = json!("fast")),
    plain("standard speed", |body| body["speed"] = json!("standard")),
    plain("in the US", |body| body["inference_geo"] = json!("us")),
    plain("standard only", |body| body["service_tier"] = json!("standard_only")),
    plain("priority where there is any", |body| body["service_tier"] = json!("auto")),
    plain("computer of 2026", |body| tools(body, json!([tool("computer_toolset_20260801", "c")]))),
    beta("computer of late 2025", COMPUTER, |body| tools(body, json!([tool("computer_20251124", "c")]))),
    beta("computer of early 2025", COMPUTER, |body| tools(body, json!([tool("computer_20250124", "c")]))),
    plain("browser", |body| tools(body, json!([tool("browser_toolset_20260801", "b")]))),
    plain("bash", |body| tools(body, json!([tool("bash_20250124", "bash")]))),
    plain("search", |body| {
        tools(body, json!([tool("web_search_20250305", "web_search")]));
        body["messages"][0]["content"] = json!("search the web");
    }),
    plain("code execution", |body| tools(body, json!([tool("code_execution_20260521", "code_execution")]))),
    beta("advised by opus 4.8", ADVISOR, |body| advisor(body, "claude-opus-4-8")),
    beta("advised by opus 5", ADVISOR, |body| advisor(body, "claude-opus-5")),
    beta("advised by opus 5.5", ADVISOR, |body| advisor(body, "claude-opus-5-5")),
    beta("advised by haiku 5.5", ADVISOR, |body| advisor(body, "claude-haiku-5-5")),
    beta("advised by fable 5.2", ADVISOR, |body| advisor(body, "claude-fable-5-2")),
    beta("falls back to opus 4.8", FALLBACK, |body| {
        body["fallbacks"] = json!([{ "model": "claude-opus-4-8" }]);
    }),
    beta("falls back to sonnet 5", FALLBACK, |body| {
        body["fallbacks"] = json!([{ "model": "claude-sonnet-5" }]);
    }),
    beta("falls back by default", FALLBACK, |body| body["fallbacks"] = json!("default")),
    beta("compaction", "compact-2026-09-04", |body| body["compaction"] = json!({ "type": "summarize" })),
    beta("compaction by edit", "compact-2026-01-12", |body| {
        body["context_management"] = json!({ "edits": [{ "type": "compact_20260112" }] });
    }),
    beta("context edited", CONTEXT, |body| {
        body["context_management"] = json!({ "edits": [{ "type": "clear_tool_uses_20250919" }] });
    }),
    beta("thread", "message-threads-2026-08-12", |body| body["thread"] = json!({ "type": "create" })),
    plain("container", |body| body["container"] = json!("container_1")),
    plain("document of the assistant", |body| {
        let source = json!({ "type": "text", "media_type": "text/plain", "data": "a" });
        say(body, json!({ "role": "assistant", "content": [{ "type": "document", "source": source }] }));
        say(body, json!({ "role": "user", "content": "say it" }));
    }),
    plain("image", |body| {
        let source = json!({ "type": "base64", "media_type": "image/png", "data": "AAAA" });
        body["messages"][0]["content"] =
            json!([{ "type": "image", "source": source }, { "type": "text", "text": "say it" }]);
    }),
    beta("thinking of a changed history", "thinking-binding-controls-2026-08-01", |body| {
        let binding = json!({ "prefix_mismatch_behavior": "drop_block" });
        body["thinking"] = json!({ "type": "adaptive", "block_binding": binding });
    }),
    beta("thinking in updates", "thinking-display-updates-2026-08-18", |body| {
        body["thinking"] = json!({ "type": "adaptive", "display": "updates" });
    }),
    beta("safeguards", "afk-mode-2026-01-31", |body| body["safeguards"] = json!({ "mode": "auto" })),
];
