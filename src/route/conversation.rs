//! Where conversations went, so that they stay there: a bounded memory, forgotten with the process.
//!
//! A conversation is known by its tenant, the session and agent its client names, its system prompt where no
//! session is named, and the text of its first user turn; cache markers, which move from turn to turn, do not
//! count. Two conversations that begin alike and went to different models make the place ambiguous, and an
//! ambiguous or forgotten conversation goes where it was asked: upward, where all of its thinking is readable.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use crate::wire::envelope::Envelope;

/// Names a conversation.
pub type ConversationKey = [u8; 32];

/// The model each conversation was last sent to; at most 100,000, each for a day after its last turn.
pub struct Conversations(Cache<ConversationKey, Place>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Model(Arc<str>),
    Ambiguous,
}

/// Returns the conversation's name.
#[must_use]
pub fn conversation_key(
    tenant: &str,
    session: Option<&str>,
    agent: Option<&str>,
    envelope: &Envelope<'_>,
) -> ConversationKey {
    let mut hasher = blake3::Hasher::new();
    let mut add = |field: &[u8]| {
        hasher.update(&(field.len() as u64).to_le_bytes());
        hasher.update(field);
    };
    add(tenant.as_bytes());
    add(session.unwrap_or("").as_bytes());
    add(agent.unwrap_or("").as_bytes());
    if session.is_none() {
        add(envelope.system.unwrap_or(b""));
    }
    envelope.history.first_user_text.iter().for_each(|text| add(text));
    *hasher.finalize().as_bytes()
}

impl Conversations {
    /// Returns the model the conversation was last sent to, where that is certain.
    #[must_use]
    pub fn model(&self, key: &ConversationKey) -> Option<Arc<str>> {
        match self.0.get(key)? {
            Place::Model(model) => Some(model),
            Place::Ambiguous => None,
        }
    }

    /// Notes where a turn went; `begins` is a turn without history.
    pub fn sent(&self, key: ConversationKey, model: &str, begins: bool) {
        let place = match self.0.get(&key) {
            Some(Place::Ambiguous) => Place::Ambiguous,
            Some(Place::Model(before)) if begins && &*before != model => Place::Ambiguous,
            _ => Place::Model(model.into()),
        };
        self.0.insert(key, place);
    }
}

impl Default for Conversations {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(CONVERSATIONS_MAX).time_to_idle(FORGOTTEN_AFTER).build())
    }
}

const CONVERSATIONS_MAX: u64 = 100_000;
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_stays_where_it_was_sent() {
        let conversations = Conversations::default();
        conversations.sent([1; 32], "claude-haiku-5-5", true);
        conversations.sent([1; 32], "claude-haiku-5-5", false);
        assert_eq!(conversations.model(&[1; 32]).as_deref(), Some("claude-haiku-5-5"));
        assert_eq!(conversations.model(&[2; 32]), None);
    }

    #[test]
    fn conversations_that_begin_alike_and_part_are_nobodys() {
        let conversations = Conversations::default();
        conversations.sent([1; 32], "claude-haiku-5-5", true);
        conversations.sent([1; 32], "claude-opus-5-5", true);
        conversations.sent([1; 32], "claude-opus-5-5", false);
        assert_eq!(conversations.model(&[1; 32]), None);
    }
}
