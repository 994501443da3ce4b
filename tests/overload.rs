//! More than there is room for: refused early, and one tenant's flood leaves room for the others. Counted, not timed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use support::http::{Answer, ask, get, message};
use support::raw::{MESSAGE, Played, Wire, keyed, within};
use support::read::{idle, metric, until};
use support::{ACME, House, RIVAL, TENANTS};

/// Each request comes over a connection of its own.
const ANSWERED: [(&str, &str); 2] = [("content-type", "application/json"), ("connection", "close")];

/// An upstream that the test plays, behind a gateway with room for so many requests and bytes of their bodies.
async fn room_for(lines: &str) -> Played {
    Played::start(&format!("[server]\nlisten = \"127.0.0.1:0\"\n{lines}\n{TENANTS}")).await
}

fn plain() -> String {
    ask("claude-haiku-5-5", "say hello")
}

/// Asks without waiting for the answer.
async fn begin(house: &House, key: &str, body: String) -> Wire {
    let mut client = Wire::connect(&house.url).await;
    client.request("POST /v1/messages", &keyed(key), body).await;
    client
}

/// Takes the next request at the upstream.
async fn arrive(played: &Played) -> Wire {
    let mut upstream = Wire::accept(&played.listener).await;
    upstream.whole().await;
    upstream
}

