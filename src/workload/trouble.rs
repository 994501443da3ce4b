//! Trouble with answers that nobody judged: refusals, answers cut short, tools that fail on what was called.
//!
//! Each is counted against its occasions. What is usual is told by the other tiers, in the same workload and, where
//! that has few, in all of the client's: tools that fail for every model say nothing of one. The share of a tier's
//! answers that is trouble beyond that and beyond chance is lost to it, for easy requests as for hard ones. An answer
//! without trouble proves nothing, so trouble sends a workload up and its absence never down.

use serde::{Deserialize, Serialize};

/// What speaks against an answer although nobody judged it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It was a refusal, or was cut far below what was asked for.
    Ended,
    /// The tools it called failed or could not take what they were called with, or it called the same again.
    Tools,
    /// The next turn says the same again or contradicts it, or the same request came again at once.
    Again,
}

/// How often there was trouble with the answers to one workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Troubles {
    ended: Trouble,
    tools: Trouble,
    #[serde(default)]
    again: Trouble,
}

/// Trouble of one sign; tiers from haiku to opus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trouble {
    occasions: [f64; 3],
    cases: [f64; 3],
}

impl Troubles {
    /// Notes whether an answer of `tier` (0 to 2) was trouble.
    pub fn note(&mut self, sign: Sign, tier: usize, troubled: bool) {
        match sign {
            Sign::Ended => self.ended.note(tier, troubled),
            Sign::Tools => self.tools.note(tier, troubled),
            Sign::Again => self.again.note(tier, troubled),
        }
    }

    /// Returns the share of haiku's and sonnet's answers that is lost, 0 to 1; `client` is the client's trouble in all.
    ///
    /// Nothing is held against opus: that would send its requests down.
    #[must_use]
    pub fn lost(&self, client: &Self) -> [f64; 2] {
        [0, 1].map(|tier| {
            let ended = self.ended.lost(tier, &client.ended, ENDED_USUAL);
            let tools = self.tools.lost(tier, &client.tools, TOOLS_USUAL);
            let again = self.again.lost(tier, &client.again, AGAIN_USUAL);
            1.0 - (1.0 - ended) * (1.0 - TOOLS_WEIGHT * tools) * (1.0 - AGAIN_WEIGHT * again)
        })
    }

    /// Tells whether these counts can have come about.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.ended.is_sound() && self.tools.is_sound() && self.again.is_sound()
    }
}

impl Trouble {
    fn note(&mut self, tier: usize, troubled: bool) {
        let (Some(occasions), Some(cases)) = (self.occasions.get_mut(tier), self.cases.get_mut(tier)) else {
            return;
        };
        *occasions += 1.0;
        *cases += f64::from(u8::from(troubled));
        if self.occasions.iter().sum::<f64>() > OCCASIONS_MAX {
            self.occasions.iter_mut().chain(&mut self.cases).for_each(|sum| *sum /= 2.0);
        }
    }

    /// The share of a tier's occasions that was trouble beyond what is usual for the others, and beyond chance.
    fn lost(&self, tier: usize, client: &Self, usual: f64) -> f64 {
        let (Some(occasions), Some(cases)) = (self.occasions.get(tier), self.cases.get(tier)) else {
            return 0.0;
        };
        let base = self.rate_of_others(tier, client.rate_of_others(tier, usual));
        let expected = base * occasions;
        let excess = cases - expected - CHANCE * (expected * (1.0 - base)).sqrt();
        excess.max(0.0) / (occasions + BASE_WEIGHT)
    }

    /// How often the other tiers had trouble, starting from what is believed beforehand.
    fn rate_of_others(&self, tier: usize, before: f64) -> f64 {
        let others = |sums: &[f64; 3]| sums.iter().sum::<f64>() - sums.get(tier).unwrap_or(&0.0);
        (others(&self.cases) + BASE_WEIGHT * before) / (others(&self.occasions) + BASE_WEIGHT)
    }

    fn is_sound(&self) -> bool {
        let bounded = self.occasions.iter().all(|count| (0.0..=2.0 * OCCASIONS_MAX).contains(count));
        bounded && self.cases.iter().zip(&self.occasions).all(|(cases, all)| (0.0..=*all).contains(cases))
    }
}

/// Share of answers that are refused or cut short, of turns whose tools fail, and of answers that are asked for again,
/// where nothing else is known.
const ENDED_USUAL: f64 = 0.02;
const TOOLS_USUAL: f64 = 0.15;
const AGAIN_USUAL: f64 = 0.1;
/// What a turn of failing tools is worth beside a refusal: the tool or the world may be at fault.
const TOOLS_WEIGHT: f64 = 0.5;
/// What a turn that asks again is worth: people change their minds, and programs ask in turns.
const AGAIN_WEIGHT: f64 = 0.5;
/// Occasions that what is believed beforehand is worth.
const BASE_WEIGHT: f64 = 20.0;
/// Standard deviations that are put down to chance.
const CHANCE: f64 = 2.0;
/// Occasions of a workload at which all are halved, so that it is learned anew.
const OCCASIONS_MAX: f64 = 2_000.0;

#[cfg(test)]
mod tests;
