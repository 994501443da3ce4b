//! Keeps the database of sums up with the journal, in the background: what fails here delays no request.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;

use crate::aside::aside;
use crate::journal::{Journal, Pause, Stream};
use crate::pipeline::Tercet;
use crate::view::{Stood, Sums, SumsFailure};

/// Adds what was written, every second and once more at the end.
pub(super) async fn keep(tercet: Arc<Tercet>, mut ended: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut kept: Option<Sums> = None;
    let (mut behind, mut told) = (0, false);
    loop {
        let is_end = tokio::select! {
            _ = ended.wait_for(|ended| *ended) => true,
            _ = ticks.tick() => false,
        };
        let head = tercet.runtime.journal.head(Stream::Exchanges).seq;
        if head != behind || kept.as_ref().is_some_and(Sums::is_replaced) {
            let added = catch_up(&tercet, kept.take(), is_end).await;
            match added {
                Ok((sums, seq)) => {
                    tercet.runtime.copies.sums_inode.store(sums.inode(), Ordering::Relaxed);
                    (kept, behind, told) = (Some(sums), seq, false);
                }
                Err(failure) => {
                    tercet.runtime.copies.sums_inode.store(0, Ordering::Relaxed);
                    tercet.runtime.copies.sums.failed(tercet.runtime.clock.now());
                    // Said once: a disk without room would say it every time.
                    if !std::mem::replace(&mut told, true) {
                        tracing::error!(%failure, "the database of sums is not kept up; tried again every minute");
                    }
                    ticks.reset_after(TRY_AGAIN);
                }
            }
        }
        tercet.runtime.copies.sums.stands(behind, head, tercet.runtime.clock.now());
        if is_end {
            return;
        }
    }
}

/// Adds all there is, a step at a time with a pause as long behind each, and at the end of the process one step.
async fn catch_up(
    tercet: &Arc<Tercet>,
    mut kept: Option<Sums>,
    is_end: bool,
) -> Result<(Sums, u64), SumsFailure> {
    // Once a time: a journal that is damaged itself would be begun with for ever.
    let mut may_renew = true;
    loop {
        let begun = tercet.runtime.clock.instant();
        let of = Arc::clone(tercet);
        let step = aside(move || {
            let journal = &of.runtime.journal;
            let mut sums = match kept.filter(|sums| !sums.is_replaced()) {
                Some(sums) => sums,
                None => open(journal.path())?,
            };
            match add(&mut sums, journal) {
                Err(failure) if may_renew && failure.is_mended_by_rebuild() => {
                    tracing::warn!(%failure, "the database of sums is made anew from the journal");
                    drop(sums);
                    let mut sums = open(journal.path())?;
                    sums.begin_anew()?;
                    add(&mut sums, journal).map(|stood| (sums, stood, false))
                }
                added => added.map(|stood| (sums, stood, may_renew)),
            }
        });
        let (sums, stood, renewable) = match step.await {
            Ok(stepped) => stepped?,
            Err(source) => {
                let file = Sums::file(tercet.runtime.journal.path());
                return Err(SumsFailure::Unusable { file, source });
            }
        };
        if stood.pause == Pause::End || is_end {
            return Ok((sums, stood.place.seq));
        }
        tokio::time::sleep(tercet.runtime.clock.instant().duration_since(begun)).await;
        (kept, may_renew) = (Some(sums), renewable);
    }
}

/// Adds what is in memory, or a step of what has to be read.
fn add(sums: &mut Sums, journal: &Journal) -> Result<Stood, SumsFailure> {
    match sums.add_gathered(journal)? {
        Some(stood) => Ok(stood),
        None => sums.read_on(journal, STEP),
    }
}

fn open(path: &std::path::Path) -> Result<Sums, SumsFailure> {
    let (sums, distrusted) = Sums::open_or_begin(path)?;
    if let Some(failure) = distrusted {
        tracing::warn!(%failure, "the database of sums is made anew from the journal");
    }
    Ok(sums)
}

const LOOK_EVERY: Duration = Duration::from_secs(1);
const TRY_AGAIN: Duration = Duration::from_secs(60);
/// Records read and added in one transaction: some milliseconds of a processor.
const STEP: usize = 256;
