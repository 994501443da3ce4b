//! Keeps what prompts and answers said, of tenants that want it: redacts and writes it in the background, and drops it
//! in time. What fails here loses its own texts, is counted, and delays no request.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::aside::aside;
use crate::content::Store;
use crate::pipeline::{Heard, Tercet};

/// Writes what waits, and looks every minute for what is to go, until the end.
pub(super) async fn keep(tercet: Arc<Tercet>, mut ended: watch::Receiver<bool>) {
    let mut store = {
        let settings = &tercet.snapshot.load().config.journal;
        Store::new(settings.content_path(), settings.content.retention)
    };
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    let mut told = false;
    loop {
        let (is_end, is_due) = tokio::select! {
            _ = ended.wait_for(|ended| *ended) => (true, false),
            () = tercet.runtime.content.filled() => (false, false),
            _ = ticks.tick() => (false, true),
        };
        let (keeping, told_before) = (Arc::clone(&tercet), told);
        // One after the other: what cannot keep up with the requests drops texts, and takes no second processor.
        let round = aside(move || {
            let told = round(&keeping, &mut store, is_due, told_before);
            (store, told)
        });
        let Ok((kept, is_told)) = round.await else {
            return tracing::error!("texts are kept no longer: keeping them panicked");
        };
        (store, told) = (kept, is_told);
        if is_end {
            return;
        }
    }
}

/// Writes down all that waits, and drops what is too old or too much where that is due; returns whether a failure is told.
fn round(tercet: &Tercet, store: &mut Store, is_due: bool, mut told: bool) -> bool {
    let content = &tercet.runtime.content;
    let mut tell = |failure: &dyn std::fmt::Display| {
        // Said once: a disk without room would say it every time.
        if !std::mem::replace(&mut told, true) {
            tracing::error!(%failure, "texts of prompts and answers could not be kept; those are lost");
        }
    };
    let (mut kept, mut failed, mut all_well) = (0, 0, true);
    loop {
        let texts: Vec<_> = content.take(AT_ONCE).into_iter().map(Heard::kept).collect();
        if texts.is_empty() {
            break;
        }
        let (written, failure) = store.put(&texts, tercet.runtime.clock.now());
        if let Some(failure) = failure {
            all_well = false;
            tell(&failure);
        }
        kept += written;
        failed += texts.len() as u64 - written;
    }
    if is_due || store.bytes().1 > GROWN_BYTES_MAX {
        let settings = tercet.snapshot.load().config.journal.content.clone();
        let tidied = store.tidy(tercet.runtime.clock.now(), settings.retention, settings.max_bytes);
        if let Err(failure) = tidied {
            all_well = false;
            tell(&failure);
        }
    }
    content.count(kept, failed, store.bytes().0);
    told && !all_well
}

const LOOK_EVERY: Duration = Duration::from_secs(60);
/// What may be written between two looks, and be too much.
const GROWN_BYTES_MAX: u64 = 16 << 20;
/// Exchanges read and written at once.
const AT_ONCE: usize = 16;
