//! A snapshot spares a start its work and changes nothing of what it sees or refuses.

use std::fs;

use super::*;
use snapshot::View;

/// Every entry's number and cost, as text: what was kept and what was replayed.
#[derive(Default)]
struct Seen {
    kept: usize,
    all: Vec<String>,
}

impl View for Seen {
    fn add(&mut self, seq: u64, entry: Entry) {
        let cost = match entry {
            Entry::Exchange(record) => record.cost_nanousd.0,
            Entry::Open(open) if open.stream == "admin" => return,
            _ => -1,
        };
        self.all.push(format!("{seq} {cost}"));
    }

    fn to_bytes(&self) -> Vec<u8> {
        self.all.join("\n").into_bytes()
    }

    fn restore(&mut self, kept: &[u8]) -> bool {
        let lines: Vec<_> = String::from_utf8_lossy(kept).lines().map(ToOwned::to_owned).collect();
        // A version that does not know what was kept.
        if lines.iter().any(|line| line.ends_with(" 666")) {
            return false;
        }
        (self.kept, self.all) = (lines.len(), lines);
        true
    }
}

fn start(path: &Path) -> Result<(Journal, Recovered, Seen), OpenFailure> {
    let mut seen = Seen::default();
    let (journal, found) = Journal::open_with(&settings(path), &clock(), 2_000, &mut seen, |tail| tail)?;
    Ok((journal, found, seen))
}

/// What a start sees that knows no snapshot.
fn replayed(path: &Path) -> Vec<String> {
    let file = path.join(snapshot::FILE);
    let aside = fs::read(&file).ok();
    drop(fs::remove_file(&file));
    let (journal, _, seen) = start(path).unwrap();
    close(&journal);
    if let Some(bytes) = aside {
        fs::write(file, bytes).unwrap();
    }
    assert_eq!(seen.kept, 0);
    seen.all
}

/// A journal of several segments with a snapshot; returns the reservation that stays open from its first segment on.
fn kept(path: &Path) -> RequestId {
    let (journal, ..) = start(path).unwrap();
    let open = RequestId::generate();
    block_on(journal.note(&reservation(&open, 70))).unwrap();
    for cost in 0..10 {
        let id = RequestId::generate();
        block_on(journal.note(&reservation(&id, cost))).unwrap();
        block_on(journal.append(&exchange(&id, cost))).unwrap();
    }
    assert!(block_on(journal.keep_snapshot(Seen::default(), None)).unwrap().is_some());
    close(&journal);
    open
}

#[test]
fn a_start_from_a_snapshot_sees_what_a_replay_sees() {
    let folder = tempfile::tempdir().unwrap();
    let open = kept(folder.path());
    let all = replayed(folder.path());
    let (journal, found, seen) = start(folder.path()).unwrap();
    assert!(seen.kept > 10 && seen.kept < all.len(), "{} of {}", seen.kept, all.len());
    assert_eq!(seen.all, all);
    assert_eq!(found.unsettled.iter().map(|held| &held.request_id).collect::<Vec<_>>(), [&open]);
    assert_eq!(found.records, all.len() as u64);
    // The next one goes on from the one before, and settles what that held open.
    block_on(journal.append(&exchange(&open, 7))).unwrap();
    for cost in 20..30 {
        block_on(journal.append(&exchange(&RequestId::generate(), cost))).unwrap();
    }
    let renewed = block_on(journal.keep_snapshot(Seen::default(), None)).unwrap();
    assert!(renewed.is_some_and(|place| place.seq > seen.kept as u64));
    let written = || fs::metadata(folder.path().join(snapshot::FILE)).unwrap().modified().unwrap();
    let before = written();
    for known in [None, renewed] {
        assert_eq!(block_on(journal.keep_snapshot(Seen::default(), known)).unwrap(), renewed);
    }
    assert_eq!(written(), before, "nothing was sealed since");
    close(&journal);
    let (journal, found, seen) = start(folder.path()).unwrap();
    close(&journal);
    assert_eq!((seen.all, found.unsettled.len()), (replayed(folder.path()), 0));
    let verified = &verify(folder.path(), None).unwrap()[0];
    assert_eq!(verified.records, found.records);
}

