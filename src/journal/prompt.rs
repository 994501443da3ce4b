//! What a record says of a prompt and the upstream's prompt cache: sizes, hashes and times, no text.

use serde::{Deserialize, Serialize};

use crate::wire::json::write::{Object, push_decimal, push_text};

/// What of a prompt could be read from the upstream's prompt cache.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptRecord {
    /// The narrowest workload it belongs to, 16 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// Tools and system prompt as they came, hashed, 16 hex digits; `None` where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// Their tokens, by their share of the bytes of the body.
    pub head_tokens: u64,
    /// What its breakpoints ask for.
    pub marks: Marks,
    /// Tokens of the prompt before it in its conversation; 0 for the first.
    pub before_tokens: u64,
    /// Seconds since that was answered, where its model kept it warm then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_s: Option<u64>,
}

/// How long the breakpoints of a request ask for their prefixes to be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Marks {
    /// There are none.
    #[default]
    #[serde(rename = "none")]
    None,
    /// Five minutes.
    #[serde(rename = "5m")]
    FiveMinutes,
    /// One of them for an hour.
    #[serde(rename = "1h")]
    Hour,
}

impl Marks {
    /// Returns the word in the record.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::FiveMinutes => "5m",
            Self::Hour => "1h",
        }
    }
}

impl PromptRecord {
    /// Writes it as a member of a record.
    pub(super) fn put(&self, object: &mut Object) {
        let text = object.member("prompt_cache");
        text.push('{');
        for (name, value) in [("workload", &self.workload), ("head", &self.head)] {
            if let Some(value) = value {
                text.push('"');
                text.push_str(name);
                text.push_str("\":");
                push_text(text, value);
                text.push(',');
            }
        }
        text.push_str("\"head_tokens\":");
        push_decimal(text, self.head_tokens);
        text.push_str(",\"marks\":\"");
        text.push_str(self.marks.name());
        text.push_str("\",\"before_tokens\":");
        push_decimal(text, self.before_tokens);
        if let Some(idle_s) = self.idle_s {
            text.push_str(",\"idle_s\":");
            push_decimal(text, idle_s);
        }
        text.push('}');
    }
}
