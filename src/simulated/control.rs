//! The control surface for tests in other processes, and the echo that stands for every endpoint not simulated.
//!
//! `POST /_simulated/script` takes one behaviour or a list, each with an optional `path`; `GET /_simulated/requests`,
//! `/_simulated/bill` and `/_simulated/dropped` read; `POST /_simulated/advance` {"ms"} moves time;
//! `POST /_simulated/reset` forgets everything.

use serde_json::{Value, json};

use super::behaviour::Entry;
use super::call::Call;
use super::fault::Fault;
use super::reply::Event;
use super::serve::Payload;
use super::state::{Settlement, State};

/// Answers a request to the control surface.
pub(super) fn route(method: &str, path: &str, body: &[u8], state: &State) -> Result<Value, Fault> {
    match (method, path) {
        ("POST", "/_simulated/script") => script(body, state),
        ("GET", "/_simulated/requests") => {
            let memory = state.memory();
            let requests = memory.requests.iter().map(|seen| {
                json!({ "method": seen.method, "path": seen.path, "http": seen.http, "headers": seen.headers,
                    "body": String::from_utf8_lossy(&seen.body) })
            });
            Ok(requests.collect())
        }
        ("GET", "/_simulated/bill") => Ok(json!(state.memory().bill)),
        ("GET", "/_simulated/dropped") => Ok(json!(state.memory().dropped)),
        ("POST", "/_simulated/advance") => {
            let body: Value = serde_json::from_slice(body).unwrap_or_default();
            state.advance_ms(body["ms"].as_i64().ok_or_else(|| Fault::invalid("ms: Field required"))?);
            Ok(json!({}))
        }
        ("POST", "/_simulated/reset") => {
            state.reset();
            Ok(json!({}))
        }
        _ => Err(Fault::not_found("Not Found")),
    }
}

fn script(body: &[u8], state: &State) -> Result<Value, Fault> {
    let body: Value = serde_json::from_slice(body).map_err(|error| Fault::invalid(error.to_string()))?;
    let list = match body {
        Value::Array(list) => list,
        one => vec![one],
    };
    let mut entries = Vec::with_capacity(list.len());
    for mut one in list {
        let path = one.as_object_mut().and_then(|object| object.remove("path"));
        let behaviour = serde_json::from_value(one).map_err(|error| Fault::invalid(error.to_string()))?;
        let path = path.and_then(|path| path.as_str().map(str::to_owned));
        entries.push(Entry { path: path.unwrap_or_else(super::behaviour::messages_path), behaviour });
    }
    let mut memory = state.memory();
    memory.scripts.extend(entries);
    Ok(json!({ "waiting": memory.scripts.len() }))
}

/// Answers any other path below `/v1/` with what was asked, as JSON or, for event streams, as a short stream.
pub(super) fn echo(call: &Call) -> Result<Payload, Fault> {
    if !call.path.starts_with("/v1/") {
        return Err(Fault::not_found("Not Found"));
    }
    let echo = json!({ "path": call.path, "method": call.method.as_str(), "body_bytes": call.body.len() });
    if call.path.ends_with("/events/stream") {
        let events = (0..3).map(|index| {
            Event::new("session.event", json!({ "type": "session.event", "index": index, "echo": echo }))
        });
        return Ok(Payload::Stream(events.collect(), Settlement::default()));
    }
    Ok(Payload::Json(echo))
}
