//! `POST /v1/messages` and `count_tokens`: checks a body as the API does, answers it, and works out the bill.

use serde_json::{Map, Value, json};

use super::answer::{self, Brief, Draft};
use super::behaviour::Behaviour;
use super::call::Call;
use super::canonical;
use super::fault::Fault;
use super::models::{self, Model};
use super::prices::{BilledTokens, Terms};
use super::reply::{self, Counts, Event};
use super::shape::{self, Endpoint};
use super::state::{BilledCall, Settlement, State};
use super::threads::{self, Turn};
use super::{blocks, rules, thinking, tool_rules};

/// An answer ready to send.
#[derive(Debug)]
pub(super) struct Answer {
    pub message: Value,
    /// The events, where a stream was asked for.
    pub events: Option<Vec<Event>>,
    pub settlement: Settlement,
}

/// A request that passed every check.
struct Checked {
    body: Map<String, Value>,
    model: &'static Model,
    turn: Turn,
    /// The whole conversation as sent.
    messages: Vec<Value>,
    /// The conversation less what the model cannot read.
    readable: thinking::Readable,
    segments: Vec<canonical::Segment>,
}

/// Answers one message, or says why not.
pub(super) fn answer(
    body: &[u8],
    call: &Call,
    endpoint: Endpoint,
    script: &[Behaviour],
    state: &State,
) -> Result<Answer, Fault> {
    let checked = check(parse(body)?, call, endpoint, state)?;
    if !threads::claim(&checked.turn, state) {
        return Err(Fault::invalid("thread: another request is still continuing from this response")
            .code("thread_continue_in_flight"));
    }
    state.drop_thinking(checked.readable.dropped.clone());
    let history = canonical::history_hash(&checked.body, &checked.messages);
    let draft = compose(&checked, checked.model, &history, call, script, state);
    let fallback = fallback_model(&checked, &draft);
    let (draft, answering) = match fallback {
        None => (draft, checked.model),
        Some(model) => {
            let kept: Vec<Behaviour> = script
                .iter()
                .filter(|behaviour| !matches!(behaviour, Behaviour::Refusal { .. }))
                .cloned()
                .collect();
            let mut second = compose(&checked, model, &history, call, &kept, state);
            let category = draft.stop_details["category"].clone();
            second.blocks.insert(
                0,
                json!({ "type": "fallback", "from": { "model": checked.model.id }, "to": { "model": model.id },
                    "trigger": { "type": "refusal", "category": category } }),
            );
            (second, model)
        }
    };
    Ok(finish(&checked, &draft, answering, call, endpoint, state))
}

/// Counts the tokens of a prompt after the same checks.
pub(super) fn count_tokens(body: &[u8], call: &Call, state: &State) -> Result<Value, Fault> {
    let checked = check(parse(body)?, call, Endpoint::CountTokens, state)?;
    let total = BASE_TOKENS + checked.segments.iter().map(|segment| segment.tokens).sum::<u64>();
    let mut count = json!({ "input_tokens": total });
    if checked.body.get("context_management").is_some_and(Value::is_object) {
        count["context_management"] = json!({ "original_input_tokens": total });
    }
    Ok(count)
}

fn parse(body: &[u8]) -> Result<Map<String, Value>, Fault> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(Fault::invalid("Input should be a valid dictionary")),
        Err(error) => Err(Fault::invalid(format!("The request body is not valid JSON: {error}"))),
    }
}

