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
            ))
        })
        .collect();
    let mut latencies = Vec::new();
    for one in asking {
        latencies.append(&mut one.await.unwrap());
    }
    latencies
}

async fn ask_over_one(
    body: String,
    key: &'static str,
    answer_bytes: usize,
    target: SocketAddr,
    until: Instant,
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
        let begun = Instant::now();
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
