//! Which way a request's traits point within one workload: how much better or worse than usual an answer is along them.
//!
//! A line in the traits by tier, learned from the outcomes by ridge regression: slopes are taken to be drawn from a normal
//! distribution of variance 1, which is the scale the traits were made to have. What is kept are sums, so that nothing
//! grows with the outcomes.

use serde::{Deserialize, Serialize};

use super::posterior::Pair;
use crate::tier::TRAITS;

type Vector = [f64; TRAITS];

/// Sums over the outcomes of one workload; tiers from haiku to opus.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trends {
    /// Weight of outcomes, by tier.
    seen: [f64; 3],
    /// Weighted sum of their scores.
    good: [f64; 3],
    /// Weighted sum of the traits, by tier.
    traits: [Vector; 3],
    /// Weighted sum of the traits times the score, by tier.
    scored: [Vector; 3],
    /// Weighted sum of the products of each trait with each, over all outcomes.
    products: [Vector; TRAITS],
}

/// What is believed of a workload's trend; that there is none, where nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Trend {
    /// The workload's usual traits.
    usual: Vector,
    /// How much each tier's quality rises along each trait.
    slopes: [Vector; 3],
    /// Standard deviation, over the workload's requests, of how far the trend sets the tiers of each pair apart.
    spread: [f64; 3],
}

impl Trends {
    /// Adds an outcome; `traits` in 2^-20ths.
    pub(super) fn learn(&mut self, tier: usize, score: f64, weight: f64, traits: &[i32; TRAITS]) {
        let traits = natural(traits);
        let (Some(seen), Some(good)) = (self.seen.get_mut(tier), self.good.get_mut(tier)) else { return };
        let (Some(sums), Some(scored)) = (self.traits.get_mut(tier), self.scored.get_mut(tier)) else {
            return;
        };
        *seen += weight;
        *good += weight * score;
        add(sums, &traits, weight);
        add(scored, &traits, weight * score);
        for (row, trait_) in self.products.iter_mut().zip(&traits) {
            add(row, &traits, weight * trait_);
        }
    }

    /// So that a workload that changes is learned anew.
    pub(super) fn halve(&mut self) {
        let vectors = self.traits.iter_mut().chain(&mut self.scored).chain(&mut self.products);
        for sum in vectors.flatten().chain(&mut self.seen).chain(&mut self.good) {
            *sum /= 2.0;
        }
    }

    /// Tells whether these sums are numbers of a size that outcomes can add up to; `most` is the most that they weigh.
    pub(super) fn is_sound(&self, most: f64) -> bool {
        let counts = self.seen.iter().chain(&self.good);
        let vectors = self.traits.iter().chain(&self.scored).chain(&self.products);
        counts.into_iter().all(|count| (0.0..=most).contains(count))
            && vectors.flatten().all(|sum| sum.abs() <= most * TRAIT_MAX * TRAIT_MAX)
    }

    /// Returns what these outcomes make believe.
    pub(super) fn trend(&self) -> Trend {
        let all = self.seen.iter().sum::<f64>();
        if all < OUTCOMES_MIN {
            return Trend::default();
        }
        let mut usual = [0.0; TRAITS];
        for sums in &self.traits {
            add(&mut usual, sums, 1.0 / all);
        }
        let mut scatter = self.products;
        for (row, mean) in scatter.iter_mut().zip(&usual) {
            add(row, &usual, -all * mean);
        }
        let mut slopes = [[0.0; TRAITS]; 3];
        let tiers = self.traits.iter().zip(&self.scored).zip(self.seen.iter().zip(&self.good));
        for (place, ((sums, scored), (seen, good))) in slopes.iter_mut().zip(tiers) {
            if *seen >= OUTCOMES_MIN {
                // Traits against scores, each about the tier's own mean.
                let mut together = *scored;
                add(&mut together, sums, -good / seen);
                *place = solve(&scatter, seen / all, &together);
            }
        }
        let mut trend = Trend { usual, slopes, spread: [0.0; 3] };
        for (pair, place) in Pair::ALL.into_iter().zip(&mut trend.spread) {
            let apart = apart(&slopes, pair);
            *place = (dot(&apart, &times(&scatter, &apart)) / all).max(0.0).sqrt() * SHARE;
        }
        trend
    }
}

