//! How an attempt at the upstream can fail, in words that tell an operator what to look at.
//!
//! Messages name the fault and the setting that governs it; never a header, a body or a credential. What the
//! client is told (status, error type) is decided by the pipeline from `phase` and `kind`.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use super::fault::Fault;
use super::line::Line;

/// How far an attempt got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No connection yet.
    Connect,
    /// The request was not wholly sent.
    Write,
    /// Sent, and no usable head of an answer.
    Wait,
    /// The head came, the body did not come whole.
    Stream,
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// Nobody answers at that address, or its name is unknown.
    Refused,
    /// A deadline of ours passed.
    Timeout,
    /// The connection ended too early.
    Reset,
    /// No trust or no common ground in TLS.
    Tls,
    /// What came is not a sound HTTP answer.
    Protocol,
    /// The head of the answer exceeds our limits.
    TooLarge,
    /// The client's own body broke off while it was being sent.
    Request,
}

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct UpstreamFailure {
    /// How far it got.
    pub phase: Phase,
    /// What went wrong.
    pub kind: FailureKind,
    /// The upstream cannot have begun to work on the request: trying elsewhere is safe.
    pub retryable: bool,
    /// For operators and clients; holds no secret.
    pub message: String,
    /// Attempts made, 1 or 2; 0 where the body failed and the answer knows.
    pub attempts: u8,
}

impl UpstreamFailure {
    pub(super) fn new(phase: Phase, kind: FailureKind, message: impl Into<String>) -> Self {
        let retryable = phase == Phase::Connect;
        Self { phase, kind, retryable, message: message.into(), attempts: 0 }
    }

    /// No head within the first-byte timeout.
    pub(super) fn late(timeout: Duration) -> Self {
        let message = format!(
            "the upstream sent no answer within {timeout:?}: raise upstream.first_byte_timeout if its answers take longer"
        );
        Self::new(Phase::Wait, FailureKind::Timeout, message)
    }

    /// Silence inside a body.
    pub(super) fn silent(timeout: Duration) -> Self {
        let message =
            format!("the upstream fell silent for {timeout:?} inside its answer (upstream.idle_timeout)");
        Self::new(Phase::Stream, FailureKind::Timeout, message)
    }

    /// A body that broke off.
    pub(super) fn cut(fault: &Fault) -> Self {
        if let Fault::Unsound(what) = fault {
            let message = format!("the upstream's answer is not sound HTTP: {what}");
            return Self::new(Phase::Stream, FailureKind::Protocol, message);
        }
        let message = "the upstream broke its answer off before the end";
        Self::new(Phase::Stream, FailureKind::Reset, message)
    }

    /// A stream whose connection closed, in good order, before its last event.
    #[must_use]
    pub fn cut_without_end() -> Self {
        Self::new(Phase::Stream, FailureKind::Reset, "the upstream closed its stream before the last event")
    }

    /// An answer that one of its readers was too slow for.
    #[must_use]
    pub fn too_slow() -> Self {
        Self::new(Phase::Stream, FailureKind::Timeout, "this client read its answer too slowly")
    }

    /// An answer that nobody read to its end.
    #[must_use]
    pub fn given_up() -> Self {
        Self::new(Phase::Stream, FailureKind::Reset, "the answer was not read to its end")
    }

    /// Sorts what a connection met; the flag says that it had merely gone stale.
    pub(super) fn sorted(fault: &Fault, line: &Line, host: &str) -> (Self, bool) {
        let reused = line.reused();
        match fault {
            Fault::Unwritten => {
                let message = format!("the kept connection to {host} closed before the request was written");
                let mut failure = Self::new(Phase::Write, FailureKind::Reset, message);
                failure.retryable = true;
                (failure, reused)
            }
            // The cause is a body of ours, or the client's connection; what it says is meant for clients.
            Fault::Body(problem) => {
                (Self::new(Phase::Write, FailureKind::Request, problem.to_string()), false)
            }
            Fault::TooLarge => {
                let message = "the head of the upstream's answer exceeds 256 KiB or 100 headers";
                (Self::new(Phase::Wait, FailureKind::TooLarge, message), false)
            }
            Fault::Unsound(what) => {
                let message =
                    format!("{host} did not answer with sound HTTP: {what}; is upstream.base_url right?");
                (Self::new(Phase::Wait, FailureKind::Protocol, message), false)
            }
            Fault::Ended { asked } => {
                let phase = if *asked { Phase::Wait } else { Phase::Write };
                let message = format!("{host} closed the connection without a complete answer");
                (Self::new(phase, FailureKind::Reset, message), reused && line.silent())
            }
        }
    }

    /// Sorts why no connection could be made.
    pub(super) fn unconnected(error: &(dyn StdError + 'static), host: &str) -> Self {
        if let Some(tls) = source_of::<rustls::Error>(error) {
            let message = format!(
                "no trusted TLS connection to {host}: {tls}; check upstream.base_url, or name its root certificates in upstream.ca"
            );
            return Self::new(Phase::Connect, FailureKind::Tls, message);
        }
        let (kind, message) = match innermost_io(error) {
            Some(io::ErrorKind::TimedOut) => (
                FailureKind::Timeout,
                format!(
                    "no connection to {host} within upstream.connect_timeout: check the network and upstream.base_url"
                ),
            ),
            Some(
                io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe,
            ) => (FailureKind::Reset, format!("{host} closed the connection while it was being opened")),
            Some(io::ErrorKind::ConnectionRefused) => (
                FailureKind::Refused,
                format!("{host} refuses connections: is it running, and is upstream.base_url right?"),
            ),
            _ => (
                FailureKind::Refused,
                format!("{host} cannot be reached: check name resolution, the network and upstream.base_url"),
            ),
        };
        Self::new(Phase::Connect, kind, message)
    }
}

/// Finds the outermost error of a type among an error's causes.
fn source_of<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    causes(error).find_map(|cause| cause.downcast_ref::<E>())
}

/// Returns the kind of the innermost I/O error, which is the one the system gave.
fn innermost_io(error: &(dyn StdError + 'static)) -> Option<io::ErrorKind> {
    causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).last().map(io::Error::kind)
}

/// Walks an error and its causes, looking into what an `io::Error` wraps.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&current| {
        let wrapped = current.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        wrapped.map(|inner| inner as &(dyn StdError + 'static)).or_else(|| current.source())
    })
    .take(CAUSES_MAX)
}

/// Causes looked at in one error.
const CAUSES_MAX: usize = 16;
