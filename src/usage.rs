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

    /// Returns the count as it were with `warm_tokens` of the prompt in the prompt cache: what was written of
    /// them would have been read.
    #[must_use]
    pub fn warmed(&self, warm_tokens: u64) -> Self {
        let written = self.cache_write_5m_tokens.saturating_add(self.cache_write_1h_tokens);
        let read = warm_tokens.saturating_sub(self.cache_read_tokens).min(written);
        let of_5m = read.min(self.cache_write_5m_tokens);
        Self {
            cache_read_tokens: self.cache_read_tokens.saturating_add(read),
            cache_write_5m_tokens: self.cache_write_5m_tokens - of_5m,
            cache_write_1h_tokens: self.cache_write_1h_tokens - (read - of_5m),
            ..*self
        }
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Billed {
    /// The model that did the work, as the upstream names it.
    pub model: String,
    /// Its tokens.
    pub usage: Usage,
    /// The terms they are priced on.
    pub terms: Terms,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_warm_is_read_and_nothing_is_lost(counts in proptest::array::uniform5(0..9_000_u64), warm_tokens in 0..20_000_u64) {
            let [input_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, output_tokens] = counts;
            let usage =
                Usage { input_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, output_tokens };
            let warmed = usage.warmed(warm_tokens);
            prop_assert_eq!(warmed.total_tokens(), usage.total_tokens());
            prop_assert_eq!((warmed.input_tokens, warmed.output_tokens), (input_tokens, output_tokens));
            let cached = cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens;
            prop_assert_eq!(warmed.cache_read_tokens, cache_read_tokens.max(warm_tokens.min(cached)));
        }
    }
}
