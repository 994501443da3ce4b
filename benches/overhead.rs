//! What a whole request costs through the gateway: time added, and processor time of the gateway's process.
//!
//! An upstream of a few lines answers canned messages and streams over loopback. Each round asks it directly,
//! through a floor (the least a hyper proxy can do, this program started again) and through `tercet run` with
//! tenants, routing, limits, budgets, journal, metrics and log lines on; the three take turns, so that a slow
//! spell of the machine falls on all. Prints medians over the rounds with the least and the most. About a minute.

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

use asking::{Scenario, ask_for, ranked};
use bytes::Bytes;
use targets::{CACHED_KEY, KEY, Proxy};
use tokio::runtime::Builder;
use traffic::{body, message, stream};

/// One run: sorted latencies, and processor time per request where the target is a process of ours.
struct Run {
    latencies: Vec<Duration>,
    cpu: Option<Duration>,
}

fn main() {
    targets::be_the_floor_if_asked();
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo test --benches` only asks whether it runs.
    let rounds = if arguments.iter().any(|argument| argument == "--bench") { ROUNDS } else { 1 };
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    let upstream = runtime.block_on(targets::start_upstream());
    let folder = tempfile::tempdir().unwrap();
    let floor = targets::start_floor(upstream, 1);
    let gateway = targets::start_gateway(upstream, folder.path(), 1, 0);
    println!("{rounds} rounds, median [least-most], us; each line begins with the number of connections\n");
    for scenario in scenarios() {
        let mut columns: [Vec<Run>; 5] = Default::default();
        for _ in 0..rounds {
            let targets = [
                (upstream, None, 1),
                (floor.address, Some(&floor), 1),
                (gateway.address, Some(&gateway), 1),
                (floor.address, Some(&floor), CONNECTIONS),
                (gateway.address, Some(&gateway), CONNECTIONS),
            ];
            for (column, (address, proxy, connections)) in columns.iter_mut().zip(targets) {
                column.push(runtime.block_on(run(&scenario, address, proxy, connections)));
            }
        }
        print(&scenario, &columns);
    }
}

fn print(scenario: &Scenario, columns: &[Vec<Run>; 5]) {
    let [direct, floor, through, floor_busy, through_busy] = columns;
    println!("{}", scenario.name);
    for (share, name) in [(50, "p50"), (99, "p99")] {
        let of = |runs: &[Run]| runs.iter().map(|run| percentile(&run.latencies, share)).collect::<Vec<_>>();
        let (direct, floor, through) = (of(direct), of(floor), of(through));
        println!("  1  latency {name}   direct {}   through {}", spread(&direct), spread(&through));
        println!(
            "  1  added {name}     floor {}   tercet {}   through/direct {}",
            spread(&zip(&floor, &direct, |one, other| one - other)),
            spread(&zip(&through, &direct, |one, other| one - other)),
            ratio(&zip(&through, &direct, |one, other| one / other)),
        );
    }
    for (connections, floor, through) in [(1, floor, through), (CONNECTIONS, floor_busy, through_busy)] {
        let of = |runs: &[Run]| runs.iter().filter_map(|run| run.cpu.map(micros)).collect::<Vec<_>>();
        let (floor, through) = (of(floor), of(through));
        if floor.is_empty() || through.is_empty() {
            println!("  {connections:<2} cpu/request   not measurable here");
            continue;
        }
        println!(
            "  {connections:<2} cpu/request   floor {}   tercet {}   tercet/floor {}",
            spread(&floor),
            spread(&through),
            ratio(&zip(&through, &floor, |one, other| one / other)),
        );
    }
    println!();
}

/// Asks one target for a while, after a moment of warming up.
async fn run(scenario: &Scenario, target: SocketAddr, proxy: Option<&Proxy>, connections: usize) -> Run {
    ask_for(scenario, target, connections, WARM_UP).await;
    let before = proxy.and_then(Proxy::cpu);
    let mut latencies = ask_for(scenario, target, connections, MEASURED).await;
    let after = proxy.and_then(Proxy::cpu);
    latencies.sort_unstable();
    let answered = u32::try_from(latencies.len()).unwrap();
    let cpu = after.zip(before).map(|(after, before)| (after - before) / answered);
    Run { latencies, cpu }
}

fn scenarios() -> Vec<Scenario> {
    let plain = |name, bytes| {
        let body = body(bytes, 300, false);
        Scenario { name, body, key: KEY, answer_bytes: message().len() }
    };
    let events = stream().iter().map(Bytes::len).sum();
    let name = "1.2 KB, answered by a stream of 50 events at once";
    vec![
        plain("1.2 KB", 1_200),
        plain("30 KB", 30_000),
        plain("300 KB", 300_000),
        Scenario { name, body: body(1_200, 300, true), key: KEY, answer_bytes: events },
        Scenario { key: CACHED_KEY, ..plain("30 KB, cache on, missing", 30_000) },
    ]
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn percentile(sorted: &[Duration], share: usize) -> f64 {
    sorted.get((sorted.len() * share / 100).min(sorted.len() - 1)).copied().map_or(0.0, micros)
}

/// Pairs what was measured in the same round.
fn zip(one: &[f64], other: &[f64], of: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    one.iter().zip(other).map(|(one, other)| of(*one, *other)).collect()
}

fn spread(values: &[f64]) -> String {
    let [least, middle, most] = ranked(values);
    format!("{middle:6.1} [{least:.1}-{most:.1}]")
}

fn ratio(values: &[f64]) -> String {
    let [least, middle, most] = ranked(values);
    format!("{middle:.2} [{least:.2}-{most:.2}]")
}

const ROUNDS: usize = 5;
/// Connections where many ask at once.
const CONNECTIONS: usize = 16;
const WARM_UP: Duration = Duration::from_millis(80);
const MEASURED: Duration = Duration::from_millis(400);
