//! Thousands of open slow streams: what each costs the gateway in memory and descriptors, how late their events come, and
//! whether all of it is given back. Prints a line for each number of streams; two to four minutes.
//!
//! Each stream has an event a second. Its upstream notes in each when it was written, its client when it was read; both
//! are in this process. `cargo bench --bench streams -- 5000` asks for so many.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark measures real time, prints, and may fail loudly"
)]

mod targets;
mod traffic;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use targets::{KEY, Proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::watch;
use traffic::{NUMBER, body};

/// What all streams share.
struct Stage {
    began: Instant,
    /// Streams whose client has had an event.
    begun: AtomicUsize,
    /// Streams whose client has had the last one.
    ended: AtomicUsize,
    /// The latest event yet since it was last asked for, in nanoseconds.
    worst: AtomicU64,
    /// All lateness of late, in nanoseconds, and how many events.
    late: AtomicU64,
    events: AtomicU64,
    /// Streams are to end.
    over: watch::Receiver<bool>,
}

/// What a process takes.
#[derive(Clone, Copy)]
struct Taken {
    bytes: u64,
    /// Of them what is not pages of the program's own file, which come as they are first run.
    own: u64,
    files: usize,
}

fn main() {
    // `cargo test --benches` only asks whether it runs.
    let measures = std::env::args().any(|argument| argument == "--bench");
    let asked: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let counts = match (measures, asked.is_empty()) {
        (false, _) => vec![20],
        (true, true) => vec![20, 1_000, 5_000],
        (true, false) => asked,
    };
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for count in counts {
            measure(count, measures).await;
        }
    });
}

async fn measure(count: usize, measures: bool) {
    let (end, over) = watch::channel(false);
    let stage = Arc::new(Stage {
        began: Instant::now(),
        begun: AtomicUsize::new(0),
        ended: AtomicUsize::new(0),
        worst: AtomicU64::new(0),
        late: AtomicU64::new(0),
        events: AtomicU64::new(0),
        over,
    });
    let upstream = start_upstream(&stage).await;
    let folder = tempfile::tempdir().unwrap();
    let gateway = targets::start_gateway_with(upstream, folder.path(), 1, "");
    // What a first request makes for all that follow is not theirs.
    listen(gateway.address, Arc::clone(&stage), usize::MAX, true).await;
    let before = taken(&gateway);
    println!(
        "{count} streams: before {} KiB, {} of them its own, and {} files",
        before.bytes / 1_024,
        before.own / 1_024,
        before.files
    );
    for place in 0..count {
        tokio::spawn(listen(gateway.address, Arc::clone(&stage), place, false));
        // Below the rate at which new connections are let in.
        if place % 10 == 9 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    until("every stream has begun", || stage.begun.load(Ordering::Relaxed) == count + 1).await;
    tokio::time::sleep(Duration::from_secs(if measures { 3 } else { 1 })).await;
    for forget in [&stage.worst, &stage.late, &stage.events] {
        forget.store(0, Ordering::Relaxed);
    }
    tokio::time::sleep(Duration::from_secs(if measures { 15 } else { 1 })).await;
    let open = taken(&gateway);
    let each = open.bytes.saturating_sub(before.bytes) as f64 / 1_024.0 / count as f64;
    let (events, late) = (stage.events.load(Ordering::Relaxed), stage.late.load(Ordering::Relaxed));
    println!(
        "  open    {each:.1} KiB each and {} files; {events} events {:.3} ms late at the mean, {:.1} ms at worst",
        open.files - before.files,
        late as f64 / events.max(1) as f64 / 1e6,
        stage.worst.load(Ordering::Relaxed) as f64 / 1e6
    );
    end.send_replace(true);
    until("every stream has ended", || stage.ended.load(Ordering::Relaxed) == count + 1).await;
    // Connections to the upstream rest for a minute.
    if measures {
        tokio::time::sleep(Duration::from_secs(80)).await;
        let after = taken(&gateway);
        println!(
            "  after   {} KiB, {} of them its own, and {} files: {:.0} % of the memory before; {:.1} KiB each stay of its own",
            after.bytes / 1_024,
            after.own / 1_024,
            after.files,
            100.0 * after.bytes as f64 / before.bytes as f64,
            after.own.saturating_sub(before.own) as f64 / 1_024.0 / count as f64
        );
    }
}

/// One client: asks for a stream, and reads it event by event to its end, or only to its first event.
async fn listen(gateway: SocketAddr, stage: Arc<Stage>, place: usize, first_alone: bool) {
    let mut stream = TcpStream::connect(gateway).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let body = body(1_200, 200, true).replacen(NUMBER, &format!("{:08}", place % 100_000_000), 1);
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\nanthropic-version: 2023-06-01\r\n\
         x-api-key: {KEY}\r\nuser-agent: bench/1.0\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    let (mut read, mut seen, mut first) = ([0_u8; 2_048], false, true);
    loop {
        let length = stream.read(&mut read).await.unwrap();
        assert!(length > 0, "a stream was cut");
        let text = String::from_utf8_lossy(&read[..length]);
        assert!(!first || text.starts_with("HTTP/1.1 200"), "{text}");
        first = false;
        if let Some(written) = text.rsplit("at=").next().and_then(|rest| rest.split('.').next()?.parse().ok())
        {
            stage.note(written);
            if !seen {
                stage.begun.fetch_add(1, Ordering::Relaxed);
            }
            seen = true;
        }
        if first_alone && seen || text.contains("message_stop") {
            stage.ended.fetch_add(1, Ordering::Relaxed);
            return;
        }
    }
}

impl Stage {
    fn note(&self, written: u64) {
        let late = u64::try_from(self.began.elapsed().as_nanos()).unwrap().saturating_sub(written);
        self.worst.fetch_max(late, Ordering::Relaxed);
        self.late.fetch_add(late, Ordering::Relaxed);
        self.events.fetch_add(1, Ordering::Relaxed);
    }
}

async fn start_upstream(stage: &Arc<Stage>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stage = Arc::clone(stage);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(play(stream, Arc::clone(&stage)));
        }
    });
    address
}

