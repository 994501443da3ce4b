//! That what was learned comes back whole or not at all.

use super::super::{Fingerprints, Outcome, Workloads};
use super::*;
use crate::tier::Logits;

fn taught() -> Workloads {
    let workloads = Workloads::default();
    let body = r#"{"model":"m","system":"You sort letters.","messages":[{"role":"user","content":"hi"}]}"#;
    let prints = Fingerprints::of(&crate::wire::envelope::read(body.as_bytes()).unwrap(), "client");
    for tenant in ["acme", "rival"] {
        for tier in 0..3 {
            let outcome = Outcome { tier, score: 0.75, weight: 1.0 };
            workloads.learn(
                tenant,
                &prints,
                &Logits { quality: [1, 2, 3], familiar: 4, traits: [5; 4] },
                outcome,
            );
        }
    }
    workloads
}

fn text(workloads: &[Written]) -> String {
    let mut out = Vec::new();
    write(workloads, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn what_is_written_is_read_again_alike() {
    let written = taught().written(None);
    assert_eq!(written.len(), 6);
    let read = read(text(&written).as_bytes()).unwrap();
    assert_eq!(read, written);
    let again = Workloads::default();
    again.take(read);
    assert_eq!(again.written(None), written);
    assert_eq!(again.written(Some("acme")).len(), 3);
}

#[test]
fn a_damaged_file_is_refused_whole_and_told_by_its_line() {
    let whole = text(&taught().written(None));
    let told = |text: &str| read(text.as_bytes()).unwrap_err().to_string();
    assert!(told("").contains("line 1: the file is empty"));
    assert!(told(&whole.replacen("-1", "-7", 1)).contains("format"));
    assert!(told(&whole[..whole.len() - 20]).contains("line 7"));
    let cut: String = whole.lines().take(4).map(|line| format!("{line}\n")).collect();
    assert!(told(&cut).contains("6 workloads announced, 3 found"));
    assert!(told(&whole.replacen("0.75", "7.5", 1)).contains("line 2: sums that no outcomes add up to"));
    assert!(told(&whole.replacen("\"tenant\"", "\"renter\"", 1)).contains("line 2"));
}

#[test]
fn a_file_is_replaced_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("workloads.jsonl");
    assert!(load(&path).unwrap().is_empty(), "none at first");
    save(&taught().written(None), &path).unwrap();
    save(&taught().written(Some("acme")), &path).unwrap();
    assert_eq!(load(&path).unwrap(), taught().written(Some("acme")));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
}