#[test]
fn a_snapshot_that_is_not_what_was_written_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    kept(folder.path());
    let all = replayed(folder.path());
    let file = folder.path().join(snapshot::FILE);
    let bytes = fs::read(&file).unwrap();
    let flipped = (0..bytes.len()).step_by(97).map(|place| {
        let mut bytes = bytes.clone();
        bytes[place] ^= 1;
        bytes
    });
    let cut = (0..bytes.len()).step_by(131).map(|length| bytes[..length].to_vec());
    for damaged in flipped.chain(cut) {
        fs::write(&file, damaged).unwrap();
        let (journal, _, seen) = start(folder.path()).unwrap();
        close(&journal);
        assert_eq!((seen.kept, seen.all), (0, all.clone()));
    }
}

#[test]
fn a_snapshot_of_another_journal_or_version_is_left_alone() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for folder in [&ours, &theirs] {
        kept(folder.path());
    }
    fs::copy(theirs.path().join(snapshot::FILE), ours.path().join(snapshot::FILE)).unwrap();
    let (journal, _, seen) = start(ours.path()).unwrap();
    close(&journal);
    assert_eq!((seen.kept, seen.all), (0, replayed(ours.path())));

    let (journal, ..) = start(theirs.path()).unwrap();
    for cost in [666, 1, 2, 3, 4, 5] {
        block_on(journal.append(&exchange(&RequestId::generate(), cost))).unwrap();
    }
    assert!(block_on(journal.keep_snapshot(Seen::default(), None)).unwrap().is_some());
    close(&journal);
    let (journal, found, seen) = start(theirs.path()).unwrap();
    close(&journal);
    assert_eq!(
        (seen.kept, seen.all.len() as u64),
        (0, found.records),
        "what could not be restored was replayed"
    );
    assert_eq!(found.unsettled.len(), 1);
}

#[test]
fn damage_under_a_snapshot_refuses_the_start_as_ever() {
    let folder = tempfile::tempdir().unwrap();
    kept(folder.path());
    let file = segment::path(&folder.path().join("exchanges"), 1);
    let bytes = fs::read(&file).unwrap();
    for place in (0..bytes.len()).step_by(41) {
        let mut damaged = bytes.clone();
        damaged[place] ^= 2;
        fs::write(&file, damaged).unwrap();
        let refusal = start(folder.path()).map(|_| ()).unwrap_err();
        let found = verify(folder.path(), None).unwrap_err();
        assert!(refusal.to_string().starts_with(&found.to_string()), "{refusal} / {found}");
    }
    fs::remove_file(&file).unwrap();
    assert!(
        matches!(start(folder.path()), Err(OpenFailure::Damaged(found)) if found.kind == FindingKind::Gap)
    );
}

#[test]
fn what_retention_drops_is_in_no_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    kept(folder.path());
    let (journal, ..) = start(folder.path()).unwrap();
    let later = clock().now() + Duration::from_secs(86_400);
    let dropped = block_on(journal.drop_before(later, later)).unwrap();
    assert!(dropped.segments > 0);
    close(&journal);
    let (journal, _, seen) = start(folder.path()).unwrap();
    assert_eq!((seen.kept, &seen.all), (0, &replayed_beside(&journal, folder.path())));
    close(&journal);
}

/// What the files say, read beside a gateway that holds them.
fn replayed_beside(journal: &Journal, path: &Path) -> Vec<String> {
    let head = journal.head(Stream::Exchanges).seq;
    let all = verify(path, None).unwrap().remove(0);
    assert_eq!(all.head.seq, head);
    let mut seen = Seen::default();
    let mut pending = snapshot::Pending::default();
    walk::walk(&path.join("exchanges"), Stream::Exchanges, |place, line| {
        pending.take(place, line, &mut seen)
    })
    .unwrap();
    seen.all
}
