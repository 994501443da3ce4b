//! A start takes up exactly what was written, or refuses.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

fn segment_path(path: &Path, first_seq: u64) -> PathBuf {
    segment::path(&path.join("exchanges"), first_seq)
}

#[test]
fn a_restart_goes_on_with_the_chain_and_sees_every_entry() {
    let folder = tempfile::tempdir().unwrap();
    for cost in 0..3 {
        let (journal, found) = open(folder.path()).unwrap();
        assert!(found.torn.is_empty() && found.unsettled.is_empty());
        let seq = block_on(journal.append(&exchange(&RequestId::generate(), cost))).unwrap();
        assert_eq!(seq, 2 + cost as u64);
        close(&journal);
        let closed = block_on(journal.append(&exchange(&RequestId::generate(), 9)));
        assert_eq!(closed, Err(StoreFailure::Closed));
        assert!(!journal.healthy());
    }
    assert_eq!(costs(folder.path()), [0, 1, 2]);
    assert_eq!(verify(folder.path(), None).unwrap()[0].records, 4);
}

#[test]
fn a_segment_that_a_crash_left_without_a_name_is_gone_after_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    close(&open(folder.path()).unwrap().0);
    let unnamed = segment_path(folder.path(), 2).with_extension("begun");
    fs::write(&unnamed, "{\"seq\":2").unwrap();
    close(&open(folder.path()).unwrap().0);
    assert!(!unnamed.exists() && segment_path(folder.path(), 1).exists());
}

#[test]
fn a_crash_at_any_byte_of_the_last_write_leaves_a_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path()).unwrap();
    for cost in 0..2 {
        block_on(journal.append(&exchange(&RequestId::generate(), cost))).unwrap();
    }
    let file = segment_path(folder.path(), 1);
    let acknowledged = fs::metadata(&file).unwrap().len() as usize;
    block_on(journal.append(&exchange(&RequestId::generate(), 2))).unwrap();
    close(&journal);
    let bytes = fs::read(&file).unwrap();
    for cut in (acknowledged..bytes.len()).step_by(7).chain([bytes.len() - 1]) {
        fs::write(&file, &bytes[..cut]).unwrap();
        let (journal, found) = open(folder.path()).unwrap();
        let torn: u64 = found.torn.iter().map(|torn| torn.bytes).sum();
        assert_eq!(torn as usize, cut - acknowledged);
        let seq = block_on(journal.append(&exchange(&RequestId::generate(), 8))).unwrap();
        assert_eq!(seq, 4, "cut at {cut}");
        close(&journal);
        assert_eq!(costs(folder.path()), [0, 1, 8]);
    }
}

#[test]
fn reservations_without_an_exchange_are_handed_back_until_they_are_settled() {
    let folder = tempfile::tempdir().unwrap();
    let (settled, lost) = (RequestId::generate(), RequestId::generate());
    let (journal, _) = open(folder.path()).unwrap();
    block_on(journal.note(&reservation(&settled, 5))).unwrap();
    block_on(journal.note(&reservation(&lost, 70))).unwrap();
    block_on(journal.append(&exchange(&settled, 4))).unwrap();
    close(&journal);
    let (journal, found) = open(folder.path()).unwrap();
    assert_eq!(found.unsettled.iter().map(|held| &held.request_id).collect::<Vec<_>>(), [&lost]);
    let charge = ExchangeRecord::lost(&found.unsettled[0]);
    assert_eq!((charge.cost_nanousd, charge.tokens_used, charge.outcome), (NanoUsd(70), 50, Outcome::Lost));
    assert_eq!(charge.usage_source, UsageSource::Estimate);
    block_on(journal.append(&charge.into())).unwrap();
    close(&journal);
    let (journal, found) = open(folder.path()).unwrap();
    assert!(found.unsettled.is_empty());
    close(&journal);
    assert_eq!(costs(folder.path()), [4, 70]);
}

