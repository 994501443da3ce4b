//! How long answers usually are: nine in ten of a tenant's recent answers from a model are not longer.
//!
//! For each tenant and model a histogram in powers of two, halved whenever it holds 512 answers, so that the
//! last few hundred count. At most 4,096 pairs are kept; later ones share one. Nothing is stored: after a
//! start the first answers are taken for 4,096 tokens long. Expected lengths are at least 1,024 tokens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Lengths of answers by tenant and model.
#[derive(Debug, Default)]
pub struct Forecast(Mutex<HashMap<Pair, Histogram>>);

/// A tenant and a model.
type Pair = (Arc<str>, Arc<str>);

/// Answers by length: place `n` counts those of at most `2^n` tokens that are longer than half of it.
#[derive(Clone, Copy, Debug, Default)]
struct Histogram {
    counts: [u32; BINS],
    total: u32,
}

impl Forecast {
    /// Learns from an answer that ended by itself.
    pub fn observe(&self, tenant: &Arc<str>, model: &Arc<str>, output_tokens: u64) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (Arc::clone(tenant), Arc::clone(model));
        if held.len() >= PAIRS_MAX && !held.contains_key(&key) {
            key = shared();
        }
        held.entry(key).or_default().observe(output_tokens);
    }

    /// Returns the expected length of an answer of at most `max_tokens`.
    #[must_use]
    pub fn expected(&self, tenant: &Arc<str>, model: &Arc<str>, max_tokens: u64) -> u64 {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let learned = held
            .get(&(Arc::clone(tenant), Arc::clone(model)))
            .or_else(|| held.get(&shared()))
            .and_then(Histogram::ninth_tenth);
        learned.unwrap_or(UNKNOWN_TOKENS).max(LEAST_TOKENS).min(max_tokens)
    }
}

impl Histogram {
    fn observe(&mut self, output_tokens: u64) {
        let place = (u64::BITS - output_tokens.saturating_sub(1).leading_zeros()) as usize;
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

    #[test]
    fn nine_in_ten_recent_answers_are_not_longer_than_expected() {
        let forecast = Forecast::default();
        let (tenant, model) = pair("acme");
        assert_eq!(forecast.expected(&tenant, &model, 64_000), 4_096);
        for number in 0..100 {
            forecast.observe(&tenant, &model, if number % 10 == 0 { 30_000 } else { 2_048 });
        }
        assert_eq!(forecast.expected(&tenant, &model, 64_000), 2_048);
        for _ in 0..20 {
            forecast.observe(&tenant, &model, 8_193);
        }
        assert_eq!(forecast.expected(&tenant, &model, 64_000), 16_384);
        assert_eq!(forecast.expected(&tenant, &model, 500), 500, "never more than max_tokens");
        for _ in 0..2_000 {
            forecast.observe(&tenant, &model, 3);
        }
        assert_eq!(forecast.expected(&tenant, &model, 64_000), 1_024, "what is long past is forgotten");
        assert_eq!(forecast.expected(&pair("other").0, &model, 64_000), 4_096, "tenants learn apart");
    }

    #[test]
    fn absurd_lengths_and_many_pairs_are_bounded() {
        let forecast = Forecast::default();
        for number in 0..PAIRS_MAX + 100 {
            let (tenant, model) = pair(&number.to_string());
            forecast.observe(&tenant, &model, [0, 1, u64::MAX][number % 3]);
        }
        assert_eq!(forecast.0.lock().unwrap().len(), PAIRS_MAX + 1);
        let (tenant, model) = pair("1");
        assert!(forecast.expected(&tenant, &model, u64::MAX) <= 1 << 23);
    }
}
