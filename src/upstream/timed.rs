//! An answer's body, read by driving its connection; silence longer than the idle timeout ends it with a failure.
//!
//! The bytes are untouched and nothing is buffered. The deadline counts from when the next frame is waited for, so a
//! stream may last as long as it keeps moving. Read to its end, the body gives its connection back; dropped before, it
//! closes it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::failure::UpstreamFailure;
use super::fault::Fault;
use super::incoming::Remaining;
use super::line::{Line, Pool};

/// The body of an answer; fails where the upstream falls silent, and visibly where it is cut.
pub struct TimedBody {
    remaining: Remaining,
    /// Until the body is read to its end, or its connection has ended.
    line: Option<Line>,
    pool: Arc<Pool>,
    idle_timeout: Duration,
    /// Since when it is waited for the next frame; read once for a wait, not for each frame of a burst.
    waiting: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl TimedBody {
    pub(super) fn new(remaining: Remaining, line: Line, pool: &Arc<Pool>, idle_timeout: Duration) -> Self {
        let pool = Arc::clone(pool);
        let mut body = Self { remaining, line: Some(line), pool, idle_timeout, waiting: None, alarm: None };
        body.rest_at_end();
        body
    }

    fn read(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        let Some(line) = &mut self.line else { return Poll::Ready(None) };
        let read = ready!(line.poll_body(&mut self.remaining, context));
        match &read {
            Some(Err(_)) => self.line = None,
            Some(Ok(_)) => {
                self.rest_at_end();
            }
            None => self.rest_at_end(),
        }
        Poll::Ready(read)
    }

    /// Gives the connection back once nothing more comes.
    fn rest_at_end(&mut self) {
        if let Some(line) = self.line.take_if(|_| self.remaining.is_over()) {
            self.pool.put(line);
        }
    }

    /// Returns true once the alarm rings for good; an alarm set before the last frame is set anew.
    fn silent_too_long(&mut self, context: &mut Context<'_>) -> bool {
        let deadline = *self.waiting.get_or_insert_with(Instant::now) + self.idle_timeout;
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
                self.waiting = None;
                Poll::Ready(
                    frame.map(|read| read.map(Frame::data).map_err(|fault| UpstreamFailure::cut(&fault))),
                )
            }
            Poll::Pending if self.silent_too_long(context) => {
                Poll::Ready(Some(Err(UpstreamFailure::silent(self.idle_timeout))))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.line.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.remaining {
            Remaining::Length(length) => SizeHint::with_exact(length),
            Remaining::Chunks(_) | Remaining::ToTheEnd => SizeHint::default(),
        }
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
