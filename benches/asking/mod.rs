//! A load generator of a few lines: closed loops over kept connections.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::targets::KEY;
use crate::traffic::{NUMBER, body, message};

/// What is asked, and how long each answer is.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) body: String,
    pub(crate) key: &'static str,
    pub(crate) answer_bytes: usize,
}

/// Returns the least, the middle and the most of what was measured, which is at least one value.
pub(crate) fn ranked(values: &[f64]) -> [f64; 3] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    [sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1]]
}

/// A short message, with everything on but the cache.
pub(crate) fn short_message() -> Scenario {
    Scenario { name: "", body: body(1_200, 300, false), key: KEY, answer_bytes: message().len() }
}

/// Asks again and again over new connections; returns how long each answer took.
pub(crate) async fn ask_for(
    scenario: &Scenario,
    target: SocketAddr,
    connections: usize,
    time: Duration,
) -> Vec<Duration> {
    Crowd::open(target, connections).await.ask(scenario, connections, time).await
}

/// Asks so many times a second in all, whatever the answers take; returns how long each took from when it was due.
pub(crate) async fn ask_at(
    scenario: &Scenario,
    target: SocketAddr,
    connections: usize,
    rate: u32,
    time: Duration,
) -> Vec<Duration> {
    let mut crowd = Crowd::open(target, connections).await;
    let apart = Duration::from_secs(1) * u32::try_from(connections).unwrap() / rate;
    let begun = Instant::now() + Duration::from_millis(20);
    let pace = |place| {
        let shift = apart * u32::try_from(place).unwrap() / u32::try_from(connections).unwrap();
        Some(Pace { next: begun + shift, apart })
    };
    crowd.ask_by(scenario, begun + time, None, pace).await
}

/// Clients with a connection each.
pub(crate) struct Crowd {
    host: String,
    senders: Vec<Sender>,
}

type Sender = http1::SendRequest<Full<Bytes>>;

async fn connect(target: SocketAddr) -> Sender {
    let stream = TcpStream::connect(target).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

impl Crowd {
    /// Opens connections.
    pub(crate) async fn open(target: SocketAddr, connections: usize) -> Self {
        let mut crowd = Self { host: target.to_string(), senders: Vec::with_capacity(connections) };
        for _ in 0..connections {
            crowd.senders.push(connect(target).await);
        }
        crowd
    }

    /// Opens connections one after the other and asks once over each, as one that asks nothing is soon closed; many below
    /// the rate at which a gateway lets new ones in.
    pub(crate) async fn open_in_turn(target: SocketAddr, connections: usize, scenario: &Scenario) -> Self {
        let mut crowd = Self { host: target.to_string(), senders: Vec::with_capacity(connections) };
        for place in 1..=connections {
            let mut client = crowd.client(connect(target).await, scenario);
            client.ask_once(&mut None).await;
            crowd.senders.push(client.sender);
            if place % 10 == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        crowd
    }

    fn client(&self, sender: Sender, scenario: &Scenario) -> Client {
        let (body, key, answer_bytes) = (scenario.body.clone(), scenario.key, scenario.answer_bytes);
        Client { sender, host: self.host.clone(), body, key, answer_bytes }
    }

    /// Asks again and again over all connections in turn, over `at_once` of them at a time; returns how long each answer
    /// took.
    pub(crate) async fn ask(&mut self, scenario: &Scenario, at_once: usize, time: Duration) -> Vec<Duration> {
        let turns = (at_once < self.senders.len()).then(|| Arc::new(Semaphore::new(at_once)));
        self.ask_by(scenario, Instant::now() + time, turns, |_| None).await
    }

    async fn ask_by(
        &mut self,
        scenario: &Scenario,
        until: Instant,
        turns: Option<Arc<Semaphore>>,
        pace: impl Fn(usize) -> Option<Pace>,
    ) -> Vec<Duration> {
        let senders = std::mem::take(&mut self.senders);
        let ask = |(place, sender)| {
            tokio::spawn(self.client(sender, scenario).ask(until, turns.clone(), pace(place)))
        };
        let asking: Vec<_> = (0..).zip(senders).map(ask).collect();
        let mut latencies = Vec::new();
        for one in asking {
            let (sender, mut took) = one.await.unwrap();
            self.senders.push(sender);
            latencies.append(&mut took);
        }
        latencies
    }
}

/// When the next request is due.
struct Pace {
    next: Instant,
    apart: Duration,
}

impl Pace {
    async fn due(&mut self) -> Instant {
        let due = self.next;
        self.next += self.apart;
        // A timer is a millisecond late; the rest is spent turning.
        if let Some(early) = due.checked_duration_since(Instant::now() + Duration::from_millis(2)) {
            tokio::time::sleep(early).await;
        }
        while Instant::now() < due {
            tokio::task::yield_now().await;
        }
        due
    }
}

/// Who asks over one connection.
struct Client {
    sender: Sender,
    host: String,
    body: String,
    key: &'static str,
    answer_bytes: usize,
}

impl Client {
    async fn ask(
        mut self,
        until: Instant,
        turns: Option<Arc<Semaphore>>,
        mut pace: Option<Pace>,
    ) -> (Sender, Vec<Duration>) {
        let mut latencies = Vec::new();
        while Instant::now() < until {
            let _turn = match &turns {
                Some(turns) => Some(turns.acquire().await.unwrap()),
                None => None,
            };
            if Instant::now() >= until {
                break;
            }
            latencies.push(self.ask_once(&mut pace).await);
        }
        (self.sender, latencies)
    }

    /// Returns how long the answer took, from when it was due.
    async fn ask_once(&mut self, pace: &mut Option<Pace>) -> Duration {
        let request = self.request();
        let begun = match pace {
            Some(pace) => pace.due().await,
            None => Instant::now(),
        };
        let answer = self.sender.send_request(request).await.unwrap();
        let status = answer.status();
        let answer = answer.into_body().collect().await.unwrap().to_bytes();
        let took = begun.elapsed();
        let text = String::from_utf8_lossy(&answer);
        assert!(status == 200 && answer.len() == self.answer_bytes, "{status} {text}");
        self.sender.ready().await.unwrap();
        took
    }

    fn request(&self) -> Request<Full<Bytes>> {
        // No two bodies are equal, so that a cache never hits.
        let number = ASKED.fetch_add(1, Ordering::Relaxed);
        let body = self.body.replacen(NUMBER, &format!("{number:08}"), 1);
        Request::post("/v1/messages")
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, "Anthropic/Python 0.71.0")
            .header("anthropic-version", "2023-06-01")
            .header("x-api-key", self.key)
            .header("x-stainless-lang", "python")
            .header("x-stainless-retry-count", "0")
            .body(Full::new(Bytes::from(body)))
            .unwrap()
    }
}

static ASKED: AtomicUsize = AtomicUsize::new(0);
