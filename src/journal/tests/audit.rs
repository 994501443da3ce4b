//! Any single change to a chain is found, and named.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

/// A journal of `count` records after the first, over several segments, and its head.
fn written(path: &Path, count: usize) -> Head {
    let (journal, _) =
        Journal::open_with(&settings(path), &clock(), 2000, &mut snapshot::Each(|_, _| {}), |tail| tail)
            .unwrap();
    for cost in 0..count {
        block_on(journal.append(&exchange(&RequestId::generate(), cost as i64))).unwrap();
    }
    close(&journal);
    journal.head(Stream::Exchanges)
}

fn segments(path: &Path) -> Vec<PathBuf> {
    let folder = path.join("exchanges");
    segment::list(&folder).unwrap().into_iter().map(|segment| segment.path).collect()
}

/// Every line with the index of its segment.
fn lines(path: &Path) -> Vec<(usize, Vec<u8>)> {
    let files = segments(path).into_iter().enumerate();
    files
        .flat_map(|(index, file)| {
            let bytes = fs::read(file).unwrap();
            let lines: Vec<_> = bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            lines.into_iter().map(move |line| (index, line))
        })
        .collect()
}

fn write_lines(path: &Path, lines: &[(usize, Vec<u8>)]) {
    for (index, file) in segments(path).into_iter().enumerate() {
        let own: Vec<u8> =
            lines.iter().filter(|(of, _)| *of == index).flat_map(|(_, line)| line.clone()).collect();
        fs::write(file, own).unwrap();
    }
}

fn finding(path: &Path, head: Option<&Head>) -> Finding {
    match verify(path, head) {
        Err(WalkFailure::Found(finding)) => finding,
        other => panic!("no finding but {other:?}"),
    }
}

#[test]
fn a_whole_journal_verifies_and_tells_its_head() {
    let folder = tempfile::tempdir().unwrap();
    let anchor = written(folder.path(), 12);
    let verified = verify(folder.path(), Some(&anchor)).unwrap();
    assert_eq!(verified.len(), 2);
    assert_eq!((verified[0].records, verified[0].head), (13, anchor));
    assert!(verified[0].segments > 2);
    let text = serde_json::to_string(&anchor).unwrap();
    assert_eq!(serde_json::from_str::<Head>(&text).unwrap(), anchor);
    let bare = format!("{{\"seq\":13,\"hash\":\"{}\"}}", anchor.hash);
    assert_eq!(serde_json::from_str::<Head>(&bare).unwrap(), anchor);
    assert_eq!(head(&folder.path().join("exchanges")).unwrap(), [anchor]);
    assert!(verify(&folder.path().join("nothing"), None).is_err());
}

/// What is done to the lines, the kind it is found as, and the number of the record it is found at.
type Damage = (fn(&mut Vec<(usize, Vec<u8>)>), FindingKind, u64);

#[test]
fn each_kind_of_damage_is_called_by_its_name() {
    let damages: [Damage; 10] = [
        (|lines| lines[4].1[200] ^= 1, FindingKind::Edit, 5),
        (|lines| drop(lines.remove(4)), FindingKind::Gap, 5),
        (|lines| drop(lines.drain(3..6)), FindingKind::Gap, 4),
        (|lines| swap_bytes(lines, 4, 5), FindingKind::Reorder, 6),
        (|lines| lines.insert(5, lines[4].clone()), FindingKind::Duplicate, 5),
        (|lines| lines.insert(5, (lines[4].0, lines[8].1.clone())), FindingKind::Duplicate, 9),
        (|lines| lines.truncate(10), FindingKind::Truncation, 11),
        (|lines| rewrite(lines, 6), FindingKind::Fork, 8),
        (|lines| lines[12].1.truncate(90), FindingKind::Truncation, 13),
        (|lines| number_twice(lines, 4), FindingKind::Gap, 5),
    ];
    for (number, (damage, kind, seq)) in damages.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let anchor = written(folder.path(), 12);
        let mut lines = lines(folder.path());
        damage(&mut lines);
        write_lines(folder.path(), &lines);
        let files = segments(folder.path());
        for file in files.iter().filter(|file| fs::metadata(file).unwrap().len() == 0) {
            fs::remove_file(file).unwrap();
        }
        let finding = finding(folder.path(), Some(&anchor));
        assert_eq!((finding.kind, finding.seq), (kind, seq), "{number}: {finding}");
    }
}

