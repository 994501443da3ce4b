//! What outcomes say of a workload: how good each tier's answers are, and how sure that is.
//!
//! Two explanations compete for a workload's outcomes. One: the trained model is right about this kind of task, and the
//! outcomes scatter around what it expects. Two: it knows nothing of it, and the tiers lie where the outcomes put
//! them, a little apart as they are in the wider workload. Each is a Beta prior per tier; how well each foretold the
//! outcomes so far (its marginal likelihood) is how much it is believed. The first is worth many outcomes only where the
//! workload's requests look like those the model saw answered by the models in question. So a task like those trained
//! on needs few outcomes, and a foreign one is not held to a model that is wrong about it.
//!
//! Within a workload the text still says which requests are harder; that is believed in part, and only as far as the
//! model is: where it is not, a workload goes down whole or not at all. So does the trend that the workload's own outcomes
//! showed along the traits of its requests (`trend`). Sufficiency is a share of quality: what this workload would keep of
//! the best tier's quality if every request at most as hard as this one went to the cheaper tier and the others as asked.

use serde::{Deserialize, Serialize};

use super::trend::{Trend, Trends};
use crate::tier::Logits;

/// Sums over the outcomes of one workload; tiers from haiku to opus.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    /// Weight of outcomes, by tier.
    seen: [f64; 3],
    /// Weighted sum of their scores, 0 to 1 each.
    good: [f64; 3],
    /// Weight of all outcomes.
    judged: f64,
    /// Weighted sum of the quality the model expected of each tier, over all outcomes.
    expected: [f64; 3],
    /// Weighted sum of the model's logits.
    logits: [f64; 3],
    /// Weighted sum of the square of how far haiku and sonnet lie below opus in them.
    squares: [f64; 2],
    /// That of how far haiku lies below sonnet; 0 in files written before it was told.
    #[serde(default)]
    between: f64,
    /// Weighted sum of how familiar the requests were to the model, 0 to 1 each; 0 in files written before it was told.
    #[serde(default)]
    familiar: f64,
    /// What was seen along the traits of requests; nothing in files written before they had any.
    #[serde(default)]
    trends: Trends,
}

/// What is believed of a workload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Posterior {
    /// Expected quality of each tier.
    mean: [f64; 3],
    /// Standard deviation of that.
    deviation: [f64; 3],
    /// How much of what the text says of single requests is believed, 0 to 1.
    trust: f64,
    /// Mean of the model's logits.
    logits: [f64; 3],
    /// Standard deviation of how far the tiers of each pair lie apart in them.
    spread: [f64; 3],
    /// Weight of outcomes behind it, by tier.
    seen: [f64; 3],
    /// What the outcomes showed along the traits of requests.
    trend: Trend,
}

/// A cheaper tier beside a stronger one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pair {
    /// Haiku beside opus.
    HaikuOpus,
    /// Sonnet beside opus.
    SonnetOpus,
    /// Haiku beside sonnet.
    HaikuSonnet,
}

impl Pair {
    /// All of them, each at its number.
    pub const ALL: [Self; 3] = [Self::HaikuOpus, Self::SonnetOpus, Self::HaikuSonnet];

    /// Returns what is the cheaper tier's and the stronger tier's of what each tier has.
    pub(super) const fn of<T: Copy>(self, [haiku, sonnet, opus]: &[T; 3]) -> [T; 2] {
        match self {
            Self::HaikuOpus => [*haiku, *opus],
            Self::SonnetOpus => [*sonnet, *opus],
            Self::HaikuSonnet => [*haiku, *sonnet],
        }
    }

    fn gap(self, each: &[f64; 3]) -> f64 {
        let [cheaper, stronger] = self.of(each);
        stronger - cheaper
    }
}

