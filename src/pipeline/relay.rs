//! Bytes through as they come, while the meter reads usage.
//!
//! Nothing is buffered but the one frame that ends an answer: it is held until the exchange is settled and its
//! record written, so that what a client saw end was recorded. A client that leaves is not a way out: the rest
//! of the answer is read in the background, within bounds, to learn what it cost.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

use super::finish::{self, Ending};
use super::forward::Forwarded;
use super::watch::Watch;
use super::{redact, reply, runtime::Tercet};
use crate::upstream::{TimedBody, UpstreamFailure};

/// The body of an answer to a client.
pub struct Reply(Inner);

enum Inner {
    Whole(Option<Bytes>),
    Relayed(Box<Relay>),
}

struct Relay {
    body: Option<TimedBody>,
    watch: Option<Box<Watch>>,
    finishing: Option<finish::Recorded>,
    held: Option<Frame<Bytes>>,
    failure: Option<UpstreamFailure>,
}

impl Reply {
    /// Returns a body that is already whole.
    #[must_use]
    pub fn whole(bytes: Bytes) -> Self {
        Self(Inner::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }
}

/// Hands the upstream's answer on; the exchange ends when the body does.
pub(super) async fn relay(forwarded: Forwarded) -> Response<Reply> {
    let Forwarded { exchange, response, keeping } = forwarded;
    let (mut head, body) = response.into_parts();
    let watch = Watch::new(exchange, &head, keeping);
    reply::dress(&watch.exchange, &mut head);
    if body.is_end_stream() {
        // Nobody polls a body that is known to be empty, so nothing later would tell of its end.
        finish::finish(watch, Ending::Whole).await;
        return Response::from_parts(head, Reply::whole(Bytes::new()));
    }
    if !head.status.is_success() && redact::ours(&watch.exchange).is_some() {
        return Box::pin(redact::error(watch, head, body)).await;
    }
    let relay =
        Relay { body: Some(body), watch: Some(Box::new(watch)), finishing: None, held: None, failure: None };
    Response::from_parts(head, Reply(Inner::Relayed(Box::new(relay))))
}

impl Relay {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UpstreamFailure>>> {
        loop {
            if let Some(recorded) = &mut self.finishing {
                ready!(Pin::new(recorded).poll(context));
                self.finishing = None;
            }
            if let Some(frame) = self.held.take() {
                return Poll::Ready(Some(Ok(frame)));
            }
            if let Some(failure) = self.failure.take() {
                self.body = None;
                return Poll::Ready(Some(Err(failure)));
            }
            let Some(body) = &mut self.body else { return Poll::Ready(None) };
            match ready!(Pin::new(&mut *body).poll_frame(context)) {
                Some(Ok(frame)) => {
                    let Some(watch) = &mut self.watch else { return Poll::Ready(Some(Ok(frame))) };
                    let ended = watch.observe(&frame) || frame.is_trailers() || body.is_end_stream();
                    if !ended {
                        return Poll::Ready(Some(Ok(frame)));
                    }
                    self.held = Some(frame);
                    self.finish(Ending::Whole);
                }
                Some(Err(failure)) => {
                    self.failure = Some(failure);
                    self.finish(Ending::Cut);
                }
                None => {
                    self.failure = self.watch.as_ref().and_then(|watch| watch.cut_unseen());
                    let ending = if self.failure.is_some() { Ending::Cut } else { Ending::Whole };
                    self.body = None;
                    self.finish(ending);
                }
            }
        }
    }

    fn finish(&mut self, ending: Ending) {
        if let Some(watch) = self.watch.take() {
            self.finishing = Some(finish::finish(*watch, ending));
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = UpstreamFailure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamFailure>>> {
        match &mut self.0 {
            Inner::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Inner::Relayed(relay) => relay.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Whole(bytes) => bytes.is_none(),
            Inner::Relayed(relay) => relay.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Inner::Relayed(relay) => relay.size_hint(),
        }
    }
}

impl Relay {
    fn is_over(&self) -> bool {
        let read_out = self.body.as_ref().is_none_or(Body::is_end_stream);
        read_out
            && self.watch.is_none()
            && self.finishing.is_none()
            && self.held.is_none()
            && self.failure.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.held.as_ref().and_then(Frame::data_ref).map_or(0, |bytes| bytes.len() as u64);
        let mut hint = self.body.as_ref().map(Body::size_hint).unwrap_or_default();
        if let Some(exact) = hint.exact() {
            hint.set_exact(exact + held);
        }
        hint
    }
}

/// The client left before the end.
impl Drop for Relay {
    fn drop(&mut self) {
        if let (Some(watch), Some(body)) = (self.watch.take(), self.body.take()) {
            let tercet = watch.tercet();
            tercet.runtime.tasks.spawn(drain(body, *watch));
        }
    }
}

/// Reads and settles an answer whose client left before its head came.
pub(super) async fn drain_unseen(forwarded: Forwarded) {
    let Forwarded { exchange, response, keeping } = forwarded;
    let (head, body) = response.into_parts();
    drain(body, Watch::new(exchange, &head, keeping)).await;
}

/// Reads what is left of an answer whose client has gone, then settles it.
async fn drain(mut body: TimedBody, mut watch: Watch) {
    let tercet = watch.tercet();
    let Some(_place) = Place::take(&tercet) else {
        return finish::finish(watch, Ending::Abandoned).await;
    };
    let reading = async {
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) if watch.observe(&frame) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
        true
    };
    let whole = tokio::time::timeout(DRAIN_TIMEOUT, reading).await.unwrap_or(false);
    let ending = if whole { Ending::Drained } else { Ending::Abandoned };
    finish::finish(watch, ending).await;
}

/// One of the places for draining.
struct Place(Arc<Tercet>);

impl Place {
    fn take(tercet: &Arc<Tercet>) -> Option<Self> {
        let taken = tercet.runtime.drained.fetch_add(1, Ordering::Relaxed);
        let place = Self(Arc::clone(tercet));
        (taken < DRAINED_MAX).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.runtime.drained.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How long the rest of an answer is read after its client left.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Most answers being read to their end at once.
const DRAINED_MAX: usize = 64;
