//! The three tiers a request can be sent to, from the cheapest to the dearest.

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
