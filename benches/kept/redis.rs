//! What a Redis that is shared adds to a request that is not found in it: well, slow, silent, and gone.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::asking::{Scenario, ask_for};
use super::redis_server::{Fault, Line, Redis};
use super::spread;
use super::targets::{self, CACHED_KEY};
use super::traffic::{body, message};

/// Measures single requests under each fault, as many as `requests`.
pub(crate) fn measure(runtime: &Runtime, upstream: SocketAddr, requests: usize) {
    println!("\na request that misses, one after the other, ms; what is shared is waited for 50 ms at most");
    let redis = runtime.block_on(Redis::start(&[]));
    let line = runtime.block_on(Line::to(redis.port));
    let folder = tempfile::tempdir().unwrap();
    let shared = format!("[redis]\ncache = \"{}\"\n", line.url());
    let gateway = targets::start_gateway_with(upstream, folder.path(), 1, &shared);
    let scenario =
        Scenario { name: "", body: body(1_200, 300, false), key: CACHED_KEY, answer_bytes: message().len() };
    let faults = [
        ("answers", Fault::None),
        ("takes 20 s", Fault::Slow(Duration::from_secs(20))),
        ("is cut off", Fault::Partition),
        ("resets", Fault::Reset),
        ("is loading", Fault::Says("-LOADING Redis is loading the dataset in memory\r\n")),
    ];
    for (name, fault) in faults {
        line.set(Fault::None);
        std::thread::sleep(Duration::from_secs(1));
        line.set(fault);
        let mut latencies = Vec::new();
        for _ in 0..requests {
            let begun = Instant::now();
            // One request over a connection of its own: the loop ends with the first answer.
            let answered = runtime.block_on(ask_for(&scenario, gateway.address, 1, Duration::from_nanos(1)));
            assert!(answered.len() <= 1);
            latencies.push(answered.first().copied().unwrap_or_else(|| begun.elapsed()).as_secs_f64() * 1e3);
        }
        println!("  redis {name:<12} {}", spread(&latencies));
    }
    line.set(Fault::None);
}
