//! Bytes through as they come, while the meter reads usage.
//!
//! Nothing is buffered but the one frame that ends an answer: it is held until the exchange is settled and its
//! record written, so that what a client saw end was recorded. A client that leaves is not a way out: the rest
//! of the answer is read in the background, within bounds, to learn what it cost.

use std::collections::VecDeque;
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
use super::guarding::{self, Restored};
use super::join::Shared;
use super::keeping::Keeping;
use super::watch::Watch;
use super::{redact, reply, runtime::Tercet};
use crate::cache::{Flight, Reader};
use crate::upstream::{Lasting, TimedBody, UpstreamFailure};

/// The body of an answer to a client.
pub struct Reply(Inner);

enum Inner {
    Whole(Option<Bytes>),
    Relayed(Box<Relay>),
    /// Read by its client, and by whoever joins.
    Led(Reader),
    /// Read by one who joined.
    Shared(Box<Shared>),
    /// Any of them, given its texts back.
    Restored(Box<Restored>),
}

/// The frames of an answer that were read before it was handed on.
pub(super) type Prelude = VecDeque<Result<Frame<Bytes>, UpstreamFailure>>;

struct Relay {
    prelude: Prelude,
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

    pub(super) fn restored(restored: Restored) -> Self {
        Self(Inner::Restored(Box::new(restored)))
    }

    pub(super) fn shared(shared: Shared) -> Self {
        Self(Inner::Shared(Box::new(shared)))
    }
}

/// Hands the upstream's answer on; the exchange ends when the body does.
pub(super) async fn relay(forwarded: Forwarded) -> Response<Reply> {
    let Forwarded { exchange, response, keeping, prelude, .. } = forwarded;
    let (mut head, body) = response.into_parts();
    let mut watch = Watch::new(exchange, &head, keeping);
    reply::dress(&watch.exchange, &mut head);
    if body.is_end_stream() && prelude.is_empty() && watch.cut_unseen().is_none() {
        // Nobody polls a body that is known to be empty, so nothing later would tell of its end.
        finish::finish(watch, Ending::Whole).await;
        return Response::from_parts(head, Reply::whole(Bytes::new()));
    }
    if !head.status.is_success() && redact::ours(&watch.exchange).is_some() {
        return Box::pin(redact::error(watch, head, body)).await;
    }
    if head.status.is_success() && watch.exchange.guarded.as_ref().is_some_and(|guarded| guarded.withholds())
    {
        return Box::pin(guarding::hold(watch, head, prelude, body)).await;
    }
    if watch.exchange.endpoint.is_message() && watch.exchange.asked.stream {
        head.extensions.insert(Lasting);
        // Most streams are open for far longer than it took to send them. A sample is sent when they end.
        if watch.exchange.sampling.is_none() {
            watch.exchange.keep_recorded();
        }
    }
    let seat = watch.keeping_mut().map(Keeping::take_off);
    let relay = Box::new(Relay::of(prelude, body, watch));
    let inner = match seat {
        Some((flight, headers, Some(reader))) => {
            flight.open(headers, Box::into_pin(relay));
            Inner::Led(reader)
        }
        _ => Inner::Relayed(relay),
    };
    Response::from_parts(head, Reply(inner))
}

impl Relay {
    fn of(prelude: Prelude, body: TimedBody, watch: Watch) -> Self {
        let (body, watch) = (Some(body), Some(Box::new(watch)));
        Self { prelude, body, watch, finishing: None, held: None, failure: None }
    }

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
            let next = match self.prelude.pop_front() {
                Some(read) => Some(read),
                None => ready!(Pin::new(&mut *body).poll_frame(context)),
            };
            match next {
                Some(Ok(frame)) => {
                    let Some(watch) = &mut self.watch else { return Poll::Ready(Some(Ok(frame))) };
                    let read_out = body.is_end_stream() && self.prelude.is_empty();
                    let ended = watch.observe(&frame)
                        || frame.is_trailers()
                        || (read_out && watch.cut_unseen().is_none());
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
            let alone = watch.keeping().is_none_or(|keeping| !keeping.flight().first_left());
            let ending = if ending == Ending::Whole && !alone { Ending::Drained } else { ending };
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
            Inner::Led(reader) => {
                reader.poll_piece(context).map(|piece| piece.map(|read| read.map(Frame::data)))
            }
            Inner::Shared(shared) => shared.poll(context),
            Inner::Restored(restored) => restored.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Whole(bytes) => bytes.is_none(),
            Inner::Relayed(relay) => relay.is_end_stream(),
            Inner::Led(reader) => reader.is_over(),
            Inner::Shared(shared) => shared.is_over(),
            Inner::Restored(restored) => restored.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Inner::Relayed(relay) => relay.size_hint(),
            Inner::Led(_) | Inner::Shared(_) | Inner::Restored(_) => SizeHint::default(),
        }
    }
}

