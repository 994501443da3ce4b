//! How known conversations go on: what keeps them, what moves them up, and when the sum moves them down.

use super::*;
use crate::route::past::Answered;
use crate::usage::Usage;
use crate::wire::envelope::read;

fn decided(request: &Envelope<'_>, complexity: &Complexity, past: &Past) -> RouteDecision {
    let facts = Facts { past: Some(past), ..facts() };
    decide_with(request, complexity, &routing(Mode::Enforce), &facts).unwrap()
}

fn ruling(decision: &RouteDecision) -> (&str, &'static str) {
    (decision.model(), decision.reasons.last().unwrap().code)
}

/// A later turn of an agent that does not think.
fn later(model: &str) -> Envelope<'static> {
    let mut request = envelope(model);
    (request.history.assistant_messages, request.history.cache_control) = (3, true);
    request
}

fn warm(model: &str, tokens: u64) -> Warm {
    let at_s = facts().at.as_second();
    Warm { model: model.to_owned(), tokens, until_s: at_s + 200, ttl_s: 300 }
}

#[test]
fn trouble_moves_one_tier_up_even_between_a_call_and_its_result() {
    let (asked, haiku) = ("claude-opus-5-5", past("claude-opus-5-5", "claude-haiku-5-5"));
    let mut request = later(asked);
    let cases = [
        ("trouble-tools", Past { failing: 3, ..haiku.clone() }),
        ("trouble-repeats", Past { repeats: 3, ..haiku.clone() }),
        ("trouble-refused", Past { ended: Some(Ended::Refused), ..haiku.clone() }),
        ("trouble-truncated", Past { ended: Some(Ended::Truncated), ..haiku.clone() }),
    ];
    for in_loop in [false, true] {
        request.history.last_tool_results = vec![true; usize::from(in_loop)];
        for (code, past) in &cases {
            let decision = decided(&request, &easy(), past);
            assert_eq!(ruling(&decision), ("claude-sonnet-5-5", *code), "{decision:?}");
        }
        let calm = Past { failing: 2, repeats: 2, ..haiku.clone() };
        assert_eq!(ruling(&decided(&request, &easy(), &calm)), ("claude-haiku-5-5", "conversation"));
    }
}

#[test]
fn a_tool_loop_with_thinking_moves_nowhere() {
    let mut request = later("claude-opus-5-5");
    request.history.has_thinking = true;
    request.history.last_tool_results = vec![true];
    let wrote = vec!["claude-haiku-5-5".to_owned()];
    let failing = Past { failing: 9, wrote, ..past("claude-opus-5-5", "claude-haiku-5-5") };
    assert_eq!(ruling(&decided(&request, &hard(), &failing)), ("claude-haiku-5-5", "conversation"));
    request.history.last_tool_results.clear();
    assert_eq!(ruling(&decided(&request, &hard(), &failing)).0, "claude-sonnet-5-5", "the next turn does");
}

#[test]
fn a_conversation_moves_only_where_all_its_thinking_is_read() {
    let mut request = later("claude-opus-5-5");
    request.history.has_thinking = true;
    for (writer, goes) in [
        ("claude-haiku-5-5", "claude-sonnet-5-5"),
        ("claude-opus-5", "claude-opus-5-5"),
        (ANYONE, "claude-opus-5-5"),
    ] {
        let troubled = Past {
            wrote: vec![writer.to_owned()],
            ended: Some(Ended::Refused),
            ..past("claude-opus-5-5", "claude-haiku-5-5")
        };
        let decision = decided(&request, &easy(), &troubled);
        if writer == ANYONE {
            assert_eq!(ruling(&decision), ("claude-haiku-5-5", "conversation"), "nobody is known to read it");
        } else {
            assert_eq!(ruling(&decision), (goes, "trouble-refused"));
        }
    }
}

