use std::fs;

use jiff::Timestamp;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::clock::Clock;
use crate::config;
use crate::id::RequestId;
use crate::journal::By;
use crate::money::NanoUsd;
use crate::tier::Tier;

/// What is done to the file.
type Damage = fn(&Path);
/// Hours after the beginning, who, and what it cost.
type Spent = (i64, usize, i64);

fn record((hour, who, cost): Spent) -> ExchangeRecord {
    let begin = "2026-11-20T12:30:00Z".parse::<Timestamp>().unwrap();
    let time = Timestamp::from_second(begin.as_second() + hour * 3_600).unwrap();
    let tenant = format!("tenant-{}", who % 2);
    let mut record = ExchangeRecord::begin(RequestId::generate(), time, tenant, "claude-opus-5-5".into());
    record.user_id = Some(format!("user-{who}"));
    record.sent_model = (who % 3 > 0).then(|| "claude-haiku-5-5".into());
    record.tier = Tier::Haiku;
    record.cost_nanousd = NanoUsd(cost);
    record.baseline_nanousd.requested = NanoUsd(3 * cost);
    record.output_tokens = 7;
    record.cache = Some("miss".into());
    record
}

fn write(path: &Path, records: &[ExchangeRecord]) {
    let settings = config::Journal { path: path.to_owned(), ..config::default_config().journal };
    let (journal, _) = Journal::open(&settings, &Clock::default(), |_, _| {}).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for record in records {
        runtime.block_on(journal.append(&record.clone().into())).unwrap();
    }
    runtime.block_on(journal.flush_and_close()).unwrap();
}

#[test]
fn what_comes_from_memory_and_what_is_read_count_each_record_once() {
    let (folder, records) = (tempfile::tempdir().unwrap(), some(5_000));
    let settings = config::Journal { path: folder.path().to_owned(), ..config::default_config().journal };
    let (journal, _) = Journal::open(&settings, &Clock::default(), |_, _| {}).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let append = |records: &[ExchangeRecord]| {
        records.iter().for_each(|record| drop(runtime.block_on(journal.append(&record.clone().into()))));
    };
    let mut sums = Sums::open(folder.path()).unwrap();
    append(&records[..10]);
    assert_eq!(sums.add_gathered(&journal).unwrap(), None, "nobody knows yet whose sums these are");
    assert_eq!(sums.read_on(&journal, 4).unwrap().exchanges, 3, "the first record opens the stream");
    append(&records[10..15]);
    assert_eq!(sums.add_gathered(&journal).unwrap(), None, "some before that have not been read");
    assert_eq!(sums.read_on(&journal, 99).unwrap().exchanges, 7, "up to where gathering began");
    let stood = sums.add_gathered(&journal).unwrap().unwrap();
    assert_eq!(stood.exchanges, 5);
    assert_eq!(Reader::at(folder.path(), stood.place).read(9, |_, _| {}).unwrap(), Pause::End);
    append(&records[15..20]);
    assert_eq!(sums.add(folder.path(), usize::MAX).unwrap().exchanges, 5, "as another process would");
    append(&records[20..]);
    assert_eq!(sums.add_gathered(&journal).unwrap(), None, "gathering began before what is summed");
    assert_eq!(sums.read_on(&journal, usize::MAX).unwrap().exchanges, 4_980);
    assert_eq!(sums.add_gathered(&journal).unwrap().unwrap().exchanges, 0);
    drop(sums);
    let query = Query { by: vec![By::User], ..Query::default() };
    assert_eq!(Sums::answer(folder.path(), &query, None).unwrap(), expected(&records, &query));
}

fn some(count: usize) -> Vec<ExchangeRecord> {
    (0..count).map(|number| record((number as i64 / 3, number, 1_000 + number as i64))).collect()
}

fn expected(records: &[ExchangeRecord], query: &Query) -> Picked {
    let mut picked = Picked::default();
    for record in records {
        let cell = Cell::of(record);
        if query.holds(&cell, cell.start + HOUR_S) {
            picked.add(&query.by, &cell, &journal::Sums::of(record));
        }
    }
    picked
}

fn queries() -> Vec<Query> {
    let time = |text: &str| Some(text.parse().unwrap());
    let all = vec![By::Day, By::Tenant, By::User, By::Model, By::Tier];
    vec![
        Query::default(),
        Query { by: all, ..Query::default() },
        Query { by: vec![By::Hour], tenant: Some("tenant-1".into()), ..Query::default() },
        Query { from: time("2026-11-20T14:00:00Z"), to: time("2026-11-20T16:00:00Z"), ..Query::default() },
    ]
}

fn filled(count: usize) -> (TempDir, Vec<ExchangeRecord>) {
    let (folder, records) = (tempfile::tempdir().unwrap(), some(count));
    write(folder.path(), &records);
    let mut sums = Sums::open(folder.path()).unwrap();
    assert_eq!(sums.add(folder.path(), usize::MAX).unwrap().pause, Pause::End);
    (folder, records)
}

