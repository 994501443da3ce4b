//! Which models would answer a request as it stands, and why not the others.
//!
//! Three questions, each answered in blocker codes. What binds a request to the model it names, whatever the
//! target. What a target would refuse. What a target would answer differently. A target is feasible where none
//! has an answer. What is not known to be safe is a blocker: feasibility errs towards the asked model only.

use super::ask::{ADVISOR, Ask};
use super::matter::Matter;
use super::outlook::{Outlook, outlook};
use super::thinking::{self, Thinks};
use super::{Asked, Candidate, size, tier_model};
use crate::catalog::{Accepts, Fast, Model, SamplingRule};
use crate::config::Adaptation;
use crate::tier::Tier;

/// What stands between a request and a model.
#[derive(Clone, Debug, Default)]
pub(super) struct Fit {
    pub(super) blockers: Vec<&'static str>,
    pub(super) adaptations: Vec<Adaptation>,
}

/// Returns the asked model and every tier's, each with its fit.
pub(super) fn candidates(matter: &Matter<'_>) -> Vec<Candidate> {
    let reference = matter.reference();
    let mut found = Vec::with_capacity(4);
    let here = outlook(matter, reference);
    if *matter.asked != Asked::Auto {
        found.push(as_asked(matter, reference, here));
    }
    let asked = matter.catalog.model(reference);
    // A free choice names no model whose refusal the client should see.
    let refuses = *matter.asked != Asked::Auto
        && asked
            .and_then(|model| model.accepts.as_ref())
            .is_some_and(|own| !refusals(matter, own).is_empty());
    for tier in Tier::ROUTED {
        let Some(name) = tier_model(matter.tiers, tier) else { continue };
        let same = name == reference || asked.is_some_and(|model| model.is(name));
        if same && *matter.asked != Asked::Auto {
            continue;
        }
        let target = matter.catalog.model(name);
        let there = outlook(matter, name);
        let fit = match (asked, target) {
            (Some(asked), Some(target)) => {
                let mut blockers = Vec::new();
                matter.preferences(target, tier, there.ahead < here.ahead, &mut blockers);
                judge(matter, asked, target, refuses, blockers)
            }
            _ => Fit { blockers: vec!["unknown-model"], ..Fit::default() },
        };
        found.push(candidate(matter, tier, name, there, fit));
    }
    found
}

/// Returns whether a conversation that went to `target` before can go on there: what binds it, binds it to there.
pub(super) fn stays(matter: &Matter<'_>, target: &Model) -> Fit {
    let mut fit = Fit::default();
    match (matter.catalog.model(matter.reference()), &target.accepts) {
        (Some(reference), Some(accepts)) => {
            fit.blockers = unknowns(matter, accepts);
            compare(matter, reference, target, accepts, &mut fit);
            if *matter.asked != Asked::Auto
                && size::list_price(matter, &target.id) > size::list_price(matter, &reference.id)
            {
                fit.blockers.push("dearer");
            }
        }
        _ => fit.blockers.push("unknown-model"),
    }
    fit
}

/// The asked model is always a candidate: refusing what it would refuse is the upstream's to say.
fn as_asked(matter: &Matter<'_>, reference: &str, outlook: Outlook) -> Candidate {
    candidate(matter, matter.model_tier(reference), reference, outlook, Fit::default())
}

fn candidate(matter: &Matter<'_>, tier: Tier, name: &str, outlook: Outlook, fit: Fit) -> Candidate {
    Candidate {
        tier,
        model: name.to_owned(),
        feasible: fit.blockers.is_empty(),
        blockers: fit.blockers,
        sufficiency_permille: matter.sufficiency_of(tier),
        estimate: outlook.now,
        ahead: outlook.ahead,
        adaptations: fit.adaptations,
    }
}

/// Judges a target to whose `blockers` more are added; `refuses` where the asked model would refuse the request.
fn judge(
    matter: &Matter<'_>,
    reference: &Model,
    target: &Model,
    refuses: bool,
    blockers: Vec<&'static str>,
) -> Fit {
    let mut fit = Fit { blockers, ..Fit::default() };
    let (Some(here), Some(there)) = (&reference.accepts, &target.accepts) else {
        fit.blockers = vec!["unknown-model"];
        return fit;
    };
    if reference.id == target.id {
        fit.blockers.extend(refusals(matter, there));
        return fit;
    }
    if refuses {
        fit.blockers.push("asked-refuses");
    }
    fit.blockers.extend(bonds(matter));
    fit.blockers.extend(unknowns(matter, there));
    // Where histories are checked, a client that edits its own is refused.
    let strict = there.history_check != UNCHECKED && there.history_check != here.history_check;
    if matter.ask.has_thinking && (strict || !reads_history(matter, reference, target)) {
        fit.blockers.push("history-thinking");
    }
    compare(matter, reference, target, there, &mut fit);
    fit
}

