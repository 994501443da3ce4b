//! Everything the simulated upstream remembers: what it saw, what it would bill, scripts, caches and stored objects.
//!
//! One mutex, never held across an await. Time is the wall clock plus an offset that tests move forward. Bounds: the
//! last 1,000 requests, 100,000 billed calls, 10,000 drops, threads, batches and files each; the oldest go first.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::Options;
use super::batches::Batch;
use super::behaviour::{Behaviour, Entry};
use super::files::File;
use super::prices::BilledTokens;
use super::prompt_cache::PromptCache;
use super::thinking::DroppedThinking;
use super::threads::Thread;

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// Path and query as sent.
    pub path: String,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub http: String,
    /// Headers in the order received, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body as sent, before content decoding.
    pub body: Vec<u8>,
}

impl Seen {
    /// Returns the first header of this name, given in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A call as the real upstream would have billed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BilledCall {
    /// The `request-id` of the answer.
    pub request_id: String,
    /// The id of the message.
    pub message_id: String,
    /// The organisation billed.
    pub account: String,
    /// The model that answered.
    pub model: String,
    /// From a batch: half price.
    pub batch: bool,
    /// Token counts.
    #[serde(flatten)]
    pub tokens: BilledTokens,
    /// Web searches.
    pub web_searches: u64,
    /// The price in nano-dollars.
    pub nanousd: u64,
    /// When it was billed, in milliseconds since 1970.
    pub at_ms: i64,
    /// False where the client went away or the stream was cut before its end.
    pub complete: bool,
}

/// What happens once an answer has gone out, whole or in part.
#[derive(Debug, Default)]
pub(super) struct Settlement {
    pub calls: Vec<(BilledCall, super::prices::Terms)>,
    pub thread: Option<(String, Thread)>,
    pub continued: Option<String>,
}

/// The shared state of one upstream.
#[derive(Debug)]
pub(super) struct State {
    pub options: Options,
    pub url: String,
    pub signing_key: [u8; 32],
    offset_ms: AtomicI64,
    counter: AtomicU64,
    memory: Mutex<Memory>,
}

/// What the mutex guards.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub requests: VecDeque<Seen>,
    pub bill: VecDeque<BilledCall>,
    pub dropped: VecDeque<DroppedThinking>,
    pub scripts: VecDeque<Entry>,
    pub prompt_cache: PromptCache,
    pub threads: HashMap<String, Thread>,
    pub batches: Vec<Batch>,
    pub files: Vec<File>,
}

impl State {
    pub(super) fn new(options: Options, url: String) -> Self {
        let signing_key = *blake3::hash(&options.seed.to_le_bytes()).as_bytes();
        Self {
            options,
            url,
            signing_key,
            offset_ms: AtomicI64::new(0),
            counter: AtomicU64::new(0),
            memory: Mutex::new(Memory::default()),
        }
    }

    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the upstream's own time in milliseconds since 1970.
    #[expect(
        clippy::disallowed_methods,
        reason = "the simulation imports nothing of the crate, so has its own clock"
    )]
    pub(super) fn now_ms(&self) -> i64 {
        jiff::Timestamp::now().as_millisecond() + self.offset_ms.load(Ordering::Relaxed)
    }

    pub(super) fn advance_ms(&self, ms: i64) {
        self.offset_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// Returns an id that no other call of this upstream got.
    pub(super) fn id(&self, prefix: &str) -> String {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        let text = format!("{prefix} {} {number}", self.options.seed);
        let hash = blake3::hash(text.as_bytes()).to_hex();
        format!("{prefix}_01{}", &hash.as_str()[..22])
    }

    /// Takes the behaviours scripted for the next request to this path.
    pub(super) fn scripted(&self, path: &str) -> Vec<Behaviour> {
        let mut memory = self.memory();
        let found = memory.scripts.iter().position(|entry| entry.matches(path));
        let mut behaviours = Vec::new();
        if let Some(entry) = found.and_then(|place| memory.scripts.remove(place)) {
            super::behaviour::flatten(entry.behaviour, 0, &mut behaviours);
        }
        behaviours
    }

    pub(super) fn see(&self, seen: Seen) {
        push(&mut self.memory().requests, seen, 1_000);
    }

    pub(super) fn drop_thinking(&self, dropped: Vec<DroppedThinking>) {
        let mut memory = self.memory();
        for drop in dropped {
            push(&mut memory.dropped, drop, 10_000);
        }
    }

    /// Bills what went out: all of it, or `sent` of `total` pieces of the output.
    pub(super) fn settle(&self, settlement: Settlement, sent: u64, total: u64) {
        let complete = sent >= total;
        let at_ms = self.now_ms();
        let mut memory = self.memory();
        for (mut call, terms) in settlement.calls {
            if !complete {
                call.tokens.output_tokens = call.tokens.output_tokens * sent / total.max(1);
            }
            call.complete = complete;
            call.at_ms = at_ms;
            call.nanousd = super::prices::nanousd(&call.model, &call.tokens, terms);
            push(&mut memory.bill, call, 100_000);
        }
        if let Some(previous) = settlement.continued.and_then(|id| memory.threads.get_mut(&id)) {
            previous.in_flight = false;
            previous.continued = complete;
        }
        if let Some((id, thread)) = settlement.thread.filter(|_| complete) {
            if memory.threads.len() >= 10_000 {
                memory.threads.clear();
            }
            memory.threads.insert(id, thread);
        }
    }

    /// Bills the batches that have ended.
    pub(super) fn bill_batches(&self) {
        let now = self.now_ms();
        let due: Vec<Settlement> =
            self.memory().batches.iter_mut().flat_map(|batch| batch.take_due(now)).collect();
        due.into_iter().for_each(|settlement| self.settle(settlement, 1, 1));
    }

    /// Forgets everything but time.
    pub(super) fn reset(&self) {
        *self.memory() = Memory::default();
    }
}

/// Returns a time as RFC 3339 in UTC.
pub(super) fn rfc3339(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

fn push<T>(queue: &mut VecDeque<T>, item: T, most: usize) {
    if queue.len() >= most {
        queue.pop_front();
    }
    queue.push_back(item);
}
