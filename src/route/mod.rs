//! Which model answers: what was asked, what is feasible, what suffices, what it costs.
//!
//! `decide` is the whole policy, in the order of `docs/routing.md`. `feasible` says which models would answer the
//! request as it stands, with `thinking` and `size` for its two longer questions; `matter` settles; `decision` is
//! what comes out. No state is kept: what a conversation has seen comes in with [`Facts`]. No request is edited:
//! the one text that may be added stands in the decision, by name. A request that is valid for the model it names
//! is never sent where it would fail, lose thinking or mean something else; in doubt it goes where it was asked.

mod conversation;
mod decision;
mod feasible;
mod matter;
mod size;
mod thinking;

use jiff::Timestamp;

pub use conversation::{Conversations, Known, Prefixes, Speaker};
pub use decision::{Candidate, Choice, RouteDecision, Unroutable};

use self::matter::Matter;
use crate::catalog::Catalog;
use crate::config::{Mode, Routing, Tiers};
use crate::tier::{Complexity, Tier};
use crate::wire::envelope::Envelope;

/// What the model's name asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// `tercet-auto`: any tier.
    Auto,
    /// `haiku`, `sonnet` or `opus`: this tier's model.
    Tier(Tier),
    /// Any other name: this model, and none dearer.
    Model(String),
}

/// What is known besides the body and the policy.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// `anthropic-version`.
    pub api_version: &'a str,
    /// Values of `anthropic-beta`.
    pub betas: &'a [&'a str],
    /// `x-tercet-tier`.
    pub override_tier: Option<Tier>,
    /// `x-tercet-route: off`.
    pub route_off: bool,
    /// Where this conversation went before, if it is known; never of a thread.
    pub conversation_stays: Option<Stay<'a>>,
    /// Decides whether the request is control.
    pub request_id: &'a str,
    /// The request is a count_tokens.
    pub count_tokens: bool,
    /// Dates prices.
    pub at: Timestamp,
}

/// Where a known conversation stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay<'a> {
    /// With the model its last turn was sent to, for the same asked model.
    With(&'a str),
    /// Nowhere but where it is asked: another model was asked before, or two alike went to different models.
    Parted,
}

impl<'a> Stay<'a> {
    /// Returns the model that answered last, where that is known and still binds.
    const fn model(self) -> Option<&'a str> {
        match self {
            Self::With(model) => Some(model),
            Self::Parted => None,
        }
    }

    const fn code(self) -> &'static str {
        match self {
            Self::With(_) => "conversation",
            Self::Parted => "conversation-parted",
        }
    }
}

impl Asked {
    /// Reads a model's name; any name has a meaning.
    #[must_use]
    pub fn parse(model: &str) -> Self {
        match model {
            "tercet-auto" | "claude-tercet-auto" => Self::Auto,
            name => name.parse().map_or_else(|()| Self::Model(name.to_owned()), Self::Tier),
        }
    }
}

/// Returns the model of a routed tier; `other` has none.
#[must_use]
pub fn tier_model(tiers: &Tiers, tier: Tier) -> Option<&str> {
    match tier {
        Tier::Haiku => Some(&tiers.haiku),
        Tier::Sonnet => Some(&tiers.sonnet),
        Tier::Opus => Some(&tiers.opus),
        Tier::Other => None,
    }
}

/// Returns the strongest tier that a routing allows, which a free choice starts from.
#[must_use]
pub fn strongest_tier(routing: &Routing) -> Tier {
    let routed = routing.tiers.iter().copied().filter(|tier| *tier != Tier::Other);
    routed.max().unwrap_or(Tier::Opus)
}

/// Decides which model answers.
///
/// # Errors
///
/// Only where a header forces a tier that would refuse the request or answer it differently.
pub fn decide(
    asked: &Asked,
    envelope: &Envelope<'_>,
    complexity: &Complexity,
    catalog: &Catalog,
    tiers: &Tiers,
    routing: &Routing,
    facts: &Facts<'_>,
) -> Result<RouteDecision, Unroutable> {
    let matter = Matter { asked, envelope, complexity, catalog, tiers, routing, facts };
    let candidates = feasible::candidates(&matter);
    let as_asked = |code| matter.settle(&candidates, matter.reference(), code);
    if envelope.thread.is_some() {
        return Ok(as_asked("thread"));
    }
    if facts.route_off && routing.header_override {
        return Ok(as_asked("route-off"));
    }
    if let (Some(tier), true) = (facts.override_tier, routing.header_override) {
        return matter.forced(&candidates, tier);
    }
    let stay = facts.conversation_stays.and_then(Stay::model);
    if let Some(model) = stay.filter(|model| matter.binds(model)) {
        return Ok(matter.stay(&candidates, model));
    }
    if matches!(asked, Asked::Tier(_)) {
        return Ok(as_asked("tier-asked"));
    }
    let known = catalog.model(matter.reference()).is_some_and(|model| model.accepts.is_some());
    if !known {
        return Ok(as_asked("unknown-model"));
    }
    if routing.mode == Mode::Off && *asked != Asked::Auto {
        return Ok(as_asked("mode-off"));
    }
    match facts.conversation_stays {
        Some(Stay::With(model)) => return Ok(matter.stay(&candidates, model)),
        Some(stay @ Stay::Parted) if *asked != Asked::Auto => return Ok(as_asked(stay.code())),
        _ => {}
    }
    if let Some(code) = continues(envelope) {
        return Ok(as_asked(code));
    }
    Ok(matter.choose(candidates))
}

/// Returns why a conversation without known state stays where it was asked: its history binds it.
fn continues(envelope: &Envelope<'_>) -> Option<&'static str> {
    let history = &envelope.history;
    if history.has_thinking {
        return Some("history-thinking");
    }
    if envelope.in_tool_loop() || !history.last_tool_calls.is_empty() {
        return Some("tool-loop");
    }
    (history.assistant_messages > 0 && history.cache_control).then_some("cached-conversation")
}

#[cfg(test)]
mod tests;
