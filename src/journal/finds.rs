//! What guards found in an exchange, as its record holds it: kinds and counts, never a text.

use serde::{Deserialize, Serialize};

use crate::wire::json::write::push_text;

/// One kind of what guards found; never what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardFind {
    /// The kind, or the name of a guard.
    pub found: String,
    /// `prompt` or `answer`.
    #[serde(rename = "in")]
    pub side: String,
    /// `flag`, `redact` or `refuse`.
    pub action: String,
    /// How often.
    pub count: u64,
}

impl GuardFind {
    /// Writes it as a JSON object.
    pub(super) fn put(text: &mut String, find: &Self) {
        text.push_str("{\"found\":");
        push_text(text, &find.found);
        for (name, value) in [("in", &find.side), ("action", &find.action)] {
            text.push_str(",\"");
            text.push_str(name);
            text.push_str("\":");
            push_text(text, value);
        }
        text.push_str(",\"count\":");
        text.push_str(&find.count.to_string());
        text.push('}');
    }
}
