//! The last exchanges of the journal, decided again under a policy that an operator wrote.
//!
//! One at a time, over so much of the journal's end as is read in a few seconds. A policy is `[routing]` and `[tiers]` alone,
//! so that no text names a file or a secret. Tenants with a routing of their own keep it.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::admin::{Problem, ReplayAnswer, ReplayQuery};
use crate::config::{self, Config};
use crate::journal::{Entry, Pause, Reader};
use crate::pipeline::{Replay, Tercet};

/// Whether one is under way.
#[derive(Debug, Default)]
pub(super) struct Replays(AtomicBool);

/// Ends what was under way, whatever ended it.
struct Turn<'a>(&'a AtomicBool);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Replays {
    /// Decides again; blocks while it does.
    pub(super) fn run(&self, tercet: &Tercet, asked: &ReplayQuery) -> Result<ReplayAnswer, Problem> {
        let snapshot = tercet.snapshot.load_full();
        let policy = policy_of(&snapshot.config, &asked.policy)?;
        if self.0.swap(true, Ordering::Acquire) {
            return Err(Problem::Unavailable(
                "another replay is under way; try again in a moment".to_owned(),
            ));
        }
        let turn = Turn(&self.0);
        let clock = &tercet.runtime.clock;
        let from = clock.now().checked_sub(asked.since);
        let from = from.map_err(|_| Problem::Invalid("that is longer ago than time goes".to_owned()))?;
        let unreadable = |failure: crate::journal::ReadFailure| Problem::Internal(failure.to_string());
        let mut reader =
            Reader::near_end(tercet.runtime.journal.path(), JOURNAL_BYTES).map_err(unreadable)?;
        // Where reading begins in the middle, what was before it may belong to the time.
        let (mut is_cut, mut is_first) = (false, reader.place().seq > 0);
        let mut replay = Replay::under(&policy, &snapshot.catalog);
        let deadline = clock.instant() + TIME;
        loop {
            let pause = reader.read(STEP, |_, entry| {
                let Some(Entry::Exchange(record)) = entry else { return };
                is_cut |= is_first && record.timestamp >= from;
                is_first = false;
                let is_wanted = asked.tenant.as_ref().is_none_or(|tenant| *tenant == record.tenant);
                if is_wanted && record.timestamp >= from {
                    replay.add(record);
                }
            });
            if pause.map_err(unreadable)? == Pause::End {
                break;
            }
            if clock.instant() > deadline {
                return Err(Problem::Unavailable(
                    "that takes longer than 20 s: ask for less, or use `tercet replay`".to_owned(),
                ));
            }
        }
        drop(turn);
        Ok(ReplayAnswer { replayed: replay.finish(), is_cut })
    }
}

/// Reads a policy and lays it over the configuration in force.
fn policy_of(config: &Config, text: &str) -> Result<Config, Problem> {
    if text.len() > POLICY_BYTES {
        return Err(Problem::Invalid("a policy is at most 64 KiB".to_owned()));
    }
    let given: toml::Table =
        text.parse().map_err(|error: toml::de::Error| Problem::Invalid(error.to_string()))?;
    if let Some(other) = given.keys().find(|key| !matches!(key.as_str(), "routing" | "tiers")) {
        return Err(Problem::Invalid(format!("`{other}` is no part of a policy: [routing] and [tiers] are")));
    }
    let parsed = config::parse(text, None, &|_| None).map_err(|problems| {
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Problem::Invalid(told.join("\n"))
    })?;
    let (mut policy, in_force) = (config.clone(), &config.routing);
    for tenant in policy.tenants.values_mut() {
        if tenant.routing == *in_force {
            tenant.routing = parsed.routing.clone();
        }
    }
    policy.tiers = parsed.tiers;
    policy.routing = parsed.routing;
    Ok(policy)
}

/// Returns the policy in force as a file would say it.
pub(super) fn policy_text(config: &Config) -> String {
    let described = config::describe(config);
    let mut sections = serde_json::Map::new();
    for name in ["tiers", "routing"] {
        let mut section = described.get(name).cloned().unwrap_or_default();
        if let Value::Object(keys) = &mut section {
            // It decides nothing about where a request goes.
            keys.remove("shadow_sample");
        }
        sections.insert(name.to_owned(), without_nulls(section));
    }
    toml::to_string_pretty(&sections).unwrap_or_default()
}

/// TOML has no null.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(keys) => {
            let kept = keys.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        other => other,
    }
}

/// So much of the journal's end is looked at, some hundred thousand exchanges.
const JOURNAL_BYTES: u64 = 256 << 20;
const TIME: std::time::Duration = std::time::Duration::from_secs(20);
const STEP: usize = 10_000;
const POLICY_BYTES: usize = 64 << 10;
