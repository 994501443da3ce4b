//! Connections in memory that end as those of a network do, and the port that clients reach.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::{Mutex, mpsc};

use crate::journal::disk::Disk;
use crate::server::Port;

/// One end of a connection; nothing moves over it once the process has died.
pub(super) struct Wire {
    inner: DuplexStream,
    reset: Reset,
    disk: Disk,
}

/// Ends a connection with a reset in place of an end, once its wire is dropped.
#[derive(Clone, Debug, Default)]
pub(super) struct Reset(Arc<AtomicBool>);

/// Returns the two ends of a connection that holds so many bytes each way.
pub(super) fn wires(bytes: usize, disk: &Disk) -> (Wire, Wire) {
    let (one, other) = tokio::io::duplex(bytes);
    let reset = Reset::default();
    let wire = |inner| Wire { inner, reset: reset.clone(), disk: disk.clone() };
    (wire(one), wire(other))
}

impl Wire {
    pub(super) fn resetting(&self) -> Reset {
        self.reset.clone()
    }
}

impl Reset {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.disk.is_dead() {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        let ended = buffer.filled().len() == before && buffer.remaining() > 0;
        Poll::Ready(if ended && self.reset.is_set() {
            Err(io::ErrorKind::ConnectionReset.into())
        } else {
            Ok(())
        })
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.disk.is_dead() {
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// A port in memory.
pub(super) struct Harbour(Mutex<mpsc::Receiver<Wire>>);

/// The way to it.
pub(super) type Way = mpsc::Sender<Wire>;

impl Harbour {
    pub(super) fn open() -> (Self, Way) {
        let (way, arrivals) = mpsc::channel(64);
        (Self(Mutex::new(arrivals)), way)
    }
}

impl Port for Harbour {
    type Stream = Wire;

    async fn accept(&self) -> (Wire, SocketAddr) {
        match self.0.lock().await.recv().await {
            Some(wire) => (wire, ADDRESS),
            None => std::future::pending().await,
        }
    }

    fn moved(stream: Wire) -> io::Result<Wire> {
        Ok(stream)
    }
}

/// Where everybody is.
pub(super) const ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);
