//! A journal's bytes → a start: refused loudly, or taken up without losing a whole line.

use std::fs;

use tercet::clock::Clock;
use tercet::config;
use tercet::journal::{Journal, verify};

/// Starts on a segment of these bytes.
///
/// # Panics
/// Where a start comes up with fewer entries than whole lines it left in place, or with a journal that does not verify.
pub fn run(data: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let exchanges = folder.path().join("exchanges");
    fs::create_dir_all(&exchanges).unwrap();
    let segment = exchanges.join(SEGMENT);
    fs::write(exchanges.join("origin"), ORIGIN).unwrap();
    fs::write(&segment, data).unwrap();
    let text = format!("[journal]\npath = \"{}\"\n", folder.path().display());
    let settings = config::parse(&text, None, &|_| None).unwrap().journal;
    let mut entries = 0_usize;
    let opened = Journal::open(&settings, &Clock::default(), |_, _| entries += 1);
    let Ok((journal, recovered)) = opened else { return };
    drop(journal);
    let kept = fs::read(&segment).unwrap_or_default();
    assert!(recovered.records >= 1 || kept.is_empty());
    // What was there in whole lines is there still; only a last line that never ended may be gone.
    let whole = data.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    assert!(kept.starts_with(&data[..whole]), "whole lines were changed");
    assert!(verify(folder.path(), None).is_ok(), "what was taken up does not verify");
}

/// The origin that the segments of the corpus go back to.
const ORIGIN: &str = "3afd189bc2a5f0dfa40f0b70c209af0c\n";
/// The name that a first segment has.
const SEGMENT: &str = "00000000000000000001.jsonl";
