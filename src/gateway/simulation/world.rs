//! What happened in a simulated world: calls at the upstreams, requests of clients, and the trace of both.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::dice::Dice;
use crate::journal::disk::Disk;

/// The world of one seed, through all lives of the gateway in it; cheap to clone.
#[derive(Clone)]
pub(super) struct World(Arc<Mutex<Seen>>);

/// What was seen.
pub(super) struct Seen {
    pub(super) dice: Dice,
    pub(super) disk: Disk,
    pub(super) life: usize,
    pub(super) calls: Vec<Call>,
    pub(super) asked: Vec<Asked>,
    /// How often something came about.
    pub(super) tally: BTreeMap<String, u64>,
    /// Promises that were found broken.
    pub(super) broken: Vec<String>,
    /// When an upstream refuses, hangs or is overloaded: which one, from when to when in this life, how.
    pub(super) weather: Vec<(usize, [Duration; 2], Weather)>,
    /// What looks at the gateway whenever something happens.
    pub(super) look: Option<Box<dyn Fn() -> Option<String> + Send>>,
    trace: Vec<(String, u64, String)>,
    /// The wall time at the beginning of this life, and the runtime's.
    wall: Timestamp,
    began: Option<Instant>,
}

/// How an upstream fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weather {
    Refusing,
    Hanging,
    Overloaded,
}

/// A request that an upstream has read, and what it did.
#[derive(Clone, Debug, Default)]
pub(super) struct Call {
    pub(super) life: usize,
    pub(super) upstream: usize,
    /// The client's request it was made for.
    pub(super) tag: String,
    pub(super) prompt: String,
    pub(super) model: String,
    pub(super) stream: bool,
    /// When it was read, and when the last of what a client needs was written.
    pub(super) at: Duration,
    pub(super) until: Duration,
    /// In the order of all that happened.
    pub(super) order: u64,
    /// It came over a connection that had carried another.
    pub(super) reused: bool,
    /// Anything of an answer was written.
    pub(super) answered: bool,
    /// All that a client needs was written.
    pub(super) whole: bool,
    /// It said that it failed, by status or by event.
    pub(super) failed: bool,
    /// As it answered, or was to.
    pub(super) status: u16,
    pub(super) input_tokens: u64,
    /// Written so far.
    pub(super) output_tokens: u64,
    /// All of the answer's body.
    pub(super) body: Vec<u8>,
}

/// A request of a client.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) life: usize,
    pub(super) tag: String,
    pub(super) tenant: usize,
    pub(super) prompt: String,
    pub(super) stream: bool,
    pub(super) at: Duration,
    /// Sent after the gateway was told to end.
    pub(super) late: bool,
    pub(super) status: Option<u16>,
    pub(super) id: Option<String>,
    pub(super) cache: Option<String>,
    pub(super) body: Vec<u8>,
    /// When the first of the body was read, in the order of all that happened.
    pub(super) first: Option<u64>,
    pub(super) end: End,
    pub(super) ended_at: Duration,
}

/// How a request ended for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Not yet, when the gateway died.
    Open,
    /// The answer came to its end.
    Whole,
    /// The answer broke off.
    Cut,
    /// There was no answer.
    Unanswered,
    /// The client left.
    Left,
}

impl World {
    pub(super) fn new(mut dice: Dice) -> Self {
        let mut draws = dice.fork();
        let disk = Disk::new(move |bound| draws.below(bound));
        Self(Arc::new(Mutex::new(Seen {
            dice,
            disk,
            life: 0,
            calls: Vec::new(),
            asked: Vec::new(),
            tally: BTreeMap::new(),
            broken: Vec::new(),
            weather: Vec::new(),
            look: None,
            trace: Vec::new(),
            wall: BEGINNING.parse().unwrap(),
            began: None,
        })))
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap()
    }

    /// Begins a life of the gateway, some time after the one before; returns the wall time.
    pub(super) fn begin(&self, after: Duration) -> Timestamp {
        let mut seen = self.seen();
        seen.wall = seen.wall.saturating_add(after).unwrap();
        seen.began = Some(Instant::now());
        seen.life += 1;
        seen.wall
    }

    /// Ends it.
    pub(super) fn end(&self) {
        let mut seen = self.seen();
        seen.wall = seen.wall.saturating_add(seen.now()).unwrap();
        seen.began = None;
        seen.look = None;
    }

    pub(super) fn disk(&self) -> Disk {
        self.seen().disk.clone()
    }

    pub(super) fn fork(&self) -> Dice {
        self.seen().dice.fork()
    }

    /// Notes what somebody did, and looks whether all is as it should be.
    pub(super) fn note(&self, who: &str, what: impl fmt::Display) -> u64 {
        let mut seen = self.seen();
        let order = seen.note(who, what);
        if let Some(wrong) = seen.look.as_ref().and_then(|look| look()) {
            let when = format!("{wrong} (seen when {who}: {})", seen.trace.last().unwrap().2);
            seen.broken.push(when);
        }
        order
    }

    pub(super) fn weather(&self, upstream: usize) -> Option<Weather> {
        let seen = self.seen();
        let now = seen.now();
        let is_now = |of: usize, [from, to]: [Duration; 2]| of == upstream && (from..to).contains(&now);
        seen.weather.iter().find(|(of, time, _)| is_now(*of, *time)).map(|(.., weather)| *weather)
    }
}

impl Seen {
    fn note(&mut self, who: &str, what: impl fmt::Display) -> u64 {
        let at = self.now();
        let text = format!("{} {:10.3} {what}", self.life, at.as_secs_f64());
        self.trace.push((who.to_owned(), self.trace.len() as u64, text));
        self.trace.len() as u64
    }

    /// Returns how long this life has lasted.
    pub(super) fn now(&self) -> Duration {
        self.began.map_or(Duration::ZERO, |began| began.elapsed())
    }

    /// Hashes what each one did, in its own order: who is woken first of several is the runtime's to choose.
    pub(super) fn hash(&self) -> blake3::Hash {
        let mut lines: Vec<_> = self.trace.iter().collect();
        lines.sort();
        let mut hasher = blake3::Hasher::new();
        for (who, _, what) in lines {
            hasher.update(format!("{who} {what}\n").as_bytes());
        }
        hasher.finalize()
    }

    /// Returns the last things that happened.
    pub(super) fn last(&self, count: usize) -> String {
        let from = self.trace.len().saturating_sub(count);
        self.trace[from..].iter().map(|(who, _, what)| format!("  {what}  [{who}]\n")).collect()
    }
}

const BEGINNING: &str = "2026-11-20T12:00:00Z";
