//! When a connection writes, and how long it may dawdle: over a head, idle, or over an answer it does not take.
//!
//! A thread that finds many requests ready comes to the writes of all their answers one after the other, when the work
//! on all of them is done: each lets the others go on once before its answer begins. Whoever reads at the other ends is
//! then woken for many answers at once, and the system's code for writing stays in the processor's caches. What follows
//! in a stream waits for nobody: an event that comes alone would be later for it.
//!
//! Every connection notes a few instants as it reads and writes, and a timer looks at them now and then; no
//! timer is touched per request or event. The pace of a request's body is the handler's business.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Version;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// What one connection is doing.
#[derive(Debug)]
pub(super) struct Pace {
    header_timeout: Duration,
    noted: Mutex<Noted>,
}

#[derive(Debug)]
struct Noted {
    in_flight: usize,
    served: bool,
    /// HTTP/2: bytes between requests are not the beginning of a head.
    framed: bool,
    idle_since: Instant,
    head_since: Option<Instant>,
    stuck_since: Option<Instant>,
}

/// One request being answered on a connection; ends when dropped.
#[derive(Debug)]
pub(super) struct InFlight {
    pace: Arc<Pace>,
}

/// A stream that notes its reads and writes.
pub(super) struct Paced<S> {
    inner: S,
    pace: Arc<Pace>,
    stuck: bool,
    /// Something was read since the last write: what is written next begins an answer.
    begins: bool,
}

impl Pace {
    pub(super) fn new(header_timeout: Duration) -> Arc<Self> {
        let noted = Noted {
            in_flight: 0,
            served: false,
            framed: false,
            idle_since: Instant::now(),
            head_since: None,
            stuck_since: None,
        };
        Arc::new(Self { header_timeout, noted: Mutex::new(noted) })
    }

    /// Notes that a whole head has come.
    pub(super) fn begin(self: &Arc<Self>, version: Version) -> InFlight {
        let mut noted = self.noted();
        noted.in_flight += 1;
        noted.served = true;
        noted.framed = version == Version::HTTP_2;
        noted.head_since = None;
        InFlight { pace: Arc::clone(self) }
    }

    /// Returns when to look again; `None` when the connection's time is up.
    pub(super) fn look(&self, now: Instant) -> Option<Instant> {
        let noted = self.noted();
        let taking = noted.stuck_since.map(|since| since + TAKING_TIMEOUT);
        let asking = match noted.head_since {
            _ if noted.in_flight > 0 => None,
            Some(since) => Some(since + self.header_timeout),
            None if noted.served => Some(noted.idle_since + IDLE_TIMEOUT),
            None => Some(noted.idle_since + self.header_timeout),
        };
        // A head may begin right after this look, so the next one is never later than its deadline.
        let latest = now + self.header_timeout.min(IDLE_TIMEOUT);
        let next = taking.into_iter().chain(asking).fold(latest, Instant::min);
        (next > now).then_some(next)
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut noted = self.pace.noted();
        noted.in_flight = noted.in_flight.saturating_sub(1);
        noted.idle_since = Instant::now();
    }
}

impl<S> Paced<S> {
    pub(super) fn new(inner: S, pace: Arc<Pace>) -> Self {
        Self { inner, pace, stuck: false, begins: false }
    }

    /// Lets the others of this thread go on before an answer begins, once.
    fn yields(&mut self, context: &mut Context<'_>) -> bool {
        let begins = std::mem::take(&mut self.begins);
        if begins {
            again_later(context);
        }
        begins
    }

