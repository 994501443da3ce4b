//! What hashes, lines, checkpoints and ways along a chain say, and what they do not take.

use super::*;
use chain::{Line, Link, RecordHash};
use checkpoint::Signer;

#[test]
fn a_hash_is_shown_and_read_as_the_digits_of_its_bytes() {
    let text = "0123456789abcdef".repeat(4);
    let hash: RecordHash = text.parse().unwrap();
    let shown = [hash.to_string(), format!("{hash:?}"), chain::to_hex(&hash.bytes())];
    assert_eq!(shown, [text.clone(), text.clone(), text]);
}

#[test]
fn what_is_not_sixty_four_lower_case_digits_is_no_hash() {
    let whole = "0a".repeat(32);
    assert!(whole.parse::<RecordHash>().is_ok());
    let spoiled = |places: &[usize]| {
        let mut bytes = whole.clone().into_bytes();
        places.iter().for_each(|place| bytes[*place] = b'z');
        String::from_utf8(bytes).unwrap()
    };
    let all: Vec<usize> = (0..64).collect();
    let places: [&[usize]; 7] = [&[0], &[1], &[63], &[0, 1], &[0, 2], &[1, 3], &all];
    let others = [String::new(), whole[1..].to_owned(), format!("{whole}0"), whole.to_uppercase()];
    for wrong in places.into_iter().map(spoiled).chain(others) {
        assert!(wrong.parse::<RecordHash>().is_err(), "{wrong}");
    }
}

#[test]
fn a_line_says_what_its_exchange_comes_to_and_nothing_of_other_records() {
    let id = RequestId::generate();
    let of_exchange = Cell::of(&exchanged(&id, 7));
    let mut line = exchange(&id, 7).to_line().unwrap();
    assert_eq!(line.summed().map(|summed| &summed.cell), Some(&of_exchange));
    assert_eq!(line.take_summed().map(|summed| summed.cell), Some(of_exchange));
    assert!(line.summed().is_none() && reservation(&id, 7).to_line().unwrap().summed().is_none());
}

/// A key, and the end of a chain of one record.
fn chained() -> (tempfile::TempDir, SigningKey, Link) {
    let folder = tempfile::tempdir().unwrap();
    let key = SigningKey::read_or_make(folder.path()).unwrap();
    let mut end = Link::genesis(Stream::Exchanges, "here");
    end.chain(b"{\"kind\":\"object\"}", &mut Vec::new());
    (folder, key, end)
}

#[test]
fn a_checkpoint_holds_for_the_record_before_it_in_its_own_journal_alone() {
    let (_folder, key, end) = chained();
    let head = Head { stream: Stream::Exchanges, seq: end.seq, hash: end.hash };
    let check = |head: Head, origin: &str| {
        let record = Entry::Checkpoint(key.sign(&head, origin, clock().now())).to_line().unwrap();
        let (mut link, mut bytes) = (end, Vec::new());
        link.chain(record.as_str().as_bytes(), &mut bytes);
        checkpoint::check(&Line::read(bytes.trim_ascii_end()).unwrap(), Stream::Exchanges, "here", end)
    };
    assert_eq!(check(head, "here"), Ok(key.public()));
    for (other, origin) in [
        (head, "elsewhere"),
        (Head { seq: 2, ..head }, "here"),
        (Head { hash: RecordHash::NONE, ..head }, "here"),
        (Head { stream: Stream::Admin, ..head }, "here"),
    ] {
        assert_eq!(check(other, origin), Err("the checkpoint is not about the record before it"));
    }
}

#[test]
fn an_hour_is_signed_where_something_was_written_in_it() {
    let (_folder, key, mut end) = chained();
    let clock = clock();
    let signer = Signer::new(key, clock.clone(), Stream::Exchanges, "here".to_owned(), end);
    clock.advance(Duration::from_secs(3_600));
    assert_eq!(signer.due(end), None);
    end.chain(b"{\"kind\":\"object\"}", &mut Vec::new());
    assert!(signer.due(end).is_some());
}

#[test]
fn a_key_that_cannot_be_read_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(checkpoint::KEY_FILE);
    std::fs::write(&file, "no key").unwrap();
    assert!(SigningKey::read_or_make(folder.path()).is_err());
    assert_eq!(std::fs::read(&file).unwrap(), b"no key");
}