impl Tally {
    /// Adds an outcome: the answer of `tier` (0 to 2) to a request of these logits was worth `score`, 0 to 1.
    pub fn learn(&mut self, tier: usize, score: f64, weight: f64, logits: &Logits) {
        let (Some(seen), Some(good)) = (self.seen.get_mut(tier), self.good.get_mut(tier)) else { return };
        *seen += weight;
        *good += weight * score.clamp(0.0, 1.0);
        self.judged += weight;
        self.familiar += weight * sigmoid(natural(logits.familiar));
        self.trends.learn(tier, score.clamp(0.0, 1.0), weight, &logits.traits);
        let logits = logits.quality.map(natural);
        for (sum, logit) in self.expected.iter_mut().zip(logits) {
            *sum += weight * sigmoid(logit);
        }
        for (sum, logit) in self.logits.iter_mut().zip(logits) {
            *sum += weight * logit;
        }
        let squares = self.squares.iter_mut().chain([&mut self.between]);
        for (sum, pair) in squares.zip(Pair::ALL) {
            let gap = pair.gap(&logits);
            *sum += weight * gap * gap;
        }
        if self.judged > WEIGHT_MAX {
            self.halve();
        }
    }

    /// Returns the weight of all outcomes.
    #[must_use]
    pub const fn weight(&self) -> f64 {
        self.judged
    }

    /// Returns the mean score of each tier's answers and the weight behind it; `None` where there is none.
    #[must_use]
    pub fn rates(&self) -> [Option<(f64, f64)>; 3] {
        std::array::from_fn(|tier| {
            let (seen, good) = (*self.seen.get(tier)?, *self.good.get(tier)?);
            (seen > 0.0).then(|| (good / seen, seen))
        })
    }

    /// Tells whether these sums can have come about: finite, not negative, no score above 1.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let whole = [&self.judged, &self.familiar];
        let counts = self.seen.iter().chain(&self.good).chain(&self.expected).chain(whole);
        let sane = counts.clone().all(|count| count.is_finite() && (0.0..=2.0 * WEIGHT_MAX).contains(count));
        let below = |part: &[f64; 3], whole: &[f64; 3]| part.iter().zip(whole).all(|(a, b)| *a <= b + 1e-6);
        sane && below(&self.good, &self.seen)
            && below(&self.expected, &[self.judged; 3])
            && self.familiar <= self.judged + 1e-6
            && self.trends.is_sound(2.0 * WEIGHT_MAX)
            && (self.seen.iter().sum::<f64>() - self.judged).abs() < 1e-3
            && self.logits.iter().chain(&self.squares).chain([&self.between]).all(|sum| sum.is_finite())
    }

    /// So that a workload that changes is learned anew.
    fn halve(&mut self) {
        let sums = self.seen.iter_mut().chain(&mut self.good).chain(&mut self.expected);
        let whole = [&mut self.judged, &mut self.familiar, &mut self.between];
        for sum in sums.chain(&mut self.logits).chain(&mut self.squares).chain(whole) {
            *sum /= 2.0;
        }
        self.trends.halve();
    }

    /// Returns what is believed with what the outcomes showed along the traits of requests; only of the workload that
    /// speaks, as those it is part of are started from at their middle.
    #[must_use]
    pub fn with_trend(&self, posterior: Posterior) -> Posterior {
        Posterior { trend: self.trends.trend(), ..posterior }
    }

    /// Returns what to believe, given what is believed of the wider workload.
    #[must_use]
    pub fn posterior(&self, wider: Option<&Posterior>) -> Posterior {
        let judged = self.judged.max(f64::MIN_POSITIVE);
        let model = self.expected.map(|sum| (sum / judged).clamp(0.05, 0.95));
        let wider = wider.map_or(NOTHING_KNOWN, |wider| wider.mean);
        let middle = wider.iter().sum::<f64>() / 3.0;
        let level = (self.good.iter().sum::<f64>() + LEVEL_WEIGHT * middle)
            / (self.seen.iter().sum::<f64>() + LEVEL_WEIGHT);
        let foreign = wider.map(|mean| (level + mean - middle).clamp(0.03, 0.97));
        let familiar = (self.familiar / judged).clamp(0.0, 1.0);
        let weight = between(FOREIGN_WEIGHT, MODEL_WEIGHT, familiar);
        let lead = self.likelihood(&model, weight) - self.likelihood(&foreign, FOREIGN_WEIGHT);
        let believed = sigmoid(lead + MODEL_LEAD * familiar);
        let logits = self.logits.map(|sum| sum / judged);
        let mut posterior = Posterior {
            mean: [0.0; 3],
            deviation: [0.0; 3],
            trust: believed * between(STRANGE_SHARE, 1.0, familiar),
            logits,
            spread: self.spread(logits),
            seen: self.seen,
            trend: Trend::default(),
        };
        let priors = model.iter().zip(&foreign).zip(self.seen.iter().zip(&self.good));
        let places = posterior.mean.iter_mut().zip(&mut posterior.deviation);
        for ((mean, deviation), ((model, foreign), (seen, good))) in places.zip(priors) {
            let under = |prior: f64, weight: f64| {
                let mean = (weight * prior + good) / (weight + seen);
                (mean, mean * (1.0 - mean) / (weight + seen + 1.0))
            };
            let ((one, variance), (other, other_variance)) =
                (under(*model, weight), under(*foreign, FOREIGN_WEIGHT));
            *mean = between(other, one, believed).clamp(0.02, 0.98);
            // Within each explanation and between the two.
            let apart = believed * (1.0 - believed) * (one - other) * (one - other);
            *deviation = (between(other_variance, variance, believed) + apart).sqrt();
        }
        posterior
    }

    /// Standard deviation of how far the tiers of each pair lie apart, about the mean of the logits.
    fn spread(&self, mean: [f64; 3]) -> [f64; 3] {
        let judged = self.judged.max(f64::MIN_POSITIVE);
        let [haiku, sonnet] = self.squares;
        let mut spread = [haiku, sonnet, self.between];
        for (place, pair) in spread.iter_mut().zip(Pair::ALL) {
            let gap = pair.gap(&mean);
            *place = (*place / judged - gap * gap).max(0.0).sqrt().max(SPREAD_MIN);
        }
        spread
    }

    /// Log of how well Beta priors with these means foretold the outcomes.
    fn likelihood(&self, prior: &[f64; 3], weight: f64) -> f64 {
        let one = |((prior, seen), good): ((&f64, &f64), &f64)| {
            let (alpha, beta) = (weight * prior, weight * (1.0 - prior));
            log_beta(alpha + good, beta + (seen - good).max(0.0)) - log_beta(alpha, beta)
        };
        prior.iter().zip(&self.seen).zip(&self.good).map(one).sum()
    }
}