#[test]
fn a_harder_turn_goes_up_and_a_middling_one_only_from_far_below() {
    let haiku = past("claude-opus-5-5", "claude-haiku-5-5");
    let request = later("claude-opus-5-5");
    assert_eq!(ruling(&decided(&request, &hard(), &haiku)), ("claude-opus-5-5", "turn-harder"));
    assert_eq!(ruling(&decided(&request, &middling(), &haiku)), ("claude-opus-5-5", "turn-harder"));
    let nearly = needing([900, 960, 990], 260);
    assert_eq!(ruling(&decided(&request, &nearly, &haiku)), ("claude-haiku-5-5", "conversation"));
}

#[test]
fn a_conversation_goes_down_where_the_sum_of_the_turns_ahead_says_so() {
    let body = vec![b'a'; 240_000];
    let mut request = later("claude-opus-4-8");
    request.body = &body;
    let opus = past("claude-opus-4-8", "claude-opus-4-8");
    let stays_warm = Past { warm: vec![warm("claude-opus-4-8", 78_000)], ..opus.clone() };
    // Haiku writes 78,000 tokens for less than Opus 4.8 reads them; Sonnet 5 writes them for five times that.
    let decision = decided(&request, &easy(), &stays_warm);
    assert_eq!(ruling(&decision), ("claude-haiku-5-5", "switch-pays"), "{decision:?}");
    let sonnet = Tiers { haiku: "claude-sonnet-5".into(), sonnet: "claude-sonnet-5".into(), ..tiers() };
    let goes = |past: &Past, turns_permille| {
        let ahead = Ahead { turns_permille, growth_tokens: 1_000, output_tokens: 500, shared: Vec::new() };
        let facts = Facts { past: Some(past), ahead: &ahead, ..facts() };
        let asked = Asked::parse(&request.model);
        let routing = routing(Mode::Enforce);
        let decision = decide(&asked, &request, &easy(), &CATALOG, &sonnet, &routing, &facts).unwrap();
        decision.model().to_owned()
    };
    assert_eq!(goes(&stays_warm, 2_000), "claude-opus-4-8", "two turns do not pay for the rewrite");
    assert_eq!(goes(&stays_warm, 16_000), "claude-sonnet-5", "sixteen do");
    let cold = Past { warm: Vec::new(), ..opus };
    assert_eq!(goes(&cold, 2_000), "claude-sonnet-5", "cold everywhere, the cheaper one wins");
}

#[test]
fn the_price_step_of_long_prompts_is_part_of_the_sum() {
    // 100K tokens by the new count are 307 KB: below, Haiku costs a fifth of what it does above.
    let costs = |bytes: usize| {
        let body = vec![b'a'; bytes];
        let mut request = later("claude-opus-4-8");
        request.body = &body;
        let decision = decide_with(&request, &easy(), &routing(Mode::Enforce), &facts()).unwrap();
        decision.candidates.iter().find(|one| one.model == "claude-haiku-5-5").unwrap().estimate.0
    };
    let (below, above) = (costs(300_000), costs(312_000));
    assert!(above > below * 4, "{below} {above}");
}

#[test]
fn what_the_upstream_reports_is_warm_until_its_time_is_over() {
    let mut state = past("claude-opus-5-5", "claude-opus-5-5");
    let answer = |usage, at_s| Answered { usage, at_s, ..Answered::default() };
    state.note_answer(&answer(Usage { cache_write_5m_tokens: 40_000, ..Usage::default() }, 1_000));
    assert_eq!(state.warm_tokens("claude-opus-5-5", 1_299), 40_000);
    assert_eq!(state.warm_tokens("claude-opus-5-5", 1_300), 0);
    assert_eq!(state.warm_tokens("claude-haiku-5-5", 1_001), 0, "caches are of one model");
    let hour = Usage { cache_read_tokens: 40_000, cache_write_1h_tokens: 2_000, ..Usage::default() };
    state.note_answer(&answer(hour, 1_200));
    assert_eq!(state.warm_tokens("claude-opus-5-5", 4_799), 42_000);
    state.note_answer(&answer(Usage { cache_read_tokens: 42_000, ..Usage::default() }, 4_000));
    assert_eq!(state.warm_tokens("claude-opus-5-5", 7_599), 42_000, "what was read stays for as long again");
    state.note_answer(&answer(Usage { input_tokens: 50_000, ..Usage::default() }, 5_000));
    assert_eq!(state.warm_tokens("claude-opus-5-5", 5_001), 0, "nothing was read or written");
}

