//! How large a request is, in tokens of a model: an upper bound for what must fit, a guess for what it costs.
//!
//! Nothing is tokenised. The estimate takes four bytes of JSON for a token, the bound two, or one where the target's
//! context is the smaller; models from Opus 4.7 on count 13/10 of what is estimated. Images count 8,000 and 1,500 tokens; base64 payload is not text. Documents and sources
//! fetched by the upstream have no known size: the bound is then absent.

use super::ask::Ask;
use super::matter::Matter;
use crate::catalog::{Accepts, Model, Tokenizer};

/// Returns whether prompt and answer surely fit `target`, or fit it wherever they fit `reference`.
pub(super) fn fits(matter: &Matter<'_>, reference: &Accepts, target: &Accepts) -> bool {
    let no_stricter = target.context_tokens >= reference.context_tokens
        && (target.tokenizer == reference.tokenizer || target.tokenizer == Tokenizer::Old);
    let answer = if matter.facts.count_tokens { 0 } else { matter.ask.max_tokens.unwrap_or(0) };
    let smaller = target.context_tokens < reference.context_tokens;
    let surely = bound_tokens(matter.ask, target.tokenizer, smaller)
        .is_some_and(|prompt| prompt.saturating_add(answer) <= target.context_tokens);
    no_stricter || surely
}

/// Returns whether an answer that fit `max_tokens` before still does where the same text counts more tokens.
pub(super) fn leaves_room(matter: &Matter<'_>, reference: &Accepts, target: &Accepts) -> bool {
    let counts_more = reference.tokenizer == Tokenizer::Old && target.tokenizer == Tokenizer::New;
    let tight = matter.ask.max_tokens.is_some_and(|tokens| tokens < ROOM_TOKENS);
    let must_end = tight || matter.ask.structured_output;
    matter.facts.count_tokens || !counts_more || !must_end
}

/// Returns the tokens of a usual answer from `model`.
pub(super) fn answer_tokens(matter: &Matter<'_>, model: Option<&Model>) -> u64 {
    let most = matter.ask.max_tokens.unwrap_or(u64::MAX);
    match matter.facts.ahead.output_tokens {
        0 => tokens_of(ANSWER_TOKENS.min(most), tokenizer(model)),
        learned => learned.min(most),
    }
}

/// Returns the list price of a million tokens in and a million out, on the card this prompt is billed on.
pub(super) fn list_price(matter: &Matter<'_>, model: &str) -> u64 {
    let known = matter.catalog.model(model);
    let price = known.and_then(|known| known.price_at(matter.facts.at));
    matter.catalog.card_of(price, prompt_tokens(matter, known), false).0.list()
}

/// Returns the tokens of the prompt as `model` counts them.
pub(super) fn prompt_tokens(matter: &Matter<'_>, model: Option<&Model>) -> u64 {
    let ask = matter.ask;
    let images = ask.images.saturating_mul(IMAGE_TOKENS);
    tokens_of(ask.text_bytes / 4, tokenizer(model)).saturating_add(images)
}

/// No token is less than a byte; where the context shrinks, nothing less sure will do.
fn bound_tokens(ask: &Ask<'_>, tokenizer: Tokenizer, smaller: bool) -> Option<u64> {
    if ask.unsized_parts {
        return None;
    }
    let images = ask.images.saturating_mul(IMAGE_TOKENS_MOST);
    let bytes = ask.text_bytes;
    let text = if smaller { bytes } else { tokens_of(bytes.div_ceil(2), tokenizer) };
    Some(text.saturating_add(images))
}

fn tokens_of(tokens: u64, tokenizer: Tokenizer) -> u64 {
    match tokenizer {
        Tokenizer::Old => tokens,
        Tokenizer::New => tokens.saturating_mul(13).div_ceil(10),
    }
}

fn tokenizer(model: Option<&Model>) -> Tokenizer {
    let accepts = model.and_then(|model| model.accepts.as_ref());
    accepts.map_or(Tokenizer::New, |accepts| accepts.tokenizer)
}

/// Below this, an answer that counts more tokens can be cut.
const ROOM_TOKENS: u64 = 4_096;
/// An answer of usual length.
const ANSWER_TOKENS: u64 = 600;
const IMAGE_TOKENS: u64 = 1_500;
const IMAGE_TOKENS_MOST: u64 = 8_000;