impl Posterior {
    /// Returns the quality expected of each tier for a request of these logits.
    #[must_use]
    pub fn quality(&self, logits: &Logits) -> [f64; 3] {
        let mut quality = self.mean;
        let text = logits.quality.into_iter().zip(self.logits);
        for ((value, (logit_now, usual)), shift) in
            quality.iter_mut().zip(text).zip(self.trend.shifts(&logits.traits))
        {
            let by_text = sigmoid(logit(*value) + TEXT_SHARE * self.trust * (natural(logit_now) - usual));
            *value = (by_text + shift).clamp(0.0, 1.0);
        }
        quality
    }

    /// Returns the share of the stronger tier's quality that this workload is sure to keep if the cheaper takes every
    /// request at most as hard as one of these logits; `None` where too few outcomes of either speak for it.
    #[must_use]
    pub fn sufficiency(&self, pair: Pair, logits: &Logits) -> Option<f64> {
        if pair.of(&self.seen).into_iter().any(|seen| seen < OUTCOMES_MIN) {
            return None;
        }
        let ([mean, top], [deviation, top_deviation]) = (pair.of(&self.mean), pair.of(&self.deviation));
        let ratio = mean / top;
        let unsure = (deviation / top).hypot(top_deviation * ratio / top);
        let lower = (ratio - CAUTION * unsure).clamp(0.02, 1.0);
        // Where all of the workload could go, how hard one request is does not matter.
        let apart = logit(top) - logit((top * lower).clamp(0.02, 0.98));
        let text = TEXT_SHARE * self.trust;
        let by_text = pair.gap(&logits.quality.map(natural)) - pair.gap(&self.logits);
        let (trend, trend_spread) = self.trend.gap(pair, &logits.traits);
        // The trend is in quality; so much a logit is where this tier stands.
        let steep = mean * (1.0 - mean);
        let spread =
            (text * self.spread.get(pair as usize)?).hypot(trend_spread / steep).max(f64::MIN_POSITIVE);
        let hardness = (text * by_text + trend / steep) / spread;
        let rank = between(RANK_MIN, 1.0, sigmoid(hardness / LOGISTIC));
        // As far as the text is not believed, any request may be the hardest.
        let easier = between(1.0, rank, self.trust);
        let slices = f64::from(SLICES);
        let lost = (0..SLICES).map(f64::from).map(|slice| {
            let middle = logit((slice + 0.5) / slices) * LOGISTIC;
            let there = sigmoid(logit(top) - apart - spread * middle);
            let taken = (easier * slices - slice).clamp(0.0, 1.0);
            (1.0 - there / top).max(0.0) * taken / slices
        });
        Some(1.0 - lost.sum::<f64>())
    }
}

