//! Copies the exchanges to ClickHouse in the background: a server that is down delays nothing but its own copy.

use std::sync::Arc;

use tokio::sync::watch;

use super::rounds;
use crate::config::ClickHouse;
use crate::journal::{Pause, ReadFailure, Stream};
use crate::pipeline::{Snapshot, Tercet};
use crate::view::{Sink, SinkFailure};

/// Sends what was written, every two seconds and once more at the end, as long as a server is configured.
pub(super) async fn keep(tercet: Arc<Tercet>, mut ended: watch::Receiver<bool>) {
    let mut kept: Option<(Arc<Snapshot>, Sink)> = None;
    let mut failures = 0_u32;
    loop {
        let is_end = rounds::wait(failures, &mut ended).await;
        let snapshot = tercet.snapshot.load_full();
        let Some(settings) = snapshot.config.clickhouse.clone() else {
            kept = None;
            tercet.runtime.copies.clickhouse.ended();
            if is_end {
                return;
            }
            continue;
        };
        let sink = match kept.take().filter(|(before, _)| Arc::ptr_eq(before, &snapshot)) {
            Some((_, sink)) => Ok(sink),
            None => Sink::new(&settings, tercet.runtime.journal.path(), tercet.runtime.journal.origin()),
        };
        let sent = match sink {
            Ok(mut sink) => {
                let sent = send(&tercet, &mut sink, &settings, is_end).await;
                kept = Some((snapshot, sink));
                sent
            }
            Err(failure) => Err(failure),
        };
        let now = tercet.runtime.clock.now();
        if sent.is_err() {
            tercet.runtime.copies.clickhouse.failed(now);
        }
        failures = tell(&settings, &sent, failures);
        if is_end {
            return;
        }
    }
}

/// Sends all there is; at the end of the process one batch, for which little time is left.
async fn send(
    tercet: &Tercet,
    sink: &mut Sink,
    settings: &ClickHouse,
    is_end: bool,
) -> Result<(), SinkFailure> {
    loop {
        let until = tercet.runtime.journal.head(Stream::Exchanges).seq;
        let sent = sink.send(until).await;
        let seq = sink.sent_seq();
        tercet.runtime.copies.clickhouse.stands(seq, until, tercet.runtime.clock.now());
        match sent {
            Ok(sent) if sent.pause == Pause::End || is_end => return Ok(()),
            Ok(_) => {}
            // A power cut may have taken the journal's last moments, which were sent.
            Err(SinkFailure::Journal(failure @ ReadFailure::Elsewhere { .. })) if !is_end => {
                tracing::error!(
                    %failure, server = settings.origin(),
                    "ClickHouse holds what the journal does not; the copy goes back to where both agree"
                );
                if !sink.go_back().await? {
                    return Err(failure.into());
                }
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// Logs the first failure of several in a row, and their end; returns how many there were.
fn tell(settings: &ClickHouse, sent: &Result<(), SinkFailure>, failures: u32) -> u32 {
    let server = settings.origin();
    match sent {
        Ok(()) => {
            if failures > 0 {
                tracing::info!(server, "ClickHouse takes exchanges again; it has all there are");
            }
            0
        }
        Err(failure) => {
            if failures == 0 {
                tracing::error!(%failure, server, "ClickHouse takes no exchanges; they wait in the journal");
            }
            failures.saturating_add(1)
        }
    }
}
