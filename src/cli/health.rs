//! `tercet health`: does a gateway answer, and is it ready; for probes and scripts.
//!
//! Asks `/readyz` of the admin listener, three seconds at most. Exit code 0 if it is ready, 6 in every other
//! case.

use std::time::Duration;

use clap::Args;
use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use serde_json::{Value, json};

use super::call::Answer;
use super::ending::{Ending, Exit, Failure, plain, print, print_json};
use super::operator::{Address, Gateway};

/// Asks a running gateway whether it is ready; exit code 6 if not.
#[derive(Args, Debug)]
pub(super) struct Health {
    #[command(flatten)]
    gateway: Gateway,
    /// Print {"ready", "url", "status", "reason"}.
    #[arg(long)]
    json: bool,
}

pub(super) async fn health(asked: &Health) -> Ending {
    let Address { base, caller, .. } = asked.gateway.address()?;
    let url = format!("{}/readyz", base.trim_end_matches("/readyz"));
    let is_http = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
    let uri = url.parse::<Uri>().ok().filter(is_http);
    let uri = uri.ok_or_else(|| {
        Failure::usage(format_args!(
            "`{base}` is not the address of an admin listener, such as http://127.0.0.1:8788"
        ))
    })?;
    let request = Request::get(uri).body(Full::default()).map_err(Failure::usage)?;
    let (status, reason) = match caller.call(request, TIMEOUT).await {
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

const TIMEOUT: Duration = Duration::from_secs(3);
