//! Reading from an answer, as it passes, what it used and what it was.
//!
//! Counts are tokens. A stream's cumulative counts replace earlier ones field by field, and the split of cache
//! writes is the last one given. Where the upstream lists iterations they are what it bills, and [`Metered`]
//! holds their sum. A count that cannot be one (negative, fractional, over a million millions) makes the whole
//! usage unknown: an estimate is safer than a part. Nothing here is trusted to be small: a whole answer is kept
//! up to [`MAX_ANSWER_BYTES`], an event as far as [`crate::wire::sse`] keeps it, a name up to 256 bytes.

mod account;
mod decoder;

use account::Account;
pub use decoder::Decoder;

use crate::usage::{Billed, Usage};
use crate::wire::sse::SseReader;

/// Watches one answer.
#[derive(Debug)]
pub struct Meter {
    form: Form,
    account: Account,
    begun: bool,
    complete: bool,
}

#[derive(Debug)]
enum Form {
    Stream(SseReader),
    /// The answer so far; `None` once it was too long to keep.
    Message(Option<Vec<u8>>),
}

/// What one chunk brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The first content came with it: an event after `message_start` other than a ping, or any byte of a
    /// whole message.
    pub first_content: bool,
    /// The stream's `message_stop` ended in it.
    pub ended: bool,
    /// An error event ended in it.
    pub error: bool,
    /// How many `content_block_delta` events ended in it.
    pub deltas: u32,
}

/// What an answer used and was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metered {
    /// The sum of what is billed; `None` where the answer did not say or cannot be believed. In an answer that
    /// is not complete, output tokens are those of the last report before the cut.
    pub usage: Option<Usage>,
    /// What is billed, one entry for each iteration or one for all; empty where `usage` is `None`. Web
    /// searches are on the first entry.
    pub billed: Vec<Billed>,
    /// The model that answered.
    pub answered_model: Option<String>,
    /// The message's id.
    pub message_id: Option<String>,
    /// Why the model stopped.
    pub stop_reason: Option<String>,
    /// The id of the container used.
    pub container: Option<String>,
    /// The type of an error, from an event or from an error body.
    pub error_type: Option<String>,
    /// Names of `tool_use` blocks in order; at most 64.
    pub tool_calls: Vec<String>,
    /// Files that code execution made, by id; at most 64, ids up to 256 bytes.
    pub file_ids: Vec<String>,
    /// The answer holds a `thinking` or `redacted_thinking` block.
    pub has_thinking: bool,
    /// `message_stop` was seen, or the message is whole.
    pub complete: bool,
    /// The service tier that served it.
    pub service_tier: Option<String>,
}

/// The longest non-streaming answer that is metered.
pub const MAX_ANSWER_BYTES: usize = 64 << 20;

impl Meter {
    /// Watches an event stream.
    #[must_use]
    pub fn stream() -> Self {
        Self::of(Form::Stream(SseReader::default()))
    }

    /// Watches an answer that is one JSON document.
    #[must_use]
    pub fn message() -> Self {
        Self::of(Form::Message(Some(Vec::new())))
    }

    fn of(form: Form) -> Self {
        Self { form, account: Account::default(), begun: false, complete: false }
    }

    /// Reads the next chunk of the answer, decoded.
    pub fn feed(&mut self, chunk: &[u8]) -> Progress {
        let mut progress = Progress::default();
        let Self { form, account, begun, complete } = self;
        match form {
            Form::Stream(reader) => reader.feed(chunk, |name, data| {
                match name {
                    "message_start" => account.read_message_start(data),
                    "content_block_start" => account.read_block_start(data),
                    "message_delta" => account.read_message_delta(data),
                    "message_stop" => progress.ended = true,
                    "content_block_delta" => progress.deltas = progress.deltas.saturating_add(1),
                    "error" => {
                        progress.error = true;
                        account.read_error(data);
                    }
                    _ => {}
                }
                if !matches!(name, "message_start" | "ping" | "error") {
                    progress.first_content |= !std::mem::replace(begun, true);
                }
            }),
            Form::Message(kept) => {
                progress.first_content = !chunk.is_empty() && !std::mem::replace(begun, true);
                if let Some(answer) = kept {
                    if chunk.len() <= MAX_ANSWER_BYTES - answer.len() {
                        answer.extend_from_slice(chunk);
                    } else {
                        *kept = None;
                    }
                }
            }
        }
        *complete |= progress.ended;
        progress
    }

    /// Returns how many bytes of a whole answer are kept, to be read at its end.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        match &self.form {
            Form::Message(Some(answer)) => answer.len(),
            Form::Message(None) | Form::Stream(_) => 0,
        }
    }

    /// Gives up a whole answer: what it used will be unknown.
    pub fn give_up(&mut self) {
        if let Form::Message(kept) = &mut self.form {
            *kept = None;
        }
    }

    /// Returns what was read.
    #[must_use]
    pub fn finish(self) -> Metered {
        match self.form {
            Form::Stream(_) => self.account.into_metered(self.complete),
            Form::Message(answer) => meter_message_json(&answer.unwrap_or_default()),
        }
    }
}

impl Progress {
    /// Adds what another part of the same chunk brought.
    pub const fn add(&mut self, other: Self) {
        self.first_content |= other.first_content;
        self.ended |= other.ended;
        self.error |= other.error;
        self.deltas = self.deltas.saturating_add(other.deltas);
    }
}

/// Reads a whole message (or an error body), such as one result of a batch holds.
#[must_use]
pub fn meter_message_json(message: &[u8]) -> Metered {
    let mut account = Account::default();
    let complete = account.read_message(message);
    account.into_metered(complete)
}

#[cfg(test)]
mod tests;
