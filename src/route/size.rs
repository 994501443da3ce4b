//! How large a request is, in tokens of a model: an upper bound for what must fit, an estimate for what it costs.
//!
//! Nothing is tokenised. The estimate takes four bytes of JSON for a token, the bound two, or one where the target's
//! context is the smaller; models from Opus 4.7 on count 13/10 of what is estimated. Images count 8,000 and 1,500 tokens; base64 payload is not text. Documents and sources
//! fetched by the upstream have no known size: the bound is then absent.

use super::matter::Matter;
use crate::catalog::{Accepts, Tokenizer};
use crate::money::{Factor, NanoUsd};
use crate::usage::Usage;
use crate::wire::envelope::Envelope;

/// Returns whether prompt and answer surely fit `target`, or fit it wherever they fit `reference`.
pub(super) fn fits(matter: &Matter<'_>, reference: &Accepts, target: &Accepts) -> bool {
    let no_stricter = target.context_tokens >= reference.context_tokens
        && (target.tokenizer == reference.tokenizer || target.tokenizer == Tokenizer::Old);
    let answer = if matter.facts.count_tokens { 0 } else { matter.envelope.max_tokens.unwrap_or(0) };
    let smaller = target.context_tokens < reference.context_tokens;
    let surely = bound_tokens(matter.envelope, target.tokenizer, smaller)
        .is_some_and(|prompt| prompt.saturating_add(answer) <= target.context_tokens);
    no_stricter || surely
}

/// Returns whether an answer that fit `max_tokens` before still does where the same text counts more tokens.
pub(super) fn leaves_room(matter: &Matter<'_>, reference: &Accepts, target: &Accepts) -> bool {
    let counts_more = reference.tokenizer == Tokenizer::Old && target.tokenizer == Tokenizer::New;
    let tight = matter.envelope.max_tokens.is_some_and(|tokens| tokens < ROOM_TOKENS);
    let must_end = tight || matter.envelope.structured_output;
    matter.facts.count_tokens || !counts_more || !must_end
}

/// Returns what the request is expected to cost at `model`, nothing cached; unknown models at the dearest rates.
pub(super) fn estimate(matter: &Matter<'_>, model: &str) -> NanoUsd {
    let prompt_tokens = prompt_tokens(matter, model);
    let output_tokens = if matter.facts.count_tokens {
        0
    } else {
        matter.envelope.max_tokens.unwrap_or(ANSWER_TOKENS).min(ANSWER_TOKENS)
    };
    let output_tokens = tokens_of(output_tokens, tokenizer(matter, model));
    let usage = Usage { input_tokens: prompt_tokens, output_tokens, ..Usage::default() };
    let fast = matter.envelope.speed.as_deref() == Some("fast");
    let (card, _) = matter.catalog.card(model, prompt_tokens, fast, matter.facts.at);
    card.costs(&usage, Factor::ONE).into_iter().sum()
}

/// Returns the list price of a million tokens in and a million out, on the card this prompt is billed on.
pub(super) fn list_price(matter: &Matter<'_>, model: &str) -> u64 {
    let prompt_tokens = prompt_tokens(matter, model);
    matter.catalog.card(model, prompt_tokens, false, matter.facts.at).0.list()
}

fn prompt_tokens(matter: &Matter<'_>, model: &str) -> u64 {
    let envelope = matter.envelope;
    let images = count(envelope.history.images).saturating_mul(IMAGE_TOKENS);
    tokens_of(text_bytes(envelope) / 4, tokenizer(matter, model)).saturating_add(images)
}

/// No token is less than a byte; where the context shrinks, nothing less sure will do.
fn bound_tokens(envelope: &Envelope<'_>, tokenizer: Tokenizer, smaller: bool) -> Option<u64> {
    let history = &envelope.history;
    if history.documents > 0 || history.remote_sources > 0 {
        return None;
    }
    let images = count(history.images).saturating_mul(IMAGE_TOKENS_MOST);
    let bytes = text_bytes(envelope);
    let text = if smaller { bytes } else { tokens_of(bytes.div_ceil(2), tokenizer) };
    Some(text.saturating_add(images))
}

fn tokens_of(tokens: u64, tokenizer: Tokenizer) -> u64 {
    match tokenizer {
        Tokenizer::Old => tokens,
        Tokenizer::New => tokens.saturating_mul(13).div_ceil(10),
    }
}

fn tokenizer(matter: &Matter<'_>, model: &str) -> Tokenizer {
    let accepts = matter.catalog.model(model).and_then(|model| model.accepts.as_ref());
    accepts.map_or(Tokenizer::New, |accepts| accepts.tokenizer)
}

fn text_bytes(envelope: &Envelope<'_>) -> u64 {
    count(envelope.body.len().saturating_sub(envelope.history.payload_bytes))
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Below this, an answer that counts more tokens can be cut.
const ROOM_TOKENS: u64 = 4_096;
/// An answer of usual length.
const ANSWER_TOKENS: u64 = 600;
const IMAGE_TOKENS: u64 = 1_500;
const IMAGE_TOKENS_MOST: u64 = 8_000;
