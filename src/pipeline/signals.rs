//! What an answer and the turn after it say against the model that gave it; told to the workload.

use serde::Deserialize;
use serde_json::Value;

use super::exchange::Exchange;
use crate::route::Past;
use crate::tier::Tier;
use crate::wire::envelope::Envelope;
use crate::wire::json::{Cursor, Kind, Malformed};
use crate::wire::meter::Metered;
use crate::wire::schema::breaks;
use crate::workload::{Sign, Watched};

/// Notes how a whole answer ended.
pub(super) fn answered(exchange: &Exchange, metered: &Metered) {
    let Some(reason) = metered.stop_reason.as_deref() else { return };
    let written = metered.usage.map_or(u64::MAX, |usage| usage.output_tokens);
    watch(exchange, exchange.tier(), Sign::Ended, ended_badly(reason, written, exchange.asked.max_tokens));
}

/// Tells whether an answer of so many tokens was a refusal, or was cut far below what was asked for.
pub(super) fn ended_badly(reason: &str, written: u64, asked: Option<u64>) -> bool {
    match reason {
        "refusal" => true,
        "max_tokens" | "model_context_window_exceeded" => asked.is_some_and(|asked| written < asked / 2),
        _ => false,
    }
}

/// Notes that an answer of `tier` failed so surely that a better one was asked for, unseen.
pub(super) fn escalated(exchange: &Exchange, tier: Tier) {
    watch(exchange, tier, Sign::Ended, true);
}

/// Notes what became of the answer before this turn; `past` as it stands with the results of the tools it called.
pub(super) fn returned(exchange: &Exchange, envelope: &Envelope<'_>, past: &Past) {
    if past.parted || exchange.endpoint.is_count() {
        return;
    }
    let tier = tier_of(exchange, past);
    if envelope.in_tool_loop() {
        let failed = envelope.history.last_tool_results.contains(&true);
        watch(exchange, tier, Sign::Tools, failed || past.repeats > 1 || misused(envelope));
    } else if past.answered && !envelope.ends_with_assistant() {
        watch(exchange, tier, Sign::Again, says_again(envelope) || contradicts(envelope));
    }
}

/// Notes that a request came again at once although it was answered; `past` as its answer left it.
pub(super) fn repeated(exchange: &Exchange, past: &Past) {
    let since_s = exchange.timestamp.as_second().saturating_sub(past.answered_at_s);
    if past.answered && !past.parted && since_s <= AGAIN_WITHIN_S && !exchange.endpoint.is_count() {
        watch(exchange, tier_of(exchange, past), Sign::Again, true);
    }
}

fn tier_of(exchange: &Exchange, past: &Past) -> Tier {
    exchange.snapshot.catalog.model(&past.model).map_or(Tier::Other, |model| model.tier)
}

fn watch(exchange: &Exchange, tier: Tier, sign: Sign, troubled: bool) {
    let tier = Tier::ROUTED.iter().position(|routed| *routed == tier);
    if let (Some(tier), Some(workload)) = (tier, &exchange.workload) {
        let watched = Watched { sign, tier, troubled };
        exchange.tercet.runtime.workloads.watch(exchange.tenant(), &workload.fingerprints, watched);
    }
}

/// Tells whether the user's turn says word for word what the one before the answer said.
fn says_again(envelope: &Envelope<'_>) -> bool {
    let history = &envelope.history;
    let at = |index: Option<usize>| envelope.body.get(history.spans.get(index?)?.clone());
    let answer = history.last_assistant;
    let (before, now) =
        (at(answer.and_then(|at| at.checked_sub(1))), at(answer.and_then(|at| at.checked_add(1))));
    before.is_some() && before == now
}

/// Tells whether the user's turn begins with words that contradict an answer.
fn contradicts(envelope: &Envelope<'_>) -> bool {
    let Some(first) = envelope.history.last_user_text.first() else { return false };
    let first = first.trim_ascii_start();
    let begins =
        |words: &&[u8]| first.get(..words.len()).is_some_and(|head| head.eq_ignore_ascii_case(words));
    CONTRADICTIONS.iter().any(begins)
}

/// Tells whether a tool was called with what its declared schema surely does not allow.
fn misused(envelope: &Envelope<'_>) -> bool {
    #[derive(Deserialize)]
    struct Message {
        content: Vec<Value>,
    }
    let (history, tools) = (&envelope.history, envelope.tools.unwrap_or_default());
    let span = history.last_assistant.and_then(|index| history.spans.get(index));
    let message = span.and_then(|span| envelope.body.get(span.clone())).unwrap_or_default();
    if message.len() > CALLS_BYTES_MAX {
        return false;
    }
    let Ok(Message { content }) = serde_json::from_slice(message) else { return false };
    let calls = content.iter().filter(|block| block["type"] == "tool_use");
    calls.take(CALLS_MAX).any(|call| {
        let schema = call["name"].as_str().and_then(|name| schema_of(tools, name));
        schema.is_some_and(|schema| breaks(&call["input"], &schema))
    })
}

/// Finds the schema of a tool without reading those of the others; `None` for tools that declare none.
fn schema_of(tools: &[u8], wanted: &str) -> Option<Value> {
    let mut found = None;
    let read = Cursor::new(tools).and_then(|mut cursor| {
        cursor.each_item(|cursor| {
            if cursor.kind()? != Kind::Object {
                return cursor.skip().map(drop);
            }
            let (mut name, mut schema) = (&b""[..], None);
            cursor.each_field(|cursor, field| {
                let span = cursor.skip()?;
                match field.raw {
                    "name" => name = cursor.slice(span),
                    "input_schema" => schema = Some(cursor.slice(span)),
                    _ => {}
                }
                Ok::<(), Malformed>(())
            })?;
            if name.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\"")) == Some(wanted.as_bytes()) {
                found = schema;
            }
            Ok(())
        })
    });
    read.ok()?;
    serde_json::from_slice::<Value>(found?).ok().filter(Value::is_object)
}

/// How soon a request that comes again says that its answer was not taken.
const AGAIN_WITHIN_S: i64 = 60;
/// Bytes of a message whose calls are looked at, and how many of them.
const CALLS_BYTES_MAX: usize = 64 << 10;
const CALLS_MAX: usize = 8;
/// How a turn begins that does not take the answer before it; English, as most of what programs and people send is.
const CONTRADICTIONS: [&[u8]; 22] = [
    b"no, ",
    b"nope",
    b"wrong",
    b"incorrect",
    b"that's wrong",
    b"that is wrong",
    b"that's not",
    b"that is not",
    b"this is wrong",
    b"this is not what",
    b"not what i",
    b"you're wrong",
    b"you are wrong",
    b"you missed",
    b"you forgot",
    b"you didn't",
    b"you did not",
    b"it doesn't work",
    b"it does not work",
    b"still not",
    b"it still",
    b"try again",
];
