//! The way to the upstream: connections, attempts, failures.
//!
//! Requests go out over a pool of kept HTTP/1.1 connections, plain or TLS. One second attempt is made, and
//! only where the first met a kept connection that had gone stale: reused, with no byte of an answer read.
//! Redirects are handed back as they are, never followed; interim answers (1xx) are skipped, 101 is a failure. Answers are
//! read strictly: one whose end could be told in two ways is a failure (`incoming`).
//! What to send and what a failure means for the caller is decided by the pipeline; nothing here reads a body.
//!
//! Limits: 1024 idle connections, 60 s idle each; an answer's head 256 KiB and 100 headers.

mod allowance;
mod body;
mod breaker;
mod connect;
mod failure;
mod fault;
mod headroom;
mod incoming;
mod line;
mod outgoing;
mod path;
#[cfg(test)]
pub(crate) mod played;
mod timed;

use std::fmt;
use std::future::poll_fn;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri, Version};
use tokio::time::Instant;

pub use allowance::Allowance;
pub use body::{BodyProblem, Gathered, Lasting, Pieces, RequestBody};
pub use breaker::{Breaker, Change, Health, Open};
pub use connect::tls;
pub use failure::{FailureKind, Phase, UpstreamFailure};
pub use headroom::{Headroom, Left};
pub use outgoing::{Outgoing, Unsent};
pub use path::{Route, route};
pub use timed::TimedBody;

use body::Movement;
use connect::Connector;
use fault::Fault;
use incoming::Remaining;
use line::{Line, Pool};

/// One upstream and its pool of connections; cheap to share behind an `Arc`.
pub struct Upstream {
    connector: Connector,
    pool: Arc<Pool>,
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
    prefix: String,
    first_byte_timeout: Duration,
    idle_timeout: Duration,
    breaker: Breaker,
}

/// An answer whose head has come and whose body is still to be read.
#[derive(Debug)]
pub struct Answer {
    /// Head and body as they came; the body ends with an error where the upstream falls silent or is cut.
    pub response: Response<TimedBody>,
    /// Attempts made, 1 or 2.
    pub attempts: u8,
}