/// Tells whether `target` reads all thinking in the history and the asked model could read what it adds.
///
/// Of a history nobody knows it is the asked model's own.
fn reads_history(matter: &Matter<'_>, reference: &Model, target: &Model) -> bool {
    let reads = |writer: &str| matter.catalog.reads(&target.id, writer);
    let all = match matter.facts.past {
        Some(past) if !past.parted => past.readable(reads),
        _ => reads(&reference.id),
    };
    all && matter.catalog.reads(&reference.id, &target.id)
}

fn compare(matter: &Matter<'_>, reference: &Model, target: &Model, there: &Accepts, fit: &mut Fit) {
    fit.blockers.extend(refusals(matter, there));
    if let Some(here) = &reference.accepts {
        fit.blockers.extend(differences(matter, here, there));
        if !size::fits(matter, here, there) {
            fit.blockers.push("context");
        }
        if !size::leaves_room(matter, here, there) {
            fit.blockers.push("answer-room");
        }
    }
    fit.adaptations = thinking::differences(matter, reference, target, &mut fit.blockers);
    let price = matter.catalog.price_at(&target.id, matter.facts.at);
    if matter.ask.is_fast()
        && !price.and_then(|price| price.fast).is_some_and(|fast| fast.offered(matter.facts.at))
    {
        fit.blockers.push("fast");
    }
    if !takes_advisors(matter, there) {
        fit.blockers.push("advisor");
    }
}

