//! A retry is never billed twice, also where the cache is off.

use super::support::http::{message, open, send};
use super::support::raw::{Played, Wire, keyed};
use super::support::read::{idle, until};
use super::support::{ACME, House, RIVAL, TENANTS};
use super::{LINE, SSE, assert_free, events, in_flight, nobody_waits, of, rest, streamed};
use http::Method;
use tercet::simulated::Behaviour;

fn counted<'h>(key: &'h str, count: &'h str) -> Vec<(&'static str, &'h str)> {
    [keyed(key), vec![("x-stainless-retry-count", count)]].concat()
}

async fn post(house: &House, headers: &[(&str, &str)], body: &str) -> super::support::http::Answer {
    send(Method::POST, &format!("{}/v1/messages", house.url), headers, body.to_owned()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_joins_the_call_that_still_runs_after_its_client_gave_up() {
    let played = Played::start(TENANTS).await;
    for gives_up_after in [None, Some(0), Some(2)] {
        let before = played.house.records().len();
        let body = streamed(&format!("hi {gives_up_after:?}"));
        let (mut original, mut upstream, _) = played.cross(LINE, &counted(ACME, "0"), &body).await;
        let events = events(6);
        let given = gives_up_after.unwrap_or(0);
        if gives_up_after.is_some() {
            upstream.write(SSE).await;
            original.head().await;
        }
        for event in &events[..given] {
            upstream.chunk(event).await;
            original.chunks_until("\n\n").await.unwrap();
        }
        original.reset();
        if gives_up_after.is_some() {
            // The first write to it is what tells that it is gone.
            upstream.chunk(&events[given]).await;
            let runtime = &played.house.tercet.runtime;
            let drained = || runtime.drained.load(std::sync::atomic::Ordering::Relaxed);
            until("the rest is read without it", || drained() == 1).await;
        }
        let mut retry = Wire::connect(&played.house.url).await;
        retry.request(LINE, &counted(ACME, "1"), &body).await;
        nobody_waits(&played.listener).await;
        if gives_up_after.is_none() {
            upstream.write(SSE).await;
            upstream.chunk(&events[given]).await;
        }
        assert_eq!(retry.head().await.header("x-tercet-cache"), Some("joined"));
        for event in &events[given + 1..] {
            upstream.chunk(event).await;
        }
        upstream.chunk("").await;
        assert_eq!(rest(&mut retry).await, events.concat());
        let records = played.house.records_when(before + 2).await;
        let shared = of(&records[before..], "joined");
        assert_free(shared[0], "ok");
        assert_eq!(of(&records[before..], "bypass")[0]["usage_source"], "upstream");
        drop((retry, upstream));
        idle(&played.house).await;
    }
    played.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_of_a_finished_call_gets_its_answer() {
    let house = House::start(TENANTS).await;
    for (number, body) in [streamed("one"), super::ask("claude-haiku-5-5", "two")].iter().enumerate() {
        let first = post(&house, &counted(ACME, "0"), body).await;
        assert_eq!(first.header("x-tercet-cache"), "bypass");
        for count in ["1", "2"] {
            let retry = post(&house, &counted(ACME, count), body).await;
            assert_eq!((retry.header("x-tercet-cache"), &retry.body), ("hit", &first.body));
            assert!(!retry.header("age").is_empty());
        }
        assert_eq!(house.upstream.bill().len(), number + 1);
    }
    let thread = r#"{"model":"claude-opus-5-5","max_tokens":64,"thread":{"type":"create"},"messages":[{"role":"user","content":"hi"}]}"#;
    let beta =
        |count| [counted(ACME, count), vec![("anthropic-beta", "message-threads-2026-08-12")]].concat();
    let (first, retry) = (post(&house, &beta("0"), thread).await, post(&house, &beta("1"), thread).await);
    assert_eq!(
        (first.status, retry.header("x-tercet-cache")),
        (200, "hit"),
        "the same call of the same client"
    );
    assert_eq!(first.body, retry.body);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_retry_of_it_is_a_request_of_its_own() {
    let house = House::start(TENANTS).await;
    let body = streamed("hi");
    let named = |name: &'static str| [keyed(ACME), vec![("idempotency-key", name)]].concat();
    let bodies = [streamed("hi "), streamed("hi").replace("1000", "999")];
    post(&house, &counted(ACME, "0"), &body).await;
    let beta = [counted(ACME, "1"), vec![("anthropic-beta", "context-1m-2025-08-07")]].concat();
    let others = [
        (counted(ACME, "0"), body.clone(), "an independent sample"),
        (keyed(ACME), body.clone(), "not marked"),
        (counted(RIVAL, "1"), body.clone(), "another key"),
        (counted(ACME, "1"), bodies[0].clone(), "another body"),
        (counted(ACME, "1"), bodies[1].clone(), "another body"),
        (beta, body.clone(), "another beta"),
        (named("a"), body.clone(), "named, and the first of its name"),
        (named("b"), body.clone(), "another name"),
    ];
    for (number, (headers, body, what)) in others.iter().enumerate() {
        let answer = post(&house, headers, body).await;
        assert_eq!((answer.status, answer.header("x-tercet-cache")), (200, "bypass"), "{what}");
        assert_eq!(house.upstream.bill().len(), number + 2, "{what}");
    }
    for name in ["a", "b"] {
        assert_eq!(post(&house, &named(name), &body).await.header("x-tercet-cache"), "hit");
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_after_a_failure_its_client_was_told_of_is_sent() {
    let house = House::start(TENANTS).await;
    let body = streamed("hi");
    let overloaded = || Behaviour::Status {
        status: 529,
        error_type: "overloaded_error".to_owned(),
        message: "m".to_owned(),
        code: None,
        headers: std::collections::BTreeMap::default(),
    };
    // Two samples are asked for; one fails, and its retry must not get the other's answer.
    let first = post(&house, &counted(ACME, "0"), &body).await;
    house.upstream.script(overloaded());
    assert_eq!(post(&house, &counted(ACME, "0"), &body).await.status, 529);
    let second = post(&house, &counted(ACME, "1"), &body).await;
    assert_eq!((second.status, second.header("x-tercet-cache")), (200, "bypass"));
    assert_ne!(second.body, first.body);
    assert_eq!(post(&house, &counted(ACME, "1"), &body).await.header("x-tercet-cache"), "hit");
    // A cut is a failure too.
    house.upstream.script(Behaviour::CutAfter { events: Some(3), bytes: None });
    let cut = streamed("cut");
    let answer =
        open(Method::POST, &format!("{}/v1/messages", house.url), &counted(ACME, "0"), cut.clone()).await;
    assert!(http_body_util::BodyExt::collect(answer.into_body()).await.is_err());
    assert_eq!(post(&house, &counted(ACME, "1"), &cut).await.header("x-tercet-cache"), "bypass");
    assert_eq!(in_flight(&house), 0);
    assert_eq!(message(&house.url, RIVAL, body).await.status, 200);
    house.stop().await;
}
