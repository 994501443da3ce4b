//! Promises of budgets and quotas.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::store::{Account, Accounts, Actual, Claim};
use crate::usage::Usage;

fn world() -> (Clock, Accounts, Arc<Account>) {
    let clock = Clock::manual("2026-11-20T12:00:00.5Z".parse().unwrap());
    let accounts = Accounts::new(clock.clone());
    let acme = accounts.configured(&AccountId::tenant("acme".into()));
    (clock, accounts, acme)
}

fn claim(account: &Arc<Account>, budget: &Budget, quota: &Quota, estimate: &Estimate) -> Vec<Claim> {
    let mut asked = Vec::new();
    demands(budget, quota, estimate, &mut asked);
    vec![Claim { account: Arc::clone(account), zone: budget.zone.clone(), demands: asked }]
}

fn dollars(text: &str) -> NanoUsd {
    NanoUsd::parse_dollars(text).unwrap()
}

fn costs(text: &str) -> Estimate {
    Estimate { cost: dollars(text), max_cost: dollars(text), ..Estimate::LEAST }
}

#[test]
fn a_spent_budget_says_which_how_much_and_until_when() {
    let (clock, accounts, acme) = world();
    let budget = Budget { daily: Some(dollars("25")), monthly: Some(dollars("500")), ..Budget::default() };
    let ask = |text| claim(&acme, &budget, &Quota::default(), &costs(text));
    accounts.reserve(ask("25")).unwrap().post(&Actual::of(&Usage::default(), dollars("25"), clock.now()));
    let spent = Spent::of(&accounts.look(&ask("0.000000001")).unwrap_err()).unwrap();
    assert_eq!(spent.message, "the daily budget of tenant `acme` is spent ($25.00 of $25.00)");
    assert_eq!((spent.unit, spent.period, spent.utilization_permille), (Unit::Money, Period::Day, 1_000));
    assert_eq!((spent.retry_after_s(clock.now()), spent.held_in_flight), (12 * 3_600, false));
    clock.advance(Duration::from_secs(spent.retry_after_s(clock.now())));
    accounts.reserve(ask("25")).unwrap().void();
}

#[test]
fn a_budget_held_by_others_is_told_from_one_that_is_too_small() {
    let (_, accounts, acme) = world();
    let budget = Budget { weekly: Some(dollars("1")), ..Budget::default() };
    let ask = |text| claim(&acme, &budget, &Quota::default(), &costs(text));
    let held = accounts.reserve(ask("0.75")).unwrap();
    let spent = Spent::of(&accounts.reserve(ask("0.5")).unwrap_err()).unwrap();
    assert!(spent.held_in_flight && spent.message.contains("is held by requests in flight"), "{spent:?}");
    held.void();
    let spent = Spent::of(&accounts.reserve(ask("1.0005")).unwrap_err()).unwrap();
    assert!(!spent.held_in_flight);
    assert_eq!(
        spent.message,
        "the weekly budget of tenant `acme` does not cover this request ($0.00 of $1.00 used, $1.0005 asked)"
    );
}

#[test]
fn how_much_of_a_ceiling_is_used_is_told_of_any_amounts() {
    let most = u64::MAX;
    for (used, limit, told) in [
        (0, 0, 0),
        (1, 3, 333),
        (2_000, 1_000, 2_000),
        (most / 2, most, 499),
        (most, most, 1_000),
        (most, 0, most),
    ] {
        assert_eq!(permille(used, limit), told, "{used} of {limit}");
    }
}

#[test]
fn a_quota_counts_tokens_of_every_kind() {
    let (clock, accounts, acme) = world();
    let quota = Quota { daily_tokens: None, monthly_tokens: Some(1_000) };
    let ask = || claim(&acme, &Budget::default(), &quota, &Estimate::LEAST);
    let usage = Usage { input_tokens: 1, cache_read_tokens: 900, output_tokens: 99, ..Usage::default() };
    accounts.reserve(ask()).unwrap().post(&Actual::of(&usage, NanoUsd::ZERO, clock.now()));
    let spent = Spent::of(&accounts.reserve(ask()).unwrap_err()).unwrap();
    assert!(
        spent.message.starts_with("the monthly token quota of tenant `acme` is spent (1000 tokens of 1000")
    );
    assert_eq!(spent.resets_at, "2026-12-01T00:00:00Z".parse().unwrap());
}

