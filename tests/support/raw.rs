//! Either end of a connection by the byte: a client that frames its own requests, an upstream that a test plays.

use std::future::Future;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::House;

/// A connection, read and written by the byte.
pub struct Wire {
    socket: TcpStream,
    unread: Vec<u8>,
}

/// The head of a request or an answer.
#[derive(Debug)]
pub struct Head {
    pub first: String,
    pub headers: Vec<(String, String)>,
}

/// A message and whether its body came whole.
#[derive(Debug)]
pub struct Whole {
    pub head: Head,
    pub body: Vec<u8>,
    pub complete: bool,
}

impl Head {
    /// Returns the status of an answer.
    pub fn status(&self) -> u16 {
        self.first.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// Returns the first value of a header, named in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns every value of a header, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    }
}

impl Whole {
    /// Returns the body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }
}

impl Wire {
    /// Connects to a gateway.
    pub async fn connect(url: &str) -> Self {
        Self::over(TcpStream::connect(url.trim_start_matches("http://")).await.unwrap())
    }

    /// Waits for the gateway to connect.
    pub async fn accept(listener: &TcpListener) -> Self {
        Self::over(within(listener.accept()).await.unwrap().0)
    }

    fn over(socket: TcpStream) -> Self {
        socket.set_nodelay(true).unwrap();
        Self { socket, unread: Vec::new() }
    }

    /// Writes bytes; the other end may have stopped reading.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        drop(self.socket.write_all(bytes.as_ref()).await);
    }

    /// Writes a request of known length.
    pub async fn request(&mut self, line: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let mut head = format!("{line} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        self.write([head.as_bytes(), b"\r\n", body].concat()).await;
    }

    /// Asks and reads the answer whole.
    pub async fn ask(&mut self, line: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Whole {
        self.request(line, headers, body).await;
        if line.starts_with("HEAD ") {
            return Whole { head: self.head().await, body: Vec::new(), complete: true };
        }
        self.whole().await
    }

    /// Writes an answer of known length.
    pub async fn answer(&mut self, status: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let mut head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        self.write([head.as_bytes(), b"\r\n", body].concat()).await;
    }

    /// Writes one chunk; an empty one ends the body.
    pub async fn chunk(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.write([format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()).await;
    }

    /// Reads a message whole, or as far as it comes.
    pub async fn whole(&mut self) -> Whole {
        let head = self.head().await;
        let (mut body, mut complete) = (Vec::new(), true);
        if let Some(length) = head.header("content-length") {
            let length = length.parse().unwrap();
            complete = self.fill(length).await;
            body = self.take(length);
        } else if head.header("transfer-encoding").is_some() {
            loop {
                match self.next_chunk().await {
                    Some(chunk) if chunk.is_empty() => break,
                    Some(chunk) => body.extend(chunk),
                    None => {
                        complete = false;
                        break;
                    }
                }
            }
        }
        Whole { head, body, complete }
    }

    /// Reads a head.
    pub async fn head(&mut self) -> Head {
        let end = self.find(b"\r\n\r\n").await.unwrap_or_else(|| panic!("no head came"));
        let head = String::from_utf8_lossy(&self.take(end + 4)).into_owned();
        let mut lines = head.trim_end().split("\r\n");
        let first = lines.next().unwrap().to_owned();
        let header = |line: &str| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        Head { first, headers: lines.map(header).collect() }
    }

    /// Reads chunks until their text holds `text`; `None` where the body ends before.
    pub async fn chunks_until(&mut self, text: &str) -> Option<String> {
        let mut read = Vec::new();
        while !String::from_utf8_lossy(&read).contains(text) {
            read.extend(self.next_chunk().await.filter(|chunk| !chunk.is_empty())?);
        }
        Some(String::from_utf8_lossy(&read).into_owned())
    }

    /// Reads one chunk, empty at the end; `None` where the connection ends instead.
    pub async fn next_chunk(&mut self) -> Option<Vec<u8>> {
        let line = self.find(b"\r\n").await?;
        let size = String::from_utf8(self.take(line + 2)).unwrap();
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        if !self.fill(size + 2).await {
            return None;
        }
        let mut chunk = self.take(size + 2);
        chunk.truncate(size);
        Some(chunk)
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        self.socket.set_zero_linger().unwrap();
    }

    /// Waits for the other end to close, and tells whether it did so without another byte.
    pub async fn closed(&mut self) -> bool {
        self.unread.is_empty() && !self.more().await && self.unread.is_empty()
    }

    async fn find(&mut self, wanted: &[u8]) -> Option<usize> {
        loop {
            if let Some(found) = self.unread.windows(wanted.len()).position(|part| part == wanted) {
                return Some(found);
            }
            if !self.more().await {
                return None;
            }
        }
    }

    async fn fill(&mut self, length: usize) -> bool {
        while self.unread.len() < length {
            if !self.more().await {
                return false;
            }
        }
        true
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        self.unread.drain(..length.min(self.unread.len())).collect()
    }

    async fn more(&mut self) -> bool {
        within(self.socket.read_buf(&mut self.unread)).await.is_ok_and(|read| read > 0)
    }
}

/// A gateway before an upstream that the test plays itself.
pub struct Played {
    pub house: House,
    pub listener: TcpListener,
}

impl Played {
    /// Starts it with our credential; `$PLAYED` in `text` stands for the address of the upstream.
    pub async fn start(text: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let own = "[upstream]\nbase_url = \"$PLAYED\"\ncredential = { env = \"UPSTREAM_KEY\" }\n";
        let text = if text.contains("[upstream]") { text.to_owned() } else { format!("{own}{text}") };
        Self { house: House::start(&text.replace("$PLAYED", &url)).await, listener }
    }

    /// Sends a request and receives it upstream; returns the client's end, the upstream's, and what arrived.
    pub async fn cross(
        &self,
        line: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> (Wire, Wire, Whole) {
        let mut client = Wire::connect(&self.house.url).await;
        client.request(line, headers, body).await;
        let mut upstream = Wire::accept(&self.listener).await;
        let arrived = upstream.whole().await;
        (client, upstream, arrived)
    }
}

/// Bounds a wait, so that a test that would hang fails.
pub async fn within<F: Future>(work: F) -> F::Output {
    let waited = tokio::time::timeout(Duration::from_secs(20), work).await;
    waited.unwrap_or_else(|_| panic!("nothing happened within 20 s"))
}

/// A message as the API answers it, oddly spaced.
pub const MESSAGE: &str = "{ \"id\":\"msg_1\",\"type\" : \"message\",\"role\":\"assistant\",\"model\":\"claude-haiku-5-5\",\"future\":{\"a\":1e400},\n\
    \"content\":[{\"type\":\"text\",\"text\":\"h\\u00e9llo \\/ \u{e9}\"}],\"stop_reason\":\"end_turn\",\"stop_sequence\":null,\
    \"usage\":{\"input_tokens\":11,\"output_tokens\":7, \"new_tokens\":3}}\n";

/// The headers most clients send.
pub fn keyed(key: &str) -> Vec<(&'static str, &str)> {
    vec![("x-api-key", key), ("anthropic-version", "2023-06-01"), ("content-type", "application/json")]
}
