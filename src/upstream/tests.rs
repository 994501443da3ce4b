//! Against listeners scripted byte by byte.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::StatusCode;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};

use super::*;
use crate::config;

mod lines;

/// What one accepted connection does for each request in turn: the bytes it answers with, then what follows.
type Script = &'static [(&'static str, Then)];

#[derive(Clone, Copy, PartialEq)]
enum Then {
    Keep,
    Close,
    Hold,
}

struct Scripted {
    base_url: Uri,
    accepted: Arc<AtomicUsize>,
    requests: tokio::sync::mpsc::Receiver<String>,
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Serves the scripts in order, one per connection; the last one serves all further connections.
async fn scripted(scripts: &'static [Script]) -> Scripted {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let (sender, requests) = tokio::sync::mpsc::channel(64);
    let count = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let number = count.fetch_add(1, Ordering::SeqCst);
            let script = scripts[number.min(scripts.len() - 1)];
            tokio::spawn(play(stream, script, sender.clone()));
        }
    });
    Scripted { base_url, accepted, requests }
}

async fn play<S>(mut stream: S, script: Script, requests: tokio::sync::mpsc::Sender<String>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    for (answer, then) in script {
        let Some(request) = read_request(&mut stream).await else { return };
        let _ = requests.send(request).await;
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.flush().await;
        match then {
            Then::Keep => {}
            Then::Close => return,
            Then::Hold => std::future::pending().await,
        }
    }
}

/// Reads a head and a body of `content-length`.
async fn read_request<S: AsyncRead + Unpin>(stream: &mut S) -> Option<String> {
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let chunked = head.contains("transfer-encoding: chunked");
        if chunked && !body.ends_with("0\r\n\r\n") {
            continue;
        }
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return Some(text);
        }
    }
}

fn config(base_url: Uri) -> config::Upstream {
    config::Upstream {
        base_url,
        credential: config::Credential::Client,
        connect_timeout: Duration::from_secs(5),
        first_byte_timeout: Duration::from_secs(20),
        idle_timeout: Duration::from_secs(20),
        ca: None,
        retry_streams: false,
        fallbacks: Vec::new(),
    }
}

fn post(body: &'static str) -> Request<RequestBody> {
    let body = RequestBody::from(Bytes::from_static(body.as_bytes()));
    Request::post("/v1/messages?beta=true").header("host", "evil.example").body(body).unwrap()
}

async fn text(answer: Answer) -> Result<String, UpstreamFailure> {
    let whole = answer.response.into_body().collect().await?;
    Ok(String::from_utf8(whole.to_bytes().to_vec()).unwrap())
}

