//! One connection from its handshake to its end.
//!
//! Nothing here is shared between connections but the handler. A connection ends when its client leaves, when
//! it dawdles ([`super::pace`]), when a drain has let it finish, or when the drain's deadline cuts it.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::rt::bounds::Http2ServerConnExec;
use hyper::rt::{Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsAcceptor;

use super::coalesce::Coalesce;
use super::framing::HEAD_MAX_BYTES;
use super::guarded::Guarded;
use super::lasting::{Given, Parting, Waiting};
use super::pace::{Pace, Paced};
use super::strict::{Begun, Faults, Strict};
use super::taking::{self, Streams};
use super::tls::Certificates;
use super::{Peer, Refusal};
use crate::upstream::{BodyProblem, Outgoing};

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
    http1: http1::Builder,
    http2: http2::Builder<Streams>,
    tls: Option<Arc<Certificates>>,
    header_timeout: Duration,
}

impl Protocol {
    pub(super) fn new(header_timeout: Duration, streams: Streams, tls: Option<Arc<Certificates>>) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .half_close(true)
            // The library's own refusal of a head is put behind the heads that wait to be written, which is before the
            // bodies of answers where those wait apart, as they do for a write of several pieces.
            .writev(false)
            .max_buf_size(HEAD_MAX_BYTES);
        // The library's own limits on resets and continuation frames stay on.
        let mut http2 = http2::Builder::new(streams);
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEADER_LIST_MAX_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buf_size(HEAD_MAX_BYTES)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        Self { http1, http2, tls, header_timeout }
    }

    /// Serves one connection to its end.
    pub(super) async fn serve<S, H, F, R, B>(
        self,
        stream: S,
        address: SocketAddr,
        handler: Arc<Guarded<H, R>>,
        stage: watch::Receiver<Stage>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Fn(Request<Incoming>, Peer) -> F + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        R: Fn(Refusal) -> Response<B> + Send + Sync + 'static,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BodyProblem>,
    {
        let peer = Peer { address, tls: self.tls.is_some() };
        let Some(acceptor) = self.tls.as_ref().map(|tls| TlsAcceptor::from(tls.server())) else {
            return self.speak(stream, peer, handler, stage).await;
        };
        // Boxed: a connection's task is half as large where it has no room for a TLS session.
        Box::pin(self.speak_tls(acceptor, stream, peer, handler, stage)).await;
    }

    async fn speak_tls<S, H, F, R, B>(
        self,
        acceptor: TlsAcceptor,
        stream: S,
        peer: Peer,
        handler: Arc<Guarded<H, R>>,
        stage: watch::Receiver<Stage>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
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
        stage: watch::Receiver<Stage>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Fn(Request<Incoming>, Peer) -> F + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        R: Fn(Refusal) -> Response<B> + Send + Sync + 'static,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BodyProblem>,
    {
        let pace = Pace::new(self.header_timeout);
        let (faults, parting) = (Faults::default(), Parting::default());
        let mut stream = Strict::new(Paced::new(stream, Arc::clone(&pace)), faults.clone(), parting.clone());
        let mut warden = Warden::new(Arc::clone(&pace), stage, self.header_timeout);
        let waiting = Arc::new(Waiting::new(parting.clone()));
        loop {
            let begun = warden.unless_told(poll_fn(|context| stream.poll_begin(context))).await;
            let Some(Ok(begun @ (Begun::Heads | Begun::Frames))) = begun else { return };
            let service = service(&pace, &faults, &handler, &waiting, peer);
            let io = TokioIo::new(stream);
            if begun == Begun::Frames {
                let connection = Box::pin(self.http2.serve_connection(io, service));
                drop(warden.watch(connection, peer, &|| false).await);
                return;
            }
            let connection = Box::pin(self.http1.serve_connection(io, service));
            let taken = warden.watch(connection, peer, &|| parting.is_due()).await;
            let (Some(connection), Some(body)) = (taken, waiting.take()) else { return };
            let parts = Pin::into_inner(connection).into_parts();
            stream = parts.io.into_inner();
            stream.give_back(&parts.read_buf);
            drop((parts.read_buf, parts.service));
            let mut outgoing = Outgoing::in_chunks(body);
            let written = warden.unless_cut(poll_fn(|context| outgoing.poll(&mut stream, context))).await;
            drop(outgoing);
            match written {
                Some(Ok(())) if warden.draining || waiting.is_last() => {
                    drop(stream.shutdown().await);
                    return;
                }
                Some(Ok(())) => {}
                _ => return,
            }
        }
    }
}

/// How a connection's requests are answered.
type Answering<B> = Pin<Box<dyn Future<Output = Result<Response<Given<B>>, Infallible>> + Send>>;

/// Returns what answers the requests of one connection; the work on each is given up when its answer is there.
fn service<H, F, R, B>(
    pace: &Arc<Pace>,
    faults: &Faults,
    handler: &Arc<Guarded<H, R>>,
    waiting: &Arc<Waiting<B>>,
    peer: Peer,
) -> impl HttpService<Incoming, ResBody = Given<B>, Error = Infallible, Future = Answering<B>> + use<H, F, R, B>
where
    H: Fn(Request<Incoming>, Peer) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    R: Fn(Refusal) -> Response<B> + Send + Sync + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BodyProblem>,
{
    let (pace, faults) = (Arc::clone(pace), faults.clone());
    let (handler, waiting) = (Arc::clone(handler), Arc::clone(waiting));
    service_fn(move |request: Request<Incoming>| -> Answering<B> {
        let in_flight = pace.begin(request.version());
        let (handler, waiting) = (Arc::clone(&handler), Arc::clone(&waiting));
        let refused = faults.of(&request);
        let may_part = request.version() == Version::HTTP_11;
        if may_part {
            waiting.heard(&request);
        }
        Box::pin(async move {
            let response = handler.answer(request, peer, refused).await;
            taking::handed();
            let response = Coalesce::of(response, in_flight);
            Ok(if may_part { waiting.give(response) } else { response.map(Given::Here) })
        })
    })
}

/// Watches over a connection: what it is told, and how it dawdles.
struct Warden {
    pace: Arc<Pace>,
    stage: watch::Receiver<Stage>,
    alarm: Pin<Box<Sleep>>,
    draining: bool,
}

/// What a connection can be told.
enum Told {
    /// To finish what has begun.
    Drain,
    /// To end.
    End,
}

/// A connection with its parser.
trait Spoken: Future<Output = hyper::Result<()>> + Unpin {
    /// Begins to end it.
    fn wind_down(&mut self);
}

impl<I, B, S> Spoken for Pin<Box<http1::Connection<I, S>>>
where
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<BodyProblem>,
    I: Read + Write + Unpin,
    B: Body + 'static,
    B::Error: Into<BodyProblem>,
{
    fn wind_down(&mut self) {
        self.as_mut().graceful_shutdown();
    }
}

impl<I, B, S> Spoken for Pin<Box<http2::Connection<I, S, Streams>>>
where
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<BodyProblem>,
    I: Read + Write + Unpin,
    B: Body + 'static,
    B::Error: Into<BodyProblem>,
    Streams: Http2ServerConnExec<S::Future, B>,
{
    fn wind_down(&mut self) {
        self.as_mut().graceful_shutdown();
    }
}

impl Warden {
    fn new(pace: Arc<Pace>, stage: watch::Receiver<Stage>, header_timeout: Duration) -> Self {
        let alarm = Box::pin(tokio::time::sleep(header_timeout));
        Self { pace, stage, alarm, draining: false }
    }

    /// Waits until the connection is to be told something, or its time is up.
    async fn told(&mut self) -> Told {
        loop {
            let draining = self.draining;
            let news = |stage: &Stage| *stage == Stage::Cut || *stage == Stage::Draining && !draining;
            tokio::select! {
                biased;
                told = self.stage.wait_for(news) => {
                    if !matches!(told.as_deref(), Ok(Stage::Draining)) {
                        return Told::End;
                    }
                    self.draining = true;
                    return Told::Drain;
                }
                () = self.alarm.as_mut() => match self.pace.look(Instant::now()) {
                    Some(next) => self.alarm.as_mut().reset(next),
                    None => return Told::End,
                }
            }
        }
    }

    /// Waits for something, unless the connection is to end, or to begin nothing more.
    async fn unless_told<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        if self.draining {
            return None;
        }
        tokio::select! {
            biased;
            done = work => Some(done),
            _ = self.told() => None,
        }
    }

    /// Waits for something, unless the connection is to end.
    async fn unless_cut<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = work.as_mut() => return Some(done),
                told = self.told() => if matches!(told, Told::End) { return None },
            }
        }
    }

    /// Serves a connection until it ends, or until it is due to be taken from its parser.
    async fn watch<C: Spoken>(
        &mut self,
        mut connection: C,
        peer: Peer,
        due: &impl Fn() -> bool,
    ) -> Option<C> {
        if self.draining {
            connection.wind_down();
        }
        loop {
            let served = poll_fn(|context| match Pin::new(&mut connection).poll(context) {
                Poll::Ready(ended) => Poll::Ready(Some(ended)),
                Poll::Pending if due() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            });
            tokio::select! {
                biased;
                served = served => match served {
                    None => return Some(connection),
                    Some(ended) => {
                        if let Err(error) = ended {
                            tracing::debug!(address = %peer.address, %error, "connection ended early");
                        }
                        return None;
                    }
                },
                told = self.told() => match told {
                    Told::Drain => connection.wind_down(),
                    Told::End => return None,
                },
            }
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
