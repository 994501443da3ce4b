//! Over real sockets, mostly with bytes written by hand.

use http::StatusCode;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::*;

mod lasting;
mod life;
mod tls;
mod workers;

type TestBody = UnsyncBoxBody<Bytes, io::Error>;

struct Running {
    address: SocketAddr,
    certificates: Option<Arc<Certificates>>,
    stop: oneshot::Sender<()>,
    /// Each sender feeds one answer to `/stream`.
    streams: mpsc::Receiver<mpsc::Sender<Bytes>>,
    serving: JoinHandle<Drained>,
}

fn config() -> config::Server {
    config::Server {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        public_url: String::new(),
        tls: None,
        max_body_bytes: 1 << 20,
        header_timeout: Duration::from_secs(10),
        body_timeout: Duration::from_secs(10),
        max_connections: 100,
        max_in_flight: 100,
        max_in_flight_bytes: 1 << 30,
        drain_timeout: Duration::from_secs(10),
    }
}

async fn running(config: &config::Server) -> Running {
    let listener = Listener::bind(config).await.unwrap();
    let (address, certificates) = (listener.address(), listener.certificates());
    let (stop, stopped) = oneshot::channel();
    let (sender, streams) = mpsc::channel(8);
    let handler = move |request, peer| handle(request, peer, sender.clone());
    let serving = tokio::spawn(listener.serve(handler, refuse, door(), Workers::default(), async {
        let _ = stopped.await;
    }));
    Running { address, certificates, stop, streams, serving }
}

fn whole(text: impl Into<Bytes>) -> TestBody {
    UnsyncBoxBody::new(Full::new(text.into()).map_err(|never| match never {}))
}

fn refuse(refusal: Refusal) -> Response<TestBody> {
    let (status, text) = match refusal {
        Refusal::Panicked => (StatusCode::INTERNAL_SERVER_ERROR, "panicked"),
        Refusal::Malformed(what) => (StatusCode::BAD_REQUEST, what),
        Refusal::HeadTooLarge => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head too large"),
    };
    let mut response = Response::new(whole(text));
    *response.status_mut() = status;
    response
}

/// `/panic` panics, `/stream` answers what the test feeds it, all else echoes version and body.
async fn handle(
    request: Request<Incoming>,
    peer: Peer,
    streams: mpsc::Sender<mpsc::Sender<Bytes>>,
) -> Response<TestBody> {
    match request.uri().path() {
        "/panic" => panic!("on purpose"),
        "/stream" => {
            let (sender, receiver) = mpsc::channel::<Bytes>(8);
            streams.send(sender).await.unwrap();
            Response::new(UnsyncBoxBody::new(Fed(receiver)))
        }
        "/lasting" => {
            let (sender, receiver) = mpsc::channel::<Bytes>(8);
            streams.send(sender).await.unwrap();
            let mut response = Response::new(UnsyncBoxBody::new(Fed(receiver)));
            response.extensions_mut().insert(crate::upstream::Lasting);
            response
        }
        _ => {
            let version = request.version();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let text = String::from_utf8_lossy(&body).into_owned();
            Response::new(whole(format!("{version:?} tls={} {text}", peer.tls)))
        }
    }
}

struct Fed(mpsc::Receiver<Bytes>);

impl Body for Fed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(http_body::Frame::data(piece))))
    }
}

/// Writes bytes and reads until the server closes.
async fn exchange(address: SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn read_until(stream: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let (mut text, mut byte) = (String::new(), [0; 1]);
    while !text.ends_with(end) {
        assert_eq!(stream.read(&mut byte).await.unwrap(), 1, "closed after {text:?}");
        text.push(char::from(byte[0]));
    }
    text
}

async fn over_http2<S>(stream: S, uri: &str) -> Response<Incoming>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(uri).body(Empty::<Bytes>::new()).unwrap();
    sender.send_request(request).await.unwrap()
}

