//! What is asked: an upstream in this process, a floor and the gateway in processes of their own.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpListener;

use crate::traffic::{message, stream};

/// A proxy in a process of its own; ended when dropped.
pub(crate) struct Proxy {
    child: Child,
    pub(crate) address: SocketAddr,
    /// The gateway's admin listener; the floor has none.
    pub(crate) admin: Option<SocketAddr>,
}

/// Answers at once: a stream where `"stream":true` is asked for, a message otherwise.
pub(crate) async fn start_upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, |request: Request<Incoming>| async {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let streamed = body.ends_with(b"\"stream\":true}");
        let (kind, events) =
            if streamed { ("text/event-stream", stream()) } else { ("application/json", vec![message()]) };
        let mut answer = Response::new(Frames { frames: events.into_iter(), chunked: streamed });
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        answer.headers_mut().insert("request-id", HeaderValue::from_static("req_011CSHoEeqs5C35K2UUqR7Fy"));
        Ok::<_, Infallible>(answer)
    }));
    address
}

/// Is the floor where this process was started as that; returns where it was not.
pub(crate) fn be_the_floor_if_asked() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == FLOOR) {
        let upstream = arguments[at + 1].parse().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(be_the_floor(upstream));
    }
}

/// The least a hyper proxy can do: bodies as they come, no look at anything.
async fn be_the_floor(upstream: SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("http://{}", listener.local_addr().unwrap());
    let client = Arc::new(Client::builder(TokioExecutor::new()).build_http::<Incoming>());
    serve(listener, move |mut request: Request<Incoming>| {
        let client = Arc::clone(&client);
        let path = request.uri().path_and_query().unwrap().clone();
        let authority = upstream.to_string();
        let uri = Uri::builder().scheme("http").authority(authority).path_and_query(path).build();
        *request.uri_mut() = uri.unwrap();
        request.headers_mut().remove(header::HOST);
        async move { client.request(request).await }
    })
    .await;
}

/// Serves every connection with one function.
pub(crate) async fn serve<F, B, E>(
    listener: TcpListener,
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static,
) where
    F: Future<Output = Result<Response<B>, E>> + Send,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let service = service_fn(answer.clone());
        // A connection that its client ends is no failure.
        tokio::spawn(async move {
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// Starts the floor with some worker threads.
pub(crate) fn start_floor(upstream: SocketAddr, workers: usize) -> Proxy {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([FLOOR, &upstream.to_string()]).stdout(Stdio::piped());
    let mut child = command.env("TOKIO_WORKER_THREADS", workers.to_string()).spawn().unwrap();
    let mut told = BufReader::new(child.stdout.take().unwrap());
    let address = told_address(&mut told);
    read_on(told);
    Proxy { child, address, admin: None }
}

/// Starts the gateway with some worker threads, and so many tenants besides those that are asked for.
pub(crate) fn start_gateway(upstream: SocketAddr, folder: &Path, workers: usize, tenants: usize) -> Proxy {
    let mut more = String::new();
    for tenant in 0..tenants {
        let hash = blake3::hash(tenant.to_string().as_bytes());
        more += &format!(
            "[[tenants.t{tenant}.keys]]\nid = \"k{tenant}\"\nuser = \"u\"\nhash = \"blake3:{}\"\n",
            hash.to_hex()
        );
    }
    start_gateway_with(upstream, folder, workers, &more)
}

/// Starts the gateway with more lines of configuration.
pub(crate) fn start_gateway_with(upstream: SocketAddr, folder: &Path, workers: usize, more: &str) -> Proxy {
    start(folder, workers, CONFIGURATION.replace("$UPSTREAM", &upstream.to_string()) + more)
}

/// Starts the gateway with room for so many requests in flight.
pub(crate) fn start_gateway_for(
    upstream: SocketAddr,
    folder: &Path,
    workers: usize,
    in_flight: usize,
) -> Proxy {
    let room = format!("[server]\nmax_in_flight = {in_flight}\n");
    let configuration = CONFIGURATION.replace("$UPSTREAM", &upstream.to_string());
    start(folder, workers, configuration.replace("[server]\n", &room))
}

fn start(folder: &Path, workers: usize, configuration: String) -> Proxy {
    let file = folder.join("tercet.toml");
    std::fs::write(&file, configuration).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tercet"));
    command.args(["run", "--config"]).arg(&file).current_dir(folder).stderr(Stdio::piped());
    command.env("BENCH_KEY", KEY).env("BENCH_CACHED_KEY", CACHED_KEY).env("BENCH_UPSTREAM_KEY", "upstream");
    let mut child = command.env("TOKIO_WORKER_THREADS", workers.to_string()).spawn().unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap());
    let (address, admin) = (told_address(&mut told), told_address(&mut told));
    read_on(told);
    Proxy { child, address, admin: Some(admin) }
}

/// Reads on to the next address that a process tells.
fn told_address(lines: &mut impl BufRead) -> SocketAddr {
    let mut told = String::new();
    loop {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it ended before it listened:\n{told}");
        if let Some((_, address)) = line.trim_end().split_once("http://") {
            return address.parse().unwrap();
        }
        told += &line;
    }
}

/// Takes what a process logs, so that it never waits for its pipe.
fn read_on(mut lines: impl BufRead + Send + 'static) {
    std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
}

impl Proxy {
    /// Returns the id of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the processor time of all its threads so far, to the nanosecond, where the system tells.
    pub(crate) fn cpu(&self) -> Option<Duration> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).ok()?;
        let time = |thread: std::io::Result<std::fs::DirEntry>| {
            let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
        };
        Some(threads.filter_map(time).sum()).filter(|total: &Duration| !total.is_zero())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Frames that are all there, one at a time.
struct Frames {
    frames: std::vec::IntoIter<Bytes>,
    chunked: bool,
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.frames.next().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> SizeHint {
        let left: usize = self.frames.as_slice().iter().map(Bytes::len).sum();
        if self.chunked { SizeHint::default() } else { SizeHint::with_exact(left as u64) }
    }
}

const CONFIGURATION: &str = r#"
[server]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[upstream]
base_url = "http://$UPSTREAM"
credential = { env = "BENCH_UPSTREAM_KEY" }
[routing]
mode = "enforce"
[journal]
path = "data"
[limits]
requests_per_minute = 1_000_000_000
input_tokens_per_minute = 1_000_000_000_000
[budget]
daily = "1000000.00 USD"
monthly = "1000000.00 USD"
[tenants.acme.limits]
requests_per_minute = 1_000_000_000
input_tokens_per_minute = 1_000_000_000_000
output_tokens_per_minute = 1_000_000_000_000
concurrent_requests = 100000
[tenants.acme.budget]
daily = "1000000.00 USD"
monthly = "1000000.00 USD"
[tenants.acme.user_limits]
requests_per_minute = 1_000_000_000
[[tenants.acme.keys]]
id = "acme-1"
user = "ann"
secret = { env = "BENCH_KEY" }
[tenants.cached.cache]
enabled = true
[[tenants.cached.keys]]
id = "cached-1"
user = "bob"
secret = { env = "BENCH_CACHED_KEY" }
"#;
/// The key of a tenant with everything on but the cache.
pub(crate) const KEY: &str = "tct-bench-0123456789abcdef";
/// The key of a tenant whose cache is on.
pub(crate) const CACHED_KEY: &str = "tct-bench-cached-0123456789";
/// What makes this program the floor, with the upstream's address behind it.
const FLOOR: &str = "--be-the-floor";
