//! Answers that can be given again: an exact, bounded, in-memory cache.
//!
//! A request is the same only if everything that could change its answer is: who may share it, the upstream and
//! the account there, the decided model, API version, betas, query, workspace and profile, and every byte of the
//! body but `stream` and `metadata.user_id`. Keys are BLAKE3 over length-prefixed fields at full width, and the
//! fields themselves are compared on a hit ([`Identity`]). An answer is kept in the form it came in and given in
//! either. What may be kept is a short table ([`bypass_reason`]); only complete, successful answers are
//! ([`Flight::written`]).
//! Authentication and tenant state are the pipeline's to check before any look-up.

mod cacheable;
mod flight;
mod identity;
mod packed;
mod retries;
mod stock;
mod twins;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dashmap::{DashMap, mapref};
use http::{HeaderMap, HeaderValue, header};
use jiff::Timestamp;
use moka::Expiry;
use moka::sync::Cache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::wire::forms;

pub use cacheable::{bypass_reason, is_keepable_ending};
pub use flight::{Departure, Facts, Flight, Reader, Source};
pub use identity::{CacheKey, Identity, Parts};
pub use packed::{
    Fetched, SHARED_HEAD_MAX_BYTES, SHARED_MAX_BYTES, SHARED_NAMES, pack, read_head, shared_name, unpack,
};
pub use retries::{Exact, Retries, WINDOW};
pub use stock::{Chosen, Payer, Stock};
pub use twins::{Sent, Twins};

/// Answers by key, weighed by their bytes and those of the requests they are compared with; safe to share between
/// threads.
pub struct AnswerCache {
    entries: Cache<CacheKey, Arc<Entry>>,
    flights: DashMap<CacheKey, (Identity, Arc<Flight>)>,
    sharing: Arc<Semaphore>,
}

/// What there is already to answer a request with.
pub enum Found<K> {
    /// A kept answer.
    Kept(K),
    /// The answer to an identical request, which is on its way.
    Join(Reader),
}

impl<K> Found<K> {
    /// Returns what the cache had to do with a request that is answered so.
    #[must_use]
    pub const fn result(&self) -> CacheResult {
        match self {
            Self::Kept(_) => CacheResult::Hit,
            Self::Join(_) => CacheResult::Joined,
        }
    }
}

/// Where a request stands with the cache.
pub enum Boarding<K> {
    /// There is an answer.
    Found(Found<K>),
    /// Nobody asked; this request is sent.
    Lead(Arc<Flight>),
}

struct Entry {
    identity: Identity,
    answer: Arc<CachedAnswer>,
    ttl: Duration,
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
    /// What is known of it.
    pub facts: Arc<Facts>,
    /// When it was complete.
    pub made_at: Timestamp,
}

