//! The edges towards clients and operators: listener, TLS, connections, drain.
//!
//! A port speaks HTTP/1.1 and HTTP/2 (by prior knowledge; over TLS by ALPN). Each request goes to one
//! handler; what arrives in a form with two readings never reaches it, and a handler that panics costs its own
//! request only. What requests mean, sizes of bodies and their pace are the handler's business.
//!
//! Limits: open connections as configured, further ones are accepted and closed at once, so that nobody waits
//! in a queue he cannot see; a head 64 KiB and 100 headers (32 KiB over HTTP/2), in `header_timeout`; idle
//! connections 75 s; an answer nobody takes 120 s; 100 streams per connection; HTTP/2 frames that ask nothing 1,000 at once
//! and 100 a second.

mod coalesce;
mod connection;
mod frames;
mod framing;
mod guarded;
mod lasting;
mod pace;
mod strict;
mod taking;
mod tls;
mod workers;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::task::TaskTracker;

use crate::config;
use crate::limit::Gate;
use crate::telemetry::Metrics;
use crate::upstream::BodyProblem;

pub use crate::upstream::{Route, route};
pub use coalesce::Coalesce;
pub use tls::{Certificates, Renewed};
pub use workers::Workers;

use connection::{Protocol, Stage};
use taking::Streams;
use workers::Place;

/// A bound port, not yet serving.
#[derive(Debug)]
pub struct Listener<P = TcpListener> {
    port: P,
    address: SocketAddr,
    certificates: Option<Arc<Certificates>>,
    header_timeout: Duration,
    drain_timeout: Duration,
    taking_timeout: Duration,
    max_connections: usize,
}

/// Where connections come from.
pub trait Port: Send {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Waits for the next one, and says who it is from.
    fn accept(&self) -> impl Future<Output = (Self::Stream, SocketAddr)> + Send;

    /// Moves a connection to the runtime in which this is called.
    ///
    /// # Errors
    /// When its reactor does not take it.
    fn moved(stream: Self::Stream) -> io::Result<Self::Stream>;
}

/// What stands before new connections.
pub struct Door {
    /// Bounds how many come at once; the rest is closed.
    pub gate: Gate,
    /// Counts them, where they are clients'.
    pub metrics: Option<Arc<Metrics>>,
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The client's address.
    pub address: SocketAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

/// Why the server answers in place of the handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The handler panicked: a 500.
    Panicked,
    /// The request has two readings, or asks for a tunnel: a 400, saying what is wrong with it.
    Malformed(&'static str),
    /// The head is longer than anybody's: a 431.
    HeadTooLarge,
}

/// What a listener saw in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Connections served.
    pub accepted: u64,
    /// Connections closed at once because too many were open.
    pub turned_away: u64,
    /// Connections that were still open when the drain began, and ended by themselves.
    pub finished: usize,
    /// Connections cut at the drain's deadline.
    pub cut: usize,
}

/// Why a listener cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ListenProblem {
    /// Somebody else has the port.
    #[error(
        "{listen} is taken by another process: stop that one, or set another address as {section}.listen"
    )]
    Taken {
        /// As configured.
        listen: SocketAddr,
        /// `server` or `admin`.
        section: &'static str,
    },
    /// Ports below 1024 need a privilege.
    #[error(
        "not allowed to listen on {listen}: set a port of 1024 or above as {section}.listen, or grant the privilege"
    )]
    Forbidden {
        /// As configured.
        listen: SocketAddr,
        /// `server` or `admin`.
        section: &'static str,
    },
    /// The address is not one of this machine, or worse.
    #[error("cannot listen on {listen}: {reason}; check {section}.listen")]
    Unusable {
        /// As configured.
        listen: SocketAddr,
        /// `server` or `admin`.
        section: &'static str,
        /// What the system said.
        reason: String,
    },
    /// Certificate or key cannot be used.
    #[error("cannot use {path} ({section}.tls): {reason}")]
    Certificate {
        /// `server` or `admin`.
        section: &'static str,
        /// The file at fault.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl Listener {
    /// Binds the port of clients and reads its certificates.
    ///
    /// # Errors
    /// When the address cannot be had or a certificate cannot be used; the text says what to change.
    pub async fn bind(config: &config::Server) -> Result<Self, ListenProblem> {
        let bound = Self::bind_at("server", config.listen, config.tls.as_ref()).await?;
        Ok(Self {
            header_timeout: config.header_timeout,
            drain_timeout: config.drain_timeout,
            max_connections: config.max_connections.min(Semaphore::MAX_PERMITS),
            ..bound
        })
    }

    /// Binds the port of operators and reads its certificates.
    ///
    /// # Errors
    /// As for [`Listener::bind`].
    pub async fn bind_admin(config: &config::Admin) -> Result<Self, ListenProblem> {
        Self::bind_at("admin", config.listen, config.tls.as_ref()).await
    }

    async fn bind_at(
        section: &'static str,
        listen: SocketAddr,
        tls: Option<&config::Tls>,
    ) -> Result<Self, ListenProblem> {
        let certificates = tls.map(|files| Certificates::load(section, files)).transpose()?.map(Arc::new);
        let tcp = TcpListener::bind(listen).await.map_err(|error| problem(section, listen, &error))?;
        let address = tcp.local_addr().map_err(|error| problem(section, listen, &error))?;
        Ok(Self {
            port: tcp,
            address,
            certificates,
            header_timeout: ADMIN_HEADER_TIMEOUT,
            drain_timeout: ADMIN_DRAIN_TIMEOUT,
            taking_timeout: pace::TAKING_TIMEOUT,
            max_connections: ADMIN_CONNECTIONS_MAX,
        })
    }
}

