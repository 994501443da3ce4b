//! Signed thinking: blocks are bound to the model that made them, to the conversation before them and, for some
//! models, to the account.
//!
//! On the way back in, a tampered signature and a changed conversation are 400s; a block that the model cannot read
//! is dropped without a word, which tests see in [`DroppedThinking`].

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::blocks;
use super::call::Call;
use super::canonical;
use super::fault::Fault;
use super::models::{self, History, Model};

/// A thinking block that a request carried and its model did not get to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DroppedThinking {
    /// The request that lost it.
    pub request_id: String,
    /// The model that could not read it.
    pub reader: String,
    /// The model that made it.
    pub made_by: String,
    /// Where it stood, for example `messages.3.content.0`.
    pub path: String,
    /// `model`, `account` or `history`.
    pub reason: &'static str,
}

/// What is left of a conversation for the model to read.
#[derive(Debug)]
pub(super) struct Readable {
    pub messages: Vec<Value>,
    pub dropped: Vec<DroppedThinking>,
}

/// Returns the signature for a block made by `model` for `account` after the conversation with this hash.
pub(super) fn sign(key: &[u8; 32], model: &str, account: &str, history: &str) -> String {
    let claim = format!("{model} {history} {}", short_hash(account));
    let mac = blake3::keyed_hash(key, claim.as_bytes()).to_hex();
    let hex: String = claim.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("{hex}{}", mac.as_str())
}

/// Checks every thinking block of a conversation and removes those that the model cannot read.
pub(super) fn check(
    key: &[u8; 32],
    body: &Map<String, Value>,
    messages: &[Value],
    model: &Model,
    call: &Call,
    new_account: bool,
) -> Result<Readable, Fault> {
    let checked = match model.history {
        History::EveryAccount => true,
        History::NewAccounts => new_account,
        History::Unchecked => false,
    };
    let drops_on_mismatch = drops_on_mismatch(body, call)?;
    let mut readable = Readable { messages: Vec::with_capacity(messages.len()), dropped: Vec::new() };
    for (index, message) in messages.iter().enumerate() {
        let Some(content) = message.get("content").and_then(Value::as_array) else {
            readable.messages.push(message.clone());
            continue;
        };
        let mut kept = Vec::with_capacity(content.len());
        let mut history = None;
        for (place, block) in content.iter().enumerate() {
            if blocks::kind(block) != "thinking" {
                kept.push(block.clone());
                continue;
            }
            let path = format!("messages.{index}.content.{place}");
            let signature = block.get("signature").and_then(Value::as_str).unwrap_or("");
            let Some(claim) = open(key, signature) else {
                return Err(Fault::invalid(format!("{path}: Invalid `signature` in `thinking` block")));
            };
            let reason = unreadable(&claim, model, call.account());
            let reason = reason.or_else(|| {
                let before = messages.get(..index).unwrap_or(messages);
                let now = history.get_or_insert_with(|| canonical::history_hash(body, before));
                (checked && *now != claim.history).then_some("history")
            });
            match reason {
                None => kept.push(block.clone()),
                Some("history") if !drops_on_mismatch => {
                    return Err(Fault::invalid(format!(
                        "{path}: Invalid `signature` in `thinking` block. The block is bound to a different \
                         conversation. Send the conversation before it unchanged, or remove the block."
                    )));
                }
                Some(reason) => readable.dropped.push(DroppedThinking {
                    request_id: call.request_id.clone(),
                    reader: model.id.to_owned(),
                    made_by: claim.model,
                    path,
                    reason,
                }),
            }
        }
        let mut message = message.clone();
        message["content"] = Value::Array(kept);
        readable.messages.push(message);
    }
    Ok(readable)
}

/// Returns `input_transformations` for the answer, where the beta asks for them.
pub(super) fn transformations(dropped: &[DroppedThinking], call: &Call) -> Option<Value> {
    if !call.has_beta(BINDING_BETA) {
        return None;
    }
    let listed = dropped.iter().map(|drop| {
        let reason = if drop.reason == "history" { "prefix_mismatch" } else { "unreadable" };
        json!({ "type": "thinking_dropped", "path": drop.path, "reason": reason })
    });
    Some(listed.collect())
}

struct Claim {
    model: String,
    history: String,
    account: String,
}

fn open(key: &[u8; 32], signature: &str) -> Option<Claim> {
    let (hex, mac) = signature.split_at_checked(signature.len().checked_sub(64)?)?;
    let digits: Option<Vec<u8>> = hex
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    let claim = String::from_utf8(digits?).ok()?;
    if blake3::keyed_hash(key, claim.as_bytes()).to_hex().as_str() != mac {
        return None;
    }
    let mut parts = claim.split(' ').map(str::to_owned);
    Some(Claim { model: parts.next()?, history: parts.next()?, account: parts.next()? })
}

fn unreadable(claim: &Claim, reader: &Model, account: &str) -> Option<&'static str> {
    if !reader.reads.contains(&claim.model.as_str()) {
        return Some("model");
    }
    let bound = models::find(&claim.model).is_some_and(|maker| maker.account_bound);
    (bound && claim.account != short_hash(account)).then_some("account")
}

fn drops_on_mismatch(body: &Map<String, Value>, call: &Call) -> Result<bool, Fault> {
    let binding = body.get("thinking").and_then(|thinking| thinking.get("block_binding"));
    let Some(binding) = binding.filter(|binding| !binding.is_null()) else { return Ok(false) };
    if !call.has_beta(BINDING_BETA) {
        return Err(Fault::extra("thinking.block_binding"));
    }
    Ok(binding.get("prefix_mismatch_behavior").and_then(Value::as_str) == Some("drop_block"))
}

fn short_hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().as_str()[..16].to_owned()
}

const BINDING_BETA: &str = "thinking-binding-controls-2026-08-01";
