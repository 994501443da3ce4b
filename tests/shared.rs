//! Several instances before one Redis: a ceiling is one ceiling, whoever is asked, and whatever becomes of Redis.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::http::{Answer, ask, message};
use support::process::Process;
use support::read::{idle, standing, sum, until};
use support::redis::{Fault, Line, Redis};
use support::{ACME, House, RIVAL, configuration};
use tercet::simulated::{Options, Upstream};
use tercet::store::{AccountId, Cell, Period, Unit};
use tokio::task::JoinSet;
use tokio::time::Instant;

const DAY: Cell = Cell::Window(Unit::Money, Period::Day);

/// Two tenants that share counters at `url`; `acme` has these sections.
fn sharing(url: &str, sections: &str) -> String {
    format!(
        "[routing]\nmode = \"off\"\n[redis]\ncounters = \"{url}\"\n{sections}\n\
         [[tenants.acme.keys]]\nid = \"acme-1\"\nuser = \"ann\"\nsecret = {{ env = \"ACME_KEY\" }}\n\
         [[tenants.rival.keys]]\nid = \"rival-1\"\nuser = \"rob\"\nsecret = {{ env = \"RIVAL_KEY\" }}\n"
    )
}

/// Starts instances that have met.
async fn instances(count: usize, text: &str) -> Vec<House> {
    let mut houses = Vec::new();
    for _ in 0..count {
        houses.push(House::start(text).await);
    }
    for house in &houses {
        let link = house.tercet.runtime.counters.clone().unwrap();
        assert!(link.up_within(Duration::from_secs(5)).await);
    }
    houses
}

fn asking(text: &str) -> String {
    ask("claude-opus-5-5", text).replace("1000", "100")
}

/// Sends requests to all instances at once, in turn.
async fn storm(houses: &[House], count: usize, body: &str) -> Vec<Answer> {
    let mut storm = JoinSet::new();
    for index in 0..count {
        let (url, body) = (houses[index % houses.len()].url.clone(), body.to_owned());
        storm.spawn(async move { message(&url, ACME, body).await });
    }
    storm.join_all().await
}

fn passed(answers: &[Answer]) -> usize {
    answers.iter().filter(|answer| answer.status == 200).count()
}

fn acme() -> AccountId {
    AccountId::tenant(Arc::from("acme"))
}

fn spent_in_journals(houses: &[House]) -> u64 {
    houses.iter().map(|house| u64::try_from(sum(&house.records(), "cost_nanousd")).unwrap()).sum()
}

/// Waits until an instance knows what all of them have spent.
async fn agreed(house: &House, spent: u64) {
    until("the instances agree", || standing(house, &acme(), DAY, u64::MAX).used == spent).await;
}

async fn stop_all(houses: Vec<House>) {
    for house in houses {
        idle(&house).await;
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hundred_requests_at_once_on_two_instances_exactly_twenty_fit_a_budget() {
    let redis = Redis::start(&[]).await;
    // What one request holds at most decides how much twenty of them hold; the first instance says it.
    let body = asking("say hi");
    let probe = House::start(&sharing(&redis.url(), "[tenants.acme.budget]\nreserve = \"max\"")).await;
    message(&probe.url, ACME, body.clone()).await;
    let most = held_at_most(&probe);
    probe.stop().await;
    let _: () = redis.command(&["FLUSHALL"]).await;
    for ceiling in [
        format!("budget]\ndaily = \"{}\"\nreserve = \"max\"", dollars(20 * most.0)),
        format!("budget]\nreserve = \"max\"\n[tenants.acme.quota]\ndaily_tokens = {}", 20 * most.1),
    ] {
        let houses = instances(2, &sharing(&redis.url(), &format!("[tenants.acme.{ceiling}"))).await;
        for house in &houses {
            for _ in 0..100 {
                house.upstream.script(tercet::simulated::Behaviour::SlowFirstByte { ms: 1_500 });
            }
        }
        let answers = storm(&houses, 200, &body).await;
        assert_eq!(passed(&answers), 20, "{ceiling}");
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            assert_eq!(answer.status, 429, "{:?}", answer.body);
        }
        stop_all(houses).await;
        let _: () = redis.command(&["FLUSHALL"]).await;
    }
}

/// Returns the money and the tokens that a request holds with `reserve = "max"`, from the journal.
fn held_at_most(house: &House) -> (u64, u64) {
    let folder = house.folder.path().join("data/exchanges");
    let lines: String = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok())
        .collect();
    let held = lines
        .lines()
        .filter(|line| line.ends_with('}'))
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let held = held.into_iter().find(|record| record["kind"] == "reservation").unwrap();
    (held["estimate_nanousd"].as_u64().unwrap(), held["estimate_tokens"].as_u64().unwrap())
}

