//! Which model answers: what was asked, what is feasible, what suffices, what it costs.
//!
//! `settle` is the whole policy, in the order of `docs/routing.md`. It decides on facts (`ask`, `past`, `habits`)
//! that the journal keeps as a `basis`, so that a decision can be made again. `feasible` says which models would
//! answer the request as it stands, with `thinking` and `size` for its two longer questions; `outlook` what that would
//! cost over the turns ahead; `matter` settles, `course` for known conversations; `decision` is what comes out. No
//! request is edited: the one text that may be added stands in the decision, by name. A request that is valid for
//! the model it names is never sent where it would fail, lose thinking or mean something else; in doubt it goes
//! where it was asked.

mod ask;
mod basis;
mod conversation;
mod course;
mod decision;
mod fault;
mod feasible;
mod habits;
mod matter;
mod outlook;
mod past;
mod remembered;
mod size;
mod thinking;
mod written;

use std::borrow::Cow;

use jiff::Timestamp;

pub use ask::Ask;
pub use basis::{Basis, USUAL_VERSION};
pub use conversation::{Conversations, Prefixes, SHARED_BYTES_MAX, Speaker, pack, shared_name, unpack};
pub use decision::{Candidate, Choice, DECISION_FIELDS, Origin, RouteDecision, Unroutable, told_whole};
pub use fault::Wanted;
pub use habits::{Ahead, Habits, Turn, Workload};
pub use past::{ANYONE, Answered, Ended, Past, Warm};

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
    /// What its conversation has been through, its tools' last results included, if it is known; never of a thread.
    pub past: Option<&'a Past>,
    /// What is ahead of it.
    pub ahead: &'a Ahead,
    /// Decides whether the request is control: the session's id, or the request's where none is named.
    pub lot: &'a str,
    /// The request is a count_tokens.
    pub count_tokens: bool,
    /// Pools of the catalog of which little is left upstream: nothing is moved into them.
    pub tight_pools: &'a [Cow<'a, str>],
    /// A budget of the caller nears its end, and its owner would rather have cheaper answers than none.
    pub budget_low: bool,
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
    let ask = Ask::of(envelope);
    let matter = Matter { asked, ask: &ask, complexity, catalog, tiers, routing, facts };
    settle(&matter)
}

/// The whole policy, in the order of `docs/routing.md`.
fn settle(matter: &Matter<'_>) -> Result<RouteDecision, Unroutable> {
    let Matter { asked, ask, catalog, routing, facts, .. } = *matter;
    let candidates = feasible::candidates(matter);
    let as_asked = |code| matter.settle(&candidates, matter.reference(), code);
    if ask.thread {
        return Ok(as_asked("thread"));
    }
    if facts.route_off && routing.header_override {
        return Ok(as_asked("route-off"));
    }
    if let (Some(tier), true) = (facts.override_tier, routing.header_override) {
        return matter.forced(&candidates, tier);
    }
    let stay = matter.stays().and_then(Stay::model);
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
    match (facts.past, matter.stays()) {
        (Some(past), Some(Stay::With(_))) => return Ok(matter.go_on(&candidates, past)),
        (_, Some(stay @ Stay::Parted)) if *asked != Asked::Auto => return Ok(as_asked(stay.code())),
        _ => {}
    }
    if let Some(code) = continues(ask) {
        return Ok(as_asked(code));
    }
    Ok(matter.choose(candidates))
}

/// Returns why a conversation without known state stays where it was asked: its history binds it.
fn continues(ask: &Ask<'_>) -> Option<&'static str> {
    if ask.has_thinking {
        return Some("history-thinking");
    }
    if ask.in_tool_loop || ask.called_tools {
        return Some("tool-loop");
    }
    (ask.answered && ask.cached).then_some("cached-conversation")
}

#[cfg(test)]
mod tests;
