//! How a known conversation goes on: it stays, unless trouble, a harder turn or the sum says otherwise.
//!
//! Never in the middle of a tool loop with thinking, and never to a model that cannot read all thinking in it, or
//! whose own the asked model could not. Between a call and its result only trouble moves it, and only upwards.

use super::decision::{Candidate, RouteDecision};
use super::matter::Matter;
use super::outlook::outlook;
use super::past::{Ended, Past};
use crate::config::Mode;
use crate::tier::Reason;

impl Matter<'_> {
    /// Decides on a request whose conversation went to `past.model` before.
    pub(super) fn go_on(&self, candidates: &[Candidate], past: &Past) -> RouteDecision {
        let stay = self.stay(candidates, &past.model);
        let may_act = self.routing.mode == Mode::Enforce || self.is_free();
        if stay.model() != past.model || !may_act || self.is_control() {
            return stay;
        }
        let in_loop = self.ask.in_tool_loop || self.ask.called_tools;
        if in_loop && self.ask.has_thinking {
            return stay;
        }
        let moved = match trouble(past) {
            Some(code) => self.above(candidates, past).map(|to| (to, code)),
            None if in_loop => None,
            None => self.turn(candidates, past),
        };
        let Some((candidate, code)) = moved else { return stay };
        let mut reasons = if trouble(past).is_some() { Vec::new() } else { self.complexity.reasons.clone() };
        reasons.push(Reason::certain(code));
        let sent = self.choice(candidates, &candidate.model);
        self.decision(candidates.to_vec(), sent, None, reasons)
    }

    /// The next tier up.
    fn above<'c>(&self, candidates: &'c [Candidate], past: &Past) -> Option<&'c Candidate> {
        let here = self.model_tier(&past.model);
        let above = candidates.iter().filter(|one| one.tier > here && self.may_join(one, past));
        above.min_by_key(|candidate| candidate.tier)
    }

    /// At a user's turn: up where this one is harder than the tier is good for, down where that pays.
    fn turn<'c>(&self, candidates: &'c [Candidate], past: &Past) -> Option<(&'c Candidate, &'static str)> {
        let (here, quality) = (self.model_tier(&past.model), self.routing.quality_permille);
        let suffices = |one: &&Candidate| one.sufficiency_permille >= quality;
        let open = || candidates.iter().filter(|one| self.may_join(one, past));
        let cost = |one: &&Candidate| (one.ahead, one.tier);
        if self.sufficiency_of(here).saturating_add(MARGIN_PERMILLE) < quality {
            let up = open().filter(|one| one.tier > here).filter(suffices).min_by_key(cost);
            let up = up.or_else(|| open().filter(|one| one.tier > here).max_by_key(|one| one.tier));
            return up.map(|candidate| (candidate, "turn-harder"));
        }
        let down = open().filter(|one| one.tier < here && one.feasible).filter(suffices).min_by_key(cost)?;
        let known = candidates.iter().find(|one| one.model == past.model).map(|one| one.ahead);
        let stay = known.unwrap_or_else(|| outlook(self, &past.model).ahead);
        (down.ahead < stay).then_some((down, "switch-pays"))
    }

    /// Tells whether the conversation can go on there with all its thinking, and come back.
    fn may_join(&self, candidate: &Candidate, past: &Past) -> bool {
        let (model, reference) = (candidate.model.as_str(), self.reference());
        let returns = model == reference || self.catalog.reads(reference, model);
        let reads = past.readable(|writer| self.catalog.reads(model, writer));
        (candidate.feasible || model == reference) && (!self.ask.has_thinking || (reads && returns))
    }
}

/// What went wrong since the last answer, or with it.
fn trouble(past: &Past) -> Option<&'static str> {
    match past.ended {
        _ if past.failing >= FAILING => Some("trouble-tools"),
        _ if past.repeats >= REPEATS => Some("trouble-repeats"),
        Some(Ended::Refused) => Some("trouble-refused"),
        Some(Ended::Truncated) => Some("trouble-truncated"),
        None => None,
    }
}

/// Tool results in a row that failed.
const FAILING: u32 = 3;
/// The same call in a row.
const REPEATS: u32 = 3;
/// How far short of the target a tier must fall before a conversation leaves it: a guess turns often.
const MARGIN_PERMILLE: u16 = 100;
