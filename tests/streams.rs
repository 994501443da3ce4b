//! Streams pass as they come; what breaks is seen to break, charged, and never tried again.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

#[path = "streams/leaving.rs"]
mod leaving;
#[path = "streams/unanswered.rs"]
mod unanswered;

use serde_json::Value;
use support::http::ask;
use support::raw::{Played, Whole, Wire, keyed};
use support::{ACME, House, TENANTS};
use tercet::simulated::Behaviour;

const SSE: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const START: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\
    \"role\":\"assistant\",\"model\":\"claude-haiku-5-5\",\"content\":[],\"usage\":{\"input_tokens\":11,\"output_tokens\":1}}}\n\n";
const END: &str = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\
    \"usage\":{\"output_tokens\":90}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
const ERROR: &str = "event: error\ndata: {\"type\":\"error\",  \"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";

fn delta(text: &str) -> String {
    format!(
        "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"{text}\"}}}}\n\n"
    )
}

fn streamed(text: &str) -> String {
    ask("claude-opus-5-5", text).replacen('{', "{\"stream\":true,", 1)
}

/// Waits until nothing is held and nothing is in flight.
async fn idle(house: &House) {
    for _ in 0..500 {
        let held = house.tercet.runtime.accounts.reserved_total().nanousd;
        if held == 0 && house.tercet.runtime.in_flight.load(std::sync::atomic::Ordering::Relaxed) == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{:?} still held", house.tercet.runtime.accounts.reserved_total().nanousd);
}

fn assert_charged_at_an_estimate(record: &Value, billed_nanousd: u64) {
    assert_eq!(record["outcome"], "upstream_error", "{record}");
    assert_eq!(record["usage_source"], "estimate", "{record}");
    assert_eq!(record["attempts"], 1, "never a second attempt: {record}");
    let charged = record["cost_nanousd"].as_u64().unwrap();
    assert!(charged >= billed_nanousd.max(1), "billed {billed_nanousd}: {record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_reaches_the_client_before_the_next_is_sent() {
    let played = Played::start(TENANTS).await;
    let (mut client, mut upstream, _) = played.cross("POST /v1/messages", &keyed(ACME), streamed("hi")).await;
    upstream.write(SSE).await;
    assert_eq!(client.head().await.status(), 200, "the head does not wait for an event");
    upstream.chunk(START).await;
    assert_eq!(client.chunks_until("message_start").await.unwrap(), START);
    for number in 0..60 {
        let event = delta(&format!("word {number} "));
        upstream.chunk(&event).await;
        assert_eq!(client.chunks_until("\n\n").await.unwrap(), event);
    }
    // Halves of an event are not held back either.
    let event = delta("two halves");
    let (first, second) = event.split_at(event.len() / 2);
    upstream.chunk(first).await;
    assert_eq!(client.chunks_until("content").await.unwrap(), first);
    upstream.chunk(second).await;
    assert_eq!(client.chunks_until("\n\n").await.unwrap(), second);
    upstream.chunk(END).await;
    assert_eq!(client.chunks_until("message_stop\"}\n\n").await.unwrap(), END);
    assert_eq!(played.house.records().len(), 1, "recorded before its last byte was released");
    upstream.chunk("").await;
    assert_eq!(client.next_chunk().await.unwrap(), b"");
    idle(&played.house).await;
    played.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_answer_is_visibly_cut_charged_and_not_tried_again() {
    let house = House::start(TENANTS).await;
    let cut = |events, bytes| Behaviour::CutAfter { events, bytes };
    let cuts = [
        cut(Some(0), None),
        cut(Some(1), None),
        cut(Some(4), None),
        cut(Some(9), None),
        cut(None, Some(1)),
        cut(None, Some(700)),
        Behaviour::Reset { after_bytes: 0 },
        Behaviour::Reset { after_bytes: 900 },
    ];
    for (index, behaviour) in cuts.iter().enumerate() {
        for stream in [true, false] {
            // An answer that is not a stream may be shorter than that.
            if !stream
                && matches!(behaviour, Behaviour::Reset { .. } | Behaviour::CutAfter { bytes: Some(700), .. })
            {
                continue;
            }
            house.upstream.script(behaviour.clone());
            let text = format!("write 60 words, {index}");
            let body = if stream { streamed(&text) } else { ask("claude-opus-5-5", &text) };
            let before = house.records().len();
            let mut client = Wire::connect(&house.url).await;
            client.request("POST /v1/messages", &keyed(ACME), body).await;
            let answer: Whole = client.whole().await;
            assert_eq!(answer.head.status(), 200, "{behaviour:?} {stream}");
            assert!(!answer.complete, "{behaviour:?} {stream}: {}", String::from_utf8_lossy(&answer.body));
            assert!(!String::from_utf8_lossy(&answer.body).contains("message_stop"));
            let records = house.records_when(before + 1).await;
            // A reset may destroy what was sent, and nobody knows how much that was.
            let known = !matches!(behaviour, Behaviour::Reset { .. });
            let billed = house.upstream.bill().last().filter(|_| known).map_or(0, |call| call.nanousd);
            assert_charged_at_an_estimate(&records[before], billed);
            idle(&house).await;
        }
    }
    assert_eq!(house.upstream.requests().len(), house.records().len());
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_ends_with_its_connection_but_without_its_last_event_is_cut_for_the_client() {
    let played = Played::start(TENANTS).await;
    let (mut client, mut upstream, _) = played.cross("POST /v1/messages", &keyed(ACME), streamed("hi")).await;
    upstream.write(SSE.replace("transfer-encoding: chunked", "connection: close")).await;
    upstream.write(START).await;
    upstream.write(delta("some words")).await;
    drop(upstream);
    let answer = client.whole().await;
    assert!(!answer.complete && answer.body.ends_with(b"\n\n"), "{answer:?}");
    let records = played.house.records_when(1).await;
    assert_charged_at_an_estimate(&records[0], 0);
    played.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_event_passes_verbatim_and_is_charged_only_after_content() {
    let played = Played::start(TENANTS).await;
    let words = delta("some words");
    for (before, charged) in [(vec![], false), (vec![START], false), (vec![START, &words], true)] {
        let (mut client, mut upstream, _) =
            played.cross("POST /v1/messages", &keyed(ACME), streamed("hi")).await;
        upstream.write(SSE).await;
        for event in &before {
            upstream.chunk(event).await;
        }
        upstream.chunk(ERROR).await;
        upstream.chunk("").await;
        let answer = client.whole().await;
        assert_eq!(String::from_utf8_lossy(&answer.body), before.concat() + ERROR);
        assert!(answer.complete, "the upstream ended it in good order");
        idle(&played.house).await;
        let records = played.house.records();
        let record = records.last().unwrap();
        assert_eq!(
            (&record["outcome"], &record["error_type"]),
            (&"upstream_error".into(), &"overloaded_error".into())
        );
        assert_eq!(record["cost_nanousd"].as_u64().unwrap() > 0, charged, "{record}");
    }
    played.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_falls_silent_is_cut_after_the_idle_timeout() {
    let own = "[upstream]\nbase_url = \"$UPSTREAM\"\ncredential = { env = \"UPSTREAM_KEY\" }\nidle_timeout = \"200ms\"\n";
    let house = House::start(&format!("{own}{TENANTS}")).await;
    house.upstream.script(Behaviour::Pause { after_events: 4, ms: 60_000 });
    let mut client = Wire::connect(&house.url).await;
    let answer = client.ask("POST /v1/messages", &keyed(ACME), streamed("write 60 words")).await;
    assert_eq!((answer.head.status(), answer.complete), (200, false));
    assert!(String::from_utf8_lossy(&answer.body).contains("message_start"));
    let records = house.records_when(1).await;
    assert_charged_at_an_estimate(&records[0], house.upstream.bill()[0].nanousd);
    idle(&house).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_first_byte_is_waited_for() {
    let house = House::start(TENANTS).await;
    house.upstream.script(Behaviour::SlowFirstByte { ms: 300 });
    let mut client = Wire::connect(&house.url).await;
    let answer = client.ask("POST /v1/messages", &keyed(ACME), streamed("write 60 words")).await;
    assert!(answer.complete && String::from_utf8_lossy(&answer.body).contains("message_stop"));
    let record = &house.records()[0];
    assert!(
        record["ttft_ms"].as_u64().unwrap() >= 300 && record["overhead_us"].as_u64().unwrap() < 300_000,
        "{record}"
    );
    assert_eq!(record["cost_nanousd"], house.upstream.bill()[0].nanousd);
    house.stop().await;
}