/// What is done to the first segment, and what the refusal says.
type Damage = (fn(&Path), &'static str);

#[test]
fn damage_refuses_the_start_and_says_where() {
    let damages: [Damage; 5] = [
        (|file| edit(file, |bytes| bytes[900] ^= 1), "00000000000000000001.jsonl:2: edit at record 2"),
        (|file| edit(file, Vec::clear), "truncation at record 1"),
        (|file| edit(file, |bytes| bytes.truncate(40)), "truncation at record 1"),
        (|file| edit(file, |bytes| bytes[0] = 0), "edit at record 1"),
        (|file| fs::remove_file(file).unwrap(), "are gone"),
    ];
    for (damage, said) in damages {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = open(folder.path()).unwrap();
        for cost in 0..3 {
            block_on(journal.append(&exchange(&RequestId::generate(), cost))).unwrap();
        }
        close(&journal);
        damage(&segment_path(folder.path(), 1));
        let refusal = open(folder.path()).map(|_| ()).unwrap_err().to_string();
        assert!(refusal.contains(said), "{refusal}");
    }
}

fn edit(file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(file).unwrap();
    change(&mut bytes);
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_journal_of_another_origin_is_not_taken_for_ours() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for folder in [&ours, &theirs] {
        let (journal, _) = open(folder.path()).unwrap();
        close(&journal);
    }
    fs::copy(segment_path(theirs.path(), 1), segment_path(ours.path(), 1)).unwrap();
    assert!(matches!(open(ours.path()), Err(OpenFailure::Damaged(found)) if found.kind == FindingKind::Fork));
}

#[test]
fn two_processes_never_write_one_journal() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path()).unwrap();
    let refusal = open(folder.path()).map(|_| ()).unwrap_err();
    assert!(refusal.to_string().contains("another process holds the journal"), "{refusal}");
    close(&journal);
    assert!(open(folder.path()).is_ok());
}

#[test]
fn only_the_owner_may_read_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("deep/data");
    let (journal, _) = open(&root).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode(&root), mode(&root.join("admin"))], [0o700; 2]);
    let files = [segment_path(&root, 1), root.join("lock"), root.join("exchanges/origin")];
    assert!(files.iter().all(|file| mode(file) == 0o600));
    close(&journal);
}

#[test]
fn records_of_a_later_version_are_counted_in_both_streams_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    close(&open(folder.path()).unwrap().0);
    let signing = (&SigningKey::read(folder.path()).unwrap(), &clock());
    for (stream, count) in [(Stream::Exchanges, 3), (Stream::Admin, 2)] {
        let (mut found, mut none) = (Recovered::default(), snapshot::Each(|_, _| {}));
        let (mut tail, _) =
            recover::recover(folder.path(), stream, signing, 3000, &mut found, &mut none).unwrap();
        tail.write([b"{\"kind\":\"later\"}".as_slice(); 3].into_iter().take(count)).unwrap();
    }
    for _ in 0..2 {
        let (journal, found) = open(folder.path()).unwrap();
        assert_eq!(found.unknown, 5);
        close(&journal);
    }
    let verified = verify(folder.path(), None).unwrap();
    assert_eq!([verified[0].records, verified[1].records], [4, 3]);
}

#[test]
fn a_note_of_the_origin_that_a_crash_cut_short_is_made_whole() {
    let folder = tempfile::tempdir().unwrap();
    close(&open(folder.path()).unwrap().0);
    let file = folder.path().join("exchanges/origin");
    let whole = fs::read(&file).unwrap();
    for left in [0, 5] {
        fs::write(&file, &whole[..left]).unwrap();
        close(&open(folder.path()).unwrap().0);
        assert_eq!(fs::read(&file).unwrap(), whole);
    }
}

#[test]
fn a_chain_that_begins_with_another_record_is_no_stream() {
    let folder = tempfile::tempdir().unwrap();
    close(&open(folder.path()).unwrap().0);
    let opened = fs::read_to_string(segment_path(folder.path(), 1)).unwrap();
    let record = opened.get(opened.find("\"kind\"").unwrap()..opened.rfind(",\"hash\"").unwrap()).unwrap();
    let record = format!("{{{}}}", record.replace("\"kind\":\"open\"", "\"kind\":\"object\""));
    let origin = fs::read_to_string(folder.path().join("exchanges/origin")).unwrap();
    let (mut link, mut line) = (chain::Link::genesis(Stream::Exchanges, origin.trim()), Vec::new());
    link.chain(record.as_bytes(), &mut line);
    fs::write(segment_path(folder.path(), 1), line).unwrap();
    let refusal = open(folder.path()).map(|_| ()).unwrap_err().to_string();
    assert!(refusal.contains("the first record opens no stream"), "{refusal}");
}
