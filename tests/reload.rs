//! Reload: the new configuration is in force whole, or the old one stays; what was used stays used.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use std::path::PathBuf;

use http::Method;
use support::http::{Answer, ask, get, message, send};
use support::process::Process;
use support::read::metric;
use support::{ACME, House, RIVAL, configuration};
use tempfile::TempDir;
use tercet::simulated::{Options, Upstream};

/// A gateway whose file can be changed, with secrets that stay readable; the environment is the test's own.
struct Changing {
    house: House,
    file: PathBuf,
    _secrets: TempDir,
    head: String,
}

fn key(tenant: &str, key: &str) -> String {
    let hash = blake3::hash(key.as_bytes()).to_hex();
    format!("[[tenants.{tenant}.keys]]\nid = \"{tenant}-1\"\nuser = \"{tenant}\"\nhash = \"blake3:{hash}\"\n")
}

impl Changing {
    async fn start(text: &str) -> Self {
        let secrets = TempDir::new().unwrap();
        let secret = secrets.path().join("upstream");
        std::fs::write(&secret, support::UPSTREAM_KEY).unwrap();
        let head = format!(
            "[upstream]\nbase_url = \"$UPSTREAM\"\ncredential = {{ file = \"{}\" }}\n",
            secret.display()
        );
        let house = House::start(&format!("{head}{text}")).await;
        let file = house.folder.path().join("tercet.toml");
        Self { house, file, _secrets: secrets, head }
    }

    fn write(&self, text: &str) {
        let text = format!("{}{text}", self.head);
        let whole = configuration(self.house.upstream.url(), self.house.folder.path(), &text);
        std::fs::write(&self.file, whole).unwrap();
    }

    async fn reload(&self) -> Answer {
        let headers = [("content-type", "application/json")];
        send(Method::POST, &format!("{}/admin/v1/reload", self.house.admin_url), &headers, "").await
    }

    async fn successful(&self) -> i64 {
        let text = get(&self.house.admin_url, "", "/metrics").await.body;
        metric(std::str::from_utf8(&text).unwrap(), "tercet_config_last_reload_successful", "")
            / 1_000_000_000
    }

