//! The shadow sample in the journal: what a request that was asked again at another model came to, and its sums.
//!
//! One record of an exchange holds all that was spent on one sampled request, judges included. The sums say what
//! share of the asked models' quality routing held, and what a coin would have cost that held as much: on the same
//! requests it sends as large a part of all of them to the cheaper model, whatever they are, as routing loses of all
//! that would have been lost there. Costs here compare; what sampling itself cost is in `spent`.

use serde::{Deserialize, Serialize};

use crate::id::RequestId;
use crate::money::NanoUsd;
use crate::tier::Tier;

/// A request that was asked again at another model, in the background, and compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleRecord {
    /// The client's exchange.
    pub of: RequestId,
    /// The tier of the cheaper of the two models.
    pub tier: Tier,
    /// Whether routing had decided on the cheaper model.
    pub routed: bool,
    /// The fingerprint of the request's workload, 16 hex digits.
    pub workload: Option<String>,
    /// What the comparison came to; none where there was no second answer.
    pub verdict: Option<Verdict>,
    /// What decided it.
    pub ground: Option<Ground>,
    /// What the request cost, or would have, at the model asked for.
    pub asked_nanousd: NanoUsd,
    /// Likewise at the cheaper one.
    pub cheaper_nanousd: NanoUsd,
}

/// What a comparison of two answers came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The cheaper model's answer is as good.
    Held,
    /// It is worse.
    Lost,
    /// Nobody can tell.
    Unclear,
}

/// What decided a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ground {
    /// The same text, but for spaces.
    Text,
    /// The same JSON value.
    Json,
    /// The same tools called with the same input.
    Calls,
    /// One of the answers surely failed.
    Fault,
    /// A judge, asked twice.
    Judge,
}

/// Sums over the sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SampleSums {
    /// Requests whose comparison was clear.
    pub compared: u64,
    /// Those of them that routing had sent down, and whose answer was worse.
    pub lost: u64,
    /// Those that it had not, and whose answer would have been worse.
    pub spared: u64,
    /// Comparisons that told nothing.
    pub unclear: u64,
    /// What asking again and judging cost.
    pub spent: NanoUsd,
    /// What the compared requests come to at the models asked for.
    pub as_asked: NanoUsd,
    /// Likewise where routing decided.
    pub routed: NanoUsd,
    /// Likewise all at the cheaper models.
    pub cheaper: NanoUsd,
}

/// The share of the asked models' quality that was held, 0 to 1, with its interval of 95 %.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// The share of compared requests whose answer was as good.
    pub held: f64,
    /// The least it may be.
    pub low: f64,
    /// The most it may be.
    pub high: f64,
}

impl SampleRecord {
    /// Returns what is known of a sample that was cut short.
    #[must_use]
    pub const fn unknown(of: RequestId, tier: Tier) -> Self {
        Self {
            of,
            tier,
            routed: false,
            workload: None,
            verdict: None,
            ground: None,
            asked_nanousd: NanoUsd::ZERO,
            cheaper_nanousd: NanoUsd::ZERO,
        }
    }

    /// Returns its sums, having cost `spent`.
    #[must_use]
    pub fn sums(&self, spent: NanoUsd) -> SampleSums {
        let clear = matches!(self.verdict, Some(Verdict::Held | Verdict::Lost));
        let is_lost = self.verdict == Some(Verdict::Lost);
        let where_clear = |amount| if clear { amount } else { NanoUsd::ZERO };
        SampleSums {
            compared: u64::from(clear),
            lost: u64::from(is_lost && self.routed),
            spared: u64::from(is_lost && !self.routed),
            unclear: u64::from(self.verdict == Some(Verdict::Unclear)),
            spent,
            as_asked: where_clear(self.asked_nanousd),
            routed: where_clear(if self.routed { self.cheaper_nanousd } else { self.asked_nanousd }),
            cheaper: where_clear(self.cheaper_nanousd),
        }
    }
}

