//! An answer's body under a deadline: silence longer than the idle timeout ends it with a failure.
//!
//! The bytes are untouched and nothing is buffered. The deadline counts from the last frame, so a stream may
//! last as long as it keeps moving.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::failure::UpstreamFailure;

/// The body of an answer; fails where the upstream falls silent, and visibly where it is cut.
#[derive(Debug)]
pub struct TimedBody {
    inner: Incoming,
    idle_timeout: Duration,
    moved: Instant,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl TimedBody {
    pub(super) fn new(inner: Incoming, idle_timeout: Duration) -> Self {
        Self { inner, idle_timeout, moved: Instant::now(), alarm: None }
    }

    /// Returns true once the alarm rings for good; an alarm set before the last frame is set anew.
    fn silent_too_long(&mut self, context: &mut Context<'_>) -> bool {
        let deadline = self.moved + self.idle_timeout;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        while alarm.as_mut().poll(context).is_ready() {
            if alarm.deadline() >= deadline {
                return true;
            }
            alarm.as_mut().reset(deadline);
        }
        false
    }
}

impl Body for TimedBody {
    type Data = Bytes;
    type Error = UpstreamFailure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamFailure>>> {
        match Pin::new(&mut self.inner).poll_frame(context) {
            Poll::Ready(frame) => {
                self.moved = Instant::now();
                Poll::Ready(frame.map(|read| read.map_err(|error| UpstreamFailure::cut(&error))))
            }
            Poll::Pending if self.silent_too_long(context) => {
                Poll::Ready(Some(Err(UpstreamFailure::silent(self.idle_timeout))))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