/// Why an upstream cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamProblem {
    /// `base_url` lacks a part, or its scheme is neither http nor https.
    #[error("base_url must be http:// or https:// with a host, and a path at most: {0}")]
    BaseUrl(Uri),
    /// The file of extra roots cannot be read or holds something else.
    #[error("cannot read certificates from {path}: {reason}")]
    Ca {
        /// As configured.
        path: PathBuf,
        /// What reading it said.
        reason: String,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

impl Upstream {
    /// Builds the pool; opens no connection yet.
    ///
    /// # Errors
    /// When `base_url` has no host or an unknown scheme, or the `ca` file holds no certificates.
    pub fn new(config: &crate::config::Upstream) -> Result<Self, UpstreamProblem> {
        let parts = config.base_url.clone().into_parts();
        let known = |scheme: &Scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS;
        let (Some(scheme), Some(authority), None) =
            (parts.scheme.filter(known), parts.authority, config.base_url.query())
        else {
            return Err(UpstreamProblem::BaseUrl(config.base_url.clone()));
        };
        let host = HeaderValue::from_str(authority.as_str())
            .map_err(|_| UpstreamProblem::BaseUrl(config.base_url.clone()))?;
        Ok(Self {
            connector: Connector::new(config.ca.as_deref(), config.connect_timeout)?,
            pool: Arc::default(),
            scheme,
            authority,
            host,
            prefix: config.base_url.path().trim_end_matches('/').to_owned(),
            first_byte_timeout: config.first_byte_timeout,
            idle_timeout: config.idle_timeout,
            breaker: Breaker::default(),
        })
    }

    /// Returns what is known of its health.
    #[must_use]
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Sends a request and waits for the head of the answer.
    ///
    /// Of the request's target only path and query count. `host` and the headers that frame the body are
    /// set here, whatever the caller put there; all others go out as given. Dropping the future gives the
    /// attempt up and closes its connection.
    ///
    /// # Errors
    /// When no usable head came; the failure says how far the attempt got and how many were made.
    pub async fn send(&self, mut request: Request<RequestBody>) -> Result<Answer, UpstreamFailure> {
        request.body_mut().begin().await.map_err(|problem| {
            UpstreamFailure::new(Phase::Write, FailureKind::Request, problem.to_string())
        })?;
        let request = self.addressed(request)?;
        let spare = replay(&request);
        match (self.attempt(request, 1).await, spare) {
            (Ok(answer), _) => Ok(answer),
            (Err((_, true)), Some(request)) => {
                // Boxed, like the opening of a connection: what is rare would make every request's future larger.
                Box::pin(self.attempt(request, 2)).await.map_err(|(failure, _stale)| failure)
            }
            (Err((failure, _stale)), _) => Err(failure),
        }
    }

    /// One attempt; the flag beside a failure says that a second one is safe.
    async fn attempt(
        &self,
        request: Request<RequestBody>,
        attempts: u8,
    ) -> Result<Answer, (UpstreamFailure, bool)> {
        let counted = |failure: UpstreamFailure| UpstreamFailure { attempts, ..failure };
        let movement = request.body().movement();
        let mut line = self.line().await.map_err(|failure| (counted(failure), false))?;
        line.send(request);
        let (head, remaining) = match self.head(&mut line, &movement).await {
            None => return Err((counted(UpstreamFailure::late(self.first_byte_timeout)), false)),
            Some(Err(fault)) => {
                let (failure, stale) = UpstreamFailure::sorted(&fault, &line, self.authority.as_str());
                return Err((counted(failure), stale));
            }
            Some(Ok(arrived)) => arrived,
        };
        let response = head.map(|()| TimedBody::new(remaining, line, &self.pool, self.idle_timeout));
        Ok(Answer { response, attempts })
    }

    /// A kept connection, or a new one.
    async fn line(&self) -> Result<Line, UpstreamFailure> {
        match self.pool.take() {
            Some(line) => Ok(line),
            None => Box::pin(self.open()).await,
        }
    }

    async fn open(&self) -> Result<Line, UpstreamFailure> {
        let target = Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone());
        let target = target.path_and_query("/").build().map_err(|_| {
            UpstreamFailure::new(Phase::Connect, FailureKind::Request, "upstream.base_url is no address")
        })?;
        let unconnected = |error: BodyProblem| UpstreamFailure::unconnected(&*error, self.authority.as_str());
        let stream = self.connector.connect(target).await.map_err(unconnected)?;
        Ok(Line::over(stream))
    }

    /// Waits for the head; `None` once the first-byte timeout has passed since the request last moved.
    async fn head(
        &self,
        line: &mut Line,
        movement: &Movement,
    ) -> Option<Result<(Response<()>, Remaining), Fault>> {
        let mut since = Instant::now();
        loop {
            let deadline = since + self.first_byte_timeout;
            let head = poll_fn(|context| line.poll_head(context));
            if let Ok(head) = tokio::time::timeout_at(deadline, head).await {
                return Some(head);
            }
            let moved = movement.since(since);
            if moved == since {
                return None;
            }
            since = moved;
        }
    }

    /// Points a request at this upstream and leaves the framing of its body to the body itself.
    fn addressed(&self, request: Request<RequestBody>) -> Result<Request<RequestBody>, UpstreamFailure> {
        let (mut head, body) = request.into_parts();
        let asked = head.uri.path_and_query();
        let target = match asked {
            Some(asked) if self.prefix.is_empty() => Some(asked.clone()),
            asked => {
                let asked = asked.map_or("/", PathAndQuery::as_str);
                PathAndQuery::try_from(format!("{}{asked}", self.prefix)).ok()
            }
        };
        let uri = target.map(Uri::from);
        let Some(uri) = uri else {
            return Err(UpstreamFailure::new(
                Phase::Connect,
                FailureKind::Request,
                "the request's target is not a path",
            ));
        };
        head.uri = uri;
        head.version = Version::HTTP_11;
        for framing in [CONTENT_LENGTH, TRANSFER_ENCODING] {
            head.headers.remove(framing);
        }
        head.headers.insert(HOST, self.host.clone());
        Ok(Request::from_parts(head, body))
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Upstream({}://{}{})", self.scheme, self.authority, self.prefix)
    }
}

/// Copies a request whose body can be sent again.
fn replay(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    let mut copy = Request::new(request.body().replay()?);
    request.method().clone_into(copy.method_mut());
    request.uri().clone_into(copy.uri_mut());
    request.headers().clone_into(copy.headers_mut());
    Some(copy)
}

#[cfg(test)]
mod tests;
