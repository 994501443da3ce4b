//! `tercet demo`: a whole gateway to look at, without a key and without a network.
//!
//! A simulated upstream, a journal in a temporary folder, three sample tenants with keys made at the start,
//! routing that acts, and a trickle of sample traffic through the gateway's own port. Nothing remains when it
//! ends. `people` are the tenants and their keys, `samples` what they ask, `traffic` when.

mod folder;
mod people;
mod samples;
mod traffic;

#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::ending::{Ending, Failure, print, print_json};
use super::serving::{self, Signals};
use super::simulate;
use super::span;
use crate::config::{self, Config, LogFormat};
use crate::gateway::{Gateway, Origin};
use folder::Folder;
use people::People;

/// Runs a gateway with a simulated upstream, sample tenants and sample traffic; no key, no network.
#[derive(Args, Debug)]
pub(super) struct Demo {
    /// Send no sample traffic.
    #[arg(long)]
    quiet_traffic: bool,
    /// End by itself after so long, such as 10s.
    #[arg(long = "for", value_name = "DURATION", value_parser = span::duration)]
    lasting: Option<Duration>,
    /// Print {"base_url", "admin_url", "key"} on one line instead.
    #[arg(long)]
    json: bool,
}

pub(super) async fn demo(asked: &Demo) -> Ending {
    serving::log(LogFormat::Text, "warn")?;
    let signals = Signals::listen()?;
    let upstream = simulate::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), PACE, FIRST_BYTE).await?;
    let folder = Folder::make()?;
    let people = People::invite()?;
    let gateway = start(upstream.url(), folder.path(), &people).await?;
    let (base_url, admin_url) = (gateway.data_url(), gateway.admin_url());
    if asked.json {
        print_json(&json!({"base_url": base_url, "admin_url": admin_url, "key": people.first_key()}))?;
    } else {
        print(&introduction(&base_url, &admin_url, people.first_key()))?;
    }
    // Dropped when the draining begins, the traffic leaves before the gateway does.
    let (is_quiet, lasting) = (asked.quiet_traffic, asked.lasting);
    let stop = async move {
        tokio::select! {
            () = traffic::trickle(base_url, people), if !is_quiet => {}
            () = tokio::time::sleep(lasting.unwrap_or_default()), if lasting.is_some() => {}
            else => std::future::pending().await,
        }
    };
    let ended = serving::serve(gateway, signals, stop).await;
    upstream.stop().await;
    ended
}

/// Starts the gateway; where another process takes a port between the look and the binding, on others.
async fn start(upstream_url: &str, journal: &Path, people: &People) -> Result<Gateway, Failure> {
    let mut starts = 1;
    loop {
        let config = configuration(upstream_url, journal, people)?;
        match Box::pin(Gateway::start(config, Origin { file: None, mode: None })).await {
            // Not looked at again: who had the port may have looked only, as we do, and be gone.
            Err(problem) if problem.is_taken_port() && starts < STARTS_MAX => starts += 1,
            started => return Ok(started?),
        }
    }
}

fn introduction(base_url: &str, admin_url: &str, key: &str) -> String {
    let body =
        r#"{"model":"claude-opus-5-5","max_tokens":200,"messages":[{"role":"user","content":"Hello"}]}"#;
    format!(
        "A gateway with a simulated upstream and three sample tenants: no key, no network, nothing kept.\n\n\
         export ANTHROPIC_BASE_URL={base_url}\n\
         export ANTHROPIC_AUTH_TOKEN={key}\n\n\
         dashboard  {admin_url}\n\
         try        curl -i {base_url}/v1/messages -H 'authorization: Bearer {key}' \
         -H 'anthropic-version: 2023-06-01' -H 'content-type: application/json' -d '{body}'\n\
         stop       ctrl-c"
    )
}

/// Returns the demo's configuration, checked like any other.
fn configuration(upstream_url: &str, journal: &Path, people: &People) -> Result<Config, Failure> {
    let data = free_port(8787, None)?;
    let admin = free_port(8788, Some(data))?;
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:{data}\"\ndrain_timeout = \"5s\"\n\
         [admin]\nlisten = \"127.0.0.1:{admin}\"\n\
         [upstream]\nbase_url = \"{upstream_url}\"\ncredential = {{ env = \"{CREDENTIAL}\" }}\n\
         [routing]\nmode = \"enforce\"\n\
         [journal]\npath = {}\n{}\n{}",
        serde_json::Value::from(journal.display().to_string()),
        people::TENANTS,
        people.keys_as_toml(),
    );
    // The simulated upstream takes any credential; it is not a secret.
    let environment = |name: &str| (name == CREDENTIAL).then(|| "simulated".to_owned());
    let mut config =
        config::parse(&text, None, &environment).map_err(|problems| Failure::problems(&problems))?;
    config.telemetry.log = LogFormat::Text;
    Ok(config)
}

/// Returns `wanted` or the next free port of loopback after it, other than `taken`.
fn free_port(wanted: u16, taken: Option<u16>) -> Result<u16, Failure> {
    let is_free =
        |port: &u16| Some(*port) != taken && TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let last = wanted.saturating_add(PORTS_TRIED);
    (wanted..last).find(is_free).ok_or_else(|| {
        Failure::run(format_args!("ports {wanted} to {last} of this machine are all taken; free one of them"))
    })
}

const CREDENTIAL: &str = "TERCET_DEMO_CREDENTIAL";
const PORTS_TRIED: u16 = 200;
const STARTS_MAX: u32 = 10;

/// Slow enough for streams to look alive.
const PACE: Duration = Duration::from_millis(20);
const FIRST_BYTE: Duration = Duration::from_millis(250);