/// As a source that is read for several.
impl Body for Relay {
    type Data = Bytes;
    type Error = UpstreamFailure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamFailure>>> {
        self.poll(context)
    }

    fn is_end_stream(&self) -> bool {
        let read_out = self.prelude.is_empty() && self.body.as_ref().is_none_or(Body::is_end_stream);
        read_out
            && self.watch.is_none()
            && self.finishing.is_none()
            && self.held.is_none()
            && self.failure.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let read = self.prelude.iter().filter_map(|frame| frame.as_ref().ok());
        let held = self.held.iter().chain(read).filter_map(Frame::data_ref).map(|bytes| bytes.len() as u64);
        let held: u64 = held.sum();
        // With a length what is left of a cut answer would pass for all of it.
        if self.watch.as_ref().is_some_and(|watch| watch.cut_unseen().is_some()) {
            return SizeHint::default();
        }
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
            let prelude = std::mem::take(&mut self.prelude);
            tercet.runtime.tasks.spawn(drain(prelude, body, *watch));
        }
    }
}

/// Reads and settles an answer whose client left before its head came.
pub(super) async fn drain_unseen(forwarded: Forwarded) {
    let Forwarded { exchange, response, keeping, prelude, .. } = forwarded;
    let (head, body) = response.into_parts();
    let mut watch = Watch::new(exchange, &head, keeping);
    match watch.keeping_mut().map(Keeping::take_off) {
        Some((flight, headers, seat)) => {
            drop(seat);
            let relay = Box::pin(Relay::of(prelude, body, watch));
            // Others may wait for it; where nobody does, it is dropped, and drained.
            flight.open(headers, relay);
        }
        None => drain(prelude, body, watch).await,
    }
}

/// Reads what is left of an answer whose client has gone, then settles it.
async fn drain(prelude: Prelude, mut body: TimedBody, mut watch: Watch) {
    let tercet = watch.tercet();
    let flight = watch.keeping().map(|keeping| Arc::clone(keeping.flight()));
    let place = Place::take(&tercet, watch.may_still_cost());
    let whole = place.is_some() && read_out(prelude, &mut body, &mut watch, flight.as_deref()).await;
    let ending = if whole { Ending::Drained } else { Ending::Abandoned };
    finish::finish(watch, ending).await;
    if let Some(flight) = flight {
        flight.end(if whole { Ok(()) } else { Err(UpstreamFailure::given_up()) });
    }
}

/// Reads to the end, for [`DRAIN_TIMEOUT`] at most and as long again as a retry reads along; tells whether it came.
async fn read_out(
    mut prelude: Prelude,
    body: &mut TimedBody,
    watch: &mut Watch,
    flight: Option<&Flight>,
) -> bool {
    let mut patience = Box::pin(tokio::time::sleep(DRAIN_TIMEOUT));
    loop {
        let read = prelude.pop_front();
        let frame = tokio::select! {
            biased;
            frame = async { if read.is_some() { read } else { body.frame().await } } => frame,
            () = &mut patience => {
                if !flight.is_some_and(Flight::has_readers) {
                    return false;
                }
                patience.set(tokio::time::sleep(DRAIN_TIMEOUT));
                continue;
            }
        };
        match frame {
            None => return watch.cut_unseen().is_none(),
            Some(Err(_cut)) => return false,
            Some(Ok(frame)) => {
                if watch.observe(&frame) {
                    return true;
                }
                if let Some(flight) = flight.filter(|_| frame.is_data()) {
                    flight.release();
                }
            }
        }
    }
}

/// One of the places for draining, and what the answer read there may cost at most.
struct Place(Arc<Tercet>, u64);

impl Place {
    /// Takes a place where there is one, and money for it.
    fn take(tercet: &Arc<Tercet>, nanousd: u64) -> Option<Self> {
        let runtime = &tercet.runtime;
        let taken = runtime.drained.fetch_add(1, Ordering::Relaxed);
        let spending = runtime.drained_nanousd.fetch_add(nanousd, Ordering::Relaxed);
        let place = Self(Arc::clone(tercet), nanousd);
        let affordable = spending.saturating_add(nanousd) <= DRAINED_NANOUSD_MAX;
        (taken < DRAINED_MAX && affordable).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.runtime.drained.fetch_sub(1, Ordering::Relaxed);
        self.0.runtime.drained_nanousd.fetch_sub(self.1, Ordering::Relaxed);
    }
}

/// How long the rest of an answer is read after its client left.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Most answers being read to their end at once.
const DRAINED_MAX: usize = 64;
/// What all of them together may cost at most. One that does not fit is cut off, and upstream stops to write it.
const DRAINED_NANOUSD_MAX: u64 = 25_000_000_000;
