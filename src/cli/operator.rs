//! Asking a running gateway's admin API, for verbs that change it or read what only it knows.
//!
//! The address is that of `--url`, or of the configuration's `[admin] listen`. The token is the configuration's, or
//! with `--url` the environment variable `TERCET_ADMIN_TOKEN`; it is never an argument.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use http::{Method, Request, header};
use http_body_util::Full;
use serde_json::Value;

use super::call::{CALL_TIMEOUT, Caller};
use super::configured;
use super::ending::{Exit, Failure, plain};
use super::trust::Trust;
use crate::config;
use crate::gateway::reachable;
use crate::secret::Secret;

/// Which gateway to ask.
#[derive(Args, Clone, Debug)]
pub(super) struct Gateway {
    /// The admin listener of a running gateway; the token is taken from `TERCET_ADMIN_TOKEN`.
    #[arg(long, value_name = "URL", conflicts_with = "config")]
    pub(super) url: Option<String>,
    /// The configuration file; ./tercet.toml, or the defaults where there is none.
    #[arg(long, value_name = "F")]
    pub(super) config: Option<PathBuf>,
    #[command(flatten)]
    trust: Trust,
}

/// A gateway's admin listener, and how it is called.
pub(super) struct Address {
    /// Its URL, without a slash at the end.
    pub(super) base: String,
    /// What it is shown.
    pub(super) token: Option<Secret>,
    /// Makes the calls.
    pub(super) caller: Caller,
}

impl Gateway {
    /// Makes one call and returns its answer; a refusal is told in the gateway's own words.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        self.ask_within(method, path, body, CALL_TIMEOUT).await
    }

    /// The same, waiting no longer than said.
    pub(super) async fn ask_within(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        patience: Duration,
    ) -> Result<Value, Failure> {
        let Address { base, token, caller } = self.address()?;
        let mut request = Request::builder().method(method).uri(format!("{base}{path}"));
        request = request.header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.expose()));
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = request.body(Full::from(body)).map_err(|_| {
            Failure::usage(format_args!(
                "`{base}` is not the address of an admin listener, such as http://127.0.0.1:8788"
            ))
        })?;
        let answer = caller.call(request, patience).await.map_err(|reason| Failure {
            exit: Exit::Unreachable,
            text: format!(
                "{base} does not answer: {reason}; is the gateway running, and is this its admin listener?"
            ),
        })?;
        let told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if answer.status.is_success() {
            return Ok(told);
        }
        let message = told.pointer("/error/message").and_then(Value::as_str).unwrap_or("no reason given");
        Err(Failure::run(format_args!("{base} refused ({}): {}", answer.status.as_u16(), plain(message))))
    }

    /// Returns where the gateway is, and how to call it.
    pub(super) fn address(&self) -> Result<Address, Failure> {
        if let Some(url) = &self.url {
            let token = config::environment("TERCET_ADMIN_TOKEN").map(Secret::new);
            let base = url.trim_end_matches('/').to_owned();
            let caller = self.caller(base.starts_with("https:"), None)?;
            return Ok(Address { base, token, caller });
        }
        let admin = configured::load(self.config.as_deref())?.config.admin;
        let caller = self.caller(admin.tls.is_some(), admin.tls.as_ref().map(|tls| tls.cert.as_path()))?;
        let scheme = if admin.tls.is_some() { "https" } else { "http" };
        Ok(Address { base: format!("{scheme}://{}", reachable(admin.listen)), token: admin.token, caller })
    }

    fn caller(&self, tls: bool, shown: Option<&Path>) -> Result<Caller, Failure> {
        if !tls {
            return Ok(Caller::plain());
        }
        self.trust.client(shown).map(Caller::over_tls).map_err(Failure::usage)
    }
}

/// Writes a name as one part of a path or a query.
pub(super) fn in_url(name: &str) -> String {
    let write = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    name.bytes().map(write).collect()
}
