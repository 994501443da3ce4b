//! Whether a request costs the same whatever is around it: one worker thread or two (the floor beside it, for what the
//! machine makes of that), few connections or many, few tenants or ten thousand. Prints processor time of the gateway a
//! request, median [least-most] of rounds in which the variants take turns, and the ratio to the first of each kind. Two to
//! three minutes; needs room for 10,000 open files in each process.

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

use asking::{Crowd, ranked, short_message};
use targets::Proxy;
use tokio::runtime::{Builder, Runtime};

/// A gateway, how many connections it has, and over how many of them it is asked at a time.
#[derive(Clone)]
struct Variant {
    name: String,
    /// The least that a proxy can do, in place of the gateway.
    floor: bool,
    workers: usize,
    tenants: usize,
    connections: usize,
    at_once: usize,
}

fn main() {
    targets::be_the_floor_if_asked();
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo test --benches` only asks whether it runs.
    let measures = arguments.iter().any(|argument| argument == "--bench");
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    let upstream = runtime.block_on(targets::start_upstream());
    let usual =
        Variant { name: String::new(), floor: false, workers: 1, tenants: 0, connections: 64, at_once: 64 };
    let with_workers =
        |workers| Variant { name: format!("{workers} worker threads"), workers, ..usual.clone() };
    let floor_with = |workers| {
        let name = format!("the floor, {workers} worker threads");
        Variant { name, floor: true, workers, ..usual.clone() }
    };
    let with_open = |connections| {
        let name = format!("{connections} connections");
        Variant { name, connections, at_once: 10, ..usual.clone() }
    };
    let with_tenants = |tenants| Variant { name: format!("{tenants} tenants"), tenants, ..usual.clone() };
    let kinds = [
        [1, 2].map(with_workers).to_vec(),
        [1, 2].map(floor_with).to_vec(),
        // All in turn: so many at a time would be so many to the upstream as well, which is no matter of connections.
        [10, 100, 1_000, 9_900].map(with_open).to_vec(),
        [10, 100, 1_000, 10_000].map(with_tenants).to_vec(),
    ];
    for variants in kinds {
        let used = if measures { variants.len() } else { 1 };
        compare(&runtime, upstream, &variants[..used], if measures { ROUNDS } else { 1 });
    }
}

fn compare(runtime: &Runtime, upstream: SocketAddr, variants: &[Variant], rounds: usize) {
    let folders: Vec<_> = variants.iter().map(|_| tempfile::tempdir().unwrap()).collect();
    let start = |(variant, folder): (&Variant, &tempfile::TempDir)| {
        if variant.floor {
            return targets::start_floor(upstream, variant.workers);
        }
        targets::start_gateway(upstream, folder.path(), variant.workers, variant.tenants)
    };
    let gateways: Vec<Proxy> = variants.iter().zip(&folders).map(start).collect();
    let open = |(variant, gateway): (&Variant, &Proxy)| {
        runtime.block_on(Crowd::open_in_turn(gateway.address, variant.connections, &short_message()))
    };
    let mut crowds: Vec<Crowd> = variants.iter().zip(&gateways).map(open).collect();
    let mut costs: Vec<Vec<f64>> = variants.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (place, variant) in variants.iter().enumerate() {
            costs[place].extend(run(runtime, variant, &gateways[place], &mut crowds[place]));
        }
    }
    for (variant, cost) in variants.iter().zip(&costs).filter(|(_, cost)| !cost.is_empty()) {
        let ([least, median, most], [_, first, _]) = (ranked(cost), ranked(&costs[0]));
        let (name, ratio) = (&variant.name, median / first);
        println!("{name:<27} {median:6.1} us [{least:.1}-{most:.1}]   to the first {ratio:.2}");
    }
    println!();
}

/// Returns the processor time a request took, in microseconds, where the system tells.
fn run(runtime: &Runtime, variant: &Variant, gateway: &Proxy, crowd: &mut Crowd) -> Option<f64> {
    let scenario = short_message();
    let mut asked = |time| runtime.block_on(crowd.ask(&scenario, variant.at_once, time));
    asked(WARM_UP);
    let before = gateway.cpu()?;
    let answered = asked(MEASURED).len();
    let spent = gateway.cpu()?.checked_sub(before)?;
    Some(spent.as_secs_f64() * 1e6 / answered as f64)
}

const ROUNDS: usize = 5;
const WARM_UP: Duration = Duration::from_millis(300);
const MEASURED: Duration = Duration::from_millis(1_500);