#[test]
fn failing_results_and_repeated_calls_are_counted_in_a_row() {
    let turn = |input: &str, failed: bool| {
        format!(
            r#"{{"model":"claude-opus-5","max_tokens":9,"messages":[{{"role":"user","content":"x"}},
            {{"role":"assistant","content":[{{"type":"tool_use","id":"t{input}","name":"run","input":{{"a":"{input}"}}}}]}},
            {{"role":"user","content":[{{"type":"tool_result","tool_use_id":"t{input}","is_error":{failed},"content":"y"}}]}}]}}"#
        )
    };
    let mut state = past("claude-opus-5", "claude-haiku-5-5");
    let mut seen = |input: &str, failed: bool| {
        let body = turn(input, failed);
        state.note_tools(&read(body.as_bytes()).unwrap());
        (state.failing, state.repeats)
    };
    assert_eq!(seen("1", true), (1, 1));
    assert_eq!(seen("1", true), (2, 2));
    assert_eq!(seen("1", false), (0, 3), "a result that worked ends the row of failures, not that of calls");
    assert_eq!(seen("2", true), (1, 1));
    state.note_tools(&envelope("claude-opus-5"));
    assert_eq!((state.failing, state.repeats), (0, 0), "a turn of the user's begins anew");
}

#[test]
fn what_a_workload_does_is_learned_and_is_its_tenants_alone() {
    let habits = Habits::default();
    let (here, there) = (Workload::of("a", true, 7), Workload::of("b", true, 7));
    assert!(here != Workload::of("a", true, 8) && here != Workload::of("a", false, 7));
    assert_eq!(habits.ahead(here, 1), Ahead::default());
    let usage = Usage { cache_write_5m_tokens: 9_000, output_tokens: 300, ..Usage::default() };
    for number in (1..=10).cycle().take(500) {
        let before_tokens = if number == 1 { 0 } else { 8_000 };
        let turn =
            Turn { number, model: "m", usage: &usage, before_tokens, preamble_bytes: 20_000, at_s: 50 };
        habits.observe(here, &turn);
    }
    let (first, last) = (habits.ahead(here, 1), habits.ahead(here, 10));
    assert!((8_500..=10_500).contains(&first.turns_permille), "{first:?}");
    assert!(last.turns_permille < 2_000, "{last:?}");
    assert_eq!((first.growth_tokens, first.output_tokens), (1_000, 300));
    assert_eq!(first.shared, [Warm { model: "m".into(), tokens: 5_000, until_s: 350, ttl_s: 300 }]);
    assert_eq!(habits.ahead(there, 1), Ahead::default());
}

#[test]
fn a_beginning_that_others_keep_warm_keeps_a_first_turn_from_a_cold_model() {
    let body = vec![b'a'; 120_000];
    let mut request = envelope("claude-opus-4-8");
    request.body = &body;
    request.history.cache_control = true;
    let sonnet = Tiers { haiku: "claude-sonnet-5".into(), sonnet: "claude-sonnet-5".into(), ..tiers() };
    let goes = |shared: Vec<Warm>| {
        let ahead = Ahead { turns_permille: 1_000, growth_tokens: 0, output_tokens: 300, shared };
        let facts = Facts { ahead: &ahead, ..facts() };
        let (asked, routing) = (Asked::parse(&request.model), routing(Mode::Enforce));
        let decision = decide(&asked, &request, &easy(), &CATALOG, &sonnet, &routing, &facts).unwrap();
        decision.model().to_owned()
    };
    assert_eq!(goes(Vec::new()), "claude-sonnet-5");
    assert_eq!(goes(vec![warm("claude-opus-4-8", 38_000)]), "claude-opus-4-8");
    assert_eq!(
        goes(vec![warm("claude-opus-4-8", 38_000), warm("claude-sonnet-5", 38_000)]),
        "claude-sonnet-5"
    );
}
