//! A thousand clients that leave, each at a moment of its own: nobody leaves for free, and nothing stays held.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use support::http::ask;
use support::raw::{Wire, keyed};
use support::read::{idle, spent_today, sum};
use support::{ACME, House, TENANTS};
use tercet::simulated::Options;
use tercet::store::AccountId;
use tokio::task::JoinSet;

/// When a client leaves.
#[derive(Clone, Copy)]
enum Moment {
    /// With its request written.
    AtOnce,
    /// With the answer's head.
    Head,
    /// With so many pieces of the answer.
    Pieces(u64),
}

/// A number below `bound` for each seed (SplitMix64).
fn below(seed: u64, bound: u64) -> u64 {
    let mixed = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) % bound
}

/// Asks, reads as far as its moment, and leaves.
async fn leave(url: &str, seed: u64) {
    let moment = match below(seed, 4) {
        0 => Moment::AtOnce,
        1 => Moment::Head,
        _ => Moment::Pieces(1 + below(seed + 7, 30)),
    };
    let text = format!("write {} words", 5 + below(seed + 1_000, 60));
    let mut body = ask("claude-haiku-5-5", &text);
    if below(seed + 2_000, 4) > 0 {
        body = body.replacen('{', "{\"stream\":true,", 1);
    }
    let mut client = Wire::connect(url).await;
    client.request("POST /v1/messages", &keyed(ACME), &body).await;
    if !matches!(moment, Moment::AtOnce) {
        client.head().await;
    }
    if let (Moment::Pieces(count), true) = (moment, body.contains("\"stream\"")) {
        for _ in 0..count {
            if client.next_chunk().await.is_none_or(|chunk| chunk.is_empty()) {
                return;
            }
        }
    }
    if seed.is_multiple_of(2) { client.reset() } else { drop(client) }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_clients_that_leave_none_leaves_for_free() {
    let options = Options { pace: Duration::from_micros(300), ..Options::default() };
    let house = House::start_with(TENANTS, options).await;
    for round in 0..40 {
        let mut leaving = JoinSet::new();
        for place in 0..25 {
            let url = house.url.clone();
            leaving.spawn(async move { leave(&url, round * 25 + place).await });
        }
        leaving.join_all().await;
        idle(&house).await;
    }
    let records = house.records();
    let bill: HashMap<String, u64> =
        house.upstream.bill().into_iter().map(|call| (call.request_id, call.nanousd)).collect();
    let known = |record: &&Value| bill.contains_key(record["upstream_request_id"].as_str().unwrap_or(""));
    let (reached, unsent): (Vec<_>, Vec<_>) = records.iter().partition(known);
    assert_eq!(reached.len(), bill.len(), "each call that was billed has one record");
    assert!(
        unsent.iter().all(|record| record["cost_nanousd"] == 0),
        "nothing is charged for what never left"
    );
    let mut counted = (0, 0);
    for record in &reached {
        let billed = bill[record["upstream_request_id"].as_str().unwrap()];
        let charged = record["cost_nanousd"].as_u64().unwrap();
        match record["usage_source"].as_str() {
            Some("upstream") => counted = (counted.0 + charged, counted.1 + billed),
            _ => assert!(charged >= billed.max(1), "billed {billed}: {record}"),
        }
    }
    assert_eq!(counted.0, counted.1, "what was read to its end is charged as the upstream counts it");
    let left = reached.iter().filter(|record| record["outcome"] == "client_aborted").count();
    let estimated = reached.iter().filter(|record| record["usage_source"] == "estimate").count();
    println!("{} reached the upstream, {left} had left, {estimated} at an estimate", reached.len());
    assert!(left > 300 && reached.len() > 500, "{left} of {}", reached.len());
    let acme = AccountId::tenant(Arc::from("acme"));
    assert_eq!(
        spent_today(&house, &acme),
        sum(&records, "cost_nanousd"),
        "counter and journal are one number"
    );
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_nobody_waits_for_are_read_to_their_end_within_a_bound_of_money() {
    let options = Options { pace: Duration::from_millis(5), ..Options::default() };
    let house =
        House::start_with(&format!("{TENANTS}\n[tenants.acme.routing]\nmode = \"off\"\n"), options).await;
    // Each may cost $2.56 and a little: nine fit into $25.
    let body = ask("claude-opus-5-5", "write 600 words").replace("1000", "128000").replacen(
        '{',
        "{\"stream\":true,",
        1,
    );
    let mut clients = Vec::new();
    for _ in 0..14 {
        let mut client = Wire::connect(&house.url).await;
        client.request("POST /v1/messages", &keyed(ACME), &body).await;
        client.head().await;
        client.next_chunk().await;
        clients.push(client);
    }
    clients.into_iter().for_each(Wire::reset);
    idle(&house).await;
    let records = house.records();
    let estimated = records.iter().filter(|record| record["usage_source"] == "estimate").count();
    assert_eq!((records.len(), estimated), (14, 5), "{records:#?}");
    let runtime = &house.tercet.runtime;
    assert_eq!(runtime.drained_nanousd.load(std::sync::atomic::Ordering::Relaxed), 0);
    let bill: HashMap<String, u64> =
        house.upstream.bill().into_iter().map(|call| (call.request_id, call.nanousd)).collect();
    for record in &records {
        let billed = bill.get(record["upstream_request_id"].as_str().unwrap()).copied().unwrap_or(0);
        assert!(record["cost_nanousd"].as_u64().unwrap() >= billed.max(1), "billed {billed}: {record}");
        assert_eq!(record["outcome"], "client_aborted");
    }
    house.stop().await;
}
