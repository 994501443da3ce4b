//! A thousand clients who send one request at once.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{Barrier, mpsc};

use super::targets::{self, CACHED_KEY, Proxy};
use super::traffic::{NUMBER, body};
use super::{spread, spread_to};

/// What each of them sees, seconds since all sent.
struct Seen {
    first: f64,
    whole: f64,
    bytes: usize,
}

/// How the upstream answers: when its first event comes, how many there are, of which size, how far apart.
#[derive(Clone, Copy)]
struct Answering {
    first_after: Duration,
    events: usize,
    event_bytes: usize,
    apart: Duration,
}

impl Answering {
    /// To a request marked as small.
    const SMALL: Self =
        Self { first_after: Duration::ZERO, events: 1, event_bytes: 24, apart: Duration::ZERO };
}

/// Marks requests that are answered at once, and little.
const SMALL: &str = "a small answer";

/// Measures when the last of all has the first event and the whole, directly and through the gateway, and memory.
pub(crate) fn measure(runtime: &Runtime, rounds: usize, crowd: usize) {
    println!(
        "\n{crowd} clients send one streaming request at once, ms until the last of them has its first event"
    );
    for first_after in [Duration::ZERO, Duration::from_millis(250)] {
        let answering =
            Answering { first_after, events: 100, event_bytes: 120, apart: Duration::from_millis(4) };
        let (upstream, calls) = runtime.block_on(start(answering));
        let folder = tempfile::tempdir().unwrap();
        let gateway = targets::start_gateway(upstream, folder.path(), 2, 0);
        let mut of: [Vec<f64>; 6] = Default::default();
        for round in 0..rounds {
            let direct = runtime.block_on(all_at_once(upstream, crowd, round));
            let before = calls.load(Ordering::Relaxed);
            let through = runtime.block_on(all_at_once(gateway.address, crowd, round));
            assert_eq!(calls.load(Ordering::Relaxed), before + 1, "one call");
            assert!(through.iter().all(|seen| seen.bytes == direct[0].bytes), "every client has all of it");
            let last = |all: &[Seen], at: fn(&Seen) -> f64| all.iter().map(at).fold(0.0, f64::max) * 1e3;
            let [direct_first, first] = [&direct, &through].map(|all| last(all, |seen| seen.first));
            let [direct_whole, whole] = [&direct, &through].map(|all| last(all, |seen| seen.whole));
            let values =
                [direct_first, direct_whole, first, whole, first / direct_first, first / direct_whole];
            of.iter_mut().zip(values).for_each(|(of, value)| of.push(value));
        }
        let [direct_first, direct_whole, first, whole, to_first, to_whole] = &of;
        println!("  the upstream's first event after {} ms, 100 events 4 ms apart", first_after.as_millis());
        println!("    direct   first event {}   whole {}", spread(direct_first), spread(direct_whole));
        println!("    joined   first event {}   whole {}", spread(first), spread(whole));
        println!("    first event to direct first event {}", spread_to(to_first, 2));
        println!("    first event to all direct streams {}", spread_to(to_whole, 2));
    }
    println!();
    memory(runtime, crowd, Before::Nothing);
    memory(runtime, crowd, Before::AnAnswer);
}

/// What connections have carried when they begin to read.
#[derive(Clone, Copy)]
enum Before {
    /// One refusal each, so that their buffers are there.
    Nothing,
    /// One small answer each: what any request leaves behind in its connection, and in the list of the last, is there too.
    AnAnswer,
}

/// Measures what an answer of 1 MiB takes while all of them read it.
fn memory(runtime: &Runtime, crowd: usize, carried: Before) {
    let answering = Answering {
        first_after: Duration::from_millis(300),
        events: 256,
        event_bytes: 4 << 10,
        apart: Duration::from_millis(8),
    };
    let (upstream, _) = runtime.block_on(start(answering));
    let folder = tempfile::tempdir().unwrap();
    let gateway = targets::start_gateway(upstream, folder.path(), 2, 0);
    let connections = runtime.block_on(async {
        let mut connections = connect(gateway.address, crowd).await;
        for connection in &mut connections {
            let first = match carried {
                Before::Nothing => {
                    Request::get("/nowhere").header(header::HOST, "gateway").body(Full::default()).unwrap()
                }
                Before::AnAnswer => request(SMALL),
            };
            drop(connection.send_request(first).await.unwrap().into_body().collect().await);
        }
        connections
    });
    let before = gateway.resident_bytes().unwrap();
    let reading = runtime.spawn(async move {
        let asking = connections.into_iter().map(|mut connection| {
            tokio::spawn(async move {
                let read = ask(&mut connection, "one").await;
                (read, connection)
            })
        });
        let asking: Vec<_> = asking.collect();
        let mut open = Vec::new();
        for one in asking {
            open.push(one.await.unwrap());
        }
        open
    });
    let mut most = before;
    while !reading.is_finished() {
        most = most.max(gateway.resident_bytes().unwrap());
        std::thread::sleep(Duration::from_millis(5));
    }
    let read = runtime.block_on(reading).unwrap();
    let answer = read[0].0;
    assert!(read.iter().all(|(bytes, _)| *bytes == answer));
    let (grown, bound) = (most - before, 2 * answer as u64 + (4 << 10) * crowd as u64);
    let each = grown.saturating_sub(2 * answer as u64) / crowd as u64;
    let carried = match carried {
        Before::Nothing => "new connections",
        Before::AnAnswer => "connections that carried an answer before",
    };
    println!(
        "memory: {crowd} read an answer of {answer} bytes over {carried}; the gateway grows by {grown} of {bound} bytes \
         (twice the answer and 4 KiB each), which is {each} bytes each beside twice the answer"
    );
}

