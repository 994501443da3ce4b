//! The traffic that a build is laid out by: its client asks a gateway, and every kind of request it knows is answered.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

use std::path::Path;
use std::process::Command;

#[test]
fn training_asks_every_kind_of_request_and_leaves_a_record_of_each() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_tercet"), folder.path().join("counting")).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/training.py");
    let trained = Command::new("python3").arg(script).arg(folder.path()).arg("1").output().unwrap();
    assert!(trained.status.success(), "{}", String::from_utf8_lossy(&trained.stderr));

    let segments = std::fs::read_dir(folder.path().join("data/exchanges")).unwrap();
    let records: String =
        segments.map(|segment| std::fs::read_to_string(segment.unwrap().path()).unwrap()).collect();
    for kind in [
        r#""tenant":"one""#,
        r#""tenant":"two""#,
        r#""tenant":"three""#,
        r#""stream":true"#,
        r#""stream":false"#,
        r#""cache":"hit""#,
        r#""cache":"miss""#,
        r#""mode":"shadow""#,
        r#""mode":"enforce""#,
    ] {
        assert!(records.contains(kind), "{kind} in none of {} records", records.lines().count());
    }
}
