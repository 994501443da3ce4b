//! Keeps what is known of workloads and its file alike: written every minute and at the end, read where somebody else
//! wrote it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use crate::pipeline::Tercet;
use crate::workload::{self, Workloads, WorkloadsProblem};

/// Looks after the file from the start, every minute, and once more at the end.
pub(super) async fn keep(tercet: Arc<Tercet>, mut kept: Kept, mut ended: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    loop {
        let is_end = tokio::select! {
            _ = ended.wait_for(|ended| *ended) => true,
            _ = ticks.tick() => false,
        };
        let looked = Arc::clone(&tercet);
        let look = tokio::task::spawn_blocking(move || {
            kept.look(&looked.runtime.workloads);
            kept
        });
        kept = match look.await {
            Ok(kept) if !is_end => kept,
            _ => return,
        };
    }
}

/// The file, and what it was when it was last read or written.
pub(super) struct Kept {
    path: PathBuf,
    mark: Option<Mark>,
}

/// Tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    inode: u64,
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Kept {
    /// Takes over what the file beside a journal says, before anything else is known.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub(super) fn read(journal: &Path, workloads: &Workloads) -> Result<Self, WorkloadsProblem> {
        let mut kept = Self { path: journal.join(workload::FILE), mark: None };
        // Before it is read: what changes meanwhile is seen at the next look.
        kept.mark = kept.mark();
        workloads.take(workload::load(&kept.path)?);
        Ok(kept)
    }

    /// Takes over a file that somebody else wrote, in place of all that is known; else writes what has changed.
    fn look(&mut self, workloads: &Workloads) {
        let mark = self.mark();
        if mark != self.mark {
            match workload::load(&self.path) {
                Ok(written) => {
                    workloads.replace(written);
                    self.mark = mark;
                }
                Err(problem) => {
                    tracing::error!(%problem, "workloads.jsonl was changed and cannot be read; it is left as it is, and what was known stays");
                }
            }
            return;
        }
        if !workloads.take_unsaved() {
            return;
        }
        match workload::save(&workloads.written(None), &self.path) {
            Ok(()) => self.mark = self.mark(),
            Err(failure) => {
                workloads.note_unsaved();
                tracing::error!(%failure, "what was learned of workloads is not written yet");
            }
        }
    }

    fn mark(&self) -> Option<Mark> {
        let file = fs::metadata(&self.path).ok()?;
        Some(Mark { inode: file.ino(), bytes: file.len(), modified: file.modified().ok() })
    }
}

const LOOK_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::envelope;
    use crate::workload::{Fingerprints, Sign, Watched};

    fn trouble(workloads: &Workloads, tenant: &str) {
        let body = br#"{"model":"m","system":"You sort mail.","messages":[{"role":"user","content":"hi"}]}"#;
        let fingerprints = Fingerprints::of(&envelope::read(body).unwrap(), "client");
        workloads.watch(tenant, &fingerprints, Watched { sign: Sign::Ended, tier: 0, troubled: true });
    }

    fn kept(folder: &tempfile::TempDir) -> Kept {
        Kept { path: folder.path().join(workload::FILE), mark: None }
    }

    #[test]
    fn what_changed_is_written_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (mut kept, workloads) = (kept(&folder), Workloads::default());
        kept.look(&workloads);
        assert!(!kept.path.exists(), "nothing was learned");
        trouble(&workloads, "acme");
        kept.look(&workloads);
        assert_eq!(workload::load(&kept.path).unwrap(), workloads.written(None));
        let before = kept.mark;
        kept.look(&workloads);
        assert_eq!(kept.mark(), before, "written once");
    }

    #[test]
    fn what_somebody_else_wrote_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let (mut kept, workloads, other) = (kept(&folder), Workloads::default(), Workloads::default());
        trouble(&workloads, "acme");
        kept.look(&workloads);
        trouble(&other, "rival");
        workload::save(&other.written(None), &kept.path).unwrap();
        kept.look(&workloads);
        assert_eq!(workloads.written(None), other.written(None));
        fs::remove_file(&kept.path).unwrap();
        kept.look(&workloads);
        assert!(workloads.written(None).is_empty(), "moved aside");
    }

    #[test]
    fn what_is_forgotten_before_the_first_look_stays_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let (earlier, workloads) = (Workloads::default(), Workloads::default());
        trouble(&earlier, "acme");
        workload::save(&earlier.written(None), &kept(&folder).path).unwrap();
        let mut kept = Kept::read(folder.path(), &workloads).unwrap();
        assert_eq!(workloads.written(None), earlier.written(None));
        workloads.reset("acme");
        kept.look(&workloads);
        assert!(workloads.written(None).is_empty());
        assert!(workload::load(&kept.path).unwrap().is_empty());
    }

    #[test]
    fn a_damaged_file_is_neither_taken_over_nor_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let (mut kept, workloads) = (kept(&folder), Workloads::default());
        trouble(&workloads, "acme");
        kept.look(&workloads);
        let before = workloads.written(None);
        fs::write(&kept.path, "half a line").unwrap();
        trouble(&workloads, "rival");
        kept.look(&workloads);
        assert_eq!(fs::read_to_string(&kept.path).unwrap(), "half a line");
        assert_eq!(workloads.written(Some("acme")), before);
        fs::remove_file(&kept.path).unwrap();
    }
}
