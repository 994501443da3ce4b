//! Shares of a ceiling, without the rest of the gateway: who is asked how often, and what comes back from the dead.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

#[path = "shares/model.rs"]
mod model;
mod support;

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use support::read::until_told;
use support::redis::{Fault, Line, Redis};
use tercet::clock::Clock;
use tercet::config::{OnFailure, RedisServer};
use tercet::money::NanoUsd;
use tercet::store::{
    AccountId, Accounts, Actual, Cell, Claim, Demand, Link, LinkUse, Period, Rate, Refused, Reservation,
    Sharing, Unit,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const DAY: Cell = Cell::Window(Unit::Money, Period::Day);
const REQUESTS: Cell = Cell::Rate(Rate::Requests);

/// The counters of one instance, talking with the others.
struct Instance {
    accounts: Arc<Accounts>,
    link: Arc<Link>,
    tenant: String,
    ended: watch::Sender<bool>,
    talking: Vec<JoinHandle<()>>,
}

impl Instance {
    async fn start(url: &str, name: &str) -> Self {
        Self::start_having_used(url, name, "acme", 0).await
    }

    /// Starts one whose journal says that it has used so much of a tenant's budget today.
    async fn start_having_used(url: &str, name: &str, tenant: &str, used: u64) -> Self {
        let link = Link::new(RedisServer::parse(url).unwrap(), LinkUse::Counters);
        let sharing = Sharing::new(Arc::clone(&link), name.to_owned(), OnFailure::default());
        let accounts = Arc::new(Accounts::shared(Clock::default(), Some(sharing)));
        accounts.charge(&claims(&accounts, tenant, &[(DAY, used, u64::MAX)]), Clock::default().now());
        let (ended, seen) = watch::channel(false);
        let talking = Arc::clone(&accounts);
        let told = seen.clone();
        let talking = vec![
            tokio::spawn(Arc::clone(&link).keep_up(seen)),
            tokio::spawn(async move { talking.share(told).await }),
        ];
        assert!(link.up_within(Duration::from_secs(5)).await);
        Self { accounts, link, tenant: tenant.to_owned(), ended, talking }
    }

    async fn hold(&self, demands: &[(Cell, u64, u64)]) -> Result<Reservation, Refused> {
        self.accounts.hold(claims(&self.accounts, &self.tenant, demands)).await
    }

    /// Ends as a crash would: nothing is told or given back.
    async fn crash(self) {
        for task in &self.talking {
            task.abort();
        }
        for task in self.talking {
            drop(task.await);
        }
    }

    async fn stop(self) {
        self.ended.send_replace(true);
        for task in self.talking {
            task.await.unwrap();
        }
    }
}

fn claims(accounts: &Accounts, tenant: &str, demands: &[(Cell, u64, u64)]) -> Vec<Claim> {
    let account = accounts.configured(&AccountId::tenant(tenant.into()));
    let demand = |&(cell, amount, ceiling)| Demand { cell, amount, most: amount, ceiling: Some(ceiling) };
    vec![Claim { account, zone: TimeZone::UTC, demands: demands.iter().map(demand).collect() }]
}

fn post(reservation: Reservation, cost: u64) {
    let cost = NanoUsd(i64::try_from(cost).unwrap());
    let at = Clock::default().now();
    reservation.post(&Actual { at, input_tokens: 0, output_tokens: 0, total_tokens: 0, cost });
}

/// Holds again and again until it is granted, five seconds longer than a lease at most.
async fn granted(instance: &Instance, demands: &[(Cell, u64, u64)]) -> Reservation {
    for _ in 0..1_000 {
        if let Ok(reservation) = instance.hold(demands).await {
            return reservation;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{demands:?} is never granted");
}

#[tokio::test(flavor = "multi_thread")]
async fn nineteen_of_twenty_requests_ask_nobody() {
    let redis = Redis::start(&[]).await;
    let instances = [Instance::start(&redis.url(), "a").await, Instance::start(&redis.url(), "b").await];
    let asked = [(REQUESTS, 1, 100_000), (Cell::Concurrency, 1, 2_000), (DAY, 1_000, 1_000_000_000)];
    for round in 0..2_000 {
        let reservation = instances[round % 2].hold(&asked).await.unwrap();
        post(reservation, 700);
    }
    for instance in instances {
        let reading = instance.accounts.sharing().unwrap().reading();
        let share = reading.unasked * 1_000 / (reading.unasked + reading.asked);
        println!("{} of {} reservations asked nobody", reading.unasked, reading.unasked + reading.asked);
        assert!(share >= 950, "{share} per thousand");
        instance.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_instance_does_not_use_comes_back() {
    let redis = Redis::start(&[]).await;
    let (one, other) = (Instance::start(&redis.url(), "a").await, Instance::start(&redis.url(), "b").await);
    post(one.hold(&[(DAY, 10, 10_000)]).await.unwrap(), 10);
    // `one` has a slice set aside; all the rest for `other` is more than is left until it is given back.
    let rest = granted(&other, &[(DAY, 9_990, 10_000)]).await;
    assert!(matches!(one.hold(&[(DAY, 1, 10_000)]).await, Err(Refused::Exhausted(_))));
    post(rest, 9_000);
    post(granted(&one, &[(DAY, 990, 10_000)]).await, 990);
    let spent = one.hold(&[(DAY, 1, 10_000)]).await.unwrap_err();
    let Refused::Exhausted(spent) = spent else { panic!("{spent:?}") };
    assert_eq!((spent.used, spent.reserved, spent.remaining), (10_000, 0, 0));
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_instances_share_comes_back_but_for_what_it_may_have_used() {
    let redis = Redis::start(&[]).await;
    let (dead, other) = (Instance::start(&redis.url(), "a").await, Instance::start(&redis.url(), "b").await);
    post(dead.hold(&[(DAY, 100, 10_000), (Cell::Concurrency, 1, 1)]).await.unwrap(), 60);
    let in_flight = granted(&dead, &[(DAY, 100, 10_000), (Cell::Concurrency, 1, 1)]).await;
    // Asked for by another, so that what was told last is known to have been heard.
    let told = async {
        loop {
            let refused = other.hold(&[(DAY, 10_000, 10_000)]).await;
            if matches!(refused, Err(Refused::Exhausted(spent)) if spent.used == 60 && spent.reserved >= 100)
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), told).await.unwrap();
    dead.crash().await;
    let rest = granted(&other, &[(DAY, 9_840, 10_000), (Cell::Concurrency, 1, 1)]).await;
    assert!(other.hold(&[(DAY, 1, 10_000)]).await.is_err(), "160 may have been used");
    // Its journal says at its return what became of the request in flight.
    let back = Instance::start_having_used(&redis.url(), "a", "acme", 60 + 25).await;
    post(granted(&back, &[(DAY, 75, 10_000)]).await, 75);
    post(rest, 9_840);
    assert!(back.hold(&[(DAY, 1, 10_000)]).await.is_err());
    drop(in_flight);
    back.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_comes_back_having_used_nothing_frees_what_it_held() {
    let redis = Redis::start(&[]).await;
    let (dead, other) = (Instance::start(&redis.url(), "a").await, Instance::start(&redis.url(), "b").await);
    let held = granted(&dead, &[(DAY, 5_000, 10_000)]).await;
    let refused = other.hold(&[(DAY, 10_000, 10_000)]).await;
    assert!(matches!(refused, Err(Refused::Exhausted(short)) if short.reserved >= 5_000));
    dead.crash().await;
    held.void();
    let back = Instance::start(&redis.url(), "a").await;
    granted(&other, &[(DAY, 10_000, 10_000)]).await.void();
    back.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_leaves_nothing_taken() {
    let redis = Redis::start(&[]).await;
    let line = Line::to(redis.port).await;
    let instance = Instance::start(&line.url(), "a").await;
    let all = [(DAY, 10_000, 10_000), (REQUESTS, 20, 20)];
    for _ in 0..3 {
        line.set(Fault::AnswersLost);
        assert!(matches!(instance.hold(&all).await, Err(Refused::Unreachable)));
        line.set(Fault::Reset);
        line.set(Fault::None);
        assert!(instance.link.up_within(Duration::from_secs(5)).await);
    }
    granted(&instance, &all).await.void_request();
    granted(&instance, &all).await.void();
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_stays_within_one_slot_of_a_cluster() {
    let redis = Redis::start(&["--cluster-enabled", "yes"]).await;
    let _: () = redis.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
    until_told(|| async { redis.command(&["CLUSTER", "INFO"]).await }, "cluster_state:ok").await;
    let instance = Instance::start(&redis.url(), "a").await;
    let accounts = &instance.accounts;
    let levels = [
        AccountId::organisation(),
        AccountId::tenant("acme".into()),
        AccountId::user("acme".into(), "{a}:}".into()),
        AccountId::key("acme".into(), "k".into()),
    ];
    let demand = Demand { cell: DAY, amount: 1, most: 1, ceiling: Some(10) };
    let claims = levels.map(|id| {
        let account = accounts.configured(&id);
        Claim { account, zone: TimeZone::UTC, demands: vec![demand] }
    });
    post(accounts.hold(claims.to_vec()).await.unwrap(), 1);
    instance.stop().await;
    let keys: Vec<String> = redis.command(&["KEYS", "tercet:1:*acme*"]).await;
    let mut slots = Vec::new();
    for key in &keys {
        slots.push(redis.command::<u64>(&["CLUSTER", "KEYSLOT", key]).await);
    }
    assert_eq!(keys.len(), 3, "{keys:?}");
    slots.dedup();
    assert_eq!(slots.len(), 1, "{keys:?}");
}
