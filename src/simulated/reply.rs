//! The message object of an answer, its usage, and the same answer as a sequence of stream events.
//!
//! Deltas come in pieces of about 24 bytes (more for long answers), a `ping` follows `message_start`, and the final
//! `message_delta` carries cumulative counts without the split of cache writes, as on the real API.

use serde_json::{Map, Value, json};

use super::prices::BilledTokens;

/// The numbers behind one usage object.
#[derive(Debug, Clone)]
pub(super) struct Counts {
    pub tokens: BilledTokens,
    pub thinking_tokens: u64,
    pub web_searches: u64,
    pub service_tier: &'static str,
    pub inference_geo: String,
    pub speed: &'static str,
    /// `usage.iterations`, where fallbacks or compaction ran.
    pub iterations: Option<Value>,
}

impl Counts {
    /// Returns the usage object of a whole message.
    pub(super) fn usage(&self) -> Value {
        let tokens = &self.tokens;
        let mut usage = json!({
            "input_tokens": tokens.input_tokens,
            "cache_creation_input_tokens": tokens.cache_write_5m_tokens + tokens.cache_write_1h_tokens,
            "cache_read_input_tokens": tokens.cache_read_tokens,
            "cache_creation": {
                "ephemeral_5m_input_tokens": tokens.cache_write_5m_tokens,
                "ephemeral_1h_input_tokens": tokens.cache_write_1h_tokens,
            },
            "output_tokens": tokens.output_tokens,
            "output_tokens_details": { "thinking_tokens": self.thinking_tokens },
            "server_tool_use": self.server_tool_use(),
            "service_tier": self.service_tier,
            "inference_geo": self.inference_geo,
            "speed": self.speed,
        });
        if let Some(iterations) = &self.iterations {
            usage["iterations"] = iterations.clone();
        }
        usage
    }

    fn final_usage(&self) -> Value {
        let tokens = &self.tokens;
        let mut usage = json!({
            "input_tokens": tokens.input_tokens,
            "cache_creation_input_tokens": tokens.cache_write_5m_tokens + tokens.cache_write_1h_tokens,
            "cache_read_input_tokens": tokens.cache_read_tokens,
            "output_tokens": tokens.output_tokens,
            "output_tokens_details": { "thinking_tokens": self.thinking_tokens },
        });
        if self.web_searches > 0 {
            usage["server_tool_use"] = self.server_tool_use();
        }
        if let Some(iterations) = &self.iterations {
            usage["iterations"] = iterations.clone();
        }
        usage
    }

    fn server_tool_use(&self) -> Value {
        if self.web_searches == 0 {
            return Value::Null;
        }
        json!({ "web_search_requests": self.web_searches, "web_fetch_requests": 0 })
    }
}

/// One event of a stream, before framing.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub name: String,
    pub data: Value,
}

impl Event {
    pub(super) fn new(name: &str, data: Value) -> Self {
        Self { name: name.to_owned(), data }
    }
}

/// Returns the events that stream this message.
pub(super) fn events(message: &Value, counts: &Counts) -> Vec<Event> {
    let mut start = message.clone();
    start["content"] = json!([]);
    start["stop_reason"] = Value::Null;
    start["stop_sequence"] = Value::Null;
    start["stop_details"] = Value::Null;
    let mut first = counts.clone();
    first.tokens.output_tokens = first.tokens.output_tokens.min(1);
    first.thinking_tokens = 0;
    first.iterations = None;
    start["usage"] = first.usage();
    let mut events = vec![
        Event::new("message_start", json!({ "type": "message_start", "message": start })),
        Event::new("ping", json!({ "type": "ping" })),
    ];
    for (index, block) in message["content"].as_array().map_or(&[][..], Vec::as_slice).iter().enumerate() {
        block_events(index, block, &mut events);
    }
    let mut delta = Map::new();
    for field in ["stop_reason", "stop_sequence", "stop_details", "container"] {
        if let Some(value) = message.get(field) {
            delta.insert(field.to_owned(), value.clone());
        }
    }
    let mut last = json!({ "type": "message_delta", "delta": delta, "usage": counts.final_usage() });
    if let Some(edits) = message.get("context_management") {
        last["context_management"] = edits.clone();
    }
    events.push(Event::new("message_delta", last));
    events.push(Event::new("message_stop", json!({ "type": "message_stop" })));
    events
}

fn block_events(index: usize, block: &Value, events: &mut Vec<Event>) {
    let text = |field: &str| block.get(field).and_then(Value::as_str).unwrap_or("").to_owned();
    let mut start = block.clone();
    let mut deltas: Vec<Value> = Vec::new();
    match super::blocks::kind(block) {
        "text" => {
            start["text"] = json!("");
            deltas.extend(
                pieces(&text("text")).iter().map(|piece| json!({ "type": "text_delta", "text": piece })),
            );
        }
        "thinking" => {
            start["thinking"] = json!("");
            start["signature"] = json!("");
            let thought = text("thinking");
            deltas.extend(
                pieces(&thought).iter().map(|piece| json!({ "type": "thinking_delta", "thinking": piece })),
            );
            deltas.push(json!({ "type": "signature_delta", "signature": text("signature") }));
        }
        "tool_use" | "server_tool_use" => {
            start["input"] = json!({});
            deltas.push(json!({ "type": "input_json_delta", "partial_json": "" }));
            let input = block["input"].to_string();
            let parts = pieces(&input);
            deltas.extend(
                parts.iter().map(|piece| json!({ "type": "input_json_delta", "partial_json": piece })),
            );
        }
        "compaction" => {
            start["content"] = Value::Null;
            deltas.push(json!({ "type": "compaction_delta", "content": text("content") }));
        }
        _ => {}
    }
    events.push(Event::new(
        "content_block_start",
        json!({ "type": "content_block_start", "index": index, "content_block": start }),
    ));
    for delta in deltas {
        events.push(Event::new(
            "content_block_delta",
            json!({ "type": "content_block_delta", "index": index, "delta": delta }),
        ));
    }
    events.push(Event::new("content_block_stop", json!({ "type": "content_block_stop", "index": index })));
}

/// Splits a text at character boundaries into at most about 400 pieces.
fn pieces(text: &str) -> Vec<&str> {
    let size = 24.max(text.len() / 400);
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut end = size.min(rest.len());
        while !rest.is_char_boundary(end) {
            end += 1;
        }
        let (piece, after) = rest.split_at(end);
        pieces.push(piece);
        rest = after;
    }
    pieces
}
