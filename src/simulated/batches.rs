//! Message batches: create, list, retrieve, cancel, delete and results.
//!
//! Items are answered at creation, but stay hidden and are not billed until the batch ends: at once, or after a
//! scripted delay; after a day those that are not done expire. Visible only to the account that created them; `results_url` is absolute on this server's own address.

use serde_json::{Value, json};

use super::behaviour::Behaviour;
use super::call::Call;
use super::fault::Fault;
use super::messages;
use super::paging;
use super::shape::Endpoint;
use super::state::{Settlement, State, rfc3339};

/// A batch and its results.
#[derive(Debug)]
pub(super) struct Batch {
    id: String,
    account: String,
    created_ms: i64,
    ends_ms: i64,
    canceled_ms: Option<i64>,
    results: Vec<Value>,
    /// What is billed at the end.
    unbilled: Vec<Settlement>,
}

/// Answers a request below `/v1/messages/batches`; `rest` is the path after it.
pub(super) fn route(rest: &str, call: &Call, script: &[Behaviour], state: &State) -> Result<Reply, Fault> {
    state.bill_batches();
    let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
    match (call.method.as_str(), parts.as_slice()) {
        ("POST", []) => create(call, script, state).map(Reply::Json),
        ("GET", []) => list(call, state).map(Reply::Json),
        ("GET", [id]) => with(id, call, state, |batch, now| Ok(Reply::Json(batch.json(now, &state.url)))),
        ("GET", [id, "results"]) => with(id, call, state, |batch, now| batch.results(now)),
        ("POST", [id, "cancel"]) => with(id, call, state, |batch, now| {
            if now < batch.ends_ms && batch.canceled_ms.is_none() {
                batch.cancel(now);
            }
            Ok(Reply::Json(batch.json(now, &state.url)))
        }),
        ("DELETE", [id]) => delete(id, call, state).map(Reply::Json),
        _ => Err(Fault::not_found("Not Found")),
    }
}

/// A JSON object, or JSON lines.
#[derive(Debug)]
pub(super) enum Reply {
    Json(Value),
    Lines(String),
}

impl Batch {
    fn ended(&self, now_ms: i64) -> bool {
        now_ms >= self.ends_ms
    }

    /// Takes what is to be billed now, once.
    pub(super) fn take_due(&mut self, now_ms: i64) -> Vec<Settlement> {
        if self.ended(now_ms) { std::mem::take(&mut self.unbilled) } else { Vec::new() }
    }

    /// Lets every request come to nothing.
    fn give_up(&mut self, kind: &str) {
        self.unbilled.clear();
        for result in &mut self.results {
            result["result"] = json!({ "type": kind });
        }
    }

    fn cancel(&mut self, now_ms: i64) {
        self.canceled_ms = Some(now_ms);
        self.ends_ms = now_ms;
        self.give_up("canceled");
    }

    fn json(&self, now_ms: i64, url: &str) -> Value {
        let ended = self.ended(now_ms);
        let count = |kind: &str| {
            if !ended {
                return 0;
            }
            self.results.iter().filter(|result| result["result"]["type"] == kind).count()
        };
        json!({
            "id": self.id,
            "type": "message_batch",
            "processing_status": if ended { "ended" } else { "in_progress" },
            "request_counts": {
                "processing": if ended { 0 } else { self.results.len() },
                "succeeded": count("succeeded"),
                "errored": count("errored"),
                "canceled": count("canceled"),
                "expired": count("expired"),
            },
            "created_at": rfc3339(self.created_ms),
            "expires_at": rfc3339(self.created_ms + DAY_MS),
            "ended_at": ended.then(|| rfc3339(self.ends_ms)),
            "cancel_initiated_at": self.canceled_ms.map(rfc3339),
            "archived_at": null,
            "results_url": ended.then(|| format!("{url}/v1/messages/batches/{}/results", self.id)),
        })
    }

    fn results(&self, now_ms: i64) -> Result<Reply, Fault> {
        if !self.ended(now_ms) {
            return Err(Fault::invalid("Batch results are not available until processing has ended"));
        }
        // Results come in any order on the real API, so clients must not rely on the order of the requests.
        let lines: Vec<String> = self.results.iter().rev().map(|result| format!("{result}\n")).collect();
        Ok(Reply::Lines(lines.concat()))
    }
}

