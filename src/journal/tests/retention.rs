//! What retention drops is accounted for: the rest verifies, owners stay known, and nothing else may be missing.

use std::fs;
use std::path::PathBuf;

use jiff::ToSpan;

use super::*;

fn open_small(path: &Path, clock: &Clock) -> (Journal, Recovered) {
    Journal::open_with(&settings(path), clock, 2_000, &mut snapshot::Each(|_, _| {}), |tail| tail).unwrap()
}

fn files(path: &Path) -> Vec<PathBuf> {
    segment::list(&path.join("exchanges")).unwrap().into_iter().map(|segment| segment.path).collect()
}

fn at(clock: &Clock, made: Option<ObjectName>) -> Entry {
    let asked = "claude-opus-5-5".to_owned();
    let mut record = ExchangeRecord::begin(RequestId::generate(), clock.now(), "acme".into(), asked);
    record.objects.extend(made);
    record.into()
}

fn named(object_type: ObjectType, id: &str) -> Option<ObjectName> {
    Some(ObjectName { object_type, object_id: id.to_owned() })
}

/// Two old days and a new one of six exchanges each; the first old one made a file and a container.
fn aged(path: &Path) -> (Journal, Clock) {
    let clock = clock();
    let (journal, _) = open_small(path, &clock);
    for day in 0..3 {
        for number in 0..6 {
            let made = match (day, number) {
                (0, 0) => named(ObjectType::File, "file_1"),
                (0, 1) => named(ObjectType::Container, "container_1"),
                _ => None,
            };
            block_on(journal.append(&at(&clock, made))).unwrap();
        }
        clock.advance(Duration::from_secs(40 * 86_400));
    }
    (journal, clock)
}

fn drop_old(journal: &Journal, clock: &Clock) -> Dropped {
    let now = clock.now();
    block_on(journal.drop_before(now.checked_sub((24 * 50).hours()).unwrap(), now)).unwrap()
}

#[test]
fn old_segments_go_and_the_rest_verifies_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, clock) = aged(folder.path());
    let before = files(folder.path()).len() as u64;
    let dropped = drop_old(&journal, &clock);
    assert!(dropped.segments > 3 && dropped.segments < before, "{dropped:?} of {before}");
    assert_eq!(dropped.carried, 1, "the file's owner, not the container's");
    assert_eq!(drop_old(&journal, &clock), Dropped::default(), "nothing is left to drop");
    block_on(journal.append(&at(&clock, None))).unwrap();
    let anchor = journal.head(Stream::Exchanges);
    close(&journal);
    let verified = verify(folder.path(), Some(&anchor)).unwrap().remove(0);
    assert_eq!((verified.dropped, verified.head), (dropped.last_seq, anchor));
    assert_eq!(verified.records, anchor.seq - dropped.last_seq);
    let mut owners = Vec::new();
    let (journal, _) = Journal::open(&settings(folder.path()), &clock, |_, entry| {
        if let Entry::Object(record) = entry {
            owners.push((record.object_id, record.tenant));
        }
    })
    .unwrap();
    assert_eq!(owners, [("file_1".to_owned(), "acme".to_owned())]);
    close(&journal);
}

#[test]
fn a_crash_between_the_tombstone_and_the_files_is_mended() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, clock) = aged(folder.path());
    let first = files(folder.path()).remove(0);
    let kept = fs::read(&first).unwrap();
    drop_old(&journal, &clock);
    close(&journal);
    fs::write(&first, kept).unwrap();
    assert!(verify(folder.path(), None).is_ok());
    close(&open_small(folder.path(), &clock).0);
    assert!(!first.exists());
}

/// What is done to what is left, and what is found.
type Damage = (fn(&Path), FindingKind);

#[test]
fn nothing_but_what_the_tombstone_signs_for_may_be_missing() {
    let damages: [Damage; 4] = [
        (|path| fs::remove_file(files(path).remove(0)).unwrap(), FindingKind::Gap),
        (|path| fs::remove_file(path.join("exchanges/dropped.json")).unwrap(), FindingKind::Gap),
        (
            |path| {
                let tombstone = path.join("exchanges/dropped.json");
                let text = fs::read_to_string(&tombstone).unwrap();
                let seq: CheckpointRecord = serde_json::from_str(&text).unwrap();
                let (before, after) =
                    (format!("\"head_seq\":{}", seq.seq), format!("\"head_seq\":{}", seq.seq + 1));
                fs::write(&tombstone, text.replace(&before, &after)).unwrap();
            },
            FindingKind::Edit,
        ),
        (|path| files(path).iter().for_each(|file| fs::remove_file(file).unwrap()), FindingKind::Truncation),
    ];
    for (number, (damage, kind)) in damages.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, clock) = aged(folder.path());
        drop_old(&journal, &clock);
        let anchor = journal.head(Stream::Exchanges);
        close(&journal);
        damage(folder.path());
        match verify(folder.path(), Some(&anchor)) {
            Err(WalkFailure::Found(finding)) => assert_eq!(finding.kind, kind, "{number}: {finding}"),
            other => panic!("{number}: no finding but {other:?}"),
        }
        let refusal = Journal::open(&settings(folder.path()), &clock, |_, _| {}).map(|_| ()).unwrap_err();
        let is_missing = matches!(refusal, OpenFailure::Missing { .. });
        assert_eq!(is_missing, kind == FindingKind::Truncation, "{number}: {refusal}");
    }
}

