//! What is promised of a decision: order, ceilings, modes, and that there always is one.

use crate::wire::json::Json;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::route::Origin;
use crate::wire::envelope::{Role, Thinking, Thread};

fn sent(model: &str, complexity: &Complexity, mode: Mode) -> RouteDecision {
    decide_with(&envelope(model), complexity, &routing(mode), &facts()).unwrap()
}

fn codes(decision: &RouteDecision) -> Vec<&'static str> {
    decision.reasons.iter().map(|reason| reason.code).collect()
}

#[test]
fn easy_work_goes_down_and_middling_work_stays() {
    for asked in
        ["claude-opus-5-5", "claude-sonnet-5-5", "claude-fable-5-2", "tercet-auto", "claude-tercet-auto"]
    {
        let decision = sent(asked, &easy(), Mode::Enforce);
        assert_eq!(decision.model(), "claude-haiku-5-5", "{asked}: {decision:?}");
        assert!(decision.acted && codes(&decision) == ["form-title", "suffices"]);
    }
    for asked in ["claude-opus-5-5", "claude-sonnet-5-5", "claude-fable-5-2", "claude-haiku-5-5"] {
        let decision = sent(asked, &middling(), Mode::Enforce);
        assert_eq!((decision.model(), codes(&decision)), (asked, vec!["as-asked"]));
    }
    assert_eq!(sent("tercet-auto", &middling(), Mode::Enforce).model(), "claude-opus-5-5");
}

#[test]
fn shadow_and_off_send_as_asked_but_aliases_resolve() {
    let shadow = sent("claude-opus-5-5", &easy(), Mode::Shadow);
    assert_eq!((shadow.model(), shadow.acted), ("claude-opus-5-5", false));
    assert_eq!(shadow.decided().model, "claude-haiku-5-5");
    let off = sent("claude-opus-5-5", &easy(), Mode::Off);
    assert_eq!((off.model(), codes(&off)), ("claude-opus-5-5", vec!["mode-off"]));
    for mode in [Mode::Off, Mode::Shadow, Mode::Enforce] {
        assert_eq!(sent("tercet-auto", &easy(), mode).model(), "claude-haiku-5-5");
        for (alias, model) in
            [("haiku", "claude-haiku-5-5"), ("sonnet", "claude-sonnet-5-5"), ("opus", "claude-opus-5-5")]
        {
            let decision = sent(alias, &middling(), mode);
            assert_eq!((decision.model(), codes(&decision)), (model, vec!["tier-asked"]));
        }
    }
}

#[test]
fn nothing_is_moved_into_a_pool_of_which_little_is_left_upstream() {
    let tight = [Cow::Borrowed("haiku-5-5")];
    let busy = Facts { tight_pools: &tight, ..facts() };
    for (asked, sent) in [("claude-opus-5-5", "claude-sonnet-5-5"), ("tercet-auto", "claude-sonnet-5-5")] {
        let decision = decide_with(&envelope(asked), &easy(), &routing(Mode::Enforce), &busy).unwrap();
        assert_eq!(decision.model(), sent, "{decision:?}");
        let haiku = decision.candidates.iter().find(|one| one.model == "claude-haiku-5-5").unwrap();
        assert!(haiku.blockers.contains(&"pool-tight") && !haiku.feasible);
    }
    let asked = decide_with(&envelope("claude-haiku-5-5"), &easy(), &routing(Mode::Enforce), &busy).unwrap();
    assert_eq!(asked.model(), "claude-haiku-5-5", "what was asked for is the upstream's to refuse");
    let forced = Facts { override_tier: Some(Tier::Haiku), ..busy };
    let decision = decide_with(&envelope("claude-opus-5-5"), &easy(), &routing(Mode::Enforce), &forced);
    assert_eq!(decision.unwrap().model(), "claude-haiku-5-5", "a header outranks it");
}

