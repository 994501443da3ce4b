//! Token counts as the upstream bills them: five disjoint kinds, and the terms that change their price.

use serde::{Deserialize, Serialize};

/// Tokens of one exchange by kind; the kinds are disjoint, so their sum is all tokens used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Prompt tokens neither read from nor written to the prompt cache.
    pub input_tokens: u64,
    /// Prompt tokens read from the prompt cache.
    pub cache_read_tokens: u64,
    /// Prompt tokens written to the prompt cache for five minutes.
    pub cache_write_5m_tokens: u64,
    /// Prompt tokens written to the prompt cache for an hour.
    pub cache_write_1h_tokens: u64,
    /// Tokens of the answer, thinking included.
    pub output_tokens: u64,
}

impl Usage {
    /// Returns the prompt's size: uncached, read and written tokens.
    #[must_use]
    pub const fn prompt_tokens(&self) -> u64 {
        self.input_tokens
            .saturating_add(self.cache_read_tokens)
            .saturating_add(self.cache_write_5m_tokens)
            .saturating_add(self.cache_write_1h_tokens)
    }

    /// Returns the sum of all kinds.
    #[must_use]
    pub const fn total_tokens(&self) -> u64 {
        self.prompt_tokens().saturating_add(self.output_tokens)
    }

    /// Adds another count kind by kind.
    pub const fn add(&mut self, other: &Self) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.cache_read_tokens = self.cache_read_tokens.saturating_add(other.cache_read_tokens);
        self.cache_write_5m_tokens = self.cache_write_5m_tokens.saturating_add(other.cache_write_5m_tokens);
        self.cache_write_1h_tokens = self.cache_write_1h_tokens.saturating_add(other.cache_write_1h_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
    }
}

/// What besides the model changes a price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// `speed: "fast"` was used.
    pub fast: bool,
    /// The request ran in a batch.
    pub batch: bool,
    /// `inference_geo: "us"` was used.
    pub us_only: bool,
    /// Web searches, priced per thousand.
    pub web_searches: u64,
}

/// One billed piece of work: a model, what it used, and on which terms.
///
/// An exchange has one, or one per iteration where the upstream reports `usage.iterations`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Billed {
    /// The model that did the work, as the upstream names it.
    pub model: String,
    /// Its tokens.
    pub usage: Usage,
    /// The terms they are priced on.
    pub terms: Terms,
}