fn check(
    mut body: Map<String, Value>,
    call: &Call,
    endpoint: Endpoint,
    state: &State,
) -> Result<Checked, Fault> {
    shape::check(&body, endpoint, call)?;
    let model = allowed_model(&body, state)?;
    let turn = threads::resume(&mut body, call, state)?;
    let mut messages = turn.before.clone();
    messages.extend(body.get("messages").and_then(Value::as_array).into_iter().flatten().cloned());
    blocks::check(&messages, call)?;
    rules::check(&body, &messages, model, endpoint, call)?;
    tool_rules::check(&body, &messages, model, call)?;
    let new_account = state.options.new_account;
    let readable = thinking::check(&state.signing_key, &body, &messages, model, call, new_account)?;
    let segments = canonical::segments(&body, &readable.messages, model);
    let total = BASE_TOKENS + segments.iter().map(|segment| segment.tokens).sum::<u64>();
    if total > model.context_tokens {
        return Err(Fault::invalid(format!(
            "prompt is too long: {total} tokens > {} maximum",
            model.context_tokens
        )));
    }
    Ok(Checked { body, model, turn, messages, readable, segments })
}

fn allowed_model(body: &Map<String, Value>, state: &State) -> Result<&'static Model, Fault> {
    let id = body.get("model").and_then(Value::as_str).unwrap_or("");
    let missing = || Fault::not_found(format!("model: {id}"));
    let model = models::find(id).ok_or_else(missing)?;
    if model.is_mythos() && !state.options.verified {
        return Err(missing());
    }
    if model.needs_retention() && state.options.zero_retention {
        return Err(Fault::invalid("This model requires 30-day data retention."));
    }
    Ok(model)
}

fn compose(
    checked: &Checked,
    model: &Model,
    history: &str,
    call: &Call,
    script: &[Behaviour],
    state: &State,
) -> Draft {
    let signature = thinking::sign(&state.signing_key, model.id, call.account(), history);
    answer::compose(&Brief {
        body: &checked.body,
        messages: &checked.readable.messages,
        model,
        script,
        signature,
        request_id: &call.request_id,
        seed: state.options.seed,
    })
}

/// Returns the model that takes over from a refusal.
fn fallback_model(checked: &Checked, draft: &Draft) -> Option<&'static Model> {
    if draft.stop_reason != "refusal" {
        return None;
    }
    match checked.body.get("fallbacks")? {
        Value::Array(list) => models::find(list.first()?.get("model")?.as_str()?),
        Value::String(_) => models::find(checked.model.fallbacks.first()?),
        _ => None,
    }
}

fn finish(
    checked: &Checked,
    draft: &Draft,
    answering: &'static Model,
    call: &Call,
    endpoint: Endpoint,
    state: &State,
) -> Answer {
    let now_ms = state.now_ms();
    let read = |model: &Model| {
        let mut memory = state.memory();
        memory.prompt_cache.account(call.account(), model, &checked.segments, BASE_TOKENS, now_ms)
    };
    let mut spent = vec![(checked.model, read(checked.model))];
    if answering.id != checked.model.id {
        spent.push((answering, read(answering)));
    }
    if let Some((_, last)) = spent.last_mut() {
        last.output_tokens = draft.output_tokens;
    }
    let terms = terms(checked, draft, endpoint);
    let counts = counts(checked, draft, &spent, terms, endpoint, state);
    let message = message(checked, draft, answering, &counts, call, state);
    let streams = checked.body.get("stream") == Some(&Value::Bool(true)) && endpoint == Endpoint::Messages;
    let events = streams.then(|| reply::events(&message, &counts));
    let billed = |(model, tokens): &(&Model, BilledTokens)| {
        let last = model.id == answering.id;
        let call = BilledCall {
            request_id: call.request_id.clone(),
            message_id: message["id"].as_str().unwrap_or("").to_owned(),
            account: call.account().to_owned(),
            model: model.id.to_owned(),
            batch: terms.batch,
            tokens: *tokens,
            web_searches: if last { terms.web_searches } else { 0 },
            nanousd: 0,
            at_ms: 0,
            complete: true,
        };
        let terms = Terms { web_searches: call.web_searches, ..terms };
        (call, terms)
    };
    let calls = spent.iter().map(billed).collect();
    let held = checked.turn.held && draft.stop_reason != "refusal" && spent.len() == 1;
    let thread = held.then(|| {
        let id = message["id"].as_str().unwrap_or("").to_owned();
        (id, threads::after(&checked.body, &checked.messages, &message, call))
    });
    let continued = checked.turn.previous.clone();
    Answer { message, events, settlement: Settlement { calls, thread, continued } }
}

