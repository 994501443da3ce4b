//! Assembly: everything is built from a configuration here, served, reloaded and taken down.
//!
//! The order of a start: catalog, upstream, journal (verified whole, views rebuilt, what a crash left open charged),
//! then the listeners. The order of an end: not ready, no new requests, answers in flight to their end, what is
//! read in the background, the journal. Nothing is decided here about any request.

mod care;
mod change_stream;
mod changes;
mod clickhouse;
mod content;
mod control;
mod kept;
mod leases;
mod listeners;
#[cfg(feature = "otlp")]
mod otlp;
mod past;
mod plan;
mod problem;
mod readings;
mod rebuild;
mod replay;
mod retention;
mod rounds;
mod shared;
#[cfg(test)]
mod simulation;
mod snapshots;
mod sources;
mod spend_limits;
mod sums;
mod webhook;
mod workloads;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::admin;
use crate::clock::Clock;
use crate::config::{Config, Mode};
use crate::journal::Stream;
use crate::pipeline::{self, Tercet};
use crate::server::{Drained, Listener, Port, Workers};
use crate::workload::Workloads;

use change_stream::ChangeStream;

pub use control::Control;
pub(crate) use control::reachable;
pub use problem::StartProblem;

/// Where a configuration came from, so that it can be read again.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The file; `None` where defaults are used, which cannot be reloaded.
    pub file: Option<PathBuf>,
    /// A mode given on the command line; outranks the file, also after a reload.
    pub mode: Option<Mode>,
}

/// A gateway that listens and does not serve yet.
pub struct Gateway {
    tercet: Arc<Tercet>,
    control: Arc<Control>,
    workloads: workloads::Kept,
    data: Listener,
    workers: Workers,
    admin: Listener,
    drain_timeout: Duration,
    hangups: std::io::Result<Signal>,
}

/// How a gateway ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// What became of the connections.
    pub connections: Drained,
    /// Whether everything in the journal reached the disk.
    pub journal_whole: bool,
}

impl Gateway {
    /// Builds everything and binds both listeners; reads the whole journal, and blocks while it does.
    ///
    /// # Errors
    /// When a part cannot be built; the text says which, and what to change.
    pub async fn start(config: Config, origin: Origin) -> Result<Self, StartProblem> {
        Self::start_by(Clock::default(), config, origin).await
    }

