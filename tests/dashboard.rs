//! The dashboard in a real browser; its content policy forbids scripts, and it needs none to be read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use std::process::Stdio;
use std::time::Duration;

use support::http::{ask, message};
use support::{ACME, House, TENANTS};
use tempfile::TempDir;
use tokio::process::Command;

/// Returns the page as Chromium built it.
async fn page(url: &str) -> String {
    let profile = TempDir::new().unwrap();
    let mut browser = Command::new("chromium");
    browser
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-sync",
        ])
        .args(["--disable-background-networking", "--disable-component-update"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(["--dump-dom", url])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let output =
        tokio::time::timeout(Duration::from_secs(60), browser.output()).await.expect("chromium in time");
    let output =
        output.expect("chromium is not installed: run scripts/test-environment (or make test) first");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_shows_what_was_spent_without_a_script() {
    let house = House::start(TENANTS).await;
    for word in ["one", "two", "three"] {
        assert_eq!(
            message(&house.url, ACME, ask("claude-opus-5-5", &format!("say {word}"))).await.status,
            200
        );
    }
    let record = house.records_when(3).await.remove(0);
    let page = page(&house.admin_url).await;
    assert!(page.contains("acme") && page.contains("rival"), "every tenant is shown:\n{page}");
    assert!(page.contains(record["request_id"].as_str().unwrap()), "the last exchanges are shown");
    assert!(page.contains(&house.url), "clients are told where to point");
    assert!(!page.contains("<script"), "no script is needed");
    house.stop().await;
}
