//! Whose quality is to be held: the asked model's, whatever stands above it.

use serde_json::json;

use super::*;
use crate::route::{Basis, Origin};

/// Haiku does nearly what sonnet does, and neither what opus does.
fn alike() -> Complexity {
    Complexity {
        sufficiency: [800, 820, 1_000],
        beside_sonnet: 970,
        score_permille: 700,
        reasons: Vec::new(),
    }
}

#[test]
fn what_holds_sonnets_quality_suffices_where_sonnet_was_asked_and_not_where_opus_was() {
    let enforce = routing(Mode::Enforce);
    let sent = |asked: &str, routing: &Routing| {
        decide_with(&envelope(asked), &alike(), routing, &facts()).unwrap().sent.model
    };
    assert_eq!(sent("claude-sonnet-5-5", &enforce), "claude-haiku-5-5");
    assert_eq!(sent("claude-opus-5-5", &enforce), "claude-opus-5-5");
    let narrow = Routing { tiers: vec![Tier::Haiku, Tier::Sonnet], ..enforce.clone() };
    assert_eq!(
        sent("tercet-auto", &narrow),
        "claude-haiku-5-5",
        "as if the strongest allowed had been asked"
    );
    assert_eq!(sent("tercet-auto", &enforce), "claude-opus-5-5");
}

#[test]
fn where_hard_work_may_rise_to_opus_opus_is_the_measure() {
    let raised = Routing { ceiling: Ceiling::Opus, ..routing(Mode::Enforce) };
    let decision = decide_with(&envelope("claude-sonnet-5-5"), &alike(), &raised, &facts()).unwrap();
    let haiku = decision.candidates.iter().find(|candidate| candidate.tier == Tier::Haiku).unwrap();
    assert_eq!(haiku.sufficiency_permille, 800);
    assert_ne!(decision.model(), "claude-haiku-5-5");
}

#[test]
fn a_conversation_that_went_to_haiku_stays_there_while_it_does_what_sonnet_would() {
    let went = past("claude-sonnet-5-5", "claude-haiku-5-5");
    let facts = Facts { past: Some(&went), ..facts() };
    let mut request = envelope("claude-sonnet-5-5");
    request.history.spans = vec![0..1; 3];
    request.history.assistant_messages = 1;
    let at = |complexity: &Complexity| {
        decide_with(&request, complexity, &routing(Mode::Enforce), &facts).unwrap().sent.model
    };
    assert_eq!(at(&alike()), "claude-haiku-5-5");
    assert_eq!(at(&Complexity { beside_sonnet: 820, ..alike() }), "claude-sonnet-5-5");
}

#[test]
fn a_record_of_it_says_what_explain_says_and_is_decided_alike_again() {
    let (request, facts) = (envelope("claude-sonnet-5-5"), facts());
    let decision = decide_with(&request, &alike(), &routing(Mode::Enforce), &facts).unwrap();
    let basis = Basis::of(&request, &alike(), &facts).record();
    let origin = Origin { workload: None, policy_version: "p", weights_version: "w" };
    let mut kept: serde_json::Value =
        serde_json::from_str(decision.record(origin, Some(&basis)).get()).unwrap();
    told_whole(kept.as_object_mut().unwrap(), Some("enforce"));
    let told = json!(decision.candidates);
    for (kept, told) in kept["candidates"].as_array().unwrap().iter().zip(told.as_array().unwrap()) {
        assert_eq!((&kept["tier"], &kept["sufficiency"]), (&told["tier"], &told["sufficiency"]));
    }
    let mut again: Basis<'_> = serde_json::from_value(kept["basis"].clone()).unwrap();
    // A record says it elsewhere.
    again.ask.model = request.model.clone();
    let again = again.decide(&CATALOG, &tiers(), &routing(Mode::Enforce), facts.lot, facts.at).unwrap();
    assert_eq!(again, decision);
}
