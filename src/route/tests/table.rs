//! Every dimension of a request against every pair of models; who accepts what is written out here again, by hand.

use super::*;
use crate::wire::envelope::{Role, Thinking, Thread, ToolChoice};

const ALL: [&str; 18] = [
    "fable-5-2",
    "mythos-5-2",
    "fable-5-1",
    "mythos-5-1",
    "fable-5",
    "mythos-5",
    "opus-5-5",
    "opus-5",
    "opus-4-8",
    "opus-4-7",
    "opus-4-6",
    "opus-4-5",
    "sonnet-5-5",
    "sonnet-5",
    "sonnet-4-6",
    "sonnet-4-5",
    "haiku-5-5",
    "haiku-4-5",
];
const OLD: [&str; 6] = ["opus-4-6", "opus-4-5", "sonnet-4-6", "sonnet-4-5", "haiku-4-5", ""];
const EXTENDED_ONLY: [&str; 3] = ["opus-4-5", "sonnet-4-5", "haiku-4-5"];

type Accepts = fn(&str) -> bool;

/// A dimension: what it does to a request, and which models accept it.
const DIMENSIONS: [(&str, Change, Accepts); 17] = [
    ("prefill", |one| one.history.last_role = Role::Assistant, |model| EXTENDED_ONLY.contains(&model)),
    ("forced tool", forced, |model| {
        !["fable-5-2", "mythos-5-2", "fable-5-1", "mythos-5-1", "opus-5-5", "sonnet-5-5"].contains(&model)
    }),
    (
        "system message",
        |one| one.history.system_messages = 1,
        |model| !OLD.contains(&model) && model != "opus-4-7" && model != "sonnet-5",
    ),
    ("task budget", |one| one.task_budget = true, |model| !OLD.contains(&model) && model != "sonnet-5"),
    ("effort xhigh", |one| one.effort = Some("xhigh".into()), |model| !OLD.contains(&model)),
    ("effort max", |one| one.effort = Some("max".into()), |model| !EXTENDED_ONLY.contains(&model)),
    (
        "effort low",
        |one| one.effort = Some("low".into()),
        |model| model != "sonnet-4-5" && model != "haiku-4-5",
    ),
    ("effort of tomorrow", |one| one.effort = Some("ultra".into()), |_| false),
    ("temperature 0", |one| one.sampling.temperature = Some(b"0"), |model| OLD.contains(&model)),
    ("temperature 1", |one| one.sampling.temperature = Some(b"1.0"), |_| true),
    ("top_k", |one| one.sampling.top_k = Some(b"40"), |model| OLD.contains(&model)),
    (
        "computer of 2026",
        |one| tool(one, "computer_toolset_20260801"),
        |model| !OLD.contains(&model) && model != "opus-4-7",
    ),
    (
        "computer of 2025-11",
        |one| tool(one, "computer_20251124"),
        |model| {
            [
                "opus-4-6",
                "opus-4-7",
                "sonnet-4-6",
                "opus-4-8",
                "opus-5",
                "sonnet-5",
                "fable-5",
                "fable-5-1",
                "mythos-5",
                "mythos-5-1",
            ]
            .contains(&model)
        },
    ),
    (
        "computer of 2025-01",
        |one| tool(one, "computer_20250124"),
        |model| model == "haiku-4-5" || model == "sonnet-4-5",
    ),
    ("compaction", |one| one.other_fields.push("compaction".into()), |model| !EXTENDED_ONLY.contains(&model)),
    ("adaptive", |one| one.thinking = thinking("adaptive"), |model| !EXTENDED_ONLY.contains(&model)),
    ("enabled", |one| one.thinking = thinking("enabled"), |model| OLD.contains(&model)),
];

