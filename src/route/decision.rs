//! What routing decided, and the two shapes it is told in: the journal's `decision` and `explain --json`.
//!
//! The model in `sent` is the one to forward to; in shadow mode, or for a request held back as control, it is the
//! asked one, and `would_be` says what was decided.

use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};
use serde_json::{Map, Value, json};

use crate::config::{Adaptation, Mode};
use crate::money::NanoUsd;
use crate::tier::{Reason, Tier};

/// A decision, complete enough to act on, to journal and to explain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteDecision {
    /// The name in the request.
    pub asked_model: String,
    /// The model it would go to without routing: the one named, or what an alias stands for.
    pub reference: String,
    /// Where the request goes.
    pub sent: Choice,
    /// Where it would have gone, in shadow mode or as control.
    pub would_be: Option<Choice>,
    /// Whether what was decided is what is sent.
    pub acted: bool,
    /// Evidence and rulings, in order; at most 20.
    pub reasons: Vec<Reason>,
    /// Every model considered; the asked one first, at most four.
    pub candidates: Vec<Candidate>,
    /// The mode it was decided in.
    pub mode: Mode,
    /// The tier whose quality candidates are held against: opus, or sonnet where that was asked and is the ceiling.
    pub measure: Tier,
    /// Why the conversation binds the request, if it does.
    pub conversation: Option<&'static str>,
    /// The model whose answer failed and was asked for again one tier up, unseen.
    pub escalated_from: Option<String>,
}

/// A model to send to, and what is changed on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The tier it stands for.
    pub tier: Tier,
    /// Its id.
    pub model: String,
    /// Changes besides the model; at most one so far.
    pub adaptations: Vec<Adaptation>,
}

/// A model considered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The tier it stands for.
    pub tier: Tier,
    /// Its id.
    pub model: String,
    /// Whether the request may go there.
    pub feasible: bool,
    /// Why not; codes of `docs/routing.md`.
    pub blockers: Vec<&'static str>,
    /// Share of the quality asked for that it is sure to hold.
    pub sufficiency_permille: u16,
    /// What the request is expected to cost there.
    pub estimate: NanoUsd,
    /// What it and the turns expected after it would cost there; not told.
    pub(super) ahead: NanoUsd,
    /// Changes the request would need there.
    pub adaptations: Vec<Adaptation>,
}

/// A header forced a tier that would refuse the request or answer it differently.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("x-tercet-tier: {tier}: {model} cannot take this request ({})", .blockers.join(", "))]
pub struct Unroutable {
    /// The tier forced.
    pub tier: Tier,
    /// Its model.
    pub model: String,
    /// Why not; codes of `docs/routing.md`.
    pub blockers: Vec<&'static str>,
}

impl Choice {
    /// Returns the text to insert into the body's object right behind the model's value, if any.
    #[must_use]
    pub fn insertion(&self) -> Option<&'static str> {
        self.adaptations.first().map(|adaptation| match adaptation {
            Adaptation::ThinkingDefault => r#","thinking":{"type":"disabled"}"#,
        })
    }
}

impl Candidate {
    pub(super) fn sufficiency(&self) -> f64 {
        share(u64::from(self.sufficiency_permille))
    }
}

impl RouteDecision {
    /// Returns the tier of the model that is sent.
    #[must_use]
    pub const fn tier(&self) -> Tier {
        self.sent.tier
    }

    /// Returns the model that is sent.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.sent.model
    }

    /// Returns what was decided, acted upon or not.
    #[must_use]
    pub fn decided(&self) -> &Choice {
        self.would_be.as_ref().unwrap_or(&self.sent)
    }

    /// Returns the text to insert into the body's object right behind the model's value, if any.
    #[must_use]
    pub fn insertion(&self) -> Option<&'static str> {
        self.sent.insertion()
    }

    /// Returns the reason codes, comma-separated, for `x-tercet-reason`.
    #[must_use]
    pub fn codes(&self) -> String {
        let codes: Vec<&str> = self.reasons.iter().map(|reason| reason.code).collect();
        codes.join(",")
    }

    /// Returns where a request that was sent down goes if its answer fails: one tier up.
    #[must_use]
    pub fn above(&self) -> Option<Choice> {
        if !self.acted || self.sent.model == self.reference {
            return None;
        }
        let open =
            |one: &&Candidate| one.tier > self.sent.tier && (one.feasible || one.model == self.reference);
        let next = self.candidates.iter().filter(open).min_by_key(|candidate| candidate.tier)?;
        let adaptations = next.adaptations.clone();
        Some(Choice { tier: next.tier, model: next.model.clone(), adaptations })
    }

    /// Returns the decision with its answer asked for again at `next`, for one more reason.
    #[must_use]
    pub fn escalated(&self, next: Choice, code: &'static str) -> Self {
        let mut escalated = self.clone();
        let before = std::mem::replace(&mut escalated.sent, next);
        escalated.escalated_from = Some(before.model);
        escalated.reasons.push(Reason::certain(code));
        escalated
    }

    /// Returns the object of `explain --json`.
    #[must_use]
    pub fn explain(&self, origin: Origin<'_>) -> Value {
        json!({
            "asked": self.asked_model,
            "candidates": self.candidates,
            "decision": self,
            "workload": origin.workload,
            "conversation": self.conversation,
            "policy_version": origin.policy_version,
            "weights_version": origin.weights_version,
        })
    }
}

