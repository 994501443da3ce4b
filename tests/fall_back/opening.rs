//! Streams that fail before their first content: asked for elsewhere, unseen, and billed once.

use serde_json::{Value, json};
use tercet::simulated::{Behaviour, Options, Upstream};

use super::support::http::{Answer, message};
use super::support::raw::{Played, Wire, keyed, within};
use super::support::read::{sum, until};
use super::support::{ACME, House, TENANTS};
use super::{Pair, fallback, plain, status};

const SSE: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const START: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\
    \"role\":\"assistant\",\"model\":\"claude-opus-4-8\",\"content\":[],\"usage\":{\"input_tokens\":11,\"output_tokens\":1}}}\n\n";

fn streamed() -> String {
    let mut body: Value = serde_json::from_str(&plain()).unwrap();
    body["stream"] = json!(true);
    body.to_string()
}

fn failing(after_events: usize, kind: &str) -> Behaviour {
    Behaviour::ErrorEvent { after_events, error_type: kind.to_owned(), message: "not now".to_owned() }
}

fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

/// A gateway that asks its one upstream again.
async fn alone() -> House {
    let own = "[upstream]\nbase_url = \"$UPSTREAM\"\ncredential = { env = \"UPSTREAM_KEY\" }\nretry_streams = true\n";
    House::start(&format!("{own}{TENANTS}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_fails_before_its_first_content_is_one_clean_stream_of_the_fallback() {
    for (events, kind) in [(0, "overloaded_error"), (1, "overloaded_error"), (2, "api_error")] {
        let pair = Pair::start("").await;
        pair.house.upstream.script(failing(events, kind));
        let answer = pair.ask(streamed()).await;
        assert_eq!((answer.status, answer.header("x-tercet-upstream")), (200, "spare"));
        let text = text(&answer);
        assert_eq!(text.matches("event: message_start").count(), 1, "{text}");
        assert!(text.contains("event: message_stop") && !text.contains("error"), "{text}");
        assert_eq!(pair.calls(), (1, 1));
        let record = pair.house.records_when(1).await.remove(0);
        assert_eq!(
            (&record["upstream"], &record["attempts"], &record["outcome"]),
            (&json!("spare"), &json!(2), &json!("ok"))
        );
        let billed: u64 = pair.spare.bill().iter().map(|call| call.nanousd).sum();
        assert!(billed > 0 && record["cost_nanousd"] == json!(billed), "{record}");
        assert_eq!(pair.house.tercet.runtime.accounts.reserved_total().nanousd, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_content_or_for_the_request_s_own_fault_an_error_passes_and_nothing_is_sent_again() {
    for (events, kind) in [(3, "overloaded_error"), (5, "overloaded_error"), (1, "invalid_request_error")] {
        let pair = Pair::start("").await;
        pair.house.upstream.script(failing(events, kind));
        let answer = pair.ask(streamed()).await;
        assert_eq!((answer.status, answer.header("x-tercet-upstream")), (200, ""));
        assert!(text(&answer).contains("event: error") && text(&answer).contains(kind));
        assert_eq!(pair.calls(), (1, 0), "{events} events, then {kind}");
        assert_eq!(pair.house.records_when(1).await[0]["attempts"], json!(1));
    }
    let house = alone().await;
    house.upstream.script(failing(4, "overloaded_error"));
    assert!(text(&message(&house.url, ACME, streamed()).await).contains("event: error"));
    assert_eq!(house.upstream.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_alone_is_asked_once_more_where_the_operator_wants_it() {
    let house = alone().await;
    house.upstream.script(failing(1, "overloaded_error"));
    let answer = message(&house.url, ACME, streamed()).await;
    assert!(text(&answer).contains("event: message_stop") && !text(&answer).contains("event: error"));
    let record = house.records_when(1).await.remove(0);
    assert_eq!((&record["attempts"], &record["outcome"]), (&json!(2), &json!("ok")));
    // Twice in a row is what the client is told, as the upstream said it.
    house.upstream.script(failing(1, "overloaded_error"));
    house.upstream.script(failing(1, "overloaded_error"));
    let answer = message(&house.url, ACME, streamed()).await;
    assert_eq!(text(&answer).matches("event: message_start").count(), 1);
    assert!(text(&answer).contains("event: error"));
    assert_eq!(house.upstream.requests().len(), 4);
    let record = house.records_when(2).await.remove(1);
    assert_eq!((&record["cost_nanousd"], &record["attempts"]), (&json!(0), &json!(2)));
    // A status that says so is the client's to hear, who asks again by itself.
    house.upstream.script(status(529, &[]));
    assert_eq!(message(&house.url, ACME, streamed()).await.status, 529);
    assert_eq!(house.upstream.requests().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_failing_streams_costs_at_most_1_2_calls_a_request() {
    let pair = Pair::start("").await;
    for _ in 0..120 {
        pair.house.upstream.script(failing(1, "overloaded_error"));
        pair.spare.script(failing(1, "overloaded_error"));
    }
    for _ in 0..100 {
        let answer = pair.ask(streamed()).await;
        assert_eq!(text(&answer).matches("event: error").count(), 1);
    }
    let (here, there) = pair.calls();
    assert!(there > 0 && (100..=120).contains(&(here + there)), "{here} + {there}");
    let records = pair.house.records_when(100).await;
    assert_eq!(sum(&records, "cost_nanousd"), 0);
    assert_eq!(sum(&records, "attempts"), i64::try_from(here + there).unwrap());
}

/// A gateway before an upstream that the test plays, with a fallback that answers.
async fn played() -> (Played, Upstream) {
    let spare = Upstream::start(Options::default()).await.unwrap();
    (Played::start(&fallback(&spare, "")).await, spare)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_held_of_an_opening_passes_with_the_first_content_and_byte_for_byte() {
    let (played, spare) = played().await;
    let (mut client, mut upstream, _) = played.cross("POST /v1/messages", &keyed(ACME), streamed()).await;
    upstream.write(SSE).await;
    upstream.chunk(START).await;
    upstream.chunk(": a comment\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\n").await;
    upstream
        .chunk("event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0}\n\n")
        .await;
    assert_eq!(client.head().await.status(), 200);
    let begun = client.chunks_until("content_block_start").await.unwrap();
    assert!(begun.starts_with(START) && begun.contains(": a comment\n\nevent: ping"), "{begun}");
    upstream.chunk("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n").await;
    upstream.chunk("").await;
    assert!(client.chunks_until("message_stop").await.is_some());
    assert!(spare.requests().is_empty());
    played.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opening_that_ends_with_its_connection_is_cut_for_the_client_and_not_given_a_length() {
    for came in ["", &START[..60], START] {
        let (played, _spare) = played().await;
        let (mut client, mut upstream, _) = played.cross("POST /v1/messages", &keyed(ACME), streamed()).await;
        upstream.write(SSE.replace("transfer-encoding: chunked", "connection: close")).await;
        upstream.write(came).await;
        drop(upstream);
        let answer = client.whole().await;
        assert!(!answer.complete && answer.body == came.as_bytes(), "{answer:?}");
        assert_eq!(answer.head.header("content-length"), None);
        let record = within(played.house.records_when(1)).await.remove(0);
        assert_eq!(record["outcome"], json!("upstream_error"), "{record}");
        played.house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_reads_along_sees_the_cut_of_what_ends_with_its_connection() {
    let (played, _spare) = played().await;
    let numbered = |count| [keyed(ACME), vec![("x-stainless-retry-count", count)]].concat();
    let mut client = Wire::connect(&played.house.url).await;
    client.request("POST /v1/messages", &numbered("0"), streamed()).await;
    let mut upstream = Wire::accept(&played.listener).await;
    upstream.whole().await;
    upstream.write(SSE.replace("transfer-encoding: chunked", "connection: close")).await;
    upstream.write(START).await;
    client.reset();
    let runtime = std::sync::Arc::clone(&played.house.tercet);
    until("the client's leave is noticed", || {
        runtime.runtime.drained.load(std::sync::atomic::Ordering::Relaxed) == 1
    })
    .await;
    let mut again = Wire::connect(&played.house.url).await;
    again.request("POST /v1/messages", &numbered("1"), streamed()).await;
    upstream
        .write("event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0}\n\n")
        .await;
    again.head().await;
    drop(upstream);
    while let Some(chunk) = within(again.next_chunk()).await {
        assert!(!chunk.is_empty(), "it was told that this was all");
    }
    played.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opening_that_is_long_in_coming_is_handed_on_as_it_is() {
    let (played, _spare) = played().await;
    let (mut client, mut upstream, _) = played.cross("POST /v1/messages", &keyed(ACME), streamed()).await;
    upstream.write(SSE).await;
    upstream.chunk(START).await;
    // Nothing more comes: the client is told what there is within seconds, and from then on what comes is its own.
    assert_eq!(client.head().await.status(), 200);
    assert!(client.chunks_until("message_start").await.is_some());
    upstream
        .chunk("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n")
        .await;
    upstream.chunk("").await;
    assert!(client.chunks_until("overloaded_error").await.is_some());
    played.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_before_the_first_content_leaves_an_answer_that_is_read_and_billed() {
    let (played, spare) = played().await;
    let mut client = Wire::connect(&played.house.url).await;
    client.request("POST /v1/messages", &keyed(ACME), streamed()).await;
    let mut upstream = Wire::accept(&played.listener).await;
    upstream.whole().await;
    upstream.write(SSE).await;
    upstream.chunk(START).await;
    client.reset();
    let delta = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\
        \"delta\":{\"type\":\"text_delta\",\"text\":\"some words\"}}\n\n";
    let end = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\
        \"usage\":{\"output_tokens\":90}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    let runtime = std::sync::Arc::clone(&played.house.tercet);
    until("the client's leave is noticed", || {
        runtime.runtime.drained.load(std::sync::atomic::Ordering::Relaxed) == 1
    })
    .await;
    upstream.chunk(delta).await;
    upstream.chunk(end).await;
    upstream.chunk("").await;
    let record = within(played.house.records_when(1)).await.remove(0);
    assert_eq!(
        (&record["outcome"], &record["usage_source"], &record["output_tokens"]),
        (&json!("client_aborted"), &json!("upstream"), &json!(90)),
        "{record}"
    );
    assert!(spare.requests().is_empty());
    played.house.stop().await;
}
