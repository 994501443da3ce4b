//! What a request may come to, from the size of its body: a guess on the high side, corrected when it ends.
//!
//! Ratios: a token is 3.5 bytes of JSON text with the tokenizer of Opus 4.6 and older, 2.5 with the later one
//! (about 30 % more tokens, rounded up; scripts other than Latin need more bytes per character and about as
//! many per token). An image is at most 1,600 tokens there and 4,784 here. A document is 3,000 tokens, and
//! one for each 12 bytes of payload. A source that upstream fetches itself is taken for 50,000 tokens. No
//! prompt is longer than 1,000,000 tokens: upstream refuses those, and bills nothing.

use super::forecast::Expected;
use crate::money::NanoUsd;
use crate::usage::Usage;

/// Which tokenizer a model uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokenizer {
    /// Opus 4.6 and older, Haiku 4.5.
    Old,
    /// Opus 4.7 and later.
    New,
}

/// What is known of a prompt's size without counting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PromptSize {
    /// Bytes of the body, payload included.
    pub body_bytes: usize,
    /// Bytes of base64 payload in it.
    pub payload_bytes: usize,
    /// `image` blocks.
    pub images: usize,
    /// `document` blocks.
    pub documents: usize,
    /// Blocks whose source is a URL or a file id.
    pub remote_sources: usize,
}

/// What a request may come to, usually and at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// The whole prompt's tokens.
    pub prompt_tokens: u64,
    /// Those of them that are expected not to be read from the prompt cache.
    pub input_tokens: u64,
    /// Tokens of a usual answer; at most `max_output_tokens`.
    pub output_tokens: u64,
    /// Tokens of the longest answer, `max_tokens`.
    pub max_output_tokens: u64,
    /// Cost of a usual answer.
    pub cost: NanoUsd,
    /// Cost of the longest answer.
    pub max_cost: NanoUsd,
}

impl Estimate {
    /// An answer that costs nothing: from the cache, or joined.
    pub const NOTHING: Self = Self {
        prompt_tokens: 0,
        input_tokens: 0,
        output_tokens: 0,
        max_output_tokens: 0,
        cost: NanoUsd::ZERO,
        max_cost: NanoUsd::ZERO,
    };

    /// The least a request can come to; for an early look at whether anything is left.
    pub const LEAST: Self = Self {
        prompt_tokens: 1,
        input_tokens: 1,
        output_tokens: 1,
        max_output_tokens: 1,
        cost: NanoUsd(1),
        max_cost: NanoUsd(1),
    };

    /// Prices a prompt with a usual and a longest answer; `caches` where the request writes to the prompt cache.
    ///
    /// At most nothing is read from the cache, and all of it is written for an hour where the request caches.
    #[must_use]
    pub fn new(
        prompt_tokens: u64,
        caches: bool,
        expected: Expected,
        max_output_tokens: u64,
        price: impl Fn(&Usage) -> NanoUsd,
    ) -> Self {
        let fresh = u128::from(prompt_tokens) * u128::from(expected.fresh_permille.min(1_000));
        let input_tokens = u64::try_from(fresh.div_ceil(1_000)).unwrap_or(u64::MAX);
        let cache_read_tokens = prompt_tokens - input_tokens;
        let output_tokens = expected.output_tokens.min(max_output_tokens);
        let usual = Usage { cache_read_tokens, output_tokens, ..Usage::default() };
        let longest = Usage { output_tokens: max_output_tokens, ..Usage::default() };
        let (usual, longest) = if caches {
            let written = Usage { cache_write_1h_tokens: prompt_tokens, ..longest };
            (Usage { cache_write_5m_tokens: input_tokens, ..usual }, written)
        } else {
            (Usage { input_tokens, ..usual }, Usage { input_tokens: prompt_tokens, ..longest })
        };
        let cost = price(&usual);
        let max_cost = price(&longest).max(cost);
        Self { prompt_tokens, input_tokens, output_tokens, max_output_tokens, cost, max_cost }
    }

    /// Returns what two requests come to.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            prompt_tokens: self.prompt_tokens.saturating_add(other.prompt_tokens),
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            max_output_tokens: self.max_output_tokens.saturating_add(other.max_output_tokens),
            cost: self.cost + other.cost,
            max_cost: self.max_cost + other.max_cost,
        }
    }

    /// Returns what so many requests of this size come to.
    #[must_use]
    pub const fn times(self, count: u64) -> Self {
        let money = if count > i64::MAX as u64 { i64::MAX } else { count.cast_signed() };
        Self {
            prompt_tokens: self.prompt_tokens.saturating_mul(count),
            input_tokens: self.input_tokens.saturating_mul(count),
            output_tokens: self.output_tokens.saturating_mul(count),
            max_output_tokens: self.max_output_tokens.saturating_mul(count),
            cost: NanoUsd(self.cost.0.saturating_mul(money)),
            max_cost: NanoUsd(self.max_cost.0.saturating_mul(money)),
        }
    }

    /// Returns prompt and usual answer together.
    #[must_use]
    pub const fn total_tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.output_tokens)
    }

    /// Returns prompt and longest answer together.
    #[must_use]
    pub const fn max_total_tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.max_output_tokens)
    }
}

/// Returns how many tokens a prompt of this size may have; 1 to 1,000,000.
#[must_use]
pub fn estimate_tokens(size: &PromptSize, tokenizer: Tokenizer) -> u64 {
    let wide = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let text_bytes = wide(size.body_bytes.saturating_sub(size.payload_bytes));
    let (text, image) = match tokenizer {
        Tokenizer::Old => (text_bytes.saturating_mul(2).div_ceil(7), OLD_IMAGE_TOKENS),
        Tokenizer::New => (text_bytes.saturating_mul(2).div_ceil(5), NEW_IMAGE_TOKENS),
    };
    let payload = if size.documents > 0 { wide(size.payload_bytes) / DOCUMENT_BYTES_PER_TOKEN } else { 0 };
    [
        (wide(size.images), image),
        (wide(size.documents), DOCUMENT_TOKENS),
        (wide(size.remote_sources), REMOTE_SOURCE_TOKENS),
    ]
    .iter()
    .fold(text.saturating_add(payload), |sum, (count, each)| sum.saturating_add(count.saturating_mul(*each)))
    .clamp(1, PROMPT_TOKENS_MAX)
}

const OLD_IMAGE_TOKENS: u64 = 1_600;
const NEW_IMAGE_TOKENS: u64 = 4_784;
const DOCUMENT_TOKENS: u64 = 3_000;
const DOCUMENT_BYTES_PER_TOKEN: u64 = 12;
const REMOTE_SOURCE_TOKENS: u64 = 50_000;
const PROMPT_TOKENS_MAX: u64 = 1_000_000;
