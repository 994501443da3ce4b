//! Conversations shared between two gateways through a real Redis: the next turn goes on wherever it arrives.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use support::http::{Answer, send};
use support::read::{idle, until, until_told};
use support::redis::Redis;
use support::{ACME, House, RIVAL, TENANTS, beside, connected};

fn text(redis: &Redis) -> String {
    by("cache", redis)
}

/// With the Redis as what `use_` names.
fn by(use_: &str, redis: &Redis) -> String {
    // So that no turn is too hard for where the conversation is.
    let quality = "[tenants.acme.routing]\nquality = 0.5\n";
    format!("{TENANTS}\n{quality}[redis]\n{use_} = \"{}\"\n", redis.url())
}

/// A thinking conversation, asked of opus.
fn turn(messages: &[Value]) -> String {
    json!({ "model": "claude-opus-5-5", "max_tokens": 8_000, "system": "You are a secret helper.",
        "thinking": { "type": "adaptive" }, "messages": messages })
    .to_string()
}

fn user(text: &str) -> Value {
    json!({ "role": "user", "content": text })
}

async fn asked(house: &House, key: &str, tier: Option<&str>, messages: &[Value]) -> Answer {
    let mut headers = vec![("x-api-key", key), ("anthropic-version", "2023-06-01")];
    headers.extend(tier.map(|tier| ("x-tercet-tier", tier)));
    let answer = send(Method::POST, &format!("{}/v1/messages", house.url), &headers, turn(messages)).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    answer
}

/// The conversation with an answer and one more turn of the user's.
fn longer(messages: &[Value], answer: &Answer, text: &str) -> Vec<Value> {
    let answer = json!({ "role": "assistant", "content": answer.json()["content"] });
    messages.iter().cloned().chain([answer, user(text)]).collect()
}

