//! What a request and the turns after it are expected to cost at a model, caches counted.
//!
//! What is warm of the prompt is read, the rest is written at the model's price for that, and each later turn reads
//! what was there and writes what was added. A model that counts more tokens for the same text pays for more, and a
//! prompt that grows past a price step pays the dearer card from then on. Estimates compare models; no bill is made
//! of them.

use super::matter::Matter;
use super::size;
use crate::money::{Factor, NanoUsd};
use crate::usage::Usage;

/// What is expected at a model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outlook {
    /// What this request alone costs.
    pub(super) now: NanoUsd,
    /// What it and the turns after it cost.
    pub(super) ahead: NanoUsd,
}

/// Returns what this request, and with it the turns expected after it, would cost at `model`.
pub(super) fn outlook(matter: &Matter<'_>, model: &str) -> Outlook {
    let turns_permille = match matter.facts.ahead.turns_permille {
        0 if matter.ask.cached => CACHED_TURNS_PERMILLE,
        0 => 1_000,
        learned => learned,
    };
    let (ask, learned) = (matter.ask, matter.facts.ahead);
    // Looked up once: there may be sixteen turns ahead, at each of four models, several times.
    let known = matter.catalog.model(model);
    let price = known.and_then(|known| known.price_at(matter.facts.at));
    let output_tokens = if matter.facts.count_tokens { 0 } else { size::answer_tokens(matter, known) };
    let growth = if learned.growth_tokens == 0 { GROWTH_TOKENS } else { learned.growth_tokens };
    let growth = growth.saturating_add(output_tokens);
    let mut prompt = size::prompt_tokens(matter, known);
    let mut warm = if ask.cached { matter.warm_tokens(model).min(prompt) } else { 0 };
    let mut left = turns_permille.min(TURNS_MAX * 1_000);
    let (mut now, mut sum) = (None, NanoUsd::ZERO);
    while left > 0 {
        let fresh = prompt.saturating_sub(warm);
        let usage = match (ask.cached, ask.cached_hour) {
            (false, _) => Usage { input_tokens: prompt, output_tokens, ..Usage::default() },
            (true, false) => Usage {
                cache_read_tokens: warm,
                cache_write_5m_tokens: fresh,
                output_tokens,
                ..Usage::default()
            },
            (true, true) => Usage {
                cache_read_tokens: warm,
                cache_write_1h_tokens: fresh,
                output_tokens,
                ..Usage::default()
            },
        };
        let (card, _) = matter.catalog.card_of(price, prompt, ask.is_fast());
        let cost: NanoUsd = card.costs(&usage, Factor::ONE).into_iter().sum();
        now.get_or_insert(cost);
        let share = i64::try_from(left.min(1_000)).unwrap_or(1_000);
        sum += NanoUsd(cost.0.saturating_mul(share) / 1_000);
        left = left.saturating_sub(1_000);
        warm = prompt;
        prompt = prompt.saturating_add(growth);
    }
    Outlook { now: now.unwrap_or_default(), ahead: sum }
}

/// Turns expected of a request that marks its prompt for the cache, where nothing was learned.
const CACHED_TURNS_PERMILLE: u64 = 4_000;
/// Turns looked ahead at most.
const TURNS_MAX: u64 = 16;
/// What a turn adds besides an answer, where nothing was learned.
const GROWTH_TOKENS: u64 = 500;
