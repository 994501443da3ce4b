//! The opening of a stream, up to its first content: an error in place of any content is no answer, and goes no further
//! where the request may be sent again.
//!
//! Held only then, and within [`OPENING`]; what was held is handed on before the rest. The upstream bills nothing for it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header;
use http_body::{Body, Frame};
use tokio::time::Sleep;

use super::forward::Forwarded;
use super::relay;
use super::watch;
use crate::upstream::UpstreamFailure;
use crate::wire::meter::{Meter, Progress};

/// An answer whose opening is being read; a client that leaves meanwhile leaves it to be read to its end.
pub(super) struct Opening {
    forwarded: Option<Forwarded>,
    meter: Meter,
    bytes: usize,
    patience: Pin<Box<Sleep>>,
}

impl Opening {
    /// Reads the opening of a stream; gives any other answer back as it is.
    pub(super) async fn read(forwarded: Forwarded) -> Forwarded {
        let head = &forwarded.response;
        let readable = head.status() == http::StatusCode::OK
            && watch::starts_with(head.headers(), &header::CONTENT_TYPE, "text/event-stream")
            && !head.headers().contains_key(header::CONTENT_ENCODING);
        if !readable {
            return forwarded;
        }
        let patience = Box::pin(tokio::time::sleep(OPENING.1));
        Self { forwarded: Some(forwarded), meter: Meter::stream(), bytes: 0, patience }.await
    }

    /// Reads a frame; returns whether no more has to be known.
    fn read_frame(&mut self, read: Option<Result<Frame<Bytes>, UpstreamFailure>>) -> bool {
        let (Some(forwarded), Some(read)) = (&mut self.forwarded, read) else { return true };
        let data = read.as_ref().ok().and_then(Frame::data_ref);
        let progress = data.map_or_else(Progress::default, |data| self.meter.feed(data));
        let bytes = data.map_or(0, Bytes::len);
        self.bytes += bytes;
        let held = forwarded.exchange.hold_back(bytes).is_ok();
        let over = read.is_err() || self.bytes > OPENING.0 || !held;
        forwarded.prelude.push_back(read);
        if progress.error && !progress.first_content {
            let metered = std::mem::replace(&mut self.meter, Meter::stream()).finish();
            forwarded.failed = metered.error_type.is_some_and(|kind| PASSING.contains(&kind.as_str()));
        }
        over || progress.first_content || progress.ended || progress.error
    }
}

impl Future for Opening {
    type Output = Forwarded;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Forwarded> {
        loop {
            let Some(forwarded) = &mut self.forwarded else { return Poll::Pending };
            let over = match Pin::new(forwarded.response.body_mut()).poll_frame(context) {
                Poll::Ready(read) => self.read_frame(read),
                Poll::Pending => {
                    ready!(self.patience.as_mut().poll(context));
                    true
                }
            };
            if let Some(forwarded) = self.forwarded.take_if(|_| over) {
                return Poll::Ready(forwarded);
            }
        }
    }
}

/// The client left before anything was handed on.
impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(forwarded) = self.forwarded.take() {
            let tasks = forwarded.exchange.tercet.runtime.tasks.clone();
            tasks.spawn(relay::drain_unseen(forwarded));
        }
    }
}

/// Errors that say nothing against the request itself.
const PASSING: [&str; 4] = ["overloaded_error", "api_error", "rate_limit_error", "timeout_error"];
/// Bytes and time for which an opening is held.
const OPENING: (usize, Duration) = (32 << 10, Duration::from_secs(3));