#[test]
fn a_budget_is_asked_for_money_and_a_quota_for_tokens() {
    let budget = Budget { daily: Some(dollars("5")), ..Budget::default() };
    let quota = Quota { daily_tokens: Some(1_000), monthly_tokens: None };
    let estimate = Estimate {
        prompt_tokens: 30,
        max_prompt_tokens: 50,
        output_tokens: 4,
        max_output_tokens: 9,
        cost: NanoUsd(600),
        max_cost: NanoUsd(800),
        ..Estimate::LEAST
    };
    for (reserve, money, tokens) in [(Reserve::Expected, 600, 34), (Reserve::Max, 800, 59)] {
        let mut asked = Vec::new();
        demands(&Budget { reserve, ..budget.clone() }, &quota, &estimate, &mut asked);
        let capped = asked.iter().filter(|demand| demand.ceiling.is_some());
        let amounts: Vec<_> = capped.map(|demand| (demand.cell, demand.amount, demand.most)).collect();
        let day = |unit| Cell::Window(unit, Period::Day);
        assert_eq!(amounts, [(day(Unit::Money), money, 800), (day(Unit::Tokens), tokens, 59)]);
    }
}

#[test]
fn reserving_the_most_never_exceeds_a_budget_and_reserving_the_usual_by_one_request_at_most() {
    let price = |usage: &Usage| {
        crate::money::Rate(20_000_000_000).cost(usage.output_tokens, crate::money::Factor::ONE)
    };
    let expected = Expected { output_tokens: 1_024, fresh_permille: 1_000 };
    let estimate = Estimate::new(100_u64, false, expected, 64_000, price);
    for (reserve, fits) in [(Reserve::Max, 0), (Reserve::Expected, 1)] {
        let (_, accounts, acme) = world();
        let budget = Budget { daily: Some(dollars("0.50")), reserve, ..Budget::default() };
        let ask = || claim(&acme, &budget, &Quota::default(), &estimate);
        let held: Vec<_> = (0..50).filter_map(|_| accounts.reserve(ask()).ok()).collect();
        assert_eq!(held.len(), fits, "a 64,000-token answer costs $1.28, a usual one $0.02");
        held.into_iter().for_each(crate::store::Reservation::void);
    }
}

#[test]
fn use_is_counted_where_no_ceiling_is_set_yet() {
    let (clock, accounts, acme) = world();
    let ask = |budget: &Budget| claim(&acme, budget, &Quota::default(), &costs("3"));
    let held = accounts.reserve(ask(&Budget::default())).unwrap();
    held.post(&Actual::of(&Usage::default(), dollars("3"), clock.now()));
    let limited = Budget { daily: Some(dollars("5")), ..Budget::default() };
    assert!(accounts.reserve(ask(&limited)).is_err());
    let standings = accounts.standing(&ask(&limited));
    let full: Vec<Utilization<'_>> =
        standings.iter().filter_map(|standing| Utilization::of(acme.id(), standing, 600)).collect();
    let [day] = &full[..] else { panic!("{full:?}") };
    assert_eq!((day.claim(), day.permille, day.is_due()), ("daily_budget", 600, true));
}

#[test]
fn a_rebuild_from_records_counts_what_was_posted() {
    let (clock, accounts, acme) = world();
    let (budget, quota) = (Budget { daily: Some(dollars("5")), ..Budget::default() }, Quota::default());
    for (at, cost) in
        [("2026-11-19T23:59:59Z", "4"), ("2026-11-20T00:00:00Z", "3"), ("2026-11-20T01:00:00Z", "1")]
    {
        let mut used = Vec::new();
        charges(&budget, &quota, dollars(cost), 10, &mut used);
        let claims = [Claim { account: Arc::clone(&acme), zone: budget.zone.clone(), demands: used }];
        accounts.charge(&claims, at.parse().unwrap());
    }
    let standing = accounts.standing(&claim(&acme, &budget, &quota, &Estimate::NOTHING));
    let used: Vec<u64> = standing.iter().map(|one| one.used).collect();
    assert_eq!(used, [4_000_000_000, 8_000_000_000, 8_000_000_000, 20, 30]);
    assert_eq!(clock.now().to_string(), "2026-11-20T12:00:00.5Z");
}

