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
mod written;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use targets::Proxy;
use tokio::runtime::Builder;
use written::{kinds, size_of, write};

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
