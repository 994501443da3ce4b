//! What a conversation has been through: where it went, who wrote its thinking, what is warm, what went wrong.
//!
//! A value: it is looked up before a request is decided, and recorded when the request is sent and when its answer
//! has ended. It holds names, counts and hashes, no text.

use serde::{Deserialize, Serialize};

use super::Stay;
use crate::usage::Usage;
use crate::wire::envelope::Envelope;
use crate::wire::json::{Cursor, Kind, Malformed};

/// The state of a conversation after one of its requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Past {
    /// The request it was recorded by, by our id.
    pub by: String,
    /// The model that was asked for.
    pub asked: String,
    /// The model it was sent to.
    pub model: String,
    /// Two requests alike asked for or went to different models; nothing else here then counts.
    #[serde(skip_serializing_if = "is_default")]
    pub parted: bool,
    /// How many requests so far, this one included.
    pub turn: u32,
    /// The answer has ended, and what is here of it is known.
    #[serde(skip_serializing_if = "is_default")]
    pub answered: bool,
    /// Models that wrote thinking in it; at most 4, then [`ANYONE`].
    #[serde(skip_serializing_if = "is_default")]
    pub wrote: Vec<String>,
    /// What the prompt cache holds of it, by model; at most 3.
    #[serde(skip_serializing_if = "is_default")]
    pub warm: Vec<Warm>,
    /// Tool results in a row that failed, up to now.
    #[serde(skip_serializing_if = "is_default")]
    pub failing: u32,
    /// The last tool calls by name and input, hashed; 0 for none.
    #[serde(skip_serializing_if = "is_default")]
    pub calls: u64,
    /// How often those came in a row.
    #[serde(skip_serializing_if = "is_default")]
    pub repeats: u32,
    /// How the last answer ended, where that is trouble.
    #[serde(skip_serializing_if = "is_default")]
    pub ended: Option<Ended>,
    /// Tokens of the last prompt, as the upstream counted them.
    #[serde(skip_serializing_if = "is_default")]
    pub prompt_tokens: u64,
    /// When the last answer had ended, in seconds of Unix time; not written down.
    #[serde(skip)]
    pub answered_at_s: i64,
}

/// A prefix in the prompt cache of one model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warm {
    /// The model.
    pub model: String,
    /// Its tokens, as that model counts them.
    pub tokens: u64,
    /// When it goes cold unless it is used, in seconds of Unix time.
    pub until_s: i64,
    /// How long each use keeps it warm, in seconds.
    pub ttl_s: i64,
}

/// An end of an answer that did not satisfy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ended {
    /// The model refused.
    Refused,
    /// `max_tokens` cut it.
    Truncated,
}

impl Ended {
    /// Returns the name it is written by.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Truncated => "truncated",
        }
    }
}

/// What an answer says for the next turn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answered<'a> {
    /// What it used.
    pub usage: Usage,
    /// Why the model stopped.
    pub stop_reason: Option<&'a str>,
    /// It holds thinking.
    pub has_thinking: bool,
    /// When it ended, in seconds of Unix time.
    pub at_s: i64,
}

impl Past {
    /// Notes what the tools did since the last answer: to be called once, before the request is decided.
    pub fn note_tools(&mut self, envelope: &Envelope<'_>) {
        for failed in &envelope.history.last_tool_results {
            self.failing = if *failed { self.failing.saturating_add(1) } else { 0 };
        }
        let calls = if envelope.in_tool_loop() { calls(envelope) } else { 0 };
        self.repeats = match calls {
            0 => 0,
            same if same == self.calls => self.repeats.saturating_add(1),
            _ => 1,
        };
        self.calls = calls;
        if !envelope.in_tool_loop() {
            self.failing = 0;
        }
    }

    /// Returns the state with one more request, sent to `model`; `before` as it was decided on.
    #[must_use]
    pub fn sent(before: Option<&Self>, envelope: &Envelope<'_>, by: &str, model: &str) -> Self {
        let known = before.filter(|past| !past.parted && past.asked == envelope.model);
        let mut past = known.cloned().unwrap_or_default();
        match known {
            Some(before) if !before.answered => past.note_writer(&before.model),
            None if envelope.history.has_thinking => past.note_writer(ANYONE),
            _ => {}
        }
        if past.model != model {
            (past.failing, past.repeats) = (0, 0);
        }
        by.clone_into(&mut past.by);
        past.asked = envelope.model.clone().into_owned();
        model.clone_into(&mut past.model);
        past.turn = past.turn.saturating_add(1);
        (past.answered, past.ended) = (false, None);
        past
    }

    /// Notes what came back.
    pub fn note_answer(&mut self, answer: &Answered<'_>) {
        self.answered = true;
        if answer.has_thinking {
            let model = self.model.clone();
            self.note_writer(&model);
        }
        self.ended = match answer.stop_reason {
            Some("refusal") => Some(Ended::Refused),
            Some("max_tokens") => Some(Ended::Truncated),
            _ => None,
        };
        self.prompt_tokens = answer.usage.prompt_tokens();
        self.answered_at_s = answer.at_s;
        let before = self.warm.iter().find(|warm| warm.model == self.model);
        let warm = Warm::of(&self.model, &answer.usage, before, answer.at_s);
        self.warm.retain(|other| other.model != self.model && other.until_s > answer.at_s);
        self.warm.extend(warm);
        self.warm.truncate(WARM_MAX);
    }

