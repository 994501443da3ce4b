//! Keeps a snapshot of what the journal's sealed segments say, so that a start has only the last of them to replay.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::past::Past;
use crate::pipeline::Tercet;

/// Looks at the start and every minute whether a segment was sealed, until the end.
pub(super) async fn keep(tercet: Arc<Tercet>, mut ended: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    let mut stands = None;
    loop {
        let end = async { drop(ended.wait_for(|ended| *ended).await) };
        tokio::select! {
            () = end => return,
            _ = ticks.tick() => {}
        }
        let past = Past::priced_by(&tercet.snapshot.load().catalog);
        match tercet.runtime.journal.keep_snapshot(past, stands).await {
            Ok(found) => {
                if let Some(place) = found.filter(|_| found != stands) {
                    tracing::info!(seq = place.seq, "a snapshot of the journal's sums is kept");
                }
                stands = found;
            }
            Err(failure) => tracing::warn!(%failure, "no snapshot of the journal's sums could be kept"),
        }
    }
}

const LOOK_EVERY: Duration = Duration::from_secs(60);
