//! Kept answers shared between two gateways through a real Redis; what is wrong there is a miss, and never a delay.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use std::time::Duration;

use http::Method;
use support::http::{Answer, ask, get, message, send};
use support::read::{metric, until};
use support::redis::{Fault, Line, Redis};
use support::{ACME, House, RIVAL, TENANTS, beside, connected};
use tokio::time::Instant;

fn text(redis: &Redis) -> String {
    format!("{TENANTS}\n[cache]\nenabled = true\n[redis]\ncache = \"{}\"\n", redis.url())
}

async fn asked(house: &House, key: &str, body: &str) -> (String, Answer) {
    let answer = message(&house.url, key, body.to_owned()).await;
    assert_eq!(answer.status, 200);
    (answer.header("x-tercet-cache").to_owned(), answer)
}

async fn names(redis: &Redis) -> Vec<String> {
    redis.command(&["KEYS", "tercet:answer:*"]).await
}

/// Waits until as many answers are shared.
async fn shared(redis: &Redis, count: usize) -> Vec<String> {
    for _ in 0..500 {
        let names = names(redis).await;
        if names.len() == count {
            return names;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?} are shared, not {count}", names(redis).await);
}

async fn failed(house: &House) -> i64 {
    let text = String::from_utf8(get(&house.admin_url, "", "/metrics").await.body.to_vec()).unwrap();
    metric(&text, "tercet_response_cache_requests_total", "result=\"error\"") / 1_000_000_000
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_gateway_was_answered_another_gives_in_either_form_for_nothing() {
    let redis = Redis::start(&[]).await;
    let one = connected(House::start(&text(&redis)).await).await;
    let other = connected(beside(&one, &text(&redis)).await).await;
    let elsewhere = connected(House::start(&text(&redis)).await).await;
    let whole = ask("claude-haiku-5-5", "write 30 words");
    let events = whole.replacen('{', "{\"stream\":true,", 1);
    let (result, first) = asked(&one, ACME, &whole).await;
    assert_eq!(result, "miss");
    let name = shared(&redis, 1).await.remove(0);
    let left: i64 = redis.command(&["PTTL", &name]).await;
    assert!((1..=300_000).contains(&left), "{left}");
    let value: Vec<u8> = redis.command(&["GET", &name]).await;
    assert!(!String::from_utf8_lossy(&value).contains("write 30 words"), "no prompt leaves");

    let (result, streamed) = asked(&other, ACME, &events).await;
    assert_eq!(result, "hit");
    assert!(streamed.body.starts_with(b"event: message_start"));
    let (result, again) = asked(&other, ACME, &whole).await;
    assert_eq!((result.as_str(), &again.body), ("hit", &first.body));
    assert!(!again.header("age").is_empty());
    assert_eq!(other.records_when(1).await[0]["cost_nanousd"], 0);
    assert_eq!(one.upstream.bill().len(), 1, "asked once, by the first");

    assert_eq!(asked(&other, RIVAL, &whole).await.0, "miss", "another tenant");
    assert_eq!(asked(&elsewhere, ACME, &whole).await.0, "miss", "another upstream");
    for house in [one, other, elsewhere] {
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_not_the_answer_is_a_miss_and_counted() {
    let redis = Redis::start(&[]).await;
    let one = connected(House::start(&text(&redis)).await).await;
    let (first, second) =
        (ask("claude-haiku-5-5", "write 30 words"), ask("claude-haiku-5-5", "write 31 words"));
    asked(&one, ACME, &first).await;
    let name = shared(&redis, 1).await.remove(0);
    asked(&one, ACME, &second).await;
    let foreign = shared(&redis, 2).await.into_iter().find(|other| *other != name).unwrap();
    let _: i64 = redis.command(&["COPY", &name, "good"]).await;
    // Each is what a write by somebody else leaves; the good value is put back before.
    let cut = "return redis.call('SET', KEYS[1], string.sub(redis.call('GET', KEYS[1]), 1, -2))";
    let spoils: [(&str, &[&[&str]]); 5] = [
        ("cut", &[&["EVAL", cut, "1", &name]]),
        ("changed", &[&["SETRANGE", &name, "60", "????"]]),
        ("foreign", &[&["COPY", &foreign, &name, "REPLACE"]]),
        ("garbage", &[&["SET", &name, "garbage"]]),
        ("of another type", &[&["DEL", &name], &["LPUSH", &name, "a"]]),
    ];
    for (spoil, commands) in spoils {
        let _: i64 = redis.command(&["COPY", "good", &name, "REPLACE"]).await;
        for command in commands {
            let _: ::redis::Value = redis.command(command).await;
        }
        let other = connected(beside(&one, &text(&redis)).await).await;
        let before = one.upstream.bill().len();
        assert_eq!(asked(&other, ACME, &first).await.0, "miss", "{spoil}");
        assert_eq!(one.upstream.bill().len(), before + 1, "{spoil}");
        // A command that Redis refuses is a failure of the link, which counts it.
        assert_eq!(failed(&other).await, i64::from(spoil != "of another type"), "{spoil}");
        other.stop().await;
    }
    let _: i64 = redis.command(&["COPY", "good", &name, "REPLACE"]).await;
    let other = connected(beside(&one, &text(&redis)).await).await;
    assert_eq!(asked(&other, ACME, &first).await.0, "hit", "the good value is one");
    other.stop().await;
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_fails_is_a_miss_and_no_delay() {
    let redis = Redis::start(&[]).await;
    let line = Line::to(redis.port).await;
    let by_line = text(&redis).replace(&redis.url(), &line.url());
    let house = connected(House::start(&by_line).await).await;
    let faults = [
        Fault::Slow(Duration::from_secs(20)),
        Fault::Partition,
        Fault::Reset,
        Fault::Says("-LOADING Redis is loading the dataset in memory\r\n"),
        Fault::Says("garbage"),
    ];
    let link = house.tercet.runtime.answers.clone().unwrap();
    for (number, fault) in faults.into_iter().enumerate() {
        let mut quickest = Duration::MAX;
        for round in 0..3 {
            until("redis is connected again", || link.is_up()).await;
            line.set(fault.clone());
            let body = ask("claude-haiku-5-5", &format!("write {} words", 10 + 3 * number + round));
            let begun = Instant::now();
            assert_eq!(asked(&house, ACME, &body).await.0, "miss", "{fault:?}");
            quickest = quickest.min(begun.elapsed());
            assert_eq!(asked(&house, ACME, &body).await.0, "hit", "kept here all the same");
            line.set(Fault::None);
        }
        // The wait is at most 50 ms; the rest is room for a busy machine, short of what other calls may wait.
        assert!(quickest < Duration::from_millis(400), "{fault:?} took {quickest:?}");
    }
    redis.kill();
    assert_eq!(asked(&house, ACME, &ask("claude-haiku-5-5", "write 40 words")).await.0, "miss");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_gateway_is_told_to_expire_is_gone_from_redis_and_from_the_others() {
    let redis = Redis::start(&[]).await;
    let line = Line::to(redis.port).await;
    let one = connected(House::start(&text(&redis).replace(&redis.url(), &line.url())).await).await;
    let other = connected(beside(&one, &text(&redis)).await).await;
    let bodies = ["write 30 words", "write 31 words"].map(|text| ask("claude-haiku-5-5", text));
    for key in [ACME, RIVAL] {
        asked(&one, key, &bodies[0]).await;
    }
    shared(&redis, 2).await;
    assert_eq!(asked(&other, ACME, &bodies[0]).await.0, "hit", "and kept there from now on");
    // What is not ours is neither counted nor dropped.
    let _: i64 = redis.command(&["SADD", "tercet:answer:of-somebody-else", "a"]).await;
    let _: String = redis.command(&["SET", "tercet:answer:garbage", "garbage"]).await;
    let admin = |house: &House, query: &str| format!("{}/admin/v1/cache{query}", house.admin_url);
    let json = [("content-type", "application/json")];
    let shown = get(&one.admin_url, "", "/admin/v1/cache?tenant=acme").await.json();
    assert_eq!(
        (&shown["shared"]["entries"], &shown["shared"]["complete"]),
        (&1.into(), &true.into()),
        "{shown}"
    );
    assert_eq!(shown["shared"]["models"][0]["model"], "claude-haiku-5-5");
    assert!(shown["shared"]["bytes"].as_u64().unwrap() > 100);

    line.set(Fault::Partition);
    let failed = send(Method::DELETE, &admin(&one, "?tenant=acme"), &json, "").await;
    assert_eq!(failed.status, 503, "{:?}", failed.body);
    assert!(String::from_utf8_lossy(&failed.body).contains("ask again"), "{:?}", failed.body);
    line.set(Fault::None);
    let link = one.tercet.runtime.answers.clone().unwrap();
    until("redis is connected again", || link.is_up()).await;
    let done = send(Method::DELETE, &admin(&one, "?tenant=acme"), &json, "").await;
    assert_eq!(done.json()["expired"]["shared"]["entries"], 1, "{:?}", done.body);
    assert_eq!(names(&redis).await.len(), 3, "the rival's and what is not ours stay");
    let left = async || {
        get(&other.admin_url, "", "/admin/v1/cache?tenant=acme").await.json()["local"]["entries"].clone()
    };
    for _ in 0..500 {
        if left().await == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(left().await, 0, "the other instance heard of it");
    assert_eq!(asked(&other, ACME, &bodies[0]).await.0, "miss");
    assert_eq!(asked(&one, RIVAL, &bodies[0]).await.0, "hit");
    for house in [one, other] {
        house.stop().await;
    }
}