#[tokio::test]
async fn connections_are_kept_and_requests_go_out_addressed() {
    let mut scripted = scripted(&[&[(OK, Then::Keep), (OK, Then::Keep), (OK, Then::Hold)]]).await;
    let base_url = format!("{}prefix/", scripted.base_url).parse().unwrap();
    let upstream = Upstream::new(&config(base_url)).unwrap();
    let pieces = Pieces::new([Bytes::from_static(b"ab"), Bytes::new(), Bytes::from_static(b"c")]);
    let request = Request::post("/v1/messages?beta=true").header("host", "evil.example");
    let answer = upstream.send(request.body(pieces.into()).unwrap()).await.unwrap();
    assert_eq!(answer.attempts, 1);
    assert_eq!(text(answer).await.unwrap(), "ok");
    let first = scripted.requests.recv().await.unwrap();
    assert!(first.starts_with("POST /prefix/v1/messages?beta=true HTTP/1.1\r\n"), "{first}");
    assert!(first.contains("content-length: 3\r\n") && first.ends_with("\r\n\r\nabc"), "{first}");
    assert!(!first.contains("evil"), "{first}");
    let stream = http_body_util::Full::new(Bytes::from_static(b"xyz"));
    for body in [RequestBody::empty(), RequestBody::stream(stream)] {
        let answer = upstream.send(Request::post("/").body(body).unwrap()).await.unwrap();
        assert_eq!(text(answer).await.unwrap(), "ok");
    }
    assert!(scripted.requests.recv().await.unwrap().contains("content-length: 0\r\n"));
    assert!(scripted.requests.recv().await.unwrap().ends_with("\r\n\r\nxyz"));
    assert_eq!(scripted.accepted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_stale_kept_connection_is_tried_once_more() {
    let mut scripted = scripted(&[&[(OK, Then::Keep), ("", Then::Close)], &[(OK, Then::Hold)]]).await;
    let upstream = Upstream::new(&config(scripted.base_url.clone())).unwrap();
    assert_eq!(text(upstream.send(post("1")).await.unwrap()).await.unwrap(), "ok");
    let answer = upstream.send(post("2")).await.unwrap();
    assert_eq!(answer.attempts, 2);
    assert_eq!(text(answer).await.unwrap(), "ok");
    assert_eq!(scripted.accepted.load(Ordering::SeqCst), 2);
    for expected in ["1", "2", "2"] {
        assert!(scripted.requests.recv().await.unwrap().ends_with(expected));
    }
}

#[tokio::test]
async fn the_second_attempt_is_the_last() {
    let scripted = scripted(&[&[(OK, Then::Keep), ("", Then::Close)], &[("", Then::Close)]]).await;
    let upstream = Upstream::new(&config(scripted.base_url.clone())).unwrap();
    text(upstream.send(post("1")).await.unwrap()).await.unwrap();
    let failure = upstream.send(post("2")).await.unwrap_err();
    assert_eq!((failure.phase, failure.kind, failure.attempts), (Phase::Wait, FailureKind::Reset, 2));
    assert!(!failure.retryable);
    assert_eq!(scripted.accepted.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_streamed_body_is_never_sent_twice() {
    let scripted = scripted(&[&[(OK, Then::Keep), ("", Then::Close)], &[(OK, Then::Hold)]]).await;
    let upstream = Upstream::new(&config(scripted.base_url.clone())).unwrap();
    text(upstream.send(post("1")).await.unwrap()).await.unwrap();
    let body = RequestBody::stream(http_body_util::Full::new(Bytes::from_static(b"2")));
    let failure = upstream.send(Request::post("/").body(body).unwrap()).await.unwrap_err();
    assert_eq!((failure.kind, failure.attempts), (FailureKind::Reset, 1));
    assert_eq!(scripted.accepted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_fresh_connection_is_not_tried_again() {
    let scripted = scripted(&[&[("", Then::Close)]]).await;
    let upstream = Upstream::new(&config(scripted.base_url.clone())).unwrap();
    let failure = upstream.send(post("1")).await.unwrap_err();
    assert_eq!((failure.phase, failure.kind, failure.attempts), (Phase::Wait, FailureKind::Reset, 1));
    assert_eq!(scripted.accepted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn one_byte_of_an_answer_forbids_another_attempt() {
    let scripted = scripted(&[&[(OK, Then::Keep), ("H", Then::Close)], &[(OK, Then::Hold)]]).await;
    let upstream = Upstream::new(&config(scripted.base_url.clone())).unwrap();
    text(upstream.send(post("1")).await.unwrap()).await.unwrap();
    let failure = upstream.send(post("2")).await.unwrap_err();
    assert_eq!((failure.kind, failure.attempts), (FailureKind::Reset, 1));
    assert_eq!(scripted.accepted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_unsound_answer_is_refused_and_its_connection_dropped() {
    let both =
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let twice = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok";
    let differing = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok";
    let coded = "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
    for answer in [both, twice, differing, coded, switch, "SSH-2.0-x\r\n\r\n"] {
        let script: Script = vec![(answer, Then::Keep), (OK, Then::Hold)].leak();
        let scripted = scripted(vec![script, &[(OK, Then::Hold)]].leak()).await;
        let upstream = Upstream::new(&config(scripted.base_url.clone())).unwrap();
        let failure = upstream.send(post("1")).await.unwrap_err();
        assert_eq!((failure.phase, failure.kind), (Phase::Wait, FailureKind::Protocol), "{answer}");
        assert_eq!(text(upstream.send(post("2")).await.unwrap()).await.unwrap(), "ok");
        assert_eq!(scripted.accepted.load(Ordering::SeqCst), 2, "{answer}");
    }
}

#[tokio::test]
async fn a_head_without_bounds_is_refused() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n", "y".repeat(1 << 20));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(10_000));
    for answer in [long, many] {
        let script: Script = vec![(&*answer.leak(), Then::Hold)].leak();
        let scripted = scripted(vec![script].leak()).await;
        let upstream = Upstream::new(&config(scripted.base_url.clone())).unwrap();
        let failure = upstream.send(post("1")).await.unwrap_err();
        assert_eq!((failure.phase, failure.kind), (Phase::Wait, FailureKind::TooLarge));
    }
}

#[tokio::test]
async fn interim_answers_are_skipped_and_redirects_handed_back() {
    let script: Script = &[(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n\
          HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
        Then::Hold,
    )];
    let scripted = scripted(vec![script].leak()).await;
    let upstream = Upstream::new(&config(scripted.base_url.clone())).unwrap();
    let answer = upstream.send(post("1")).await.unwrap();
    assert_eq!(answer.response.status(), StatusCode::TEMPORARY_REDIRECT);
}

#[tokio::test]
async fn a_late_first_byte_and_a_silent_body_are_timeouts() {
    const HALF: &str = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf";
    let scripted = scripted(&[&[("", Then::Hold)], &[(HALF, Then::Hold)]]).await;
    let mut config = config(scripted.base_url.clone());
    config.first_byte_timeout = Duration::from_millis(60);
    config.idle_timeout = Duration::from_millis(60);
    let upstream = Upstream::new(&config).unwrap();
    let failure = upstream.send(post("1")).await.unwrap_err();
    assert_eq!((failure.phase, failure.kind), (Phase::Wait, FailureKind::Timeout));
    assert!(failure.to_string().contains("first_byte_timeout"), "{failure}");
    let failure = text(upstream.send(post("2")).await.unwrap()).await.unwrap_err();
    assert_eq!((failure.phase, failure.kind), (Phase::Stream, FailureKind::Timeout));
}

#[tokio::test]
async fn a_cut_body_is_visibly_cut() {
    let short = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf";
    let chunk = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhalf";
    let garbled = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhalf";
    for (answer, kind) in
        [(short, FailureKind::Reset), (chunk, FailureKind::Reset), (garbled, FailureKind::Protocol)]
    {
        let script: Script = vec![(answer, Then::Close)].leak();
        let scripted = scripted(vec![script].leak()).await;
        let upstream = Upstream::new(&config(scripted.base_url.clone())).unwrap();
        let failure = text(upstream.send(post("1")).await.unwrap()).await.unwrap_err();
        assert_eq!((failure.phase, failure.kind), (Phase::Stream, kind), "{answer}: {failure}");
    }
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_named() {
    // Bound and not listened at: nobody else is given the port meanwhile.
    let held = TcpSocket::new_v4().unwrap();
    held.bind(std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = held.local_addr().unwrap();
    let upstream = Upstream::new(&config(format!("http://{address}").parse().unwrap())).unwrap();
    let failure = upstream.send(post("1")).await.unwrap_err();
    assert_eq!((failure.phase, failure.kind), (Phase::Connect, FailureKind::Refused));
    assert!(failure.retryable);
    assert!(failure.to_string().contains(&address.to_string()), "{failure}");
}

#[tokio::test]
async fn a_client_that_breaks_off_its_body_is_not_the_upstreams_fault() {
    let scripted = scripted(&[&[(OK, Then::Hold)]]).await;
    let upstream = Upstream::new(&config(scripted.base_url.clone())).unwrap();
    let body = RequestBody::stream(Broken(false));
    let failure = upstream.send(Request::post("/").body(body).unwrap()).await.unwrap_err();
    assert_eq!((failure.phase, failure.kind), (Phase::Write, FailureKind::Request), "{failure}");
}

#[tokio::test]
async fn of_a_body_that_is_refused_in_its_first_piece_nothing_is_sent() {
    let scripted = scripted(&[&[(OK, Then::Hold)]]).await;
    let upstream = Upstream::new(&config(scripted.base_url.clone())).unwrap();
    let body = RequestBody::stream(Broken(true));
    let failure = upstream.send(Request::post("/").body(body).unwrap()).await.unwrap_err();
    assert_eq!((failure.phase, failure.kind, failure.attempts), (Phase::Write, FailureKind::Request, 0));
    assert_eq!(scripted.accepted.load(Ordering::SeqCst), 0);
}

struct Broken(bool);

impl Body for Broken {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, std::io::Error>>> {
        let begun = std::mem::replace(&mut self.0, true);
        std::task::Poll::Ready(Some(match begun {
            false => Ok(http_body::Frame::data(Bytes::from_static(b"some"))),
            true => Err(std::io::Error::other("gone")),
        }))
    }
}

#[tokio::test]
async fn tls_needs_a_root_that_is_trusted() {
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, signed.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (sender, _receiver) = tokio::sync::mpsc::channel(8);
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            play(stream, &[(OK, Then::Keep), ("", Then::Close)], sender).await;
        }
    });
    let mut config = config(format!("https://localhost:{port}").parse().unwrap());
    let failure = Upstream::new(&config).unwrap().send(post("1")).await.unwrap_err();
    assert_eq!((failure.phase, failure.kind), (Phase::Connect, FailureKind::Tls), "{failure}");
    assert!(failure.to_string().contains("upstream.ca"), "{failure}");
    config.ca = Some(ca);
    let upstream = Upstream::new(&config).unwrap();
    for attempts in [1, 2] {
        let answer = upstream.send(post("1")).await.unwrap();
        assert_eq!(answer.attempts, attempts);
        assert_eq!(text(answer).await.unwrap(), "ok");
    }
}

#[test]
fn what_cannot_be_an_upstream_is_refused() {
    for base_url in ["/v1", "ftp://host", "localhost:80", "http://host/?query"] {
        assert!(Upstream::new(&config(base_url.parse().unwrap())).is_err(), "{base_url}");
    }
    let mut absent = config("https://host".parse().unwrap());
    absent.ca = Some("/nowhere/ca.pem".into());
    let problem = Upstream::new(&absent).unwrap_err();
    assert!(problem.to_string().contains("/nowhere/ca.pem"), "{problem}");
}
