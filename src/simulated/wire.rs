//! The accepted connection, with a handle for faults below HTTP: a TCP reset, or bytes of our own in place of what
//! the HTTP library would write.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What a request can do to its own connection.
#[derive(Debug, Default)]
pub(super) struct Faults {
    reset: AtomicBool,
    raw: Mutex<Option<Vec<u8>>>,
}

impl Faults {
    /// Makes the connection end with a reset when it is next closed.
    pub(super) fn reset(&self) {
        self.reset.store(true, Ordering::Release);
    }

    /// Sends these bytes instead of the next answer, then nothing more.
    pub(super) fn replace(&self, bytes: Vec<u8>) {
        *self.raw.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes);
    }
}

/// A connection that obeys its [`Faults`].
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    faults: Arc<Faults>,
    raw: Option<Vec<u8>>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, faults: Arc<Faults>) -> Self {
        Self { stream, faults, raw: None }
    }

    fn write_raw(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(bytes) = self.faults.raw.lock().unwrap_or_else(PoisonError::into_inner).take() {
            self.raw = Some(bytes);
        }
        while let Some(bytes) = self.raw.as_mut().filter(|bytes| !bytes.is_empty()) {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
            bytes.drain(..written.min(bytes.len()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.write_raw(context))?;
        if self.raw.is_some() {
            return Poll::Ready(Ok(buffer.len()));
        }
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.faults.reset.load(Ordering::Acquire) {
            return Poll::Ready(self.stream.set_zero_linger());
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.faults.reset.load(Ordering::Acquire) {
            // The socket may be gone already; then there is nothing left to reset.
            drop(self.stream.set_zero_linger());
        }
    }
}
