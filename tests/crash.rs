//! The real process: killed, told to end, and started where it cannot.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

#[path = "crash/rounds.rs"]
mod rounds;
mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Method;
use http_body_util::BodyExt;
use serde_json::Value;
use support::http::{ask, get, message, open};
use support::process::{Process, run};
use support::read::{metric, sum};
use support::{ACME, configuration, records};
use tempfile::TempDir;
use tercet::simulated::{Behaviour, Options, Upstream};

const TENANT: &str = r#"
[routing]
mode = "off"
[tenants.acme.budget]
daily = "100.00 USD"
[[tenants.acme.keys]]
id = "acme-1"
user = "ann"
secret = { env = "ACME_KEY" }
"#;

async fn upstream() -> Upstream {
    Upstream::start(Options::default()).await.unwrap()
}

fn file(upstream: &Upstream, folder: &Path, text: &str) -> PathBuf {
    let file = folder.join("tercet.toml");
    std::fs::write(&file, configuration(upstream.url(), folder, text)).unwrap();
    file
}

fn streamed(text: &str) -> String {
    ask("claude-haiku-5-5", text).replace("\"max_tokens\"", "\"stream\":true,\"max_tokens\"")
}

/// Opens a stream that stands still after its first events.
async fn standing_stream(upstream: &Upstream, url: &str, ms: u64) -> http::Response<hyper::body::Incoming> {
    upstream.script(Behaviour::Pause { after_events: 3, ms });
    let headers = [("x-api-key", ACME), ("anthropic-version", "2023-06-01")];
    open(Method::POST, &format!("{url}/v1/messages"), &headers, streamed("write 20 words")).await
}

fn spent(usage: &Value) -> i64 {
    usage["totals"]["cost_nanousd"].as_i64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_loses_nothing_that_was_answered_and_charges_what_was_not() {
    let (upstream, folder) = (upstream().await, TempDir::new().unwrap());
    let file = file(&upstream, folder.path(), TENANT);
    let process = Process::start(&file).await;
    let mut acknowledged = Vec::new();
    for index in 0..10 {
        let body = if index % 2 == 0 { streamed("say hi") } else { ask("claude-haiku-5-5", "say hi") };
        let answer = message(&process.url, ACME, body).await;
        assert_eq!(answer.status, 200);
        acknowledged.push(answer.header("x-tercet-request-id").to_owned());
    }
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(standing_stream(&upstream, &process.url, 60_000).await);
    }
    let unfinished: Vec<String> = open
        .iter()
        .map(|answer| answer.headers()["x-tercet-request-id"].to_str().unwrap().to_owned())
        .collect();
    process.kill();

    let journaled = records(folder.path());
    let of =
        |records: &[Value], id: &String| records.iter().filter(|record| record["request_id"] == **id).count();
    assert!(acknowledged.iter().all(|id| of(&journaled, id) == 1), "each answer seen whole has its record");
    assert!(unfinished.iter().all(|id| of(&journaled, id) == 0));

    let process = Process::start(&file).await;
    let rebuilt = records(folder.path());
    for id in &unfinished {
        let record = rebuilt.iter().find(|record| record["request_id"] == **id).unwrap();
        assert_eq!((&record["outcome"], &record["usage_source"]), (&"lost".into(), &"estimate".into()));
        assert!(record["cost_nanousd"].as_i64().unwrap() > 0, "{record}");
    }
    assert_eq!(rebuilt.len(), 13);
    let usage = get(&process.admin_url, "", "/admin/v1/usage").await.json();
    assert_eq!(spent(&usage), sum(&rebuilt, "cost_nanousd"));
    let metrics = get(&process.admin_url, "", "/metrics").await;
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert_eq!(metric(&text, "tercet_reserved_usd", ""), 0, "nothing is held for the dead");
    assert_eq!(metric(&text, "tercet_tenant_spend_usd", "window=\"day\""), sum(&rebuilt, "cost_nanousd"));
    process.kill();

    let journal = folder.path().join("data");
    let (code, out, error) = run(&["audit", "verify", journal.to_str().unwrap()]);
    assert_eq!(code, 0, "{out}{error}");
    let again = Process::start(&file).await;
    assert_eq!(records(folder.path()).len(), 13, "nothing is charged twice");
    drop(again);
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_end_it_finishes_what_it_began_and_takes_nothing_new() {
    let (upstream, folder) = (upstream().await, TempDir::new().unwrap());
    let process = Process::start(&file(&upstream, folder.path(), TENANT)).await;
    assert_eq!(get(&process.admin_url, "", "/readyz").await.status, 200);
    let live = standing_stream(&upstream, &process.url, 1_500).await;
    process.signal("TERM");
    let mut ready = 200;
    for _ in 0..100 {
        ready = get(&process.admin_url, "", "/readyz").await.status;
        if ready == 503 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(ready, 503, "not ready while the stream still runs");
    assert_eq!(get(&process.admin_url, "", "/healthz").await.status, 200, "alive all the same");
    let port = process.url.rsplit(':').next().unwrap().parse::<u16>().unwrap();
    let mut refused = false;
    for _ in 0..100 {
        refused = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err();
        if refused {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(refused, "the port is closed to new connections");
    let text = live.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&text).contains("event: message_stop"), "finished whole");
    let status = process.ended().await;
    assert_eq!(status.code(), Some(0));
    let records = records(folder.path());
    assert_eq!((records.len(), &records[0]["outcome"]), (1, &"ok".into()));
    assert_eq!(records[0]["cost_nanousd"], upstream.bill()[0].nanousd);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_ends_it_with_advice() {
    let (upstream, folder) = (upstream().await, TempDir::new().unwrap());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let text = format!("[server]\nlisten = \"{address}\"\n{TENANT}");
    let (code, _, error) = run(&["run", "--config", file(&upstream, folder.path(), &text).to_str().unwrap()]);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains(&address.to_string()) && error.contains("listen"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_configuration_is_shown_with_a_caret_and_starts_nothing() {
    let (upstream, folder) = (upstream().await, TempDir::new().unwrap());
    let text = TENANT.replace("[tenants.acme.budget]\ndaily", "[tenants.acme.budget]\ndayly");
    let bad = file(&upstream, folder.path(), &text);
    let (code, _, error) = run(&["run", "--config", bad.to_str().unwrap()]);
    assert_eq!(code, 3, "{error}");
    assert!(error.contains("tercet.toml:") && error.contains('^') && error.contains("daily"), "{error}");
    assert!(!folder.path().join("data").exists(), "nothing was touched");
}
