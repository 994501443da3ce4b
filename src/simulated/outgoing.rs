//! The body of an answer on its way out: takes its steps in order and settles the bill when it ends or is dropped.
//!
//! A cut ends the body with an error, so that HTTP shows it: no last chunk in HTTP/1.1, a stream reset in HTTP/2.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::time::Sleep;

use super::plan::Step;
use super::state::{Settlement, State};
use super::wire::Faults;

/// A body made of steps.
#[derive(Debug)]
pub(super) struct Outgoing {
    steps: VecDeque<Step>,
    sleep: Option<Pin<Box<Sleep>>>,
    flushes: u8,
    sent: u64,
    total: u64,
    length: Option<u64>,
    settlement: Option<(Settlement, Arc<State>)>,
    faults: Arc<Faults>,
}

impl Outgoing {
    pub(super) fn new(steps: VecDeque<Step>, faults: Arc<Faults>) -> Self {
        let total = steps.iter().filter(|step| matches!(step, Step::Send(_))).count() as u64;
        let early = steps.iter().any(|step| matches!(step, Step::Cut | Step::Reset));
        let total = if early { total + 1 } else { total };
        let length = match (steps.len(), steps.front()) {
            (0, _) => Some(0),
            (1, Some(Step::Send(bytes))) => Some(bytes.len() as u64),
            _ => None,
        };
        Self { steps, sleep: None, flushes: 0, sent: 0, total, length, settlement: None, faults }
    }

    /// Settles this once the body has gone out, in proportion to what did.
    pub(super) fn settling(mut self, settlement: Settlement, state: Arc<State>, total: u64) -> Self {
        self.settlement = Some((settlement, state));
        self.total = self.total.max(total);
        self
    }

    fn settle(&mut self) {
        if let Some((settlement, state)) = self.settlement.take() {
            state.settle(settlement, self.sent, self.total);
        }
    }

    /// Ends the body short, once what was sent before has been flushed.
    fn fail(
        &mut self,
        context: &mut Context<'_>,
        reset: bool,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.flushes < 4 {
            self.flushes += 1;
            self.steps.push_front(if reset { Step::Reset } else { Step::Cut });
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.settle();
        if reset {
            self.faults.reset();
        }
        self.steps.clear();
        Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "cut by script"))))
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            if let Some(sleep) = self.sleep.as_mut() {
                if sleep.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                self.sleep = None;
            }
            match self.steps.pop_front() {
                None => {
                    self.settle();
                    return Poll::Ready(None);
                }
                Some(Step::Wait(wait)) => self.sleep = Some(Box::pin(sleep(wait))),
                Some(Step::Flush) => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some(Step::Cut) => return self.fail(context, false),
                Some(Step::Reset) => return self.fail(context, true),
                Some(Step::Send(bytes)) => {
                    self.sent += 1;
                    if !self.steps.iter().any(|step| matches!(step, Step::Send(_) | Step::Cut | Step::Reset))
                    {
                        self.settle();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.settle();
    }
}

fn sleep(wait: Duration) -> Sleep {
    tokio::time::sleep(wait)
}
