//! What each model costs, accepts and reads: dated facts from `config/models.toml`.
//!
//! Embedded in the program and replaceable by a file of the same shape. The catalog answers questions; it does
//! not choose. A model it does not know is priced at the dearest rates it knows, never at nothing, and is never
//! described. Prices are nano-dollars per million tokens; every answer names the version of the text it came
//! from. Nothing here does I/O.

mod edit;
mod model;
mod parse;
mod price;

use std::collections::HashMap;
use std::fmt;

use foldhash::fast::FixedState;
use jiff::Timestamp;
use serde::Deserialize;

pub use edit::PriceChange;
pub use model::{
    Accepts, Display, Effort, Fast, Lifecycle, Model, SamplingRule, Switch, ThinkingRules, ThinkingType,
    Tokenizer,
};
pub use price::{Card, FastPrice, Price, Priced};

use crate::money::{Factor, NanoUsd};
use crate::usage::Billed;

/// All models, by id.
#[derive(Clone, Debug)]
pub struct Catalog {
    models: Vec<Model>,
    /// Looked into some thirty times a request; the names are ours, so nobody can choose them to collide.
    index: HashMap<String, usize, FixedState>,
    terms: PriceTerms,
    everywhere: Everywhere,
    dearest: Card,
    dearest_fast: Card,
    version: String,
}

/// What besides the model changes a price.
#[derive(Clone, Copy, Debug)]
pub struct PriceTerms {
    /// Factor of a batch on all tokens.
    pub batch: Factor,
    /// Factor of `inference_geo: "us"` on all tokens.
    pub us_only: Factor,
    /// One web search.
    pub web_search: NanoUsd,
}

/// What every model takes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Everywhere {
    /// Tool kinds.
    pub tools: Vec<String>,
    /// Values of `anthropic-beta` that only admit fields judged on their own, or do nothing.
    pub betas: Vec<String>,
}

/// Why a catalog file was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct CatalogProblem {
    /// The model at fault, empty where none is.
    pub model: String,
    /// The key at fault, empty where `what` names it.
    pub key: String,
    /// What is wrong.
    pub what: String,
}

impl Catalog {
    /// Returns the catalog embedded in the program.
    ///
    /// # Errors
    ///
    /// Never for the text as shipped, which a test reads; the error is kept so that no caller can panic.
    pub fn embedded() -> Result<Self, CatalogProblem> {
        Self::parse(EMBEDDED)
    }

    /// Returns the text of the embedded catalog, from which a file of one's own can begin.
    #[must_use]
    pub const fn embedded_text() -> &'static str {
        EMBEDDED
    }

    /// Reads a catalog file's text.
    ///
    /// # Errors
    ///
    /// Names the model and key of the first problem: an unknown key, a name given twice, a bad price or date.
    pub fn parse(text: &str) -> Result<Self, CatalogProblem> {
        let parse::Parsed { models, terms, everywhere } = parse::parse(text)?;
        let mut index = HashMap::default();
        for (position, model) in models.iter().enumerate() {
            for name in std::iter::once(&model.id).chain(&model.aliases) {
                index.insert(name.clone(), position);
            }
        }
        let prices = || models.iter().flat_map(|model| &model.prices);
        let dearest = prices()
            .flat_map(|price| [Some(price.card), price.long.map(|(_, card)| card)])
            .flatten()
            .fold(Card::default(), Card::dearer);
        let dearest_fast =
            prices().filter_map(|price| price.fast).fold(dearest, |held, fast| held.dearer(fast.card));
        let version = blake3::hash(text.as_bytes()).to_hex().as_str().chars().take(12).collect();
        Ok(Self { models, index, terms, everywhere, dearest, dearest_fast, version })
    }

    /// Returns the model that `id` names, by its id or an alias.
    #[must_use]
    pub fn model(&self, id: &str) -> Option<&Model> {
        self.index.get(id).and_then(|position| self.models.get(*position))
    }

    /// Returns all models in the file's order.
    #[must_use]
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// Returns what every model takes.
    #[must_use]
    pub const fn everywhere(&self) -> &Everywhere {
        &self.everywhere
    }

    /// Returns the first 12 hex digits of the BLAKE3 hash of the text.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns the dearest known rate of every kind, fast mode aside.
    #[must_use]
    pub const fn dearest(&self) -> Card {
        self.dearest
    }

    /// Returns what `id` cost at `at` for a prompt of `prompt_tokens`, and whether that is known.
    #[must_use]
    pub fn card(&self, id: &str, prompt_tokens: u64, fast: bool, at: Timestamp) -> (Card, bool) {
        self.card_of(self.price_at(id, at), prompt_tokens, fast)
    }

    /// Likewise of a price that was found before.
    #[must_use]
    pub fn card_of(&self, price: Option<&Price>, prompt_tokens: u64, fast: bool) -> (Card, bool) {
        let known = price.and_then(|price| price.card(prompt_tokens, fast));
        let dearest = if fast { self.dearest_fast } else { self.dearest };
        known.map_or((dearest, false), |card| (card, true))
    }

    /// Returns the price of `id` in force at `at`; before the first, the first.
    #[must_use]
    pub fn price_at(&self, id: &str, at: Timestamp) -> Option<&Price> {
        self.model(id)?.price_at(at)
    }

    /// Returns what a piece of work costs at the prices in force at `at`.
    ///
    /// A model or a fast mode without a price costs the dearest known rate of every kind, `known` false.
    #[must_use]
    pub fn price(&self, billed: &Billed, at: Timestamp) -> Priced<'_> {
        let terms = &billed.terms;
        let (card, known) = self.card(&billed.model, billed.usage.prompt_tokens(), terms.fast, at);
        let factor = [(terms.batch, self.terms.batch), (terms.us_only, self.terms.us_only)]
            .into_iter()
            .filter_map(|(applies, factor)| applies.then_some(factor))
            .fold(Factor::ONE, Factor::times);
        let by_kind = card.costs(&billed.usage, factor);
        let searches = i64::try_from(terms.web_searches).unwrap_or(i64::MAX);
        let searches = NanoUsd(searches.saturating_mul(self.terms.web_search.0));
        let cost = by_kind.into_iter().sum::<NanoUsd>() + searches;
        Priced { cost, by_kind, searches, known, version: &self.version }
    }

    /// Returns whether `reader` reads thinking written by `writer`; false where either is unknown.
    #[must_use]
    pub fn reads(&self, reader: &str, writer: &str) -> bool {
        let (Some(reader), Some(writer)) = (self.model(reader), self.model(writer)) else { return false };
        let listed = |accepts: &Accepts| accepts.reads.iter().any(|name| name == "*" || writer.is(name));
        reader.id == writer.id || reader.accepts.as_ref().is_some_and(listed)
    }
}

impl fmt::Display for CatalogProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [("model ", &self.model), ("", &self.key)];
        for (prefix, part) in parts.into_iter().filter(|(_, part)| !part.is_empty()) {
            write!(formatter, "{prefix}{part}: ")?;
        }
        formatter.write_str(&self.what)
    }
}

const EMBEDDED: &str = include_str!("../../config/models.toml");

#[cfg(test)]
mod tests;
