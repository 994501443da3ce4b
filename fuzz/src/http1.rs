//! Raw bytes of a client → what the upstream is sent: whatever comes through is strict, and never more than was asked.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tercet::config;
use tercet::gateway::{Gateway, Origin};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// A gateway before an upstream that notes what it is sent.
struct Stage {
    runtime: Runtime,
    address: String,
    seen: Arc<Mutex<Vec<Result<String, String>>>>,
    _folder: tempfile::TempDir,
}

/// Sends any bytes, as a client that then says no more.
///
/// # Panics
/// Where the upstream was sent what two parsers could read differently, or more requests than the client wrote.
pub fn run(data: &[u8]) {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    let stage = STAGE.get_or_init(Stage::set);
    stage.seen.lock().unwrap().clear();
    stage.runtime.block_on(async {
        let mut client = TcpStream::connect(&stage.address).await.unwrap();
        drop(client.write_all(data).await);
        drop(client.shutdown().await);
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(10), client.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "neither an answer nor an end within 10 s");
    });
    let seen = std::mem::take(&mut *stage.seen.lock().unwrap());
    let asked = data.windows(7).filter(|part| part == b"HTTP/1.").count();
    assert!(seen.len() <= asked, "{} requests of {asked}: {seen:?}", seen.len());
    for request in seen {
        request.unwrap_or_else(|fault| panic!("the upstream was sent {fault}"));
    }
}

impl Stage {
    fn set() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let address = runtime.block_on(async {
            let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let text = format!(
                "[server]\nlisten = \"127.0.0.1:0\"\nheader_timeout = \"2s\"\nbody_timeout = \"2s\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
                 [upstream]\nbase_url = \"http://{}\"\n[journal]\npath = \"{}\"\n",
                upstream.local_addr().unwrap(),
                folder.path().display()
            );
            let noted = Arc::clone(&seen);
            tokio::spawn(async move {
                loop {
                    let (client, _) = upstream.accept().await.unwrap();
                    tokio::spawn(note(client, Arc::clone(&noted)));
                }
            });
            let config = config::parse(&text, None, &|_| None).unwrap();
            let gateway = Gateway::start(config, Origin { file: None, mode: None }).await.unwrap();
            let address = gateway.data_url().trim_start_matches("http://").to_owned();
            tokio::spawn(gateway.serve_until(std::future::pending()));
            address
        });
        Self { runtime, address, seen, _folder: folder }
    }
}

/// Reads requests strictly and answers each.
async fn note(mut client: TcpStream, seen: Arc<Mutex<Vec<Result<String, String>>>>) {
    let mut bytes = Vec::new();
    loop {
        while let Some(read) = one(&bytes) {
            let length = match read {
                Ok((line, length)) => {
                    seen.lock().unwrap().push(Ok(line));
                    length
                }
                Err(fault) => {
                    seen.lock().unwrap().push(Err(format!("{fault}: {}", bytes.escape_ascii())));
                    return;
                }
            };
            bytes.drain(..length);
            if client.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.is_err() {
                return;
            }
        }
        if !client.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
            return;
        }
    }
}

/// Returns the first request and its length, once it is whole; a fault where it has more than one reading.
fn one(bytes: &[u8]) -> Option<Result<(String, usize), &'static str>> {
    let end = bytes.windows(4).position(|part| part == b"\r\n\r\n")?;
    // Values may hold bytes beyond ASCII, which stand for themselves (RFC 9110 section 5.5).
    let text: String = bytes[..end].iter().map(|byte| char::from(*byte)).collect();
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    if first.split(' ').count() != 3 || !first.ends_with(" HTTP/1.1") || !first.contains(" /") {
        return Some(Err("a first line that is none"));
    }
    let (mut length, mut chunked, mut hosts) = (None, false, 0);
    for line in lines {
        let Some((name, value)) = line.split_once(": ") else { return Some(Err("a field that is none")) };
        if name.is_empty()
            || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
        {
            return Some(Err("a name that is none"));
        }
        if value.chars().any(|character| character < ' ' && character != '\t' || character == '\u{7f}') {
            return Some(Err("a control character"));
        }
        match name.to_ascii_lowercase().as_str() {
            "content-length" if length.is_some() => return Some(Err("two lengths")),
            "content-length" => match value.parse::<usize>() {
                Ok(given) => length = Some(given),
                Err(_) => return Some(Err("a length that is none")),
            },
            "transfer-encoding" if value == "chunked" && !chunked => chunked = true,
            "transfer-encoding" | "upgrade" | "te" | "trailer" | "connection" | "keep-alive" => {
                return Some(Err("a field for the next hop alone"));
            }
            "host" => hosts += 1,
            _ => {}
        }
    }
    if hosts != 1 || (chunked && length.is_some()) {
        return Some(Err("not one host, or two framings"));
    }
    let body = &bytes[end + 4..];
    let taken = if chunked { chunks(body)? } else { Ok(length.unwrap_or(0)) };
    match taken {
        Err(fault) => Some(Err(fault)),
        Ok(taken) => (body.len() >= taken).then(|| Ok((first.to_owned(), end + 4 + taken))),
    }
}

/// Returns how long a body in chunks is, once it is whole.
fn chunks(body: &[u8]) -> Option<Result<usize, &'static str>> {
    let mut at = 0;
    loop {
        let line = body[at..].windows(2).position(|part| part == b"\r\n")?;
        let size = std::str::from_utf8(&body[at..at + line])
            .ok()
            .and_then(|size| usize::from_str_radix(size, 16).ok());
        let Some(size) = size else { return Some(Err("a chunk whose size is none")) };
        at += line + 2 + size;
        if body.len() < at + 2 {
            return None;
        }
        if &body[at..at + 2] != b"\r\n" {
            return Some(Err("a chunk that does not end"));
        }
        at += 2;
        if size == 0 {
            return Some(Ok(at));
        }
    }
}
