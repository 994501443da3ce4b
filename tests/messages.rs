//! One request the whole way: routed, metered, limited, journaled, and byte for byte.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use http::Method;
use support::http::{ask, get, message, send};
use support::{ACME, House, TENANTS, UPSTREAM_KEY};
use tercet::simulated::Behaviour;

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_answered_routed_and_recorded() {
    let house = House::start(TENANTS).await;
    let body = ask("claude-opus-5-5", "say hello");
    let answer = message(&house.url, ACME, body.clone()).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    assert!(!answer.header("x-tercet-request-id").is_empty() && !answer.header("request-id").is_empty());
    let sent = answer.header("x-tercet-model").to_owned();

    let seen = house.upstream.requests();
    let forwarded = seen.iter().find(|seen| seen.path == "/v1/messages").unwrap();
    assert_eq!(String::from_utf8_lossy(&forwarded.body), body.replace("claude-opus-5-5", &sent));
    assert_eq!(forwarded.header("x-api-key"), Some(UPSTREAM_KEY));
    assert!(forwarded.header("x-tercet-tier").is_none() && forwarded.header("authorization").is_none());

    let records = house.records();
    assert_eq!(records.len(), 1, "recorded before the answer ended");
    let (record, bill) = (&records[0], house.upstream.bill());
    assert_eq!(record["cost_nanousd"], bill[0].nanousd, "{record}");
    assert_eq!(record["usage_source"], "upstream");
    assert_eq!(record["outcome"], "ok");
    assert_eq!(record["tenant"], "acme");
    assert_eq!(record["user_id"], "ann");
    assert_eq!(record["answered_model"].as_str(), Some(sent.as_str()));

    let usage = get(&house.admin_url, "", "/admin/v1/usage").await.json();
    assert_eq!(usage["totals"]["cost_nanousd"], record["cost_nanousd"], "read your writes");
    assert_eq!(house.tercet.runtime.accounts.reserved_total().nanousd, 0, "nothing is held when idle");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_arrives_byte_for_byte() {
    let house = House::start(TENANTS).await;
    let body =
        ask("claude-opus-5-5", "write 50 words").replace("\"max_tokens\"", "\"stream\":true,\"max_tokens\"");
    let headers = [("x-api-key", ACME), ("anthropic-version", "2023-06-01"), ("x-tercet-route", "off")];
    let through = send(Method::POST, &format!("{}/v1/messages", house.url), &headers, body.clone()).await;
    assert_eq!(through.status, 200);
    let text = String::from_utf8_lossy(&through.body).into_owned();
    assert!(text.starts_with("event: message_start") && text.contains("event: message_stop"), "{text}");
    let records = house.records();
    assert_eq!(records[0]["cost_nanousd"], house.upstream.bill()[0].nanousd);
    assert_eq!(records[0]["stream"], true);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_repeats_our_credential_does_not_tell_it_to_clients() {
    let house = House::start(TENANTS).await;
    house.upstream.script(Behaviour::EchoKey);
    let answer = message(&house.url, ACME, ask("claude-opus-5-5", "say hello")).await;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(answer.status, 400);
    assert!(text.contains("bad request by key ***") && !text.contains(UPSTREAM_KEY), "{text}");
    assert_eq!(house.records_when(1).await[0]["error_type"], "invalid_request_error");
    house.stop().await;
}
