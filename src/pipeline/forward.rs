//! Step forward: the request goes upstream with the decided model and the right credential.
//!
//! A client that leaves while its request is on the way does not stop it: the upstream may be at work already.
//! The crossing then goes on by itself, and what comes back is read and settled as after any disconnect.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderMap, HeaderValue, Request, Response, header};

use super::exchange::Exchange;
use super::keeping::Keeping;
use super::opening::Opening;
use super::relay::{Prelude, Reply};
use super::{fall_back, finish, headroom, relay};
use crate::config::Credential;
use crate::telemetry::AttemptResult;
use crate::upstream::{Answer, FailureKind, Phase, RequestBody, TimedBody, UpstreamFailure};
use crate::wire::error::Refusal;
use crate::wire::headers;

/// An answer on its way to the client.
pub(super) struct Forwarded {
    /// The exchange it belongs to.
    pub(super) exchange: Box<Exchange>,
    /// The upstream's answer, its body still to come.
    pub(super) response: Response<TimedBody>,
    /// What will be kept of it.
    pub(super) keeping: Option<Box<Keeping>>,
    /// What was read of its body already.
    pub(super) prelude: Prelude,
    /// The upstream said in it, before any content, that it failed.
    pub(super) failed: bool,
}

/// An exchange to which the upstream gave no answer.
pub(super) struct Unanswered {
    /// The exchange.
    pub(super) exchange: Box<Exchange>,
    /// What went wrong.
    pub(super) failure: UpstreamFailure,
    /// What would have been kept of its answer.
    pub(super) keeping: Option<Box<Keeping>>,
}

/// A request on its way up; ends with the head of the answer.
struct Crossing(Option<Underway>);

struct Underway {
    sending: Pin<Box<dyn Future<Output = Result<Answer, UpstreamFailure>> + Send>>,
    exchange: Box<Exchange>,
    keeping: Option<Box<Keeping>>,
}

/// Sends a request up, and again where the upstream could not answer and that is wanted; where no answer comes, the refusal is the answer.
pub(super) async fn cross(
    mut exchange: Box<Exchange>,
    body: RequestBody,
    keeping: Option<Box<Keeping>>,
) -> Result<Forwarded, Response<Reply>> {
    let spare = fall_back::spare(&exchange, &body);
    if let Err(refusal) = fall_back::first(&mut exchange, spare.is_some()) {
        return Err(finish::refuse(exchange, &refusal).await);
    }
    let mut came = match forward(exchange, body, keeping) {
        Err((exchange, refusal)) => return Err(finish::refuse(exchange, &refusal).await),
        Ok(crossing) => crossing.await,
    };
    if let Some(spare) = spare {
        // Boxed: only some gateways may send again, and every request's future would be larger for them.
        came = Box::pin(elsewhere(came, spare)).await;
    }
    match came {
        Ok(forwarded) => Ok(forwarded),
        Err(unanswered) => Err(finish::unanswered(unanswered).await),
    }
}

/// Tries one fallback after the other until one answers, or the same upstream once more; the last one's word stands.
async fn elsewhere(
    mut came: Result<Forwarded, Unanswered>,
    body: RequestBody,
) -> Result<Forwarded, Unanswered> {
    let mut again = true;
    loop {
        if let Ok(forwarded) = came {
            came = Ok(Opening::read(forwarded).await);
        }
        let Some(via) = fall_back::next(&came, &mut again) else { return came };
        let Some(body) = body.replay() else { return came };
        let (mut exchange, keeping) = match came {
            Ok(Forwarded { exchange, keeping, .. }) | Err(Unanswered { exchange, keeping, .. }) => {
                (exchange, keeping)
            }
        };
        exchange.via = via;
        came = send(exchange, body, keeping).await;
    }
}

/// Sends a request once more.
pub(super) async fn send(
    exchange: Box<Exchange>,
    body: RequestBody,
    keeping: Option<Box<Keeping>>,
) -> Result<Forwarded, Unanswered> {
    match forward(exchange, body, keeping) {
        Ok(crossing) => crossing.await,
        Err((exchange, refusal)) => {
            let failure = UpstreamFailure {
                phase: Phase::Connect,
                kind: FailureKind::Request,
                retryable: false,
                message: refusal.message,
                attempts: 0,
            };
            Err(Unanswered { exchange, failure, keeping: None })
        }
    }
}

