//! What a decision was made of besides the policy: kept in the journal, so that it can be made again.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ask::Ask;
use super::decision::{RouteDecision, Unroutable};
use super::habits::Ahead;
use super::matter::Matter;
use super::past::{Past, is_default};
use super::{Asked, Facts, settle};
use crate::catalog::Catalog;
use crate::config::{Routing, Tiers};
use crate::tier::{Complexity, Reason, Tier};
use crate::wire::envelope::Envelope;

/// Facts of a request, its headers, its conversation and its difficulty; no text of prompts or answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Basis<'a> {
    /// The request.
    pub ask: Ask<'a>,
    /// `anthropic-version`; left out of a record where it is the one that nearly all clients send.
    #[serde(default = "usual_version", skip_serializing_if = "is_usual_version")]
    pub api_version: Cow<'a, str>,
    /// Values of `anthropic-beta`.
    #[serde(skip_serializing_if = "is_default")]
    pub betas: Vec<Cow<'a, str>>,
    /// `x-tercet-tier`.
    #[serde(skip_serializing_if = "is_default")]
    pub force: Option<Tier>,
    /// `x-tercet-route: off`.
    #[serde(skip_serializing_if = "is_default")]
    pub route_off: bool,
    /// What the conversation had been through.
    #[serde(skip_serializing_if = "is_default")]
    pub past: Option<Past>,
    /// What was ahead of it.
    #[serde(skip_serializing_if = "is_default")]
    pub ahead: Ahead,
    /// Pools of which little was left upstream.
    #[serde(skip_serializing_if = "is_default")]
    pub tight_pools: Vec<Cow<'a, str>>,
    /// A budget neared its end.
    #[serde(skip_serializing_if = "is_default")]
    pub budget_low: bool,
    /// A count_tokens, which is not recorded.
    #[serde(skip)]
    pub count_tokens: bool,
    /// Sufficiency of haiku, sonnet and opus beside opus, and of haiku beside sonnet, in thousandths; the last is left out
    /// where it is as the first, as it is in records from before it was told.
    #[serde(with = "shares")]
    pub sufficiency: [u16; 4],
    /// Difficulty, 0 to 1,000.
    pub score: u16,
    /// What spoke for it; told by the decision.
    #[serde(skip)]
    pub evidence: Vec<Reason>,
}

impl<'a> Basis<'a> {
    /// Gathers it.
    #[must_use]
    pub fn of(envelope: &Envelope<'a>, complexity: &Complexity, facts: &Facts<'a>) -> Self {
        Self {
            ask: Ask::of(envelope),
            api_version: facts.api_version.into(),
            betas: facts.betas.iter().map(|beta| Cow::Borrowed(*beta)).collect(),
            force: facts.override_tier,
            route_off: facts.route_off,
            past: facts.past.cloned(),
            ahead: facts.ahead.clone(),
            tight_pools: facts.tight_pools.to_vec(),
            budget_low: facts.budget_low,
            count_tokens: facts.count_tokens,
            sufficiency: {
                let [haiku, sonnet, opus] = complexity.sufficiency;
                [haiku, sonnet, opus, complexity.beside_sonnet]
            },
            score: complexity.score_permille,
            evidence: complexity.reasons.clone(),
        }
    }

    /// Decides which model answers; `lot` decides whether it is held back as control, `at` dates prices.
    ///
    /// # Errors
    ///
    /// Only where a header forces a tier that would refuse the request or answer it differently.
    pub fn decide(
        &self,
        catalog: &Catalog,
        tiers: &Tiers,
        routing: &Routing,
        lot: &str,
        at: Timestamp,
    ) -> Result<RouteDecision, Unroutable> {
        let asked = Asked::parse(&self.ask.model);
        let betas: Vec<&str> = self.betas.iter().map(AsRef::as_ref).collect();
        let [haiku, sonnet, opus, beside_sonnet] = self.sufficiency;
        let complexity = Complexity {
            sufficiency: [haiku, sonnet, opus],
            beside_sonnet,
            score_permille: self.score,
            reasons: self.evidence.clone(),
        };
        let facts = Facts {
            api_version: &self.api_version,
            betas: &betas,
            override_tier: self.force,
            route_off: self.route_off,
            past: self.past.as_ref(),
            ahead: &self.ahead,
            lot,
            count_tokens: self.count_tokens,
            tight_pools: &self.tight_pools,
            budget_low: self.budget_low,
            at,
        };
        let ask = &self.ask;
        settle(&Matter {
            asked: &asked,
            ask,
            complexity: &complexity,
            catalog,
            tiers,
            routing,
            facts: &facts,
        })
    }
}

/// The four shares as they are told.
pub(super) fn told_shares(shares: &[u16; 4]) -> &[u16] {
    let told = if shares[3] == shares[0] { 3 } else { 4 };
    shares.get(..told).unwrap_or_default()
}

mod shares {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(shares: &[u16; 4], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(super::told_shares(shares))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u16; 4], D::Error> {
        match *Vec::deserialize(deserializer)? {
            [haiku, sonnet, opus] => Ok([haiku, sonnet, opus, haiku]),
            [haiku, sonnet, opus, beside_sonnet] => Ok([haiku, sonnet, opus, beside_sonnet]),
            _ => Err(de::Error::custom("sufficiency is of three or four shares")),
        }
    }
}

const fn usual_version() -> Cow<'static, str> {
    Cow::Borrowed(USUAL_VERSION)
}

pub(super) fn is_usual_version(version: &str) -> bool {
    version == USUAL_VERSION
}

/// What curl and most clients send.
pub const USUAL_VERSION: &str = "2023-06-01";
