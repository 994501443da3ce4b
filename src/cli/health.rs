//! `tercet health`: does a gateway answer, and is it ready; for probes and scripts.
//!
//! Asks `/readyz` of the admin listener, three seconds at most. Exit code 0 if it is ready, 6 in every other
//! case.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use serde_json::{Value, json};

use super::call::{Answer, Caller};
use super::configured;
use super::ending::{Ending, Exit, Failure, plain, print, print_json};

/// Asks a running gateway whether it is ready; exit code 6 if not.
#[derive(Args, Debug)]
pub(super) struct Health {
    /// The admin listener; by default the one the configuration names.
    #[arg(long, conflicts_with = "config")]
    url: Option<String>,
    /// The configuration file; ./tercet.toml, or the defaults where there is none.
    #[arg(long, value_name = "F")]
    config: Option<PathBuf>,
    /// Print {"ready", "url", "status", "reason"}.
    #[arg(long)]
    json: bool,
}

pub(super) async fn health(asked: &Health) -> Ending {
    let base = match &asked.url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => {
            let listen = configured::load(asked.config.as_deref())?.config.admin.listen;
            format!("http://{}", reachable(listen))
        }
    };
    let url = format!("{}/readyz", base.trim_end_matches("/readyz"));
    let uri = url.parse::<Uri>().ok().filter(|uri| uri.scheme_str() == Some("http") && uri.host().is_some());
    let uri = uri.ok_or_else(|| {
        Failure::usage(format_args!(
            "`{base}` is not the address of an admin listener, such as http://127.0.0.1:8788"
        ))
    })?;
    let request = Request::get(uri).body(Full::default()).map_err(Failure::usage)?;
    let (status, reason) = match Caller::new().call(request, TIMEOUT).await {
        Ok(answer) if answer.status == StatusCode::OK => (Some(200), None),
        Ok(answer) => (Some(answer.status.as_u16()), Some(reason_of(&answer))),
        Err(reason) => (None, Some(reason)),
    };
    if asked.json {
        print_json(&json!({"ready": reason.is_none(), "url": url, "status": status, "reason": reason}))?;
        return Ok(if reason.is_none() { Exit::Ok } else { Exit::Unreachable });
    }
    match (reason, status) {
        (None, _) => print("ready").map(|()| Exit::Ok),
        (Some(reason), Some(status)) => Err(unreachable(format!("{base} is not ready ({status}): {reason}"))),
        (Some(reason), None) => Err(unreachable(format!("{base} does not answer: {reason}"))),
    }
}

fn unreachable(text: String) -> Failure {
    Failure { exit: Exit::Unreachable, text }
}

fn reason_of(answer: &Answer) -> String {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let message = body.pointer("/error/message").and_then(Value::as_str);
    plain(message.unwrap_or_else(|| answer.status.canonical_reason().unwrap_or("no reason given")))
}

/// Returns an address to call for one to listen on: "every address" is called over loopback.
pub(super) fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

const TIMEOUT: Duration = Duration::from_secs(3);
