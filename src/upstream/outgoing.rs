//! What is on its way out over a connection: a head, where it has one, then a body as that comes, framed by its length or
//! in chunks. Requests to the upstream, and answers to clients that last long.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{Method, Request};
use http_body::Body;
use tokio::io::AsyncWrite;

use super::body::{BodyProblem, RequestBody};

/// What is not written yet.
pub struct Outgoing<B> {
    /// To be written, in order.
    ready: VecDeque<Bytes>,
    ready_bytes: usize,
    /// What is still to come of the body.
    body: Option<B>,
    /// How much of it is to come, where that was said; else it goes in chunks.
    left: Option<u64>,
    begun: bool,
}

impl Outgoing<RequestBody> {
    /// Writes a request's head; its headers must not frame the body.
    pub(super) fn new(request: Request<RequestBody>) -> Self {
        let (head, body) = request.into_parts();
        let left = body.size_hint().exact();
        let mut text = BytesMut::with_capacity(HEAD_BYTES);
        text.put_slice(head.method.as_str().as_bytes());
        text.put_u8(b' ');
        text.put_slice(head.uri.path_and_query().map_or("/", |target| target.as_str()).as_bytes());
        text.put_slice(b" HTTP/1.1\r\n");
        for (name, value) in &head.headers {
            text.put_slice(name.as_str().as_bytes());
            text.put_slice(b": ");
            text.put_slice(value.as_bytes());
            text.put_slice(b"\r\n");
        }
        match left {
            // No length says that no body was meant, which these methods do not allow for.
            Some(0) if matches!(head.method, Method::GET | Method::HEAD | Method::DELETE) => {}
            Some(length) => {
                text.put_slice(b"content-length: ");
                text.put_slice(itoa::Buffer::new().format(length).as_bytes());
                text.put_slice(b"\r\n");
            }
            None => text.put_slice(b"transfer-encoding: chunked\r\n"),
        }
        text.put_slice(b"\r\n");
        let (ready_bytes, body) = (text.len(), Some(body).filter(|_| left != Some(0)));
        Self { ready: VecDeque::from([text.freeze()]), ready_bytes, body, left, begun: false }
    }

    /// Tells whether a byte was written.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }
}

impl<B> Outgoing<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyProblem>,
{
    /// Returns a body that goes out in chunks behind a head that was written already.
    #[must_use]
    pub fn in_chunks(body: B) -> Self {
        Self { ready: VecDeque::new(), ready_bytes: 0, body: Some(body), left: None, begun: true }
    }

    /// Writes what can be; ready once all of it is.
    ///
    /// # Errors
    /// Where the body fails, or the connection takes no more.
    pub fn poll<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Unsent>> {
        loop {
            let waits = self.gather(context).map_err(Unsent::Body)?;
            while self.ready_bytes > 0 {
                let written = ready!(self.write(stream, context)).map_err(|_| Unsent::Broken)?;
                self.begun = true;
                self.advance(written);
            }
            ready!(Pin::new(&mut *stream).poll_flush(context)).map_err(|_| Unsent::Broken)?;
            if self.body.is_none() {
                return Poll::Ready(Ok(()));
            }
            if waits {
                return Poll::Pending;
            }
        }
    }

    /// Takes of the body what is there, up to a bound; tells whether more is waited for.
    fn gather(&mut self, context: &mut Context<'_>) -> Result<bool, BodyProblem> {
        while let Some(body) = self.body.as_mut().filter(|_| self.ready_bytes < READY_MAX_BYTES) {
            match Pin::new(body).poll_frame(context) {
                Poll::Pending => return Ok(true),
                Poll::Ready(Some(Err(problem))) => return Err(problem.into()),
                // Trailers are not passed on.
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.add(data)?;
                    }
                }
                Poll::Ready(None) => self.end()?,
            }
        }
        Ok(false)
    }

    fn add(&mut self, data: Bytes) -> Result<(), BodyProblem> {
        if data.is_empty() {
            return Ok(());
        }
        let Some(left) = &mut self.left else {
            self.push(Bytes::from(format!("{:x}\r\n", data.len())));
            self.push(data);
            self.push(Bytes::from_static(b"\r\n"));
            return Ok(());
        };
        *left = left.checked_sub(data.len() as u64).ok_or_else(|| wrong("is longer than it said"))?;
        let ended = *left == 0;
        self.push(data);
        if ended {
            self.body = None;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), BodyProblem> {
        self.body = None;
        match self.left {
            None => self.push(Bytes::from_static(b"0\r\n\r\n")),
            Some(0) => {}
            Some(_) => return Err(wrong("ended before its length")),
        }
        Ok(())
    }

    fn push(&mut self, bytes: Bytes) {
        self.ready_bytes += bytes.len();
        self.ready.push_back(bytes);
    }

    fn write<S: AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut filled = 0;
        for (slice, bytes) in slices.iter_mut().zip(&self.ready) {
            *slice = IoSlice::new(bytes);
            filled += 1;
        }
        let slices = slices.get(..filled).unwrap_or_default();
        match ready!(Pin::new(stream).poll_write_vectored(context, slices)) {
            Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            written => Poll::Ready(written),
        }
    }

    fn advance(&mut self, mut written: usize) {
        self.ready_bytes = self.ready_bytes.saturating_sub(written);
        while let Some(first) = self.ready.front_mut() {
            let some = written.min(first.len());
            first.advance(some);
            written -= some;
            if !first.is_empty() {
                return;
            }
            self.ready.pop_front();
        }
    }
}

/// Why something was not written whole.
#[derive(Debug)]
pub enum Unsent {
    /// Its body failed.
    Body(BodyProblem),
    /// The connection takes no more.
    Broken,
}

fn wrong(what: &str) -> BodyProblem {
    format!("the request's body {what}").into()
}

/// Room for a head as most are.
const HEAD_BYTES: usize = 1_024;
/// Bytes of a body taken before they are written; one frame may go beyond.
const READY_MAX_BYTES: usize = 64 * 1024;
/// Pieces written at once.
const SLICES_MAX: usize = 16;