fn thinking(kind: &'static str) -> Option<Thinking<'static>> {
    Some(Thinking { kind: kind.into(), display: Some("omitted".into()), budget_tokens: None })
}

fn forced(envelope: &mut Envelope<'static>) {
    envelope.tool_list = vec![custom_tool("record")];
    envelope.tool_choice = Some(ToolChoice { kind: "tool".into(), name: Some("record".into()) });
}

fn tool(envelope: &mut Envelope<'static>, kind: &'static str) {
    envelope.tool_list = vec![Tool { kind: kind.into(), name: "tool".into(), model: "".into() }];
}

#[test]
fn no_request_goes_where_it_would_be_refused_or_answered_differently() {
    let facts = facts();
    for (name, change, accepts) in DIMENSIONS {
        for asked in ALL {
            for target in ALL {
                if asked == target {
                    continue;
                }
                let id = format!("claude-{target}");
                let plain = envelope(&format!("claude-{asked}"));
                let mut changed = plain.clone();
                change(&mut changed);
                let fits = fit(&changed, &facts, &id).0.is_empty();
                assert!(!fits || (accepts(target) && accepts(asked)), "{name}: {asked} to {target}");
                // Thinking that is written out, and effort that forbids turning it off, change what fits besides.
                let separate = changed.thinking.is_none() && changed.effort.is_none();
                let before = fit(&plain, &facts, &id).0.is_empty();
                if separate && before && accepts(target) && accepts(asked) {
                    assert!(fits, "{name}: {asked} to {target}: {:?}", fit(&changed, &facts, &id).0);
                }
            }
        }
    }
}

#[test]
fn no_model_takes_sampling_on_the_new_version_and_unknown_versions_stay() {
    for version in ["2026-10-21", "2027-01-01", ""] {
        let facts = Facts { api_version: version, ..facts() };
        for target in ALL.iter().filter(|model| **model != "opus-5-5") {
            let mut sampled = envelope("claude-opus-5-5");
            sampled.sampling.temperature = Some(b"1");
            assert!(!fit(&sampled, &facts, &format!("claude-{target}")).0.is_empty(), "{target}");
        }
        let plain = fit(&envelope("claude-opus-5-5"), &facts, "claude-haiku-5-5").0;
        assert_eq!(plain.is_empty(), version == "2026-10-21");
    }
}

#[test]
fn thinking_by_default_is_turned_off_where_the_asked_model_does_not_think() {
    let on = |model: &str| !["opus-4-8", "opus-4-7"].contains(&model) && !OLD.contains(&model);
    let can_be_told = ["opus-5", "sonnet-5", "haiku-5-5"];
    for asked in ALL {
        for target in ALL.into_iter().filter(|target| *target != asked) {
            let (blockers, adaptations) =
                fit(&envelope(&format!("claude-{asked}")), &facts(), &format!("claude-{target}"));
            let pair = format!("{asked} to {target}: {blockers:?}");
            match (on(asked), on(target)) {
                (false, true) if can_be_told.contains(&target) => {
                    assert_eq!((blockers.len(), adaptations), (0, 1), "{pair}");
                }
                (false, true) | (true, false) => assert!(blockers.contains(&"thinking-default"), "{pair}"),
                (false, false) => assert_eq!((blockers.len(), adaptations), (0, 0), "{pair}"),
                (true, true) => {
                    let readable = CATALOG.reads(&format!("claude-{asked}"), &format!("claude-{target}"));
                    assert_eq!(blockers.is_empty(), readable, "{pair}");
                }
            }
        }
    }
}

#[test]
fn thinking_is_not_turned_off_above_effort_high_nor_behind_a_null() {
    let mut hard = envelope("claude-opus-4-8");
    for (effort, fits) in [("low", true), ("high", true), ("xhigh", false), ("max", false)] {
        hard.effort = Some(effort.into());
        assert_eq!(fit(&hard, &facts(), "claude-haiku-5-5").0.is_empty(), fits, "{effort}");
    }
    let mut null = envelope("claude-opus-4-8");
    null.thinking_null = true;
    assert_eq!(fit(&null, &facts(), "claude-haiku-5-5").0, ["thinking-default"]);
}

#[test]
fn a_disabled_or_between_tools_thinking_goes_only_where_it_is_known() {
    let mut request = envelope("claude-opus-5");
    request.thinking = Some(Thinking { kind: "disabled".into(), display: None, budget_tokens: None });
    assert!(fit(&request, &facts(), "claude-haiku-5-5").0.is_empty());
    assert_eq!(fit(&request, &facts(), "claude-sonnet-5-5").0, ["thinking-type"]);
    request.effort = Some("max".into());
    assert!(fit(&request, &facts(), "claude-haiku-5-5").0.contains(&"thinking-effort"));
    let mut between = envelope("claude-sonnet-5-5");
    between.thinking = Some(Thinking { kind: "between_tools".into(), display: None, budget_tokens: None });
    assert_eq!(fit(&between, &facts(), "claude-haiku-5-5").0, ["thinking-type"]);
}

#[test]
fn what_binds_a_request_to_its_model_keeps_it_there() {
    let changes: [(&str, Change); 14] = [
        ("thread", |one| one.thread = Some(Thread { kind: "create".into(), previous_message_id: None })),
        ("container", |one| one.container = Some("c_1".into())),
        ("fallbacks", |one| one.fallback_list = true),
        ("prewarm", |one| one.max_tokens = Some(0)),
        ("unknown-field", |one| one.other_fields.push("safeguards".into())),
        ("unknown-field", |one| one.other_fields.push("mcp_servers".into())),
        ("block-kind", |one| one.history.other_blocks.push("server_tool_use".into())),
        ("role", |one| one.history.last_role = Role::Unknown),
        ("tools-unread", |one| one.tool_list = vec![custom_tool("t"); 512]),
        ("history-thinking", |one| one.history.has_thinking = true),
        ("service-tier", |one| one.service_tier = Some("priority".into())),
        ("fast", |one| one.speed = Some("fast".into())),
        ("max-tokens", |one| one.max_tokens = Some(128_001)),
        ("tool-kind", |one| tool(one, "code_execution_20260521")),
    ];
    for (code, change) in changes {
        let mut request = envelope("claude-opus-5-5");
        change(&mut request);
        for target in ["claude-haiku-5-5", "claude-sonnet-5-5"] {
            assert!(fit(&request, &facts(), target).0.contains(&code), "{code} {target}");
        }
    }
    let betas = Facts { betas: &["files-of-tomorrow-2027-01-01"], ..facts() };
    assert_eq!(fit(&envelope("claude-opus-5-5"), &betas, "claude-haiku-5-5").0, ["unknown-beta"]);
}

#[test]
fn a_prompt_goes_only_where_it_surely_fits() {
    let body = vec![b'a'; 500_000];
    let mut long = envelope("claude-opus-4-8");
    long.body = &body;
    assert_eq!(fit(&long, &facts(), "claude-haiku-4-5").0, ["context"]);
    assert!(fit(&long, &facts(), "claude-haiku-5-5").0.is_empty());
    let mut document = envelope("claude-opus-4-8");
    document.history.documents = 1;
    assert_eq!(fit(&document, &facts(), "claude-haiku-4-5").0, ["context"]);
    assert!(fit(&document, &facts(), "claude-haiku-5-5").0.is_empty());
}

#[test]
fn a_harder_default_effort_does_not_eat_a_small_answer() {
    let mut small = envelope("claude-opus-5-5");
    small.max_tokens = Some(100);
    assert_eq!(fit(&small, &facts(), "claude-sonnet-5-5").0, ["thinking-eats-answer"]);
    assert!(fit(&small, &facts(), "claude-haiku-5-5").0.is_empty(), "both think at medium");
    small.effort = Some("low".into());
    assert!(fit(&small, &facts(), "claude-sonnet-5-5").0.is_empty(), "the same effort is asked of both");
}

#[test]
fn an_answer_that_counts_more_tokens_is_not_cut_by_a_small_ceiling() {
    let mut request = envelope("claude-opus-4-6");
    request.thinking = Some(Thinking { kind: "disabled".into(), display: None, budget_tokens: None });
    for (max_tokens, structured, fits) in [
        (Some(4_095), false, false),
        (Some(4_096), false, true),
        (None, false, true),
        (Some(8_000), true, false),
    ] {
        (request.max_tokens, request.structured_output) = (max_tokens, structured);
        let blockers = fit(&request, &facts(), "claude-haiku-5-5").0;
        assert_eq!(!blockers.contains(&"answer-room"), fits, "{max_tokens:?} {structured}: {blockers:?}");
        assert!(!fit(&request, &facts(), "claude-haiku-4-5").0.contains(&"answer-room"), "counts alike");
        let counted = Facts { count_tokens: true, ..facts() };
        assert!(!fit(&request, &counted, "claude-haiku-5-5").0.contains(&"answer-room"));
    }
}

#[test]
fn a_smaller_context_is_proven_at_one_byte_a_token() {
    for (bytes, fits) in [(190_000, true), (195_000, false)] {
        let body = vec![b'a'; bytes];
        let mut long = envelope("claude-opus-4-8");
        long.body = &body;
        assert_eq!(!fit(&long, &facts(), "claude-haiku-4-5").0.contains(&"context"), fits, "{bytes}");
    }
}

/// The first turn of the most used agent, as observed.
fn agent_turn() -> Envelope<'static> {
    let mut turn = envelope("claude-opus-5-5");
    turn.max_tokens = Some(128_000);
    turn.stream = true;
    turn.thinking = thinking("adaptive");
    turn.effort = Some("medium".into());
    turn.other_fields = vec!["context_management".into()];
    turn.metadata_user = Some("{}".into());
    turn.tool_list = vec![custom_tool("Read"); 12];
    turn.history.spans = vec![0..1; 2];
    turn.history.system_messages = 1;
    turn.history.per_message_config = true;
    turn.history.cache_control = true;
    turn.history.last_role = Role::System;
    turn
}

