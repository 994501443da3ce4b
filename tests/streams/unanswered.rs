//! Where the upstream gives no answer the client gets one in the API's shape, and nothing stays held.

use tercet::simulated::Behaviour;

use super::support::port::Port;
use super::support::raw::{MESSAGE, Played, Whole, Wire, keyed};
use super::support::{ACME, House, TENANTS};
use super::{ask, idle, streamed};

fn assert_refusal(answer: &Whole, status: u16, kind: &str) {
    assert_eq!(answer.head.status(), status, "{}", String::from_utf8_lossy(&answer.body));
    let body = answer.json();
    assert_eq!((&body["type"], &body["error"]["type"]), (&"error".into(), &kind.into()), "{body}");
    assert_eq!(body["request_id"].as_str(), answer.head.header("request-id"));
    assert!(body["error"]["message"].as_str().unwrap().len() > 20, "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_down_is_said_to_be_so_and_costs_nothing() {
    let nobody = Port::hold();
    let own = format!(
        "[upstream]\nbase_url = \"http://{}\"\ncredential = {{ env = \"UPSTREAM_KEY\" }}\n",
        nobody.address
    );
    let house = House::start(&format!("{own}{TENANTS}")).await;
    let mut client = Wire::connect(&house.url).await;
    for body in [streamed("hi"), ask("claude-opus-5-5", "hi")] {
        let answer = client.ask("POST /v1/messages", &keyed(ACME), body).await;
        assert_refusal(&answer, 503, "api_error");
    }
    assert_refusal(&client.ask("GET /v1/files", &keyed(ACME), "").await, 503, "api_error");
    for record in house.records_when(2).await {
        assert_eq!(
            (&record["cost_nanousd"], &record["outcome"]),
            (&0.into(), &"upstream_error".into()),
            "{record}"
        );
    }
    idle(&house).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_closes_without_an_answer_is_a_bad_gateway() {
    let house = House::start(TENANTS).await;
    house.upstream.script(Behaviour::CloseBeforeAnswer);
    let mut client = Wire::connect(&house.url).await;
    let answer = client.ask("POST /v1/messages", &keyed(ACME), streamed("hi")).await;
    assert_refusal(&answer, 502, "api_error");
    assert_eq!(house.upstream.requests().len(), 1, "a fresh connection is not tried twice");
    idle(&house).await;
    assert_eq!(
        client.ask("POST /v1/messages", &keyed(ACME), ask("claude-opus-5-5", "hi")).await.head.status(),
        200
    );
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_two_lengths_is_a_bad_gateway() {
    let house = House::start(TENANTS).await;
    house.upstream.script(Behaviour::DuplicateContentLength);
    let mut client = Wire::connect(&house.url).await;
    let answer = client.ask("POST /v1/messages", &keyed(ACME), ask("claude-opus-5-5", "hi")).await;
    assert_refusal(&answer, 502, "api_error");
    assert_eq!(house.upstream.requests().len(), 1);
    idle(&house).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_too_slow_is_charged_at_the_estimate() {
    let own = "[upstream]\nbase_url = \"$UPSTREAM\"\ncredential = { env = \"UPSTREAM_KEY\" }\nfirst_byte_timeout = \"150ms\"\n";
    let house = House::start(&format!("{own}{TENANTS}")).await;
    house.upstream.script(Behaviour::SlowFirstByte { ms: 60_000 });
    let mut client = Wire::connect(&house.url).await;
    let answer = client.ask("POST /v1/messages", &keyed(ACME), streamed("hi")).await;
    assert_refusal(&answer, 504, "timeout_error");
    let record = &house.records_when(1).await[0];
    assert_eq!((&record["usage_source"], &record["attempts"]), (&"estimate".into(), &1.into()), "{record}");
    assert!(record["cost_nanousd"].as_u64().unwrap() > 0, "{record}");
    assert_eq!(house.upstream.requests().len(), 1, "a late answer is not asked for again");
    idle(&house).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_stale_connection_without_a_byte_is_tried_again() {
    let played = Played::start(TENANTS).await;
    let body = || ask("claude-opus-5-5", "hi");
    let json = [("content-type", "application/json")];
    let (mut client, mut upstream, _) = played.cross("POST /v1/messages", &keyed(ACME), body()).await;
    upstream.answer("200 OK", &json, MESSAGE).await;
    assert_eq!(client.whole().await.head.status(), 200);

    // The kept connection takes the request, then closes without a byte: a fresh one gets the same bytes.
    client.request("POST /v1/messages", &keyed(ACME), body()).await;
    let first = upstream.whole().await;
    drop(upstream);
    let mut upstream = Wire::accept(&played.listener).await;
    let second = upstream.whole().await;
    assert_eq!(first.body, second.body);
    upstream.answer("200 OK", &json, MESSAGE).await;
    assert_eq!(client.whole().await.body, MESSAGE.as_bytes());

    // One byte of an answer is enough to stop that.
    client.request("POST /v1/messages", &keyed(ACME), body()).await;
    upstream.whole().await;
    upstream.write("H").await;
    drop(upstream);
    assert_refusal(&client.whole().await, 502, "api_error");
    let attempts: Vec<_> =
        played.house.records_when(3).await.iter().map(|record| record["attempts"].clone()).collect();
    assert_eq!(attempts, [1, 2, 1]);
    idle(&played.house).await;
    played.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_body_survives_a_stale_connection() {
    let own = "[upstream]\nbase_url = \"$PLAYED\"\ncredential = \"client\"\n";
    let played = Played::start(own).await;
    let (mut client, mut upstream, _) = played.cross("GET /v1/files/file_1/content", &keyed("k"), "").await;
    upstream.answer("200 OK", &[], "content").await;
    assert_eq!(client.whole().await.body, b"content");
    client.request("GET /v1/files/file_1/content", &keyed("k"), "").await;
    upstream.whole().await;
    drop(upstream);
    let mut upstream = Wire::accept(&played.listener).await;
    upstream.whole().await;
    upstream.answer("200 OK", &[], "again").await;
    assert_eq!(client.whole().await.body, b"again");
    played.house.stop().await;
}
