//! A small HTTP client: whole answers through hyper, raw bytes through a socket where framing matters.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot talk to the upstream has failed")]

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{HeaderMap, Request};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tercet::simulated::{Options, Upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Starts an upstream whose organisations may use every model, and a client of it.
pub(crate) async fn start() -> (Upstream, Client) {
    let upstream = Upstream::start(Options { verified: true, ..Options::default() }).await.unwrap();
    let client = Client::new(upstream.url());
    (upstream, client)
}

pub(crate) struct Client {
    url: String,
    headers: Vec<(String, String)>,
    pool: Pool<HttpConnector, Full<Bytes>>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Client {
    pub(crate) fn new(url: &str) -> Self {
        let headers =
            vec![("x-api-key".into(), "acme.1".into()), ("anthropic-version".into(), "2023-06-01".into())];
        Self { url: url.to_owned(), headers, pool: Pool::builder(TokioExecutor::new()).build_http() }
    }

    pub(crate) fn raw(&self, headers: &[(&str, &str)]) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Self { url: self.url.clone(), headers, pool: self.pool.clone() }
    }

    pub(crate) fn beta(&self, version: &str, beta: &str) -> Self {
        self.raw(&[("x-api-key", "acme.1"), ("anthropic-version", version), ("anthropic-beta", beta)])
    }

    pub(crate) fn http2(&self) -> Self {
        let pool = Pool::builder(TokioExecutor::new()).http2_only(true).build_http();
        Self { url: self.url.clone(), headers: self.headers.clone(), pool }
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, body.to_string()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, String::new()).await
    }

    async fn send(&self, method: &str, path: &str, body: String) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let response = self.pool.request(request.body(Full::from(body)).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    /// Sends a request on a socket of its own and returns every byte until it closes.
    pub(crate) async fn exchange(&self, path: &str, body: &Value) -> String {
        let mut socket = self.open(path, body).await;
        let mut answer = Vec::new();
        // A reset is one of the endings under test.
        drop(socket.read_to_end(&mut answer).await);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Sends a request and closes the connection once this text has come.
    pub(crate) async fn leave_after(&self, path: &str, body: &Value, text: &str) {
        let mut socket = self.open(path, body).await;
        let mut answer = Vec::new();
        while !String::from_utf8_lossy(&answer).contains(text) {
            assert!(socket.read_buf(&mut answer).await.unwrap() > 0, "the answer ended early");
        }
    }

    async fn open(&self, path: &str, body: &Value) -> TcpStream {
        let mut socket = TcpStream::connect(self.url.trim_start_matches("http://")).await.unwrap();
        let body = body.to_string();
        let length = body.len();
        let mut head =
            format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n");
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        socket.write_all(format!("{head}\r\n{body}").as_bytes()).await.unwrap();
        socket
    }
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.body
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> String {
        self.headers.get(name).map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
    }

    pub(crate) fn events(&self) -> Vec<(String, Value)> {
        let text = self.text();
        let frames = text.split("\n\n").filter(|frame| !frame.is_empty());
        let event = |frame: &str| {
            let (name, data) = frame.split_once("\ndata: ").unwrap();
            (name.trim_start_matches("event: ").to_owned(), serde_json::from_str(data).unwrap())
        };
        frames.map(event).collect()
    }
}
