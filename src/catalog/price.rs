//! Prices: dated cards, the step of long prompts, fast mode, and what a piece of work costs on one.
//!
//! A card holds five rates, one per kind of token. Money is integer nano-dollars; each kind's cost is rounded up
//! by itself, so that a cost is exactly the sum of its parts.

use jiff::Timestamp;

use crate::money::{Factor, NanoUsd, Rate};
use crate::usage::Usage;

/// Rates of the five kinds of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Card {
    /// Uncached prompt tokens.
    pub input: Rate,
    /// Tokens read from the prompt cache.
    pub cache_read: Rate,
    /// Tokens written for five minutes.
    pub cache_write_5m: Rate,
    /// Tokens written for an hour.
    pub cache_write_1h: Rate,
    /// Tokens of the answer.
    pub output: Rate,
}

/// What a model costs from a date on.
#[derive(Clone, Debug)]
pub struct Price {
    /// From this instant on; midnight UTC where the file gives a day.
    pub from: Timestamp,
    /// The card.
    pub card: Card,
    /// A prompt of strictly more tokens moves the whole request to the other card.
    pub long: Option<(u64, Card)>,
    /// Fast mode, where the model has it.
    pub fast: Option<FastPrice>,
    /// Who said so, and when.
    pub source: String,
}

/// Fast mode's card.
#[derive(Clone, Copy, Debug)]
pub struct FastPrice {
    /// The card; cache rates are scaled as the input rate is.
    pub card: Card,
    /// Midnight UTC at the start of its last day, from which on it is not relied upon.
    pub until: Option<Timestamp>,
}

/// What a piece of work costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priced<'a> {
    /// The sum of `by_kind` and `searches`, exactly.
    pub cost: NanoUsd,
    /// Input, cache read, 5-minute write, 1-hour write, output.
    pub by_kind: [NanoUsd; 5],
    /// Web searches.
    pub searches: NanoUsd,
    /// Whether the model and its terms have a price; if not, the dearest known rates were used.
    pub known: bool,
    /// The catalog's version.
    pub version: &'a str,
}

impl Card {
    /// Returns what `usage` costs by kind, in the order of [`Priced::by_kind`].
    #[must_use]
    pub fn costs(&self, usage: &Usage, factor: Factor) -> [NanoUsd; 5] {
        [
            self.input.cost(usage.input_tokens, factor),
            self.cache_read.cost(usage.cache_read_tokens, factor),
            self.cache_write_5m.cost(usage.cache_write_5m_tokens, factor),
            self.cache_write_1h.cost(usage.cache_write_1h_tokens, factor),
            self.output.cost(usage.output_tokens, factor),
        ]
    }

    /// Returns the list price by which models are compared: a million tokens in and a million out.
    #[must_use]
    pub const fn list(&self) -> u64 {
        self.input.0.saturating_add(self.output.0)
    }

    /// Returns the dearer rate of each kind.
    #[must_use]
    pub fn dearer(self, other: Self) -> Self {
        Self {
            input: self.input.max(other.input),
            cache_read: self.cache_read.max(other.cache_read),
            cache_write_5m: self.cache_write_5m.max(other.cache_write_5m),
            cache_write_1h: self.cache_write_1h.max(other.cache_write_1h),
            output: self.output.max(other.output),
        }
    }

    /// Returns the card of fast mode: input and output as given, cache rates scaled as input is, rounded up.
    #[must_use]
    pub(super) fn fast(self, input: Rate, output: Rate) -> Self {
        let scaled = |rate: Rate| {
            let product = u128::from(rate.0) * u128::from(input.0);
            Rate(u64::try_from(product.div_ceil(u128::from(self.input.0.max(1)))).unwrap_or(u64::MAX))
        };
        Self {
            input,
            cache_read: scaled(self.cache_read),
            cache_write_5m: scaled(self.cache_write_5m),
            cache_write_1h: scaled(self.cache_write_1h),
            output,
        }
    }
}

impl Price {
    /// Returns the card for a prompt of `prompt_tokens`; `None` if fast mode is meant and has no price.
    ///
    /// A fast mode that has ended keeps its price here: what the upstream reports as fast is billed as fast.
    #[must_use]
    pub fn card(&self, prompt_tokens: u64, fast: bool) -> Option<Card> {
        if fast {
            return self.fast.map(|fast| fast.card);
        }
        match self.long {
            Some((above_tokens, card)) if prompt_tokens > above_tokens => Some(card),
            _ => Some(self.card),
        }
    }
}

impl FastPrice {
    /// Returns whether fast mode can be relied upon; not on its last day.
    #[must_use]
    pub fn offered(&self, at: Timestamp) -> bool {
        self.until.is_none_or(|until| at < until)
    }
}
