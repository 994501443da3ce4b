//! A connection to the upstream, driven by whoever waits for what comes over it: first for the head of an answer,
//! then for its body.
//!
//! It has no task of its own, and no memory while nothing comes: what is read into is taken when it is polled, and given
//! up where nothing was there, as most streams wait most of the time. One that rests is looked at when it is taken out
//! again, and closed after a minute.

use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response};
use tokio::io::AsyncReadExt;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::body::RequestBody;
use super::connect::Stream;
use super::fault::Fault;
use super::incoming::{Arrived, Heading, Remaining};
use super::outgoing::{Outgoing, Unsent};

/// A connection that is in use by one request.
pub(super) struct Line {
    stream: Stream,
    /// The request, until it is wholly written.
    outgoing: Option<Box<Outgoing<RequestBody>>>,
    /// The head of the answer, as far as it has come.
    heading: Heading,
    method: Method,
    /// What of the answer's body was read and not handed on.
    unread: Bytes,
    /// How much is read at once.
    read_bytes: usize,
    /// An earlier answer came over it.
    reused: bool,
    /// Nothing has come since the request was handed over.
    silent: bool,
    /// It takes no more of the request.
    broken: bool,
    /// It may not be used again.
    spoiled: bool,
}

impl Line {
    /// Makes a connection of a stream.
    pub(super) fn over(stream: Stream) -> Self {
        Self {
            stream,
            outgoing: None,
            heading: Heading::default(),
            method: Method::GET,
            unread: Bytes::new(),
            read_bytes: READ_LEAST_BYTES,
            reused: false,
            silent: true,
            broken: false,
            spoiled: false,
        }
    }

    /// Hands a request over; nothing is sent before the connection is polled.
    pub(super) fn send(&mut self, request: Request<RequestBody>) {
        self.silent = true;
        self.method = request.method().clone();
        self.outgoing = Some(Box::new(Outgoing::new(request)));
    }

    /// Writes what can be, and reads until the head of the answer is there.
    pub(super) fn poll_head(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<(Response<()>, Remaining), Fault>> {
        self.write(context)?;
        loop {
            let reading = pin!(self.stream.read_buf(room(self.heading.bytes_mut()))).poll(context);
            let Poll::Ready(read) = reading else {
                self.heading.give_up_room();
                return Poll::Pending;
            };
            if !read.is_ok_and(|read| read > 0) {
                return Poll::Ready(Err(self.ended()));
            }
            self.silent = false;
            if let Some(Arrived { head, remaining, behind, lasts }) = self.heading.read(&self.method)? {
                self.heading = Heading::default();
                (self.unread, self.spoiled) = (behind, self.spoiled || !lasts);
                return Poll::Ready(Ok((head, remaining)));
            }
        }
    }

    /// Reads the next piece of an answer's body; none once it is over.
    pub(super) fn poll_body(
        &mut self,
        remaining: &mut Remaining,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Fault>>> {
        self.write(context)?;
        loop {
            match remaining.piece(&mut self.unread) {
                Err(fault) => return Poll::Ready(Some(Err(fault))),
                Ok(Some(piece)) => return Poll::Ready(Some(Ok(piece))),
                Ok(None) if remaining.is_over() => return Poll::Ready(None),
                Ok(None) => {}
            }
            match ready!(self.poll_read(context)) {
                Ok(true) => {}
                Ok(false) if matches!(remaining, Remaining::ToTheEnd) => *remaining = Remaining::Length(0),
                _ => return Poll::Ready(Some(Err(self.ended()))),
            }
        }
    }

    /// Reads what is there; false at the connection's end.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut buffer = BytesMut::with_capacity(self.read_bytes);
        let read = ready!(pin!(self.stream.read_buf(&mut buffer)).poll(context))?;
        // What is small is kept in no more memory than it needs: whoever it is for may be slow to take it.
        self.unread = match read * 2 < self.read_bytes {
            true => Bytes::copy_from_slice(&buffer),
            false => buffer.freeze(),
        };
        self.read_bytes = match read {
            _ if read == self.read_bytes => (self.read_bytes * 2).min(READ_MOST_BYTES),
            _ if read * 4 < self.read_bytes => (self.read_bytes / 2).max(READ_LEAST_BYTES),
            _ => self.read_bytes,
        };
        Poll::Ready(Ok(read > 0))
    }

    /// Writes what can be of the request. What it meets an end with is told by reading, where an answer may still be.
    fn write(&mut self, context: &mut Context<'_>) -> Result<(), Fault> {
        let Some(outgoing) = self.outgoing.as_mut().filter(|_| !self.broken) else { return Ok(()) };
        match outgoing.poll(&mut self.stream, context) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => self.outgoing = None,
            Poll::Ready(Err(Unsent::Broken)) => self.broken = true,
            Poll::Ready(Err(Unsent::Body(problem))) => return Err(Fault::Body(problem)),
        }
        Ok(())
    }

