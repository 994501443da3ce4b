//! How long a start and an audit take with a million records in the journal: written by the journal's own writer from
//! two records of a real exchange, then read by the real program. Prints the median [least-most] of its rounds; half a
//! minute to write, some 1.2 GB of disk.

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

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use asking::{Scenario, ask_for};
use jiff::Timestamp;
use targets::{KEY, Proxy};
use tercet::clock::Clock;
use tercet::config;
use tercet::id::RequestId;
use tercet::journal::{Entry, ExchangeRecord, Journal, ReservationRecord};
use tercet::money::NanoUsd;
use tokio::runtime::{Builder, Runtime};
use traffic::{body, message};

fn main() {
    // `cargo test --benches` only asks whether it runs.
    let measures = std::env::args().any(|argument| argument == "--bench");
    let (records, rounds) = if measures { (1_000_000, 7) } else { (2_000, 1) };
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    let upstream = runtime.block_on(targets::start_upstream());
    let folder = tempfile::tempdir().unwrap();
    let start = |path: &Path| {
        let began = Instant::now();
        let gateway = targets::start_gateway(upstream, path, 2, 0);
        answers(&gateway);
        let took = began.elapsed();
        let cpu = gateway.cpu().unwrap_or_default();
        (gateway, [took, cpu])
    };

    let empty = times(rounds, || start(tempfile::tempdir().unwrap().path()).1);
    let kinds = kinds(&runtime, |path| start(path).0);
    let (began, spent) = (Instant::now(), write(&runtime, &folder.path().join("data"), &kinds, records));
    let bytes = size_of(&folder.path().join("data"));
    println!(
        "{records} records, {} MB, written in {:.1} s",
        bytes / 1_000_000,
        began.elapsed().as_secs_f64()
    );
    println!("verify               {}", times(rounds, || verify(&folder.path().join("data"))));
    let (gateway, first) = start(folder.path());
    println!(
        "start, all replayed  {:.3} s, {:.3} s of processor time",
        first[0].as_secs_f64(),
        first[1].as_secs_f64()
    );
    same_sum(&gateway, &spent);
    let kept = folder.path().join("data/snapshot");
    let until = Instant::now() + Duration::from_secs(120);
    while measures && !kept.exists() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(gateway);
    if kept.exists() {
        println!("snapshot             {} KB", kept.metadata().unwrap().len() / 1_000);
        let from_snapshot = times(rounds, || {
            let (gateway, took) = start(folder.path());
            same_sum(&gateway, &spent);
            took
        });
        println!("start, from it       {from_snapshot}");
    }
    println!("start, empty journal {empty}");
}

/// Returns the two records that a real request leaves.
fn kinds(runtime: &Runtime, start: impl Fn(&Path) -> Proxy) -> (ReservationRecord, ExchangeRecord) {
    let folder = tempfile::tempdir().unwrap();
    let gateway = start(folder.path());
    let body = body(1_200, 300, false);
    let scenario = Scenario { name: "", body, key: KEY, answer_bytes: message().len() };
    runtime.block_on(ask_for(&scenario, gateway.address, 1, Duration::from_millis(1)));
    let text = std::fs::read_to_string(segments(&folder.path().join("data"))[0].clone()).unwrap();
    let of = |kind: &str| text.lines().find(|line| line.contains(&format!("\"kind\":\"{kind}\""))).unwrap();
    (serde_json::from_str(of("reservation")).unwrap(), serde_json::from_str(of("exchange")).unwrap())
}

/// Writes so many records over the last four weeks, two for each request; returns what they cost.
fn write(
    runtime: &Runtime,
    path: &Path,
    (reservation, exchange): &(ReservationRecord, ExchangeRecord),
    records: u64,
) -> String {
    let settings = config::Journal {
        path: path.to_path_buf(),
        fsync: Duration::from_secs(1),
        retention: Duration::from_secs(90 * 86_400),
    };
    let requests = records / 2;
    let begin = Timestamp::now() - Duration::from_secs(28 * 86_400);
    let clock = Clock::manual(begin);
    let (journal, _) = Journal::open(&settings, &clock, |_, _| {}).unwrap();
    let mut spent = 0;
    runtime.block_on(async {
        for number in 0..requests {
            let now = begin + Duration::from_secs(27 * 86_400 * number / requests);
            clock.set_wall(now);
            let (id, user) = (RequestId::generate(), Some(format!("user-{}", number % 200)));
            let held = ReservationRecord {
                timestamp: now,
                request_id: id.clone(),
                user_id: user.clone(),
                ..reservation.clone()
            };
            let cost = NanoUsd(exchange.cost_nanousd.0 + (number % 1_000).cast_signed());
            spent += cost.0;
            let settled = ExchangeRecord {
                timestamp: now,
                settled_at: now,
                request_id: id,
                user_id: user,
                cost_nanousd: cost,
                ..exchange.clone()
            };
            journal.note(&held.into()).await.unwrap();
            journal.append(&Entry::from(settled)).await.unwrap();
        }
        journal.flush_and_close().await.unwrap();
    });
    format!("\"requests\":{requests},\"cost_nanousd\":{spent}")
}

/// Asks the gateway for its sums, which are to be those of what was written.
fn same_sum(gateway: &Proxy, spent: &str) {
    let answer = fetch(gateway.admin.unwrap(), "/admin/v1/usage");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let totals: serde_json::Value = serde_json::from_str(body).unwrap();
    let (requests, cost) = (&totals["totals"]["requests"], &totals["totals"]["cost_nanousd"]);
    assert_eq!(format!("\"requests\":{requests},\"cost_nanousd\":{cost}"), spent);
}

fn answers(gateway: &Proxy) {
    let answer = fetch(gateway.address, "/nothing");
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}

fn fetch(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn verify(path: &Path) -> [Duration; 1] {
    let began = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tercet"));
    let status = command.args(["audit", "verify"]).arg(path).stdout(Stdio::null()).status();
    assert!(status.unwrap().success());
    [began.elapsed()]
}

/// Returns median, least and most of what each round took; where it tells, processor time too.
fn times<const N: usize>(rounds: usize, mut round: impl FnMut() -> [Duration; N]) -> String {
    let all: Vec<[Duration; N]> = (0..rounds).map(|_| round()).collect();
    let told = (0..N).map(|place| {
        let mut times: Vec<f64> = all.iter().map(|times| times[place].as_secs_f64()).collect();
        times.sort_by(f64::total_cmp);
        let kind = if place == 0 { "s" } else { "s of processor time" };
        format!("{:.3} [{:.3}-{:.3}] {kind}", times[rounds / 2], times[0], times[rounds - 1])
    });
    told.collect::<Vec<_>>().join(", ")
}

fn segments(path: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(path.join("exchanges")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl")).collect()
}

fn size_of(path: &Path) -> u64 {
    segments(path).iter().map(|path| path.metadata().unwrap().len()).sum()
}
