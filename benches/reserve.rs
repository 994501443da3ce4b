//! What limits and budgets cost a request: one to four levels, six limited dimensions each, held and posted.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use jiff::tz::TimeZone;
use tercet::budget::{self, Estimate, Expected};
use tercet::clock::Clock;
use tercet::config::{Budget, Limits, Quota};
use tercet::limit;
use tercet::money::NanoUsd;
use tercet::store::{Account, AccountId, Accounts, Actual, Claim};
use tercet::usage::Usage;

fn claims(levels: &[Arc<Account>], limits: &Limits, money: &Budget, estimate: &Estimate) -> Vec<Claim> {
    let claim = |account: &Arc<Account>| {
        let mut demands = Vec::with_capacity(9);
        limit::demands(limits, estimate.input_tokens, estimate.output_tokens, &mut demands);
        budget::demands(money, &Quota::default(), estimate, &mut demands);
        Claim { account: Arc::clone(account), zone: money.zone.clone(), demands }
    };
    levels.iter().map(claim).collect()
}

fn reserve(criterion: &mut Criterion) {
    let clock = Clock::default();
    let accounts = Accounts::new(clock.clone());
    let acme: Arc<str> = Arc::from("acme");
    let ids = [
        AccountId::organisation(),
        AccountId::tenant(Arc::clone(&acme)),
        AccountId::user(Arc::clone(&acme), Arc::from("ann")),
        AccountId::key(acme, Arc::from("k1")),
    ];
    let levels = ids.each_ref().map(|id| accounts.configured(id));
    let limits = Limits {
        requests_per_minute: Some(1 << 50),
        input_tokens_per_minute: Some(1 << 50),
        output_tokens_per_minute: Some(1 << 50),
        concurrent_requests: Some(1_000),
    };
    let zone = TimeZone::get("Europe/Berlin").unwrap_or(TimeZone::UTC);
    let most = Some(NanoUsd(i64::MAX));
    let money = Budget { daily: most, monthly: most, zone, ..Budget::default() };
    let expected = Expected { output_tokens: 1_024, fresh_permille: 1_000 };
    let estimate = Estimate::new(10_000_u64, false, expected, 64_000, |usage| {
        NanoUsd(usage.output_tokens.cast_signed())
    });
    let usage = Usage { input_tokens: 9_000, output_tokens: 700, ..Usage::default() };
    let actual = Actual::of(&usage, NanoUsd(700), clock.now());
    let mut group = criterion.benchmark_group("six dimensions, reserve and post by levels");
    for count in 1..=levels.len() {
        group.bench_function(count.to_string(), |bencher| {
            bencher.iter(|| {
                let asked = claims(&levels[..count], &limits, &money, &estimate);
                accounts.reserve(black_box(asked)).map(|held| held.post(&actual)).is_ok()
            });
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("four levels, six dimensions");
    group.bench_function("find accounts", |bencher| {
        bencher.iter(|| ids.each_ref().map(|id| accounts.configured(black_box(id))));
    });
    let asked = claims(&levels, &limits, &money, &estimate);
    group.bench_function("look", |bencher| bencher.iter(|| accounts.look(black_box(&asked)).is_ok()));
    group.bench_function("standing", |bencher| bencher.iter(|| accounts.standing(black_box(&asked))));
    group.finish();
}

criterion_group!(benches, reserve);
criterion_main!(benches);
