//! Mixed traffic before an upstream with random faults, in a process of its own: memory and descriptors stay flat, and
//! journal, counters and the upstream's bill name one sum at the end. Two seconds here; `make soak-hour` takes an hour.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use support::http::{ask, get};
use support::process::{Process, run};
use support::raw::{Wire, keyed};
use support::read::metric;
use support::{ACME, configuration, each_exchange};
use tempfile::TempDir;
use tercet::simulated::{Behaviour, Options, Upstream};
use tokio::time::Instant;

const TENANT: &str = r#"
[[tenants.acme.keys]]
id = "acme-1"
user = "ann"
secret = { env = "ACME_KEY" }
[tenants.acme.budget]
monthly = "1000000.00 USD"
"#;
const CLIENTS: u64 = 8;

/// What the gateway took at one moment.
#[derive(Clone, Copy)]
struct Taken {
    kibibytes: u64,
    files: u64,
}

fn seconds() -> u64 {
    #[allow(clippy::disallowed_methods, reason = "how long it takes is the caller's choice")]
    let asked = std::env::var("TERCET_SOAK_SECONDS");
    asked.ok().and_then(|text| text.parse().ok()).unwrap_or(2)
}

/// A number below `bound` for each seed (SplitMix64).
fn below(seed: u64, bound: u64) -> u64 {
    let mixed = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) % bound
}

/// What the next request meets; after each of these the gateway knows the upstream's id of the request.
fn fault(seed: u64) -> Behaviour {
    let some = usize::try_from(below(seed + 1, 12)).unwrap();
    let status = |status, kind: &str| Behaviour::Status {
        status,
        error_type: kind.to_owned(),
        message: "by lot".to_owned(),
        code: None,
        headers: Default::default(),
    };
    match below(seed, 12) {
        0 => status(529, "overloaded_error"),
        1 => status(429, "rate_limit_error"),
        2 => status(500, "api_error"),
        3 => Behaviour::CutAfter { events: Some(some), bytes: None },
        // No reset: it may take with it what was written, and billed, before.
        4 => Behaviour::NoUsage,
        5 => Behaviour::SlowFirstByte { ms: 5 + below(seed + 2, 60) },
        6 => Behaviour::Pause { after_events: some, ms: 5 + below(seed + 2, 60) },
        // Behind some content: an error in place of any is taken not to be billed, which this upstream does not know.
        7 => Behaviour::ErrorEvent {
            after_events: 6 + some,
            error_type: "api_error".to_owned(),
            message: "by lot".to_owned(),
        },
        8 => Behaviour::OddChunks { sizes: vec![1, some, 700, 3] },
        9 => Behaviour::UnknownEvents,
        10 => Behaviour::Comments,
        _ => Behaviour::CrLf,
    }
}

/// Asks once: whole or as a stream, to its end or leaving on the way, sometimes what makes no sense.
async fn once(url: &str, seed: u64) {
    let mut client = Wire::connect(url).await;
    let text = format!("write {} words {seed}", 1 + below(seed, 80));
    let mut body = ask("claude-haiku-5-5", &text);
    let streams = below(seed + 1, 3) > 0;
    if streams {
        body = body.replacen('{', "{\"stream\":true,", 1);
    }
    match below(seed + 2, 20) {
        0 => body.truncate(body.len() - 3),
        1 => body = body.replace("say", &"x".repeat(100_000)),
        _ => {}
    }
    client.request("POST /v1/messages", &keyed(ACME), &body).await;
    if below(seed + 3, 20) == 0 {
        return client.reset();
    }
    let status = client.head().await.status();
    let leaves = below(seed + 4, 10) == 0;
    if streams && status == 200 {
        let pieces = if leaves { below(seed + 5, 20) } else { u64::MAX };
        for _ in 0..pieces {
            if client.next_chunk().await.is_none_or(|chunk| chunk.is_empty()) {
                break;
            }
        }
    }
}

fn taken(process: &Process) -> Taken {
    let folder = format!("/proc/{}", process.id());
    let status = std::fs::read_to_string(format!("{folder}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kibibytes = line.trim().trim_end_matches(" kB").parse().unwrap();
    Taken { kibibytes, files: std::fs::read_dir(format!("{folder}/fd")).unwrap().count() as u64 }
}

/// The names of a process's threads.
fn threads(process: &Process) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{}/task", process.id())).unwrap();
    threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("comm")).ok()).collect()
}

/// Returns the median of a part of what was seen, in quarters.
fn quarter(seen: &[Taken], number: usize, of: impl Fn(&Taken) -> u64) -> u64 {
    let part = seen.len() / 4;
    let mut values: Vec<u64> = seen[number * part..(number + 1) * part].iter().map(of).collect();
    values.sort_unstable();
    values[values.len() / 2]
}

