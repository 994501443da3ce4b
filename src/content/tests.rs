//! Promises of the store.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

fn kept(tenant: &str, user: &str, text: &str) -> Kept {
    Kept {
        request_id: RequestId::generate(),
        timestamp: now(),
        tenant: tenant.to_owned(),
        user_id: Some(user.to_owned()),
        model: "claude-haiku-5-5".to_owned(),
        message_id: None,
        status: 200,
        prompt: vec![Said::new("user", text)],
        answer: vec![Said::new("assistant", "yes")],
        redacted: 0,
        left_out: 0,
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let below = |path: PathBuf| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let folders = below(folder.to_owned()).filter(|path| path.is_dir());
    let mut files: Vec<PathBuf> = folders.flat_map(below).collect();
    files.sort();
    files
}

#[test]
fn what_was_said_is_found_again_in_its_tenant_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::new(folder.path().join("content"), DAY);
    let (ours, theirs) = (kept("acme", "ada", "one"), kept("../rival", "eve", "two"));
    // Another's id within a text is not that other's line.
    let quoting = kept("acme", "ada", &format!("{{\"request_id\":\"{}\"", theirs.request_id.as_str()));
    let all = [ours.clone(), quoting, theirs.clone()];
    assert!(matches!(store.put(&all, now()), (3, None)));
    let find = |id: &RequestId, tenant| find(&folder.path().join("content"), id.as_str(), tenant).unwrap();
    assert_eq!(find(&ours.request_id, None).as_ref(), Some(&ours));
    assert_eq!(find(&theirs.request_id, Some("../rival")).as_ref(), Some(&theirs));
    assert_eq!(find(&theirs.request_id, Some("acme")), None);
    assert_eq!(find(&RequestId::generate(), None), None);
    assert_eq!(files(&folder.path().join("content")).len(), 2);
    let told = stocks(&folder.path().join("content")).unwrap();
    let told: Vec<_> = told.iter().map(|stock| (stock.tenant.as_str(), stock.exchanges)).collect();
    assert_eq!(told, [("../rival", 1), ("acme", 2)]);
}

#[test]
fn nothing_is_kept_longer_than_was_said() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::new(folder.path().to_owned(), DAY);
    let mut all = Vec::new();
    for hour in 0..48 {
        let one = kept("acme", "ada", "text");
        let at = now() + HOUR * hour;
        assert!(matches!(store.put(std::slice::from_ref(&one), at), (1, None)));
        store.tidy(at, DAY, u64::MAX).unwrap();
        all.push(one);
        let found = |one: &&Kept| find(folder.path(), one.request_id.as_str(), None).unwrap().is_some();
        let left = all.iter().filter(found).count();
        assert_eq!(left, all.len().min(24), "hour {hour}");
        assert!(all.iter().rev().take(left).all(|one| found(&one)), "the newest stay");
    }
    let later = now() + HOUR * 80;
    store.tidy(later, DAY, u64::MAX).unwrap();
    assert_eq!(store.bytes(), (0, 0));
    assert!(files(folder.path()).is_empty());
}

#[test]
fn beyond_its_size_the_oldest_go() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::new(folder.path().to_owned(), DAY);
    let text = "word ".repeat(20_000);
    let all: Vec<Kept> = (0..200).map(|_| kept("acme", "ada", &text)).collect();
    assert!(matches!(store.put(&all, now()), (200, None)));
    assert!(files(folder.path()).len() > 3);
    store.tidy(now(), DAY, 10 << 20).unwrap();
    let (left, _) = store.bytes();
    assert!((5 << 20..=10 << 20).contains(&left), "{left}");
    let found = |one: &Kept| find(folder.path(), one.request_id.as_str(), None).unwrap().is_some();
    assert!(!found(&all[0]) && found(&all[199]));
}

#[test]
fn a_disk_without_room_loses_the_text_and_nothing_before_or_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::new(folder.path().to_owned(), DAY);
    let (before, lost, after) = (kept("a", "x", "1"), kept("a", "x", "2"), kept("a", "x", "3"));
    assert!(matches!(store.put(std::slice::from_ref(&before), now()), (1, None)));
    let file = files(folder.path()).remove(0);
    let aside = folder.path().join("aside");
    fs::rename(&file, &aside).unwrap();
    symlink("/dev/full", &file).unwrap();
    let (written, failure) = store.put(&[lost], now());
    assert_eq!((written, failure.map(|error| error.kind())), (0, Some(std::io::ErrorKind::StorageFull)));
    fs::remove_file(&file).unwrap();
    fs::rename(&aside, &file).unwrap();
    assert!(matches!(store.put(std::slice::from_ref(&after), now()), (1, None)));
    for one in [before, after] {
        assert_eq!(find(folder.path(), one.request_id.as_str(), None).unwrap(), Some(one));
    }
}

#[test]
fn a_tenant_or_one_of_its_users_is_erased_under_the_writer() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::new(folder.path().to_owned(), DAY);
    let (ada, bob, eve) = (kept("acme", "ada", "1"), kept("acme", "bob", "2"), kept("rival", "eve", "3"));
    let found = |one: &Kept| find(folder.path(), one.request_id.as_str(), None).unwrap().is_some();
    store.put(&[ada.clone(), bob.clone(), eve.clone()], now());
    let erase = |tenant, user, only_count| erase(folder.path(), tenant, user, only_count).unwrap().exchanges;
    assert_eq!(erase("acme", Some("ada"), true), 1);
    assert!(found(&ada));
    assert_eq!(erase("acme", Some("ada"), false), 1);
    assert_eq!([&ada, &bob, &eve].map(found), [false, true, true]);
    let later = kept("acme", "bob", "4");
    store.put(std::slice::from_ref(&later), now());
    assert_eq!(erase("acme", None, false), 2);
    assert_eq!([&bob, &later, &eve].map(found), [false, false, true]);
    store.put(std::slice::from_ref(&ada), now());
    assert!(found(&ada), "the writer goes on");
    assert_eq!(erase("nobody", None, false), 0);
}

#[test]
fn what_finds_no_room_is_dropped_and_counted() {
    let waiting = Waiting::default();
    (0..Waiting::<usize>::MAX + 3).for_each(|number| waiting.put(number));
    let mut room = waiting.room(Waiting::<usize>::BYTES_MAX).unwrap();
    assert!(waiting.room(1).is_none());
    assert!(!room.grow(1));
    drop(room);
    assert!(waiting.room(1).is_some());
    assert_eq!(waiting.reading(), ([0, 4, 0], 0));
    assert_eq!(waiting.take(2), [0, 1]);
    assert_eq!(waiting.take(1_000).len(), Waiting::<usize>::MAX - 2);
}
