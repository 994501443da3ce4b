//! Answers that can be given again: an exact, bounded, in-memory cache.
//!
//! A request is the same only if everything that could change its answer is: who may share it, the upstream and
//! the account there, the decided model, API version, betas, query, workspace and profile, and every byte of the body. Keys are BLAKE3 over
//! length-prefixed fields at full width, so two different requests never share one. What may be kept is a
//! short table ([`bypass_reason`]); only complete, successful answers are ([`Recording::finish`]).
//! Authentication and tenant state are the pipeline's to check before any look-up.

mod key;
mod recording;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use moka::Expiry;
use moka::sync::Cache;

use crate::usage::Billed;
use crate::wire::envelope::Envelope;

pub use key::{CacheKey, KeyParts};
pub use recording::Recording;

/// Answers by key, weighed by their bytes; safe to share between threads.
pub struct AnswerCache {
    entries: Cache<CacheKey, Arc<CachedAnswer>>,
}

/// A complete, successful answer as it was relayed.
#[derive(Debug)]
pub struct CachedAnswer {
    /// The upstream's headers that describe the answer, hop-by-hop and per-request ones left out.
    pub headers: HeaderMap,
    /// The body, byte for byte.
    pub body: Bytes,
    /// What the upstream billed for it, which a hit saves.
    pub billed: Vec<Billed>,
    /// The model that answered.
    pub answered_model: Option<String>,
    /// The message's id.
    pub message_id: Option<String>,
    /// Why the answer ended.
    pub stop_reason: Option<String>,
    /// How long it may be given again.
    pub ttl: Duration,
}

/// What the cache had to do with a request; the value of `x-tercet-cache`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheResult {
    /// Answered from the cache.
    Hit,
    /// Looked up and not found, or to be refreshed.
    Miss,
    /// Not looked up: off, or not cacheable.
    Bypass,
}

impl AnswerCache {
    /// Returns an empty cache of at most `max_bytes` of bodies and headers.
    #[must_use]
    pub fn new(max_bytes: u64) -> Self {
        let entries = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|_: &CacheKey, answer: &Arc<CachedAnswer>| answer.weight_bytes())
            .expire_after(TimeToLive)
            .build();
        Self { entries }
    }

    /// Returns the answer kept under `key`, if it has not expired.
    #[must_use]
    pub fn get(&self, key: &CacheKey) -> Option<Arc<CachedAnswer>> {
        self.entries.get(key)
    }

    /// Keeps an answer, in place of an older one.
    pub fn insert(&self, key: CacheKey, answer: CachedAnswer) {
        self.entries.insert(key, Arc::new(answer));
    }

    /// Returns how many bytes are kept, as of the last clean-up.
    #[must_use]
    pub fn weight_bytes(&self) -> u64 {
        self.entries.weighted_size()
    }
}

impl CachedAnswer {
    fn weight_bytes(&self) -> u32 {
        let headers: usize = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        u32::try_from(self.body.len() + headers + ENTRY_OVERHEAD_BYTES).unwrap_or(u32::MAX)
    }
}

impl CacheResult {
    /// Returns the value of `x-tercet-cache` and of the journal's `cache`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
        }
    }
}