fn terms(checked: &Checked, draft: &Draft, endpoint: Endpoint) -> Terms {
    let field = |name: &str| checked.body.get(name).and_then(Value::as_str);
    Terms {
        batch: endpoint == Endpoint::Batch,
        fast: field("speed") == Some("fast"),
        us: field("inference_geo") == Some("us"),
        web_searches: draft.web_searches,
    }
}

fn counts(
    checked: &Checked,
    draft: &Draft,
    spent: &[(&'static Model, BilledTokens)],
    terms: Terms,
    endpoint: Endpoint,
    state: &State,
) -> Counts {
    let field = |name: &str| checked.body.get(name).and_then(Value::as_str);
    let compacted = draft.stop_reason == "compaction";
    let top = spent.first().map(|(_, tokens)| *tokens).unwrap_or_default();
    let priority =
        state.options.priority && checked.model.priority && field("service_tier") != Some("standard_only");
    Counts {
        tokens: if compacted { BilledTokens::default() } else { top },
        thinking_tokens: draft.thinking_tokens,
        web_searches: draft.web_searches,
        service_tier: match endpoint {
            Endpoint::Batch => "batch",
            _ if priority => "priority",
            _ => "standard",
        },
        inference_geo: field("inference_geo").unwrap_or("global").to_owned(),
        speed: if terms.fast { "fast" } else { "standard" },
        iterations: (compacted || spent.len() > 1).then(|| {
            let kind = |place: usize| match place {
                _ if compacted => "compaction",
                0 => "message",
                _ => "fallback_message",
            };
            spent
                .iter()
                .enumerate()
                .map(|(place, (model, tokens))| iteration(kind(place), model, tokens))
                .collect()
        }),
    }
}

fn iteration(kind: &str, model: &Model, tokens: &BilledTokens) -> Value {
    json!({
        "type": kind,
        "model": model.id,
        "input_tokens": tokens.input_tokens,
        "cache_creation_input_tokens": tokens.cache_write_5m_tokens + tokens.cache_write_1h_tokens,
        "cache_read_input_tokens": tokens.cache_read_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": tokens.cache_write_5m_tokens,
            "ephemeral_1h_input_tokens": tokens.cache_write_1h_tokens,
        },
        "output_tokens": tokens.output_tokens,
    })
}

fn message(
    checked: &Checked,
    draft: &Draft,
    answering: &Model,
    counts: &Counts,
    call: &Call,
    state: &State,
) -> Value {
    let mut message = json!({
        "id": state.id("msg"),
        "type": "message",
        "role": "assistant",
        "model": answering.id,
        "content": draft.blocks,
        "stop_reason": draft.stop_reason,
        "stop_sequence": draft.stop_sequence,
        "stop_details": draft.stop_details,
        "usage": counts.usage(),
    });
    let tools = tool_rules::tools_of(&checked.body);
    if tools.iter().any(|tool| blocks::kind(tool).starts_with("code_execution_")) {
        let asked = checked.body.get("container");
        let asked = asked.and_then(|field| field.as_str().or_else(|| field.get("id")?.as_str()));
        let id = asked.map_or_else(|| state.id("container"), str::to_owned);
        let expires_at = super::state::rfc3339(state.now_ms() + 1_200_000);
        message["container"] = json!({ "id": id, "expires_at": expires_at });
    }
    if checked.body.get("context_management").is_some_and(Value::is_object) {
        message["context_management"] = json!({ "applied_edits": [] });
    }
    if checked.body.get("diagnostics").is_some_and(Value::is_object) {
        message["diagnostics"] = Value::Null;
    }
    if let Some(listed) = thinking::transformations(&checked.readable.dropped, call) {
        message["input_transformations"] = listed;
    }
    message
}

/// Tokens of a prompt with nothing in it.
const BASE_TOKENS: u64 = 8;
