//! Whether a request costs the same whatever is around it: one worker thread or two, few connections or many, few
//! tenants or ten thousand. Prints processor time of the gateway a request, median [least-most] of rounds in which the
//! variants take turns, and the ratio to the first of each kind. About a minute and a half.

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

use std::net::SocketAddr;
use std::time::Duration;

use asking::{Scenario, ask_for};
use targets::{KEY, Proxy};
use tokio::runtime::{Builder, Runtime};
use traffic::{body, message};

#[derive(Clone)]
/// A gateway, and how many connections it is asked over.
struct Variant {
    name: String,
    workers: usize,
    tenants: usize,
    connections: usize,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo test --benches` only asks whether it runs.
    let measures = arguments.iter().any(|argument| argument == "--bench");
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    let upstream = runtime.block_on(targets::start_upstream());
    let plain = |name: String, workers, tenants, connections| Variant { name, workers, tenants, connections };
    let kinds = [
        [1, 2].map(|workers| plain(format!("{workers} worker threads"), workers, 0, 64)).to_vec(),
        [10, 500, 1_500].map(|open| plain(format!("{open} connections"), 1, 0, open)).to_vec(),
        [10, 1_000, 10_000].map(|tenants| plain(format!("{tenants} tenants"), 1, tenants, 16)).to_vec(),
    ];
    for variants in kinds {
        let used = if measures { variants.len() } else { 1 };
        compare(&runtime, upstream, &variants[..used], if measures { ROUNDS } else { 1 });
    }
}

fn compare(runtime: &Runtime, upstream: SocketAddr, variants: &[Variant], rounds: usize) {
    let folders: Vec<_> = variants.iter().map(|_| tempfile::tempdir().unwrap()).collect();
    let start = |(variant, folder): (&Variant, &tempfile::TempDir)| {
        targets::start_gateway(upstream, folder.path(), variant.workers, variant.tenants)
    };
    let gateways: Vec<Proxy> = variants.iter().zip(&folders).map(start).collect();
    let mut costs: Vec<Vec<f64>> = variants.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for ((variant, gateway), cost) in variants.iter().zip(&gateways).zip(&mut costs) {
            cost.extend(run(runtime, variant, gateway));
        }
    }
    let middle = |costs: &[f64]| {
        let mut sorted = costs.to_vec();
        sorted.sort_by(f64::total_cmp);
        (sorted[sorted.len() / 2], sorted[0], sorted[sorted.len() - 1])
    };
    for (variant, cost) in variants.iter().zip(&costs).filter(|(_, cost)| !cost.is_empty()) {
        let ((median, least, most), (first, ..)) = (middle(cost), middle(&costs[0]));
        let (name, ratio) = (&variant.name, median / first);
        println!("{name:<20} {median:6.1} us [{least:.1}-{most:.1}]   to the first {ratio:.2}");
    }
    println!();
}

/// Returns the processor time a request took, in microseconds, where the system tells.
fn run(runtime: &Runtime, variant: &Variant, gateway: &Proxy) -> Option<f64> {
    let scenario =
        Scenario { name: "", body: body(1_200, 300, false), key: KEY, answer_bytes: message().len() };
    let asked = |time| runtime.block_on(ask_for(&scenario, gateway.address, variant.connections, time));
    asked(WARM_UP);
    let before = gateway.cpu()?;
    let answered = asked(MEASURED).len();
    let spent = gateway.cpu()?.checked_sub(before)?;
    Some(spent.as_secs_f64() * 1e6 / answered as f64)
}

const ROUNDS: usize = 5;
const WARM_UP: Duration = Duration::from_millis(300);
const MEASURED: Duration = Duration::from_millis(1_500);
