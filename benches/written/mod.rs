//! A journal as years of use leave it: written by the journal's own writer from two records of a real exchange.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use tercet::clock::Clock;
use tercet::config;
use tercet::id::RequestId;
use tercet::journal::{Entry, ExchangeRecord, Journal, ReservationRecord};
use tercet::money::NanoUsd;
use tokio::runtime::Runtime;

use crate::asking::{Scenario, ask_for};
use crate::targets::{KEY, Proxy};
use crate::traffic::{body, message};

/// Returns the two records that a real request leaves.
pub(crate) fn kinds(
    runtime: &Runtime,
    start: impl Fn(&Path) -> Proxy,
) -> (ReservationRecord, ExchangeRecord) {
    let folder = tempfile::tempdir().unwrap();
    let gateway = start(folder.path());
    let body = body(1_200, 300, false);
    let scenario = Scenario { name: "", body, key: KEY, answer_bytes: message().len() };
    // Where others want the processor too, a shorter time ends before the first request is sent.
    runtime.block_on(ask_for(&scenario, gateway.address, 1, Duration::from_millis(300)));
    let text = std::fs::read_to_string(segments(&folder.path().join("data"))[0].clone()).unwrap();
    let of = |kind: &str| text.lines().find(|line| line.contains(&format!("\"kind\":\"{kind}\""))).unwrap();
    (serde_json::from_str(of("reservation")).unwrap(), serde_json::from_str(of("exchange")).unwrap())
}

/// Writes so many records over the last four weeks, two for each request; returns what they cost.
pub(crate) fn write(
    runtime: &Runtime,
    path: &Path,
    (reservation, exchange): &(ReservationRecord, ExchangeRecord),
    records: u64,
) -> String {
    let settings = config::Journal {
        path: path.to_path_buf(),
        fsync: Duration::from_secs(1),
        ..config::default_config().journal
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

fn segments(path: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(path.join("exchanges")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl")).collect()
}

pub(crate) fn size_of(path: &Path) -> u64 {
    segments(path).iter().map(|path| path.metadata().unwrap().len()).sum()
}