#[test]
fn damage_within_one_segment_is_called_by_its_name() {
    let damages: [Damage; 3] = [
        (|lines| swap_bytes(lines, 4, 5), FindingKind::Reorder, 6),
        (|lines| lines.insert(4, lines[7].clone()), FindingKind::Duplicate, 8),
        (|lines| drop(lines.remove(4)), FindingKind::Gap, 5),
    ];
    for (damage, kind, seq) in damages {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = open(folder.path()).unwrap();
        for cost in 0..9 {
            block_on(journal.append(&exchange(&RequestId::generate(), cost))).unwrap();
        }
        close(&journal);
        let mut lines = lines(folder.path());
        damage(&mut lines);
        write_lines(folder.path(), &lines);
        let finding = finding(folder.path(), None);
        assert_eq!((finding.kind, finding.seq), (kind, seq), "{finding}");
    }
}

/// Leaves out a line, and has the last one, of another hash, bear the number of the one behind it.
fn number_twice(lines: &mut Vec<(usize, Vec<u8>)>, index: usize) {
    lines.remove(index);
    let mut other = lines[index].1.clone();
    let digit = other.len() - 4;
    other[digit] = if other[digit] == b'0' { b'1' } else { b'0' };
    lines.last_mut().unwrap().1 = other;
}

#[test]
fn no_segment_that_another_follows_may_end_within_a_line() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), 12);
    let files = segments(folder.path());
    let way = || walk::Way::of(&folder.path().join("exchanges"), Stream::Exchanges).unwrap();
    let kind = |way: walk::Way| match way.walk(None, |_, _| Ok(())) {
        Err(WalkFailure::Found(finding)) => Some(finding.kind),
        other => other.map(|_| None).unwrap(),
    };
    assert_eq!((kind(way()), kind(way().sealed())), (None, None));
    let bytes = fs::read(&files[files.len() - 2]).unwrap();
    fs::write(&files[files.len() - 2], &bytes[..bytes.len() - 5]).unwrap();
    let cut = Some(FindingKind::Truncation);
    assert_eq!((kind(way()), kind(way().sealed())), (cut, cut));
}

/// Exchanges two lines' bytes, each staying in the other's file.
fn swap_bytes(lines: &mut [(usize, Vec<u8>)], one: usize, other: usize) {
    let kept = lines[one].1.clone();
    lines[one].1 = std::mem::replace(&mut lines[other].1, kept);
}

/// Forges a record, its hash made anew to fit.
fn rewrite(lines: &mut [(usize, Vec<u8>)], index: usize) {
    let before = lines[index - 1].1.strip_suffix(b"\n").unwrap().to_vec();
    let before = chain::Line::read(&before).unwrap();
    let mut link = chain::Link { seq: before.seq, hash: before.hash };
    let mut forged = Vec::new();
    link.chain(&exchange(&RequestId::generate(), 0).to_line().unwrap().into_bytes(), &mut forged);
    lines[index].1 = forged;
}

#[test]
fn an_unfinished_line_is_torn_unless_somebody_is_writing() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), 3);
    let last = segments(folder.path()).pop().unwrap();
    let mut bytes = fs::read(&last).unwrap();
    bytes.extend_from_slice(b"{\"seq\":5,\"prev\":");
    fs::write(&last, bytes).unwrap();
    let torn = finding(folder.path(), None);
    assert_eq!((torn.kind, torn.seq), (FindingKind::Torn, 5));
    let held = recover::hold(folder.path()).unwrap();
    assert!(verify(folder.path(), None).is_ok());
    drop(held);
}

#[test]
fn a_replaced_chain_and_a_lost_stream_are_found_given_the_head() {
    let folder = tempfile::tempdir().unwrap();
    let anchor = written(folder.path(), 5);
    let other = tempfile::tempdir().unwrap();
    let foreign = written(other.path(), 8);
    assert_ne!(anchor.hash, foreign.hash);
    assert_eq!(finding(other.path(), Some(&anchor)).kind, FindingKind::Fork);
    fs::remove_dir_all(folder.path().join("exchanges")).unwrap();
    assert_eq!(finding(folder.path(), Some(&anchor)).kind, FindingKind::Truncation);
}

