//! What is told of a workload: what it reads from the prompt cache, and how it breaks it.

use serde_json::{Value, json};

use crate::money::NanoUsd;

/// One workload of a tenant as it treats the prompt cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Treatment {
    /// Whose.
    pub tenant: String,
    /// Its fingerprint; empty for requests that belong to none.
    pub workload: String,
    /// Requests sent.
    pub requests: u64,
    /// Tokens of their prompts.
    pub prompt_tokens: u64,
    /// Those of them that were read from the prompt cache.
    pub read_tokens: u64,
    /// Those that were written to it.
    pub written_tokens: u64,
    /// What it does that breaks the cache, the dearest first.
    pub breaks: Vec<Break>,
}

/// A way to break the prompt cache, and what it cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Break {
    /// Which.
    pub cause: Cause,
    /// Requests in which it showed.
    pub occasions: u64,
    /// What the requests cost less what they would have cost without it.
    pub at_stake: NanoUsd,
}

/// The ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Tools or system prompt differ from request to request.
    SystemPromptChanges,
    /// Nothing is marked to be kept.
    BreakpointsMissing,
    /// Prefixes go cold between requests.
    TtlTooShort,
}

impl Cause {
    /// All of them, in order.
    pub const ALL: [Self; 3] = [Self::SystemPromptChanges, Self::BreakpointsMissing, Self::TtlTooShort];

    /// Returns the word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SystemPromptChanges => "system-prompt-changes",
            Self::BreakpointsMissing => "breakpoints-missing",
            Self::TtlTooShort => "ttl-too-short",
        }
    }

    /// Returns what its client would change.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::SystemPromptChanges => "move what differs (dates, ids, state) behind the last breakpoint",
            Self::BreakpointsMissing => "mark the end of tools and system prompt with cache_control",
            Self::TtlTooShort => "ask for a ttl of 1h in cache_control",
        }
    }
}

impl Treatment {
    /// Returns what all of its breaks cost.
    #[must_use]
    pub fn at_stake(&self) -> NanoUsd {
        self.breaks.iter().map(|one| one.at_stake).sum()
    }

    /// Returns it as the admin API and the command line show it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let each = self.breaks.iter().map(|one| {
            json!({
                "cause": one.cause.name(), "occasions": one.occasions, "advice": one.cause.advice(),
                "at_stake_nanousd": one.at_stake, "at_stake_usd": one.at_stake.to_string(),
            })
        });
        let permille = u128::from(self.read_tokens) * 1_000 / u128::from(self.prompt_tokens.max(1));
        json!({
            "tenant": self.tenant, "workload": self.workload, "requests": self.requests,
            "prompt_tokens": self.prompt_tokens, "cache_read_tokens": self.read_tokens,
            "cache_write_tokens": self.written_tokens, "read_permille": permille as u64,
            "at_stake_nanousd": self.at_stake(), "breaks": each.collect::<Vec<_>>(),
        })
    }
}