/// Waits until other instances were told of that many requests, answers included.
async fn told(redis: &Redis, count: usize) -> Vec<String> {
    for _ in 0..500 {
        let names: Vec<String> = redis.command(&["KEYS", "tercet:conversation:*"]).await;
        let mut answered = 0;
        for name in &names {
            let value: Vec<u8> = redis.command(&["GET", name]).await;
            answered += usize::from(String::from_utf8_lossy(&value).contains("\"answered\":true"));
        }
        if answered == count {
            return names;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{count} conversations were not told of");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_turn_goes_on_at_another_gateway_with_its_thinking_known() {
    let redis = Redis::start(&[]).await;
    let one = connected(House::start(&text(&redis)).await).await;
    let other = connected(beside(&one, &text(&redis)).await).await;
    let alone = beside(&one, TENANTS).await;
    let first = [user("Remember the word heron.")];
    let answer = asked(&one, ACME, Some("haiku"), &first).await;
    assert_eq!(answer.header("x-tercet-model"), "claude-haiku-5-5");
    assert_eq!(answer.json()["content"][0]["type"], "thinking");
    let names = told(&redis, 1).await;
    let value: Vec<u8> = redis.command(&["GET", &names[0]]).await;
    let shared = String::from_utf8_lossy(&value).into_owned();
    for secret in ["heron", "secret", "acme", "ann"] {
        assert!(!shared.contains(secret) && !names[0].contains(secret), "{secret}: {shared}");
    }
    let left: i64 = redis.command(&["PTTL", &names[0]]).await;
    assert!((1..=86_400_000).contains(&left), "{left}");

    let second = longer(&first, &answer, "Which word was it?");
    let lost = asked(&alone, ACME, None, &second).await;
    assert_eq!(lost.header("x-tercet-reason"), "history-thinking", "who was not told goes as asked");
    let answer = asked(&other, ACME, None, &second).await;
    assert_eq!(answer.header("x-tercet-model"), "claude-haiku-5-5", "{}", answer.header("x-tercet-reason"));
    assert_eq!(answer.header("x-tercet-reason"), "conversation");
    told(&redis, 2).await;
    let third = longer(&second, &answer, "And backwards?");
    let answer = asked(&one, ACME, None, &third).await;
    assert_eq!(
        (answer.header("x-tercet-model"), answer.header("x-tercet-reason")),
        ("claude-haiku-5-5", "conversation")
    );
    // Another tenant that says the same knows nothing of it.
    let stranger = asked(&other, RIVAL, None, &third).await;
    assert_eq!(stranger.header("x-tercet-reason"), "history-thinking");
    for house in [alone, other, one] {
        idle(&house).await;
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_answers_are_not_shared_the_counters_redis_carries_conversations_for_an_hour() {
    let redis = Redis::start(&[]).await;
    let counting = async |house: House| {
        let link = house.tercet.runtime.counters.clone().unwrap();
        until("redis is connected", || link.is_up()).await;
        house
    };
    let one = counting(House::start(&by("counters", &redis)).await).await;
    let other = counting(beside(&one, &by("counters", &redis)).await).await;
    let first = [user("Remember the word heron.")];
    let answer = asked(&one, ACME, Some("haiku"), &first).await;
    let names = told(&redis, 1).await;
    let left: i64 = redis.command(&["PTTL", &names[0]]).await;
    assert!((1..=3_600_000).contains(&left), "{left}");
    let second = longer(&first, &answer, "Which word was it?");
    let answer = asked(&other, ACME, None, &second).await;
    assert_eq!(
        (answer.header("x-tercet-model"), answer.header("x-tercet-reason")),
        ("claude-haiku-5-5", "conversation")
    );
    let third = longer(&second, &answer, "And backwards?");
    told(&redis, 2).await;
    assert_eq!(asked(&one, ACME, None, &third).await.header("x-tercet-reason"), "conversation");
    for house in [other, one] {
        idle(&house).await;
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_wrote_or_no_redis_at_all_leaves_what_is_known_here() {
    let redis = Redis::start(&[]).await;
    let one = connected(House::start(&text(&redis)).await).await;
    let other = connected(beside(&one, &text(&redis)).await).await;
    let first = [user("Remember the word heron.")];
    let answer = asked(&one, ACME, Some("haiku"), &first).await;
    let name = told(&redis, 1).await.remove(0);
    let second = longer(&first, &answer, "Which word was it?");
    // The value, changed by one who does not know the conversation.
    let value: Vec<u8> = redis.command(&["GET", &name]).await;
    let at = String::from_utf8_lossy(&value).find("haiku").map(|_| value.len() - 2).unwrap();
    let _: i64 = redis.command(&["SETRANGE", &name, &at.to_string(), "9"]).await;
    let forged = asked(&other, ACME, None, &second).await;
    assert_eq!(forged.header("x-tercet-reason"), "history-thinking");
    redis.kill();
    let begun = tokio::time::Instant::now();
    let answer = asked(&one, ACME, None, &second).await;
    assert_eq!(
        (answer.header("x-tercet-model"), answer.header("x-tercet-reason")),
        ("claude-haiku-5-5", "conversation")
    );
    assert!(begun.elapsed() < Duration::from_secs(5), "took {:?}", begun.elapsed());
    other.stop().await;
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_alike_that_went_different_ways_at_two_gateways_are_nobody_s() {
    let redis = Redis::start(&[]).await;
    let one = connected(House::start(&text(&redis)).await).await;
    let other = connected(beside(&one, &text(&redis)).await).await;
    let first = [user("Remember the word heron.")];
    let answer = asked(&one, ACME, Some("haiku"), &first).await;
    told(&redis, 1).await;
    asked(&other, ACME, Some("sonnet"), &first).await;
    let name: Vec<String> = redis.command(&["KEYS", "tercet:conversation:*"]).await;
    assert_eq!(name.len(), 1);
    let shared = async || {
        let value: Vec<u8> = redis.command(&["GET", &name[0]]).await;
        String::from_utf8_lossy(&value).into_owned()
    };
    until_told(shared, "\"parted\":true").await;
    let second = longer(&first, &answer, "Which word was it?");
    let third = asked(&one, ACME, None, &second).await;
    assert_eq!(third.header("x-tercet-reason"), "conversation-parted");
    other.stop().await;
    one.stop().await;
}
