//! Clients of HTTP/2 that flood, bomb and stall: each is bounded or ended, and the others are served meanwhile.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Framed, GOAWAY, HEADERS, PING, PRIORITY, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, field, frame, message_head, text,
};
use support::http::{ask, message};
use support::read::idle;
use support::{ACME, House, RIVAL, TENANTS, frames};

fn plain() -> String {
    ask("claude-haiku-5-5", "say hello")
}

/// Another client is served.
async fn assert_served(house: &House) {
    assert_eq!(message(&house.url, RIVAL, plain()).await.status, 200);
}

/// Writes what `frames` gives, in lots, until the gateway closes the connection, as it has to.
async fn flood(client: &mut Framed, house: &House, lots: usize, frames: impl Fn(usize) -> Vec<u8>) {
    for lot in 0..lots {
        if !client.write(frames(lot)).await {
            break;
        }
        if lot == 2 {
            assert_served(house).await;
        }
        // What it answers is read, so that nobody waits for us.
        if lot.is_multiple_of(8) && !client.is_open() {
            break;
        }
    }
    // Fails where nothing comes for 20 s, as from a connection that is still served.
    drop(client.read_out().await);
    assert_served(house).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_ask_nothing_end_the_connection_that_floods_them() {
    let house = House::start(TENANTS).await;
    let begun = frame(HEADERS, END_HEADERS, 1, &message_head(ACME));
    let kinds = [
        ("pings", vec![], frame(PING, 0, 0, &[7; 8])),
        ("settings", vec![], frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])),
        ("priorities", vec![], frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 9])),
        ("a kind nobody knows", vec![], frame(0xfa, 0, 0, &[1; 32])),
        ("data without a byte", begun.clone(), frame(DATA, 0, 1, &[])),
        ("data byte by byte", begun, frame(DATA, 0, 1, b" ")),
    ];
    for (_, before, one) in kinds {
        let mut client = Framed::connect(&house.url, &[]).await;
        assert!(client.write(before).await);
        let lot = one.repeat(100);
        flood(&mut client, &house, 2_000, |_| lot.clone()).await;
    }
    idle(&house).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_pings_and_opens_windows_as_clients_do_is_served() {
    let house = House::start(TENANTS).await;
    let mut client = Framed::connect(&house.url, &[]).await;
    for round in 0_u32..5 {
        assert!(client.write(frame(PING, 0, 0, &[1; 8]).repeat(20)).await);
        assert!(client.write(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(2_000)).await);
        let stream = 2 * round + 1;
        assert!(client.write(frames::message(stream, ACME, &plain())).await);
        let head = client.find(HEADERS, stream).await.unwrap();
        assert_eq!(head.payload[0], 0x88, "status 200");
        assert!(client.find(DATA, stream).await.is_some());
    }
    // A drain asks whether it is there, which this client would not answer.
    drop(client);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_reset_as_soon_as_they_are_opened_end_their_connection() {
    let house = House::start(TENANTS).await;
    let mut client = Framed::connect(&house.url, &[]).await;
    let open_and_reset = |lot: usize| {
        let stream = |n: usize| u32::try_from(2 * (20 * lot + n) + 1).unwrap();
        let both = |n| {
            [
                frame(HEADERS, END_HEADERS, stream(n), &message_head(ACME)),
                frame(RST_STREAM, 0, stream(n), &[0, 0, 0, 8]),
            ]
        };
        (0..20).flat_map(both).flatten().collect()
    };
    flood(&mut client, &house, 5_000, open_and_reset).await;
    idle(&house).await;
    // What had no body went nowhere.
    assert_eq!(house.upstream.requests().len(), 2);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_requests_reset_at_once_are_bounded_and_every_one_that_went_up_is_settled() {
    let house = House::start(TENANTS).await;
    let mut client = Framed::connect(&house.url, &[]).await;
    flood(&mut client, &house, 5_000, |lot| {
        let ask_and_reset = |n: usize| {
            let stream = u32::try_from(2 * (20 * lot + n) + 1).unwrap();
            [frames::message(stream, ACME, &plain()), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
        };
        (0..20).flat_map(ask_and_reset).collect()
    })
    .await;
    idle(&house).await;
    let billed: u64 = house.upstream.bill().iter().map(|call| call.nanousd).sum();
    let recorded = support::read::sum(&house.records(), "cost_nanousd");
    assert!(u64::try_from(recorded).unwrap() >= billed, "{recorded} recorded, {billed} billed");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resets_that_a_client_provokes_end_its_connection_too() {
    let house = House::start(TENANTS).await;
    let mut client = Framed::connect(&house.url, &[]).await;
    // An update of nothing is an error of its stream, which the gateway has to reset.
    flood(&mut client, &house, 5_000, |lot| {
        let provoke = |n: usize| {
            let stream = u32::try_from(2 * (20 * lot + n) + 1).unwrap();
            let head = frame(HEADERS, END_HEADERS, stream, &message_head(ACME));
            [head, frame(WINDOW_UPDATE, 0, stream, &[0; 4])].concat()
        };
        (0..20).flat_map(provoke).collect()
    })
    .await;
    idle(&house).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_without_end_is_not_waited_for() {
    let house = House::start(TENANTS).await;
    for size in [1, 100, 16_000] {
        let mut client = Framed::connect(&house.url, &[]).await;
        assert!(client.write(frame(HEADERS, 0, 1, &message_head(ACME))).await);
        // A field's name that goes on and on.
        assert!(client.write(frame(CONTINUATION, 0, 1, &[0x00, 0x7f, 0xff, 0xff, 0x7f])).await);
        let lot = frame(CONTINUATION, 0, 1, &vec![b'x'; size]).repeat(20);
        flood(&mut client, &house, 5_000, |_| lot.clone()).await;
    }
    assert!(house.upstream.requests().iter().all(|seen| seen.method == "GET" || !seen.body.is_empty()));
    idle(&house).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_unpacks_to_megabytes_is_refused_and_never_unpacked() {
    let house = House::start(TENANTS).await;
    let mut client = Framed::connect(&house.url, &[]).await;
    // One field of 4,000 bytes into the table, and 12,000 times the one byte that stands for it: 48 MB.
    let kept = [&[0x40][..], &text("x-bomb"), &text(&"b".repeat(3_900))].concat();
    let bomb = [message_head(ACME), kept, vec![0xbe; 12_000]].concat();
    assert!(client.write(frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb)).await);
    let mut refused = false;
    while let Some(came) = client.next().await {
        assert!(came.kind != HEADERS || came.payload[0] != 0x88, "it was answered");
        if matches!(came.kind, RST_STREAM | GOAWAY) || came.kind == HEADERS {
            refused = true;
            break;
        }
    }
    assert!(refused, "the connection ended without a word");
    assert!(house.upstream.requests().is_empty());
    assert_served(&house).await;
    // Names that two parsers read differently do not come through either.
    for (name, value) in [
        ("x-a\r\nx-b", "1"),
        ("x-a", "1\r\nx-tercet-user: eve"),
        ("X-Upper", "1"),
        ("connection", "x-api-key"),
        ("te", "gzip"),
    ] {
        let mut client = Framed::connect(&house.url, &[]).await;
        let head = [message_head(ACME), field(name, value)].concat();
        let body = plain();
        assert!(client.write(frame(HEADERS, END_HEADERS, 1, &head)).await);
        assert!(client.write(frame(DATA, END_STREAM, 1, body.as_bytes())).await);
        while let Some(came) = client.next().await {
            assert!(came.kind != HEADERS || came.payload[0] != 0x88, "{name:?} was let through");
            if matches!(came.kind, RST_STREAM | GOAWAY | HEADERS) {
                break;
            }
        }
    }
    assert_eq!(house.upstream.requests().len(), 1);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_a_hundred_streams_are_open_on_a_connection() {
    let house = House::start(TENANTS).await;
    let mut client = Framed::connect(&house.url, &[]).await;
    for stream in (0..1_000).map(|n| 2 * n + 1) {
        if !client.write(frame(HEADERS, END_HEADERS, stream, &message_head(ACME))).await {
            break;
        }
    }
    assert_served(&house).await;
    let runtime = &house.tercet.runtime;
    assert!(runtime.in_flight.load(std::sync::atomic::Ordering::Relaxed) <= 100);
    let mut refused = 0;
    while refused < 100 {
        match client.next().await {
            Some(came) if came.kind == RST_STREAM => refused += 1,
            Some(came) if came.kind == GOAWAY => break,
            Some(_) => {}
            None => break,
        }
    }
    drop(client);
    idle(&house).await;
    house.stop().await;
}
