//! A simulated upstream, as strict as the real Messages API; it imports nothing from the rest of the library.
//!
//! It refuses what the real API refuses, per model, from tables of its own; signs thinking and checks it on the way
//! back; keeps a prompt cache, threads, batches and files; and knows what the real upstream would have billed. Tests
//! script faults with [`Behaviour`] and look at [`Seen`], [`BilledCall`] and [`DroppedThinking`]. It does not
//! generate language. HTTP/1.1 and HTTP/2 by prior knowledge, clear text only.

mod answer;
mod batches;
mod behaviour;
mod blocks;
mod call;
mod canonical;
mod control;
mod fault;
mod files;
mod listing;
mod messages;
mod model_table;
mod models;
mod outgoing;
mod paging;
mod plan;
mod prices;
mod prompt_cache;
mod readers;
mod reply;
mod reports;
mod rules;
mod schema;
mod serve;
mod shape;
mod state;
mod thinking;
mod threads;
mod tool_rules;
mod wire;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

pub use behaviour::Behaviour;
pub use prices::BilledTokens;
pub use state::{BilledCall, Seen};
pub use thinking::DroppedThinking;

use behaviour::Entry;
use state::State;
use wire::{Faults, Wire};

/// How a simulated upstream starts.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The keys it accepts; None accepts any that is not empty.
    pub accepted_keys: Option<Vec<String>>,
    /// The wait between stream events.
    pub pace: Duration,
    /// The wait before the head of each answer.
    pub first_byte: Duration,
    /// Varies ids, signatures and thinking lengths.
    pub seed: u64,
    /// Accounts count as created on or after 2026-08-31, so more models check the history behind thinking.
    pub new_account: bool,
    /// Organisations may use Mythos.
    pub verified: bool,
    /// Organisations keep no data, which Fable and Mythos refuse.
    pub zero_retention: bool,
    /// Organisations have Priority Tier capacity.
    pub priority: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            accepted_keys: None,
            pace: Duration::ZERO,
            first_byte: Duration::ZERO,
            seed: 0,
            new_account: true,
            verified: false,
            zero_retention: false,
            priority: false,
        }
    }
}

/// A running simulated upstream; dropping it stops it.
#[derive(Debug)]
pub struct Upstream {
    addr: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

impl Upstream {
    /// Starts listening.
    ///
    /// # Errors
    /// Returns the error of binding the address.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let addr = listener.local_addr()?;
        let state = Arc::new(State::new(options, format!("http://{addr}")));
        let accepting = tokio::spawn(accept(listener, state.clone()));
        Ok(Self { addr, state, accepting })
    }

    /// Returns the address it listens on.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns its base URL, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.state.url
    }

    /// Scripts the next request to `/v1/messages` or below; first in, first out.
    pub fn script(&self, behaviour: Behaviour) {
        self.script_for("/v1/messages", behaviour);
    }

    /// Scripts the next request to this path or below it.
    pub fn script_for(&self, path: &str, behaviour: Behaviour) {
        self.state.memory().scripts.push_back(Entry { path: path.to_owned(), behaviour });
    }

    /// Returns the last 1,000 requests, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        self.state.memory().requests.iter().cloned().collect()
    }

    /// Returns what the real upstream would have billed, at most the last 100,000 calls, oldest first.
    #[must_use]
    pub fn bill(&self) -> Vec<BilledCall> {
        self.state.bill_batches();
        self.state.memory().bill.iter().cloned().collect()
    }

    /// Returns the thinking blocks that were sent to a model that did not get to read them.
    #[must_use]
    pub fn dropped_thinking(&self) -> Vec<DroppedThinking> {
        self.state.memory().dropped.iter().cloned().collect()
    }

    /// Moves the upstream's own time forward, for cache lifetimes, batches and files.
    pub fn advance(&self, by: Duration) {
        self.state.advance_ms(i64::try_from(by.as_millis()).unwrap_or(i64::MAX / 2));
    }

    /// Forgets requests, bills, scripts, caches and stored objects.
    pub fn reset(&self) {
        self.state.reset();
    }

    /// Stops listening and closes every connection.
    pub async fn stop(mut self) {
        self.accepting.abort();
        // The task was just aborted, so the only outcome is its cancellation.
        drop((&mut self.accepting).await);
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Accepts connections until aborted; at most 4,096 at once, later ones wait in the backlog.
async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        if connections.len() >= MOST_CONNECTIONS {
            connections.join_next().await;
        }
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    drop(stream.set_nodelay(true));
                    connections.spawn(serve_connection(stream, state.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(stream: tokio::net::TcpStream, state: Arc<State>) {
    let faults = Arc::new(Faults::default());
    let io = TokioIo::new(Wire::new(stream, faults.clone()));
    let service = service_fn(move |request| serve::handle(request, state.clone(), faults.clone()));
    // A connection that ends in an error is the client's business, or was scripted.
    drop(auto::Builder::new(TokioExecutor::new()).serve_connection(io, service).await);
}

const MOST_CONNECTIONS: usize = 4_096;
