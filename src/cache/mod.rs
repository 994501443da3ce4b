//! Answers that can be given again: an exact, bounded, in-memory cache.
//!
//! A request is the same only if everything that could change its answer is: who may share it, the upstream and
//! the account there, the decided model, API version, betas, query, workspace and profile, and every byte of the
//! body but `stream` and `metadata.user_id`. Keys are BLAKE3 over length-prefixed fields at full width, and the
//! fields themselves are compared on a hit ([`Identity`]). An answer is kept in the form it came in and given in
//! either. What may be kept is a short table ([`bypass_reason`]); only complete, successful answers are
//! ([`Recording::finish`]).
//! Authentication and tenant state are the pipeline's to check before any look-up.

mod cacheable;
mod identity;
mod recording;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use jiff::Timestamp;
use moka::Expiry;
use moka::sync::Cache;

use crate::usage::Billed;
use crate::wire::forms;

pub use cacheable::{bypass_reason, is_keepable_ending};
pub use identity::{CacheKey, Identity, Parts};
pub use recording::Recording;

/// Answers by key, weighed by their bytes and those of the requests they are compared with; safe to share between
/// threads.
pub struct AnswerCache {
    entries: Cache<CacheKey, Arc<Entry>>,
}

struct Entry {
    identity: Identity,
    answer: Arc<CachedAnswer>,
}

/// A complete, successful answer as it was relayed.
#[derive(Debug)]
pub struct CachedAnswer {
    /// The upstream's headers that describe the answer, hop-by-hop and per-request ones left out.
    pub headers: HeaderMap,
    /// The body, byte for byte.
    pub body: Bytes,
    /// Whether it came as events.
    pub streamed: bool,
    /// What the upstream billed for it, which a hit saves.
    pub billed: Vec<Billed>,
    /// The model that answered.
    pub answered_model: Option<String>,
    /// The message's id.
    pub message_id: Option<String>,
    /// Why the answer ended.
    pub stop_reason: Option<String>,
    /// When it was complete.
    pub made_at: Timestamp,
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
    /// Returns an empty cache of at most `max_bytes` of answers and requests.
    #[must_use]
    pub fn new(max_bytes: u64) -> Self {
        let entries = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|_: &CacheKey, entry: &Arc<Entry>| entry.weight_bytes())
            .expire_after(TimeToLive)
            .build();
        Self { entries }
    }

    /// Returns the answer kept for the same request, if it has not expired.
    #[must_use]
    pub fn get(&self, identity: &Identity) -> Option<Arc<CachedAnswer>> {
        let entry = self.entries.get(&identity.key())?;
        (entry.identity == *identity).then(|| Arc::clone(&entry.answer))
    }

    /// Keeps an answer, in place of an older one.
    pub fn insert(&self, identity: Identity, answer: Arc<CachedAnswer>) {
        self.entries.insert(identity.key(), Arc::new(Entry { identity, answer }));
    }

    /// Returns how many bytes are kept, as of the last clean-up.
    #[must_use]
    pub fn weight_bytes(&self) -> u64 {
        self.entries.weighted_size()
    }
}

impl Entry {
    fn weight_bytes(&self) -> u32 {
        let bytes = self.identity.weight_bytes() + self.answer.weight_bytes() + ENTRY_OVERHEAD_BYTES;
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

impl CachedAnswer {
    /// Returns headers and body as events or as one message; `None` where the answer has no such form.
    ///
    /// In the form it came in it is byte for byte what came; in the other, what the official clients make of it.
    #[must_use]
    pub fn in_form(&self, streamed: bool) -> Option<(HeaderMap, Bytes)> {
        if streamed == self.streamed {
            return Some((self.headers.clone(), self.body.clone()));
        }
        if self.headers.contains_key(header::CONTENT_ENCODING) {
            return None;
        }
        let (made, kind) = match streamed {
            true => (forms::events_of_message(&self.body)?, "text/event-stream; charset=utf-8"),
            false => (forms::message_of_events(&self.body)?, "application/json"),
        };
        let mut headers = self.headers.clone();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        Some((headers, made.into()))
    }

    fn weight_bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        self.body.len() + headers
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

struct TimeToLive;

impl Expiry<CacheKey, Arc<Entry>> for TimeToLive {
    fn expire_after_create(&self, _: &CacheKey, entry: &Arc<Entry>, _: Instant) -> Option<Duration> {
        Some(entry.answer.ttl)
    }

    fn expire_after_update(
        &self,
        _: &CacheKey,
        entry: &Arc<Entry>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.answer.ttl)
    }
}

/// Room an entry takes besides its bytes: key, usage, map slots; measured in the hundreds of bytes.
const ENTRY_OVERHEAD_BYTES: usize = 512;
