//! What the real upstream would have billed, from a price table of its own.
//!
//! Prices are whole nano-dollars per token (one dollar per million tokens is 1,000). Factors (batch one half, `us`
//! 11/10, fast mode two) apply to the sum; the division comes last and rounds up.

use serde::Serialize;

/// The token kinds of one call, as billed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct BilledTokens {
    /// Prompt tokens that were neither read from nor written to the cache.
    pub input_tokens: u64,
    /// Prompt tokens read from the cache.
    pub cache_read_tokens: u64,
    /// Prompt tokens written with the five-minute lifetime.
    pub cache_write_5m_tokens: u64,
    /// Prompt tokens written with the one-hour lifetime.
    pub cache_write_1h_tokens: u64,
    /// Generated tokens, thinking included.
    pub output_tokens: u64,
}

impl BilledTokens {
    /// Returns the tokens of the whole prompt.
    #[must_use]
    pub fn prompt_tokens(&self) -> u64 {
        self.input_tokens + self.cache_read_tokens + self.cache_write_5m_tokens + self.cache_write_1h_tokens
    }
}

/// What changes the price of a call.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Terms {
    pub batch: bool,
    pub fast: bool,
    pub us: bool,
    pub web_searches: u64,
}

/// Returns the price of a call in nano-dollars; 0 for a model without a row.
pub(super) fn nanousd(model: &str, tokens: &BilledTokens, terms: Terms) -> u64 {
    let long = tokens.prompt_tokens() > HAIKU_5_5_STEP_TOKENS;
    let Some((_, card)) = CARDS.iter().find(|(id, _)| model.starts_with(id)) else { return 0 };
    let [input, output, write_5m, write_1h, read] =
        if model == "claude-haiku-5-5" && long { HAIKU_5_5_LONG } else { *card };
    let mut sum = u128::from(tokens.input_tokens) * u128::from(input)
        + u128::from(tokens.output_tokens) * u128::from(output)
        + u128::from(tokens.cache_write_5m_tokens) * u128::from(write_5m)
        + u128::from(tokens.cache_write_1h_tokens) * u128::from(write_1h)
        + u128::from(tokens.cache_read_tokens) * u128::from(read);
    let mut divisor: u128 = 1;
    if terms.fast {
        sum *= 2;
    }
    if terms.us {
        sum *= 11;
        divisor *= 10;
    }
    if terms.batch {
        divisor *= 2;
    }
    let tokens_price = sum.div_ceil(divisor);
    u64::try_from(tokens_price).unwrap_or(u64::MAX).saturating_add(terms.web_searches * WEB_SEARCH)
}

/// Nano-dollars per web search: ten dollars per thousand.
const WEB_SEARCH: u64 = 10_000_000;
/// A Haiku 5.5 prompt longer than this is wholly on the dearer card.
const HAIKU_5_5_STEP_TOKENS: u64 = 100_000;
const HAIKU_5_5_LONG: [u64; 5] = [500, 2_500, 625, 1_000, 50];

/// input, output, write 5m, write 1h, read; the first id that the model starts with decides.
const CARDS: &[(&str, [u64; 5])] = &[
    ("claude-fable-5-2", [8_000, 40_000, 10_000, 16_000, 200]),
    ("claude-mythos-5-2", [8_000, 40_000, 10_000, 16_000, 200]),
    ("claude-fable-5-1", [10_000, 50_000, 12_500, 20_000, 250]),
    ("claude-mythos-5-1", [10_000, 50_000, 12_500, 20_000, 250]),
    ("claude-fable-5", [10_000, 50_000, 12_500, 20_000, 1_000]),
    ("claude-mythos-5", [10_000, 50_000, 12_500, 20_000, 1_000]),
    ("claude-opus-5-5", [4_000, 20_000, 5_000, 8_000, 200]),
    ("claude-opus-5", [5_000, 25_000, 6_250, 10_000, 500]),
    ("claude-opus-4", [5_000, 25_000, 6_250, 10_000, 500]),
    ("claude-sonnet-5-5", [2_000, 10_000, 2_500, 4_000, 100]),
    ("claude-sonnet-5", [2_000, 10_000, 2_500, 4_000, 200]),
    ("claude-sonnet-4", [3_000, 15_000, 3_750, 6_000, 300]),
    ("claude-haiku-5-5", [100, 500, 125, 200, 10]),
    ("claude-haiku-4-5", [1_000, 5_000, 1_250, 2_000, 100]),
];
