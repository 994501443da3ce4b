//! What a request's `thinking` means to a model, and whether it means the same to another.
//!
//! Newer models think unless told not to, older ones only when told; some refuse to be told. A reply with thinking
//! where none was expected can begin with another block, eat a small `max_tokens`, and bind the conversation.

use super::ask::Ask;
use super::matter::Matter;
use crate::catalog::{Accepts, Display, Effort, Model, Switch, ThinkingType};
use crate::config::Adaptation;

/// What a model does about thinking, given a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thinks {
    No,
    Freely,
    WithBudget,
    BetweenTools,
}

/// Returns what `accepts` does with the request's `thinking`, or the code of its refusal.
pub(super) fn thinks(ask: &Ask<'_>, accepts: &Accepts) -> Result<Thinks, &'static str> {
    let rules = &accepts.thinking;
    let Some(thinking) = &ask.thinking else {
        return Ok(if rules.omitted == Switch::On { Thinks::Freely } else { Thinks::No });
    };
    let effort = effort(ask)?;
    let takes = |kind| if rules.types.contains(&kind) { Ok(()) } else { Err("thinking-type") };
    match thinking.as_ref() {
        "adaptive" => takes(ThinkingType::Adaptive).map(|()| Thinks::Freely),
        "enabled" => takes(ThinkingType::Enabled).map(|()| Thinks::WithBudget),
        "disabled" => {
            takes(ThinkingType::Disabled)?;
            if accepts.takes_disabled(effort) { Ok(Thinks::No) } else { Err("thinking-effort") }
        }
        "between_tools" => {
            takes(ThinkingType::BetweenTools)?;
            let bare = ask.display.is_none() && !ask.thinking_budget;
            let low_enough = accepts.effort_in_force(effort) <= Effort::High;
            if bare && low_enough { Ok(Thinks::BetweenTools) } else { Err("thinking-effort") }
        }
        _ => Err("thinking-type"),
    }
}

/// Returns the effort asked for, or the code for a word that is not one.
pub(super) fn effort(ask: &Ask<'_>) -> Result<Option<Effort>, &'static str> {
    match ask.effort.as_deref() {
        None => Ok(None),
        Some(word) => Effort::parse(word).map(Some).ok_or("effort"),
    }
}

/// Adds the codes of all differences in thinking between the asked model and a target that would take the request.
pub(super) fn differences(
    matter: &Matter<'_>,
    reference: &Model,
    target: &Model,
    blockers: &mut Vec<&'static str>,
) -> Vec<Adaptation> {
    let ask = matter.ask;
    let (Some(here), Some(there)) = (&reference.accepts, &target.accepts) else { return Vec::new() };
    let (Ok(before), Ok(after)) = (thinks(ask, here), thinks(ask, there)) else {
        return Vec::new();
    };
    if before == Thinks::No && after == Thinks::Freely && ask.thinking.is_none() {
        let adapts = matter.routing.adaptations.contains(&Adaptation::ThinkingDefault);
        let accepted = effort(ask).is_ok_and(|effort| there.takes_disabled(effort));
        if adapts && accepted && !ask.message_config && !ask.thinking_null {
            return vec![Adaptation::ThinkingDefault];
        }
    }
    if before != after {
        blockers.push("thinking-default");
        return Vec::new();
    }
    if after == Thinks::No {
        return Vec::new();
    }
    if !displays_alike(ask, here, there) {
        blockers.push("thinking-display");
    }
    if !matter.catalog.reads(&reference.id, &target.id) {
        blockers.push("thinking-unreadable");
    }
    if eats_answer(matter, here, there) {
        blockers.push("thinking-eats-answer");
    }
    Vec::new()
}

/// A display given in words we know is taken by all models; left out, each shows its own.
fn displays_alike(ask: &Ask<'_>, here: &Accepts, there: &Accepts) -> bool {
    match ask.display.as_deref() {
        Some("summarized" | "omitted") => true,
        Some(_) => false,
        None => display(here) == display(there),
    }
}

const fn display(accepts: &Accepts) -> Display {
    accepts.thinking.display
}

/// Both think, but the target harder by default: a small `max_tokens` that was enough may not be.
fn eats_answer(matter: &Matter<'_>, here: &Accepts, there: &Accepts) -> bool {
    let Ok(asked) = effort(matter.ask) else { return true };
    let harder = there.effort_in_force(asked) > here.effort_in_force(asked);
    let small = matter.ask.max_tokens.is_some_and(|tokens| tokens < SMALL_TOKENS);
    harder && small && !matter.facts.count_tokens
}

/// Below this, thinking at a higher effort can take the whole answer.
const SMALL_TOKENS: u64 = 4_096;