async fn connect(address: SocketAddr, count: usize) -> Vec<SendRequest<Full<Bytes>>> {
    let mut open = Vec::new();
    for _ in 0..count {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        open.push(sender);
    }
    open
}

fn request(marker: &str) -> Request<Full<Bytes>> {
    let body = body(1_200, 300, true).replacen(NUMBER, marker, 1);
    Request::post("/v1/messages")
        .header(header::HOST, "gateway")
        .header(header::CONTENT_TYPE, "application/json")
        .header("anthropic-version", "2023-06-01")
        .header("x-api-key", CACHED_KEY)
        .body(Full::new(Bytes::from(body)))
        .unwrap()
}

async fn ask(sender: &mut SendRequest<Full<Bytes>>, marker: &str) -> usize {
    let answer = sender.send_request(request(marker)).await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut body = answer.into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame.unwrap().data_ref().map_or(0, Bytes::len);
    }
    bytes
}

async fn all_at_once(address: SocketAddr, count: usize, round: usize) -> Vec<Seen> {
    let start = Arc::new(Barrier::new(count));
    let asking: Vec<_> = connect(address, count)
        .await
        .into_iter()
        .map(|mut sender| {
            let start = Arc::clone(&start);
            let request = request(&format!("round {round}"));
            tokio::spawn(async move {
                start.wait().await;
                let begun = Instant::now();
                let answer = sender.send_request(request).await.unwrap();
                assert_eq!(answer.status(), 200);
                let (mut body, mut seen) = (answer.into_body(), Seen { first: 0.0, whole: 0.0, bytes: 0 });
                while let Some(frame) = body.frame().await {
                    let bytes = frame.unwrap().data_ref().map_or(0, Bytes::len);
                    if seen.bytes == 0 && bytes > 0 {
                        seen.first = begun.elapsed().as_secs_f64();
                    }
                    seen.bytes += bytes;
                }
                seen.whole = begun.elapsed().as_secs_f64();
                seen
            })
        })
        .collect();
    let mut all = Vec::new();
    for one in asking {
        all.push(one.await.unwrap());
    }
    all
}

/// Starts an upstream that answers every request so; also returns how many it was asked.
async fn start(answering: Answering) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    tokio::spawn(targets::serve(listener, move |request: Request<Incoming>| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let small = body.windows(SMALL.len()).any(|part| part == SMALL.as_bytes());
            let (sender, receiver) = mpsc::channel(4);
            tokio::spawn(feed(if small { Answering::SMALL } else { answering }, sender));
            let mut answer = Response::new(Fed(receiver));
            let kind = HeaderValue::from_static("text/event-stream");
            answer.headers_mut().insert(header::CONTENT_TYPE, kind);
            Ok::<_, Infallible>(answer)
        }
    }));
    (address, calls)
}

async fn feed(answering: Answering, sender: mpsc::Sender<Bytes>) {
    tokio::time::sleep(answering.first_after).await;
    let events = super::traffic::stream();
    let (head, tail) = (&events[..3], &events[events.len() - 3..]);
    let words = "x".repeat(answering.event_bytes);
    let delta = format!(
        "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\
         \"delta\":{{\"type\":\"text_delta\",\"text\":\"{words}\"}}}}\n\n"
    );
    let delta = Bytes::from(delta);
    let all =
        head.iter().cloned().chain((0..answering.events).map(|_| delta.clone())).chain(tail.iter().cloned());
    for event in all {
        if sender.send(event).await.is_err() {
            return;
        }
        tokio::time::sleep(answering.apart).await;
    }
}

struct Fed(mpsc::Receiver<Bytes>);

impl Body for Fed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

impl Proxy {
    /// Returns the memory it has, as the system counts it.
    fn resident_bytes(&self) -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.id())).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
        Some(kib << 10)
    }
}
