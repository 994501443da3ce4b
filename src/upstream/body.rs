//! Bodies of requests on their way up: a few pieces in memory, or a stream from the client.
//!
//! Pieces can be sent again, because nothing of them is used up by sending; a stream cannot. Neither limits
//! sizes: that is done where the client's body is read.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use tokio::time::Instant;

/// A body of up to three pieces sent one after the other, of exactly known size.
#[derive(Clone, Debug, Default)]
pub struct Pieces {
    pieces: [Bytes; 3],
    next: usize,
}

/// A request's body.
#[derive(Debug)]
pub enum RequestBody {
    /// In memory; may be sent twice.
    Pieces(Pieces),
    /// From the client as it comes; sent once.
    Stream(Stream),
}

/// What a streamed body failed with; the cause is the client's, not the upstream's.
pub type BodyProblem = Box<dyn std::error::Error + Send + Sync>;

/// Marks a response, among its extensions, whose body hands over all that is there in as large pieces as it has.
#[derive(Clone, Copy, Debug)]
pub struct Gathered;

/// Marks a response, among its extensions, whose request was read to its end and whose body may last long: its connection
/// may be lent to it.
#[derive(Clone, Copy, Debug)]
pub struct Lasting;

/// A streamed body that remembers when it last moved.
pub struct Stream {
    inner: UnsyncBoxBody<Bytes, BodyProblem>,
    /// What was waited for before anything is sent.
    first: Option<Frame<Bytes>>,
    moved: Arc<Mutex<Instant>>,
}

/// When a body last gave up a frame; the wait for an answer starts from there.
#[derive(Clone, Debug)]
pub(super) struct Movement(Option<Arc<Mutex<Instant>>>);

impl Pieces {
    /// Joins pieces in order; empty ones are skipped when sending.
    #[must_use]
    pub fn new(pieces: [Bytes; 3]) -> Self {
        Self { pieces, next: 0 }
    }

    /// Returns the bytes still to be sent.
    #[must_use]
    pub fn remaining_bytes(&self) -> u64 {
        self.pieces.iter().skip(self.next).map(|piece| piece.len() as u64).sum()
    }
}

impl From<Bytes> for Pieces {
    fn from(whole: Bytes) -> Self {
        Self::new([whole, Bytes::new(), Bytes::new()])
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let next = self.next;
        let Some(skip) = self.pieces.iter().skip(next).position(|piece| !piece.is_empty()) else {
            return Poll::Ready(None);
        };
        self.next = next + skip + 1;
        Poll::Ready(self.pieces.get_mut(next + skip).map(|piece| Ok(Frame::data(std::mem::take(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining_bytes() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining_bytes())
    }
}

impl RequestBody {
    /// Returns a body of nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self::Pieces(Pieces::default())
    }

    /// Wraps a body that is passed on as it comes.
    pub fn stream<B>(body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BodyProblem>,
    {
        let inner = UnsyncBoxBody::new(body.map_err(Into::into));
        Self::Stream(Stream { inner, first: None, moved: Arc::new(Mutex::new(Instant::now())) })
    }

    /// Waits for the first piece of a streamed body, so that of one that is refused in it nothing is sent.
    pub(super) async fn begin(&mut self) -> Result<(), BodyProblem> {
        if let Self::Stream(stream) = self {
            stream.first = stream.inner.frame().await.transpose()?;
        }
        Ok(())
    }

    /// Returns the same body again where that is possible.
    #[must_use]
    pub fn replay(&self) -> Option<Self> {
        match self {
            Self::Pieces(pieces) => Some(Self::Pieces(pieces.clone())),
            Self::Stream(_) => None,
        }
    }

    pub(super) fn movement(&self) -> Movement {
        match self {
            Self::Pieces(_) => Movement(None),
            Self::Stream(stream) => Movement(Some(Arc::clone(&stream.moved))),
        }
    }
}

impl From<Bytes> for RequestBody {
    fn from(whole: Bytes) -> Self {
        Self::Pieces(whole.into())
    }
}

impl From<Pieces> for RequestBody {
    fn from(pieces: Pieces) -> Self {
        Self::Pieces(pieces)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyProblem;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyProblem>>> {
        match self.get_mut() {
            Self::Pieces(pieces) => {
                Pin::new(pieces).poll_frame(context).map(|frame| frame.map(|whole| Ok(whole?)))
            }
            Self::Stream(stream) => {
                let polled = match stream.first.take() {
                    Some(first) => Poll::Ready(Some(Ok(first))),
                    None => Pin::new(&mut stream.inner).poll_frame(context),
                };
                if polled.is_ready() {
                    *stream.moved.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Pieces(pieces) => pieces.is_end_stream(),
            Self::Stream(stream) => stream.first.is_none() && stream.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Pieces(pieces) => pieces.size_hint(),
            Self::Stream(stream) => {
                let first = stream.first.as_ref().and_then(Frame::data_ref).map_or(0, Bytes::len) as u64;
                let inner = stream.inner.size_hint();
                let mut hint = SizeHint::new();
                hint.set_lower(inner.lower().saturating_add(first));
                if let Some(upper) = inner.upper() {
                    hint.set_upper(upper.saturating_add(first));
                }
                hint
            }
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Stream(…)")
    }
}

impl Movement {
    /// Returns the later of `start` and the last movement.
    pub(super) fn since(&self, start: Instant) -> Instant {
        let moved = self.0.as_ref().map(|moved| *moved.lock().unwrap_or_else(PoisonError::into_inner));
        moved.map_or(start, |moved| moved.max(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sent(body: Pieces) -> Vec<u8> {
        let length = body.size_hint().exact().unwrap();
        let bytes = body.collect().await.unwrap().to_bytes().to_vec();
        assert_eq!(bytes.len() as u64, length);
        bytes
    }

    #[tokio::test]
    async fn an_unchanged_body_is_sent_as_received() {
        let body = Bytes::from_static(b"{\"model\":\"a\"}");
        assert_eq!(sent(body.clone().into()).await, body);
        assert!(Pieces::from(Bytes::new()).is_end_stream());
    }

    #[tokio::test]
    async fn a_clone_taken_before_sending_sends_it_all_again() {
        let pieces = ["{\"model\":", "\"b\"", "}"].map(Bytes::from);
        let first = Pieces::new(pieces);
        let again = first.clone();
        assert_eq!(sent(first).await, b"{\"model\":\"b\"}");
        assert_eq!(sent(again).await, b"{\"model\":\"b\"}");
    }
}
