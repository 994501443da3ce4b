//! Guards: what is refused, told of, or taken out of prompts and answers, whoever asks and whatever is left to spend.
//!
//! They are asked in the order of the configuration, those of the gateway before the tenant's: first lengths, content
//! and tools of each, then each text of the prompt. What is redacted is replaced by a placeholder that a keyed hash
//! makes of the tenant and the text, so that it is the same every time without a state; the same request tells how to
//! undo it in the answer. Thinking is touched nowhere. Nothing of ours keeps, writes or tells what was found: only its
//! kind, and how often. `docs/guards.md` says what each kind is, and where the limits are.

mod answer;
mod bounds;
mod detect;
mod finds;
mod placeholder;
mod prompt;
mod redactor;
mod restore;

pub use answer::Look;
pub use finds::{Find, Finds};
pub use prompt::{Policy, Prompt, look};
pub use redactor::{Redacted, Redactor};
pub use restore::{Restoration, Stream};

/// Why a request or an answer is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What it is answered with.
    pub status: Status,
    /// Names the place and the kind, never the text.
    pub message: String,
}

/// What a refusal is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// 400
    Invalid,
    /// 403
    Forbidden,
    /// 413, with the most bytes allowed.
    TooLarge(u64),
}

#[cfg(test)]
pub(crate) mod tests {
    use crate::config::{Action, Guard};

    /// A guard that looks for nothing yet, in prompts.
    pub(crate) fn guard(action: Action) -> Guard {
        Guard {
            name: "pattern".to_owned(),
            action,
            prompt: true,
            answer: false,
            max_body_bytes: None,
            max_messages: None,
            max_output_tokens: None,
            max_text_bytes: None,
            allow_content: None,
            allow_tools: None,
            deny_tools: Vec::new(),
            detect: Vec::new(),
            patterns: Vec::new(),
        }
    }
}
