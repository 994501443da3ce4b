//! Which models would answer a request as it stands, and why not the others.
//!
//! Three questions, each answered in blocker codes. What binds a request to the model it names, whatever the
//! target. What a target would refuse. What a target would answer differently. A target is feasible where none
//! has an answer. What is not known to be safe is a blocker: feasibility errs towards the asked model only.

use super::matter::Matter;
use super::thinking::{self, Thinks};
use super::{Asked, Candidate, Stay, size, tier_model};
use crate::catalog::{Accepts, Fast, Model, SamplingRule};
use crate::config::Adaptation;
use crate::tier::Tier;
use crate::wire::envelope::{Envelope, Role};

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
    if *matter.asked != Asked::Auto {
        found.push(as_asked(matter, reference));
    }
    let asked = matter.catalog.model(reference);
    for tier in Tier::ROUTED {
        let Some(name) = tier_model(matter.tiers, tier) else { continue };
        let same = name == reference || asked.is_some_and(|model| model.is(name));
        if same && *matter.asked != Asked::Auto {
            continue;
        }
        let target = matter.catalog.model(name);
        let fit = match (asked, target) {
            (Some(asked), Some(target)) => judge(matter, asked, target, tier),
            _ => Fit { blockers: vec!["unknown-model"], ..Fit::default() },
        };
        found.push(candidate(matter, tier, name, fit));
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
fn as_asked(matter: &Matter<'_>, reference: &str) -> Candidate {
    candidate(matter, matter.model_tier(reference), reference, Fit::default())
}

fn candidate(matter: &Matter<'_>, tier: Tier, name: &str, fit: Fit) -> Candidate {
    let estimate = size::estimate(matter, name);
    Candidate {
        tier,
        model: name.to_owned(),
        feasible: fit.blockers.is_empty(),
        blockers: fit.blockers,
        sufficiency_permille: matter.complexity.sufficiency_of(tier),
        estimate,
        adaptations: fit.adaptations,
    }
}

fn judge(matter: &Matter<'_>, reference: &Model, target: &Model, tier: Tier) -> Fit {
    let mut fit = Fit::default();
    let (Some(here), Some(there)) = (&reference.accepts, &target.accepts) else {
        fit.blockers.push("unknown-model");
        return fit;
    };
    matter.preferences(target, tier, &mut fit.blockers);
    if reference.id == target.id {
        fit.blockers.extend(refusals(matter, there));
        return fit;
    }
    // A free choice names no model whose refusal the client should see.
    if *matter.asked != Asked::Auto && !refusals(matter, here).is_empty() {
        fit.blockers.push("asked-refuses");
    }
    fit.blockers.extend(bonds(matter));
    fit.blockers.extend(unknowns(matter, there));
    let binds = matter.envelope.history.has_thinking;
    let readable = |reader: &Model, writer: &Model| matter.catalog.reads(&reader.id, &writer.id);
    let last = matter.facts.conversation_stays.and_then(Stay::model);
    let reads_last = last.is_none_or(|last| matter.catalog.reads(&target.id, last));
    // Where histories are checked, a client that edits its own is refused.
    let strict =
        |model: &Accepts| model.history_check != UNCHECKED && model.history_check != here.history_check;
    if binds && (strict(there) || !(reads_last && readable(target, reference) && readable(reference, target)))
    {
        fit.blockers.push("history-thinking");
    }
    compare(matter, reference, target, there, &mut fit);
    fit
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
    let fast = matter.envelope.speed.as_deref() == Some("fast");
    let price = matter.catalog.price_at(&target.id, matter.facts.at);
    if fast && !price.and_then(|price| price.fast).is_some_and(|fast| fast.offered(matter.facts.at)) {
        fit.blockers.push("fast");
    }
    if !takes_advisors(matter, there) {
        fit.blockers.push("advisor");
    }
}

/// What binds a request to one model.
fn bonds(matter: &Matter<'_>) -> Vec<&'static str> {
    let envelope = matter.envelope;
    let prewarm = envelope.max_tokens == Some(0) && !matter.facts.count_tokens;
    when([
        (envelope.thread.is_some(), "thread"),
        (envelope.container.is_some(), "container"),
        (envelope.fallback_list, "fallbacks"),
        (prewarm, "prewarm"),
    ])
}

/// What we do not know well enough to move.
fn unknowns(matter: &Matter<'_>, accepts: &Accepts) -> Vec<&'static str> {
    let envelope = matter.envelope;
    let history = &envelope.history;
    let known_field = |name: &str| MOVABLE_FIELDS.contains(&name);
    let betas = &matter.catalog.everywhere().betas;
    let known_beta = |beta: &str| betas.iter().chain(&accepts.betas).any(|known| known == beta.trim());
    let kept = |length: usize, most: usize| length < most;
    when([
        (!API_VERSIONS.contains(&matter.facts.api_version), "api-version"),
        (
            !envelope.other_fields.iter().all(|name| known_field(name))
                || !kept(envelope.other_fields.len(), 64),
            "unknown-field",
        ),
        (!matter.facts.betas.iter().all(|beta| known_beta(beta)), "unknown-beta"),
        (!history.other_blocks.iter().all(|kind| MOVABLE_BLOCKS.contains(&kind.as_ref())), "block-kind"),
        (history.last_role == Role::Unknown, "role"),
        (!kept(envelope.tool_list.len(), 512), "tools-unread"),
    ])
}

/// What a model would refuse, besides advisors and too long a prompt.
fn refusals(matter: &Matter<'_>, accepts: &Accepts) -> Vec<&'static str> {
    let envelope = matter.envelope;
    let history = &envelope.history;
    let new_version = matter.facts.api_version == API_VERSIONS[1];
    let mut blockers = when([
        (!samples(envelope, accepts, new_version), "sampling"),
        (new_version && history.assistant_document, "assistant-document"),
        (envelope.ends_with_assistant() && !accepts.prefill, "prefill"),
        (!takes_tool_choice(envelope, accepts), "tool-choice"),
        (history.system_messages > 0 && !accepts.system_messages, "system-messages"),
        (envelope.task_budget && !accepts.task_budget, "task-budget"),
        (!takes_speed(envelope, accepts), "fast"),
        (envelope.inference_geo.is_some() && !accepts.inference_geo, "inference-geo"),
        (!takes_kinds(matter, accepts), "tool-kind"),
        (manages_context(envelope) && !accepts.compaction, "compaction"),
    ]);
    let tokens = if matter.facts.count_tokens { None } else { envelope.max_tokens };
    if tokens.is_some_and(|tokens| tokens > accepts.max_output_tokens) {
        blockers.push("max-tokens");
    }
    if !thinking::effort(envelope).is_ok_and(|effort| effort.is_none_or(|one| accepts.efforts.contains(&one)))
    {
        blockers.push("effort");
    }
    match thinking::thinks(envelope, accepts) {
        Err(code) => blockers.push(code),
        Ok(thinks) => {
            if history.per_message_config && (!accepts.message_effort || thinks == Thinks::No) {
                blockers.push("message-config");
            }
        }
    }
    blockers
}

/// What a model would answer differently, besides thinking.
fn differences(matter: &Matter<'_>, here: &Accepts, there: &Accepts) -> Vec<&'static str> {
    let envelope = matter.envelope;
    let forced = is_forced(envelope);
    let thinking_asked = envelope.thinking.as_ref().is_some_and(|thinking| thinking.kind != "disabled");
    let tier = envelope.service_tier.as_deref();
    let tier_differs = tier == Some("auto") && here.priority != there.priority;
    when([
        (forced && thinking_asked, "tool-choice"),
        (tier_differs || tier.is_some_and(|tier| tier != "auto" && tier != "standard_only"), "service-tier"),
    ])
}

/// Judges sampling: on the older API version by the model's rule, on the newer none is taken.
fn samples(envelope: &Envelope<'_>, accepts: &Accepts, new_version: bool) -> bool {
    let sampling = &envelope.sampling;
    let given = [sampling.temperature, sampling.top_p, sampling.top_k].into_iter().flatten().count();
    if given == 0 {
        return true;
    }
    let thinks = !matches!(thinking::thinks(envelope, accepts), Ok(Thinks::No));
    let is_default = sampling.temperature.is_none_or(|number| is_decimal(number, b"1"))
        && sampling.top_p.is_none_or(|number| is_decimal(number, b"0.99"))
        && sampling.top_k.is_none();
    match accepts.sampling {
        _ if new_version => false,
        SamplingRule::Defaults => is_default,
        SamplingRule::Free if sampling.temperature.is_some() && sampling.top_p.is_some() => false,
        SamplingRule::Free => !thinks || (is_default && sampling.top_p.is_none()),
    }
}

/// Compares a JSON number with a decimal without reading it as a float: trailing zeros aside, the same digits.
fn is_decimal(number: &[u8], decimal: &[u8]) -> bool {
    let Some(rest) = number.strip_prefix(decimal) else { return false };
    let rest = if decimal.contains(&b'.') { rest } else { rest.strip_prefix(b".").unwrap_or(rest) };
    let zeros = rest.iter().all(|byte| *byte == b'0');
    zeros && (rest.is_empty() || number.contains(&b'.'))
}

fn is_forced(envelope: &Envelope<'_>) -> bool {
    envelope.tool_choice.as_ref().is_some_and(|choice| choice.kind == "any" || choice.kind == "tool")
}

fn takes_tool_choice(envelope: &Envelope<'_>, accepts: &Accepts) -> bool {
    match envelope.tool_choice.as_ref().map(|choice| choice.kind.as_ref()) {
        None | Some("auto" | "none") => true,
        Some("any" | "tool") => accepts.forced_tool_choice,
        Some(_) => false,
    }
}

fn takes_speed(envelope: &Envelope<'_>, accepts: &Accepts) -> bool {
    match envelope.speed.as_deref() {
        None => true,
        // Where fast mode is a preview, the field itself needs its beta.
        Some("standard") => accepts.fast != Fast::Beta,
        Some("fast") => accepts.fast == Fast::Yes,
        Some(_) => false,
    }
}

fn manages_context(envelope: &Envelope<'_>) -> bool {
    envelope.other_fields.iter().any(|name| name == "context_management" || name == "compaction")
}

/// Every tool must be of a kind that is known to be taken.
fn takes_kinds(matter: &Matter<'_>, accepts: &Accepts) -> bool {
    let everywhere = &matter.catalog.everywhere().tools;
    let known =
        |kind: &str| kind == ADVISOR || everywhere.iter().chain(&accepts.tools).any(|one| one == kind);
    matter.envelope.tool_list.iter().all(|tool| known(&tool.kind))
}

/// An advisor must be known to go with the model.
fn takes_advisors(matter: &Matter<'_>, accepts: &Accepts) -> bool {
    let advises = |name: &str| {
        let advisor = matter.catalog.model(name);
        advisor.is_some_and(|advisor| accepts.advisors.iter().any(|known| advisor.is(known)))
    };
    matter.envelope.tool_list.iter().filter(|tool| tool.kind == ADVISOR).all(|tool| advises(&tool.model))
}

fn when<const N: usize>(rules: [(bool, &'static str); N]) -> Vec<&'static str> {
    rules.into_iter().filter_map(|(applies, code)| applies.then_some(code)).collect()
}

/// `history_check` of models that take any history.
const UNCHECKED: &str = "none";

const ADVISOR: &str = "advisor_20260301";

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
