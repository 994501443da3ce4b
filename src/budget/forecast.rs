//! What requests usually come to: nine in ten of a tenant's recent answers from a model are not longer, and
//! nine in ten prompts had no larger share that was not read from the prompt cache.
//!
//! For each tenant and model two histograms in powers of two, halved whenever they hold 512 answers, so that
//! the last few hundred count. At most 4,096 pairs are kept; later ones share one. Nothing is stored: after a
//! start the first answers are taken for 4,096 tokens long and nothing for cached. Expected answers have at
//! least 1,024 tokens. Without the second, an agent whose prompt is nearly all cached would be held to a
//! limit on input tokens, and near the end of a budget, as if it were not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::usage::Usage;

/// What answers came to, by tenant and model.
#[derive(Debug, Default)]
pub struct Forecast(Mutex<HashMap<Pair, Learned>>);

/// A tenant and a model.
type Pair = (Arc<str>, Arc<str>);

/// What a request is expected to come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Tokens of the answer.
    pub output_tokens: u64,
    /// Share of the estimated prompt that is not read from the prompt cache, in parts per thousand; 0 to 1,000.
    pub fresh_permille: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Learned {
    output_tokens: Histogram,
    fresh_permille: Histogram,
}

/// Answers by size: place `n` counts those of at most `2^n` that are larger than half of it.
#[derive(Clone, Copy, Debug, Default)]
struct Histogram {
    counts: [u32; BINS],
    total: u32,
}

impl Forecast {
    /// Learns from an answer that ended by itself, whose prompt was estimated at `prompt_tokens`.
    pub fn observe(&self, tenant: &Arc<str>, model: &Arc<str>, prompt_tokens: u64, usage: &Usage) {
        let fresh_tokens = usage.prompt_tokens().saturating_sub(usage.cache_read_tokens);
        let fresh_permille = u128::from(fresh_tokens) * 1_000 / u128::from(prompt_tokens.max(1));
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (Arc::clone(tenant), Arc::clone(model));
        if held.len() >= PAIRS_MAX && !held.contains_key(&key) {
            key = shared();
        }
        let learned = held.entry(key).or_default();
        learned.output_tokens.observe(usage.output_tokens);
        learned.fresh_permille.observe(u64::try_from(fresh_permille).unwrap_or(u64::MAX));
    }

    /// Returns what a request is expected to come to.
    #[must_use]
    pub fn expected(&self, tenant: &Arc<str>, model: &Arc<str>) -> Expected {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = held.get(&(Arc::clone(tenant), Arc::clone(model))).or_else(|| held.get(&shared()));
        let learned = found.copied().unwrap_or_default();
        Expected {
            output_tokens: learned.output_tokens.ninth_tenth().unwrap_or(UNKNOWN_TOKENS).max(LEAST_TOKENS),
            fresh_permille: learned.fresh_permille.ninth_tenth().unwrap_or(1_000).min(1_000),
        }
    }
}

impl Histogram {
    fn observe(&mut self, size: u64) {
        let place = (u64::BITS - size.saturating_sub(1).leading_zeros()) as usize;
        self.counts[place.min(BINS - 1)] += 1;
        self.total += 1;
        if self.total >= HALVED_AT {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().sum();
        }
    }

    fn ninth_tenth(&self) -> Option<u64> {
        let needed = (self.total * 9).div_ceil(10);
        let mut seen = 0;
        (self.total >= LEARNED_FROM).then_some(())?;
        self.counts.iter().zip(0_u32..).find_map(|(count, place)| {
            seen += count;
            (seen >= needed).then_some(1 << place)
        })
    }
}

/// Stands for the pairs beyond the bound.
fn shared() -> Pair {
    (Arc::from("_other"), Arc::from("_other"))
}

/// Up to 2^23 tokens, above any model's longest answer.
const BINS: usize = 24;
const PAIRS_MAX: usize = 4_096;
const HALVED_AT: u32 = 512;
const LEARNED_FROM: u32 = 16;
const UNKNOWN_TOKENS: u64 = 4_096;
const LEAST_TOKENS: u64 = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str) -> Pair {
        (Arc::from(name), Arc::from("claude-opus-5-5"))
    }

    fn answer(output_tokens: u64) -> Usage {
        Usage { output_tokens, input_tokens: 100, cache_read_tokens: 9_900, ..Usage::default() }
    }

    #[test]
    fn nine_in_ten_recent_answers_are_not_longer_than_expected() {
        let forecast = Forecast::default();
        let (tenant, model) = pair("acme");
        let expected = || forecast.expected(&tenant, &model).output_tokens;
        let observe = |tokens| forecast.observe(&tenant, &model, 10_000, &answer(tokens));
        assert_eq!(expected(), 4_096);
        (0..100).for_each(|number| observe(if number % 10 == 0 { 30_000 } else { 2_048 }));
        assert_eq!(expected(), 2_048);
        (0..20).for_each(|_| observe(8_193));
        assert_eq!(expected(), 16_384);
        (0..2_000).for_each(|_| observe(3));
        assert_eq!(expected(), 1_024, "what is long past is forgotten");
        assert_eq!(forecast.expected(&pair("other").0, &model).output_tokens, 4_096, "tenants learn apart");
    }

    #[test]
    fn what_was_learned_is_not_lost_when_the_long_past_is_forgotten() {
        let forecast = Forecast::default();
        let (tenant, model) = pair("acme");
        for seen in 1..2_000 {
            forecast.observe(&tenant, &model, 10_000, &answer(2_048));
            let expected = forecast.expected(&tenant, &model).output_tokens;
            assert_eq!(expected, if seen < 16 { 4_096 } else { 2_048 }, "{seen}");
        }
    }

    #[test]
    fn the_share_of_prompts_that_is_cached_is_learned() {
        let forecast = Forecast::default();
        let (tenant, model) = pair("acme");
        assert_eq!(forecast.expected(&tenant, &model).fresh_permille, 1_000);
        (0..16).for_each(|_| forecast.observe(&tenant, &model, 10_000, &answer(1)));
        assert_eq!(forecast.expected(&tenant, &model).fresh_permille, 16, "10 of 1,000, in powers of two");
        (0..50).for_each(|_| forecast.observe(&tenant, &model, 0, &answer(1)));
        assert_eq!(forecast.expected(&tenant, &model).fresh_permille, 1_000, "an estimate may be too small");
    }

    #[test]
    fn absurd_lengths_and_many_pairs_are_bounded() {
        let forecast = Forecast::default();
        for number in 0..PAIRS_MAX + 100 {
            let (tenant, model) = pair(&number.to_string());
            let tokens = [0, 1, u64::MAX][number % 3];
            forecast.observe(&tenant, &model, tokens, &Usage { input_tokens: tokens, ..answer(tokens) });
        }
        assert_eq!(forecast.0.lock().unwrap().len(), PAIRS_MAX + 1);
        let (_, model) = pair("");
        let beyond = forecast.expected(&Arc::from("unseen"), &model);
        assert!(beyond.output_tokens <= 1 << 23 && beyond.fresh_permille <= 1_000);
    }
}