fn dollars(nanousd: u64) -> String {
    format!("{}.{:09} USD", nanousd / 1_000_000_000, nanousd % 1_000_000_000)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_is_one_rate_on_two_instances() {
    let redis = Redis::start(&[]).await;
    let text = sharing(&redis.url(), "[tenants.acme.limits]\nrequests_per_minute = 20");
    let houses = instances(2, &text).await;
    let begun = Instant::now();
    let answers = storm(&houses, 200, &asking("say hi")).await;
    let refilled = usize::try_from(begun.elapsed().as_secs() / 3).unwrap();
    let passed = passed(&answers);
    assert!((20..=20 + refilled).contains(&passed), "{passed} of 20 and {refilled}");
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(answer.json()["error"]["type"], "rate_limit_error", "{:?}", answer.body);
        assert_eq!(answer.header("anthropic-ratelimit-requests-limit"), "20");
        assert_eq!(answer.header("anthropic-ratelimit-requests-remaining"), "0");
    }
    stop_all(houses).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_requests_are_in_flight_on_all_instances_as_allowed() {
    let redis = Redis::start(&[]).await;
    let text = sharing(&redis.url(), "[tenants.acme.limits]\nconcurrent_requests = 6");
    let houses = instances(2, &text).await;
    for house in &houses {
        for _ in 0..20 {
            house.upstream.script(tercet::simulated::Behaviour::SlowFirstByte { ms: 1_000 });
        }
    }
    assert_eq!(passed(&storm(&houses, 40, &asking("say hi")).await), 6);
    for house in &houses {
        idle(house).await;
        until("what was scripted is used up", || house.upstream.bill().len() <= 6).await;
    }
    stop_all(houses).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_becomes_of_redis_the_policy_answers_and_nothing_is_counted_twice() {
    let redis = Redis::start(&[]).await;
    let line = Line::to(redis.port).await;
    let sections =
        "[tenants.acme.budget]\ndaily = \"50.00 USD\"\n[tenants.rival.limits]\nrequests_per_minute = 1000";
    let houses = instances(2, &sharing(&line.url(), sections)).await;
    let body = asking("say hi");
    assert_eq!(passed(&storm(&houses, 8, &body).await), 8);
    let faults = [
        Fault::Partition,
        // In either direction, so that an answer takes longer than one is waited for.
        Fault::Slow(Duration::from_millis(300)),
        Fault::AnswersLost,
        Fault::Reset,
        Fault::Says("-LOADING Redis is loading the dataset in memory\r\n"),
        Fault::Says("-READONLY You can't write against a read only replica.\r\n"),
        Fault::Says("-OOM command not allowed when used memory > 'maxmemory'.\r\n"),
        Fault::Says("HTTP/1.1 400 Bad Request\r\n\r\n"),
    ];
    for fault in faults {
        line.set(fault.clone());
        let link = |house: &House| house.tercet.runtime.counters.clone().unwrap();
        until("the loss is noticed", || houses.iter().all(|house| !link(house).is_up())).await;
        let begun = Instant::now();
        let closed = message(&houses[0].url, ACME, body.clone()).await;
        let open = message(&houses[0].url, RIVAL, body.clone()).await;
        assert!(begun.elapsed() < Duration::from_secs(4), "{fault:?}: two answers, 2 s each at most");
        assert_eq!((closed.status, open.status), (503, 200), "{fault:?} {:?}", closed.body);
        assert_eq!(closed.json()["error"]["type"], "api_error");
        line.set(Fault::None);
        let healed = Instant::now();
        for house in &houses {
            while message(&house.url, ACME, body.clone()).await.status != 200 {
                assert!(healed.elapsed() < Duration::from_secs(5), "{fault:?} is not healed");
            }
        }
    }
    line.set(Fault::Slow(Duration::from_millis(100)));
    assert_eq!(message(&houses[1].url, ACME, body.clone()).await.status, 200, "slow is not gone");
    line.set(Fault::None);
    for house in &houses {
        idle(house).await;
    }
    let spent: u64 = houses
        .iter()
        .flat_map(House::records)
        .filter(|record| record["tenant"] == "acme")
        .map(|record| record["cost_nanousd"].as_u64().unwrap())
        .sum();
    for house in &houses {
        agreed(house, spent).await;
    }
    stop_all(houses).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_redis_is_answered_for_within_two_seconds() {
    let redis = Redis::start(&[]).await;
    let houses = instances(1, &sharing(&redis.url(), "[tenants.acme.budget]\ndaily = \"0.002 USD\"")).await;
    redis.freeze(true);
    let begun = Instant::now();
    let refused = message(&houses[0].url, ACME, asking("say hi")).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(refused.status, 503, "{:?}", refused.body);
    redis.freeze(false);
    stop_all(houses).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_that_redis_lost_are_told_again_from_the_journals_once() {
    let redis = Redis::start(&[]).await;
    let text = sharing(&redis.url(), "[tenants.acme.budget]\ndaily = \"50.00 USD\"");
    let houses = instances(2, &text).await;
    assert_eq!(passed(&storm(&houses, 20, &asking("say hi")).await), 20);
    for house in &houses {
        idle(house).await;
    }
    let spent = spent_in_journals(&houses);
    let _: () = redis.command(&["FLUSHALL"]).await;
    // A third that has spent nothing learns from Redis alone what the others did.
    let third = House::start(&text).await;
    assert_eq!(message(&third.url, ACME, asking("say hi")).await.status, 200);
    idle(&third).await;
    let all = spent + spent_in_journals(std::slice::from_ref(&third));
    agreed(&third, all).await;
    redis.kill();
    redis.restart().await;
    for house in &houses {
        message(&house.url, ACME, asking("say hi")).await;
    }
    let mut houses = houses;
    houses.push(third);
    for house in &houses {
        idle(house).await;
    }
    let spent = spent_in_journals(&houses);
    for house in &houses {
        agreed(house, spent).await;
    }
    stop_all(houses).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_comes_back_counts_once() {
    let redis = Redis::start(&[]).await;
    let text = sharing(&redis.url(), "[tenants.acme.budget]\ndaily = \"50.00 USD\"");
    let mut houses = instances(2, &text).await;
    assert_eq!(passed(&storm(&houses, 10, &asking("say hi")).await), 10);
    for house in &houses {
        idle(house).await;
    }
    let spent = spent_in_journals(&houses);
    let (upstream, folder) = houses.remove(0).stop().await;
    let back = House::start_before(upstream, folder, &text).await;
    houses.insert(0, back);
    assert_eq!(spent_in_journals(&houses), spent);
    assert_eq!(passed(&storm(&houses, 4, &asking("say hi")).await), 4);
    for house in &houses {
        idle(house).await;
    }
    let spent = spent_in_journals(&houses);
    for house in &houses {
        agreed(house, spent).await;
    }
    stop_all(houses).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_beside_what_may_be_evicted_are_warned_of() {
    let evicting = Redis::start(&["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"]).await;
    let keeping = Redis::start(&[]).await;
    let upstream = Upstream::start(Options::default()).await.unwrap();
    for (counters, answers, evicts, shares) in [
        (&evicting, &evicting, true, true),
        (&evicting, &keeping, true, false),
        (&keeping, &keeping, false, true),
        (&keeping, &evicting, false, false),
    ] {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("tercet.toml");
        let text = sharing(&counters.url(), &format!("cache = \"{}\"", answers.url()));
        std::fs::write(&file, configuration(upstream.url(), folder.path(), &text)).unwrap();
        let process = Process::start(&file).await;
        let log = || std::fs::read_to_string(file.with_extension("log")).unwrap();
        let is_connected = |line: &str| line.contains("redis is connected") && line.contains("counters");
        until("the counters are connected", || log().lines().any(is_connected)).await;
        drop(process);
        assert_eq!(log().contains("this redis may evict counters"), evicts, "{}", log());
        assert_eq!(log().contains("counters and kept answers share one redis"), shares, "{}", log());
    }
}
