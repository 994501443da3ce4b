//! One connection to a Redis that is shared with other instances, and whether it can be relied on.
//!
//! A link is up from the moment a server has taken a write until a call or the look every [`LOOK_EVERY`] fails,
//! whatever the failure: refused, reset, silent for [`ANSWER_WITHIN`], loading, read-only, out of memory, or not
//! speaking the protocol. It is then dropped and made anew, from the sentinels on where there are any, until it
//! is up again. A command is sent once: what was in flight when a link broke is lost to its caller, never sent
//! again. The first look at a server also says whether it may throw counters away.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, RedisError};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::config::RedisServer;

/// What a link is for; the label `redis` of its metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkUse {
    /// Counters, which must never be thrown away.
    Counters,
    /// Kept answers, which may.
    Answers,
}

/// A connection that mends itself.
#[derive(Debug)]
pub struct Link {
    server: RedisServer,
    purpose: LinkUse,
    state: watch::Sender<State>,
    round_trips: AtomicU64,
    failures: [AtomicU64; LinkFailure::ALL.len()],
}

#[derive(Clone)]
struct State {
    connection: Option<MultiplexedConnection>,
    /// Counts the connections there have been, so that a late failure of an old one breaks no new one.
    generation: u64,
    /// When the last one was lost.
    lost_at: Instant,
}

/// Why a call got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkFailure {
    /// The link is not up.
    #[error("not connected")]
    Down,
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The connection broke, or what came was not the protocol.
    #[error("the connection broke")]
    Broken,
    /// The server takes no writes: a replica.
    #[error("the server is read-only")]
    ReadOnly,
    /// The server has no memory left for writes.
    #[error("the server is out of memory")]
    OutOfMemory,
    /// The server is loading its data.
    #[error("the server is loading its data")]
    Loading,
    /// The server refused the command or the login, or is not one that can be used.
    #[error("the server refused")]
    Refused,
}

/// A link as its metrics see it.
#[derive(Clone, Debug)]
pub struct LinkReading {
    /// `counters` or `answers`.
    pub purpose: &'static str,
    /// Whether it is up.
    pub up: bool,
    /// Calls that were answered.
    pub round_trips: u64,
    /// Calls and looks that failed, by reason.
    pub failures: [(&'static str, u64); LinkFailure::ALL.len()],
}

impl LinkUse {
    /// Returns the label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counters => "counters",
            Self::Answers => "answers",
        }
    }
}

impl Link {
    /// Returns a link that is down until [`Link::keep_up`] runs.
    #[must_use]
    pub fn new(server: RedisServer, purpose: LinkUse) -> Arc<Self> {
        let state = watch::Sender::new(State { connection: None, generation: 0, lost_at: Instant::now() });
        let (round_trips, failures) = (AtomicU64::new(0), Default::default());
        Arc::new(Self { server, purpose, state, round_trips, failures })
    }

