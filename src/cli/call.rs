//! HTTP calls of the command line: a question to the admin listener, the demo's own traffic.
//!
//! HTTP/1.1, plain or over TLS. Answers are read whole, 8 MiB at most, and a call takes [`CALL_TIMEOUT`] at most unless
//! its caller says less.

use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;

/// Makes calls; cheap to clone, keeps connections.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    Plain(Client<HttpConnector, Full<Bytes>>),
    Tls(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Caller {
    /// Returns a caller of addresses that begin with `http:`.
    pub(super) fn plain() -> Self {
        Self::Plain(Client::builder(TokioExecutor::new()).build_http())
    }

    /// Returns a caller of addresses that begin with `https:`, which speaks TLS so.
    pub(super) fn over_tls(tls: ClientConfig) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        Self::Tls(Client::builder(TokioExecutor::new()).build(HttpsConnector::from((http, tls))))
    }

    /// Sends a request and reads its answer to the end; the error says what went wrong.
    pub(super) async fn call(
        &self,
        request: Request<Full<Bytes>>,
        timeout: Duration,
    ) -> Result<Answer, String> {
        let answered = async {
            let answered = match self {
                Self::Plain(client) => client.request(request).await,
                Self::Tls(client) => client.request(request).await,
            };
            let (head, body) = answered.map_err(|error| because(&error))?.into_parts();
            let body =
                Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| error.to_string())?;
            Ok(Answer { status: head.status, body: body.to_bytes() })
        };
        let late = |_| format!("no answer within {} s", timeout.as_secs());
        tokio::time::timeout(timeout, answered).await.map_err(late)?
    }
}

/// The innermost cause, which names what the system said.
fn because(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

const ANSWER_BYTES_MAX: usize = 8 << 20;

/// Longer than any answer of the demo takes.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(60);
