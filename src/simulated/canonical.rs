//! Canonical forms of what a request says, for hashing and counting: without cache marks, nulls and per-message
//! settings, and with a string standing for its one text block.
//!
//! Token counts are simulated from bytes: four bytes to a token, 30 % more tokens with the new tokenizer, 1,600 for
//! an image.

use serde_json::{Map, Value, json};

use super::blocks;
use super::models::Model;
use super::tool_rules;

/// One cacheable piece of a prompt: a tool, a system block or a message block.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    /// Hash of everything up to and including this piece.
    pub prefix: blake3::Hash,
    pub tokens: u64,
    /// The lifetime in seconds asked for by a breakpoint here.
    pub mark_secs: Option<u64>,
}

/// Returns the pieces of a prompt in the order the model reads them.
pub(super) fn segments(body: &Map<String, Value>, messages: &[Value], model: &Model) -> Vec<Segment> {
    let mut chain = blake3::Hasher::new();
    let mut segments = Vec::new();
    let mut push = |label: &str, block: &Value, overhead: u64| {
        let clean = clean(block);
        chain.update(label.as_bytes());
        chain.update(clean.to_string().as_bytes());
        segments.push(Segment {
            prefix: chain.finalize(),
            tokens: tokens_of_bytes(weight(&clean), model) + overhead,
            mark_secs: mark_secs(block),
        });
    };
    for tool in tool_rules::tools_of(body) {
        push("tool", tool, 4);
    }
    for block in text_blocks(body.get("system")) {
        push("system", &block, 2);
    }
    for message in messages {
        for block in text_blocks(message.get("content")) {
            push(blocks::role(message), &block, 3);
        }
    }
    if let (Some(last), Some(mark)) =
        (segments.last_mut(), body.get("cache_control").filter(|mark| !mark.is_null()))
    {
        last.mark_secs = Some(ttl_secs(mark));
    }
    segments
}

/// Returns the hash that a thinking block is bound to: system, tools in any order, and the messages before it.
pub(super) fn history_hash(body: &Map<String, Value>, messages: &[Value]) -> String {
    let mut tools: Vec<String> =
        tool_rules::tools_of(body).iter().map(|tool| clean(tool).to_string()).collect();
    tools.sort();
    let mut hasher = blake3::Hasher::new();
    for tool in tools {
        hasher.update(tool.as_bytes());
    }
    for block in text_blocks(body.get("system")).iter().filter(|block| !is_billing_line(block)) {
        hasher.update(b"system");
        hasher.update(clean(block).to_string().as_bytes());
    }
    for message in messages {
        for block in text_blocks(message.get("content")) {
            hasher.update(blocks::role(message).as_bytes());
            hasher.update(clean(&block).to_string().as_bytes());
        }
    }
    hasher.finalize().to_hex().as_str()[..32].to_owned()
}

/// Returns the blocks of a string or list of blocks.
pub(super) fn text_blocks(content: Option<&Value>) -> Vec<Value> {
    match content {
        Some(Value::String(text)) => vec![json!({ "type": "text", "text": text })],
        Some(Value::Array(blocks)) => blocks.clone(),
        _ => Vec::new(),
    }
}

/// Returns the tokens of a text for a model.
pub(super) fn tokens_of(text: &str, model: &Model) -> u64 {
    tokens_of_bytes(text.len() as u64, model)
}

fn tokens_of_bytes(bytes: u64, model: &Model) -> u64 {
    if model.new_tokenizer { (bytes * 13).div_ceil(40) } else { bytes.div_ceil(4) }
}

/// The client's own accounting line changes between turns and is not part of the conversation.
fn is_billing_line(block: &Value) -> bool {
    block
        .get("text")
        .and_then(Value::as_str)
        .is_some_and(|text| text.starts_with("x-anthropic-billing-header:"))
}

fn clean(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(key, inner)| key.as_str() != "cache_control" && !inner.is_null())
            .map(|(key, inner)| (key.clone(), clean(inner)))
            .collect::<Map<String, Value>>()
            .into(),
        Value::Array(items) => items.iter().map(clean).collect(),
        other => other.clone(),
    }
}

/// Bytes that count: texts and keys, not pixels, signatures or ciphertext.
fn weight(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.len() as u64,
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Object(map) if blocks::kind(value) == "image" => map.get("source").map_or(0, |_| IMAGE_BYTES),
        Value::Object(map) => map
            .iter()
            .filter(|(key, _)| !matches!(key.as_str(), "signature" | "encrypted_content" | "type" | "data"))
            .map(|(key, inner)| key.len() as u64 / 2 + weight(inner))
            .sum(),
        Value::Number(_) | Value::Bool(_) => 4,
        Value::Null => 0,
    }
}

fn mark_secs(block: &Value) -> Option<u64> {
    let own = block.get("cache_control").filter(|mark| !mark.is_null());
    let inner = || {
        let nested = blocks::content(block).iter();
        nested.filter_map(|block| block.get("cache_control")).find(|mark| !mark.is_null())
    };
    own.or_else(inner).map(ttl_secs)
}

fn ttl_secs(mark: &Value) -> u64 {
    if mark.get("ttl").and_then(Value::as_str) == Some("1h") { 3600 } else { 300 }
}

const IMAGE_BYTES: u64 = 6_400;
