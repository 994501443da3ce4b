//! Asking a running gateway's admin API, for verbs that change it or read what only it knows.
//!
//! The address is that of `--url`, or of the configuration's `[admin] listen`. The token is the configuration's, or
//! with `--url` the environment variable `TERCET_ADMIN_TOKEN`; it is never an argument.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use http::{Method, Request, header};
use http_body_util::Full;
use serde_json::Value;

use super::call::{CALL_TIMEOUT, Caller};
use super::configured;
use super::ending::{Exit, Failure, plain};
use super::health::reachable;
use crate::config;
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
        let (base, token) = self.address()?;
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
        let answer = Caller::new().call(request, patience).await.map_err(|reason| Failure {
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

    fn address(&self) -> Result<(String, Option<Secret>), Failure> {
        if let Some(url) = &self.url {
            let token = config::environment("TERCET_ADMIN_TOKEN").map(Secret::new);
            return Ok((url.trim_end_matches('/').to_owned(), token));
        }
        let admin = configured::load(self.config.as_deref())?.config.admin;
        Ok((format!("http://{}", reachable(admin.listen)), admin.token))
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