fn door() -> Door {
    let gate = Gate::new(crate::limit::GateKind::NewConnections, crate::clock::Clock::default());
    Door { gate, metrics: None }
}

#[tokio::test]
async fn one_port_speaks_both_protocols() {
    let running = running(&config()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    for _ in 0..2 {
        stream.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi").await.unwrap();
        let answer = read_until(&mut stream, "hi").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("HTTP/1.1 tls=false hi"), "{answer}");
    }
    let stream = TcpStream::connect(running.address).await.unwrap();
    let answer = over_http2(stream, "http://a/").await.into_body().collect().await.unwrap();
    assert_eq!(answer.to_bytes(), "HTTP/2.0 tls=false ");
}

#[tokio::test]
async fn a_client_may_close_its_side_before_the_answer() {
    let running = running(&config()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("HTTP/1.1 tls=false "), "{answer}");
}

#[tokio::test]
async fn requests_with_two_readings_are_refused_and_nothing_after_them_is_read() {
    let running = running(&config()).await;
    let chunks = "2\r\nhi\r\n0\r\n\r\n";
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    let heads = [
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding : chunked\r\n\r\n",
        "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2, 2\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +2\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 18446744073709551618\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\nhost: a\ntransfer-encoding: chunked\n\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\nx: y\r\n folded\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\nx: y\rz\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\nno colon\r\n\r\n",
        "GET http://other/ HTTP/1.1\r\nhost: other\r\n\r\n",
        "CONNECT other:443 HTTP/1.1\r\nhost: other\r\n\r\n",
    ];
    for head in heads {
        let answer = exchange(running.address, &format!("{head}{chunks}{smuggled}")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{head}: {answer}");
        assert_eq!(answer.matches("\r\ndate: ").count(), 1, "{head}: {answer}");
    }
}

#[tokio::test]
async fn an_upgrade_is_ignored() {
    let running = running(&config()).await;
    let upgrade = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\n\
                   http2-settings: AAMAAABkAAQAAP__\r\n\r\n";
    let last = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answer = exchange(running.address, &format!("{upgrade}{last}")).await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{answer}");
}

#[tokio::test]
async fn heads_are_bounded() {
    let running = running(&config()).await;
    let long = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(10_000));
    let target = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "y".repeat(100_000));
    for request in [long, many, target] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = [0; 12];
        // Bytes we did not read may make the system reset the connection before the answer is seen.
        if stream.read_exact(&mut answer).await.is_ok() {
            let text = String::from_utf8_lossy(&answer);
            assert!(text.ends_with("431") || text.ends_with("414"), "{text}");
        }
    }
}

#[tokio::test]
async fn a_panic_costs_one_request() {
    let running = running(&config()).await;
    let answer = exchange(running.address, "GET /panic HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 500") && answer.ends_with("panicked"), "{answer}");
    let answer = exchange(running.address, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn slow_heads_are_cut() {
    let mut config = config();
    config.header_timeout = Duration::from_millis(80);
    let running = running(&config).await;
    for begun in ["", "P", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nhost", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
    {
        let answer = exchange(running.address, begun).await;
        assert!(!answer.contains("200"), "{begun:?}: {answer}");
    }
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    read_until(&mut stream, "tls=false ").await;
    stream.write_all(b"GET /").await.unwrap();
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0, "a later head has no longer than the first");
}

#[tokio::test]
async fn a_taken_port_is_named_with_what_to_change() {
    let first = Listener::bind(&config()).await.unwrap();
    let mut config = config();
    config.listen = first.address();
    let problem = Listener::bind(&config).await.unwrap_err().to_string();
    assert!(problem.contains(&first.address().to_string()) && problem.contains("server.listen"), "{problem}");
    config.listen = "203.0.113.7:0".parse().unwrap();
    let problem = Listener::bind(&config).await.unwrap_err().to_string();
    assert!(problem.contains("203.0.113.7:0"), "{problem}");
}