impl SampleSums {
    /// Adds other sums.
    pub fn add(&mut self, other: &Self) {
        self.compared = self.compared.saturating_add(other.compared);
        self.lost = self.lost.saturating_add(other.lost);
        self.spared = self.spared.saturating_add(other.spared);
        self.unclear = self.unclear.saturating_add(other.unclear);
        self.spent += other.spent;
        self.as_asked += other.as_asked;
        self.routed += other.routed;
        self.cheaper += other.cheaper;
    }

    /// Returns the share of quality held, by Wilson's interval; `None` where nothing was compared.
    #[must_use]
    pub fn quality(&self) -> Option<Quality> {
        if self.compared == 0 {
            return None;
        }
        let (count, square) = (self.compared as f64, NORMAL_95 * NORMAL_95);
        let held = 1.0 - self.lost as f64 / count;
        let middle = (held + square / (2.0 * count)) / (1.0 + square / count);
        let spread = (held * (1.0 - held) / count + square / (4.0 * count * count)).sqrt();
        let spread = NORMAL_95 * spread / (1.0 + square / count);
        Some(Quality { held, low: (middle - spread).max(0.0), high: (middle + spread).min(1.0) })
    }

    /// Returns what a coin that holds as much quality would have cost on the compared requests.
    #[must_use]
    pub fn coin(&self) -> NanoUsd {
        let losses = self.lost.saturating_add(self.spared);
        // Where nothing is lost anywhere, a coin may send everything down.
        let (part, whole) = if losses == 0 { (1, 1) } else { (self.lost, losses) };
        self.as_asked - (self.as_asked - self.cheaper).part(part, whole)
    }
}

/// 95 % of a normal distribution lie within so many standard deviations.
const NORMAL_95: f64 = 1.959_964;

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(routed: bool, verdict: Verdict) -> SampleSums {
        let sample = SampleRecord {
            routed,
            verdict: Some(verdict),
            asked_nanousd: NanoUsd(100),
            cheaper_nanousd: NanoUsd(20),
            ..SampleRecord::unknown(RequestId::generate(), Tier::Haiku)
        };
        sample.sums(NanoUsd(7))
    }

    fn sum(parts: &[(u64, bool, Verdict)]) -> SampleSums {
        let mut sums = SampleSums::default();
        for (count, routed, verdict) in parts {
            (0..*count).for_each(|_| sums.add(&sample(*routed, *verdict)));
        }
        sums
    }

    #[test]
    fn quality_has_the_interval_of_the_textbook() {
        assert_eq!(SampleSums::default().quality(), None);
        let sums = sum(&[(90, true, Verdict::Held), (10, true, Verdict::Lost), (3, true, Verdict::Unclear)]);
        let quality = sums.quality().unwrap();
        // Wilson's interval for 90 of 100: 0.8256 to 0.9448.
        assert!((quality.held - 0.9).abs() < 1e-9);
        assert!((quality.low - 0.825_6).abs() < 1e-4 && (quality.high - 0.944_8).abs() < 1e-4, "{quality:?}");
        let all = sum(&[(5, true, Verdict::Held)]).quality().unwrap();
        assert!(all.low < 0.6 && (all.high - 1.0).abs() < 1e-9, "{all:?}");
    }

    #[test]
    fn a_coin_pays_for_what_it_cannot_tell_apart() {
        // 60 of 100 went down and 2 were lost; of the other 40, 18 would have been. A coin that loses 2 of those 20
        // sends a tenth down, and saves a tenth of what could be saved.
        let sums = sum(&[
            (58, true, Verdict::Held),
            (2, true, Verdict::Lost),
            (22, false, Verdict::Held),
            (18, false, Verdict::Lost),
        ]);
        assert_eq!((sums.compared, sums.lost, sums.spared), (100, 2, 18));
        assert_eq!(sums.as_asked, NanoUsd(10_000));
        assert_eq!(sums.routed, NanoUsd(60 * 20 + 40 * 100));
        assert_eq!(sums.coin(), NanoUsd(10_000 - 800));
        assert_eq!(sum(&[(4, false, Verdict::Lost)]).coin(), NanoUsd(400), "it may lose nothing");
        assert_eq!(sum(&[(4, false, Verdict::Held)]).coin(), NanoUsd(80), "nothing is lost");
        assert_eq!(sums.spent, NanoUsd(700));
    }
}
