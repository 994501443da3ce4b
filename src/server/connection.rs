//! One connection from its handshake to its end.
//!
//! Nothing here is shared between connections but the handler. A connection ends when its client leaves, when
//! it dawdles ([`super::pace`]), when a drain has let it finish, or when the drain's deadline cuts it.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::coalesce::Coalesce;
use super::framing::HEAD_MAX_BYTES;
use super::guarded::Guarded;
use super::pace::{Pace, Paced};
use super::strict::{Faults, Strict};
use super::taking::{self, Streams};
use super::tls::Certificates;
use super::{Peer, Refusal};
use crate::upstream::BodyProblem;

/// What connections are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Serve.
    Open,
    /// Finish what has begun.
    Draining,
    /// End now.
    Cut,
}

/// How connections are spoken to.
#[derive(Clone)]
pub(super) struct Protocol {
    http: auto::Builder<Streams>,
    tls: Option<Arc<Certificates>>,
    header_timeout: Duration,
}

impl Protocol {
    pub(super) fn new(header_timeout: Duration, streams: Streams, tls: Option<Arc<Certificates>>) -> Self {
        let mut http = auto::Builder::new(streams);
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .half_close(true)
            .max_buf_size(HEAD_MAX_BYTES);
        // The library's own limits on resets and continuation frames stay on.
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEADER_LIST_MAX_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buf_size(HEAD_MAX_BYTES)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        Self { http, tls, header_timeout }
    }

    /// Serves one connection to its end.
    pub(super) async fn serve<H, F, R, B>(
        self,
        stream: TcpStream,
        address: SocketAddr,
        handler: Arc<Guarded<H, R>>,
        stage: watch::Receiver<Stage>,
    ) where
        H: Fn(Request<Incoming>, Peer) -> F + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        R: Fn(Refusal) -> Response<B> + Send + Sync + 'static,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BodyProblem>,
    {
        // Fails only where the connection is already gone.
        let _ = stream.set_nodelay(true);
        let peer = Peer { address, tls: self.tls.is_some() };
        let Some(acceptor) = self.tls.as_ref().map(|tls| TlsAcceptor::from(tls.server())) else {
            return self.speak(stream, peer, handler, stage).await;
        };
        // Boxed: a connection's task is half as large where it has no room for a TLS session.
        Box::pin(self.speak_tls(acceptor, stream, peer, handler, stage)).await;
    }

    async fn speak_tls<H, F, R, B>(
        self,
        acceptor: TlsAcceptor,
        stream: TcpStream,
        peer: Peer,
        handler: Arc<Guarded<H, R>>,
        stage: watch::Receiver<Stage>,
    ) where
        H: Fn(Request<Incoming>, Peer) -> F + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        R: Fn(Refusal) -> Response<B> + Send + Sync + 'static,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BodyProblem>,
    {
        let address = peer.address;
        let mut ending = stage.clone();
        let handshake = tokio::time::timeout(self.header_timeout, acceptor.accept(stream));
        let shaken = tokio::select! {
            shaken = handshake => shaken,
            _ = ending.wait_for(|stage| *stage != Stage::Open) => return,
        };
        match shaken {
            Ok(Ok(stream)) => self.speak(stream, peer, handler, stage).await,
            Ok(Err(error)) => tracing::debug!(%address, %error, "no tls handshake"),
            Err(_late) => tracing::debug!(%address, "tls handshake took too long"),
        }
    }

    async fn speak<S, H, F, R, B>(
        self,
        stream: S,
        peer: Peer,
        handler: Arc<Guarded<H, R>>,
        mut stage: watch::Receiver<Stage>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Fn(Request<Incoming>, Peer) -> F + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        R: Fn(Refusal) -> Response<B> + Send + Sync + 'static,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BodyProblem>,
    {
        let pace = Pace::new(self.header_timeout);
        let faults = Faults::default();
        let stream = Strict::new(Paced::new(stream, Arc::clone(&pace)), faults.clone());
        let stream = TokioIo::new(stream);
        let noted = Arc::clone(&pace);
        let service = service_fn(move |request: Request<Incoming>| {
            let in_flight = noted.begin(request.version());
            let handler = Arc::clone(&handler);
            let refused = faults.of(&request);
            async move {
                let response = handler.answer(request, peer, refused).await;
                taking::handed();
                Ok::<_, Infallible>(Coalesce::of(response, in_flight))
            }
        });
        let mut connection = pin!(self.http.serve_connection(stream, service));
        let mut alarm = pin!(tokio::time::sleep(self.header_timeout));
        let mut draining = false;
        loop {
            tokio::select! {
                biased;
                ended = poll_fn(|context| { pace.turn(); connection.as_mut().poll(context) }) => {
                    if let Err(error) = ended {
                        tracing::debug!(address = %peer.address, %error, "connection ended early");
                    }
                    return;
                }
                told = stage.wait_for(|stage| *stage == Stage::Cut || *stage == Stage::Draining && !draining) => {
                    match told.as_deref() {
                        Ok(Stage::Draining) => draining = true,
                        _ => return,
                    }
                }
                () = alarm.as_mut() => match pace.look(Instant::now()) {
                    Some(next) => { alarm.as_mut().reset(next); continue }
                    None => return,
                }
            }
            connection.as_mut().graceful_shutdown();
        }
    }
}

/// Longest list of headers over HTTP/2.
const HEADER_LIST_MAX_BYTES: u32 = 32 * 1024;
/// Requests at a time on one HTTP/2 connection.
const STREAMS_MAX: u32 = 100;
/// Unread bytes of one HTTP/2 request.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// Unread bytes of one HTTP/2 connection.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Silence after which an HTTP/2 client is asked whether it is there.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long it may take to say so.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
