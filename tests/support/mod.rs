//! A gateway before the simulated upstream, in this process, on ports of its own.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

pub mod clickhouse;
pub mod frames;
pub mod http;
pub mod port;
pub mod process;
pub mod prometheus;
pub mod raw;
pub mod read;
pub mod redis;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tercet::clock::Clock;
use tercet::config;
use tercet::gateway::{Ended, Gateway, Origin};
use tercet::pipeline::Tercet;
use tercet::simulated::{Options, Upstream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The credential the gateway presents upstream where it uses its own.
pub const UPSTREAM_KEY: &str = "sk-ant-upstream-0123456789";
/// The credential it presents at a fallback.
pub const SPARE_KEY: &str = "sk-ant-spare-0123456789";
/// The key of tenant `acme`, user `ann`.
pub const ACME: &str = "tct-acme-key";
/// The key of tenant `rival`, user `rob`.
pub const RIVAL: &str = "tct-rival-key";

/// Two tenants, our own credential, routing in force.
pub const TENANTS: &str = r#"
[routing]
mode = "enforce"

[[tenants.acme.keys]]
id = "acme-1"
user = "ann"
secret = { env = "ACME_KEY" }

[[tenants.rival.keys]]
id = "rival-1"
user = "rob"
secret = { env = "RIVAL_KEY" }
"#;

/// A running gateway and its upstream.
pub struct House {
    pub upstream: Upstream,
    pub url: String,
    pub admin_url: String,
    pub tercet: Arc<Tercet>,
    pub folder: TempDir,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<Ended>>,
}

impl House {
    /// Starts both; `text` is added to a configuration with free ports, a journal of its own and our credential.
    pub async fn start(text: &str) -> Self {
        Self::start_with(text, Options::default()).await
    }

    /// Starts both, the upstream with options.
    pub async fn start_with(text: &str, options: Options) -> Self {
        let upstream = Upstream::start(options).await.unwrap();
        let folder = TempDir::new().unwrap();
        Self::start_before(upstream, folder, text).await
    }

    /// Starts a gateway before a running upstream, with a journal in `folder`.
    pub async fn start_before(upstream: Upstream, folder: TempDir, text: &str) -> Self {
        Self::start_by(Clock::default(), upstream, folder, text).await
    }

    /// Likewise, by another clock.
    pub async fn start_by(clock: Clock, upstream: Upstream, folder: TempDir, text: &str) -> Self {
        let file = folder.path().join("tercet.toml");
        std::fs::write(&file, configuration(upstream.url(), folder.path(), text)).unwrap();
        let config = config::parse(&std::fs::read_to_string(&file).unwrap(), Some(&file), &environment)
            .unwrap_or_else(|problems| {
                panic!("{}", problems.iter().map(ToString::to_string).collect::<String>())
            });
        let gateway =
            Gateway::start_by(clock, config, Origin { file: Some(file), mode: None }).await.unwrap();
        let (url, admin_url, tercet) = (gateway.data_url(), gateway.admin_url(), gateway.tercet());
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(gateway.serve_until(async move { drop(stopped.await) }));
        Self { upstream, url, admin_url, tercet, folder, stop: Some(stop), serving: Some(serving) }
    }

    /// Ends the gateway as SIGTERM does, and returns the upstream and the journal's folder.
    pub async fn stop(mut self) -> (Upstream, TempDir) {
        drop(self.stop.take());
        let ended = self.serving.take().unwrap().await.unwrap();
        assert!(ended.journal_whole, "the journal did not reach the disk");
        (self.upstream, self.folder)
    }

    /// Tells the gateway to end, without waiting.
    pub fn tell_to_stop(&mut self) {
        drop(self.stop.take());
    }

    /// Returns every record of an exchange in the journal, in order.
    pub fn records(&self) -> Vec<Value> {
        records(self.folder.path())
    }

    /// Waits until the journal holds `count` exchanges.
    pub async fn records_when(&self, count: usize) -> Vec<Value> {
        for _ in 0..500 {
            let records = self.records();
            if records.len() >= count {
                return records;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the journal holds {} exchanges, not {count}", self.records().len());
    }
}

/// Waits until a gateway is connected with the Redis that answers are shared through.
pub async fn connected(house: House) -> House {
    let link = house.tercet.runtime.answers.clone().unwrap();
    read::until("redis is connected", || link.is_up()).await;
    house
}

/// Starts a gateway before the upstream of another one; it has an upstream of its own that nothing reaches.
pub async fn beside(one: &House, text: &str) -> House {
    let url = one.upstream.url();
    let upstream = format!("[upstream]\nbase_url = \"{url}\"\ncredential = {{ env = \"UPSTREAM_KEY\" }}\n");
    House::start(&format!("{text}{upstream}")).await
}

/// Returns the exchanges of the journal below `folder`.
pub fn records(folder: &Path) -> Vec<Value> {
    exchanges_in(&folder.join("data"))
}

/// Returns the exchanges of a journal.
pub fn exchanges_in(journal: &Path) -> Vec<Value> {
    let mut all = Vec::new();
    each_exchange(journal, |record| all.push(record));
    all
}

/// Goes through the exchanges of a journal, however many, in order.
pub fn each_exchange(journal: &Path, mut take: impl FnMut(Value)) {
    let mut files: Vec<_> = std::fs::read_dir(journal.join("exchanges"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    files.sort();
    let mut rest = String::new();
    for file in files {
        // The last line may be half written while the gateway runs.
        let text = rest + &std::fs::read_to_string(file).unwrap();
        let end = text.rfind('\n').map_or(0, |end| end + 1);
        for line in text[..end].lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            if record["kind"] == "exchange" {
                take(record);
            }
        }
        rest = text[end..].to_owned();
    }
}

/// Returns a whole configuration file.
pub fn configuration(upstream: &str, folder: &Path, text: &str) -> String {
    let own = |section: &str| if text.contains(section) { "" } else { section }.to_owned();
    let mut file = String::new();
    if !own("[server]").is_empty() {
        file += "[server]\nlisten = \"127.0.0.1:0\"\n";
    }
    if !own("[admin]").is_empty() {
        file += "[admin]\nlisten = \"127.0.0.1:0\"\n";
    }
    if !own("[upstream]").is_empty() {
        file +=
            &format!("[upstream]\nbase_url = \"{upstream}\"\ncredential = {{ env = \"UPSTREAM_KEY\" }}\n");
    }
    file += &format!("[journal]\npath = \"{}\"\n", folder.join("data").display());
    file + &text.replace("$UPSTREAM", upstream)
}

/// The environment that test configurations see.
pub fn environment(name: &str) -> Option<String> {
    match name {
        "UPSTREAM_KEY" => Some(UPSTREAM_KEY.to_owned()),
        "SPARE_KEY" => Some(SPARE_KEY.to_owned()),
        "ACME_KEY" => Some(ACME.to_owned()),
        "RIVAL_KEY" => Some(RIVAL.to_owned()),
        "REDACTION_KEY" => Some("redaction-key-of-the-tests".to_owned()),
        "ADMIN_TOKEN" => Some("admin-token-of-the-tests".to_owned()),
        _ => None,
    }
}