    /// Notes since when the client takes nothing.
    fn wrote<T>(&mut self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_pending() != self.stuck {
            self.stuck = polled.is_pending();
            self.pace.noted().stuck_since = self.stuck.then(Instant::now);
        }
        polled
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.begins = true;
            let mut noted = self.pace.noted();
            if noted.in_flight == 0 && !noted.framed && noted.head_since.is_none() {
                noted.head_since = Some(Instant::now());
            }
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.yields(context) {
            return Poll::Pending;
        }
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.wrote(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(context);
        self.wrote(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.yields(context) {
            return Poll::Pending;
        }
        let polled = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.wrote(polled)
    }
}

/// Has the task polled again once all that is ready on this thread had its turn, and sockets were looked at.
pub(super) fn again_later(context: &mut Context<'_>) {
    // Pending at first, and remembered by the scheduler, not by what is dropped here.
    let _pending = pin!(tokio::task::yield_now()).poll(context);
}

/// How long a connection may stay open between requests.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// How long a client may take nothing of what it is sent.
pub(super) const TAKING_TIMEOUT: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const HEAD: Duration = Duration::from_secs(10);

    #[test]
    fn a_first_request_has_the_header_timeout() {
        let pace = Pace::new(HEAD);
        let start = pace.noted().idle_since;
        assert_eq!(pace.look(start), Some(start + HEAD));
        assert_eq!(pace.look(start + HEAD), None);
    }

    #[test]
    fn an_idle_connection_has_longer_than_a_head_begun() {
        let pace = Pace::new(HEAD);
        drop(pace.begin(Version::HTTP_11));
        let idle = pace.noted().idle_since;
        assert!(pace.look(idle + IDLE_TIMEOUT - HEAD).is_some());
        assert_eq!(pace.look(idle + IDLE_TIMEOUT), None);
        let begun = idle + HEAD;
        pace.noted().head_since = Some(begun);
        assert_eq!(pace.look(begun), Some(begun + HEAD));
        assert_eq!(pace.look(begun + HEAD), None);
    }

    #[test]
    fn an_answer_may_take_as_long_as_it_likes_but_must_be_taken() {
        let pace = Pace::new(HEAD);
        let held = pace.begin(Version::HTTP_2);
        let start = pace.noted().idle_since;
        assert!(pace.look(start + Duration::from_secs(3600)).is_some());
        pace.noted().stuck_since = Some(start);
        assert!(pace.look(start + TAKING_TIMEOUT - HEAD).is_some());
        assert_eq!(pace.look(start + TAKING_TIMEOUT), None);
        drop(held);
    }

    #[tokio::test]
    async fn answers_begin_when_the_work_on_all_that_is_ready_is_done_and_what_follows_waits_for_nobody() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let answers = ["a", "b", "c"].map(|text| {
            let order = Arc::clone(&order);
            tokio::spawn(async move {
                let (ours, mut client) = tokio::io::duplex(8);
                let mut stream = Paced::new(ours, Pace::new(HEAD));
                client.write_all(b"?").await.unwrap();
                assert_eq!(stream.read_u8().await.unwrap(), b'?');
                order.lock().unwrap().push("worked");
                stream.write_all(text.as_bytes()).await.unwrap();
                order.lock().unwrap().push("wrote");
                let noop = std::task::Waker::noop();
                assert!(Pin::new(&mut stream).poll_write(&mut Context::from_waker(noop), b"!").is_ready());
                drop(stream);
                let mut seen = String::new();
                client.read_to_string(&mut seen).await.unwrap();
                assert_eq!(seen, format!("{text}!"));
            })
        });
        for answer in answers {
            answer.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), ["worked", "worked", "worked", "wrote", "wrote", "wrote"]);
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_stuck_and_one_whose_answer_has_not_begun_is_not() {
        let (ours, mut client) = tokio::io::duplex(1);
        let pace = Pace::new(HEAD);
        let mut stream = Paced::new(ours, Arc::clone(&pace));
        client.write_all(b"?").await.unwrap();
        stream.read_u8().await.unwrap();
        let context = &mut Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut stream).poll_write(context, b"ab").is_pending());
        assert_eq!(pace.noted().stuck_since, None);
        assert!(matches!(Pin::new(&mut stream).poll_write(context, b"ab"), Poll::Ready(Ok(1))));
        assert!(Pin::new(&mut stream).poll_write(context, b"b").is_pending());
        assert!(pace.noted().stuck_since.is_some());
    }
}