fn assert_shed(answer: &Answer, named: &str) {
    assert_eq!((answer.status, answer.header("retry-after")), (529, "1"));
    assert_eq!(answer.json()["error"]["type"], "overloaded_error");
    let told = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(told.contains(named), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_has_its_share_and_whoever_else_comes_finds_room() {
    let played = room_for("max_in_flight = 16").await;
    let (mut clients, mut upstreams) = (Vec::new(), Vec::new());
    for _ in 0..15 {
        clients.push(begin(&played.house, ACME, plain()).await);
        upstreams.push(arrive(&played).await);
    }
    // All but the last place, which is kept for others. Not one of these comes upstream or into the journal.
    for _ in 0..100 {
        assert_shed(
            &message(&played.house.url, ACME, plain()).await,
            "acme has its share of it: 15 requests",
        );
    }
    let mut rival = begin(&played.house, RIVAL, plain()).await;
    let mut upstream = arrive(&played).await;
    // As places become free they are the other's, however much the flood asks: up to half of them.
    let mut of_rival = Vec::new();
    for _ in 0..8 {
        assert_shed(&message(&played.house.url, ACME, plain()).await, "acme has its share of it: 8 requests");
        upstreams.pop().unwrap().answer("200 OK", &ANSWERED, MESSAGE).await;
        assert_eq!(clients.pop().unwrap().whole().await.head.status(), 200);
        let runtime = &played.house.tercet.runtime;
        let open = 8 + upstreams.len() - 7 + of_rival.len();
        until("its place is free", || runtime.in_flight.load(std::sync::atomic::Ordering::Relaxed) <= open)
            .await;
        if of_rival.len() < 7 {
            assert_shed(&message(&played.house.url, ACME, plain()).await, "acme has its share");
            let client = begin(&played.house, RIVAL, plain()).await;
            of_rival.push((client, arrive(&played).await));
        }
    }
    assert_eq!((upstreams.len(), of_rival.len()), (7, 7));
    upstream.answer("200 OK", &ANSWERED, MESSAGE).await;
    assert_eq!(rival.whole().await.head.status(), 200);
    for (client, upstream) in of_rival
        .iter_mut()
        .map(|(client, upstream)| (client, upstream))
        .chain(clients.iter_mut().zip(&mut upstreams))
    {
        upstream.answer("200 OK", &ANSWERED, MESSAGE).await;
        assert_eq!(client.whole().await.head.status(), 200);
    }
    idle(&played.house).await;
    assert_eq!(played.house.records().len(), 23, "what was shed fills no disk");
    let page = get(&played.house.admin_url, "", "/metrics").await;
    let text = String::from_utf8_lossy(&page.body).into_owned();
    let shed = metric(
        &text,
        "tercet_ratelimit_decisions_total",
        "decision=\"refused\",limit=\"room\",tenant=\"acme\"",
    );
    assert_eq!(shed, 115_000_000_000);
    // And all of it is free again.
    let client = begin(&played.house, ACME, plain()).await;
    arrive(&played).await;
    drop(client);
    played.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_and_probes_are_answered_while_there_is_no_room() {
    let played = room_for("max_in_flight = 1").await;
    let mut client = begin(&played.house, ACME, plain()).await;
    let mut upstream = arrive(&played).await;
    assert_shed(&message(&played.house.url, RIVAL, plain()).await, "it has all the requests in flight");
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(get(&played.house.admin_url, "", path).await.status, 200, "{path}");
    }
    assert_eq!(message(&played.house.url, "tct-nobody", plain()).await.status, 401);
    upstream.answer("200 OK", &ANSWERED, MESSAGE).await;
    assert_eq!(client.whole().await.head.status(), 200);
    idle(&played.house).await;
    played.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_have_a_ceiling_in_memory_that_a_flood_of_large_ones_does_not_take_from_others() {
    let played = room_for("max_body = \"16 KiB\"\nmax_in_flight_size = \"32 KiB\"").await;
    let large = || ask("claude-haiku-5-5", &"x".repeat(14_000));
    let mut held = Vec::new();
    for _ in 0..2 {
        let client = begin(&played.house, ACME, large()).await;
        held.push((client, arrive(&played).await));
    }
    assert_shed(&message(&played.house.url, ACME, large()).await, "bytes of requests in flight");
    let client = begin(&played.house, RIVAL, plain()).await;
    held.push((client, arrive(&played).await));
    for (client, upstream) in &mut held {
        upstream.answer("200 OK", &ANSWERED, MESSAGE).await;
        assert_eq!(client.whole().await.head.status(), 200);
    }
    idle(&played.house).await;
    let mut client = begin(&played.house, ACME, large()).await;
    arrive(&played).await.answer("200 OK", &ANSWERED, MESSAGE).await;
    assert_eq!(client.whole().await.head.status(), 200, "their room is free again");
    played.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_of_answers_counts_among_what_bodies_may_take() {
    let guards = "[[guards]]\ndetect = [\"pii\"]\naction = \"refuse\"\nin = [\"answer\"]";
    let played = room_for(&format!("max_body = \"16 KiB\"\nmax_in_flight_size = \"32 KiB\"\n{guards}")).await;
    for (size, status) in [(8_000, 200), (60_000, 529), (8_000, 200)] {
        let mut client = begin(&played.house, ACME, plain()).await;
        let mut upstream = arrive(&played).await;
        let long = MESSAGE.replacen("\"text\":\"", &format!("\"text\":\"{}", "y".repeat(size)), 1);
        assert!(long.len() > size, "{MESSAGE}");
        upstream.answer("200 OK", &ANSWERED, &long).await;
        let answer = client.whole().await;
        assert_eq!(answer.head.status(), status, "{size}: {}", String::from_utf8_lossy(&answer.body));
        idle(&played.house).await;
    }
    let records = played.house.records();
    assert_eq!((records.len(), &records[1]["status"]), (3, &serde_json::json!(529)));
    assert!(records[1]["cost_nanousd"].as_u64().unwrap() > 0, "the upstream bills it all the same");
    played.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_answer_passes_whole_where_there_is_no_room_to_meter_it_and_costs_its_estimate() {
    let played = room_for("max_body = \"16 KiB\"\nmax_in_flight_size = \"32 KiB\"").await;
    for (size, source) in
        [(8_000, "upstream"), (60_000, "upstream"), (300_000, "estimate"), (70_000, "upstream")]
    {
        let mut client = begin(&played.house, ACME, plain()).await;
        let mut upstream = arrive(&played).await;
        let long = MESSAGE.replacen("\"text\":\"", &format!("\"text\":\"{}", "y".repeat(size)), 1);
        upstream.answer("200 OK", &ANSWERED, &long).await;
        let answer = client.whole().await;
        assert_eq!((answer.head.status(), answer.body.len()), (200, long.len()));
        idle(&played.house).await;
        let records = played.house.records();
        let last = records.last().unwrap();
        assert_eq!(last["usage_source"], source, "{size}");
        assert!(last["cost_nanousd"].as_u64().unwrap() > 0);
    }
    played.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_in_many_small_pieces_arrives_as_it_was_sent() {
    let played = room_for("").await;
    let body = ask("claude-haiku-5-5", &"wörter ".repeat(700));
    for size in [1, 7, 1_000, 4_096] {
        let mut client = Wire::connect(&played.house.url).await;
        client.write(format!("POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {ACME}\r\nanthropic-version: 2023-06-01\r\n\
            content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")).await;
        let pieces: Vec<u8> = body
            .as_bytes()
            .chunks(size)
            .flat_map(|piece| [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat())
            .collect();
        client.write(pieces).await;
        client.chunk("").await;
        let mut upstream = Wire::accept(&played.listener).await;
        let arrived = within(upstream.whole()).await;
        assert_eq!(String::from_utf8_lossy(&arrived.body), body, "pieces of {size}");
        upstream.answer("200 OK", &ANSWERED, MESSAGE).await;
        assert_eq!(client.whole().await.head.status(), 200);
    }
    played.house.stop().await;
}
