//! Ten times what the upstream can do: how much of its best is still answered, how soon the rest is refused, and what a
//! tenant that asks little gets of it. Prints answers a second and the percentiles of refusals. About half a minute.
//!
//! The upstream does twenty requests at a time in 50 ms each; what comes beyond waits there.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark measures real time, prints, and may fail loudly"
)]

mod targets;
mod traffic;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use targets::{CACHED_KEY, KEY};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use traffic::{NUMBER, body, message};

/// What one request came to.
struct Told {
    status: StatusCode,
    took: Duration,
}

fn main() {
    // `cargo test --benches` only asks whether it runs.
    let measures = std::env::args().any(|argument| argument == "--bench");
    let time = Duration::from_millis(if measures { 10_000 } else { 500 });
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let upstream = start_upstream().await;
        let folder = tempfile::tempdir().unwrap();
        // One place more than the upstream has: a tenant alone gets all but a sixteenth of them.
        let gateway = targets::start_gateway_for(upstream, folder.path(), 1, SLOTS + 1);
        let ask = |key, connections, pause| ask_for(gateway.address, key, connections, pause, time);
        ask_for(gateway.address, KEY, SLOTS, Duration::ZERO, time / 10).await;
        let best = ask(KEY, SLOTS, Duration::ZERO).await;
        let peak = answered(&best, time);
        let apart = Duration::from_secs_f64(CONNECTIONS as f64 / (10.0 * peak.max(100.0)));
        let flood = ask(KEY, CONNECTIONS, apart);
        let modest = ask(CACHED_KEY, 4, Duration::from_millis(150));
        let (flood, modest) = tokio::join!(flood, modest);
        let goodput = answered(&flood, time) + answered(&modest, time);
        let offered = (flood.len() + modest.len()) as f64 / time.as_secs_f64();
        println!("at its best       {peak:6.0} answered a second");
        println!(
            "flooded           {goodput:6.0} answered of {offered:.0} asked a second: {:.1} % of the best",
            100.0 * goodput / peak
        );
        let refusals = sorted(&flood, |status| status.as_u16() == 529);
        println!(
            "refusals          {:6} in {:.1} ms (median), {:.1} ms (p99)",
            refusals.len(),
            millis(&refusals, 500),
            millis(&refusals, 990)
        );
        let served = modest.iter().filter(|told| told.status.is_success()).count();
        println!("a modest tenant   {served} of {} answered", modest.len());
        assert!(flood.iter().all(|told| matches!(told.status.as_u16(), 200 | 529)));
    });
}

/// Asks over kept connections, each again `apart` after it asked last, or at once where that is over.
async fn ask_for(
    target: SocketAddr,
    key: &'static str,
    connections: usize,
    apart: Duration,
    time: Duration,
) -> Vec<Told> {
    let until = Instant::now() + time;
    let asking: Vec<_> = (0..connections)
        .map(|place| {
            let shift = apart * u32::try_from(place).unwrap() / u32::try_from(connections).unwrap();
            tokio::spawn(ask_over_one(target, key, place, shift, apart, until))
        })
        .collect();
    let mut all = Vec::new();
    for one in asking {
        all.append(&mut one.await.unwrap());
    }
    all
}

async fn ask_over_one(
    target: SocketAddr,
    key: &'static str,
    place: usize,
    shift: Duration,
    apart: Duration,
    until: Instant,
) -> Vec<Told> {
    tokio::time::sleep(shift).await;
    let (mut told, mut sender) = (Vec::new(), None);
    while Instant::now() < until {
        let begun = Instant::now();
        let mut open = match sender.take() {
            Some(open) => open,
            None => connect(target).await,
        };
        let body = body(4_000, 200, false).replacen(NUMBER, &format!("{place:03}{:05}", told.len()), 1);
        let request = Request::post("/v1/messages")
            .header(header::HOST, "gateway")
            .header(header::CONTENT_TYPE, "application/json")
            .header("anthropic-version", "2023-06-01")
            .header("x-api-key", key)
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let answer = open.send_request(request).await.unwrap();
        let status = answer.status();
        answer.into_body().collect().await.unwrap();
        told.push(Told { status, took: begun.elapsed() });
        sender = open.ready().await.is_ok().then_some(open);
        tokio::time::sleep_until((begun + apart).into()).await;
    }
    told
}

async fn connect(target: SocketAddr) -> http1::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(target).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn start_upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let slots = Arc::new(Semaphore::new(SLOTS));
    tokio::spawn(targets::serve(listener, move |request: Request<Incoming>| {
        let slots = Arc::clone(&slots);
        async move {
            request.into_body().collect().await.unwrap();
            let slot = slots.acquire().await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
            drop(slot);
            let mut answer = Response::new(Full::new(message()));
            answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Ok::<_, Infallible>(answer)
        }
    }));
    address
}

fn answered(told: &[Told], time: Duration) -> f64 {
    told.iter().filter(|told| told.status.is_success()).count() as f64 / time.as_secs_f64()
}

fn sorted(told: &[Told], wanted: impl Fn(StatusCode) -> bool) -> Vec<Duration> {
    let mut took: Vec<_> = told.iter().filter(|told| wanted(told.status)).map(|told| told.took).collect();
    took.sort();
    took
}

fn millis(sorted: &[Duration], permille: usize) -> f64 {
    sorted.get(sorted.len() * permille / 1_000).map_or(f64::NAN, |took| took.as_secs_f64() * 1_000.0)
}

/// What the upstream does at a time.
const SLOTS: usize = 20;
/// Over which the flood comes.
const CONNECTIONS: usize = 200;