    /// Takes the conversation to have gone to `model` instead, and its thinking and cache with it.
    pub fn went_to(&mut self, model: &str) {
        let before = std::mem::replace(&mut self.model, model.to_owned());
        let names = self.wrote.iter_mut().chain(self.warm.iter_mut().map(|warm| &mut warm.model));
        names.filter(|name| **name == before).for_each(|name| model.clone_into(name));
    }

    /// Returns where a request that asks for `asked` stays.
    #[must_use]
    pub fn stay(&self, asked: &str) -> Stay<'_> {
        if self.parted || self.asked != asked { Stay::Parted } else { Stay::With(&self.model) }
    }

    /// Takes over what another request alike left: where the two went different ways the conversation is nobody's, and
    /// either answer may be the one that is answered. Of the same request what is known of its answer stays.
    pub fn follow(&mut self, before: &Self) {
        if before.by == self.by && before.answered && !self.answered {
            let parted = self.parted;
            self.clone_from(before);
            self.parted |= parted;
        }
        let elsewhere = before.asked != self.asked || before.model != self.model;
        self.parted |= before.parted || (elsewhere && before.by != self.by);
        self.join(before);
    }

    /// Adds whoever may have written thinking in an answer to another request alike.
    fn join(&mut self, other: &Self) {
        other.wrote.iter().for_each(|writer| self.note_writer(writer));
        if !other.answered && other.by != self.by {
            self.note_writer(&other.model);
        }
    }

    /// Tells whether `reads` holds for everyone who may have written thinking in it.
    pub(super) fn readable(&self, reads: impl Fn(&str) -> bool) -> bool {
        let last = (!self.answered).then_some(&self.model);
        self.wrote.iter().chain(last).all(|writer| reads(writer))
    }

    /// Returns the tokens of it that `model` has warm at `at_s`.
    pub(super) fn warm_tokens(&self, model: &str, at_s: i64) -> u64 {
        let warm = self.warm.iter().find(|warm| warm.model == model && warm.until_s > at_s);
        warm.map_or(0, |warm| warm.tokens)
    }

    /// Returns the tokens of it that are warm at `at_s` wherever it went: what the model it left, or never went
    /// to, would have had warm too.
    #[must_use]
    pub fn warmest(&self, at_s: i64) -> u64 {
        self.warm.iter().filter(|warm| warm.until_s > at_s).map(|warm| warm.tokens).max().unwrap_or(0)
    }

    fn note_writer(&mut self, model: &str) {
        if self.wrote.iter().any(|writer| writer == model) {
            return;
        }
        let name = if self.wrote.len() < WRITERS_MAX { model } else { ANYONE };
        if self.wrote.len() <= WRITERS_MAX {
            self.wrote.push(name.to_owned());
        }
    }
}

impl Warm {
    /// Returns what an answer left warm; `None` where it neither read nor wrote.
    pub(super) fn of(model: &str, usage: &Usage, before: Option<&Self>, at_s: i64) -> Option<Self> {
        let written = usage.cache_write_5m_tokens.saturating_add(usage.cache_write_1h_tokens);
        let tokens = usage.cache_read_tokens.saturating_add(written);
        // What was only read keeps the time it was written for.
        let ttl_s = match (usage.cache_write_1h_tokens, before) {
            (1.., _) => HOUR_S,
            (0, Some(before)) => before.ttl_s,
            (0, None) => FIVE_MINUTES_S,
        };
        let until_s = at_s.saturating_add(ttl_s);
        (tokens > 0).then(|| Self { model: model.to_owned(), tokens, until_s, ttl_s })
    }
}

/// Hashes the tool calls of the last answer, by name and input; 0 where there are none.
fn calls(envelope: &Envelope<'_>) -> u64 {
    let history = &envelope.history;
    let span = history.last_assistant.and_then(|index| history.spans.get(index));
    let Some(message) = span.and_then(|span| envelope.body.get(span.clone())) else { return 0 };
    let mut hasher = blake3::Hasher::new();
    let read = Cursor::new(message).and_then(|mut cursor| hash_calls(&mut cursor, &mut hasher));
    if !read.is_ok_and(|calls| calls > 0) {
        return 0;
    }
    let hash = hasher.finalize();
    hash.as_bytes().iter().take(8).fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte)).max(1)
}

fn hash_calls(cursor: &mut Cursor<'_>, hasher: &mut blake3::Hasher) -> Result<u32, Malformed> {
    let mut calls = 0;
    cursor.each_field(|cursor, name| {
        if name.raw != "content" || cursor.kind()? != Kind::Array {
            return cursor.skip().map(drop);
        }
        cursor
            .each_item(|cursor| {
                if cursor.kind()? != Kind::Object {
                    return cursor.skip().map(drop);
                }
                let (mut is_call, mut parts) = (false, [&b""[..]; 2]);
                cursor.each_field(|cursor, name| {
                    let span = cursor.skip()?;
                    match name.raw {
                        "type" => is_call = cursor.slice(span) == br#""tool_use""#,
                        "name" => parts[0] = cursor.slice(span),
                        "input" => parts[1] = cursor.slice(span),
                        _ => {}
                    }
                    Ok(())
                })?;
                if is_call {
                    calls += 1;
                    parts.iter().for_each(|part| {
                        hasher.update(&(part.len() as u64).to_le_bytes());
                        hasher.update(part);
                    });
                }
                Ok(())
            })
            .map(drop)
    })?;
    Ok(calls)
}

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Stands for a writer of thinking that is not known; nobody is known to read it.
pub const ANYONE: &str = "*";
pub(super) const WRITERS_MAX: usize = 4;
pub(super) const WARM_MAX: usize = 3;
const FIVE_MINUTES_S: i64 = 300;
const HOUR_S: i64 = 3_600;
