//! One request's matter: everything a decision is made of, and the ways to settle it.
//!
//! A request is settled as asked, by force of a header, by its conversation, or by choice of the cheapest model
//! that suffices. The order among these is `decide`'s. Control and shadow hold back what choice decides, never
//! what a conversation needs.

use super::ask::Ask;
use super::decision::{Candidate, Choice, RouteDecision, Unroutable};
use super::outlook::outlook;
use super::past::Past;
use super::{Asked, Facts, Stay, continues, feasible, size, strongest_tier, tier_model};
use crate::catalog::{Catalog, Model};
use crate::config::{self, Ceiling, Mode, Routing, Tiers};
use crate::tier::{Complexity, Reason, Tier};

/// Everything a decision is made of.
#[derive(Clone, Copy)]
pub(super) struct Matter<'a> {
    pub(super) asked: &'a Asked,
    pub(super) ask: &'a Ask<'a>,
    pub(super) complexity: &'a Complexity,
    pub(super) catalog: &'a Catalog,
    pub(super) tiers: &'a Tiers,
    pub(super) routing: &'a Routing,
    pub(super) facts: &'a Facts<'a>,
}

impl<'a> Matter<'a> {
    /// The model the request would go to without routing; for a free choice the strongest tier allowed.
    pub(super) fn reference(&self) -> &'a str {
        let tier = match self.asked {
            Asked::Model(name) => return name,
            Asked::Tier(tier) => *tier,
            Asked::Auto => strongest_tier(self.routing),
        };
        tier_model(self.tiers, tier).unwrap_or(&self.tiers.opus)
    }

    pub(super) fn model_tier(&self, id: &str) -> Tier {
        let known = self.catalog.model(id);
        let routed = Tier::ROUTED.into_iter().find(|tier| {
            tier_model(self.tiers, *tier)
                .is_some_and(|name| name == id || known.is_some_and(|model| model.is(name)))
        });
        routed.or(known.map(|model| model.tier)).unwrap_or(Tier::Other)
    }

    /// The share of the quality asked for that `tier` is sure to hold: the asked model's, where it is of sonnet's tier
    /// and nothing above it may be taken, else opus's.
    pub(super) fn sufficiency_of(&self, tier: Tier) -> u16 {
        self.complexity.sufficiency_of(tier, self.measure())
    }

    fn measure(&self) -> Tier {
        let may_rise = self.routing.ceiling != Ceiling::Requested && !self.is_free();
        match self.model_tier(self.reference()) {
            Tier::Sonnet if !may_rise => Tier::Sonnet,
            _ => Tier::Opus,
        }
    }

    /// Where the request's conversation stays, if it is known.
    pub(super) fn stays(&self) -> Option<Stay<'a>> {
        self.facts.past.map(|past| past.stay(&self.ask.model))
    }

    /// Tells whether any model will do.
    pub(super) fn is_free(&self) -> bool {
        *self.asked == Asked::Auto
    }

    /// Tokens of the prompt that `model` has warm: of this conversation, or of others that begin alike.
    pub(super) fn warm_tokens(&self, model: &str) -> u64 {
        let at_s = self.facts.at.as_second();
        let own = self.facts.past.map_or(0, |past| past.warm_tokens(model, at_s));
        let shared = self.facts.ahead.shared.iter();
        let shared = shared.filter(|warm| warm.model == model && warm.until_s > at_s).map(|warm| warm.tokens);
        shared.max().unwrap_or(0).max(own)
    }

    fn header_ignored(&self) -> bool {
        !self.routing.header_override && (self.facts.route_off || self.facts.override_tier.is_some())
    }

    /// A decision to send to `model` for one certain reason.
    pub(super) fn settle(&self, candidates: &[Candidate], model: &str, code: &'static str) -> RouteDecision {
        let mut reasons = vec![Reason::certain(code)];
        if self.header_ignored() {
            reasons.push(Reason::certain("header-ignored"));
        }
        let sent = self.choice(candidates, model);
        self.decision(candidates.to_vec(), sent, None, reasons)
    }

    pub(super) fn decision(
        &self,
        candidates: Vec<Candidate>,
        sent: Choice,
        would_be: Option<Choice>,
        reasons: Vec<Reason>,
    ) -> RouteDecision {
        let asked_model = match self.asked {
            Asked::Auto | Asked::Tier(_) => self.ask.model.clone().into_owned(),
            Asked::Model(name) => name.clone(),
        };
        let acted = would_be.is_none();
        let conversation = self.stays().map(Stay::code);
        let bound = self.ask.thread.then_some("thread");
        RouteDecision {
            asked_model,
            reference: self.reference().to_owned(),
            sent,
            would_be,
            acted,
            reasons,
            candidates,
            mode: self.routing.mode,
            measure: self.measure(),
            conversation: bound.or(conversation).or_else(|| continues(self.ask)),
            escalated_from: None,
        }
    }

    pub(super) fn choice(&self, candidates: &[Candidate], model: &str) -> Choice {
        let tier = self.model_tier(model);
        let adaptations = candidates
            .iter()
            .find(|candidate| candidate.model == model)
            .map(|candidate| candidate.adaptations.clone())
            .unwrap_or_default();
        Choice { tier, model: model.to_owned(), adaptations }
    }

    pub(super) fn forced(&self, candidates: &[Candidate], tier: Tier) -> Result<RouteDecision, Unroutable> {
        let named = tier_model(self.tiers, tier).unwrap_or(&self.tiers.opus);
        let reference = self.reference();
        if named == reference || self.catalog.model(reference).is_some_and(|model| model.is(named)) {
            return Ok(self.settle(candidates, reference, "tier-forced"));
        }
        let blockers =
            match candidates.iter().find(|candidate| candidate.tier == tier && candidate.model == named) {
                Some(candidate) => {
                    // Where a header sent the conversation there before, its thinking is there to be read.
                    let reads = |past: &Past| past.readable(|writer| self.catalog.reads(named, writer));
                    let wrote = self.stays().and_then(Stay::model) == Some(named)
                        && self.facts.past.is_some_and(reads);
                    let stands = |code: &&str| !(is_waived(code) || wrote && *code == "history-thinking");
                    candidate.blockers.iter().copied().filter(stands).collect()
                }
                None => vec!["unknown-model"],
            };
        if blockers.is_empty() {
            return Ok(self.settle(candidates, named, "tier-forced"));
        }
        Err(Unroutable { tier, model: named.to_owned(), blockers })
    }

    /// A conversation stays where it went, where the request can still go there.
    pub(super) fn stay(&self, candidates: &[Candidate], stay: &str) -> RouteDecision {
        if stay == self.reference() {
            return self.settle(candidates, stay, "conversation");
        }
        let Some(model) = self.catalog.model(stay) else {
            return self.settle(candidates, self.reference(), "stay-infeasible");
        };
        let fit = feasible::stays(self, model);
        let binds = self.binds(stay);
        let acts = binds || self.routing.mode == Mode::Enforce || *self.asked == Asked::Auto;
        let refuses = fit.blockers.iter().any(|code| !(binds && is_waived(code)));
        if refuses || !acts {
            let code = if acts { "stay-infeasible" } else { "shadow" };
            return self.settle(candidates, self.reference(), code);
        }
        let sent =
            Choice { tier: self.model_tier(stay), model: stay.to_owned(), adaptations: fit.adaptations };
        self.decision(candidates.to_vec(), sent, None, vec![Reason::certain("conversation")])
    }

    /// Returns whether `stay` wrote thinking that the asked model cannot read: a header sent the conversation there,
    /// and leaving would lose what it thought.
    pub(super) fn binds(&self, stay: &str) -> bool {
        self.ask.has_thinking && !self.catalog.reads(self.reference(), stay)
    }

    /// The cheapest model that suffices, or the one asked for; near the end of a budget the cheapest that can answer,
    /// if its owner wants that, whether or not routing acts otherwise.
    pub(super) fn choose(&self, candidates: Vec<Candidate>) -> RouteDecision {
        let quality = self.routing.quality_permille;
        let mut reasons = self.complexity.reasons.clone();
        if self.header_ignored() {
            reasons.push(Reason::certain("header-ignored"));
        }
        let reference = self.reference();
        let low = self.facts.budget_low;
        let as_asked = low.then(|| outlook(self, reference).ahead);
        let best = candidates
            .iter()
            .filter(|candidate| candidate.feasible && candidate.model != reference)
            .filter(|candidate| match as_asked {
                Some(as_asked) => candidate.ahead < as_asked,
                None => candidate.sufficiency_permille >= quality && self.may_move(candidate),
            })
            .min_by_key(|candidate| (candidate.ahead, candidate.tier));
        let chosen = match best {
            Some(candidate) => {
                reasons.push(Reason::certain(if low { "budget-low" } else { "suffices" }));
                candidate.model.clone()
            }
            None => self.fallback(&candidates, &mut reasons),
        };
        if chosen == reference {
            let sent = self.choice(&candidates, reference);
            return self.decision(candidates, sent, None, reasons);
        }
        let choice = self.choice(&candidates, &chosen);
        let held_back = if low {
            None
        } else if self.is_control() {
            Some("control")
        } else {
            (self.routing.mode != Mode::Enforce && *self.asked != Asked::Auto).then_some("shadow")
        };
        let Some(code) = held_back else { return self.decision(candidates, choice, None, reasons) };
        reasons.push(Reason::certain(code));
        let sent = self.choice(&candidates, reference);
        self.decision(candidates, sent, Some(choice), reasons)
    }

    /// Upwards only on evidence that the request is hard and the asked tier too weak for it; down from a model
    /// outside the tiers, of which sufficiency says nothing, only where the request is easy.
    fn may_move(&self, candidate: &Candidate) -> bool {
        let reference = self.model_tier(self.reference());
        let suffices = |tier| self.sufficiency_of(tier) >= self.routing.quality_permille;
        if reference == Tier::Other {
            return suffices(Tier::Haiku);
        }
        candidate.tier <= reference || (!suffices(reference) && self.complexity.score_permille >= HARD)
    }

    /// As asked; for a free choice that the strongest tier would refuse, the strongest that takes it.
    fn fallback(&self, candidates: &[Candidate], reasons: &mut Vec<Reason>) -> String {
        let reference = self.reference();
        let takes =
            |model: &str| candidates.iter().any(|candidate| candidate.feasible && candidate.model == model);
        if *self.asked == Asked::Auto && !takes(reference) {
            let strongest =
                candidates.iter().filter(|candidate| candidate.feasible).max_by_key(|one| one.tier);
            let code = if strongest.is_some() { "strongest-feasible" } else { "none-feasible" };
            reasons.push(Reason::certain(code));
            return strongest.map_or(reference, |candidate| &candidate.model).to_owned();
        }
        reasons.push(Reason::certain("as-asked"));
        reference.to_owned()
    }

    /// The session's id decides, or the request's, so that a conversation stays on one side and a decision can be
    /// reproduced from the journal.
    pub(super) fn is_control(&self) -> bool {
        !self.is_free() && config::is_drawn(self.facts.lot, self.routing.control_permille)
    }

    /// What the ceiling and the tenant say about a model, whatever the request holds; `saves` where it costs less over the
    /// turns ahead.
    pub(super) fn preferences(
        &self,
        target: &Model,
        tier: Tier,
        saves: bool,
        blockers: &mut Vec<&'static str>,
    ) {
        if !self.routing.tiers.contains(&tier) {
            blockers.push("tier-not-allowed");
        }
        let reference = self.reference();
        let own_pool = self.catalog.model(reference).is_some_and(|model| model.pool == target.pool);
        if !own_pool && self.facts.tight_pools.iter().any(|pool| **pool == *target.pool) {
            blockers.push("pool-tight");
        }
        if *self.asked == Asked::Auto {
            return;
        }
        let asked = self.model_tier(reference);
        if tier == asked {
            blockers.push("same-tier");
        } else if tier > asked && self.routing.ceiling == Ceiling::Requested {
            blockers.push("above-ceiling");
        } else if tier < asked && size::list_price(self, &target.id) > size::list_price(self, reference) {
            blockers.push("dearer");
        } else if tier < asked && !saves {
            blockers.push("no-saving");
        }
    }
}

/// What the ceiling says, not the request.
pub(super) fn is_preference(code: &str) -> bool {
    matches!(code, "same-tier" | "above-ceiling" | "dearer" | "no-saving" | "pool-tight")
}

/// What a forced tier overrides: the ceiling, what is merely not known, and differences that the client chose
/// with the tier. What the upstream would refuse, what binds the history and the tenant's tiers stand.
fn is_waived(code: &str) -> bool {
    is_preference(code) || WAIVED.contains(&code)
}

const WAIVED: [&str; 16] = [
    "asked-refuses",
    "prewarm",
    "api-version",
    "unknown-field",
    "unknown-beta",
    "block-kind",
    "tool-kind",
    "advisor",
    "inference-geo",
    "service-tier",
    "context",
    "thinking-default",
    "thinking-display",
    "thinking-unreadable",
    "thinking-eats-answer",
    "answer-room",
];

/// Difficulty from which on a ceiling above the asked model is used.
const HARD: u16 = 650;
