//! Who writes, and when: on a disk that is played, where nothing is written that this thread does not write.

use super::disk::{Disk, Trouble};
use super::*;

/// Opens a journal on a disk that draws by `draw`, in the runtime's own time, and has `test` use it for an hour at most.
fn played<F: Future<Output = ()>>(draw: fn(u64) -> u64, test: impl FnOnce(Journal, Disk, PathBuf) -> F) {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let disk = Disk::new(draw);
        Disk::set(Some(disk.clone()));
        let (journal, _) = open(folder.path()).unwrap();
        Disk::set(None);
        let done = test(journal, disk, folder.path().to_path_buf());
        tokio::time::timeout(Duration::from_secs(3_600), done).await.unwrap();
    });
}

fn note(journal: &Journal, cost: i64) -> impl Future<Output = Result<(), StoreFailure>> + Send + use<> {
    journal.note(&exchange(&RequestId::generate(), cost))
}

#[test]
fn while_the_disk_is_free_a_record_is_written_before_the_call_returns() {
    played(
        |_| 0,
        async |journal, _, _| {
            for cost in 0..4 {
                drop(note(&journal, cost));
                assert_eq!(journal.head(Stream::Exchanges).seq, 2 + cost as u64);
            }
        },
    );
}

#[test]
fn what_tasks_queue_in_the_same_turn_is_one_write() {
    played(
        |_| 0,
        async |journal, disk, path| {
            drop(note(&journal, 0));
            // Its sync is over: beside one, records are left to the thread.
            tokio::time::sleep(Duration::from_millis(1)).await;
            disk.die_after(1);
            let noted: Vec<_> = (1..20).map(|cost| tokio::spawn(note(&journal, cost))).collect();
            for one in noted {
                one.await.unwrap().unwrap();
            }
            assert!(!disk.is_dead(), "a second write");
            disk.revive();
            journal.flush_and_close().await.unwrap();
            let verified = verify(&path, None).unwrap().remove(0);
            assert_eq!(verified.records - verified.checkpoints, 1 + 20);
        },
    );
}

#[test]
fn beside_a_sync_records_queue_and_whoever_finds_the_queue_full_waits_for_room() {
    played(
        |below| below - 1,
        async |journal, disk, path| {
            disk.meet(Trouble { sync_ms: 50, write_ms: 50, ..Trouble::default() });
            drop(note(&journal, 0));
            tokio::time::sleep(Duration::from_millis(1)).await;
            let noted: Vec<_> = (1..5_000).map(|cost| tokio::spawn(note(&journal, cost))).collect();
            assert_eq!(journal.head(Stream::Exchanges).seq, 2, "a sync runs, and nobody waits for it");
            for one in noted {
                one.await.unwrap().unwrap();
            }
            journal.flush_and_close().await.unwrap();
            let verified = verify(&path, None).unwrap().remove(0);
            assert_eq!(verified.head, journal.head(Stream::Exchanges));
            assert_eq!(verified.records - verified.checkpoints, 1 + 5_000);
        },
    );
}

#[test]
fn what_is_left_to_the_thread_is_written_at_once_and_what_was_refused_by_itself_later() {
    played(
        |below| below - 1,
        async |journal, disk, _| {
            let after = async |ms| {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                (journal.head(Stream::Exchanges).seq, journal.healthy())
            };
            disk.meet(Trouble { sync_ms: 20, write_ms: 1, ..Trouble::default() });
            drop(note(&journal, 0));
            assert_eq!(after(1).await, (2, true));
            drop(note(&journal, 1));
            assert_eq!(after(3).await, (3, true), "well before a disk that refused is tried again");
            after(100).await;
            disk.meet(Trouble { refused: 1_000, ..Trouble::default() });
            drop(note(&journal, 2));
            assert_eq!(after(1).await, (3, false));
            disk.meet(Trouble::default());
            assert_eq!(after(60).await, (4, true));
        },
    );
}

#[test]
fn what_was_closed_stands_whole_after_a_power_cut() {
    played(
        |_| 0,
        async |journal, disk, path| {
            for cost in 0..20 {
                drop(note(&journal, cost));
            }
            journal.flush_and_close().await.unwrap();
            assert!(segment::list(&path.join("exchanges")).unwrap().len() > 1);
            let lost = Stream::ALL.map(|stream| disk.cut_power(&path.join(stream.name())));
            assert_eq!(lost, [0, 0]);
        },
    );
}

#[test]
fn a_sync_that_failed_is_told_for_good_and_counted_once() {
    played(
        |below| below - 1,
        async |journal, disk, _| {
            let healthy = Health { is_healthy: true, retained: 0, dropped: 0, failures: 0 };
            assert_eq!(journal.health(), healthy);
            for unsynced in [1_000, 0] {
                disk.meet(Trouble { unsynced, ..Trouble::default() });
                drop(note(&journal, 1));
                tokio::time::sleep(Duration::from_millis(10)).await;
                assert_eq!(journal.health(), Health { is_healthy: false, failures: 1, ..healthy });
            }
        },
    );
}
