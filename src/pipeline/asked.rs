//! What is kept of a request's body once it is read.

use memchr::memmem;

use super::estimate::PlainText;
use crate::usage::Terms;
use crate::wire::envelope::Envelope;

/// Facts of the body that outlive it.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The model as named.
    pub model: String,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// `max_tokens`.
    pub max_tokens: Option<u64>,
    /// The thread it opens or continues.
    pub thread: Option<Option<String>>,
    /// Tools called in the turn before, and whether their results were errors.
    pub tool_results: Vec<(String, bool)>,
    /// Tools whose result failed for the third time in a row with this request.
    pub failed_thrice: Vec<String>,
    /// Terms the request asks for.
    pub terms: Terms,
    /// Its prompt, where that is text and nothing else.
    pub plain: Option<PlainText>,
    /// Whether it asks for thinking; `None` where it does not say.
    pub thinks: Option<bool>,
    /// Whether it may name files; looked for where files belong to tenants, and where there are fallbacks.
    pub names_files: bool,
    /// Whether it holds what only one account can read; known where there are fallbacks.
    pub bound: bool,
}

impl Asked {
    pub(super) fn of(envelope: &Envelope<'_>) -> Self {
        let history = &envelope.history;
        let calls = history.last_tool_calls.iter().map(ToString::to_string);
        Self {
            model: envelope.model.to_string(),
            stream: envelope.stream,
            max_tokens: envelope.max_tokens,
            thread: envelope
                .thread
                .as_ref()
                .map(|thread| thread.previous_message_id.as_ref().map(ToString::to_string)),
            tool_results: calls.zip(history.last_tool_results.iter().copied()).collect(),
            failed_thrice: history.failed_thrice.iter().map(ToString::to_string).collect(),
            terms: terms_of(envelope),
            thinks: envelope.thinking.as_ref().map(|thinking| thinking.kind != "disabled"),
            plain: None,
            names_files: false,
            bound: false,
        }
    }
}

fn terms_of(envelope: &Envelope<'_>) -> Terms {
    Terms {
        fast: envelope.speed.as_deref() == Some("fast"),
        us_only: envelope.inference_geo.as_deref() == Some("us"),
        batch: false,
        web_searches: 0,
    }
}

/// Tells whether a body names objects of an account besides files, or holds thinking, which may be its account's alone.
pub(super) const fn is_bound(envelope: &Envelope<'_>) -> bool {
    envelope.thread.is_some() || envelope.container.is_some() || envelope.history.has_thinking
}

/// Tells whether a body may name files. What a block is called is the upstream's to know, so all of it is searched.
pub(super) fn names_files(envelope: &Envelope<'_>) -> bool {
    let holds = |needle: &[u8]| memmem::find(envelope.body, needle).is_some();
    // As it is, or with an escape for any of its letters; to search for a backslash takes long in code.
    holds(b"file_id") || (envelope.numbered_escapes && holds(br"\u00"))
}
