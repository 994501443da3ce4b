//! An answer's body, read by driving its connection; silence longer than the idle timeout ends it with a failure.
//!
//! The bytes are untouched and nothing is buffered. The deadline counts from the last frame, so a stream may
//! last as long as it keeps moving. Read to its end, the body gives its connection back; dropped before, it closes it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::failure::UpstreamFailure;
use super::line::{Line, Pool};

/// The body of an answer; fails where the upstream falls silent, and visibly where it is cut.
pub struct TimedBody {
    inner: Incoming,
    /// Until the body is read to its end, or its connection has ended.
    line: Option<Line>,
    pool: Arc<Pool>,
    idle_timeout: Duration,
    moved: Instant,
    alarm: Option<Pin<Box<Sleep>>>,
}

type Read = Option<Result<Frame<Bytes>, hyper::Error>>;

impl TimedBody {
    pub(super) fn new(inner: Incoming, line: Line, pool: &Arc<Pool>, idle_timeout: Duration) -> Self {
        let pool = Arc::clone(pool);
        let mut body =
            Self { inner, line: Some(line), pool, idle_timeout, moved: Instant::now(), alarm: None };
        body.rest_at_end(body.inner.is_end_stream());
        body
    }

    /// Reads what was handed over already, or drives the connection for more.
    fn read(&mut self, context: &mut Context<'_>) -> Poll<Read> {
        let unwoken = &mut Context::from_waker(Waker::noop());
        let mut read = Pin::new(&mut self.inner).poll_frame(unwoken);
        if let (Poll::Pending, Some(line)) = (&read, &mut self.line) {
            if line.drive(context) {
                self.line = None;
            }
            read = Pin::new(&mut self.inner).poll_frame(unwoken);
        }
        if let Poll::Ready(frame) = &read {
            self.rest_at_end(frame.is_none() || self.inner.is_end_stream());
        }
        read
    }

    fn rest_at_end(&mut self, ended: bool) {
        if let Some(line) = self.line.take_if(|_| ended) {
            self.pool.put(line);
        }
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
        match self.read(context) {
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

/// The last event of a stream is often read with the end behind it still unseen; then the connection is kept as well.
impl Drop for TimedBody {
    fn drop(&mut self) {
        if self.line.is_some() {
            drop(self.read(&mut Context::from_waker(Waker::noop())));
        }
    }
}

impl fmt::Debug for TimedBody {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TimedBody(…)")
    }
}