/// Returns why an answer to this request must never be given again, or `None` where it may.
///
/// Threads and containers hold state upstream, server tools act or look at a changing world, a continuation
/// credit is spent once, a URL or file may hold something else tomorrow, fallbacks depend on the moment, and a
/// field we do not know may mean any of that. Lists that were cut at their bound may hide one.
#[must_use]
pub fn bypass_reason(envelope: &Envelope<'_>) -> Option<&'static str> {
    if envelope.max_tokens == Some(0) {
        return Some("prewarm");
    }
    if envelope.history.remote_sources > 0 {
        return Some("remote_source");
    }
    if envelope.fallbacks {
        return Some("fallbacks");
    }
    if envelope.tool_list.len() >= TOOLS_BOUND
        || envelope.other_fields.len() >= NAMES_BOUND
        || envelope.history.other_blocks.len() >= NAMES_BOUND
    {
        return Some("too_many");
    }
    if envelope.thread.is_some() {
        return Some("thread");
    }
    if envelope.container.is_some() {
        return Some("container");
    }
    if envelope.has_server_tools() {
        return Some("server_tool");
    }
    if envelope.other_fields.iter().any(|field| !KEEPABLE_FIELDS.contains(&field.as_ref())) {
        return Some("field");
    }
    None
}

/// Tells whether an answer that ended so may be given again: the model finished, or reached a bound the client set.
///
/// A refusal may not stand, a pause is to be continued once, and an ending we do not know may mean anything.
#[must_use]
pub fn is_keepable_ending(stop_reason: Option<&str>) -> bool {
    stop_reason.is_some_and(|reason| KEEPABLE_ENDINGS.contains(&reason))
}

struct TimeToLive;

impl Expiry<CacheKey, Arc<CachedAnswer>> for TimeToLive {
    fn expire_after_create(&self, _: &CacheKey, answer: &Arc<CachedAnswer>, _: Instant) -> Option<Duration> {
        Some(answer.ttl)
    }

    fn expire_after_update(
        &self,
        _: &CacheKey,
        answer: &Arc<CachedAnswer>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(answer.ttl)
    }
}

/// Top-level fields besides those of the envelope that leave an answer repeatable.
const KEEPABLE_FIELDS: [&str; 5] = ["metadata", "cache_control", "context_management", "betas", "safeguards"];

/// Reasons to stop after which an answer is kept.
const KEEPABLE_ENDINGS: [&str; 4] = ["end_turn", "tool_use", "stop_sequence", "max_tokens"];

/// Tools of a request that are read; from there on some may not have been.
const TOOLS_BOUND: usize = 512;

/// Names of other fields and of block types that are read, likewise.
const NAMES_BOUND: usize = 64;

/// Room an entry takes besides its bytes: key, usage, map slots; measured in the hundreds of bytes.
const ENTRY_OVERHEAD_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::envelope::read;

    fn reason(fields: &str) -> Option<&'static str> {
        let body = format!(r#"{{"model":"m",{fields}}}"#);
        bypass_reason(&read(body.as_bytes()).unwrap())
    }

    #[test]
    fn what_may_answer_otherwise_tomorrow_is_never_looked_up() {
        let message = |block: &str| format!(r#""messages":[{{"role":"user","content":[{block}]}}]"#);
        let plain = message(r#"{"type":"text","text":"hello"}"#);
        let tools = |count: usize| format!(r#""tools":[{}]"#, vec![r#"{"name":"t"}"#; count].join(","));
        let table = [
            (format!(r#""max_tokens":1,{plain}"#), None),
            (format!(r#""max_tokens":0,{plain}"#), Some("prewarm")),
            (
                message(r#"{"type":"image","source":{"type":"url","url":"https://a/b"}}"#),
                Some("remote_source"),
            ),
            (message(r#"{"type":"document","source":{"type":"file","file_id":"f"}}"#), Some("remote_source")),
            (r#""fallbacks":"default""#.to_owned(), Some("fallbacks")),
            (r#""fallbacks":[{"model":"n"}]"#.to_owned(), Some("fallbacks")),
            (r#""fallbacks":null"#.to_owned(), None),
            (tools(511), None),
            (tools(512), Some("too_many")),
            (r#""container":"c""#.to_owned(), Some("container")),
            (r#""future":1"#.to_owned(), Some("field")),
        ];
        for (fields, expected) in table {
            assert_eq!(reason(&fields), expected, "{}", &fields[..fields.len().min(80)]);
        }
    }

    #[test]
    fn only_an_answer_that_the_model_finished_is_kept() {
        for reason in ["refusal", "pause_turn", "model_context_window_exceeded", "tomorrow", ""] {
            assert!(!is_keepable_ending(Some(reason)), "{reason}");
        }
        assert!(!is_keepable_ending(None));
        assert!(is_keepable_ending(Some("end_turn")));
    }
}
