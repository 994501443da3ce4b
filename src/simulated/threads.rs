//! Message threads: the conversation is held under the id of the last answer, and the next turn sends only what is new.
//!
//! Model, thinking, output_config, tool_choice, betas and credential must stay as they were; `system` and `tools` come
//! from the thread. Each answer can be continued once.

use serde_json::{Map, Value, json};

use super::blocks;
use super::call::Call;
use super::fault::Fault;
use super::state::State;

/// A conversation held by the server.
#[derive(Debug, Clone)]
pub(super) struct Thread {
    account: String,
    fingerprint: Vec<(&'static str, String)>,
    system: Option<Value>,
    tools: Option<Value>,
    pub messages: Vec<Value>,
    pub continued: bool,
    pub in_flight: bool,
}

/// What the `thread` field of a request came to.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// The request asks to be held.
    pub held: bool,
    /// The answer that it continues.
    pub previous: Option<String>,
    /// Messages before those in the request.
    pub before: Vec<Value>,
}

/// Reads the `thread` field; on a continuation, fills `system` and `tools` from the thread.
pub(super) fn resume(body: &mut Map<String, Value>, call: &Call, state: &State) -> Result<Turn, Fault> {
    let Some(field) = body.get("thread").filter(|field| !field.is_null()).cloned() else {
        return Ok(Turn::default());
    };
    unsupported(body)?;
    match blocks::kind(&field) {
        "create" => {
            super::shape::only(&field, "thread.create", &["type"])?;
            return Ok(Turn { held: true, ..Turn::default() });
        }
        "continue" => super::shape::only(&field, "thread.continue", &["type", "previous_message_id"])?,
        _ => return Err(Fault::invalid("thread.type: Input should be 'create' or 'continue'")),
    }
    let Some(id) = field.get("previous_message_id").and_then(Value::as_str) else {
        return Err(Fault::invalid("thread.continue.previous_message_id: Field required"));
    };
    if let Some(repeated) = ["system", "tools"].into_iter().find(|name| body.contains_key(*name)) {
        return Err(Fault::invalid(format!("{repeated}: cannot be sent when continuing a thread")));
    }
    let now = fingerprint(body, call);
    let memory = state.memory();
    let held = memory.threads.get(id).filter(|thread| thread.account == call.account());
    let Some(thread) = held else {
        return Err(Fault::not_found(format!("No usable thread state was found for `{id}`."))
            .code("thread_not_found"));
    };
    let changed: Vec<&str> = thread
        .fingerprint
        .iter()
        .zip(&now)
        .filter(|((_, before), (_, after))| before != after)
        .map(|((name, _), _)| *name)
        .collect();
    if !changed.is_empty() {
        return Err(Fault::invalid(format!(
            "thread: {} must stay the same across the turns of a thread",
            changed.join(", ")
        ))
        .code("thread_fingerprint_mismatch"));
    }
    if thread.continued {
        return Err(Fault::invalid("thread: this response has already been continued")
            .code("thread_already_continued"));
    }
    if thread.in_flight {
        return Err(Fault::invalid("thread: another request is still continuing from this response")
            .code("thread_continue_in_flight"));
    }
    if let Some(system) = &thread.system {
        body.insert("system".to_owned(), system.clone());
    }
    if let Some(tools) = &thread.tools {
        body.insert("tools".to_owned(), tools.clone());
    }
    let before = thread.messages.clone();
    Ok(Turn { held: true, previous: Some(id.to_owned()), before })
}

/// Marks the answer that a turn continues as taken; false if another request was faster.
pub(super) fn claim(turn: &Turn, state: &State) -> bool {
    let Some(id) = &turn.previous else { return true };
    let mut memory = state.memory();
    match memory.threads.get_mut(id) {
        Some(thread) if !thread.in_flight && !thread.continued => {
            thread.in_flight = true;
            true
        }
        _ => false,
    }
}

/// Returns the thread as it stands after an answer.
pub(super) fn after(body: &Map<String, Value>, messages: &[Value], answer: &Value, call: &Call) -> Thread {
    let mut messages = messages.to_vec();
    messages.push(json!({ "role": "assistant", "content": answer["content"] }));
    Thread {
        account: call.account().to_owned(),
        fingerprint: fingerprint(body, call),
        system: body.get("system").cloned(),
        tools: body.get("tools").cloned(),
        messages,
        continued: false,
        in_flight: false,
    }
}

fn fingerprint(body: &Map<String, Value>, call: &Call) -> Vec<(&'static str, String)> {
    let mut betas = call.betas.clone();
    betas.sort();
    betas.dedup();
    let field = |name: &'static str| (name, body.get(name).unwrap_or(&Value::Null).to_string());
    vec![
        field("model"),
        field("thinking"),
        field("output_config"),
        field("tool_choice"),
        ("betas", betas.join(",")),
        ("credential", call.key.clone()),
    ]
}

fn unsupported(body: &Map<String, Value>) -> Result<(), Fault> {
    let present = |name: &&str| body.get(*name).is_some_and(|value| !value.is_null());
    let found: Vec<&str> =
        ["cache_control", "context_management", "fallbacks"].into_iter().filter(present).collect();
    if found.is_empty() {
        return Ok(());
    }
    let mut fault = Fault::invalid(format!("thread: cannot be combined with {}", found.join(", ")));
    fault.details = Some(json!({ "error_code": "thread_unsupported_request", "unsupported": found }));
    Err(fault)
}
