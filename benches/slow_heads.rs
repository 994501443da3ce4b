//! What others feel of a thousand clients that send their heads a byte a second: how long requests take at a constant rate,
//! alone and beside them, in turn. Prints microseconds, median [least-most] of the rounds. A minute.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark measures real time, prints, and may fail loudly"
)]

mod asking;
mod targets;
mod traffic;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use asking::{ask_at, ranked, short_message};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

fn main() {
    // `cargo test --benches` only asks whether it runs.
    let measures = std::env::args().any(|argument| argument == "--bench");
    let (rounds, slow) = if measures { (ROUNDS, SLOW) } else { (1, 10) };
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let upstream = targets::start_upstream().await;
        let folder = tempfile::tempdir().unwrap();
        let gateway = targets::start_gateway(upstream, folder.path(), 1, 0);
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            alone.push(ask(gateway.address).await);
            let crowd = dawdle(gateway.address, slow).await;
            beside.push(ask(gateway.address).await);
            // Were they let go of, nothing was measured.
            assert_eq!(crowd.open.load(Ordering::Relaxed), slow, "slow clients that are connected");
        }
        println!("alone                 {}", told(&alone));
        println!("beside {slow:<5} slow heads {}", told(&beside));
        let ratios = alone.iter().zip(&beside).map(|(alone, beside)| beside[1].div_duration_f64(alone[1]));
        let [least, median, most] = ranked(&ratios.collect::<Vec<_>>());
        println!("p99 beside to alone   {median:.2} [{least:.2}-{most:.2}]");
    });
}

/// Returns how long requests take: at the median, and the slowest hundredth.
async fn ask(target: SocketAddr) -> [Duration; 2] {
    let mut took = ask_at(&short_message(), target, CONNECTIONS, RATE, MEASURED).await;
    took.sort_unstable();
    [took[took.len() / 2], took[took.len() * 99 / 100]]
}

/// Clients that dawdle, until this is dropped.
struct Crowd {
    open: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

async fn dawdle(target: SocketAddr, count: usize) -> Crowd {
    let (open, mut tasks) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    for place in 0..count {
        let mut stream = TcpStream::connect(target).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(b"POST /v1/messages HTTP/1.1\r\nhost: gateway\r\nx-slow: ").await.unwrap();
        let open = Arc::clone(&open);
        open.fetch_add(1, Ordering::Relaxed);
        tasks.spawn(async move {
            while stream.write_all(b"a").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            open.fetch_sub(1, Ordering::Relaxed);
        });
        // Below the rate at which a gateway lets new connections in, and so that not all write in the same moment.
        if place % 10 == 9 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    Crowd { open, _tasks: tasks }
}

fn told(rounds: &[[Duration; 2]]) -> String {
    let [half, most] = [0, 1].map(|which| {
        let values: Vec<f64> = rounds.iter().map(|round| round[which].as_secs_f64() * 1e6).collect();
        let [least, median, most] = ranked(&values);
        format!("{median:.0} [{least:.0}-{most:.0}]")
    });
    format!("p50 {half} us, p99 {most} us")
}

const ROUNDS: usize = 7;
const SLOW: usize = 1_000;
const CONNECTIONS: usize = 16;
const RATE: u32 = 500;
const MEASURED: Duration = Duration::from_secs(3);
