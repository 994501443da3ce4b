//! A decision and its basis as they stand in a record.
//!
//! Every request leaves one of each, so they are written straight into their text; a test holds the basis against what
//! serde makes of it, which sees that no field is forgotten.

use super::ask::Ask;
use super::basis::{Basis, is_usual_version, told_shares};
use super::decision::{Candidate, Origin, RouteDecision};
use super::habits::Ahead;
use super::past::{Ended, Past, Warm, is_default};
use crate::tier::{Reason, Tier};
use crate::wire::json::write::{Json, Object, push_decimal, push_object};

impl RouteDecision {
    /// Returns the journal's `decision`: everything `explain` tells, and `basis`, what it takes to decide again.
    ///
    /// What the record says elsewhere is left out, and so is what is as usual: [`told_whole`](super::told_whole) puts
    /// it back.
    #[must_use]
    pub fn record(&self, origin: Origin<'_>, basis: Option<&Json>) -> Json {
        let decided = self.decided();
        let adaptations: Vec<&str> = decided.adaptations.iter().map(|one| one.name()).collect();
        let room = DECISION_BYTES + basis.map_or(0, |basis| basis.get().len());
        let mut object = Object::after(String::with_capacity(room));
        object.word("tier", decided.tier.name());
        object.text("model", &decided.model);
        object.list("reasons", &self.reasons, put_reason);
        object.texts("adaptations", &adaptations);
        object.flag("acted", self.acted);
        object.some("sent_model", Some(&*self.sent.model).filter(|sent| *sent != decided.model));
        // The basis tells what they are beside opus.
        let told_by_basis = self.measure != Tier::Sonnet;
        object.list("candidates", &self.candidates, |text, one| {
            put_candidate(text, one, basis.is_some() && told_by_basis);
        });
        object.some("conversation", self.conversation);
        object.some("workload", origin.workload);
        object.text("policy_version", origin.policy_version);
        object.text("weights_version", origin.weights_version);
        object.some("escalated_from", self.escalated_from.as_deref());
        if let Some(basis) = basis {
            object.json("basis", Some(basis.get()));
        }
        Json::written(object)
    }
}

impl Basis<'_> {
    /// Returns it as it is recorded with its decision.
    #[must_use]
    pub fn record(&self) -> Json {
        let mut object = Object::small();
        object.object("ask", |object| put_ask(object, &self.ask));
        object.some("api_version", Some(&*self.api_version).filter(|version| !is_usual_version(version)));
        object.texts("betas", &self.betas);
        object.some("force", self.force.map(Tier::name));
        object.set("route_off", self.route_off);
        if let Some(past) = &self.past {
            object.object("past", |object| put_past(object, past));
        }
        if !is_default(&self.ahead) {
            object.object("ahead", |object| put_ahead(object, &self.ahead));
        }
        object.texts("tight_pools", &self.tight_pools);
        object.set("budget_low", self.budget_low);
        object.list("sufficiency", told_shares(&self.sufficiency), |text, share| {
            push_decimal(text, (*share).into());
        });
        object.count("score", self.score.into());
        Json::written(object)
    }
}

fn put_reason(text: &mut String, reason: &Reason) {
    push_object(text, |object| {
        object.word("code", reason.code);
        object.number("weight", reason.weight.into());
    });
}

/// Without what most of them are, and where there is a basis, without what that says.
fn put_candidate(text: &mut String, candidate: &Candidate, told_by_basis: bool) {
    push_object(text, |object| {
        object.word("tier", candidate.tier.name());
        object.text("model", &candidate.model);
        if !candidate.feasible {
            object.flag("feasible", false);
        }
        object.texts("reasons", &candidate.blockers);
        if !told_by_basis {
            push_share(object.member("sufficiency"), candidate.sufficiency_permille);
        }
        object.number("estimate_nanousd", candidate.estimate.0);
    });
}

/// Writes thousandths as the share they are, as short as serde writes it: `0.985`, `0.5`, `1.0`.
fn push_share(text: &mut String, permille: u16) {
    push_decimal(text, (permille / 1_000).into());
    text.push('.');
    let [tens, hundreds] = [permille / 10 % 10, permille / 100 % 10];
    push_decimal(text, hundreds.into());
    if !permille.is_multiple_of(100) {
        push_decimal(text, tens.into());
    }
    if !permille.is_multiple_of(10) {
        push_decimal(text, (permille % 10).into());
    }
}

