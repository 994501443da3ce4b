//! Answers over HTTP/2 that their client does not take.
//!
//! Over HTTP/1.1 a client that takes nothing stops its connection, which [`super::pace`] sees. Over HTTP/2 it may close
//! the window of one stream and keep the connection alive, and whatever feeds that stream would be held for as long. So
//! each stream's task notes since when its body was not asked for more, and ends once that is too long: the stream is
//! reset, the others go on.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use hyper::rt::Executor;
use tokio::time::{Instant, Sleep};

/// Runs the streams of HTTP/2 connections, each for as long as its client takes of its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streams {
    /// How long a client may take nothing.
    pub(super) taking_timeout: Duration,
}

tokio::task_local! {
    /// Since when this stream's client has more than it took.
    static HANDED: Cell<Option<Instant>>;
}

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        let taking_timeout = self.taking_timeout;
        tokio::spawn(HANDED.scope(Cell::new(None), async move {
            let mut stream = pin!(stream);
            let mut alarm: Option<Pin<Box<Sleep>>> = None;
            poll_fn(|context| {
                if stream.as_mut().poll(context).is_ready() {
                    return Poll::Ready(());
                }
                let Some(since) = HANDED.with(Cell::get) else { return Poll::Pending };
                let deadline = since + taking_timeout;
                let alarm = alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
                if alarm.deadline() != deadline {
                    alarm.as_mut().reset(deadline);
                }
                alarm.as_mut().poll(context)
            })
            .await;
        }));
    }
}

/// Notes that an answer, or a piece of it, was handed over. Does nothing outside of a stream of HTTP/2.
pub(super) fn handed() {
    let _ = HANDED.try_with(|handed| handed.set(Some(Instant::now())));
}

/// Notes that more was asked for.
pub(super) fn asked() {
    let _ = HANDED.try_with(|handed| handed.set(None));
}