async fn told(process: &Process, path: &str) -> Vec<u8> {
    get(&process.admin_url, "", path).await.body.to_vec()
}

/// Waits until nothing is in flight and nothing is read in the background; a minute at most.
async fn at_rest(process: &Process) {
    for _ in 0..600 {
        let page = String::from_utf8(told(process, "/metrics").await).unwrap();
        let held = ["tercet_inflight_requests", "tercet_reserved_usd"].map(|name| metric(&page, name, ""));
        if held == [0, 0] {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("something is still in flight");
}

#[tokio::test(flavor = "multi_thread")]
async fn mixed_traffic_with_faults_leaves_nothing_behind_and_one_sum() {
    let options = Options { pace: Duration::from_micros(300), ..Options::default() };
    let upstream = Arc::new(Upstream::start(options).await.unwrap());
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("tercet.toml");
    std::fs::write(&file, configuration(upstream.url(), folder.path(), TENANT)).unwrap();
    let process = Process::start(&file).await;
    let until = Instant::now() + Duration::from_secs(seconds());
    let asked = Arc::new(AtomicU64::new(0));
    let asking: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (url, asked, upstream) = (process.url.clone(), Arc::clone(&asked), Arc::clone(&upstream));
            tokio::spawn(async move {
                for round in 0.. {
                    if Instant::now() >= until {
                        return;
                    }
                    let seed = round * CLIENTS + client;
                    if below(seed + 6, 4) == 0 {
                        upstream.script(fault(seed));
                    }
                    once(&url, seed).await;
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut seen = Vec::new();
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(500)).await;
        seen.push(taken(&process));
    }
    for one in asking {
        one.await.unwrap();
    }
    at_rest(&process).await;
    assert!(
        threads(&process).iter().any(|name| name.starts_with("jemalloc_bg")),
        "nothing gives memory back at rest"
    );
    let (first, last) = (seen[0], seen[seen.len() - 1]);
    println!(
        "{} requests in {} s; memory {} to {} KiB, files {} to {}",
        asked.load(Ordering::Relaxed),
        seconds(),
        first.kibibytes,
        last.kibibytes,
        first.files,
        last.files
    );
    // The first quarter fills what is bounded; a short run has no quarters to speak of.
    if seen.len() >= 240 {
        let memory = [1, 3].map(|number| quarter(&seen, number, |taken| taken.kibibytes));
        let files = [1, 3].map(|number| quarter(&seen, number, |taken| taken.files));
        println!("medians of the second and the last quarter: {memory:?} KiB, {files:?} files");
        assert!(memory[1] <= memory[0] * 6 / 5 + 8 * 1_024, "memory grew: {memory:?} KiB");
        assert!(files[1] <= files[0] + 16, "descriptors grew: {files:?}");
    }
    add_up(&process, folder.path(), &upstream).await;
}

/// Journal, counters and the upstream's bill name one sum.
async fn add_up(process: &Process, folder: &std::path::Path, upstream: &Upstream) {
    let bill: HashMap<String, (u64, bool)> =
        upstream.bill().into_iter().map(|call| (call.request_id, (call.nanousd, call.complete))).collect();
    let (mut known, mut spent) = (0, 0);
    each_exchange(&folder.join("data"), |record| {
        let charged = record["cost_nanousd"].as_u64().unwrap();
        spent += charged;
        let Some((billed, is_whole)) = bill.get(record["upstream_request_id"].as_str().unwrap_or("")) else {
            return;
        };
        known += 1;
        match record["usage_source"].as_str() {
            Some("upstream") if *is_whole => assert_eq!(charged, *billed, "{record}"),
            // This upstream bills whoever it could not write to the last byte for the share it wrote, though it told all
            // before: a client may leave between the last event and the end of the chunks.
            _ => assert!(charged >= *billed, "billed {billed}: {record}"),
        }
    });
    assert_eq!(known, bill.len(), "each call that was billed has one record");
    let usage: Value = serde_json::from_slice(&told(process, "/admin/v1/usage").await).unwrap();
    assert_eq!(usage["totals"]["cost_nanousd"], spent, "counters and journal");
    let page = String::from_utf8(told(process, "/metrics").await).unwrap();
    assert_eq!(metric(&page, "tercet_reservations_leaked_total", ""), 0);
    let (code, out, error) = run(&["audit", "verify", folder.join("data").to_str().unwrap()]);
    assert_eq!(code, 0, "{out}{error}");
}