impl Trend {
    /// Returns how much better than usual the answers of haiku, sonnet and opus to a request of these traits are.
    pub(super) fn shifts(&self, traits: &[i32; TRAITS]) -> [f64; 3] {
        let away = self.away(traits);
        self.slopes.map(|slope| (SHARE * dot(&slope, &away)).clamp(-SHIFT_MAX, SHIFT_MAX))
    }

    /// Returns how much farther than usual the cheaper tier falls below the stronger, and the standard deviation of that.
    pub(super) fn gap(&self, pair: Pair, traits: &[i32; TRAITS]) -> (f64, f64) {
        let gap = SHARE * dot(&apart(&self.slopes, pair), &self.away(traits));
        (gap.clamp(-SHIFT_MAX, SHIFT_MAX), self.spread.get(pair as usize).copied().unwrap_or_default())
    }

    fn away(&self, traits: &[i32; TRAITS]) -> Vector {
        let mut away = natural(traits);
        add(&mut away, &self.usual, -1.0);
        away
    }
}

/// How much the distance between two tiers rises along each trait.
fn apart(slopes: &[Vector; 3], pair: Pair) -> Vector {
    let [cheaper, mut apart] = pair.of(slopes);
    add(&mut apart, &cheaper, -1.0);
    apart
}

/// Solves (share × scatter + noise) × slopes = together by conjugate gradients, which end after as many steps as there are
/// traits; one more mends rounding.
fn solve(scatter: &[Vector; TRAITS], share: f64, together: &Vector) -> Vector {
    let (mut slopes, mut rest, mut way) = ([0.0; TRAITS], *together, *together);
    let mut left = dot(&rest, &rest);
    for _ in 0..=TRAITS {
        let mut ahead = times(scatter, &way).map(|value| value * share);
        add(&mut ahead, &way, NOISE);
        let curve = dot(&way, &ahead);
        if left < ENOUGH || curve <= 0.0 {
            break;
        }
        add(&mut slopes, &way, left / curve);
        add(&mut rest, &ahead, -left / curve);
        let now = dot(&rest, &rest);
        let mut next = rest;
        add(&mut next, &way, now / left);
        (way, left) = (next, now);
    }
    slopes
}

fn times(rows: &[Vector; TRAITS], vector: &Vector) -> Vector {
    rows.map(|row| dot(&row, vector))
}

fn dot(one: &Vector, other: &Vector) -> f64 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

fn add(to: &mut Vector, vector: &Vector, times: f64) {
    for (to, value) in to.iter_mut().zip(vector) {
        *to += value * times;
    }
}

fn natural(traits: &[i32; TRAITS]) -> Vector {
    traits.map(|value| (f64::from(value) / f64::from(1 << 20)).clamp(-TRAIT_MAX, TRAIT_MAX))
}

/// Variance of one outcome about what is expected of it.
const NOISE: f64 = 0.12;
/// How much of the trend is believed, chosen by cross-validation on the labelled prompts.
const SHARE: f64 = 0.75;
/// Most by which a trend shifts what is expected: far from the usual it is a guess.
const SHIFT_MAX: f64 = 0.3;
/// Farther from the usual of all workloads no trait is taken to be; prompts lie within 1.
const TRAIT_MAX: f64 = 4.0;
/// Outcomes, in all and of a tier, from which on there is a trend.
const OUTCOMES_MIN: f64 = 5.0;
const ENOUGH: f64 = 1e-18;

#[cfg(test)]
mod tests;