    /// Likewise, by another clock than the system's.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_by(clock: Clock, config: Config, origin: Origin) -> Result<Self, StartProblem> {
        // Listened for from the start: unheard, a SIGHUP would end the process.
        let hangups = signal(SignalKind::hangup());
        let shared = ChangeStream::new(config.redis.counters.is_some());
        let (config, changes) = changes::restore(config, &shared)?;
        let config = control::with_mode(config, origin.mode);
        let drain_timeout = config.server.drain_timeout;
        let data = Listener::bind(&config.server).await?;
        let admin = Listener::bind_admin(&config.admin).await?;
        let workers = Workers::start().map_err(StartProblem::Threads)?;
        let config = control::with_address(config, data.address());
        // Before the journal: a damaged file is told at once, and nothing was begun.
        let known = Workloads::default();
        let workloads = workloads::Kept::read(&config.journal.path, &known)?;
        let tercet = Arc::new(Box::pin(rebuild::tercet(config, clock, known)).await?);
        // The journal is ours from here on; what was read before it was must still be all there is.
        if tercet.runtime.journal.head(Stream::Admin).seq != changes.max(1) {
            return Err(StartProblem::Changing);
        }
        pipeline::take_for_told(&tercet);
        let certificates = control::Certified { server: data.certificates(), admin: admin.certificates() };
        let control = Arc::new(Control::new(Arc::clone(&tercet), origin, certificates, shared));
        Ok(Self { tercet, control, workloads, data, workers, admin, drain_timeout, hangups })
    }

    /// Returns the base URL for clients.
    #[must_use]
    pub fn data_url(&self) -> String {
        url_of(&self.data)
    }

    /// Returns the address of the dashboard and the admin API.
    #[must_use]
    pub fn admin_url(&self) -> String {
        url_of(&self.admin)
    }

    /// Returns what requests see, for tests and reports.
    #[must_use]
    pub fn tercet(&self) -> Arc<Tercet> {
        Arc::clone(&self.tercet)
    }

    /// Serves until `stop` resolves, then drains and ends.
    pub async fn serve_until(self, stop: impl Future<Output = ()> + Send) -> Ended {
        let Self { tercet, control, workloads, data, workers, admin, drain_timeout, hangups } = self;
        let (ending, ended) = watch::channel(false);
        let access = sources::access(&tercet, admin.address());
        let sources = sources::sources(&tercet, &control);
        let router = admin::router(sources, access, tercet.runtime.clock.clone());
        let (operated, mut admin_ended) = (Arc::clone(&tercet), ended.clone());
        let background = tokio_util::task::TaskTracker::new();
        background.spawn(async move {
            let stop = async move { drop(admin_ended.wait_for(|ended| *ended).await) };
            listeners::serve_admin(admin, &operated, router, stop).await;
        });
        for link in tercet.runtime.links() {
            background.spawn(Arc::clone(link).keep_up(ended.clone()));
        }
        let (sharing, sharing_ended) = (Arc::clone(&tercet), ended.clone());
        background.spawn(async move { sharing.runtime.accounts.share(sharing_ended).await });
        if let Some(link) = &tercet.runtime.counters {
            background.spawn(change_stream::share(Arc::clone(&control), Arc::clone(link), ended.clone()));
        }
        background.spawn(kept::listen(Arc::clone(&control), ended.clone()));
        background.spawn(pipeline::watch_batches(Arc::clone(&tercet), ended.clone()));
        background.spawn(webhook::keep(Arc::clone(&tercet), ended.clone()));
        background.spawn(retention::keep(Arc::clone(&tercet), ended.clone()));
        background.spawn(snapshots::keep(Arc::clone(&tercet), ended.clone()));
        background.spawn(content::keep(Arc::clone(&tercet), ended.clone()));
        background.spawn(clickhouse::keep(Arc::clone(&tercet), ended.clone()));
        #[cfg(feature = "otlp")]
        background.spawn(otlp::keep(Arc::clone(&tercet), ended.clone()));
        background.spawn(sums::keep(Arc::clone(&tercet), ended.clone()));
        background.spawn(leases::keep(Arc::clone(&tercet), ended.clone()));
        let workloads = tokio::spawn(workloads::keep(Arc::clone(&tercet), workloads, ended.clone()));
        background.spawn(control::watch_files(Arc::clone(&control), hangups, ended));
        let told = serve_to_the_end(data, &tercet, &workers, drain_timeout, stop).await;
        ending.send_replace(true);
        drop(workloads.await);
        background.close();
        drop(tokio::time::timeout(BACKGROUND_END, background.wait()).await);
        told
    }
}

/// Serves clients until `stop` resolves, then lets what they have begun end, and closes the journal.
async fn serve_to_the_end(
    data: Listener<impl Port>,
    tercet: &Arc<Tercet>,
    workers: &Workers,
    drain_timeout: Duration,
    stop: impl Future<Output = ()> + Send,
) -> Ended {
    let runtime = &tercet.runtime;
    let stop = async {
        stop.await;
        runtime.draining.store(true, Ordering::Relaxed);
        tracing::info!("draining");
    };
    let connections = listeners::serve_data(data, tercet, workers.clone(), stop).await;
    // Streams over HTTP/2 end in tasks of their own, a moment after their connection.
    let settled = async {
        while runtime.in_flight.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(SETTLE_LOOK).await;
        }
    };
    drop(tokio::time::timeout(SETTLE_TIME, settled).await);
    runtime.tasks.close();
    // What is being read in the background has a bound of its own; it is given that long at most.
    let background_time = drain_timeout.min(pipeline::DRAIN_TIMEOUT);
    if tokio::time::timeout(background_time, runtime.tasks.wait()).await.is_err() {
        tracing::warn!("answers were still being read when the process ended");
    }
    let journal_whole = runtime.journal.flush_and_close().await.is_ok();
    Ended { connections, journal_whole }
}

fn url_of(listener: &Listener) -> String {
    let scheme = if listener.certificates().is_some() { "https" } else { "http" };
    format!("{scheme}://{}", reachable(listener.address()))
}

/// How long exchanges may take to settle once their connections are gone, and how often that is looked at.
const SETTLE_TIME: Duration = Duration::from_secs(2);
const SETTLE_LOOK: Duration = Duration::from_millis(5);
/// How long the background may take to end, the admin listener's second for what operators have begun included.
const BACKGROUND_END: Duration = Duration::from_secs(2);
