//! Keeps the journal as long as the configuration says, and never shorter than running periods need.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::rebuild::LONGEST_PERIOD;
use crate::pipeline::Tercet;

/// Drops what is too old, at the start and every hour, until the end.
pub(super) async fn keep(tercet: Arc<Tercet>, mut ended: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    loop {
        let end = async { drop(ended.wait_for(|ended| *ended).await) };
        tokio::select! {
            () = end => return,
            _ = ticks.tick() => {}
        }
        look(&tercet).await;
    }
}

async fn look(tercet: &Tercet) {
    let kept_for = tercet.snapshot.load().config.journal.retention.max(LONGEST_PERIOD);
    let now = tercet.runtime.clock.now();
    let Ok(before) = now.checked_sub(kept_for) else { return };
    match tercet.runtime.journal.drop_before(before, now).await {
        Ok(dropped) if dropped.segments > 0 => tracing::info!(
            segments = dropped.segments,
            last_seq = dropped.last_seq,
            owners_carried = dropped.carried,
            "old segments of the journal were dropped"
        ),
        Ok(_) => {}
        Err(failure) => tracing::error!(%failure, "old segments of the journal could not be dropped"),
    }
}

const LOOK_EVERY: Duration = Duration::from_secs(3_600);