#[test]
fn an_agents_first_turn_fits_the_current_models_and_no_older_one() {
    let betas = [
        "claude-code-20250219",
        "interleaved-thinking-2025-05-14",
        "context-management-2025-06-27",
        "per-turn-control-2026-07-01",
        "mid-conversation-tool-changes-2026-07-01",
        "thinking-token-count-2026-05-13",
        "advanced-tool-use-2025-11-20",
        "effort-2025-11-24",
    ];
    let facts = Facts { betas: &betas, ..facts() };
    for target in ["haiku-5-5", "sonnet-5-5"] {
        let found = fit(&agent_turn(), &facts, &format!("claude-{target}"));
        assert_eq!(found, (vec![], 0), "{target}");
    }
    for target in ["opus-4-7", "sonnet-5", "opus-4-6", "sonnet-4-6", "haiku-4-5", "sonnet-4-5", "opus-4-5"] {
        assert!(!fit(&agent_turn(), &facts, &format!("claude-{target}")).0.is_empty(), "{target}");
    }
}

#[test]
fn an_advisor_must_be_known_to_go_with_the_target() {
    let mut request = envelope("claude-opus-5-5");
    request.tool_list =
        vec![Tool { kind: "advisor_20260301".into(), name: "a".into(), model: "claude-opus-4-8".into() }];
    for target in ["claude-sonnet-5-5", "claude-haiku-5-5"] {
        assert!(!fit(&request, &facts(), target).0.is_empty(), "{target}");
    }
    request.tool_list[0].model = "claude-opus-5".into();
    assert!(fit(&request, &facts(), "claude-sonnet-5-5").0.is_empty());
}
