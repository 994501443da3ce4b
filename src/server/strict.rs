//! A client's connection whose HTTP/1.1 framing has one reading.
//!
//! A head passes to the parser behind only when it is whole and sound ([`super::framing`]). For a head that is
//! not, the parser is given [`STAND_IN`], a request of ours, so that what was pipelined before it is answered
//! first and the refusal is an answer like any other; nothing after it is read. For a fault in a body it is given
//! what no parser takes for a chunk. Heads that come in one piece, as nearly all do, are not copied.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Refusal;
use super::framing::Framing;
use super::lasting::Parting;

/// What was wrong with the framing of one connection's requests; the first fault is the last.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults(Arc<OnceLock<Refusal>>);

/// A stream that refuses what could be read two ways.
pub(super) struct Strict<S> {
    inner: S,
    framing: Framing,
    /// A head that is not whole, or what the parser had no room for.
    held: BytesMut,
    /// How many of the held bytes may pass.
    sound: usize,
    faults: Faults,
    parting: Parting,
    /// Nothing further is read.
    closed: bool,
}

/// How a connection speaks, once its first bytes have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begun {
    /// It ended, with nothing to be answered.
    Over,
    /// HTTP/1.
    Heads,
    /// HTTP/2.
    Frames,
}

impl Faults {
    /// Returns why a request is refused, where it stands in for one with a fault.
    pub(super) fn of<B>(&self, request: &Request<B>) -> Option<Refusal> {
        self.0.get().copied().filter(|_| request.method() == STAND_IN_METHOD)
    }
}

impl<S> Strict<S> {
    pub(super) fn new(inner: S, faults: Faults, parting: Parting) -> Self {
        let (framing, held) = (Framing::Start, BytesMut::new());
        Self { inner, framing, held, sound: 0, faults, parting, closed: false }
    }

    /// Takes back what was handed on and not read.
    pub(super) fn give_back(&mut self, unread: &[u8]) {
        if !unread.is_empty() {
            let held = [unread, &self.held].concat();
            (self.held, self.sound) = (BytesMut::from(&*held), self.sound + unread.len());
        }
    }

    /// Hands on what may pass, as far as there is room.
    fn release(&mut self, buffer: &mut ReadBuf<'_>) {
        let some = self.sound.min(buffer.remaining());
        buffer.put_slice(self.held.get(..some).unwrap_or_default());
        self.held.advance(some);
        self.sound -= some;
        if self.held.is_empty() {
            self.held = BytesMut::new();
        }
    }

    /// Judges what was just read into `buffer` behind its first `before` bytes; leaves there what may pass.
    fn judge(&mut self, buffer: &mut ReadBuf<'_>, before: usize) {
        let read = buffer.filled().get(before..).unwrap_or_default();
        let fault = if self.held.is_empty() {
            let (passed, fault) = sorted(self.framing.read(read));
            self.held.extend_from_slice(read.get(passed..).unwrap_or_default());
            buffer.set_filled(before + passed);
            fault
        } else {
            self.held.extend_from_slice(read);
            buffer.set_filled(before);
            let (passed, fault) = sorted(self.framing.read(&self.held));
            self.sound = passed;
            fault
        };
        if let Some(fault) = fault {
            self.refuse(fault);
        }
    }

    fn refuse(&mut self, fault: Refusal) {
        self.closed = true;
        self.held.truncate(self.sound);
        if matches!(self.framing, Framing::Frames(_)) {
            // What comes next is the end, which closes the connection and all its streams.
        } else if self.framing.in_body() {
            self.held.extend_from_slice(NO_CHUNK);
        } else {
            // Set once: nothing is read after the first fault.
            let _ = self.faults.0.set(fault);
            self.held.extend_from_slice(STAND_IN);
        }
        self.sound = self.held.len();
    }
}

impl<S: AsyncRead + Unpin> Strict<S> {
    /// Reads until it is known how the connection goes on; holds what was read.
    pub(super) fn poll_begin(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Begun>> {
        while self.held.is_empty() || matches!(self.framing, Framing::Start) {
            if self.closed {
                return Poll::Ready(Ok(Begun::Over));
            }
            let mut room = [MaybeUninit::uninit(); FIRST_BYTES];
            let mut buffer = ReadBuf::uninit(&mut room);
            std::task::ready!(Pin::new(&mut self.inner).poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(Begun::Over));
            }
            self.held.extend_from_slice(buffer.filled());
            let (passed, fault) = sorted(self.framing.read(&self.held));
            self.sound = passed;
            if let Some(fault) = fault {
                self.refuse(fault);
            }
        }
        let frames = matches!(self.framing, Framing::Frames(_));
        Poll::Ready(Ok(if frames { Begun::Frames } else { Begun::Heads }))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Strict<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        loop {
            self.release(buffer);
            if buffer.filled().len() > before || self.closed || buffer.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            std::task::ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
            if buffer.filled().len() == before {
                return Poll::Ready(Ok(()));
            }
            self.judge(buffer, before);
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Strict<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.parting.flushed();
        }
        flushed
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
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }
}

fn sorted(read: Result<usize, (usize, Refusal)>) -> (usize, Option<Refusal>) {
    match read {
        Ok(passed) => (passed, None),
        Err((passed, fault)) => (passed, Some(fault)),
    }
}

/// What is read at once of what a connection begins with.
const FIRST_BYTES: usize = 8 * 1024;
/// What the parser is given in place of a head with a fault. A client that sends its method is told so.
const STAND_IN: &[u8] = b"REFUSED / HTTP/1.1\r\nhost: -\r\nconnection: close\r\n\r\n";
const STAND_IN_METHOD: &str = "REFUSED";
/// What cannot go on a body in chunks, wherever between two of them it stands: the parser fails the body and
/// answers, where an error of the stream would end the connection without an answer.
const NO_CHUNK: &[u8] = b"\0\n\r\0";
