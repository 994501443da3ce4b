//! The three tiers a request can be sent to, from the cheapest to the dearest, and the evidence for one of them.
//!
//! Evidence stands here because the policy that weighs it and the policy that decides by it do not know each other.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A class of model; the order is the order of strength and price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// The smallest and cheapest models.
    Haiku,
    /// The middle.
    Sonnet,
    /// The strongest that routing may choose.
    Opus,
    /// Models that routing never chooses, and models the catalog does not know.
    Other,
}

impl Tier {
    /// The tiers that routing chooses among, cheapest first.
    pub const ROUTED: [Self; 3] = [Self::Haiku, Self::Sonnet, Self::Opus];

    /// Returns the name used in headers, metrics, configuration and the journal.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Haiku => "haiku",
            Self::Sonnet => "sonnet",
            Self::Opus => "opus",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Tier {
    type Err = ();

    /// Reads `haiku`, `sonnet` or `opus`; `other` is never asked for by name.
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ROUTED.into_iter().find(|tier| tier.name() == text).ok_or(())
    }
}

/// A named piece of evidence; codes are a closed list, in `docs/routing.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Reason {
    /// What was seen or ruled, in kebab case.
    pub code: &'static str,
    /// How far it moved the difficulty, in parts per thousand; 1,000 where it settled the matter.
    pub weight: i16,
}

impl Reason {
    /// Returns a reason that settled the matter by itself.
    #[must_use]
    pub const fn certain(code: &'static str) -> Self {
        Self { code, weight: 1_000 }
    }
}

/// What a request's text and form say, before its workload is considered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The client names the call as a small one.
    pub hinted: Option<Reason>,
    /// The form makes the call a small one.
    pub formed: Option<Reason>,
    /// What the trained model makes of the text and the tools.
    pub logits: Logits,
}

/// How many traits a request has.
pub const TRAITS: usize = 4;

/// What the trained model makes of a request; logits are in ten-thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Logits {
    /// How well haiku, sonnet and opus would answer: the share of full marks that is expected of each.
    pub quality: [i32; 3],
    /// Whether the request is of a kind that the model saw answered by the models in question.
    pub familiar: i32,
    /// Where it lies along the lines that set the requests of a workload apart, in 2^-20ths.
    pub traits: [i32; TRAITS],
}

/// How much model a request needs, with the evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Complexity {
    /// Share of opus's quality in parts per thousand that haiku, sonnet and opus are sure to hold; never falling.
    pub sufficiency: [u16; 3],
    /// Share of sonnet's quality that haiku is sure to hold, likewise; no less than of opus's.
    pub beside_sonnet: u16,
    /// Difficulty, 0 to 1,000; higher needs the stronger model.
    pub score_permille: u16,
    /// What spoke for it, at most 16.
    pub reasons: Vec<Reason>,
}

impl Complexity {
    /// Returns the share of `measure`'s quality that `tier` is sure to hold; 1,000 for `measure` and above it, and for a
    /// model outside the routed tiers. Whatever is no tier is measured as opus is.
    #[must_use]
    pub const fn sufficiency_of(&self, tier: Tier, measure: Tier) -> u16 {
        match (tier, measure) {
            (Tier::Other, _) | (_, Tier::Haiku) | (Tier::Sonnet | Tier::Opus, Tier::Sonnet) => 1_000,
            (Tier::Haiku, Tier::Sonnet) => self.beside_sonnet,
            (Tier::Haiku, _) => self.sufficiency[0],
            (Tier::Sonnet, _) => self.sufficiency[1],
            (Tier::Opus, _) => self.sufficiency[2],
        }
    }
}