    /// Tells whether calls can be expected to be answered.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state.borrow().connection.is_some()
    }

    /// Returns which connection is in use, counted from 1; a new one may lead to a server that knows less.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.state.borrow().generation
    }

    /// Waits until the link is up; never longer than `within`, and tells whether it is.
    pub async fn up_within(&self, within: Duration) -> bool {
        let mut state = self.state.subscribe();
        let up = timeout(within, state.wait_for(|state| state.connection.is_some())).await;
        matches!(up, Ok(Ok(_)))
    }

    /// Waits until the link is up, where it was lost less than [`ANSWER_WITHIN`] ago; tells whether it is.
    pub async fn up_soon(&self) -> bool {
        let (up, lost_at) = {
            let state = self.state.borrow();
            (state.connection.is_some(), state.lost_at)
        };
        up || self.up_within(ANSWER_WITHIN.saturating_sub(lost_at.elapsed())).await
    }

    /// Sends what `call` sends, once, and returns its answer; gives up after `within`.
    ///
    /// Giving up sooner than after [`ANSWER_WITHIN`] says nothing of the link, which stays up.
    ///
    /// # Errors
    /// When there is no answer or it is an error; every failure of the server or the line takes the link down.
    pub async fn ask<T, F>(
        &self,
        within: Duration,
        call: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<T, LinkFailure>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let State { connection, generation, .. } = self.state.borrow().clone();
        let Some(connection) = connection else { return Err(self.failed(LinkFailure::Down)) };
        let answered = timeout(within.min(ANSWER_WITHIN), call(connection)).await;
        match answered {
            Ok(Ok(answer)) => {
                self.round_trips.fetch_add(1, Ordering::Relaxed);
                Ok(answer)
            }
            Ok(Err(error)) => Err(self.lose(generation, LinkFailure::of(&error))),
            Err(_) if within < ANSWER_WITHIN => Err(self.failed(LinkFailure::TimedOut)),
            Err(_) => Err(self.lose(generation, LinkFailure::TimedOut)),
        }
    }

    /// Connects, looks after the connection and makes it anew, until `ended`.
    pub async fn keep_up(self: Arc<Self>, mut ended: watch::Receiver<bool>) {
        tokio::select! {
            _ = ended.wait_for(|ended| *ended) => {}
            () = self.connect_for_ever() => {}
        }
    }

    /// Returns what metrics show.
    #[must_use]
    pub fn reading(&self) -> LinkReading {
        let count = |failure: LinkFailure| {
            let counted =
                self.failures.get(failure as usize).map_or(0, |count| count.load(Ordering::Relaxed));
            (failure.name(), counted)
        };
        LinkReading {
            purpose: self.purpose.name(),
            up: self.is_up(),
            round_trips: self.round_trips.load(Ordering::Relaxed),
            failures: LinkFailure::ALL.map(count),
        }
    }

    async fn connect_for_ever(&self) {
        let mut told = None;
        loop {
            match self.connect().await {
                Ok(connection) => {
                    tracing::info!(server = %self.server, purpose = self.purpose.name(), "redis is connected");
                    self.state.send_modify(|state| {
                        state.generation += 1;
                        state.connection = Some(connection);
                    });
                    told = None;
                    self.look_after().await;
                }
                Err(failure) => {
                    self.failed(failure);
                    if told.replace(failure) != Some(failure) {
                        tracing::warn!(server = %self.server, purpose = self.purpose.name(), %failure,
                            "redis cannot be used; trying again");
                    }
                }
            }
            tokio::time::sleep(TRY_EVERY).await;
        }
    }

    /// Returns when the connection has failed.
    async fn look_after(&self) {
        let mut state = self.state.subscribe();
        loop {
            let lost = async { drop(state.wait_for(|state| state.connection.is_none()).await) };
            tokio::select! {
                () = lost => return,
                () = tokio::time::sleep(LOOK_EVERY) => drop(self.ask(ANSWER_WITHIN, look).await),
            }
        }
    }

    async fn connect(&self) -> Result<MultiplexedConnection, LinkFailure> {
        let node = self.node().await?;
        let connection = open(node).await?;
        // A server that takes no writes is of no use, so that is what is tried first.
        let looked = timeout(ANSWER_WITHIN, look(connection.clone())).await;
        looked.map_err(|_| LinkFailure::TimedOut)?.map_err(|error| LinkFailure::of(&error))?;
        if self.purpose == LinkUse::Counters {
            warn_of_eviction(&self.server, connection.clone()).await;
        }
        Ok(connection)
    }

    /// Finds the master where sentinels watch it; the first that knows it is believed.
    async fn node(&self) -> Result<ConnectionInfo, LinkFailure> {
        let Some(sentinels) = &self.server.sentinels else { return Ok(self.server.node.clone()) };
        let mut failure = LinkFailure::Refused;
        for sentinel in &sentinels.nodes {
            let asked = async {
                let mut connection = open(sentinel.clone()).await?;
                let mut command = redis::cmd("SENTINEL");
                command.arg("get-master-addr-by-name").arg(&sentinels.master);
                let place: Result<(String, u16), RedisError> = command.query_async(&mut connection).await;
                place.map_err(|error| LinkFailure::of(&error))
            };
            match timeout(ANSWER_WITHIN, asked).await {
                Ok(Ok((host, port))) => {
                    return Ok(self.server.node.clone().set_addr(moved(&self.server, host, port)));
                }
                Ok(Err(found)) => failure = found,
                Err(_) => failure = LinkFailure::TimedOut,
            }
        }
        Err(failure)
    }

    fn lose(&self, generation: u64, failure: LinkFailure) -> LinkFailure {
        let lost = self.state.send_if_modified(|state| {
            let current = state.generation == generation && state.connection.is_some();
            if current {
                state.connection = None;
                state.lost_at = Instant::now();
            }
            current
        });
        if lost {
            tracing::warn!(server = %self.server, purpose = self.purpose.name(), %failure, "redis is lost");
        }
        self.failed(failure)
    }

    fn failed(&self, failure: LinkFailure) -> LinkFailure {
        if let Some(count) = self.failures.get(failure as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        failure
    }
}

