//! Promises of limits and gates.

use std::sync::Arc;

use super::*;
use crate::clock::Clock;
use crate::store::{Account, AccountId, Accounts, Claim};

fn claim(account: &Arc<Account>, limits: &Limits, input: u64, output: u64) -> Claim {
    let mut asked = Vec::new();
    demands(limits, input, output, &mut asked);
    Claim { account: Arc::clone(account), zone: jiff::tz::TimeZone::UTC, demands: asked }
}

fn world() -> (Clock, Accounts, Arc<Account>, Arc<Account>) {
    let clock = Clock::manual("2026-11-20T12:00:00Z".parse().unwrap());
    let accounts = Accounts::new(clock.clone());
    let acme = accounts.configured(&AccountId::tenant("acme".into()));
    let ann = accounts.configured(&AccountId::user("acme".into(), "ann".into()));
    (clock, accounts, acme, ann)
}

#[test]
fn headers_show_the_tightest_of_the_callers_levels_in_each_dimension() {
    let (_, accounts, acme, ann) = world();
    let wide = Limits {
        requests_per_minute: Some(60),
        input_tokens_per_minute: Some(500),
        output_tokens_per_minute: Some(600),
        ..Limits::default()
    };
    let narrow = Limits { requests_per_minute: Some(10), input_tokens_per_minute: Some(9_000), ..wide };
    let ask = || vec![claim(&acme, &wide, 100, 30), claim(&ann, &narrow, 100, 30)];
    accounts.reserve(ask()).unwrap().void();
    accounts.reserve(ask()).unwrap().post(&crate::store::Actual {
        at: "2026-11-20T12:00:00Z".parse().unwrap(),
        input_tokens: 150,
        output_tokens: 60,
        total_tokens: 210,
        cost: crate::money::NanoUsd::ZERO,
    });
    let facts = HeaderFacts::of(&accounts.standing(&ask()));
    let fact = |limit, remaining, resets_at: &str| {
        Some(RateFacts { limit, remaining, resets_at: resets_at.parse().unwrap() })
    };
    assert_eq!(facts.requests, fact(10, 8, "2026-11-20T12:00:12Z"));
    assert_eq!(facts.input_tokens, fact(500, 350, "2026-11-20T12:00:18Z"));
    assert_eq!(facts.output_tokens, fact(600, 540, "2026-11-20T12:00:06Z"));
    assert_eq!(facts.tokens, fact(1_100, 890, "2026-11-20T12:00:18Z"));
    assert_eq!(HeaderFacts::of(&[]), HeaderFacts::default());
}

#[test]
fn a_reached_limit_says_whose_and_for_how_long() {
    let (clock, accounts, acme, _) = world();
    let limits = Limits { requests_per_minute: Some(7), ..Limits::default() };
    for _ in 0..7 {
        accounts.reserve(vec![claim(&acme, &limits, 1, 1)]).unwrap().void();
    }
    let short = accounts.reserve(vec![claim(&acme, &limits, 1, 1)]).unwrap_err();
    let reached = LimitReached::of(&short).unwrap();
    assert_eq!((reached.dimension, reached.retry_after_s), ("requests", 9));
    assert!(reached.message.contains("tenant `acme` of 7 requests per minute"), "{}", reached.message);
    clock.advance(Duration::from_secs(reached.retry_after_s));
    accounts.reserve(vec![claim(&acme, &limits, 1, 1)]).unwrap().void();
}

#[test]
fn a_whole_number_of_seconds_is_told_as_it_is() {
    let (clock, accounts, acme, _) = world();
    let limits = Limits { requests_per_minute: Some(6), ..Limits::default() };
    let ask = || accounts.reserve(vec![claim(&acme, &limits, 1, 1)]);
    (0..6).for_each(|_| ask().unwrap().void());
    for (passed_ms, told) in [(0, 10), (1, 10), (999, 9), (1_000, 8), (7_999, 1)] {
        clock.advance(Duration::from_millis(passed_ms));
        assert_eq!(LimitReached::of(&ask().unwrap_err()).unwrap().retry_after_s, told, "{passed_ms}");
    }
}

#[test]
fn a_request_larger_than_a_minutes_tokens_passes_alone_and_is_owed() {
    let (clock, accounts, acme, _) = world();
    let limits = Limits { input_tokens_per_minute: Some(1_000), ..Limits::default() };
    let held = accounts.reserve(vec![claim(&acme, &limits, 5_000, 1)]).unwrap();
    let usage = crate::usage::Usage { input_tokens: 2_000, cache_read_tokens: 9_000, ..Default::default() };
    held.post(&crate::store::Actual::of(&usage, crate::money::NanoUsd::ZERO, clock.now()));
    clock.advance(Duration::from_secs(60));
    assert!(accounts.reserve(vec![claim(&acme, &limits, 1, 1)]).is_err());
    clock.advance(Duration::from_secs(1));
    assert!(accounts.reserve(vec![claim(&acme, &limits, 1, 1)]).is_ok_and(|held| {
        held.void();
        true
    }));
}

#[test]
fn concurrency_is_freed_by_every_ending() {
    let (clock, accounts, acme, _) = world();
    let limits = Limits { concurrent_requests: Some(1), ..Limits::default() };
    let reserve = || accounts.reserve(vec![claim(&acme, &limits, 1, 1)]);
    reserve().unwrap().void();
    reserve().unwrap().void_request();
    drop(reserve().unwrap());
    let held = reserve().unwrap();
    assert_eq!(LimitReached::of(&reserve().unwrap_err()).unwrap().dimension, "concurrency");
    held.post(&crate::store::Actual::of(&Default::default(), crate::money::NanoUsd::ZERO, clock.now()));
    reserve().unwrap().void();
}

#[test]
fn a_gate_shuts_after_its_number_and_names_the_wait() {
    let clock = Clock::manual("2026-11-20T12:00:00Z".parse().unwrap());
    let gates = TenantGates::new(GateKind::CountTokens, clock.clone());
    let (one, other) = (Arc::from("one"), Arc::from("other"));
    assert_eq!((0..600).filter(|_| gates.pass(&one).is_ok()).count(), 500);
    assert!(gates.pass(&other).is_ok(), "tenants do not share a gate");
    let wait = gates.pass(&one).unwrap_err();
    assert!(wait > Duration::ZERO && wait <= Duration::from_millis(20), "{wait:?}");
    clock.advance(wait);
    assert!(gates.pass(&one).is_ok());
    for (kind, number) in [(GateKind::FailedLogins, 200), (GateKind::NewConnections, 4_000)] {
        let gate = Gate::new(kind, clock.clone());
        assert_eq!((0..5_000).filter(|_| gate.pass().is_ok()).count(), number);
    }
}