/// The value a share of the way from one to the other.
fn between(one: f64, other: f64, share: f64) -> f64 {
    one + (other - one) * share
}

/// A logit from ten-thousandths.
pub(super) fn natural(logit: i32) -> f64 {
    f64::from(logit) / 10_000.0
}

pub(super) fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

fn logit(share: f64) -> f64 {
    (share / (1.0 - share)).ln()
}

fn log_beta(alpha: f64, beta: f64) -> f64 {
    log_gamma(alpha) + log_gamma(beta) - log_gamma(alpha + beta)
}

/// Stirling's series from 8 on, where it is exact to ten digits; below, by recurrence.
fn log_gamma(value: f64) -> f64 {
    let (mut value, mut product) = (value, 1.0);
    while value < 8.0 {
        product *= value;
        value += 1.0;
    }
    let inverse = 1.0 / (value * value);
    let series = (1.0 / 12.0 - inverse * (1.0 / 360.0 - inverse / 1_260.0)) / value;
    (value - 0.5) * value.ln() - value + HALF_LOG_TAU + series - product.ln()
}

/// Where nothing is known of the wider workload either.
const NOTHING_KNOWN: [f64; 3] = [0.64, 0.70, 0.76];
/// Outcomes that each prior is worth, chosen by cross-validation on the labelled prompts; the model's where the
/// requests are familiar to it, else it is worth no more than the other.
const MODEL_WEIGHT: f64 = 90.0;
const FOREIGN_WEIGHT: f64 = 3.0;
const LEVEL_WEIGHT: f64 = 4.0;
/// What the model is believed beforehand where the requests are familiar, as a logit; else as much as not.
const MODEL_LEAD: f64 = 3.0;
/// How much of its order within a workload is believed where the requests are strange to it.
const STRANGE_SHARE: f64 = 0.5;
/// How much of the text's differences within a workload is believed, where the model is.
const TEXT_SHARE: f64 = 0.35;
/// The lower bound lies this many standard deviations below the mean: errors of workloads average out over a tenant.
const CAUTION: f64 = 0.5;
/// Outcomes of a tier from which on it is judged by them.
const OUTCOMES_MIN: f64 = 5.0;
/// Outcomes of a workload at which all are halved.
const WEIGHT_MAX: f64 = 2_000.0;
/// Least spread of the text's differences, in logits: smaller ones are noise.
const SPREAD_MIN: f64 = 0.2;
/// Least share of a workload that is taken to be easier: requests that look easier than any before may be of a new kind.
const RANK_MIN: f64 = 0.1;
/// Scales the logistic distribution to a standard deviation near 1.
const LOGISTIC: f64 = 1.0 / 1.702;
const SLICES: u32 = 16;
const HALF_LOG_TAU: f64 = 0.918_938_533_204_672_8;

#[cfg(test)]
mod tests;
