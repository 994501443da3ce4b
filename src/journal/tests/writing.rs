//! What is acknowledged is written, in order, whatever the disk does.

use std::io::ErrorKind;

use proptest::prelude::*;

use super::disk::{Fault, Faults};
use super::*;

fn open_faulty(path: &Path, faults: &Faults) -> Journal {
    let prepare = |mut tail: tail::Tail| {
        tail.faults = faults.clone();
        tail
    };
    Journal::open_with(&settings(path), &clock(), 3000, &mut snapshot::Each(|_, _| {}), prepare).unwrap().0
}

fn admin(action: &str) -> Entry {
    Entry::Admin(AdminRecord {
        id: None,
        timestamp: clock().now(),
        action: action.into(),
        who: "ann".into(),
        subject: None,
        before: None,
        after: Some(serde_json::value::RawValue::from_string("{\"version\":2}".into()).unwrap()),
        change: None,
    })
}

#[test]
fn concurrent_appends_make_one_chain() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open_with(
        &settings(folder.path()),
        &clock(),
        200_000,
        &mut snapshot::Each(|_, _| {}),
        |tail| tail,
    )
    .unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    let appends: Vec<_> = (0..6000)
        .map(|cost| runtime.spawn(journal.append(&exchange(&RequestId::generate(), cost))))
        .collect();
    let mut seqs: Vec<u64> =
        appends.into_iter().map(|append| runtime.block_on(append).unwrap().unwrap()).collect();
    seqs.sort_unstable();
    seqs.dedup();
    assert_eq!(seqs.len(), 6000);
    close(&journal);
    let verified = verify(folder.path(), None).unwrap();
    let records = 6001 + verified[0].checkpoints;
    assert_eq!((verified[0].records, verified[0].head), (records, journal.head(Stream::Exchanges)));
    assert_eq!(seqs.last(), Some(&records));
    // A segment outgrows its bound by at most one group, and all these are more than that: there are two or more.
    assert!(verified[0].segments > 1);
}

#[test]
fn administrative_changes_have_a_chain_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path()).unwrap();
    assert_eq!(block_on(journal.append(&admin("reload"))), Ok(2));
    assert_eq!(block_on(journal.append(&exchange(&RequestId::generate(), 1))), Ok(2));
    close(&journal);
    let mut actions = Vec::new();
    let (journal, found) = Journal::open(&settings(folder.path()), &clock(), |_, entry| {
        if let Entry::Admin(record) = entry {
            actions.push(record.action);
        }
    })
    .unwrap();
    close(&journal);
    assert_eq!(actions, ["reload"]);
    assert_eq!(found.records, 2);
}

#[test]
fn an_append_is_queued_even_if_nobody_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path()).unwrap();
    drop(journal.append(&exchange(&RequestId::generate(), 6)));
    close(&journal);
    assert_eq!(costs(folder.path()), [6]);
}

#[test]
fn a_full_disk_is_told_and_what_it_refused_is_written_later() {
    let folder = tempfile::tempdir().unwrap();
    let faults = Faults::of([]);
    let journal = open_faulty(folder.path(), &faults);
    block_on(journal.append(&exchange(&RequestId::generate(), 1))).unwrap();
    assert!(journal.healthy());
    for fault in [Fault::Short(30), Fault::Fails(ErrorKind::StorageFull)] {
        faults.push(fault);
    }
    // The disk stays full until this test has looked.
    for _ in 0..200 {
        faults.push(Fault::Fails(ErrorKind::StorageFull));
    }
    let refused = block_on(journal.append(&exchange(&RequestId::generate(), 2))).unwrap_err();
    assert!(matches!(refused, StoreFailure::Unwritten(_)));
    assert!(!journal.healthy());
    let failing = journal.health();
    assert!(failing.retained == 1 && failing.failures >= 1, "{failing:?}");
    faults.clear();
    block_on(journal.append(&exchange(&RequestId::generate(), 3))).unwrap();
    let healed = journal.health();
    assert!(healed.failures >= failing.failures, "what failed is not forgotten: {healed:?}");
    assert_eq!(healed, Health { is_healthy: true, retained: 0, dropped: 0, failures: healed.failures });
    close(&journal);
    assert_eq!(costs(folder.path()), [1, 2, 3]);
}

#[test]
fn what_cannot_be_written_at_the_end_is_not_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let faults = Faults::of([]);
    let journal = open_faulty(folder.path(), &faults);
    for _ in 0..200 {
        faults.push(Fault::Fails(ErrorKind::StorageFull));
    }
    block_on(journal.append(&exchange(&RequestId::generate(), 1))).unwrap_err();
    assert!(block_on(journal.flush_and_close()).is_err());
}

#[test]
fn a_record_over_the_bound_is_refused_and_harms_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path()).unwrap();
    let mut record = exchanged(&RequestId::generate(), 1);
    record.tags.push("x".repeat(MAX_RECORD_BYTES));
    assert_eq!(block_on(journal.append(&record.into())), Err(StoreFailure::TooLarge));
    block_on(journal.append(&exchange(&RequestId::generate(), 2))).unwrap();
    close(&journal);
    assert_eq!(costs(folder.path()), [2]);
}