/// Answers one request with an event a second until all streams are to end.
async fn play(mut stream: TcpStream, stage: Arc<Stage>) {
    stream.set_nodelay(true).unwrap();
    let mut read = [0_u8; 4_096];
    // Requests are smaller than one read.
    if stream.read(&mut read).await.is_ok_and(|length| length == 0) {
        return;
    }
    let mut over = stage.over.clone();
    let events = traffic::stream();
    let mut text = String::from(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nrequest-id: req_011CSHoEeqs5C35K2UUqR7Fy\r\n\
         transfer-encoding: chunked\r\n\r\n",
    );
    text += &chunk(std::str::from_utf8(&events[0]).unwrap());
    text += &chunk(std::str::from_utf8(&events[1]).unwrap());
    let mut beat = tokio::time::interval(Duration::from_secs(1));
    loop {
        let at = stage.began.elapsed().as_nanos();
        text += &chunk(&format!(
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\
             \"text\":\"at={at}.\"}}}}\n\n"
        ));
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
        text.clear();
        beat.tick().await;
        if *over.borrow_and_update() {
            break;
        }
    }
    let last: String = events[47..].iter().map(|event| chunk(std::str::from_utf8(event).unwrap())).collect();
    drop(stream.write_all((last + "0\r\n\r\n").as_bytes()).await);
    // Kept until the gateway closes it.
    drop(stream.read(&mut read).await);
}

fn chunk(event: &str) -> String {
    format!("{:x}\r\n{event}\r\n", event.len())
}

fn taken(gateway: &Proxy) -> Taken {
    let process = format!("/proc/{}", gateway.id());
    let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
    let told = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
    };
    let files = std::fs::read_dir(format!("{process}/fd")).unwrap().count();
    Taken { bytes: told("VmRSS:"), own: told("RssAnon:"), files }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..6_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within a minute: {what}");
}
