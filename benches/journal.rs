//! What the journal costs the thread of a request: putting its two records as lines, and chaining and writing them. Processor
//! time of that thread, as the kernel counts it, in microseconds a request, median [least-most] of the rounds; and the records' bytes.

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
mod written;

use std::hint::black_box;
use std::path::Path;

use jiff::Timestamp;
use tercet::clock::Clock;
use tercet::config;
use tercet::id::RequestId;
use tercet::journal::{Entry, ExchangeRecord, Journal, ReservationRecord};
use tokio::runtime::Builder;
use written::kinds;

/// As in the program: lines are made and freed here, which is a tenth of what is measured.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    // `cargo test --benches` only asks whether it runs.
    let measures = std::env::args().any(|argument| argument == "--bench");
    let (requests, rounds) = if measures { (20_000, 15) } else { (200, 1) };
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    let upstream = runtime.block_on(targets::start_upstream());
    let (reservation, exchange) =
        kinds(&runtime, |path: &Path| targets::start_gateway(upstream, path, 2, 20));
    drop(runtime);
    let folder = tempfile::tempdir().unwrap();
    let settings = config::Journal { path: folder.path().join("data"), ..config::default_config().journal };
    let (journal, _) = Journal::open(&settings, &Clock::default(), |_, _| {}).unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let both = || {
        let (id, now) = (RequestId::generate(), Timestamp::now());
        let held = ReservationRecord { timestamp: now, request_id: id.clone(), ..reservation.clone() };
        let ended = ExchangeRecord { timestamp: now, settled_at: now, request_id: id, ..exchange.clone() };
        [Entry::from(held), Entry::from(ended)]
    };
    for (name, entry) in ["reservation", "exchange"].into_iter().zip(both()) {
        println!("{name:<12} {} bytes before the chain's fields", entry.to_line().unwrap().as_str().len());
    }
    let (mut putting, mut writing) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let entries: Vec<[Entry; 2]> = (0..requests).map(|_| both()).collect();
        let begun = processor_ns();
        let lines: Vec<_> =
            entries.iter().map(|both| both.each_ref().map(|entry| black_box(entry.to_line()))).collect();
        let put = processor_ns();
        runtime.block_on(async {
            for line in lines.into_iter().flatten() {
                journal.append_line(line).await.unwrap();
            }
        });
        let each = |ns: u64| ns as f64 / 1e3 / f64::from(requests);
        putting.push(each(put - begun));
        writing.push(each(processor_ns() - put));
    }
    println!("put as lines          {}", told(putting));
    println!("appended and chained  {}", told(writing));
    runtime.block_on(journal.flush_and_close()).unwrap();
    let (bytes, records) = (written::size_of(&settings.path), f64::from(requests) * f64::from(rounds) * 2.0);
    println!("on the disk           {:.0} bytes a record", bytes as f64 / records);
}

/// Processor time of this thread.
fn processor_ns() -> u64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    told.split(' ').next().unwrap().parse().unwrap()
}

fn told(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    format!("{:.2} [{:.2}-{:.2}]", values[values.len() / 2], values[0], values[values.len() - 1])
}