    fn ended(&self) -> Fault {
        match &self.outgoing {
            Some(outgoing) if self.silent && !outgoing.has_begun() => Fault::Unwritten,
            outgoing => Fault::Ended { asked: outgoing.is_none() },
        }
    }

    /// Whether an earlier answer came over the connection.
    pub(super) fn reused(&self) -> bool {
        self.reused
    }

    /// Whether nothing was read since the request was handed over.
    pub(super) fn silent(&self) -> bool {
        self.silent
    }

    /// Whether nothing came that nobody asked for, and the connection stands.
    fn is_quiet(&mut self) -> bool {
        self.poll_read(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// Whether another request may be sent over it once an answer was read to its end.
    fn is_fit(&mut self) -> bool {
        !self.spoiled && self.outgoing.is_none() && self.unread.is_empty() && self.is_quiet()
    }
}

/// Returns the buffer with room for one more read.
fn room(bytes: &mut BytesMut) -> &mut BytesMut {
    bytes.reserve(READ_LEAST_BYTES);
    bytes
}

/// Connections that rest between two requests, each on a shelf of the thread that put it there.
///
/// The reactor of that thread watches it; used on another, whoever waits would be woken across for all that comes.
#[derive(Default)]
pub(super) struct Pool([Mutex<Resting>; SHELVES]);

#[derive(Default)]
struct Resting {
    /// The longest at rest first.
    lines: VecDeque<(Instant, Line)>,
    is_watched: bool,
}

impl Pool {
    /// Takes out the connection that this thread put there last, if one is still open.
    pub(super) fn take(&self) -> Option<Line> {
        let shelf = SHELF.with(|shelf| *shelf);
        loop {
            let (since, mut line) = self.resting(shelf).lines.pop_back()?;
            if since.elapsed() < IDLE_TIMEOUT && line.is_quiet() {
                return Some(line);
            }
        }
    }

    /// Puts a connection to rest whose answer was read to its end; one that cannot be used again is closed.
    pub(super) fn put(self: &Arc<Self>, mut line: Line) {
        if !line.is_fit() {
            return;
        }
        line.reused = true;
        let shelf = SHELF.with(|shelf| *shelf);
        let mut resting = self.resting(shelf);
        resting.lines.push_back((Instant::now(), line));
        let beyond = if resting.lines.len() > RESTING_MAX { resting.lines.pop_front() } else { None };
        let watched = std::mem::replace(&mut resting.is_watched, true);
        drop(resting);
        drop(beyond);
        if let (false, Ok(runtime)) = (watched, Handle::try_current()) {
            runtime.spawn(watch(Arc::downgrade(self), shelf));
        }
    }

    /// Closes what has rested for too long on a shelf; whether anything is left.
    fn close_old(&self, shelf: usize) -> bool {
        let mut resting = self.resting(shelf);
        let old = resting.lines.iter().take_while(|(since, _)| since.elapsed() >= IDLE_TIMEOUT).count();
        let closed: Vec<_> = resting.lines.drain(..old).collect();
        resting.is_watched = !resting.lines.is_empty();
        let is_left = resting.is_watched;
        drop(resting);
        drop(closed);
        is_left
    }

    fn resting(&self, shelf: usize) -> MutexGuard<'_, Resting> {
        self.0[shelf % SHELVES].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

thread_local! {
    /// Where this thread puts connections to rest.
    static SHELF: usize = {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        THREADS.fetch_add(1, Ordering::Relaxed)
    };
}

/// Looks now and then for connections to close, as long as there are any on a shelf.
async fn watch(pool: Weak<Pool>, shelf: usize) {
    loop {
        tokio::time::sleep(IDLE_TIMEOUT / 4).await;
        if !pool.upgrade().is_some_and(|pool| pool.close_old(shelf)) {
            return;
        }
    }
}

/// Shelves of connections at rest; more threads share them.
const SHELVES: usize = 32;
/// Connections at rest on a shelf.
const RESTING_MAX: usize = 1024;
/// How long one may rest; shorter than upstreams usually wait, so that few are met stale.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Least that is read at once; most streams have less.
const READ_LEAST_BYTES: usize = 8 * 1024;
/// Most that is read at once, of answers that come faster than they are read.
const READ_MOST_BYTES: usize = 128 * 1024;