impl LinkFailure {
    /// Every failure, in the order of its counters.
    pub const ALL: [Self; 7] = [
        Self::Down,
        Self::TimedOut,
        Self::Broken,
        Self::ReadOnly,
        Self::OutOfMemory,
        Self::Loading,
        Self::Refused,
    ];

    /// Returns the label `reason` of its counter.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::TimedOut => "timed_out",
            Self::Broken => "broken",
            Self::ReadOnly => "read_only",
            Self::OutOfMemory => "out_of_memory",
            Self::Loading => "loading",
            Self::Refused => "refused",
        }
    }

    fn of(error: &RedisError) -> Self {
        match error.code() {
            Some("READONLY") => Self::ReadOnly,
            Some("OOM") => Self::OutOfMemory,
            Some("LOADING" | "MASTERDOWN" | "BUSY") => Self::Loading,
            Some(_) => Self::Refused,
            None if error.is_timeout() => Self::TimedOut,
            None => Self::Broken,
        }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let up = self.connection.is_some();
        formatter.debug_struct("State").field("up", &up).field("generation", &self.generation).finish()
    }
}

async fn open(node: ConnectionInfo) -> Result<MultiplexedConnection, LinkFailure> {
    let client = Client::open(node).map_err(|_| LinkFailure::Refused)?;
    // Both are set: the crate's own defaults have changed before.
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_WITHIN))
        .set_response_timeout(Some(ANSWER_WITHIN));
    let opened = client.get_multiplexed_async_connection_with_config(&config).await;
    opened.map_err(|error| LinkFailure::of(&error))
}

/// A write that leaves nothing behind for long.
async fn look(mut connection: MultiplexedConnection) -> Result<(), RedisError> {
    let mut command = redis::cmd("SET");
    command.arg("tercet:look").arg(1).arg("PX").arg(LOOK_KEPT_MS);
    command.query_async(&mut connection).await
}

/// Counters that may be thrown away for want of memory let requests pass again that were counted.
async fn warn_of_eviction(server: &RedisServer, mut connection: MultiplexedConnection) {
    let mut command = redis::cmd("INFO");
    let told: Result<String, _> = command.arg("memory").query_async(&mut connection).await;
    let policy = told.ok().and_then(|told| {
        let policy = told.lines().find_map(|line| line.strip_prefix("maxmemory_policy:"))?;
        (policy.trim() != "noeviction").then(|| policy.trim().to_owned())
    });
    if let Some(policy) = policy {
        tracing::warn!(%server, policy,
            "this redis may evict counters, and a limit or budget would then be granted again; set maxmemory-policy to noeviction");
    }
}

fn moved(server: &RedisServer, host: String, port: u16) -> ConnectionAddr {
    match server.node.addr() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
        }
        _ => ConnectionAddr::Tcp(host, port),
    }
}

/// How long an answer is waited for; a server that takes longer is as good as gone.
pub const ANSWER_WITHIN: Duration = Duration::from_millis(500);
const CONNECT_WITHIN: Duration = Duration::from_millis(500);
/// How often a link that is up is looked at, and one that is down is tried.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const TRY_EVERY: Duration = Duration::from_millis(100);
const LOOK_KEPT_MS: u64 = 10_000;