fn put_ask(object: &mut Object, ask: &Ask<'_>) {
    object.count("text_bytes", ask.text_bytes);
    if let Some(tokens) = ask.max_tokens {
        object.count("max_tokens", tokens);
    }
    object.some("thinking", ask.thinking.as_deref());
    object.some("display", ask.display.as_deref());
    object.set("thinking_budget", ask.thinking_budget);
    object.set("thinking_null", ask.thinking_null);
    object.some("effort", ask.effort.as_deref());
    object.set("structured_output", ask.structured_output);
    object.set("task_budget", ask.task_budget);
    object.some("temperature", ask.temperature.as_deref());
    object.some("top_p", ask.top_p.as_deref());
    object.some("top_k", ask.top_k.as_deref());
    object.some("tool_choice", ask.tool_choice.as_deref());
    object.texts("tool_kinds", &ask.tool_kinds);
    object.texts("advisors", &ask.advisors);
    object.set("tools_unread", ask.tools_unread);
    object.some("service_tier", ask.service_tier.as_deref());
    object.some("speed", ask.speed.as_deref());
    object.set("inference_geo", ask.inference_geo);
    object.set("container", ask.container);
    object.set("thread", ask.thread);
    object.set("fallback_list", ask.fallback_list);
    object.texts("other_fields", &ask.other_fields);
    object.texts("other_blocks", &ask.other_blocks);
    object.set("answered", ask.answered);
    object.set("prefill", ask.prefill);
    object.set("unknown_role", ask.unknown_role);
    object.set("system_messages", ask.system_messages);
    object.set("message_config", ask.message_config);
    object.set("assistant_document", ask.assistant_document);
    object.set("has_thinking", ask.has_thinking);
    object.set("cached", ask.cached);
    object.set("cached_hour", ask.cached_hour);
    object.set("in_tool_loop", ask.in_tool_loop);
    object.set("called_tools", ask.called_tools);
    object.counted("images", ask.images);
    object.set("unsized_parts", ask.unsized_parts);
}

fn put_past(object: &mut Object, past: &Past) {
    object.text("by", &past.by);
    object.text("asked", &past.asked);
    object.text("model", &past.model);
    object.set("parted", past.parted);
    object.count("turn", past.turn.into());
    object.set("answered", past.answered);
    object.texts("wrote", &past.wrote);
    if !past.warm.is_empty() {
        object.list("warm", &past.warm, put_warm);
    }
    object.counted("failing", past.failing.into());
    object.counted("calls", past.calls);
    object.counted("repeats", past.repeats.into());
    object.some("ended", past.ended.map(Ended::name));
    object.counted("prompt_tokens", past.prompt_tokens);
}

fn put_ahead(object: &mut Object, ahead: &Ahead) {
    object.count("turns_permille", ahead.turns_permille);
    object.count("growth_tokens", ahead.growth_tokens);
    object.count("output_tokens", ahead.output_tokens);
    object.list("shared", &ahead.shared, put_warm);
}

fn put_warm(text: &mut String, warm: &Warm) {
    push_object(text, |object| {
        object.text("model", &warm.model);
        object.count("tokens", warm.tokens);
        object.number("until_s", warm.until_s);
        object.number("ttl_s", warm.ttl_s);
    });
}

/// What a decision takes without its basis.
const DECISION_BYTES: usize = 768;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn shares_are_written_as_serde_writes_them() {
        for permille in 0..=1_000 {
            let mut written = String::new();
            push_share(&mut written, permille);
            assert_eq!(written, json!(f64::from(permille) / 1_000.0).to_string());
        }
    }

    /// Every field set; what is not named here is refused by the reading.
    fn full() -> Value {
        json!({
            "ask": {
                "model": "claude-opus-5-5", "text_bytes": 12, "max_tokens": 0, "thinking": "enabled", "display": "omitted",
                "thinking_budget": true, "thinking_null": true, "effort": "high", "structured_output": true,
                "task_budget": true, "temperature": "0.2", "top_p": "1", "top_k": "3", "tool_choice": "any\"",
                "tool_kinds": ["bash_1", "é\n"], "advisors": ["m"], "tools_unread": true, "service_tier": "auto",
                "speed": "fast", "inference_geo": true, "container": true, "thread": true, "fallback_list": true,
                "other_fields": ["a"], "other_blocks": ["b", "c"], "answered": true, "prefill": true,
                "unknown_role": true, "system_messages": true, "message_config": true, "assistant_document": true,
                "has_thinking": true, "cached": true, "cached_hour": true, "in_tool_loop": true, "called_tools": true,
                "images": 3, "unsized_parts": true
            },
            "api_version": "2026-10-21", "betas": ["one", "two"], "force": "opus", "route_off": true,
            "past": {
                "by": "r", "asked": "a", "model": "m", "parted": true, "turn": 4, "answered": true, "wrote": ["w"],
                "warm": [{ "model": "m", "tokens": 5, "until_s": -6, "ttl_s": 300 }], "failing": 1, "calls": 18446744073709551615_u64,
                "repeats": 2, "ended": "truncated", "prompt_tokens": 7
            },
            "ahead": {
                "turns_permille": 1, "growth_tokens": 2, "output_tokens": 3,
                "shared": [{ "model": "m", "tokens": 5, "until_s": 6, "ttl_s": 3600 }]
            },
            "tight_pools": ["p"], "budget_low": true, "sufficiency": [1, 20, 1000, 30], "score": 500
        })
    }

    #[test]
    fn a_basis_is_written_as_serde_writes_it() {
        let texts =
            [full().to_string(), "{}".to_owned(), r#"{"past":{"ended":"refused"},"ahead":{}}"#.to_owned()];
        for text in texts {
            let basis: Basis<'_> = serde_json::from_str(&text).unwrap();
            let written: Value = serde_json::from_str(basis.record().get()).unwrap();
            assert_eq!(written, serde_json::to_value(&basis).unwrap());
        }
        let written: Value =
            serde_json::to_value(serde_json::from_value::<Basis<'_>>(full()).unwrap()).unwrap();
        let mut expected = full();
        expected["ask"].as_object_mut().unwrap().remove("model");
        assert_eq!(written, expected, "every field of a basis is set above");
    }
}
