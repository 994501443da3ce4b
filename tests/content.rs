//! Kept texts: nothing unless a tenant wants it, then redacted, apart from everything else, and not for long.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use support::http::{Answer, ask, get, message};
use support::process::run;
use support::read::{metric, until};
use support::{ACME, House, RIVAL, TENANTS, UPSTREAM_KEY};
use tempfile::TempDir;
use tercet::clock::Clock;
use tercet::simulated::{Behaviour, Options, Upstream};

const ON: &str = "[tenants.acme.journal]\ncontent = true\n";
const CACHE: &str = "[cache]\nenabled = true\n";
const KEY: &str = "AKIAQ3EGSDKJ7RTYPLMN";
/// What is private, of prompts and of answers.
const PRIVATE: [&str; 3] = ["ada@acme.io", KEY, "bob@acme.io"];

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

/// Returns the files below a folder that hold a text.
fn holding(folder: &Path, text: &str) -> Vec<PathBuf> {
    let mut files = walk(folder);
    files.retain(|file| memchr::memmem::find(&fs::read(file).unwrap(), text.as_bytes()).is_some());
    files
}

fn texts(folder: &Path) -> Vec<PathBuf> {
    let content = folder.join("data/content");
    if content.exists() { walk(&content) } else { Vec::new() }
}

fn show(folder: &Path, request_id: &str, more: &[&str]) -> (i32, Value, String) {
    let content = folder.join("data/content");
    let arguments = [&["content", "show", request_id, "--json", "--folder", content.to_str().unwrap()], more];
    let (code, out, error) = run(&arguments.concat());
    (code, serde_json::from_str(&out).unwrap_or_default(), error)
}

fn id(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    answer.header("x-tercet-request-id").to_owned()
}

fn prompt(marker: &str) -> String {
    ask("claude-opus-5-5", &format!("{marker}: mail ada@acme.io the key {KEY}"))
}

fn say(text: &str) -> Behaviour {
    Behaviour::Say { text: text.to_owned() }
}

fn streaming(body: &str) -> String {
    let mut body: Value = serde_json::from_str(body).unwrap();
    body["stream"] = json!(true);
    body.to_string()
}