/// The database tells what the records do, and without any it would tell nothing.
fn tells(folder: &TempDir, records: &[ExchangeRecord]) {
    for query in queries() {
        assert_eq!(Sums::answer(folder.path(), &query, None), Some(expected(records, &query)), "{query:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn each_record_counts_once_however_often_it_is_begun(
        spends in prop::collection::vec((0i64..50, 0usize..9, -5i64..1_000_000), 1..40),
        steps in prop::collection::vec((1usize..9, any::<bool>()), 1..30),
        cut in 0usize..40,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let records: Vec<_> = spends.into_iter().map(record).collect();
        let (first, rest) = records.split_at(cut.min(records.len()));
        write(folder.path(), first);
        let mut sums = Sums::open(folder.path()).unwrap();
        for (count, reopens) in steps {
            sums.add(folder.path(), count).unwrap();
            if reopens {
                sums = Sums::open(folder.path()).unwrap();
            }
        }
        // The records behind the place are read from the journal.
        tells(&folder, first);
        write(folder.path(), rest);
        tells(&folder, &records);
        let mut other = Sums::open(folder.path()).unwrap();
        while other.add(folder.path(), 7).unwrap().pause == Pause::Full {
            sums.add(folder.path(), 5).unwrap();
        }
        prop_assert_eq!(sums.add(folder.path(), 9).unwrap().exchanges, 0);
        tells(&folder, &records);
    }
}

#[test]
fn what_was_tampered_with_is_made_anew() {
    let damages: [(&str, Damage); 6] = [
        ("garbage", |file| fs::write(file, "no database at all, but long enough to be one").unwrap()),
        ("emptied", |file| fs::write(file, "").unwrap()),
        ("cut", |file| {
            let bytes = fs::read(file).unwrap();
            fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("a sum", |file| {
            alter(file, "UPDATE sums SET cost_nanousd = cost_nanousd - 1 WHERE user = 'user-3'");
        }),
        ("a row", |file| alter(file, "DELETE FROM sums WHERE user = 'user-3'")),
        ("version", |file| alter(file, "PRAGMA user_version = 9")),
    ];
    for (what, damage) in damages {
        let (folder, records) = filled(12);
        damage(&Sums::file(folder.path()));
        if what != "emptied" {
            assert_eq!(Sums::answer(folder.path(), &Query::default(), None), None, "{what}");
        }
        let (mut sums, distrusted) = Sums::open_or_begin(folder.path()).unwrap();
        assert_eq!(distrusted.is_some(), what != "emptied", "{what}: {distrusted:?}");
        sums.add(folder.path(), usize::MAX).unwrap();
        tells(&folder, &records);
    }
}

#[test]
fn who_is_writing_the_sums_need_not_read_them_all_to_answer_and_nobody_else_is_believed() {
    let (folder, records) = filled(12);
    let sums = Sums::open(folder.path()).unwrap();
    let query = Query::default();
    assert_eq!(Sums::answer(folder.path(), &query, Some(sums.inode())), Some(expected(&records, &query)));
    // What is at odds with its totals is found by who reads all of it: here only those to whom the file is another.
    alter(
        &Sums::file(folder.path()),
        "UPDATE sums SET cost_nanousd = cost_nanousd - 1 WHERE user = 'user-3'",
    );
    assert!(Sums::answer(folder.path(), &query, Some(sums.inode())).is_some());
    assert_eq!(Sums::answer(folder.path(), &query, Some(sums.inode() + 1)), None);
    assert_eq!(Sums::answer(folder.path(), &query, None), None);
}

fn alter(file: &Path, statement: &str) {
    Connection::open(file).unwrap().execute_batch(statement).unwrap();
}

#[test]
fn sums_of_another_journal_are_not_believed_and_a_rebuild_mends_them() {
    let (folder, _) = filled(4);
    fs::remove_dir_all(folder.path().join("exchanges")).unwrap();
    let records = some(9);
    write(folder.path(), &records);
    assert_eq!(Sums::answer(folder.path(), &Query::default(), None), None);
    let mut sums = Sums::open(folder.path()).unwrap();
    let failure = sums.add(folder.path(), 9).unwrap_err();
    assert!(failure.is_mended_by_rebuild(), "{failure}");
    let mut told = Vec::new();
    let stood = sums.rebuild(folder.path(), |done, total| told.push((done, total))).unwrap();
    assert_eq!((stood.exchanges, stood.pause), (9, Pause::End));
    assert!(told.last().is_some_and(|(done, total)| done == total), "{told:?}");
    tells(&folder, &records);
}

#[test]
fn times_within_an_hour_are_for_the_records_to_tell() {
    let (folder, _) = filled(3);
    let from = Some("2026-11-20T12:00:00.000001Z".parse().unwrap());
    assert_eq!(Sums::answer(folder.path(), &Query { from, ..Query::default() }, None), None);
    assert_eq!(Sums::answer(Path::new("/nowhere"), &Query::default(), None), None);
}

#[test]
fn a_full_table_sums_new_names_together_and_loses_nothing() {
    let (folder, records) = (tempfile::tempdir().unwrap(), some(60));
    write(folder.path(), &records);
    let mut sums = Sums { max_rows: 20, ..Sums::open(folder.path()).unwrap() };
    while sums.add(folder.path(), 7).unwrap().pause == Pause::Full {}
    let stood = sums.add(folder.path(), 7).unwrap();
    assert!((20..60).contains(&stood.rows), "{stood:?}");
    let by = |by: &[By]| Query { by: by.to_vec(), ..Query::default() };
    let exact = by(&[By::Hour, By::Tenant, By::Tier]);
    assert_eq!(Sums::answer(folder.path(), &exact, None), Some(expected(&records, &exact)));
    let users = Sums::answer(folder.path(), &by(&[By::User]), None).unwrap();
    assert!(users.rows.contains_key(&vec!["_other".to_owned()]), "{users:?}");
}
