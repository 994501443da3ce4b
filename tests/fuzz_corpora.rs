//! The corpora of the fuzz targets, replayed: what was found once stays found.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::path::Path;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpora").join(target);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 2, "{target} has a corpus of {}", files.len());
    for file in files {
        let data = std::fs::read(&file).unwrap();
        run(&data);
    }
}

#[test]
fn bodies() {
    replay("body", targets::body::run);
}

#[test]
fn streams() {
    replay("stream", targets::stream::run);
}

#[test]
fn requests() {
    replay("http1", targets::http1::run);
}

#[test]
fn journals() {
    replay("journal", targets::journal::run);
}

#[test]
fn configurations() {
    replay("config", targets::config::run);
}

#[test]
fn cache_keys() {
    replay("cache_key", targets::cache_key::run);
}
