//! What an exchange said, copied as it passes where its tenant has it kept, and made into texts once it has ended.
//!
//! On the way nothing is done but to share the request's bytes and copy the answer's; reading, redacting and writing are
//! the keeper's (`gateway::content`). What is kept is what was sent and what came back: with the placeholders of guards,
//! without thinking, pictures, and definitions of tools. What was refused was not sent, and is not kept; nor are
//! batches, which are not looked into.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, header};

use super::exchange::Exchange;
use super::watch::starts_with;
use crate::config::Guard;
use crate::content::{Kept, Room, Said};
use crate::guard::Redactor;
use crate::journal::ExchangeRecord;
use crate::wire::json::Plain;
use crate::wire::meter::Decoder;
use crate::wire::said;
use crate::wire::texts::Texts;

/// What is copied of an exchange while it passes.
pub struct Copying {
    body: Bytes,
    heard: Vec<u8>,
    streamed: bool,
    is_cut: bool,
    room: Room,
}

/// What an exchange said, before it is read.
pub struct Heard {
    copying: Box<Copying>,
    record: Kept,
    guards: Arc<[Guard]>,
}

/// Begins to copy, where the tenant has texts kept and there is room.
pub(super) fn begin(exchange: &mut Exchange, body: &Bytes) {
    let config = &exchange.snapshot.config;
    let wanted = exchange.tenant_config().map_or(config.journal.content.enabled, |tenant| tenant.content);
    if !wanted || !exchange.endpoint.is_message() {
        return;
    }
    let Some(room) = exchange.tercet.runtime.content.room(body.len()) else { return };
    let copying = Copying { body: body.clone(), heard: Vec::new(), streamed: false, is_cut: false, room };
    exchange.content = Some(Box::new(copying));
}

/// Copies an answer of another that is given whole, where that is wanted.
pub(super) fn hear_whole(
    exchange: &mut Exchange,
    headers: &HeaderMap,
    whole: impl FnOnce() -> Option<Bytes>,
) {
    let Some(copying) = &mut exchange.content else { return };
    let Some(bytes) = whole() else { return };
    copying.of_stream(starts_with(headers, &header::CONTENT_TYPE, "text/event-stream"));
    let encoding = headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok());
    Decoder::for_encoding(encoding).decode(&bytes, |plain| copying.hear(plain));
}

/// Hands what was said to the keeper; `record` is what the journal will say of the exchange.
pub(super) fn end(exchange: &mut Exchange, record: &ExchangeRecord, withheld: bool) {
    let Some(mut copying) = exchange.content.take() else { return };
    if withheld {
        (copying.heard, copying.is_cut) = (Vec::new(), true);
    }
    let guards = exchange.tenant_config().map_or(&exchange.snapshot.config.guards, |tenant| &tenant.guards);
    let model = record.answered_model.as_ref().or(record.sent_model.as_ref());
    exchange.tercet.runtime.content.put(Heard {
        copying,
        record: Kept {
            request_id: record.request_id.clone(),
            timestamp: record.timestamp,
            tenant: record.tenant.clone(),
            user_id: record.user_id.clone(),
            model: model.unwrap_or(&record.requested_model).clone(),
            message_id: record.message_id.clone(),
            status: record.status,
            prompt: Vec::new(),
            answer: Vec::new(),
            redacted: 0,
            left_out: 0,
        },
        guards: Arc::clone(guards),
    });
}

impl Copying {
    /// Notes whether the answer comes as events, before any of it is heard.
    pub(super) fn of_stream(&mut self, streamed: bool) {
        self.streamed = streamed;
    }

    /// Copies the next piece of the answer, decoded, up to [`ANSWER_BYTES_MAX`] and while there is room.
    pub(super) fn hear(&mut self, plain: &[u8]) {
        self.is_cut |= self.heard.len() + plain.len() > ANSWER_BYTES_MAX || !self.room.grow(plain.len());
        if !self.is_cut {
            self.heard.extend_from_slice(plain);
        }
    }
}

impl Heard {
    /// Reads and redacts what was said; some milliseconds of work for a long conversation.
    #[must_use]
    pub fn kept(self) -> Kept {
        let Self { copying, mut record, guards } = self;
        let mut work = Work { redactor: Redactor::of(&guards), left: 0, redacted: 0, left_out: 0 };
        if let Ok(texts) = Texts::of_request(&copying.body) {
            record.prompt = work.prompt(&texts);
        } else {
            work.left_out += 1;
        }
        work.left = ANSWER_TEXT_BYTES_MAX;
        let answer =
            if copying.streamed { said::of_events(&copying.heard) } else { said::of_message(&copying.heard) };
        work.left_out += u64::from(copying.is_cut);
        for (by, text) in answer {
            record.answer.extend(work.said(by, &text));
        }
        (record.redacted, record.left_out) = (work.redacted, work.left_out);
        record
    }
}

struct Work {
    redactor: Redactor,
    left: usize,
    redacted: u64,
    left_out: u64,
}

impl Work {
    /// The system prompt within its part of the room, then the messages, the last first.
    fn prompt(&mut self, texts: &Texts<'_>) -> Vec<Said> {
        let of = |range: &std::ops::Range<usize>| texts.all.get(range.clone()).unwrap_or_default();
        self.left = SYSTEM_TEXT_BYTES_MAX;
        let mut prompt: Vec<Said> =
            of(&texts.system).iter().filter_map(|text| self.said("system", &Plain::of(text).text)).collect();
        self.left = MESSAGES_TEXT_BYTES_MAX;
        let mut messages = Vec::new();
        for turn in texts.turns.iter().rev() {
            let by = if turn.assistant { "assistant" } else { "user" };
            for text in of(&turn.texts).iter().rev() {
                if self.left == 0 {
                    // Not even read: a long conversation repeats what the requests before it said.
                    self.left_out += 1;
                } else {
                    messages.extend(self.said(by, &Plain::of(text).text));
                }
            }
        }
        prompt.extend(messages.into_iter().rev());
        prompt
    }

    fn said(&mut self, by: &str, text: &str) -> Option<Said> {
        if self.left == 0 {
            self.left_out += 1;
            return None;
        }
        let redacted = self.redactor.redact(text, self.left);
        self.left = self.left.saturating_sub(text.len().max(1));
        self.redacted += redacted.finds;
        self.left_out += u64::from(!redacted.whole);
        Some(Said::new(by, redacted.text))
    }
}

/// Most of an answer that is copied, as it comes.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Most text that is kept of an answer, of a system prompt, and of the messages.
const ANSWER_TEXT_BYTES_MAX: usize = 256 << 10;
const SYSTEM_TEXT_BYTES_MAX: usize = 64 << 10;
const MESSAGES_TEXT_BYTES_MAX: usize = 192 << 10;
