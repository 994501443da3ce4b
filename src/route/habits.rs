//! How long the conversations of a workload go on, how they grow, and which of their beginnings are warm.
//!
//! A workload is known by its tenant and its narrowest fingerprint. Learned from what passes, kept in memory, bounded,
//! and never shared between tenants.

use std::sync::{Arc, Mutex, PoisonError};

use moka::sync::Cache;
use serde::{Deserialize, Serialize};

use super::past::Warm;
use crate::usage::Usage;

/// What is learned of each workload; at most 10,000, each for two days after its last use.
pub struct Habits(Cache<u64, Arc<Mutex<Habit>>>);

/// Names a workload of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload(u64);

#[derive(Clone, Debug, Default)]
struct Habit {
    /// Conversations that reached a turn, by turn.
    reached: [u32; TURNS],
    growth: Mean,
    output: Mean,
    /// The beginning that its conversations share, by model.
    shared: Vec<Warm>,
}

/// A moving mean over about the last 32.
#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    sum: u64,
    count: u64,
}

/// What is ahead of a conversation, this turn included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ahead {
    /// Turns expected, this one included, in thousandths; 0 where nothing is known.
    pub turns_permille: u64,
    /// Tokens by which the prompt grows in a turn; 0 where nothing is known.
    pub growth_tokens: u64,
    /// Tokens of an answer; 0 where nothing is known.
    pub output_tokens: u64,
    /// What other conversations of the workload keep warm.
    pub shared: Vec<Warm>,
}

/// A turn that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    /// Which it was, from 1.
    pub number: u32,
    /// The model it was sent to.
    pub model: &'a str,
    /// What it used.
    pub usage: &'a Usage,
    /// Tokens of the prompt before it; 0 for the first.
    pub before_tokens: u64,
    /// Bytes of its system prompt and tools.
    pub preamble_bytes: u64,
    /// When it ended, in seconds of Unix time.
    pub at_s: i64,
}

impl Workload {
    /// Names a tenant's workload by its narrowest fingerprint; subagents go on otherwise than whoever sent them.
    #[must_use]
    pub fn of(tenant: &str, agent: bool, fingerprint: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(tenant.as_bytes());
        hasher.update(&[0xff, u8::from(agent)]);
        hasher.update(&fingerprint.to_le_bytes());
        let hash = hasher.finalize();
        Self(hash.as_bytes().iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }
}

impl Default for Habits {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(WORKLOADS_MAX).time_to_idle(FORGOTTEN_AFTER).build())
    }
}

impl Habits {
    /// Returns what is ahead of a conversation at its turn `number`, from 1.
    #[must_use]
    pub fn ahead(&self, workload: Workload, number: u32) -> Ahead {
        let Some(habit) = self.0.get(&workload.0) else { return Ahead::default() };
        let habit = habit.lock().unwrap_or_else(PoisonError::into_inner);
        Ahead {
            turns_permille: habit.turns_permille(number),
            growth_tokens: habit.growth.value(),
            output_tokens: habit.output.value(),
            shared: if number == 1 { habit.shared.clone() } else { Vec::new() },
        }
    }

    /// Learns from a turn that has ended.
    pub fn observe(&self, workload: Workload, turn: &Turn<'_>) {
        let habit = self.0.get_with(workload.0, Arc::default);
        habit.lock().unwrap_or_else(PoisonError::into_inner).observe(turn);
    }
}

impl Habit {
    /// This turn, and those that conversations which came this far went on for, held towards four in all.
    fn turns_permille(&self, number: u32) -> u64 {
        let at = place(number);
        let later: u64 = self.reached.iter().skip(at + 1).map(|count| u64::from(*count)).sum();
        let here = self.reached.get(at).map_or(0, |count| u64::from(*count));
        1_000 + (later + PRIOR_TURNS * PRIOR_WEIGHT).saturating_mul(1_000) / (here + PRIOR_WEIGHT)
    }

    fn observe(&mut self, turn: &Turn<'_>) {
        let at = place(turn.number);
        if let Some(count) = self.reached.get_mut(at) {
            *count += 1;
        }
        if self.reached.first().is_some_and(|count| *count >= HALVED_AT) {
            self.reached.iter_mut().for_each(|count| *count /= 2);
        }
        self.output.add(turn.usage.output_tokens);
        if turn.before_tokens > 0 {
            self.growth.add(turn.usage.prompt_tokens().saturating_sub(turn.before_tokens));
        } else {
            self.note_shared(turn);
        }
    }

    /// What a first turn reads was shared; of what it writes, the system prompt and the tools will be.
    fn note_shared(&mut self, turn: &Turn<'_>) {
        let before = self.shared.iter().find(|warm| warm.model == turn.model);
        let Some(mut warm) = Warm::of(turn.model, turn.usage, before, turn.at_s) else { return };
        let read = turn.usage.cache_read_tokens;
        let preamble = turn.preamble_bytes / BYTES_PER_TOKEN;
        warm.tokens = if read > 0 { read } else { warm.tokens.min(preamble) };
        self.shared.retain(|other| other.model != turn.model);
        if warm.tokens > 0 && self.shared.len() < SHARED_MAX {
            self.shared.push(warm);
        }
    }
}

impl Mean {
    const fn add(&mut self, value: u64) {
        self.sum = self.sum.saturating_add(value);
        self.count += 1;
        if self.count >= 64 {
            (self.sum, self.count) = (self.sum / 2, self.count / 2);
        }
    }

    fn value(self) -> u64 {
        self.sum.checked_div(self.count).unwrap_or(0)
    }
}

/// Turns past the last place share it.
fn place(number: u32) -> usize {
    usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX).min(TURNS - 1)
}

const WORKLOADS_MAX: u64 = 10_000;
const FORGOTTEN_AFTER: std::time::Duration = std::time::Duration::from_secs(2 * 24 * 60 * 60);
const TURNS: usize = 32;
const HALVED_AT: u32 = 10_000;
/// Turns expected after this one where nothing is known, and how many conversations that guess weighs.
const PRIOR_TURNS: u64 = 3;
const PRIOR_WEIGHT: u64 = 4;
const SHARED_MAX: usize = 3;
const BYTES_PER_TOKEN: u64 = 4;