/// Waits until so many exchanges' texts came to the disk, or were dropped.
async fn settled(house: &House, count: u64) {
    let done = || house.tercet.runtime.content.reading().0.iter().sum::<u64>();
    until("the texts are written", || done() == count).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn off_means_that_no_text_is_on_the_disk() {
    let house = House::start(&format!("{TENANTS}{CACHE}")).await;
    house.upstream.script(say("the answer marigold"));
    for body in [prompt("hyacinth"), streaming(&prompt("hyacinth"))] {
        id(&message(&house.url, ACME, body).await);
    }
    house.records_when(2).await;
    let (_, folder) = house.stop().await;
    for text in ["hyacinth", "marigold", PRIVATE[0], KEY] {
        assert!(holding(folder.path(), text).is_empty(), "{text}");
    }
    assert!(!folder.path().join("data/content").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn on_means_redacted_texts_of_that_tenant_in_a_folder_of_their_own() {
    let house = House::start(&format!("{TENANTS}{CACHE}{ON}")).await;
    house.upstream.script(say("marigold for bob@acme.io, surely"));
    let sent = id(&message(&house.url, ACME, streaming(&prompt("hyacinth"))).await);
    let kept = message(&house.url, ACME, prompt("hyacinth")).await;
    assert_eq!(kept.header("x-tercet-cache"), "hit");
    let kept = id(&kept);
    house.upstream.script(say("tulip"));
    let others = id(&message(&house.url, RIVAL, prompt("crocus")).await);
    settled(&house, 2).await;
    for request_id in [&sent, &kept] {
        let (code, told, error) = show(house.folder.path(), request_id, &[]);
        assert_eq!(code, 0, "{error}");
        assert_eq!(
            (&told["tenant"], &told["user_id"], &told["status"]),
            (&json!("acme"), &json!("ann"), &json!(200))
        );
        let said = "hyacinth: mail REDACTED_EMAIL the key REDACTED_AWS_KEY";
        assert_eq!(told["prompt"], json!([{ "by": "user", "text": said }]));
        assert_eq!(
            told["answer"],
            json!([{ "by": "assistant", "text": "marigold for REDACTED_EMAIL, surely" }])
        );
        assert_eq!((&told["redacted"], &told["left_out"]), (&json!(3), &json!(0)));
    }
    let (code, _, error) = show(house.folder.path(), &others, &[]);
    assert_eq!((code, error.contains("nothing is kept")), (1, true), "{error}");
    assert_eq!(show(house.folder.path(), &sent, &["--tenant", "acme"]).0, 0);
    assert_eq!(show(house.folder.path(), &sent, &["--tenant", "rival"]).0, 1);
    let (_, folder) = house.stop().await;
    for text in ["hyacinth", "marigold"] {
        let files = holding(folder.path(), text);
        assert!(!files.is_empty());
        assert!(files.iter().all(|file| file.starts_with(folder.path().join("data/content"))), "{files:?}");
    }
    for text in PRIVATE.iter().chain(&["crocus", "tulip"]) {
        assert!(holding(folder.path(), text).is_empty(), "{text}");
    }
    for file in texts(folder.path()) {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o077;
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0, 0), "{}", file.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_listener_serves_them_whoever_asks() {
    let house = House::start(&format!(
        "{TENANTS}{ON}[admin]\nlisten = \"127.0.0.1:0\"\ntoken = {{ env = \"UPSTREAM_KEY\" }}\n"
    ))
    .await;
    house.upstream.script(say("marigold"));
    let sent = id(&message(&house.url, ACME, prompt("hyacinth")).await);
    settled(&house, 1).await;
    for (base, key) in
        [(&house.admin_url, UPSTREAM_KEY), (&house.admin_url, RIVAL), (&house.url, RIVAL), (&house.url, ACME)]
    {
        for path in [
            "/admin/v1/content",
            "/admin/v1/content/ID",
            "/admin/v1/explain?request_id=ID",
            "/explain?request_id=ID",
            "/live",
        ] {
            let told = get(base, key, &path.replace("ID", &sent)).await;
            let text = String::from_utf8_lossy(&told.body).into_owned();
            assert!(!text.contains("hyacinth") && !text.contains("marigold"), "{path}: {text}");
            if base == &house.admin_url && key == RIVAL {
                assert_eq!(told.status, 401, "{path}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_or_withheld_is_not_kept() {
    let guards = "[[guards]]\naction = \"refuse\"\npatterns = [\"hyacinth\"]\n\
        [[guards]]\naction = \"refuse\"\nin = [\"answer\"]\npatterns = [\"marigold\"]\n";
    let house = House::start(&format!("{TENANTS}{ON}{guards}")).await;
    assert_eq!(message(&house.url, ACME, prompt("hyacinth")).await.status, 400);
    house.upstream.script(say("marigold"));
    let withheld = message(&house.url, ACME, prompt("crocus")).await;
    assert_eq!(withheld.status, 400);
    settled(&house, 1).await;
    let (_, told, _) = show(house.folder.path(), withheld.header("x-tercet-request-id"), &[]);
    assert_eq!((&told["answer"], &told["left_out"]), (&json!([]), &json!(1)));
    let (_, folder) = house.stop().await;
    for text in ["hyacinth", "marigold"] {
        // The configuration names them.
        assert!(holding(&folder.path().join("data"), text).is_empty(), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_dropped_in_time_also_after_the_switch_is_off_again() {
    let clock = Clock::manual("2026-11-20T12:00:00Z".parse().unwrap());
    let upstream = Upstream::start(Options::default()).await.unwrap();
    let text = format!("content_retention = \"2d\"\n{TENANTS}{ON}");
    let house = House::start_by(clock.clone(), upstream, TempDir::new().unwrap(), &text).await;
    let sent = id(&message(&house.url, ACME, prompt("hyacinth")).await);
    settled(&house, 1).await;
    let (upstream, folder) = house.stop().await;
    let off = text.replace(ON, "");
    let (mut upstream, mut folder) = (upstream, folder);
    for (hours, code) in [(47, 0), (2, 1)] {
        clock.advance(Duration::from_secs(hours * 3_600));
        // It looks at the start, and every minute.
        let house = House::start_by(clock.clone(), upstream, folder, &off).await;
        if code == 1 {
            until("it is dropped", || {
                texts(house.folder.path()).iter().all(|file| file.extension().is_none())
            })
            .await;
        }
        (upstream, folder) = house.stop().await;
        assert_eq!(show(folder.path(), &sent, &[]).0, code, "after {hours} more hours");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_loses_texts_and_nothing_else() {
    let budget = "[tenants.acme.budget]\ndaily = \"100.00 USD\"\n";
    let house = House::start(&format!("{TENANTS}{ON}{budget}")).await;
    let first = id(&message(&house.url, ACME, prompt("one")).await);
    settled(&house, 1).await;
    let file = texts(house.folder.path()).into_iter().find(|file| file.extension().is_some()).unwrap();
    let aside = house.folder.path().join("aside");
    fs::rename(&file, &aside).unwrap();
    std::os::unix::fs::symlink("/dev/full", &file).unwrap();
    let lost = id(&message(&house.url, ACME, prompt("two")).await);
    settled(&house, 2).await;
    fs::remove_file(&file).unwrap();
    fs::rename(&aside, &file).unwrap();
    let third = id(&message(&house.url, ACME, prompt("three")).await);
    settled(&house, 3).await;
    let page = get(&house.admin_url, "", "/metrics").await;
    let page = String::from_utf8_lossy(&page.body).into_owned();
    for (labels, count) in [("cause=\"disk\"", 1), ("cause=\"room\"", 0)] {
        assert_eq!(metric(&page, "tercet_content_dropped_total", labels), count * 1_000_000_000, "{labels}");
    }
    assert_eq!(house.records_when(3).await.len(), 3);
    assert_eq!(get(&house.admin_url, "", "/readyz").await.status, 200);
    let shown = [&first, &lost, &third].map(|request_id| show(house.folder.path(), request_id, &[]).0);
    assert_eq!(shown, [0, 1, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_erased_beside_the_gateway() {
    let house = House::start(&format!("{TENANTS}{ON}[tenants.rival.journal]\ncontent = true\n")).await;
    let ours = id(&message(&house.url, ACME, prompt("one")).await);
    let theirs = id(&message(&house.url, RIVAL, prompt("two")).await);
    settled(&house, 2).await;
    let content = house.folder.path().join("data/content");
    let folder = ["--folder", content.to_str().unwrap()];
    let (_, listed, _) = run(&[&["content", "list", "--json"], &folder[..]].concat());
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((&listed[0]["tenant"], &listed[0]["exchanges"]), (&json!("acme"), &json!(1)));
    let (code, told, _) =
        run(&[&["content", "erase", "--tenant", "acme", "--user", "ann", "--json"], &folder[..]].concat());
    assert_eq!((code, told.trim()), (0, r#"{"dry_run":false,"exchanges":1}"#));
    let shown = [&ours, &theirs].map(|request_id| show(house.folder.path(), request_id, &[]).0);
    assert_eq!(shown, [1, 0]);
    let again = id(&message(&house.url, ACME, prompt("three")).await);
    settled(&house, 3).await;
    assert_eq!(show(house.folder.path(), &again, &[]).0, 0);
}
