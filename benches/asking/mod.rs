//! A load generator of a few lines: closed loops over kept connections.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::traffic::NUMBER;

/// What is asked, and how long each answer is.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) body: String,
    pub(crate) key: &'static str,
    pub(crate) answer_bytes: usize,
}

/// Asks again and again over kept connections; returns how long each answer took.
pub(crate) async fn ask_for(
    scenario: &Scenario,
    target: SocketAddr,
    connections: usize,
    time: Duration,
) -> Vec<Duration> {
    let until = Instant::now() + time;
    let asking: Vec<_> = (0..connections)
        .map(|_| {
            tokio::spawn(ask_over_one(
                scenario.body.clone(),
                scenario.key,
                scenario.answer_bytes,
                target,
                until,
                None,
            ))
        })
        .collect();
    let mut latencies = Vec::new();
    for one in asking {
        latencies.append(&mut one.await.unwrap());
    }
    latencies
}

/// Asks so many times a second in all, whatever the answers take; returns how long each took from when it was due.
pub(crate) async fn ask_at(
    scenario: &Scenario,
    target: SocketAddr,
    connections: usize,
    rate: u32,
    time: Duration,
) -> Vec<Duration> {
    let apart = Duration::from_secs(1) * u32::try_from(connections).unwrap() / rate;
    let begun = Instant::now() + Duration::from_millis(20);
    let asking: Vec<_> = (0..connections)
        .map(|place| {
            let shift = apart * u32::try_from(place).unwrap() / u32::try_from(connections).unwrap();
            let pace = Pace { next: begun + shift, apart };
            let (body, key, bytes) = (scenario.body.clone(), scenario.key, scenario.answer_bytes);
            tokio::spawn(ask_over_one(body, key, bytes, target, begun + time, Some(pace)))
        })
        .collect();
    let mut latencies = Vec::new();
    for one in asking {
        latencies.append(&mut one.await.unwrap());
    }
    latencies
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

async fn ask_over_one(
    body: String,
    key: &'static str,
    answer_bytes: usize,
    target: SocketAddr,
    until: Instant,
    mut pace: Option<Pace>,
) -> Vec<Duration> {
    let stream = TcpStream::connect(target).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let host = target.to_string();
    let mut latencies = Vec::new();
    while Instant::now() < until {
        // No two bodies are equal, so that a cache never hits.
        let number = ASKED.fetch_add(1, Ordering::Relaxed);
        let body = body.replacen(NUMBER, &format!("{number:08}"), 1);
        let request = Request::post("/v1/messages")
            .header(header::HOST, &host)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, "Anthropic/Python 0.71.0")
            .header("anthropic-version", "2023-06-01")
            .header("x-api-key", key)
            .header("x-stainless-lang", "python")
            .header("x-stainless-retry-count", "0")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let begun = match &mut pace {
            Some(pace) => pace.due().await,
            None => Instant::now(),
        };
        let answer = sender.send_request(request).await.unwrap();
        let status = answer.status();
        let answer = answer.into_body().collect().await.unwrap().to_bytes();
        latencies.push(begun.elapsed());
        assert!(
            status == 200 && answer.len() == answer_bytes,
            "{status} {}",
            String::from_utf8_lossy(&answer)
        );
        sender.ready().await.unwrap();
    }
    latencies
}

static ASKED: AtomicUsize = AtomicUsize::new(0);
