//! What can go wrong on a connection to the upstream.

use super::BodyProblem;

/// Why a request was not answered, or an answer not whole.
#[derive(Debug)]
pub(super) enum Fault {
    /// The connection had ended before a byte of the request was written.
    Unwritten,
    /// The request's own body failed, for a reason of its maker's.
    Body(BodyProblem),
    /// The head of the answer is longer than anybody's.
    TooLarge,
    /// What came is not sound HTTP.
    Unsound(&'static str),
    /// The connection ended too early.
    Ended {
        /// All of the request had been written.
        asked: bool,
    },
}
