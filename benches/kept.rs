//! What an answer costs that is given again: hits beside forwarded requests, a thousand who share one call, and a Redis
//! that is slow or gone.
//!
//! Hits and forwarded requests take turns in each round. A thousand clients send one request at once over connections
//! that are open already, to the upstream directly and through the gateway in turns. Prints medians over the rounds
//! with the least and the most. About two minutes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark measures real time, prints, and may fail loudly"
)]

mod asking;
mod targets;
mod traffic;

#[path = "kept/crowd.rs"]
mod crowd;
#[allow(unreachable_pub, reason = "shared with the tests")]
#[path = "../tests/support/port.rs"]
mod port;
#[path = "kept/redis.rs"]
mod redis;
#[allow(dead_code, unreachable_pub, reason = "shared with the tests, which use all of it")]
#[path = "../tests/support/redis.rs"]
mod redis_server;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use asking::{Scenario, ask_at, ask_for, ranked};
use targets::{CACHED_KEY, KEY, Proxy};
use tokio::runtime::{Builder, Runtime};
use traffic::{NUMBER, body, message};

fn main() {
    // `cargo test --benches` only asks whether it runs.
    let measures = std::env::args().any(|argument| argument == "--bench");
    let rounds = if measures { ROUNDS } else { 1 };
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    let upstream = runtime.block_on(targets::start_upstream());
    let folder = tempfile::tempdir().unwrap();
    let gateway = targets::start_gateway(upstream, folder.path(), 1, 0);
    println!("{rounds} rounds, median [least-most]");
    println!("\nprocessor time of the gateway a request, 16 connections, one worker thread");
    for (name, bytes) in [("1.2 KB", 1_200), ("30 KB", 30_000)] {
        compare(&runtime, &gateway, name, bytes, rounds);
    }
    pace(upstream, &gateway, if measures { rounds } else { 1 });
    drop(gateway);
    crowd::measure(&runtime, rounds, if measures { CROWD } else { 20 });
    redis::measure(&runtime, upstream, if measures { 40 } else { 2 });
}

/// Compares a hit with a request that is sent, and with one that is looked up in vain.
fn compare(runtime: &Runtime, gateway: &Proxy, name: &'static str, bytes: usize, rounds: usize) {
    let plain = body(bytes, 300, false);
    let fixed = plain.replacen(NUMBER, "the same", 1);
    let scenario =
        |body: &String, key| Scenario { name, body: body.clone(), key, answer_bytes: message().len() };
    let scenarios = [scenario(&plain, KEY), scenario(&plain, CACHED_KEY), scenario(&fixed, CACHED_KEY)];
    let mut costs: [Vec<f64>; 3] = Default::default();
    for _ in 0..rounds {
        for (scenario, costs) in scenarios.iter().zip(&mut costs) {
            costs.extend(cost(runtime, gateway, scenario));
        }
    }
    let [forwarded, missed, hit] = &costs;
    let ratios: Vec<f64> = hit.iter().zip(forwarded).map(|(hit, forwarded)| hit / forwarded).collect();
    println!(
        "  {name:<7} forwarded {} us   missed {} us   hit {} us   hit/forwarded {}",
        spread(forwarded),
        spread(missed),
        spread(hit),
        spread_to(&ratios, 2)
    );
}

/// Returns the processor time of a request, in microseconds, where the system tells.
fn cost(runtime: &Runtime, gateway: &Proxy, scenario: &Scenario) -> Option<f64> {
    let asked = |time| runtime.block_on(ask_for(scenario, gateway.address, CONNECTIONS, time));
    asked(WARM_UP);
    let before = gateway.cpu()?;
    let answered = asked(MEASURED).len();
    let spent = gateway.cpu()?.checked_sub(before)?;
    Some(spent.as_secs_f64() * 1e6 / answered as f64)
}

/// Asks for hits 5,000 times a second, and for as many answers of the upstream without the gateway.
fn pace(upstream: SocketAddr, gateway: &Proxy, rounds: usize) {
    println!("\nlatency at {RATE} a second over {CONNECTIONS} connections, from when each was due, us");
    let fixed = body(1_200, 300, false).replacen(NUMBER, "the same", 1);
    let scenario = Scenario { name: "", body: fixed, key: CACHED_KEY, answer_bytes: message().len() };
    // Waiting for what is due takes a thread whole; one is enough, or the gateway would have no core.
    let generator = Builder::new_current_thread().enable_all().build().unwrap();
    let mut shares: [[Vec<f64>; 3]; 2] = Default::default();
    for _ in 0..rounds {
        for (target, shares) in [upstream, gateway.address].into_iter().zip(&mut shares) {
            let begun = Instant::now();
            let mut latencies = generator.block_on(ask_at(&scenario, target, CONNECTIONS, RATE, PACED));
            let rate = latencies.len() as f64 / begun.elapsed().as_secs_f64();
            latencies.sort_unstable();
            let at = |share: usize| latencies[latencies.len() * share / 100].as_secs_f64() * 1e6;
            for (of, value) in shares.iter_mut().zip([at(50), at(99), rate]) {
                of.push(value);
            }
        }
    }
    for (name, [p50, p99, rate]) in ["direct", "hits"].iter().zip(&shares) {
        println!(
            "  {name:<7} p50 {}   p99 {}   answered a second {}",
            spread(p50),
            spread(p99),
            spread(rate)
        );
    }
}

fn spread(values: &[f64]) -> String {
    spread_to(values, 1)
}

fn spread_to(values: &[f64], decimals: usize) -> String {
    if values.is_empty() {
        return "not measurable here".to_owned();
    }
    let [least, middle, most] = ranked(values);
    format!("{middle:.decimals$} [{least:.decimals$}-{most:.decimals$}]")
}

const ROUNDS: usize = 7;
const CONNECTIONS: usize = 16;
const WARM_UP: Duration = Duration::from_millis(100);
const MEASURED: Duration = Duration::from_millis(600);
/// Hits a second, and for how long.
const RATE: u32 = 5_000;
const PACED: Duration = Duration::from_secs(2);
/// Clients who ask at once.
const CROWD: usize = 1_000;