    async fn status(&self, key: &str) -> u16 {
        message(&self.house.url, key, ask("claude-opus-5-5", "say hi")).await.status
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_works_and_a_removed_one_does_not() {
    let gateway = Changing::start(&key("acme", ACME)).await;
    assert_eq!((gateway.status(ACME).await, gateway.status(RIVAL).await), (200, 401));
    gateway.write(&key("rival", RIVAL));
    let answer = gateway.reload().await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    assert_eq!((gateway.status(ACME).await, gateway.status(RIVAL).await), (401, 200));
    let config = get(&gateway.house.admin_url, "", "/admin/v1/config").await.json();
    assert!(config["tenants"]["rival"].is_object(), "{config}");
    let policy = answer.json()["policy_version"].as_str().unwrap().to_owned();
    assert_eq!(gateway.house.records().last().unwrap()["decision"]["policy_version"], policy);
    gateway.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_is_noticed_without_being_told() {
    let gateway = Changing::start(&key("acme", ACME)).await;
    gateway.write(&(key("acme", ACME) + &key("rival", RIVAL)));
    let mut status = 401;
    for _ in 0..600 {
        status = gateway.status(RIVAL).await;
        if status == 200 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(status, 200, "not within twelve seconds");
    gateway.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_changes_nothing_but_the_metric() {
    let gateway = Changing::start(&key("acme", ACME)).await;
    assert_eq!(gateway.successful().await, 1);
    for bad in ["[tenants.acme.limitz]\n", "[[[", "[routing]\nquality = 7\n", "[tiers]\nopus = 3\n"] {
        gateway.write(&format!("{bad}{}", key("rival", RIVAL)));
        let answer = gateway.reload().await;
        assert_eq!(answer.status, 400, "{bad}");
        assert!(!answer.json()["error"]["problems"].as_array().unwrap().is_empty());
        assert_eq!(gateway.successful().await, 0, "{bad}");
        assert_eq!((gateway.status(ACME).await, gateway.status(RIVAL).await), (200, 401), "{bad}");
    }
    gateway.write(&key("acme", ACME));
    assert_eq!(gateway.reload().await.status, 200);
    assert_eq!(gateway.successful().await, 1);
    gateway.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_ceiling_keeps_what_was_used() {
    let gateway = Changing::start(&key("acme", ACME)).await;
    for _ in 0..5 {
        assert_eq!(gateway.status(ACME).await, 200);
    }
    let spent: i64 = support::read::sum(&gateway.house.records(), "cost_nanousd");
    let with = |section: &str| format!("{section}{}", key("acme", ACME));
    let less = tercet::money::NanoUsd(spent - 1).to_string();
    gateway.write(&with(&format!("[tenants.acme.budget]\ndaily = \"{less} USD\"\n")));
    assert_eq!(gateway.reload().await.status, 200);
    let refused = message(&gateway.house.url, ACME, ask("claude-opus-5-5", "say hi")).await;
    assert_eq!(refused.json()["error"]["type"], "billing_error", "what came before the ceiling counts");
    gateway.write(&with(
        "[tenants.acme.budget]\ndaily = \"1.00 USD\"\n[tenants.acme.limits]\nrequests_per_minute = 3\n",
    ));
    assert_eq!(gateway.reload().await.status, 200);
    for expected in [200, 200, 200, 429] {
        assert_eq!(gateway.status(ACME).await, expected);
    }
    gateway.write(&with("[tenants.acme.limits]\nrequests_per_minute = 5\n"));
    assert_eq!(gateway.reload().await.status, 200);
    let mut passed = 0;
    for _ in 0..5 {
        passed += usize::from(gateway.status(ACME).await == 200);
    }
    assert!(passed < 5, "the bucket was not filled by changing it: {passed}");
    gateway.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mode_switches_between_two_requests() {
    let with = |mode: &str| format!("[routing]\nmode = \"{mode}\"\n{}", key("acme", ACME));
    let gateway = Changing::start(&with("shadow")).await;
    let title = serde_json::json!({ "model": "claude-opus-5-5", "max_tokens": 32,
        "system": "Summarize this conversation in a title of at most six words. Answer with the title only.",
        "messages": [{ "role": "user", "content": "Write a title for a conversation about: sorting" }] });
    let tier = async |mode: &str| {
        gateway.write(&with(mode));
        assert_eq!(gateway.reload().await.status, 200);
        let answer = message(&gateway.house.url, ACME, title.to_string()).await;
        assert_eq!(answer.status, 200);
        answer.header("x-tercet-tier").to_owned()
    };
    assert_eq!(tier("shadow").await, "opus");
    assert_eq!(tier("enforce").await, "haiku");
    assert_eq!(tier("off").await, "opus");
    let records = gateway.house.records();
    let modes: Vec<&str> = records.iter().map(|record| record["mode"].as_str().unwrap()).collect();
    assert_eq!(modes, ["shadow", "enforce", "off"]);
    gateway.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_reloads_the_real_process() {
    let (upstream, folder) = (Upstream::start(Options::default()).await.unwrap(), TempDir::new().unwrap());
    let file = folder.path().join("tercet.toml");
    let write =
        |text: &str| std::fs::write(&file, configuration(upstream.url(), folder.path(), text)).unwrap();
    write(&key("acme", ACME));
    let process = Process::start(&file).await;
    write(&(key("acme", ACME) + &key("rival", RIVAL)));
    process.signal("HUP");
    let mut status = 401;
    for _ in 0..600 {
        status = message(&process.url, RIVAL, ask("claude-haiku-5-5", "say hi")).await.status;
        if status == 200 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(status, 200);
    process.signal("TERM");
    assert_eq!(process.ended().await.code(), Some(0));
}