#[test]
fn a_stream_is_verified_by_itself_and_no_other_folder_is_taken_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let anchor = written(folder.path(), 3);
    let alone = verify(&folder.path().join("exchanges"), None).unwrap();
    assert_eq!((alone.len(), alone[0].head), (1, anchor));
    let empty = tempfile::tempdir().unwrap();
    for none in
        [empty.path().to_path_buf(), folder.path().join("exchanges/exchanges"), folder.path().join("key")]
    {
        assert!(matches!(verify(&none, None), Err(WalkFailure::Unreadable { .. })), "{}", none.display());
    }
}

#[test]
fn an_export_holds_the_selected_exchanges_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), 4);
    let all = Selection { tenant: Some("acme".into()), from: Some(clock().now()), ..Selection::default() };
    let mut out = Vec::new();
    let keep = |line: &[u8]| {
        out.extend_from_slice(line);
        out.push(b'\n');
        Ok(())
    };
    assert_eq!(export(folder.path(), &all, keep).unwrap(), 4);
    assert_eq!(out, lines(folder.path())[1..].iter().flat_map(|(_, line)| line.clone()).collect::<Vec<_>>());
    let later = clock().now() + Duration::from_secs(1);
    assert_eq!(export(folder.path(), &Selection { to: Some(later), ..all.clone() }, |_| Ok(())).unwrap(), 4);
    for none in [
        Selection { to: Some(clock().now()), ..all.clone() },
        Selection { from: Some(later), ..all.clone() },
        Selection { user: Some("ann".into()), ..all.clone() },
        Selection { model: Some("claude-haiku-5-5".into()), ..all.clone() },
    ] {
        assert_eq!(export(folder.path(), &none, |_| Ok(())).unwrap(), 0, "{none:?}");
    }
}

#[derive(Clone, Debug)]
enum Change {
    Edit(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    Duplicate(prop::sample::Index, prop::sample::Index),
    Truncate(prop::sample::Index),
    RemoveFile(prop::sample::Index),
}

fn any_change() -> impl Strategy<Value = Change> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        (index(), 1u8..).prop_map(|(at, flip)| Change::Edit(at, flip)),
        index().prop_map(Change::Remove),
        (index(), index()).prop_map(|(one, other)| Change::Swap(one, other)),
        (index(), index()).prop_map(|(from, to)| Change::Duplicate(from, to)),
        index().prop_map(Change::Truncate),
        index().prop_map(Change::RemoveFile),
    ]
}

/// Makes the change; false if it changes nothing.
fn apply(path: &Path, change: &Change) -> bool {
    let files = segments(path);
    let mut all = lines(path);
    let count = all.len();
    match change {
        Change::Edit(at, flip) => {
            let file = at.get(&files);
            let mut bytes = fs::read(file).unwrap();
            let index = at.index(bytes.len());
            bytes[index] ^= flip;
            fs::write(file, bytes).unwrap();
            return true;
        }
        Change::Truncate(at) => {
            let file = files.last().unwrap();
            let bytes = fs::read(file).unwrap();
            fs::write(file, &bytes[..at.index(bytes.len())]).unwrap();
            return true;
        }
        Change::RemoveFile(at) => {
            fs::remove_file(at.get(&files)).unwrap();
            return true;
        }
        Change::Remove(at) => drop(all.remove(at.index(count))),
        Change::Swap(one, other) => {
            swap_bytes(&mut all, one.index(count), other.index(count));
            if one.index(count) == other.index(count) {
                return false;
            }
        }
        Change::Duplicate(from, to) => {
            let to = to.index(count);
            let copy = (all[to].0, all[from.index(count)].1.clone());
            all.insert(to, copy);
        }
    }
    write_lines(path, &all);
    true
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn any_single_change_is_found_given_the_head(count in 1usize..14, change in any_change()) {
        let folder = tempfile::tempdir().unwrap();
        let anchor = written(folder.path(), count);
        let changed = apply(folder.path(), &change);
        prop_assert_eq!(verify(folder.path(), Some(&anchor)).is_err(), changed);
    }

    #[test]
    fn no_bytes_make_the_auditor_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("exchanges")).unwrap();
        fs::write(segment::path(&folder.path().join("exchanges"), 1), &bytes).unwrap();
        prop_assert!(verify(folder.path(), None).is_err());
        prop_assert!(open(folder.path()).is_err());
    }
}