impl<P: Port> Listener<P> {
    /// Returns a listener on another port than the system's.
    #[cfg(test)]
    pub(crate) fn over(port: P, address: SocketAddr, config: &config::Server) -> Self {
        Self {
            port,
            address,
            certificates: None,
            header_timeout: config.header_timeout,
            drain_timeout: config.drain_timeout,
            taking_timeout: pace::TAKING_TIMEOUT,
            max_connections: config.max_connections.min(Semaphore::MAX_PERMITS),
        }
    }

    /// Returns the address bound, with the port the system chose where 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the certificates in use, so that they can be read anew while serving.
    #[must_use]
    pub fn certificates(&self) -> Option<Arc<Certificates>> {
        self.certificates.clone()
    }

    /// Serves until `shutdown` resolves, then drains.
    ///
    /// Draining: the port is closed, connections are asked to finish what they have begun, and those still
    /// open after `drain_timeout` are cut. `refuse` makes the answers given in place of the handler, `door` bounds and counts
    /// connections, `workers` serve them. Dropping the future cuts all connections.
    pub async fn serve<H, F, R, B>(
        self,
        handler: H,
        refuse: R,
        door: Door,
        workers: Workers,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Drained
    where
        H: Fn(Request<Incoming>, Peer) -> F + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        R: Fn(Refusal) -> Response<B> + Send + Sync + 'static,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BodyProblem>,
    {
        let (stage, watched) = watch::channel(Stage::Open);
        let tracker = TaskTracker::new();
        let slots = Arc::new(Semaphore::new(self.max_connections));
        let streams = Streams { taking_timeout: self.taking_timeout };
        let protocol = Protocol::new(self.header_timeout, streams, self.certificates.clone());
        let handler = Arc::new(guarded::Guarded::new(handler, refuse));
        let mut drained = Drained::default();
        let accepting = async {
            loop {
                let (stream, address) = self.port.accept().await;
                let (Ok(slot), Ok(())) = (Arc::clone(&slots).try_acquire_owned(), door.gate.pass()) else {
                    drained.turned_away += 1;
                    continue;
                };
                let place = workers.place();
                let Ok(stream) = moved::<P>(stream, &place) else {
                    drained.turned_away += 1;
                    continue;
                };
                drained.accepted += 1;
                let counted = Counted::of(door.metrics.as_ref());
                let serving = protocol.clone().serve(stream, address, Arc::clone(&handler), watched.clone());
                let runtime = place.runtime.clone();
                let served = async move {
                    serving.await;
                    drop((counted, slot, place));
                };
                tracker.spawn_on(served, &runtime);
            }
        };
        tokio::select! {
            biased;
            () = shutdown => {}
            () = accepting => {}
        }
        drop(self.port);
        stage.send_replace(Stage::Draining);
        tracker.close();
        let open = tracker.len();
        if tokio::time::timeout(self.drain_timeout, tracker.wait()).await.is_err() {
            drained.cut = tracker.len();
            stage.send_replace(Stage::Cut);
            tracker.wait().await;
        }
        drained.finished = open.saturating_sub(drained.cut);
        drained
    }
}

/// Moves a connection to its place; here rather than there, where its task would be larger for as long as it lives.
fn moved<P: Port>(stream: P::Stream, place: &Place) -> io::Result<P::Stream> {
    if !place.is_elsewhere() {
        return Ok(stream);
    }
    let _there = place.runtime.enter();
    P::moved(stream)
}

/// Counts a connection as open as long as it lives.
struct Counted(Option<Arc<Metrics>>);

impl Counted {
    fn of(metrics: Option<&Arc<Metrics>>) -> Self {
        if let Some(metrics) = metrics {
            metrics.connection_opened();
        }
        Self(metrics.cloned())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(metrics) = &self.0 {
            metrics.connection_closed();
        }
    }
}

impl Port for TcpListener {
    type Stream = TcpStream;

    /// Where the system has no descriptor left, it waits for one to be closed.
    async fn accept(&self) -> (TcpStream, SocketAddr) {
        loop {
            match Self::accept(self).await {
                Ok((stream, address)) => {
                    // Fails only where the connection is already gone.
                    let _ = stream.set_nodelay(true);
                    return (stream, address);
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections, trying again");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn moved(stream: TcpStream) -> io::Result<TcpStream> {
        TcpStream::from_std(stream.into_std()?)
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn problem(section: &'static str, listen: SocketAddr, error: &io::Error) -> ListenProblem {
    match error.kind() {
        io::ErrorKind::AddrInUse => ListenProblem::Taken { listen, section },
        io::ErrorKind::PermissionDenied => ListenProblem::Forbidden { listen, section },
        _ => ListenProblem::Unusable { listen, section, reason: error.to_string() },
    }
}

/// Time for the head of an operator's request, and for a TLS handshake before it.
const ADMIN_HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the operators' listener may take to end; a browser may hold a connection to the dashboard open.
const ADMIN_DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// Open connections of operators, scrapers and health checks.
const ADMIN_CONNECTIONS_MAX: usize = 1_000;
/// Pause after a failure to accept that will not pass by itself.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
