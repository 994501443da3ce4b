//! What a request may come to, from its body, its conversation, and what was learned of text and answers.

use memchr::memmem;

use super::bill::Bill;
use super::exchange::Exchange;
use crate::budget::{Content, Counted, Estimate, PromptSize, Tokenizer, estimate_tokens};
use crate::catalog::{self, Catalog};
use crate::usage::{Billed, Usage};
use crate::wire::envelope::Envelope;

/// A prompt that is text and nothing else.
#[derive(Clone, Copy, Debug)]
pub struct PlainText {
    content: Content,
    bytes: u64,
}

/// Returns what a prompt of text alone teaches once it was counted.
pub(super) fn plain_text(envelope: &Envelope<'_>) -> Option<PlainText> {
    let size = size_of(envelope);
    let plain = size.images + envelope.history.documents + size.uncountable == 0;
    plain.then(|| PlainText { content: content_of(envelope), bytes: envelope.body.len() as u64 })
}

/// Guesses on the high side what a request to a model may come to.
pub(super) fn estimate(exchange: &Exchange, envelope: &Envelope<'_>, model: &str) -> Estimate {
    let size = size_of(envelope);
    let runtime = &exchange.tercet.runtime;
    let (snapshot, tenant) = (&exchange.snapshot, exchange.tenant().into());
    let expected = runtime.forecast.expected(&tenant, &model.into());
    let density = runtime.densities.of(model, content_of(envelope));
    let readable = snapshot.catalog.model(model).and_then(|model| model.accepts.as_ref());
    let readable = readable.map_or(u64::MAX, |accepts| accepts.context_tokens);
    let tokenizer = tokenizer(&snapshot.catalog, model);
    let prompt = estimate_tokens(&size, tokenizer, density, counted(exchange, envelope, model), readable);
    let max_tokens = envelope.max_tokens.unwrap_or(0).min(OUTPUT_TOKENS_MAX);
    let terms = exchange.asked.terms;
    Estimate::new(prompt, envelope.history.cache_control, expected, max_tokens, |usage| {
        let work = Billed { model: model.to_owned(), usage: *usage, terms };
        snapshot.catalog.price(&work, exchange.timestamp).cost
    })
}

/// Learns from an answer that ended and was counted by the upstream.
pub(super) fn learn(exchange: &Exchange, bill: &Bill) {
    let Some(estimate) = exchange.estimate else { return };
    let (tenant, model) = (exchange.tenant().into(), exchange.sent_model().into());
    let (runtime, usage): (_, &Usage) = (&exchange.tercet.runtime, &bill.usage);
    runtime.forecast.observe(&tenant, &model, estimate.prompt_tokens, usage);
    // Work in several pieces (an advisor, a fallback) has read the prompt several times.
    if let (Some(plain), [_]) = (exchange.asked.plain, &bill.billed[..]) {
        runtime.densities.observe(&model, plain.content, plain.bytes, usage.prompt_tokens());
    }
}

/// Returns how a model counts; one that is not known counts as the newer ones do, which is more.
pub(super) fn tokenizer(catalog: &Catalog, model: &str) -> Tokenizer {
    let accepts = catalog.model(model).and_then(|model| model.accepts.as_ref());
    match accepts.map(|accepts| accepts.tokenizer) {
        Some(catalog::Tokenizer::Old) => Tokenizer::Old,
        _ => Tokenizer::New,
    }
}

fn size_of<'a>(envelope: &'a Envelope<'_>) -> PromptSize<'a> {
    let history = &envelope.history;
    let continued = envelope.thread.as_ref().is_some_and(|thread| thread.previous_message_id.is_some());
    let run_upstream =
        envelope.has_server_tools() || envelope.other_fields.iter().any(|field| field == "mcp_servers");
    PromptSize {
        body_bytes: envelope.body.len(),
        payload_bytes: history.payload_bytes,
        document_bytes: history.document_bytes,
        pictures: &history.pictures,
        images: history.images,
        documents: history.documents.saturating_sub(history.remote_documents),
        uncountable: history.remote_documents + usize::from(continued) + usize::from(run_upstream),
    }
}

/// Judged by the system prompt and the last message, which are most of what is read.
fn content_of(envelope: &Envelope<'_>) -> Content {
    let last =
        envelope.history.last_user_text.iter().copied().max_by_key(|text| text.len()).unwrap_or_default();
    let system = envelope.system.unwrap_or_default();
    Content::of(if last.len() > system.len() { last } else { system })
}

/// What the same model counted of the conversation before, where only text was added since.
fn counted(exchange: &Exchange, envelope: &Envelope<'_>, model: &str) -> Option<Counted> {
    let (by, tokens) = exchange.course.as_ref()?.counted.as_ref()?;
    let history = &envelope.history;
    let (from, to) = (history.spans.get(history.last_assistant?)?.start, history.spans.last()?.end);
    let added = envelope.body.get(from..to)?;
    let text_alone = memmem::find(added, b"\"source\"").is_none();
    let known = text_alone && by == model && *tokens > 0;
    known.then_some(Counted { tokens: *tokens, added_bytes: added.len() })
}

/// No model writes more, whatever `max_tokens` says; upstream refuses such a request.
const OUTPUT_TOKENS_MAX: u64 = 1_000_000;
