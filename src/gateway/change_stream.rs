//! Changes made on one instance, in force on the others: through the Redis that counters are shared by.
//!
//! Every change is written down where it was made and then added to one stream, which every instance looks at each
//! second. What others made is laid over one's own file and journaled under the name of who made it. The order of
//! the stream is the order of all: an own change that stands behind another's is made again after it, so that all
//! instances come to the same. While Redis is away a change holds where it was made, and is added when it is back.
//! The stream keeps the last 10,000 changes; its key is `tercet:{changes}`.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use super::Control;
use super::control::problems_json;
use crate::journal::AdminRecord;
use crate::store::{ANSWER_WITHIN, Link, LinkFailure};

/// What is known of the stream.
#[derive(Debug)]
pub(super) struct ChangeStream {
    /// Whether there is a Redis to share through.
    is_on: bool,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Ids of the changes that were made here, our own or others'.
    made: HashSet<String>,
    /// Own changes that are not in the stream yet, as JSON, oldest first.
    waiting: VecDeque<String>,
}

impl ChangeStream {
    pub(super) fn new(is_on: bool) -> Self {
        Self { is_on, known: Mutex::default() }
    }

    /// Remembers a change that was made here.
    pub(super) fn note(&self, record: &AdminRecord, is_new: bool) {
        let Some(id) = record.id.as_ref().filter(|_| self.is_on) else { return };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.made.insert(id.clone());
        if let (true, Ok(text)) = (is_new, serde_json::to_string(record)) {
            if known.waiting.len() >= WAITING_MAX {
                known.waiting.pop_front();
                tracing::error!("a change is not shared: too many wait for redis; make it on each instance");
            }
            known.waiting.push_back(text);
        }
    }

    fn is_made(&self, id: &str) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).made.contains(id)
    }

    fn next_waiting(&self) -> Option<String> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).waiting.front().cloned()
    }

    fn added(&self) {
        drop(self.known.lock().unwrap_or_else(PoisonError::into_inner).waiting.pop_front());
    }
}

/// Adds own changes to the stream and makes those of others, until the end.
pub(super) async fn share(control: Arc<Control>, link: Arc<Link>, mut ended: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    let mut last = BEGINNING.to_owned();
    loop {
        tokio::select! {
            _ = ended.wait_for(|ended| *ended) => return,
            _ = ticks.tick() => {}
        }
        if let Err(failure) = exchange(&control, &link, &mut last).await {
            tracing::debug!(%failure, "changes are not shared at the moment");
        }
    }
}

async fn exchange(control: &Arc<Control>, link: &Link, last: &mut String) -> Result<(), LinkFailure> {
    // One by one, so that what was added is not added again when the link breaks.
    while let Some(text) = control.shared.next_waiting() {
        let add = |mut connection| async move {
            let mut command = redis::cmd("XADD");
            command.arg(STREAM).arg("MAXLEN").arg("~").arg(KEPT).arg("*").arg("change").arg(text);
            command.query_async::<String>(&mut connection).await
        };
        link.ask(ANSWER_WITHIN, add).await?;
        control.shared.added();
    }
    loop {
        let after = format!("({last}");
        let read = |mut connection| async move {
            let mut command = redis::cmd("XRANGE");
            command.arg(STREAM).arg(after).arg("+").arg("COUNT").arg(READ_AT_ONCE);
            command.query_async::<Vec<(String, Vec<String>)>>(&mut connection).await
        };
        let entries = link.ask(ANSWER_WITHIN, read).await?;
        let Some((newest, _)) = entries.last() else { return Ok(()) };
        last.clone_from(newest);
        let records = entries.iter().filter_map(|(_, fields)| serde_json::from_str(fields.get(1)?).ok());
        let records: Vec<AdminRecord> = records.collect();
        let control = Arc::clone(control);
        // Waits for the journal.
        drop(tokio::task::spawn_blocking(move || control.adopt(records)).await);
    }
}

impl Control {
    /// Makes changes of the stream, in their order; those made here already are left out until another's came before.
    fn adopt(&self, records: Vec<AdminRecord>) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_behind_another = false;
        for record in records {
            let is_made = record.id.as_deref().is_none_or(|id| self.shared.is_made(id));
            if is_made && !is_behind_another {
                continue;
            }
            is_behind_another |= !is_made;
            let subject = record.subject.clone();
            if let Err(problem) = self.adopt_one(record) {
                tracing::error!(%problem, subject, "a change of another instance cannot be made here");
            }
        }
    }

    fn adopt_one(&self, record: AdminRecord) -> Result<(), String> {
        let before = self.tercet.snapshot.load_full();
        let said = record.change.as_ref().map_or("null", |change| change.get());
        let said: Value = serde_json::from_str(said).map_err(|error| error.to_string())?;
        let known = before.config.source.amendments();
        let amendments = known.with(&said, record.timestamp)?;
        if known.same_as(&amendments) {
            self.shared.note(&record, false);
            return Ok(());
        }
        let amended =
            before.config.amended(&amendments).map_err(|problems| problems_json(&problems).to_string())?;
        let snapshot = self.compile(amended, &before).map_err(|problems| problems.to_string())?;
        self.write_and_apply(snapshot, record, false).map_err(|problem| problem.to_string())
    }
}

const STREAM: &str = "tercet:{changes}";
/// Before every entry of a stream.
const BEGINNING: &str = "0-0";
const KEPT: u64 = 10_000;
const READ_AT_ONCE: u64 = 1_000;
const WAITING_MAX: usize = 1_000;
const LOOK_EVERY: Duration = Duration::from_secs(1);