#[test]
fn checkpoints_are_signed_and_only_by_the_journals_own_key() {
    let folder = tempfile::tempdir().unwrap();
    let clock = clock();
    let (journal, _) = open_small(folder.path(), &clock);
    for _ in 0..3 {
        clock.advance(Duration::from_secs(3_600));
        block_on(journal.append(&at(&clock, None))).unwrap();
    }
    close(&journal);
    let key = SigningKey::read(folder.path()).unwrap();
    let verified = verify(folder.path(), None).unwrap().remove(0);
    assert_eq!((verified.checkpoints, &verified.keys), (3, &vec![key.public()]));
    let heads = signed_heads(folder.path(), &key, clock.now()).unwrap();
    assert_eq!(heads[0].head(), verified.head);
    assert!(heads.iter().all(CheckpointRecord::is_genuine));
    let forged = CheckpointRecord { seq: heads[0].seq + 1, ..heads[0].clone() };
    assert!(!forged.is_genuine());

    // A checkpoint of a chain made anew, its hash fitting, its signature not.
    let file = files(folder.path()).remove(0);
    let text = fs::read_to_string(&file).unwrap();
    let mut lines: Vec<Vec<u8>> = text.lines().map(|line| line.as_bytes().to_vec()).collect();
    let place = lines.iter().position(|line| chain::Line::read(line).unwrap().kind == b"checkpoint").unwrap();
    let read: CheckpointRecord = serde_json::from_slice(&lines[place]).unwrap();
    let unsigned = CheckpointRecord { signature: "00".repeat(64), ..read };
    let before = lines[place - 1].clone();
    let before = chain::Line::read(&before).unwrap();
    let mut link = chain::Link { seq: before.seq, hash: before.hash };
    let mut made = Vec::new();
    link.chain(Entry::Checkpoint(unsigned).to_line().unwrap().as_str().as_bytes(), &mut made);
    lines[place] = made.strip_suffix(b"\n").unwrap().to_vec();
    fs::write(&file, lines.iter().flat_map(|line| [line.as_slice(), b"\n"].concat()).collect::<Vec<_>>())
        .unwrap();
    match verify(folder.path(), None) {
        Err(WalkFailure::Found(finding)) => {
            assert_eq!(finding.kind, FindingKind::Fork);
            assert!(finding.detail.contains("signature"), "{finding}");
        }
        other => panic!("no finding but {other:?}"),
    }
}

#[test]
fn a_checkpoint_stands_at_least_every_thousand_records() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path()).unwrap();
    let entry = at(&clock(), None);
    block_on(async {
        for _ in 0..2_500 {
            journal.note(&entry).await.unwrap();
        }
    });
    close(&journal);
    let verified = verify(folder.path(), None).unwrap().remove(0);
    assert_eq!(verified.records, 2_500 + 1 + verified.checkpoints);
    assert!(verified.checkpoints >= 1 && verified.checkpoints <= 2, "{}", verified.checkpoints);
}

/// The way along what stands in `path`.
fn way(path: &Path) -> walk::Way {
    walk::Way::of(&path.join("exchanges"), Stream::Exchanges).unwrap()
}

#[test]
fn a_way_knows_where_segments_end_and_what_was_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, clock) = aged(folder.path());
    let begun = segment::list(&folder.path().join("exchanges")).unwrap().into_iter().skip(1);
    let ends: Vec<u64> = begun.map(|segment| segment.first_seq - 1).collect();
    let whole = way(folder.path());
    assert_eq!(whole.dropped(), 0);
    let all = 0..=journal.head(Stream::Exchanges).seq;
    assert_eq!(all.filter(|seq| whole.has_boundary(*seq)).collect::<Vec<_>>(), ends);
    assert_eq!(whole.sweep(None).map(|swept| swept.end.seq), ends.last().copied());
    for end in ends {
        assert_eq!(whole.sweep_to(end).map(|swept| swept.end.seq), Some(end));
    }
    let dropped = drop_old(&journal, &clock);
    assert_eq!(way(folder.path()).dropped(), dropped.last_seq);
    close(&journal);
}

#[test]
fn segments_of_one_record_are_dropped_and_passed_over_like_others() {
    let folder = tempfile::tempdir().unwrap();
    let clock = clock();
    let (journal, _) =
        Journal::open_with(&settings(folder.path()), &clock, 1, &mut snapshot::Each(|_, _| {}), |tail| tail)
            .unwrap();
    for days in [0, 0, 120] {
        block_on(journal.append(&at(&clock, None))).unwrap();
        clock.advance(Duration::from_secs(days * 86_400));
    }
    block_on(journal.append(&at(&clock, None))).unwrap();
    let head = journal.head(Stream::Exchanges);
    for seq in 1..=4 {
        let mut way = way(folder.path());
        let swept = way.sweep_to(seq).unwrap();
        way.pass(swept);
        assert_eq!(way.walk(None, |_, _| Ok(())).unwrap().end.unwrap().hash, head.hash, "{seq}");
    }
    let kept: Vec<_> =
        files(folder.path()).iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect();
    let dropped = drop_old(&journal, &clock);
    assert_eq!((dropped.segments, dropped.last_seq), (4, 4));
    let head = journal.head(Stream::Exchanges);
    close(&journal);
    for (file, bytes) in kept {
        fs::write(file, bytes).unwrap();
    }
    assert_eq!(verify(folder.path(), Some(&head)).unwrap().remove(0).head, head);
}
