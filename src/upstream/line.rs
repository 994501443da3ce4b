//! One connection to the upstream, worked by the task that uses it, and the pool where it rests in between.
//!
//! A connection has no task of its own: whoever sends a request or reads an answer drives it, so that a request and the
//! events of a stream change tasks nowhere (a client that hands frames from task to task took 15,000 instructions more
//! a request). While it is driven, what it hands over is looked for right after; nobody needs to be woken for that, so
//! those polls go without a waker. One that rests is looked at when it is taken out again, and closed after a minute.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::body::RequestBody;
use super::connect::{ConnectionTrace, Traced};

/// A connection that is in use by one request.
pub(super) struct Line {
    sender: SendRequest<RequestBody>,
    connection: Pin<Box<Connection<TokioIo<Traced>, RequestBody>>>,
    trace: Arc<ConnectionTrace>,
    /// What had been read of it when its request was handed over.
    read_before: u64,
}

/// An answer that is awaited.
pub(super) type Awaited = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

impl Line {
    /// Makes a connection of a stream.
    pub(super) async fn over(stream: Traced) -> hyper::Result<Self> {
        let trace = stream.trace();
        let (sender, connection) =
            http1::Builder::new().max_buf_size(ANSWER_HEAD_MAX_BYTES).handshake(TokioIo::new(stream)).await?;
        Ok(Self { sender, connection: Box::pin(connection), trace, read_before: 0 })
    }

    /// Hands a request over; nothing is sent before the connection is driven.
    pub(super) fn send(&mut self, request: Request<RequestBody>) -> Awaited {
        self.read_before = self.trace.read_bytes();
        Box::pin(self.sender.send_request(request))
    }

    /// Reads and writes what can be; true once the connection has ended.
    pub(super) fn drive(&mut self, context: &mut Context<'_>) -> bool {
        // How it ended is told to whoever waits for an answer or its body.
        self.connection.as_mut().poll(context).is_ready()
    }

    /// Drives the connection until the head of the answer is there.
    pub(super) fn poll_head(
        &mut self,
        awaited: &mut Awaited,
        context: &mut Context<'_>,
    ) -> Poll<hyper::Result<Response<Incoming>>> {
        self.drive(context);
        awaited.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Whether an earlier answer came over the connection.
    pub(super) fn reused(&self) -> bool {
        self.read_before > 0
    }

    /// Whether nothing was read since the request was handed over.
    pub(super) fn silent(&self) -> bool {
        self.read_before == self.trace.read_bytes()
    }
}

/// Connections that rest between two requests.
#[derive(Default)]
pub(super) struct Pool(Mutex<Resting>);

#[derive(Default)]
struct Resting {
    /// The longest at rest first.
    lines: VecDeque<(Instant, Line)>,
    is_watched: bool,
}

impl Pool {
    /// Takes out the connection that came last, if one is still open.
    pub(super) fn take(&self) -> Option<Line> {
        loop {
            let (since, mut line) = self.resting().lines.pop_back()?;
            let is_over = line.drive(&mut Context::from_waker(Waker::noop()));
            if !is_over && line.sender.is_ready() && since.elapsed() < IDLE_TIMEOUT {
                return Some(line);
            }
        }
    }

    /// Puts a connection to rest whose answer was read to its end; one that cannot be used again is closed.
    pub(super) fn put(self: &Arc<Self>, mut line: Line) {
        let is_over = line.drive(&mut Context::from_waker(Waker::noop()));
        if is_over || !line.sender.is_ready() {
            return;
        }
        let mut resting = self.resting();
        resting.lines.push_back((Instant::now(), line));
        let beyond = if resting.lines.len() > RESTING_MAX { resting.lines.pop_front() } else { None };
        let watched = std::mem::replace(&mut resting.is_watched, true);
        drop(resting);
        drop(beyond);
        if let (false, Ok(runtime)) = (watched, Handle::try_current()) {
            runtime.spawn(watch(Arc::downgrade(self)));
        }
    }

    /// Closes what has rested for too long; whether anything is left.
    fn close_old(&self) -> bool {
        let mut resting = self.resting();
        let old = resting.lines.iter().take_while(|(since, _)| since.elapsed() >= IDLE_TIMEOUT).count();
        let closed: Vec<_> = resting.lines.drain(..old).collect();
        resting.is_watched = !resting.lines.is_empty();
        let is_left = resting.is_watched;
        drop(resting);
        drop(closed);
        is_left
    }

    fn resting(&self) -> MutexGuard<'_, Resting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks now and then for connections to close, as long as there are any.
async fn watch(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(IDLE_TIMEOUT / 4).await;
        if !pool.upgrade().is_some_and(|pool| pool.close_old()) {
            return;
        }
    }
}

/// Connections at rest.
const RESTING_MAX: usize = 1024;
/// How long one may rest; shorter than upstreams usually wait, so that few are met stale.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest head of an answer; also the largest single read.
const ANSWER_HEAD_MAX_BYTES: usize = 256 * 1024;
