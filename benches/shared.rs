//! What a decision costs where counters are shared: within a share, and with the round trip that asks for one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "without its redis-server there is nothing to measure")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use jiff::tz::TimeZone;
use tercet::clock::Clock;
use tercet::config::{OnFailure, RedisServer};
use tercet::store::{
    AccountId, Accounts, Cell, Claim, Demand, Link, LinkUse, Period, Rate, Reservation, Sharing, Unit,
};
use tokio::sync::watch;

#[allow(unreachable_pub, reason = "shared with the tests")]
#[path = "../tests/support/port.rs"]
mod port;
#[allow(dead_code, unreachable_pub, reason = "shared with the tests, which use all of it")]
#[path = "../tests/support/redis.rs"]
mod redis_server;

const CELLS: [Cell; 6] = [
    Cell::Rate(Rate::Requests),
    Cell::Rate(Rate::InputTokens),
    Cell::Rate(Rate::OutputTokens),
    Cell::Concurrency,
    Cell::Window(Unit::Money, Period::Day),
    Cell::Window(Unit::Money, Period::Month),
];

fn claims(accounts: &Accounts, user: &str) -> Vec<Claim> {
    let acme: Arc<str> = Arc::from("acme");
    let ids = [
        AccountId::organisation(),
        AccountId::tenant(Arc::clone(&acme)),
        AccountId::user(Arc::clone(&acme), Arc::from(user)),
        AccountId::key(acme, Arc::from("k1")),
    ];
    let demands = CELLS.map(|cell| Demand { cell, amount: 1, most: 1, ceiling: Some(1 << 50) });
    let claim = |id: &AccountId| Claim {
        account: accounts.configured(id),
        zone: TimeZone::UTC,
        demands: demands.to_vec(),
    };
    ids.iter().map(claim).collect()
}

fn shared(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let redis = runtime.block_on(redis_server::Redis::start(&[]));
    let link = Link::new(RedisServer::parse(&redis.url()).unwrap(), LinkUse::Counters);
    let sharing = Sharing::new(Arc::clone(&link), "bench".to_owned(), OnFailure::default());
    let accounts = Arc::new(Accounts::shared(Clock::default(), Some(sharing)));
    let (ended, seen) = watch::channel(false);
    let (talking, told) = (Arc::clone(&accounts), seen.clone());
    runtime.spawn(Arc::clone(&link).keep_up(seen));
    runtime.spawn(async move { talking.share(told).await });
    assert!(runtime.block_on(link.up_within(Duration::from_secs(5))));
    while runtime.block_on(accounts.hold(claims(&accounts, "ann"))).map(Reservation::void_request).is_err() {}
    let mut group = criterion.benchmark_group("shared, four levels, six dimensions");
    group.bench_function("within a share", |bencher| {
        bencher.iter(|| {
            let held = runtime.block_on(accounts.hold(claims(&accounts, "ann"))).unwrap();
            held.void_request();
        });
    });
    let users = AtomicU64::new(0);
    group.bench_function("with a round trip", |bencher| {
        bencher.iter(|| {
            let user = format!("u{}", users.fetch_add(1, Ordering::Relaxed));
            runtime.block_on(accounts.hold(claims(&accounts, &user))).unwrap().void_request();
        });
    });
    group.finish();
    drop(ended);
}

criterion_group! {
    name = benches;
    // Each account that is asked for stays; a short run keeps them few.
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(3));
    targets = shared
}
criterion_main!(benches);
