//! How long the dashboard's pages take with a hundred thousand records in the journal: the gateway's answer, and what
//! Chromium says of its first paint, from the navigation's start. Milliseconds, median [least-most] of its rounds.

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
use std::process::Command;
use std::time::Instant;

use serde_json::Value;
use tokio::runtime::Builder;
use written::{kinds, size_of, write};

fn main() {
    // `cargo test --benches` only asks whether it runs.
    let measures = std::env::args().any(|argument| argument == "--bench");
    let (records, rounds) = if measures { (100_000, 15) } else { (2_000, 1) };
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    let upstream = runtime.block_on(targets::start_upstream());
    let folder = tempfile::tempdir().unwrap();
    let start = |path: &Path| targets::start_gateway(upstream, path, 2, 20);
    let kinds = kinds(&runtime, start);
    write(&runtime, &folder.path().join("data"), &kinds, records);
    let gateway = start(folder.path());
    let admin = gateway.admin.unwrap();
    println!("{records} records, {} MB", size_of(&folder.path().join("data")) / 1_000_000);

    let painted = paint(admin, rounds);
    for path in PAGES {
        let answered: Vec<f64> = (0..rounds).map(|_| answer(admin, path)).collect();
        let shown: Vec<f64> =
            painted[path].as_array().unwrap().iter().map(|one| one.as_f64().unwrap()).collect();
        println!("{path:<32} answered {:<24} painted {}", told(answered), told(shown));
    }
}

/// How long the gateway takes for a page, head to end.
fn answer(address: SocketAddr, path: &str) -> f64 {
    let began = Instant::now();
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    began.elapsed().as_secs_f64() * 1e3
}

/// Opens every page so often, and returns when each was first painted.
fn paint(address: SocketAddr, rounds: usize) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let modules = root.join(".cache/clients/node");
    let mut browser = Command::new(modules.join("node_modules/.bin/node"));
    browser.arg(root.join("benches/dashboard/paint.mjs")).env("MODULES", &modules);
    browser.env("ADMIN_URL", format!("http://{address}")).env("PAGES", PAGES.join(" "));
    let ran = browser.env("ROUNDS", rounds.to_string()).output();
    let ran = ran.unwrap_or_else(|error| panic!("node: {error}; run scripts/test-environment first"));
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).unwrap()
}

fn told(mut times: Vec<f64>) -> String {
    times.sort_by(f64::total_cmp);
    let last = times.len() - 1;
    format!("{:.1} [{:.1}-{:.1}]", times[last / 2], times[0], times[last])
}

const PAGES: [&str; 8] = ["/", "/live", "/explain", "/replay", "/tenants", "/sessions", "/setup", "/system"];