/// Sends a request; an upstream's own error is an answer like any other.
fn forward(
    mut exchange: Box<Exchange>,
    body: RequestBody,
    keeping: Option<Box<Keeping>>,
) -> Result<Crossing, (Box<Exchange>, Refusal)> {
    let headers = match outgoing(&exchange) {
        Ok(headers) => headers,
        Err(refusal) => return Err((exchange, refusal)),
    };
    let mut request = Request::new(body);
    *request.method_mut() = exchange.method.clone();
    *request.uri_mut() = exchange.uri.clone();
    *request.headers_mut() = headers;
    let upstream = Arc::clone(exchange.upstream());
    exchange.sent();
    let sending = Box::pin(async move { upstream.send(request).await });
    Ok(Crossing(Some(Underway { sending, exchange, keeping })))
}

/// Headers for the upstream: hop-by-hop and our own left out, the credential ours or the caller's. With ours, so
/// are cookies and the caller's whereabouts.
pub(super) fn outgoing(exchange: &Exchange) -> Result<HeaderMap, Refusal> {
    let mut outgoing = exchange.headers.clone();
    headers::strip_hop_by_hop(&mut outgoing);
    outgoing.remove(header::EXPECT);
    // A compressed answer could not be metered as it passes.
    outgoing.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Credential::Ours(secret) = exchange.credential() {
        headers::replace_credential(&mut outgoing, secret.expose())
            .map_err(|_| Refusal::internal("the upstream credential cannot be sent as a header"))?;
        headers::strip_origin(&mut outgoing);
    }
    Ok(outgoing)
}

/// What a client is told where the upstream gave no answer.
pub(super) fn refusal(failure: &UpstreamFailure) -> Refusal {
    match (failure.phase, failure.kind) {
        (_, FailureKind::Timeout) => Refusal::timeout(&failure.message),
        (_, FailureKind::Request) => Refusal::malformed(&failure.message),
        (Phase::Connect, _) => Refusal::unavailable(&failure.message),
        _ => Refusal::bad_gateway(&failure.message),
    }
}

impl Underway {
    fn arrived(mut self, sent: Result<Answer, UpstreamFailure>) -> Result<Forwarded, Unanswered> {
        let metrics = &self.exchange.tercet.runtime.metrics;
        match sent {
            Ok(answer) => {
                metrics.record_attempt(self.exchange.tier(), result_of(answer.response.status().as_u16()));
                fall_back::note(&self.exchange, Some(fall_back::health_of(answer.response.status())));
                headroom::note(&self.exchange, &answer.response);
                self.exchange.attempts += u32::from(answer.attempts);
                let request_id = answer.response.headers().get("request-id");
                self.exchange.upstream_request_id =
                    request_id.and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
                Ok(Forwarded {
                    exchange: self.exchange,
                    response: answer.response,
                    keeping: self.keeping,
                    prelude: Prelude::new(),
                    failed: false,
                })
            }
            Err(failure) => {
                fall_back::note(&self.exchange, fall_back::health_of_failure(&failure));
                metrics.record_attempt(self.exchange.tier(), result_of_failure(&failure));
                self.exchange.attempts += u32::from(failure.attempts);
                Err(Unanswered { exchange: self.exchange, failure, keeping: self.keeping })
            }
        }
    }
}

impl Future for Crossing {
    type Output = Result<Forwarded, Unanswered>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(mut underway) = self.0.take() else { return Poll::Pending };
        match underway.sending.as_mut().poll(context) {
            Poll::Ready(sent) => Poll::Ready(underway.arrived(sent)),
            Poll::Pending => {
                self.0 = Some(underway);
                Poll::Pending
            }
        }
    }
}

/// The client left before the answer's head.
impl Drop for Crossing {
    fn drop(&mut self) {
        let Some(mut underway) = self.0.take() else { return };
        let tasks = underway.exchange.tercet.runtime.tasks.clone();
        tasks.spawn(async move {
            let sent = underway.sending.as_mut().await;
            match underway.arrived(sent) {
                Ok(forwarded) => relay::drain_unseen(forwarded).await,
                Err(unanswered) => drop(finish::unanswered(unanswered).await),
            }
        });
    }
}

pub(super) const fn result_of(status: u16) -> AttemptResult {
    match status {
        429 => AttemptResult::RateLimited,
        400..=499 => AttemptResult::ClientError,
        529 => AttemptResult::Overloaded,
        500.. => AttemptResult::ServerError,
        _ => AttemptResult::Ok,
    }
}

pub(super) const fn result_of_failure(failure: &UpstreamFailure) -> AttemptResult {
    match (failure.phase, failure.kind) {
        (_, FailureKind::Timeout) => AttemptResult::TimedOut,
        (Phase::Connect, _) => AttemptResult::ConnectFailed,
        _ => AttemptResult::Broken,
    }
}
