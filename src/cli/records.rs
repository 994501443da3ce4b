//! The journal's exchanges one by one, its chain verified on the way.

use std::io;
use std::path::Path;

use super::ending::{Exit, Failure};
use crate::journal::{self, ExchangeRecord, Selection, WalkFailure};

/// Calls `take` with each exchange of the journal at `path` that `selection` names, in order.
pub(super) fn each(
    path: &Path,
    selection: &Selection,
    mut take: impl FnMut(&ExchangeRecord),
) -> Result<(), Failure> {
    let read = |line: &[u8]| {
        take(&serde_json::from_slice(line)?);
        Ok(())
    };
    journal::export(path, selection, read).map(drop).map_err(damaged)
}

/// Tells what kept the journal from being read; damage is a failed verification.
pub(super) fn damaged(failure: WalkFailure) -> Failure {
    match failure {
        WalkFailure::Found(finding) => Failure {
            exit: Exit::Verification,
            text: format!("the journal is not what was written\n{finding}"),
        },
        // Our own standard output is the only thing written to.
        WalkFailure::Unreadable { source, .. } if source.kind() == io::ErrorKind::BrokenPipe => source.into(),
        unreadable @ WalkFailure::Unreadable { .. } => Failure::run(format_args!(
            "cannot read the journal: {unreadable}\n\
             help: `tercet run` begins one; or name its folder, or the configuration that does"
        )),
    }
}