/// What the cache had to do with a request; the value of `x-tercet-cache`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheResult {
    /// Answered from the cache.
    Hit,
    /// Shared the answer to an identical request on its way.
    Joined,
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
        Self { entries, flights: DashMap::new(), sharing: Arc::new(Semaphore::new(SHARING_MAX)) }
    }

    /// Looks for an answer that `accept` takes, kept or on its way; else begins one of at most `max_bytes`.
    ///
    /// However many ask at once, one leads. `may_join` is false where only an answer of its own will do.
    pub fn board<K>(
        &self,
        identity: &Identity,
        max_bytes: usize,
        may_join: bool,
        accept: impl Fn(Arc<CachedAnswer>) -> Option<K>,
    ) -> Boarding<K> {
        if let Some(kept) = self.get(identity).and_then(&accept) {
            return Boarding::Found(Found::Kept(kept));
        }
        let flight = Flight::new(max_bytes);
        match self.flights.entry(identity.key()) {
            mapref::entry::Entry::Occupied(mut running) => {
                let (flown, running_flight) = running.get();
                let joined = (may_join && flown == identity).then(|| running_flight.join()).flatten();
                if let Some(reader) = joined {
                    return Boarding::Found(Found::Join(reader));
                }
                running.insert((identity.clone(), Arc::clone(&flight)));
            }
            mapref::entry::Entry::Vacant(free) => {
                // It may have landed since the look: an answer is kept before its flight is taken off.
                if let Some(kept) = self.get(identity).and_then(&accept) {
                    return Boarding::Found(Found::Kept(kept));
                }
                free.insert((identity.clone(), Arc::clone(&flight)));
            }
        }
        Boarding::Lead(flight)
    }

    /// Looks for an answer that `accept` takes, kept or on its way, and begins none.
    pub fn find<K>(
        &self,
        identity: &Identity,
        accept: impl Fn(Arc<CachedAnswer>) -> Option<K>,
    ) -> Option<Found<K>> {
        if let Some(kept) = self.get(identity).and_then(accept) {
            return Some(Found::Kept(kept));
        }
        let running = self.flights.get(&identity.key()).filter(|running| running.0 == *identity)?;
        running.1.join().map(Found::Join)
    }

    /// Returns one of the places for telling others of an answer; it is held while they are told.
    ///
    /// # Errors
    /// When all are taken: the answer is then kept here alone.
    pub fn place_to_share(&self) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        Arc::clone(&self.sharing).try_acquire_owned()
    }

    /// Takes a flight off that has ended, so that nobody joins it any more.
    pub fn retire(&self, identity: &Identity, flight: &Arc<Flight>) {
        self.flights.remove_if(&identity.key(), |_, (_, held)| Arc::ptr_eq(held, flight));
    }

    /// Returns the answer kept for the same request, if it has not expired.
    #[must_use]
    pub fn get(&self, identity: &Identity) -> Option<Arc<CachedAnswer>> {
        let entry = self.entries.get(&identity.key())?;
        (entry.identity == *identity).then(|| Arc::clone(&entry.answer))
    }

    /// Keeps an answer for a time, in place of an older one.
    pub fn insert(&self, identity: &Identity, answer: Arc<CachedAnswer>, ttl: Duration) {
        let identity = identity.in_own_memory();
        self.entries.insert(identity.key(), Arc::new(Entry { identity, answer, ttl }));
    }

    /// Looks at the chosen answers; `expire` also drops them.
    ///
    /// Goes through all that is kept, so it is not for the path of a request. An answer that is kept meanwhile may or
    /// may not be among them.
    #[must_use]
    pub fn stock(&self, chosen: &Chosen, now: Timestamp, expire: bool) -> Stock {
        let mut stock = Stock::default();
        for (key, entry) in &self.entries {
            let facts = &entry.answer.facts;
            if !chosen.takes(&facts.payer) {
                continue;
            }
            let model = facts.answered_model.as_deref().unwrap_or_default();
            stock.count(model, u64::from(entry.weight_bytes()), entry.answer.age(now));
            if expire {
                self.entries.invalidate(&*key);
            }
        }
        stock
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

    /// Returns a whole answer that was just shared, described by `headers`; `None` where it was not written down.
    #[must_use]
    pub fn landed(flight: &Flight, headers: HeaderMap, made_at: Timestamp) -> Option<Arc<Self>> {
        let (facts, body) = (flight.facts()?, flight.written()?);
        let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let streamed = kind.is_some_and(|kind| kind.starts_with(b"text/event-stream"));
        Some(Arc::new(Self { headers, body, streamed, facts, made_at }))
    }

    /// Returns how long ago it was made.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Duration {
        now.duration_since(self.made_at).try_into().unwrap_or_default()
    }

    /// Returns the memory its bytes take.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        self.body.len() + headers
    }
}

impl CacheResult {
    /// Tells whether another request paid for the answer.
    #[must_use]
    pub const fn is_shared(self) -> bool {
        matches!(self, Self::Hit | Self::Joined)
    }

    /// Returns the value of `x-tercet-cache` and of the journal's `cache`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Joined => "joined",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
        }
    }
}

struct TimeToLive;

impl Expiry<CacheKey, Arc<Entry>> for TimeToLive {
    fn expire_after_create(&self, _: &CacheKey, entry: &Arc<Entry>, _: Instant) -> Option<Duration> {
        Some(entry.ttl)
    }

    fn expire_after_update(
        &self,
        _: &CacheKey,
        entry: &Arc<Entry>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.ttl)
    }
}

/// Answers that others are being told of at once.
const SHARING_MAX: usize = 64;

/// Room an entry takes besides its bytes: key, usage, map slots; measured in the hundreds of bytes.
const ENTRY_OVERHEAD_BYTES: usize = 512;

#[cfg(test)]
mod tests;