#[test]
fn prompts_are_estimated_by_documented_ratios() {
    let text = PromptSize { body_bytes: 7_000, ..PromptSize::default() };
    let document = PromptSize {
        body_bytes: 127_000,
        payload_bytes: 120_000,
        document_bytes: 120_000,
        documents: 1,
        ..text
    };
    let table: [(PromptSize<'_>, u64, u64); 6] = [
        (text, 2_000, 2_800),
        (PromptSize { body_bytes: 107_000, payload_bytes: 100_000, images: 2, ..text }, 5_200, 12_368),
        // Three pages and a third, and one more.
        (document, 14_000, 14_800),
        (PromptSize { document_bytes: usize::MAX, documents: usize::MAX, ..text }, 1_000_000, 1_000_000),
        (PromptSize::default(), 1, 1),
        (PromptSize { body_bytes: usize::MAX, images: usize::MAX, ..text }, 1_000_000, 1_000_000),
    ];
    for (size, old, new) in table {
        for (tokenizer, tokens) in [(Tokenizer::Old, old), (Tokenizer::New, new)] {
            assert_eq!(
                estimate_tokens(&size, tokenizer, None, None, 200_000),
                PromptTokens::from(tokens),
                "{size:?}"
            );
        }
    }
}

#[test]
fn pictures_take_a_token_for_each_patch_that_is_left_of_them() {
    for (picture, old, new) in [
        ((28, 28), 1_u64, 1_u64),
        ((29, 28), 2, 2),
        ((1, 1), 1, 1),
        ((200, 200), 64, 64),
        ((1_000, 1_000), 1_296, 1_296),
        ((1_568, 728), 1_456, 1_456),
        ((1_092, 1_092), 1_521, 1_521),
        // 1,568 by 784 of it is left there, all of it here.
        ((2_000, 1_000), 1_568, 2_592),
        ((3_000, 2_000), 1_600, 4_784),
        ((8_000, 100), 56, 184),
        ((u32::MAX, u32::MAX), 1_600, 4_784),
        ((u32::MAX, 1), 56, 92),
    ] {
        let size = PromptSize { images: 1, pictures: &[picture], ..PromptSize::default() };
        for (tokenizer, tokens) in [(Tokenizer::Old, old), (Tokenizer::New, new)] {
            let estimated = estimate_tokens(&size, tokenizer, None, None, 200_000);
            assert_eq!(estimated, PromptTokens::from(tokens), "{picture:?} {tokenizer:?}");
        }
    }
}

#[test]
fn what_was_learned_and_counted_is_usual_and_never_lessens_the_most() {
    let size = PromptSize { body_bytes: 70_000, ..PromptSize::default() };
    let counted = Some(Counted { tokens: 17_000, added_bytes: 1_000 });
    for (density, counted, uncountable, usual, most) in [
        (None, None, 0, 28_000, 28_000),
        (Some(250), None, 0, 17_500, 28_000),
        (Some(600), None, 0, 42_000, 42_000),
        (Some(250), counted, 0, 17_250, 28_000),
        (None, counted, 1, 17_400, 200_000),
        (Some(250), None, 2, 117_500, 200_000),
        (None, Some(Counted { tokens: 300_000, added_bytes: 0 }), 0, 300_000, 300_000),
    ] {
        let size = PromptSize { uncountable, ..size };
        let tokens = estimate_tokens(&size, Tokenizer::New, density, counted, 200_000);
        assert_eq!(tokens, PromptTokens { usual, most }, "{density:?} {counted:?} {uncountable}");
    }
}

#[test]
fn estimates_add_up_and_end_at_what_can_be_counted() {
    let one = Estimate {
        prompt_tokens: 1,
        max_prompt_tokens: 2,
        input_tokens: 3,
        output_tokens: 4,
        max_output_tokens: 5,
        cost: NanoUsd(6),
        max_cost: NanoUsd(7),
    };
    let all = |estimate: Estimate| {
        let Estimate { prompt_tokens, max_prompt_tokens, input_tokens, output_tokens, .. } = estimate;
        let tokens =
            [prompt_tokens, max_prompt_tokens, input_tokens, output_tokens, estimate.max_output_tokens];
        (tokens, [estimate.cost.0, estimate.max_cost.0])
    };
    assert_eq!(all(one.plus(one.times(9))), ([10, 20, 30, 40, 50], [60, 70]));
    assert_eq!(all(one.times(0)), ([0; 5], [0; 2]));
    assert_eq!(all(one.times(u64::MAX)), ([u64::MAX; 5], [i64::MAX; 2]));
    assert_eq!(all(one.times(u64::MAX).plus(one)), ([u64::MAX; 5], [i64::MAX; 2]));
}

#[test]
fn an_estimate_prices_what_is_cached_and_at_most_takes_nothing_for_read() {
    let price = |usage: &Usage| {
        let kinds = [
            (usage.input_tokens, 100),
            (usage.cache_read_tokens, 10),
            (usage.cache_write_5m_tokens, 125),
            (usage.cache_write_1h_tokens, 200),
            (usage.output_tokens, 500),
        ];
        NanoUsd(kinds.iter().map(|(tokens, each)| tokens.cast_signed() * each).sum())
    };
    let expected = Expected { output_tokens: 2_000, fresh_permille: 16 };
    let estimate = Estimate::new(100_000_u64, true, expected, 1_500, price);
    assert_eq!(
        (estimate.prompt_tokens, estimate.input_tokens, estimate.output_tokens),
        (100_000, 1_600, 1_500)
    );
    assert_eq!(estimate.cost, NanoUsd(98_400 * 10 + 1_600 * 125 + 1_500 * 500));
    assert_eq!(estimate.max_cost, NanoUsd(100_000 * 200 + 1_500 * 500));
    let estimate = Estimate::new(100_000_u64, false, expected, 9_000, price);
    assert_eq!(estimate.max_cost, NanoUsd(100_000 * 100 + 9_000 * 500));
    assert_eq!((estimate.total_tokens(), estimate.max_total_tokens()), (102_000, 109_000));
}
