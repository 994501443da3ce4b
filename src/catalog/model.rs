//! One model: who it is, and what its requests may hold.
//!
//! Read straight from the catalog file; `parse` checks what types cannot say. Prices are in `price`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::price::Price;
use crate::tier::Tier;

/// A model of the catalog.
#[derive(Clone, Debug)]
pub struct Model {
    /// The id the upstream knows.
    pub id: String,
    /// Other ids of the same model, dated forms included.
    pub aliases: Vec<String>,
    /// The tier it belongs to; `other` is never chosen by itself.
    pub tier: Tier,
    /// How long it will be served.
    pub lifecycle: Lifecycle,
    /// The models whose upstream rate limits it shares, by one name; the id less `claude-` where it shares none.
    pub pool: String,
    /// The first day it is gone, `YYYY-MM-DD`, where announced.
    pub retires: Option<String>,
    /// What it accepts; `None` where the sources do not say.
    pub accepts: Option<Accepts>,
    /// What it costs, oldest first; empty where the sources do not say.
    pub prices: Vec<Price>,
}

/// Where a model stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Lifecycle {
    /// The newest of its line.
    Current,
    /// Served, not the newest.
    Served,
    /// Served until it retires.
    Deprecated,
}

/// What a model accepts, and what it does where the request says nothing.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepts {
    /// Prompt and answer together.
    pub context_tokens: u64,
    /// Largest `max_tokens`.
    pub max_output_tokens: u64,
    /// How text is counted.
    pub tokenizer: Tokenizer,
    /// Thinking.
    pub thinking: ThinkingRules,
    /// Efforts accepted; empty where the parameter itself is refused.
    pub efforts: Vec<Effort>,
    /// Effort in force where none is given.
    pub default_effort: Option<Effort>,
    /// Sampling parameters on API version 2023-06-01; no model takes any on 2026-10-21.
    pub sampling: SamplingRule,
    /// The conversation may end with an assistant message.
    pub prefill: bool,
    /// `tool_choice` may be `any` or `tool`.
    pub forced_tool_choice: bool,
    /// Messages may have role `system`.
    pub system_messages: bool,
    /// `output_config.task_budget`.
    pub task_budget: bool,
    /// A message may carry its own effort, while thinking is on.
    pub message_effort: bool,
    /// `context_management` and `compaction`.
    pub compaction: bool,
    /// May run on Priority Tier.
    pub priority: bool,
    /// `inference_geo`.
    pub inference_geo: bool,
    /// `speed: "fast"`.
    pub fast: Fast,
    /// Shortest prefix the prompt cache keeps.
    pub min_cache_tokens: u64,
    /// Whose edited histories are refused, in words.
    pub history_check: String,
    /// Tool kinds besides those that every model takes.
    pub tools: Vec<String>,
    /// Values of `anthropic-beta` besides those that every model takes.
    pub betas: Vec<String>,
    /// Models a `fallbacks` list may name.
    pub fallbacks: Vec<String>,
    /// Advisor models known to be accepted beside this one.
    pub advisors: Vec<String>,
    /// Whose thinking it reads besides its own; `*` is everyone's.
    pub reads: Vec<String>,
}

/// How a model takes `thinking`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThinkingRules {
    /// Types accepted.
    pub types: Vec<ThinkingType>,
    /// What leaving it out means.
    pub omitted: Switch,
    /// Its thinking is read by the account alone that it was given to.
    #[serde(default)]
    pub account_bound: bool,
    /// Highest effort at which `disabled` is accepted; absent where it never is.
    pub disabled_up_to: Option<Effort>,
    /// What a thinking block shows where `display` is left out.
    pub display: Display,
}

/// `thinking.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThinkingType {
    /// The model decides how much.
    Adaptive,
    /// With a budget of tokens.
    Enabled,
    /// None.
    Disabled,
    /// Between tool calls only; up to effort high, with no other field.
    BetweenTools,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

/// What of a model's thinking is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Display {
    /// A summary.
    Summarized,
    /// The signature only.
    Omitted,
}

/// `output_config.effort`, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// low
    Low,
    /// medium
    Medium,
    /// high
    High,
    /// xhigh
    Xhigh,
    /// max
    Max,
}

/// How a model takes sampling parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SamplingRule {
    /// Any value, one of temperature and top_p, temperature 1 while thinking.
    Free,
    /// Only the values that change nothing.
    Defaults,
}

/// Whether a model has a fast mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fast {
    /// None.
    No,
    /// With a beta of its own.
    Beta,
    /// For everyone.
    Yes,
}

/// How text becomes tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tokenizer {
    /// Before Opus 4.7.
    Old,
    /// From Opus 4.7; about 30% more tokens for the same text.
    New,
}

impl Effort {
    /// Reads `output_config.effort`; `None` for a word the catalog does not know.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "low" => Self::Low,
            "medium" => Self::Medium,
            "high" => Self::High,
            "xhigh" => Self::Xhigh,
            "max" => Self::Max,
            _ => return None,
        })
    }
}

impl Accepts {
    /// Returns the effort in force where the request asks for `asked`; the API's own default is high.
    #[must_use]
    pub fn effort_in_force(&self, asked: Option<Effort>) -> Effort {
        asked.or(self.default_effort).unwrap_or(Effort::High)
    }

    /// Returns whether `disabled` thinking is accepted at the effort in force.
    #[must_use]
    pub fn takes_disabled(&self, asked: Option<Effort>) -> bool {
        self.thinking.types.contains(&ThinkingType::Disabled)
            && self.thinking.disabled_up_to.is_some_and(|limit| self.effort_in_force(asked) <= limit)
    }
}

impl Model {
    /// Returns whether `id` names this model.
    #[must_use]
    pub fn is(&self, id: &str) -> bool {
        self.id == id || self.aliases.iter().any(|alias| alias == id)
    }

    /// Returns the price in force at `at`; before the first, the first.
    #[must_use]
    pub fn price_at(&self, at: Timestamp) -> Option<&Price> {
        self.prices.iter().rev().find(|price| price.from <= at).or(self.prices.first())
    }
}