/// What a decision came from, so that it can be told which of them changed between two.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The fingerprint of the workload that spoke, or of the narrowest the request belongs to; 16 hex digits.
    pub workload: Option<&'a str>,
    /// The configuration in force.
    pub policy_version: &'a str,
    /// The trained model of the text.
    pub weights_version: &'a str,
}

/// Puts back what a recorded decision leaves out, and leaves what is there, as in records that say all, as it is.
///
/// `mode` is that of the record.
pub fn told_whole(decision: &mut Map<String, Value>, mode: Option<&str>) {
    if !decision.contains_key("mode") {
        decision.insert("mode".to_owned(), json!(mode));
    }
    if !decision.contains_key("sent_model") {
        let decided = decision.get("model").cloned().unwrap_or_default();
        decision.insert("sent_model".to_owned(), decided);
    }
    decision.entry("adaptations").or_insert_with(|| json!([]));
    let sufficiency = decision.get("basis").and_then(|basis| basis.get("sufficiency")).cloned();
    let candidates = decision.get_mut("candidates").and_then(Value::as_array_mut);
    for candidate in candidates.into_iter().flatten().filter_map(Value::as_object_mut) {
        candidate.entry("feasible").or_insert(Value::Bool(true));
        candidate.entry("reasons").or_insert_with(|| json!([]));
        let tier = candidate.get("tier").and_then(Value::as_str).and_then(|name| name.parse::<Tier>().ok());
        let place = tier.and_then(|tier| Tier::ROUTED.iter().position(|routed| *routed == tier));
        let known = place.and_then(|place| sufficiency.as_ref()?.get(place)?.as_u64());
        if sufficiency.is_some() || candidate.contains_key("sufficiency") {
            candidate.entry("sufficiency").or_insert_with(|| json!(share(known.unwrap_or(1_000))));
        }
    }
}

/// Thousandths as a part of one.
fn share(permille: u64) -> f64 {
    f64::from(u16::try_from(permille).unwrap_or(u16::MAX)) / 1_000.0
}

/// The fields of a decision as it is told.
pub const DECISION_FIELDS: [&str; 7] =
    ["tier", "model", "reasons", "adaptations", "mode", "acted", "sent_model"];

/// The decision alone, without its candidates: `tier` and `model` are what was decided, `sent_model` what is sent.
impl Serialize for RouteDecision {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let decided = self.decided();
        let names: Vec<&str> = decided.adaptations.iter().map(|one| one.name()).collect();
        let mut fields = serializer.serialize_struct("RouteDecision", 7)?;
        fields.serialize_field("tier", &decided.tier)?;
        fields.serialize_field("model", &decided.model)?;
        fields.serialize_field("reasons", &self.reasons)?;
        fields.serialize_field("adaptations", &names)?;
        fields.serialize_field("mode", self.mode.name())?;
        fields.serialize_field("acted", &self.acted)?;
        fields.serialize_field("sent_model", &self.sent.model)?;
        fields.end()
    }
}

/// `sufficiency` is a share, 0 to 1, in thousandths.
impl Serialize for Candidate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Candidate", 6)?;
        fields.serialize_field("tier", &self.tier)?;
        fields.serialize_field("model", &self.model)?;
        fields.serialize_field("feasible", &self.feasible)?;
        fields.serialize_field("reasons", &self.blockers)?;
        fields.serialize_field("sufficiency", &self.sufficiency())?;
        fields.serialize_field("estimate_nanousd", &self.estimate)?;
        fields.end()
    }
}
