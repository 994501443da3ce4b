//! Identical requests share one call, and a retry gets the answer of its original: byte for byte, for nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

#[path = "joining/many.rs"]
mod many;
#[path = "joining/retries.rs"]
mod retries;

use serde_json::Value;
use support::http::{ask, get, message};
use support::raw::{Played, Wire, keyed};
use support::read::{idle, metric, until, until_told};
use support::{ACME, House, RIVAL, TENANTS};
use tokio::net::TcpListener;

const SSE: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const LINE: &str = "POST /v1/messages";

fn cached() -> String {
    format!("{TENANTS}\n[cache]\nenabled = true\n")
}

fn streamed(text: &str) -> String {
    ask("claude-haiku-5-5", text).replacen('{', "{\"stream\":true,", 1)
}

/// The events of an answer, one by one.
fn events(words: usize) -> Vec<String> {
    let event =
        |name: &str, fields: &str| format!("event: {name}\ndata: {{\"type\":\"{name}\"{fields}}}\n\n");
    let start = r#","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-haiku-5-5","content":[],"stop_reason":null,"usage":{"input_tokens":11,"output_tokens":1}}"#;
    let mut events = vec![
        event("message_start", start),
        event("content_block_start", r#","index":0,"content_block":{"type":"text","text":""}"#),
    ];
    events.extend((0..words).map(|word| {
        event(
            "content_block_delta",
            &format!(r#","index":0,"delta":{{"type":"text_delta","text":"word {word} "}}"#),
        )
    }));
    events.push(event("content_block_stop", r#","index":0"#));
    events
        .push(event("message_delta", r#","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":90}"#));
    events.push(event("message_stop", ""));
    events
}

/// Sends a request that is to be shared, and reads the head of its answer.
async fn joined(house: &House, body: &str) -> Wire {
    let mut client = Wire::connect(&house.url).await;
    client.request(LINE, &keyed(ACME), body).await;
    let head = client.head().await;
    assert_eq!((head.status(), head.header("x-tercet-cache")), (200, Some("joined")));
    client
}

/// Reads chunks until the answer ends, and returns their text; with what was read before it is the whole.
async fn rest(client: &mut Wire) -> String {
    let mut text = String::new();
    loop {
        let chunk = client.next_chunk().await.unwrap_or_else(|| panic!("cut after {text}"));
        if chunk.is_empty() {
            return text;
        }
        text += std::str::from_utf8(&chunk).unwrap();
    }
}

fn of<'r>(records: &'r [Value], cache: &str) -> Vec<&'r Value> {
    records.iter().filter(|record| record["cache"] == cache).collect()
}

fn assert_free(record: &Value, outcome: &str) {
    assert_eq!(record["outcome"], outcome, "{record}");
    assert_eq!(
        (&record["cost_nanousd"], &record["tokens_used"], &record["attempts"]),
        (&0.into(), &0.into(), &0.into())
    );
}

/// Nobody else may have connected to the upstream.
async fn nobody_waits(listener: &TcpListener) {
    let other = tokio::time::timeout(std::time::Duration::from_millis(50), listener.accept()).await;
    assert!(other.is_err(), "a second call was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_joins_at_any_event_gets_all_of_it_and_pays_nothing() {
    let played = Played::start(&cached()).await;
    let (mut leader, mut upstream, _) = played.cross(LINE, &keyed(ACME), streamed("hi")).await;
    upstream.write(SSE).await;
    assert_eq!(leader.head().await.header("x-tercet-cache"), Some("miss"));
    let events = events(12);
    let mut clients = Vec::new();
    for (sent, event) in events.iter().enumerate() {
        let mut client = joined(&played.house, &streamed("hi")).await;
        let mut text = String::new();
        let before = events[..sent].concat();
        while text.len() < before.len() {
            text += std::str::from_utf8(&client.next_chunk().await.unwrap()).unwrap();
        }
        assert_eq!(text, before, "everything so far, at once");
        clients.push((client, text));
        upstream.chunk(event).await;
        if sent + 1 < events.len() {
            assert_eq!(&leader.chunks_until("\n\n").await.unwrap(), event, "an event at a time, as it comes");
        }
    }
    upstream.chunk("").await;
    let whole = events.concat();
    assert_eq!(rest(&mut leader).await, *events.last().unwrap());
    let joiners = clients.len();
    for (mut client, text) in clients {
        assert_eq!(text + &rest(&mut client).await, whole);
    }
    nobody_waits(&played.listener).await;
    let records = played.house.records_when(joiners + 1).await;
    let paid = of(&records, "miss");
    assert_eq!((paid.len(), of(&records, "joined").len()), (1, joiners));
    let cost = paid[0]["cost_nanousd"].as_i64().unwrap();
    assert!(cost > 0);
    for record in of(&records, "joined") {
        assert_free(record, "ok");
        assert_eq!(record["baseline_nanousd"]["requested"], cost, "what it saved");
        assert_eq!((&record["message_id"], &record["stop_reason"]), (&"msg_1".into(), &"end_turn".into()));
    }
    let text = String::from_utf8(get(&played.house.admin_url, "", "/metrics").await.body.to_vec()).unwrap();
    let saved = metric(&text, "tercet_response_cache_saved_usd_total", "tenant=\"acme\"");
    assert_eq!(saved, cost * i64::try_from(joiners).unwrap());
    assert_eq!(
        metric(&text, "tercet_response_cache_requests_total", "result=\"joined\"") / 1_000_000_000,
        17
    );
    let kept = message(&played.house.url, ACME, streamed("hi")).await;
    assert_eq!((kept.header("x-tercet-cache"), kept.body.as_ref()), ("hit", whole.as_bytes()));
    idle(&played.house).await;
    played.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_call_goes_on_for_the_others_wherever_its_own_client_leaves() {
    let played = Played::start(&cached()).await;
    let events = events(6);
    for leaves_after in 0..events.len() {
        let body = streamed(&format!("hi {leaves_after}"));
        let before = played.house.records().len();
        let (leader, mut upstream, _) = played.cross(LINE, &keyed(ACME), &body).await;
        let mut leader = Some(leader);
        upstream.write(SSE).await;
        leader.as_mut().unwrap().head().await;
        let mut follower = joined(&played.house, &body).await;
        for (sent, event) in events.iter().enumerate() {
            if sent == leaves_after {
                leader.take().unwrap().reset();
            }
            upstream.chunk(event).await;
            if sent + 1 < events.len() {
                assert_eq!(&follower.chunks_until("\n\n").await.unwrap(), event);
                // A client that left is missed when something is written to it.
                let open = if sent < leaves_after { 2 } else { 1 };
                until_told(|| metrics(&played.house), &format!("tercet_connections {open}\n")).await;
            }
        }
        upstream.chunk("").await;
        assert_eq!(rest(&mut follower).await, *events.last().unwrap());
        let records = played.house.records_when(before + 2).await;
        let paid = &of(&records[before..], "miss")[0];
        assert!(paid["cost_nanousd"].as_i64().unwrap() > 0, "the upstream's count, whoever read it: {paid}");
        assert_eq!((&paid["output_tokens"], &paid["usage_source"]), (&90.into(), &"upstream".into()));
        if leaves_after + 1 < events.len() {
            assert_eq!(paid["outcome"], "client_aborted", "it left before the last byte: {paid}");
        }
        assert_free(of(&records[before..], "joined")[0], "ok");
        drop(follower);
        idle(&played.house).await;
        until_told(|| metrics(&played.house), "tercet_connections 0\n").await;
    }
    played.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_before_the_head_leaves_the_call_to_the_others() {
    let played = Played::start(&cached()).await;
    let (leader, mut upstream, _) = played.cross(LINE, &keyed(ACME), streamed("hi")).await;
    let mut follower = Wire::connect(&played.house.url).await;
    follower.request(LINE, &keyed(ACME), streamed("hi")).await;
    until("both were let through", || let_through(&played.house) == 2).await;
    leader.reset();
    upstream.write(SSE).await;
    let events = events(3);
    for event in &events {
        upstream.chunk(event).await;
    }
    upstream.chunk("").await;
    assert_eq!(follower.head().await.header("x-tercet-cache"), Some("joined"));
    assert_eq!(rest(&mut follower).await, events.concat());
    let records = played.house.records_when(2).await;
    assert_eq!(of(&records, "miss")[0]["usage_source"], "upstream");
    assert_free(of(&records, "joined")[0], "ok");
    idle(&played.house).await;
    played.house.stop().await;
}

async fn metrics(house: &House) -> String {
    String::from_utf8(get(&house.admin_url, "", "/metrics").await.body.to_vec()).unwrap()
}

fn in_flight(house: &House) -> usize {
    house.tercet.runtime.in_flight.load(std::sync::atomic::Ordering::Relaxed)
}

/// How many requests have been let through: one that joins is held only once it has joined.
fn let_through(house: &House) -> u64 {
    house.tercet.runtime.accounts.reserved_total().requests / LEVELS
}

/// Gateway, tenant, user and key.
const LEVELS: u64 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn where_a_call_fails_before_it_began_one_of_those_who_waited_makes_it() {
    let played = Played::start(&cached()).await;
    let overloaded = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    for status in [Some("529 Overloaded"), Some("400 Bad Request"), None] {
        let body = streamed(&format!("hi {status:?}"));
        let (mut leader, mut upstream, _) = played.cross(LINE, &keyed(ACME), &body).await;
        let mut others = Vec::new();
        for number in 0..5 {
            let mut other = Wire::connect(&played.house.url).await;
            other.request(LINE, &keyed(ACME), &body).await;
            others.push(other);
            until("it waits", || let_through(&played.house) == number + 2).await;
        }
        nobody_waits(&played.listener).await;
        if let Some(status) = status {
            // Closed, so that the next call comes over a connection that can be accepted.
            let headers = [("content-type", "application/json"), ("connection", "close")];
            upstream.answer(status, &headers, overloaded).await;
        }
        drop(upstream);
        let failed = leader.whole().await.head.status();
        assert_eq!(failed, status.map_or(502, |status| status[..3].parse().unwrap()));
        let mut upstream = Wire::accept(&played.listener).await;
        upstream.whole().await;
        nobody_waits(&played.listener).await;
        upstream.write(SSE).await;
        let events = events(3);
        for event in &events {
            upstream.chunk(event).await;
        }
        upstream.chunk("").await;
        let mut results = Vec::new();
        for other in &mut others {
            results.push(other.head().await.header("x-tercet-cache").unwrap().to_owned());
            assert_eq!(rest(other).await, events.concat());
        }
        results.sort();
        assert_eq!(results, ["joined", "joined", "joined", "joined", "miss"]);
        drop((leader, others, upstream));
        idle(&played.house).await;
    }
    let records = played.house.records();
    assert_eq!(records.len(), 18);
    assert!(of(&records, "joined").iter().all(|record| record["cost_nanousd"] == 0));
    played.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_holds_up_nobody_and_misses_nothing() {
    let played = Played::start(&cached()).await;
    // More than the buffers of a connection hold, whoever does not read.
    let events = events(60_000);
    for slow_leads in [false, true] {
        let body = streamed(&format!("hi {slow_leads}"));
        let (leader, mut upstream, _) = played.cross(LINE, &keyed(ACME), &body).await;
        upstream.write(SSE).await;
        let mut other = Wire::connect(&played.house.url).await;
        other.request(LINE, &keyed(ACME), &body).await;
        let (mut slow, mut quick) = if slow_leads { (leader, other) } else { (other, leader) };
        assert_eq!(quick.head().await.status(), 200);
        until("the other joined", || let_through(&played.house) == 2).await;
        let whole = events.concat();
        let (sent, read) = tokio::join!(
            async {
                for part in events.chunks(500) {
                    upstream.chunk(part.concat()).await;
                }
                upstream.chunk("").await;
            },
            rest(&mut quick)
        );
        let () = sent;
        assert!(read == whole, "{} of {} bytes", read.len(), whole.len());
        assert_eq!(slow.head().await.status(), 200);
        assert!(rest(&mut slow).await == whole);
        drop((slow, quick));
        idle(&played.house).await;
    }
    played.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_is_seen_to_break_off_by_all() {
    let played = Played::start(&cached()).await;
    let (mut leader, mut upstream, _) = played.cross(LINE, &keyed(ACME), streamed("hi")).await;
    upstream.write(SSE).await;
    leader.head().await;
    let mut follower = joined(&played.house, &streamed("hi")).await;
    for event in &events(3)[..4] {
        upstream.chunk(event).await;
    }
    drop(upstream);
    for client in [&mut leader, &mut follower] {
        let mut text = String::new();
        while let Some(chunk) = client.next_chunk().await {
            assert!(!chunk.is_empty(), "a clean end after {text}");
            text += std::str::from_utf8(&chunk).unwrap();
        }
        assert_eq!(text, events(3)[..4].concat());
    }
    let records = played.house.records_when(2).await;
    assert_free(of(&records, "joined")[0], "upstream_error");
    assert_eq!(of(&records, "miss")[0]["usage_source"], "estimate");
    // Nothing of it is kept.
    drop(played.cross(LINE, &keyed(ACME), streamed("hi")).await);
    played.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_message_is_made_of_a_stream_on_its_way() {
    let played = Played::start(&cached()).await;
    let (mut leader, mut upstream, _) = played.cross(LINE, &keyed(ACME), streamed("hi")).await;
    let asked = tokio::spawn({
        let url = played.house.url.clone();
        async move { message(&url, ACME, ask("claude-haiku-5-5", "hi")).await }
    });
    until("both were let through", || let_through(&played.house) == 2).await;
    upstream.write(SSE).await;
    for event in &events(3) {
        upstream.chunk(event).await;
    }
    upstream.chunk("").await;
    leader.head().await;
    assert_eq!(rest(&mut leader).await, events(3).concat());
    let whole = asked.await.unwrap();
    assert_eq!(
        (whole.header("x-tercet-cache"), whole.header("content-type")),
        ("joined", "application/json")
    );
    assert_eq!(whole.json()["content"][0]["text"], "word 0 word 1 word 2 ");
    assert_eq!(whole.json()["usage"]["output_tokens"], 90);
    played.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_joins_across_tenants_or_where_the_cache_is_off() {
    let played = Played::start(&cached()).await;
    let (_acme, _first, _) = played.cross(LINE, &keyed(ACME), streamed("hi")).await;
    let (_rival, _second, _) = played.cross(LINE, &keyed(RIVAL), streamed("hi")).await;
    let off = [keyed(ACME), vec![("x-tercet-cache", "off")]].concat();
    let (_off, _third, _) = played.cross(LINE, &off, streamed("hi")).await;
    let refresh = [keyed(ACME), vec![("x-tercet-cache", "refresh")]].concat();
    let (_refresh, _fourth, _) = played.cross(LINE, &refresh, streamed("hi")).await;
    drop((_acme, _first, _rival, _second, _off, _third, _refresh, _fourth));
    played.house.stop().await;

    let played = Played::start(TENANTS).await;
    let (_one, _first, _) = played.cross(LINE, &keyed(ACME), streamed("hi")).await;
    let (_other, _second, _) = played.cross(LINE, &keyed(ACME), streamed("hi")).await;
    drop((_one, _first, _other, _second));
    played.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_counts_as_a_request() {
    let limited = format!("{}[tenants.acme.limits]\nrequests_per_minute = 3\n", cached());
    let played = Played::start(&limited).await;
    let (mut leader, mut upstream, _) = played.cross(LINE, &keyed(ACME), streamed("hi")).await;
    upstream.write(SSE).await;
    leader.head().await;
    let _joined =
        (joined(&played.house, &streamed("hi")).await, joined(&played.house, &streamed("hi")).await);
    assert_eq!(message(&played.house.url, ACME, streamed("hi")).await.status, 429);
    for event in events(1) {
        upstream.chunk(event).await;
    }
    upstream.chunk("").await;
    drop((leader, _joined));
    idle(&played.house).await;
    played.house.stop().await;
}
