//! A client of the tests: plain requests, whole answers, and streams chunk by chunk.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// A whole answer.
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// Returns the body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// Returns a header's text, empty where it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Sends a request and returns the answer's head, its body still to come.
pub async fn open(
    method: Method,
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Response<Incoming> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    client.request(request.body(Full::new(body.into())).unwrap()).await.unwrap()
}

/// Sends a request and reads the answer whole.
pub async fn send(method: Method, url: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
    let (head, body) = open(method, url, headers, body).await.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: head.status.as_u16(), headers: head.headers, body }
}

/// Posts a message with a key, in the API version most clients use.
pub async fn message(url: &str, key: &str, body: impl Into<Bytes>) -> Answer {
    let headers =
        [("x-api-key", key), ("anthropic-version", "2023-06-01"), ("content-type", "application/json")];
    send(Method::POST, &format!("{url}/v1/messages"), &headers, body).await
}

/// Gets a path with a key.
pub async fn get(url: &str, key: &str, path: &str) -> Answer {
    send(Method::GET, &format!("{url}{path}"), &[("x-api-key", key), ("anthropic-version", "2023-06-01")], "")
        .await
}

/// Returns a request body that asks a model one thing.
pub fn ask(model: &str, text: &str) -> String {
    serde_json::json!({
        "model": model, "max_tokens": 1000, "messages": [{ "role": "user", "content": text }],
    })
    .to_string()
}