#[test]
fn near_the_end_of_a_budget_the_cheapest_that_can_answer_is_taken() {
    let low = Facts { budget_low: true, ..facts() };
    let hard = needing([100, 200, 900], 900);
    for mode in [Mode::Shadow, Mode::Enforce] {
        for asked in ["claude-opus-5-5", "claude-sonnet-5-5", "claude-fable-5-2", "tercet-auto"] {
            let decision = decide_with(&envelope(asked), &hard, &routing(mode), &low).unwrap();
            assert_eq!((decision.model(), decision.acted), ("claude-haiku-5-5", true), "{asked}");
            assert_eq!(codes(&decision), ["budget-low"]);
        }
        let cheapest = decide_with(&envelope("claude-haiku-5-5"), &hard, &routing(mode), &low).unwrap();
        assert_eq!(codes(&cheapest), ["as-asked"]);
    }
    let off = decide_with(&envelope("claude-opus-5-5"), &hard, &routing(Mode::Off), &low).unwrap();
    assert_eq!((off.model(), codes(&off)), ("claude-opus-5-5", vec!["mode-off"]));
    let narrow = Routing { tiers: vec![Tier::Sonnet, Tier::Opus], ..routing(Mode::Enforce) };
    let decision = decide_with(&envelope("claude-opus-5-5"), &hard, &narrow, &low).unwrap();
    assert_eq!(decision.model(), "claude-sonnet-5-5", "a tier that is not allowed stays so");
}

#[test]
fn a_model_we_do_not_know_passes_as_asked() {
    for asked in ["claude-next-9", "gpt-4", "", "claude-mythos-preview", "claude-opus-4-6-20260101"] {
        let decision = sent(asked, &easy(), Mode::Enforce);
        assert_eq!(
            (decision.model(), decision.tier(), codes(&decision)),
            (asked, Tier::Other, vec!["unknown-model"])
        );
        assert!(decision.candidates[0].estimate > crate::money::NanoUsd::ZERO);
    }
}

