//! A client that leaves does not escape what its answer costs.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;
use tercet::simulated::Options;

use super::support::raw::{Played, Wire, keyed};
use super::support::{ACME, House, TENANTS};
use super::{END, SSE, START, ask, delta, idle, streamed};

/// Waits until one answer is being read without its client.
async fn drained(house: &House) {
    for _ in 0..500 {
        if house.tercet.runtime.drained.load(Ordering::Relaxed) == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nothing is drained");
}

fn assert_aborted(record: &Value) {
    assert_eq!(record["outcome"], "client_aborted", "{record}");
    assert_eq!(record["usage_source"], "upstream", "{record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_amid_a_stream_pays_what_the_upstream_bills() {
    let options = Options { pace: Duration::from_millis(3), ..Options::default() };
    let house = House::start_with(TENANTS, options).await;
    for leave_by_reset in [false, true] {
        let before = house.records().len();
        let mut client = Wire::connect(&house.url).await;
        client.request("POST /v1/messages", &keyed(ACME), streamed("write 300 words")).await;
        assert_eq!(client.head().await.status(), 200);
        client.chunks_until("content_block_delta").await.unwrap();
        if leave_by_reset {
            client.reset();
        } else {
            drop(client);
        }
        let records = house.records_when(before + 1).await;
        assert_aborted(&records[before]);
        let bill = house.upstream.bill();
        assert!(bill[before].complete, "read to its end");
        assert_eq!(records[before]["cost_nanousd"], bill[before].nanousd);
        assert_eq!(records[before]["output_tokens"], bill[before].tokens.output_tokens);
        idle(&house).await;
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_before_the_head_pays_too() {
    let played = Played::start(TENANTS).await;
    let (client, mut upstream, _) = played.cross("POST /v1/messages", &keyed(ACME), streamed("hi")).await;
    client.reset();
    upstream.write(SSE).await;
    upstream.chunk(START).await;
    upstream.chunk(delta("words")).await;
    drained(&played.house).await;
    upstream.chunk(END).await;
    upstream.chunk("").await;
    let records = played.house.records_when(1).await;
    assert_aborted(&records[0]);
    assert_eq!((&records[0]["input_tokens"], &records[0]["output_tokens"]), (&11.into(), &90.into()));
    idle(&played.house).await;
    played.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_before_a_whole_answer_pays_what_the_upstream_bills() {
    let options = Options { first_byte: Duration::from_millis(200), ..Options::default() };
    let house = House::start_with(TENANTS, options).await;
    let mut client = Wire::connect(&house.url).await;
    client.request("POST /v1/messages", &keyed(ACME), ask("claude-opus-5-5", "write 60 words")).await;
    for _ in 0..500 {
        if !house.upstream.requests().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    client.reset();
    let records = house.records_when(1).await;
    assert_eq!(records[0]["usage_source"], "upstream");
    assert_eq!(records[0]["cost_nanousd"], house.upstream.bill()[0].nanousd);
    idle(&house).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_after_its_client_left_is_charged_at_an_estimate() {
    let played = Played::start(TENANTS).await;
    let (mut client, mut upstream, _) = played.cross("POST /v1/messages", &keyed(ACME), streamed("hi")).await;
    upstream.write(SSE).await;
    upstream.chunk(START).await;
    client.head().await;
    client.chunks_until("message_start").await.unwrap();
    client.reset();
    upstream.chunk(delta("words")).await;
    drained(&played.house).await;
    drop(upstream);
    let records = played.house.records_when(1).await;
    assert_eq!(
        (&records[0]["outcome"], &records[0]["usage_source"]),
        (&"client_aborted".into(), &"estimate".into())
    );
    assert!(records[0]["output_tokens"].as_u64().unwrap() > 0, "{}", records[0]);
    idle(&played.house).await;
    played.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_being_drained_is_settled_before_the_gateway_ends() {
    let options = Options { pace: Duration::from_millis(5), ..Options::default() };
    let house = House::start_with(TENANTS, options).await;
    let mut client = Wire::connect(&house.url).await;
    client.request("POST /v1/messages", &keyed(ACME), streamed("write 300 words")).await;
    client.head().await;
    client.chunks_until("content_block_delta").await.unwrap();
    client.reset();
    drained(&house).await;
    let (upstream, folder) = house.stop().await;
    let records = super::support::records(folder.path());
    assert_aborted(&records[0]);
    assert_eq!(records[0]["cost_nanousd"], upstream.bill()[0].nanousd);
}