fn create(call: &Call, script: &[Behaviour], state: &State) -> Result<Value, Fault> {
    let body: Value = serde_json::from_slice(&call.body)
        .map_err(|error| Fault::invalid(format!("The request body is not valid JSON: {error}")))?;
    super::shape::only(&body, "body", &["requests"])
        .map_err(|fault| Fault::invalid(fault.message.trim_start_matches("body.").to_owned()))?;
    let Some(requests) = body.get("requests").and_then(Value::as_array).filter(|list| !list.is_empty())
    else {
        return Err(Fault::invalid("requests: List should have at least 1 item"));
    };
    if requests.len() > 100_000 {
        return Err(Fault::invalid("requests: List should have at most 100000 items"));
    }
    let mut seen = std::collections::HashSet::new();
    for (index, request) in requests.iter().enumerate() {
        super::shape::only(request, &format!("requests.{index}"), &["custom_id", "params"])?;
        let id = request.get("custom_id").and_then(Value::as_str).unwrap_or("");
        if id.is_empty() || id.len() > 64 {
            return Err(Fault::invalid(format!(
                "requests.{index}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'"
            )));
        }
        if !seen.insert(id) {
            return Err(Fault::invalid(format!("requests.{index}.custom_id: must be unique")));
        }
        if !request.get("params").is_some_and(Value::is_object) {
            return Err(Fault::invalid(format!("requests.{index}.params: Field required")));
        }
    }
    let delay_ms = script.iter().find_map(|behaviour| match behaviour {
        Behaviour::BatchDelay { ms } => i64::try_from(*ms).ok(),
        _ => None,
    });
    let (results, billed): (Vec<_>, Vec<_>) =
        requests.iter().map(|request| item(request, call, state)).unzip();
    let now = state.now_ms();
    let delay_ms = delay_ms.unwrap_or(0);
    let mut batch = Batch {
        id: state.id("msgbatch"),
        account: call.account().to_owned(),
        created_ms: now,
        ends_ms: now + delay_ms.min(DAY_MS),
        canceled_ms: None,
        results,
        unbilled: billed.into_iter().flatten().collect(),
    };
    if delay_ms > DAY_MS {
        batch.give_up("expired");
    }
    let answer = batch.json(now, &state.url);
    let mut memory = state.memory();
    if memory.batches.len() >= 10_000 {
        memory.batches.remove(0);
    }
    memory.batches.push(batch);
    drop(memory);
    state.bill_batches();
    Ok(answer)
}

fn item(request: &Value, call: &Call, state: &State) -> (Value, Option<Settlement>) {
    let mut params = request["params"].clone();
    if let Some(params) = params.as_object_mut() {
        params.remove("stream");
    }
    let (result, settlement) =
        match messages::answer(params.to_string().as_bytes(), call, Endpoint::Batch, &[], state) {
            Ok(answer) => {
                (json!({ "type": "succeeded", "message": answer.message }), Some(answer.settlement))
            }
            Err(fault) => (json!({ "type": "errored", "error": fault.envelope(&call.request_id) }), None),
        };
    (json!({ "custom_id": request["custom_id"], "result": result }), settlement)
}

fn list(call: &Call, state: &State) -> Result<Value, Fault> {
    let now = state.now_ms();
    let memory = state.memory();
    let mine = memory.batches.iter().rev().filter(|batch| batch.account == call.account());
    let all: Vec<Value> = mine.map(|batch| batch.json(now, &state.url)).collect();
    drop(memory);
    paging::by_id(all, call)
}

fn with(
    id: &str,
    call: &Call,
    state: &State,
    act: impl FnOnce(&mut Batch, i64) -> Result<Reply, Fault>,
) -> Result<Reply, Fault> {
    let now = state.now_ms();
    let mut memory = state.memory();
    let mut batches = memory.batches.iter_mut();
    let batch = batches.find(|batch| batch.id == id && batch.account == call.account());
    act(batch.ok_or_else(|| Fault::not_found("Not Found"))?, now)
}

fn delete(id: &str, call: &Call, state: &State) -> Result<Value, Fault> {
    let now = state.now_ms();
    let mut memory = state.memory();
    let found = memory.batches.iter().position(|batch| batch.id == id && batch.account == call.account());
    let Some(place) = found else { return Err(Fault::not_found("Not Found")) };
    if !memory.batches[place].ended(now) {
        return Err(Fault::invalid("Batch must have ended before it can be deleted"));
    }
    memory.batches.remove(place);
    Ok(json!({ "id": id, "type": "message_batch_deleted" }))
}

const DAY_MS: i64 = 86_400_000;