#[test]
fn no_group_carries_the_chain_past_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let faults = Faults::of([]);
    let journal = open_faulty(folder.path(), &faults);
    // The disk refuses until all of these wait, and then takes them as one.
    for _ in 0..10_000 {
        faults.push(Fault::Fails(ErrorKind::StorageFull));
    }
    for cost in 0..3_500 {
        block_on(journal.note(&exchange(&RequestId::generate(), cost))).unwrap();
    }
    faults.clear();
    close(&journal);
    let mut heads = Vec::new();
    let segments = segment::list(&folder.path().join("exchanges")).unwrap();
    // Each group is larger than a segment here, and ends it.
    assert!((4..=6).contains(&segments.len()), "{}", segments.len());
    for written in segments {
        let lines = std::fs::read(written.path).unwrap();
        heads.extend(lines.split(|byte| *byte == b'\n').filter_map(signed));
    }
    assert_eq!(heads, [1_000, 2_000, 3_000]);
}

/// The number of the record behind which a line is a checkpoint.
fn signed(line: &[u8]) -> Option<u64> {
    chain::Line::read(line).filter(|line| line.kind == b"checkpoint").map(|line| line.seq - 1)
}

#[test]
fn an_interrupted_write_goes_on_and_a_failed_one_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut found = Recovered::default();
    let signing = (&SigningKey::read_or_make(folder.path()).unwrap(), &clock());
    let mut none = snapshot::Each(|_, _| {});
    let (mut tail, _) =
        recover::recover(folder.path(), Stream::Exchanges, signing, 3000, &mut found, &mut none).unwrap();
    let record = exchange(&RequestId::generate(), 1).to_line().unwrap().into_bytes();
    let mut write = |fault| {
        tail.faults = Faults::of([fault]);
        tail.write([record.as_slice()].into_iter()).map_err(|error| error.kind())
    };
    assert_eq!(write(Fault::Fails(ErrorKind::Interrupted)), Ok(()));
    assert_eq!(write(Fault::Fails(ErrorKind::StorageFull)), Err(ErrorKind::StorageFull));
    assert_eq!(write(Fault::Short(1)), Ok(()));
}

#[test]
fn what_waits_for_a_disk_is_bounded_and_what_is_dropped_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let faults = Faults::of([]);
    let journal = open_faulty(folder.path(), &faults);
    for _ in 0..10_000 {
        faults.push(Fault::Fails(ErrorKind::StorageFull));
    }
    let mut record = exchanged(&RequestId::generate(), 1);
    record.tags.push("x".repeat(MAX_RECORD_BYTES - 4_096));
    let large = Entry::from(record);
    let fitting = writer::RETAINED_BYTES / (MAX_RECORD_BYTES - 4_096);
    for place in 0..fitting + 3 {
        let failure = block_on(journal.append(&large)).unwrap_err();
        let StoreFailure::Unwritten(why) = failure else { panic!("{failure}") };
        assert_eq!(why == "too many records wait for the disk", place >= fitting, "{place}: {why}");
    }
    let health = journal.health();
    assert_eq!((health.is_healthy, health.retained, health.dropped), (false, fitting as u64, 3));
    assert!(health.failures > 1, "each try counts: {health:?}");
    faults.clear();
    // There is room for a small one, with which all are written; what is written holds no room any more.
    block_on(journal.append(&exchange(&RequestId::generate(), 1))).unwrap();
    block_on(journal.append(&large)).unwrap();
    close(&journal);
    for written in segment::list(&folder.path().join("exchanges")).unwrap() {
        let bytes = std::fs::metadata(written.path).unwrap().len();
        assert!(bytes <= 2 * MAX_RECORD_BYTES as u64, "a group of one write is bounded: {bytes}");
    }
    assert_eq!(costs(folder.path()), vec![1; fitting + 2]);
}

fn any_fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        4 => (1usize..2500).prop_map(Fault::Short),
        2 => Just(Fault::Fails(ErrorKind::StorageFull)),
        1 => Just(Fault::Fails(ErrorKind::Interrupted)),
        1 => Just(Fault::CutFails),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// The tail alone, so that each step is one write and nothing waits for a retry.
    #[test]
    fn faults_keep_the_order_and_lose_nothing_acknowledged(
        faults in prop::collection::vec(any_fault(), 0..20),
        groups in prop::collection::vec(1usize..4, 1..12),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut found = Recovered::default();
        let signing = (&SigningKey::read_or_make(folder.path()).unwrap(), &clock());
        let (mut tail, _) =
            recover::recover(folder.path(), Stream::Exchanges, signing, 3000, &mut found, &mut snapshot::Each(|_, _| {})).unwrap();
        tail.faults = Faults::of(faults);
        let mut cost = 0;
        for size in groups {
            let costs = cost..cost + size as i64;
            let records: Vec<_> =
                costs.map(|cost| exchange(&RequestId::generate(), cost).to_line().unwrap().into_bytes()).collect();
            while tail.write(records.iter().map(Vec::as_slice)).is_err() {}
            cost += size as i64;
        }
        drop(tail);
        prop_assert_eq!(verify(folder.path(), None).unwrap()[0].records, 1 + cost as u64);
        prop_assert_eq!(costs(folder.path()), (0..cost).collect::<Vec<_>>());
    }
}
