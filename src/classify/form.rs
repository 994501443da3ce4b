//! What a request's form says for certain: exact rules, each with a code, the first that fits wins.
//!
//! A form is only believed where the request also looks small, unless the client itself names the call: a form that a hard task could wear (a short
//! answer to a long proof) is left to the guess.

use super::words::Counts;
use super::{Reason, RequestHints, words};
use crate::wire::envelope::Envelope;

/// Returns the rule that fits, if one does.
pub(super) fn certain(envelope: &Envelope<'_>, hints: &RequestHints<'_>, counts: Counts) -> Option<Reason> {
    let hinted = [hints.request_class, hints.auxiliary_type].into_iter().flatten().find_map(hint);
    let code = hinted.or_else(|| if small(envelope, counts) { formed(envelope) } else { None })?;
    Some(Reason::certain(code))
}

/// A first turn of little plain text, for which no effort or thinking is asked.
fn small(envelope: &Envelope<'_>, counts: Counts) -> bool {
    let history = &envelope.history;
    let first_turn = history.assistant_messages == 0 && envelope.thread.is_none();
    let plain = history.images == 0 && history.documents == 0 && text_bytes(envelope) <= SMALL_BYTES;
    let effort = matches!(envelope.effort.as_deref(), None | Some("low"));
    let thinking = envelope.thinking.as_ref().is_some_and(|thinking| thinking.kind != "disabled");
    first_turn && plain && effort && !thinking && !counts.hard()
}

fn formed(envelope: &Envelope<'_>) -> Option<&'static str> {
    probe(envelope).or_else(|| prompted(envelope)).or_else(|| shaped(envelope))
}

/// The client names its own kind of call; values we do not know say nothing.
fn hint(value: &str) -> Option<&'static str> {
    let value = value.get(..value.len().min(64))?;
    HINTS.iter().find(|(word, _)| words::contains(value.as_bytes(), word.as_bytes())).map(|(_, code)| *code)
}

/// One token asked for, one message: a client tests the line.
fn probe(envelope: &Envelope<'_>) -> Option<&'static str> {
    let alone = envelope.history.spans.len() == 1 && envelope.tool_list.is_empty();
    (alone && envelope.max_tokens == Some(1) && text_bytes(envelope) <= 256).then_some("form-probe")
}

/// A short system prompt that orders a title or a summary.
fn prompted(envelope: &Envelope<'_>) -> Option<&'static str> {
    let system = envelope.system.filter(|system| system.len() <= SYSTEM_BYTES)?;
    if !envelope.tool_list.is_empty() {
        return None;
    }
    PROMPTS.iter().find(|(phrase, _)| words::contains(system, phrase.as_bytes())).map(|(_, code)| *code)
}

/// Small by its shape: a forced extraction, a short answer in a schema, a tiny answer.
fn shaped(envelope: &Envelope<'_>) -> Option<&'static str> {
    let forced =
        envelope.tool_choice.as_ref().is_some_and(|choice| choice.kind == "tool" || choice.kind == "any");
    let bytes = text_bytes(envelope);
    if forced && envelope.tool_list.len() == 1 {
        return Some("form-extraction");
    }
    if !envelope.tool_list.is_empty() {
        return None;
    }
    if envelope.structured_output && bytes <= STRUCTURED_BYTES {
        return Some("form-structured");
    }
    let tiny = envelope.max_tokens.is_some_and(|tokens| (1..=TINY_TOKENS).contains(&tokens));
    (tiny && bytes <= TINY_BYTES).then_some("form-tiny")
}

fn text_bytes(envelope: &Envelope<'_>) -> usize {
    envelope.history.last_user_text.iter().map(|text| text.len()).sum()
}

const HINTS: [(&str, &str); 6] = [
    ("title", "hint-title"),
    ("summar", "hint-summary"),
    ("classif", "hint-classifier"),
    ("topic", "hint-classifier"),
    ("probe", "hint-probe"),
    ("quota", "hint-probe"),
];

/// Phrases, in lower case, of system prompts that ask for nothing else.
const PROMPTS: [(&str, &str); 8] = [
    ("generate a title", "form-title"),
    ("write a title", "form-title"),
    ("short title", "form-title"),
    ("concise title", "form-title"),
    ("conversation title", "form-title"),
    ("summarize this", "form-summary"),
    ("summarize the", "form-summary"),
    ("summarise the", "form-summary"),
];

const SYSTEM_BYTES: usize = 2_048;
const SMALL_BYTES: usize = 8_192;
const STRUCTURED_BYTES: usize = 2_048;
const TINY_BYTES: usize = 1_024;
const TINY_TOKENS: u64 = 64;