#[test]
fn a_dated_form_is_its_model_and_is_sent_as_written() {
    let decision = sent("claude-opus-4-5-20251101", &middling(), Mode::Enforce);
    assert_eq!((decision.model(), decision.tier()), ("claude-opus-4-5-20251101", Tier::Opus));
    let easy = sent("claude-opus-4-5-20251101", &easy(), Mode::Enforce);
    assert_eq!(easy.model(), "claude-haiku-5-5");
    assert_eq!(easy.insertion(), Some(r#","thinking":{"type":"disabled"}"#));
}

#[test]
fn headers_force_and_pin_where_the_tenant_allows_it() {
    let request = envelope("claude-sonnet-5-5");
    let forced = Facts { override_tier: Some(Tier::Opus), ..facts() };
    let up = decide_with(&request, &middling(), &routing(Mode::Enforce), &forced).unwrap();
    assert_eq!((up.model(), codes(&up)), ("claude-opus-5-5", vec!["tier-forced"]));
    let mut bound = request.clone();
    bound.history.has_thinking = true;
    bound.thinking = Some(Thinking { kind: "between_tools".into(), display: None, budget_tokens: None });
    let refused = decide_with(&bound, &middling(), &routing(Mode::Enforce), &forced).unwrap_err();
    assert_eq!(refused.blockers, ["history-thinking", "thinking-type"]);
    let down = Facts { override_tier: Some(Tier::Haiku), ..facts() };
    for mode in [Mode::Off, Mode::Shadow, Mode::Enforce] {
        let decision = decide_with(&request, &middling(), &routing(mode), &down).unwrap();
        assert_eq!((decision.model(), codes(&decision)), ("claude-haiku-5-5", vec!["tier-forced"]));
    }
    let same = Facts { override_tier: Some(Tier::Sonnet), ..facts() };
    assert_eq!(
        decide_with(&request, &easy(), &routing(Mode::Enforce), &same).unwrap().model(),
        "claude-sonnet-5-5"
    );
    let off = Facts { route_off: true, ..facts() };
    let pinned = decide_with(&request, &easy(), &routing(Mode::Enforce), &off).unwrap();
    assert_eq!((pinned.model(), codes(&pinned)), ("claude-sonnet-5-5", vec!["route-off"]));
    let strict = Routing { header_override: false, ..routing(Mode::Enforce) };
    let ignored = decide_with(&request, &easy(), &strict, &off).unwrap();
    assert_eq!(ignored.model(), "claude-haiku-5-5");
    assert!(codes(&ignored).contains(&"header-ignored"));
    let narrow = Routing { tiers: vec![Tier::Sonnet], ..routing(Mode::Enforce) };
    assert_eq!(decide_with(&request, &easy(), &narrow, &down).unwrap_err().blockers, ["tier-not-allowed"]);
}

#[test]
fn a_tenants_tiers_bound_every_choice() {
    let narrow = Routing { tiers: vec![Tier::Sonnet, Tier::Opus], ..routing(Mode::Enforce) };
    let asked = decide_with(&envelope("claude-opus-5-5"), &easy(), &narrow, &facts()).unwrap();
    assert_eq!(asked.model(), "claude-sonnet-5-5");
    let cheap = Routing { tiers: vec![Tier::Haiku, Tier::Sonnet], ..routing(Mode::Enforce) };
    let auto = decide_with(&envelope("tercet-auto"), &middling(), &cheap, &facts()).unwrap();
    assert_eq!(auto.model(), "claude-sonnet-5-5", "the strongest allowed");
}

#[test]
fn a_ceiling_above_the_asked_model_is_used_for_hard_work_only() {
    let raised = Routing { ceiling: Ceiling::Opus, ..routing(Mode::Enforce) };
    let mut request = envelope("claude-haiku-5-5");
    request.thinking = Some(Thinking { kind: "disabled".into(), display: None, budget_tokens: None });
    let hard = needing([600, 800, 955], 720);
    let opus_4_8 = Tiers { opus: "claude-opus-4-8".into(), ..tiers() };
    let decide_at = |complexity: &Complexity| {
        let asked = Asked::parse(&request.model);
        decide(&asked, &request, complexity, &CATALOG, &opus_4_8, &raised, &facts()).unwrap().sent.model
    };
    assert_eq!(decide_at(&hard), "claude-opus-4-8");
    assert_eq!(decide_at(&middling()), "claude-haiku-5-5");
    assert_eq!(decide_at(&easy()), "claude-haiku-5-5");
}

#[test]
fn a_history_that_binds_keeps_the_asked_model() {
    let changes: [(&str, Change); 4] = [
        ("history-thinking", |one| one.history.has_thinking = true),
        ("tool-loop", |one| one.history.last_tool_results = vec![false]),
        ("cached-conversation", |one| {
            (one.history.assistant_messages, one.history.cache_control) = (1, true);
        }),
        ("thread", |one| {
            one.thread = Some(Thread { kind: "continue".into(), previous_message_id: Some("m".into()) });
        }),
    ];
    for (code, change) in changes {
        let mut request = envelope("claude-opus-5-5");
        change(&mut request);
        let decision = decide_with(&request, &easy(), &routing(Mode::Enforce), &facts()).unwrap();
        assert_eq!((decision.model(), codes(&decision)), ("claude-opus-5-5", vec![code]));
    }
    let mut plain = envelope("claude-opus-5-5");
    plain.history.assistant_messages = 1;
    assert_eq!(
        decide_with(&plain, &easy(), &routing(Mode::Enforce), &facts()).unwrap().model(),
        "claude-haiku-5-5"
    );
}

#[test]
fn a_conversation_stays_where_it_went_and_comes_back_only_if_it_must() {
    let haiku = past("claude-opus-5-5", "claude-haiku-5-5");
    let facts = Facts { past: Some(&haiku), ..facts() };
    let mut request = envelope("claude-opus-5-5");
    request.history.has_thinking = true;
    request.history.last_tool_results = vec![false];
    let decision = decide_with(&request, &middling(), &routing(Mode::Enforce), &facts).unwrap();
    assert_eq!((decision.model(), codes(&decision)), ("claude-haiku-5-5", vec!["conversation"]));
    request.speed = Some("fast".into());
    let back = decide_with(&request, &middling(), &routing(Mode::Enforce), &facts).unwrap();
    assert_eq!((back.model(), codes(&back)), ("claude-opus-5-5", vec!["stay-infeasible"]));
    let parted = Past { parted: true, ..haiku.clone() };
    let parted = Facts { past: Some(&parted), ..facts };
    let plain = decide_with(&envelope("claude-opus-5-5"), &easy(), &routing(Mode::Enforce), &parted).unwrap();
    assert_eq!((plain.model(), codes(&plain)), ("claude-opus-5-5", vec!["conversation-parted"]));
}

#[test]
fn a_thread_goes_where_it_is_asked_in_every_mode_against_headers_and_memory() {
    for (asked, model) in [
        ("claude-opus-5-5", "claude-opus-5-5"),
        ("sonnet", "claude-sonnet-5-5"),
        ("tercet-auto", "claude-opus-5-5"),
        ("claude-next-9", "claude-next-9"),
    ] {
        for (kind, previous) in [("create", None), ("continue", Some("m".into()))] {
            let mut request = envelope(asked);
            request.thread = Some(Thread { kind: kind.into(), previous_message_id: previous });
            for mode in [Mode::Off, Mode::Shadow, Mode::Enforce] {
                for facts in [
                    facts(),
                    Facts { override_tier: Some(Tier::Haiku), ..facts() },
                    Facts { route_off: true, ..facts() },
                    Facts { past: Some(&past(asked, "claude-haiku-5-5")), ..facts() },
                ] {
                    let thread = decide_with(&request, &easy(), &routing(mode), &facts).unwrap();
                    assert_eq!((thread.model(), codes(&thread)), (model, vec!["thread"]));
                }
            }
        }
    }
}

#[test]
fn a_conversation_forced_once_stays_with_the_model_that_wrote_its_thinking() {
    let mut request = envelope("claude-sonnet-5-5");
    request.history.has_thinking = true;
    for asked in ["claude-sonnet-5-5", "sonnet"] {
        request.model = asked.into();
        let opus = Past { wrote: vec!["claude-opus-5-5".into()], ..past(asked, "claude-opus-5-5") };
        let facts = Facts { past: Some(&opus), ..facts() };
        for mode in [Mode::Off, Mode::Shadow, Mode::Enforce] {
            let stays = decide_with(&request, &easy(), &routing(mode), &facts).unwrap();
            assert_eq!((stays.model(), codes(&stays)), ("claude-opus-5-5", vec!["conversation"]));
            let forced = Facts { override_tier: Some(Tier::Opus), ..facts };
            let again = decide_with(&request, &easy(), &routing(mode), &forced).unwrap();
            assert_eq!((again.model(), codes(&again)), ("claude-opus-5-5", vec!["tier-forced"]));
        }
    }
    request.task_budget = true;
    request.sampling.temperature = Some(b"0");
    let opus = past("sonnet", "claude-opus-5-5");
    let facts = Facts { past: Some(&opus), ..facts() };
    let refused = decide_with(&request, &easy(), &routing(Mode::Enforce), &facts).unwrap();
    assert_eq!(refused.model(), "claude-sonnet-5-5", "it would refuse this");
}

#[test]
fn the_control_share_is_drawn_by_lot() {
    let tenth = Routing { control_permille: 100, ..routing(Mode::Enforce) };
    let mut held = 0;
    for number in 0..2_000 {
        let id = format!("tct_{number}");
        let decision =
            decide_with(&envelope("claude-opus-5-5"), &easy(), &tenth, &Facts { lot: &id, ..facts() })
                .unwrap();
        if codes(&decision).contains(&"control") {
            assert_eq!((decision.model(), decision.acted), ("claude-opus-5-5", false));
            held += 1;
        }
    }
    assert!((140..260).contains(&held), "{held}");
}

#[test]
fn an_explanation_has_the_promised_shape() {
    let decision = sent("claude-opus-4-8", &easy(), Mode::Shadow);
    let told = decision.explain(Origin { workload: None, policy_version: "abc", weights_version: "w" });
    assert_eq!(told["asked"], "claude-opus-4-8");
    assert_eq!(told["decision"]["tier"], "haiku");
    assert_eq!(told["decision"]["adaptations"], json!(["thinking-default"]));
    assert_eq!(told["decision"]["sent_model"], "claude-opus-4-8");
    assert_eq!(told["decision"]["reasons"][0], json!({"code": "form-title", "weight": 1000}));
    assert_eq!(told["candidates"].as_array().map(Vec::len), Some(4));
    assert_eq!(told["candidates"][1]["sufficiency"], 0.98);
    assert!(told["candidates"][1]["estimate_nanousd"].as_i64() > Some(0));
    assert_eq!(told["candidates"][2]["reasons"], json!(["thinking-default"]));
    assert_eq!((&told["workload"], &told["policy_version"]), (&json!(null), &json!("abc")));
}

#[test]
fn a_recorded_decision_is_told_as_it_was_made() {
    for (model, mode) in [("claude-opus-4-8", Mode::Shadow), ("claude-opus-5-5", Mode::Enforce)] {
        let decision = sent(model, &easy(), mode);
        let origin =
            Origin { workload: Some("0123456789abcdef"), policy_version: "abc", weights_version: "w" };
        let told = decision.explain(origin);
        let basis: Json = serde_json::from_str(r#"{"sufficiency":[980,990,995]}"#).unwrap();
        let mut kept = serde_json::to_value(decision.record(origin, Some(&basis))).unwrap();
        told_whole(kept.as_object_mut().unwrap(), Some(mode.name()));
        for field in DECISION_FIELDS {
            assert_eq!(kept[field], told["decision"][field], "{field}");
        }
        for field in ["candidates", "workload", "conversation", "policy_version", "weights_version"] {
            assert_eq!(kept[field], told[field], "{field}");
        }
        let whole = kept.clone();
        told_whole(kept.as_object_mut().unwrap(), Some("off"));
        assert_eq!(kept, whole, "a record that says all is left as it is");
    }
}

#[test]
fn every_code_is_documented() {
    let document = include_str!("../../../docs/routing.md");
    let sources = [
        include_str!("../mod.rs"),
        include_str!("../matter.rs"),
        include_str!("../course.rs"),
        include_str!("../feasible.rs"),
        include_str!("../thinking.rs"),
        include_str!("../size.rs"),
        include_str!("../../classify/form.rs"),
        include_str!("../../workload/mod.rs"),
        include_str!("../../workload/fingerprint.rs"),
    ];
    let is_code = |text: &&str| {
        let kebab = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        kebab && text.trim_matches('-').contains('-') && !text.ends_with("tercet-auto")
    };
    let codes: Vec<&str> = sources.iter().flat_map(|source| source.split('"')).filter(is_code).collect();
    assert!(codes.len() > 60, "{}", codes.len());
    for code in
        codes.into_iter().chain(["thread", "container", "prefill", "sampling", "effort", "shadow", "control"])
    {
        assert!(document.contains(&format!("`{code}`")), "{code} is not in docs/routing.md");
    }
}

fn any_envelope() -> impl Strategy<Value = Envelope<'static>> {
    let model = proptest::sample::select(vec![
        "claude-opus-5-5",
        "claude-opus-4-8",
        "claude-sonnet-5-5",
        "claude-haiku-4-5",
        "claude-fable-5",
        "gpt",
        "haiku",
        "tercet-auto",
    ]);
    let flags = proptest::collection::vec(any::<bool>(), 10);
    let words = (proptest::option::of("[a-z_]{0,12}"), proptest::option::of("low|high|max|odd"));
    let max_tokens = proptest::option::of(any::<u64>());
    (model, flags, words, max_tokens).prop_map(|(model, flags, (thinking, effort), max_tokens)| {
        let mut request = envelope(model);
        request.max_tokens = max_tokens;
        request.thinking =
            thinking.map(|kind| Thinking { kind: kind.into(), display: None, budget_tokens: None });
        request.effort = effort.map(Into::into);
        request.task_budget = flags[0];
        request.history.has_thinking = flags[1];
        request.history.system_messages = usize::from(flags[2]);
        request.history.per_message_config = flags[3];
        request.sampling.temperature = flags[4].then_some(b"0.5".as_slice());
        request.history.last_role = if flags[5] { Role::Assistant } else { Role::User };
        request.history.images = if flags[6] { usize::MAX } else { 0 };
        request.history.payload_bytes = if flags[7] { usize::MAX } else { 0 };
        request.fallback_list = flags[8];
        request.speed = flags[9].then(|| "fast".into());
        request
    })
}

proptest! {
    #[test]
    fn there_is_always_one_decision_and_it_is_never_dearer_than_asked(
        request in any_envelope(), score in 0u16..=1000, version in "2023-06-01|2026-10-21|x",
    ) {
        let complexity = needing([1_000 - score, 1_000 - score / 2, 1_000 - score / 8], score);
        let facts = Facts { api_version: &version, ..facts() };
        let decision = decide_with(&request, &complexity, &routing(Mode::Enforce), &facts).unwrap();
        prop_assert_eq!(&decision, &decide_with(&request, &complexity, &routing(Mode::Enforce), &facts).unwrap());
        if let Asked::Model(asked) = Asked::parse(&request.model) {
            let list = |model: &str| CATALOG.card(model, 0, false, facts.at).0.list();
            prop_assert!(list(decision.model()) <= list(&asked));
            prop_assert!(decision.model() == asked || decision.candidates.iter().any(
                |candidate| candidate.model == decision.model() && candidate.feasible
            ));
        }
    }
}
