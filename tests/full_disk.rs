//! A disk that takes no more, for the real binary: told loudly, closed to budgets alone, and nothing is lost by it.
//!
//! The disk is made full by the limit on the size of files: beyond it a write fails, whatever room there is.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]
#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod support;

use std::process::Command;

use serde_json::json;
use support::http::{get, message};
use support::process::{Process, run};
use support::read::{metric, until_told};
use support::{ACME, RIVAL, TENANTS, configuration, exchanges_in};
use tempfile::TempDir;
use tercet::simulated::{Options, Upstream};

const BUDGET: &str = "[tenants.acme.budget]\ndaily = \"100.00 USD\"\n";
const LARGEST_FILE: u64 = 64 << 10;

fn limit_files(process: &Process, bytes: &str) {
    let limit = format!("--fsize={bytes}:unlimited");
    let set = Command::new("prlimit").args(["--pid", &process.id().to_string(), &limit]).status();
    assert!(set.unwrap().success(), "{limit}");
}

async fn ask(gateway: &Process, key: &str) -> u16 {
    let body = json!({"model": "claude-opus-5-5", "max_tokens": 20, "messages": [{"role": "user", "content": "Why?"}]});
    message(&gateway.url, key, body.to_string()).await.status
}

async fn ready(gateway: &Process) -> u16 {
    get(&gateway.admin_url, "", "/readyz").await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_closes_budgets_and_nothing_else_and_loses_no_record() {
    let upstream = Upstream::start(Options::default()).await.unwrap();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("tercet.toml");
    std::fs::write(&file, configuration(upstream.url(), folder.path(), &format!("{TENANTS}{BUDGET}")))
        .unwrap();
    let gateway = Process::start(&file).await;
    let mut answered = 0;
    assert_eq!((ask(&gateway, ACME).await, ready(&gateway).await), (200, 200));
    answered += 1;
    limit_files(&gateway, &LARGEST_FILE.to_string());
    while ready(&gateway).await == 200 {
        assert!(answered < 500, "the disk was never full");
        assert_eq!(ask(&gateway, RIVAL).await, 200, "who has no budget is served on");
        answered += 1;
    }

    for _ in 0..3 {
        assert_eq!(ask(&gateway, ACME).await, 503, "a budget that cannot be written down is closed");
        assert_eq!(ask(&gateway, RIVAL).await, 200);
        answered += 1;
    }
    assert_eq!(get(&gateway.admin_url, "", "/healthz").await.status, 200);
    let page = String::from_utf8(get(&gateway.admin_url, "", "/metrics").await.body.to_vec()).unwrap();
    assert!(metric(&page, "tercet_audit_write_failures_total", "") > 0, "nobody would be alerted");
    let log = std::fs::read_to_string(file.with_extension("log")).unwrap();
    assert!(log.contains("the journal cannot be written"), "{log}");

    limit_files(&gateway, "unlimited");
    until_told(async || ready(&gateway).await.to_string(), "200").await;
    assert_eq!(ask(&gateway, ACME).await, 200, "open again");
    answered += 1;
    gateway.signal("TERM");
    assert!(gateway.ended().await.success());
    let journal = folder.path().join("data");
    let exchanges = exchanges_in(&journal);
    let told = exchanges.iter().filter(|record| record["outcome"] == "ok").count();
    assert_eq!(told, answered, "what was answered while the disk was full stands in the journal too");
    let (code, _, problem) = run(&["audit", "verify", journal.to_str().unwrap()]);
    assert_eq!(code, 0, "{problem}");
}