/// What binds a request to one model.
fn bonds(matter: &Matter<'_>) -> Vec<&'static str> {
    let ask = matter.ask;
    let prewarm = ask.max_tokens == Some(0) && !matter.facts.count_tokens;
    when([
        (ask.thread, "thread"),
        (ask.container, "container"),
        (ask.fallback_list, "fallbacks"),
        (prewarm, "prewarm"),
    ])
}

/// What we do not know well enough to move.
fn unknowns(matter: &Matter<'_>, accepts: &Accepts) -> Vec<&'static str> {
    let ask = matter.ask;
    let known_field = |name: &str| MOVABLE_FIELDS.contains(&name);
    let betas = &matter.catalog.everywhere().betas;
    let known_beta = |beta: &str| betas.iter().chain(&accepts.betas).any(|known| known == beta.trim());
    let fields_known = ask.other_fields.iter().all(|name| known_field(name));
    when([
        (!API_VERSIONS.contains(&matter.facts.api_version), "api-version"),
        (!fields_known || ask.other_fields.len() >= FIELDS_READ, "unknown-field"),
        (!matter.facts.betas.iter().all(|beta| known_beta(beta)), "unknown-beta"),
        (!ask.other_blocks.iter().all(|kind| MOVABLE_BLOCKS.contains(&kind.as_ref())), "block-kind"),
        (ask.unknown_role, "role"),
        (ask.tools_unread, "tools-unread"),
    ])
}

/// What a model would refuse, besides advisors and too long a prompt.
fn refusals(matter: &Matter<'_>, accepts: &Accepts) -> Vec<&'static str> {
    let ask = matter.ask;
    let new_version = matter.facts.api_version == API_VERSIONS[1];
    let mut blockers = when([
        (!samples(ask, accepts, new_version), "sampling"),
        (new_version && ask.assistant_document, "assistant-document"),
        (ask.prefill && !accepts.prefill, "prefill"),
        (!takes_tool_choice(ask, accepts), "tool-choice"),
        (ask.system_messages && !accepts.system_messages, "system-messages"),
        (ask.task_budget && !accepts.task_budget, "task-budget"),
        (!takes_speed(ask, accepts), "fast"),
        (ask.inference_geo && !accepts.inference_geo, "inference-geo"),
        (!takes_kinds(matter, accepts), "tool-kind"),
        (manages_context(ask) && !accepts.compaction, "compaction"),
    ]);
    let tokens = if matter.facts.count_tokens { None } else { ask.max_tokens };
    if tokens.is_some_and(|tokens| tokens > accepts.max_output_tokens) {
        blockers.push("max-tokens");
    }
    if !thinking::effort(ask).is_ok_and(|effort| effort.is_none_or(|one| accepts.efforts.contains(&one))) {
        blockers.push("effort");
    }
    match thinking::thinks(ask, accepts) {
        Err(code) => blockers.push(code),
        Ok(thinks) => {
            if ask.message_config && (!accepts.message_effort || thinks == Thinks::No) {
                blockers.push("message-config");
            }
        }
    }
    blockers
}

/// What a model would answer differently, besides thinking.
fn differences(matter: &Matter<'_>, here: &Accepts, there: &Accepts) -> Vec<&'static str> {
    let ask = matter.ask;
    let tier = ask.service_tier.as_deref();
    let tier_differs = tier == Some("auto") && here.priority != there.priority;
    when([
        (is_forced(ask) && ask.asks_thinking(), "tool-choice"),
        (tier_differs || tier.is_some_and(|tier| tier != "auto" && tier != "standard_only"), "service-tier"),
    ])
}

/// Judges sampling: on the older API version by the model's rule, on the newer none is taken.
fn samples(ask: &Ask<'_>, accepts: &Accepts, new_version: bool) -> bool {
    let (temperature, top_p, top_k) =
        (ask.temperature.as_deref(), ask.top_p.as_deref(), ask.top_k.as_deref());
    if temperature.or(top_p).or(top_k).is_none() {
        return true;
    }
    let thinks = !matches!(thinking::thinks(ask, accepts), Ok(Thinks::No));
    let is_default = temperature.is_none_or(|number| is_decimal(number, "1"))
        && top_p.is_none_or(|number| is_decimal(number, "0.99"))
        && top_k.is_none();
    match accepts.sampling {
        _ if new_version => false,
        SamplingRule::Defaults => is_default,
        SamplingRule::Free if temperature.is_some() && top_p.is_some() => false,
        SamplingRule::Free => !thinks || (is_default && top_p.is_none()),
    }
}

/// Compares a JSON number with a decimal without reading it as a float: trailing zeros aside, the same digits.
fn is_decimal(number: &str, decimal: &str) -> bool {
    let Some(rest) = number.strip_prefix(decimal) else { return false };
    let rest = if decimal.contains('.') { rest } else { rest.strip_prefix('.').unwrap_or(rest) };
    let zeros = rest.bytes().all(|byte| byte == b'0');
    zeros && (rest.is_empty() || number.contains('.'))
}

fn is_forced(ask: &Ask<'_>) -> bool {
    matches!(ask.tool_choice.as_deref(), Some("any" | "tool"))
}

fn takes_tool_choice(ask: &Ask<'_>, accepts: &Accepts) -> bool {
    match ask.tool_choice.as_deref() {
        None | Some("auto" | "none") => true,
        Some("any" | "tool") => accepts.forced_tool_choice,
        Some(_) => false,
    }
}

fn takes_speed(ask: &Ask<'_>, accepts: &Accepts) -> bool {
    match ask.speed.as_deref() {
        None => true,
        // Where fast mode is a preview, the field itself needs its beta.
        Some("standard") => accepts.fast != Fast::Beta,
        Some("fast") => accepts.fast == Fast::Yes,
        Some(_) => false,
    }
}

fn manages_context(ask: &Ask<'_>) -> bool {
    ask.other_fields.iter().any(|name| name == "context_management" || name == "compaction")
}

/// Every tool must be of a kind that is known to be taken.
fn takes_kinds(matter: &Matter<'_>, accepts: &Accepts) -> bool {
    let everywhere = &matter.catalog.everywhere().tools;
    let known = |kind: &str| everywhere.iter().chain(&accepts.tools).any(|one| one == kind);
    matter.ask.tool_kinds.iter().all(|kind| kind == ADVISOR || known(kind))
}

/// An advisor must be known to go with the model.
fn takes_advisors(matter: &Matter<'_>, accepts: &Accepts) -> bool {
    let advises = |name: &str| {
        let advisor = matter.catalog.model(name);
        advisor.is_some_and(|advisor| accepts.advisors.iter().any(|known| advisor.is(known)))
    };
    matter.ask.advisors.iter().all(|model| advises(model))
}

fn when<const N: usize>(rules: [(bool, &'static str); N]) -> Vec<&'static str> {
    rules.into_iter().filter_map(|(applies, code)| applies.then_some(code)).collect()
}

/// `history_check` of models that take any history.
const UNCHECKED: &str = "none";

/// As many other fields as an envelope keeps.
const FIELDS_READ: usize = 64;

const API_VERSIONS: [&str; 2] = ["2023-06-01", "2026-10-21"];

/// Top-level fields, besides those the envelope names, that mean the same to every model, or are judged above.
const MOVABLE_FIELDS: [&str; 8] = [
    "messages",
    "metadata",
    "cache_control",
    "context_management",
    "compaction",
    "stop_sequences",
    "output_config",
    "tool_choice",
];

/// Block types that every model takes alike.
const MOVABLE_BLOCKS: [&str; 2] = ["document", "redacted_thinking"];
