//! What a request's form says for certain: exact rules, each with a code, the first that fits wins.
//!
//! A form is only believed where the request also looks small, unless the client itself names the call: a form that a hard task could wear (a short
//! answer to a long proof) is left to the guess.

use super::features::{Features, Slot};
use super::{Reason, RequestHints, text};
use crate::wire::envelope::Envelope;

/// Returns the kind of call that the client itself names, if it does.
pub(super) fn hinted(hints: &RequestHints<'_>) -> Option<Reason> {
    let named = [hints.request_class, hints.auxiliary_type].into_iter().flatten().find_map(hint);
    named.map(Reason::certain)
}

/// Returns the rule that fits, if one does.
pub(super) fn certain(envelope: &Envelope<'_>, features: &Features) -> Option<Reason> {
    let small = small(envelope, features);
    let formed = || probe(envelope).or_else(|| prompted(envelope)).or_else(|| shaped(envelope));
    let code = if small { formed().or_else(|| plain(envelope, features)) } else { None };
    code.map(Reason::certain)
}

/// A first turn of little plain text, for which no effort or thinking is asked.
fn small(envelope: &Envelope<'_>, features: &Features) -> bool {
    let history = &envelope.history;
    let first_turn = history.assistant_messages == 0 && envelope.thread.is_none();
    let plain = history.images == 0 && history.documents == 0 && text_bytes(envelope) <= SMALL_BYTES;
    let effort = matches!(envelope.effort.as_deref(), None | Some("low"));
    let thinking = envelope.thinking.as_ref().is_some_and(|thinking| thinking.kind != "disabled");
    first_turn && plain && effort && !thinking && !features.is_hard()
}

/// The client names its own kind of call; values we do not know say nothing.
fn hint(value: &str) -> Option<&'static str> {
    let value = value.get(..value.len().min(64))?;
    HINTS.iter().find(|(word, _)| text::contains(value.as_bytes(), word.as_bytes())).map(|(_, code)| *code)
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
    PROMPTS.iter().find(|(phrase, _)| text::contains(system, phrase.as_bytes())).map(|(_, code)| *code)
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

/// A question of a line, or a short plain task, without a word of maths, code or work in steps.
fn plain(envelope: &Envelope<'_>, features: &Features) -> Option<&'static str> {
    if !envelope.tool_list.is_empty() || !features.is_plain() {
        return None;
    }
    match text_bytes(envelope) {
        1..=SHORT_BYTES => Some("form-short"),
        ..=PLAIN_BYTES if features.get(Slot::Plain) > 0 => Some("form-plain"),
        _ => None,
    }
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
const SHORT_BYTES: usize = 64;
const PLAIN_BYTES: usize = 280;
