//! Why a gateway does not start, and ending it by signals, for `run` and `demo` alike.
//!
//! The first SIGTERM or SIGINT drains, the second ends at once. SIGHUP is the gateway's own matter.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::ending::{Ending, Exit, Failure, tell};
use crate::clock::Clock;
use crate::config::{self, LogFormat};
use crate::gateway::{Gateway, StartProblem};
use crate::telemetry::logs;

/// Sets up log lines; `TERCET_LOG` is a filter such as `info,tercet=debug` in place of `filter`.
pub(super) fn log(format: LogFormat, filter: &str) -> Result<(), Failure> {
    let chosen = config::environment("TERCET_LOG").unwrap_or_else(|| filter.to_owned());
    logs::init(format, &chosen, Clock::default()).map_err(Failure::usage)
}

/// A failure to start says what would mend it.
impl From<StartProblem> for Failure {
    fn from(problem: StartProblem) -> Self {
        if problem.is_configuration() { Self::configuration(problem) } else { Self::run(problem) }
    }
}

/// Serves until `stop` or the first signal, drains, and ends at once at a further signal.
///
/// `signals` are listened for since before anything was printed: whoever reads that we are up may end us.
pub(super) async fn serve(gateway: Gateway, mut signals: Signals, stop: impl Future<Output = ()>) -> Ending {
    let (told, mut first) = tokio::sync::watch::channel(false);
    let draining = async move {
        // The sender lives as long as this function, so that the wait cannot fail.
        let _ = first.wait_for(|told| *told).await;
    };
    let serving = Box::pin(gateway.serve_until(draining));
    let ending = async {
        tokio::select! {
            () = stop => {}
            () = signals.next() => tell("draining; once more to end at once"),
        }
        told.send_replace(true);
        signals.next().await;
    };
    tokio::select! {
        ended = serving => {
            if ended.journal_whole { Ok(Exit::Ok) } else {
                Err(Failure::run("the journal did not reach the disk whole; `tercet audit verify` says what did"))
            }
        }
        () = ending => Err(Failure::run("ended before the last requests were answered")),
    }
}

/// The signals that end us, caught from when this is made.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Caught and never read: a file that may not grow is then a write that fails, as on a full disk, and not our end.
    _file_size: Signal,
}

impl Signals {
    pub(super) fn listen() -> Result<Self, Failure> {
        let on = |kind| signal(kind).map_err(Failure::run);
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            _file_size: on(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
        })
    }

    /// Waits for the next.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
