//! What prompts and answers said, of those tenants that want it kept: redacted, apart from the journal, for a while.
//!
//! Nothing here is the truth about anything: what finds no room in memory or on the disk is dropped and counted, and
//! delays nobody. [`Waiting`] is the queue between requests and the disk, [`Store`] the files. Nothing of it is told
//! over the network; who may read the folder may read the texts.

mod files;
mod segment;
mod waiting;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clock::rfc3339;
use crate::id::RequestId;

pub use files::{Erased, Stock, Store, erase, find, stocks};
pub use waiting::{Room, Waiting};

/// What one exchange said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The journal's id of the exchange; the first field, by which a line is found.
    pub request_id: RequestId,
    /// When the request came.
    #[serde(with = "rfc3339")]
    pub timestamp: Timestamp,
    /// Whose it is.
    pub tenant: String,
    /// Whose of the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The model that answered, or was asked.
    pub model: String,
    /// The upstream's id of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// The status the client saw.
    pub status: u16,
    /// What was asked, in order; of a long conversation its end.
    pub prompt: Vec<Said>,
    /// What was answered, as far as it came.
    pub answer: Vec<Said>,
    /// How many private texts were taken out.
    pub redacted: u64,
    /// Texts that are missing or cut, for want of room.
    pub left_out: u64,
}

/// One text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Who said it: `system`, `user`, `assistant`, or `tool_use` for a call's input.
    pub by: String,
    /// What.
    pub text: String,
}

impl Said {
    /// Returns one text of somebody.
    #[must_use]
    pub fn new(by: impl Into<String>, text: impl Into<String>) -> Self {
        Self { by: by.into(), text: text.into() }
    }
}

#[cfg(test)]
mod tests;
