//! The demo as its visitors meet it: the curl it prints works, traffic flows on several tiers, nothing remains.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http::Method;
use serde_json::Value;
use support::exchanges_in;
use support::http::{get, send};
use tempfile::TempDir;

/// A running demo, whose temporary folder is ours to look into.
struct Demo {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
    folder: TempDir,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tercet"));
        command.arg("demo").args(arguments).env("TMPDIR", folder.path()).env_remove("TERCET_LOG");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out, folder }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line
    }

    /// Ends the demo as a terminal or a supervisor does, and returns its exit code and what it said.
    fn end(mut self, signal: &str) -> (Option<i32>, String, TempDir) {
        let kill = format!("kill -{signal} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let code = self.child.wait().unwrap().code();
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (code, said, self.folder)
    }
}

/// Splits a printed command as a shell would, single quotes honoured.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for (index, piece) in command.split('\'').enumerate() {
        if index % 2 == 1 {
            words.last_mut().unwrap().push_str(piece);
            continue;
        }
        let mut parts = piece.split(' ');
        words.last_mut().unwrap().push_str(parts.next().unwrap());
        words.extend(parts.map(str::to_owned));
    }
    words.into_iter().filter(|word| !word.is_empty()).collect()
}

async fn asked_by_tier(admin_url: &str) -> Vec<(String, u64)> {
    let usage = get(admin_url, "", "/admin/v1/usage?by=tier").await.json();
    let row =
        |row: &Value| (row["key"]["tier"].as_str().unwrap().to_owned(), row["requests"].as_u64().unwrap());
    usage["rows"].as_array().unwrap().iter().map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_answers_and_shows_traffic_on_several_tiers() {
    let mut demo = Demo::start(&["--json", "--for", "5m"]);
    let said: Value = serde_json::from_str(&demo.line()).unwrap();
    let text = |name: &str| said[name].as_str().unwrap().to_owned();
    let (base_url, admin_url, key) = (text("base_url"), text("admin_url"), text("key"));
    let answer =
        support::http::message(&base_url, &key, support::http::ask("claude-opus-5-5", "Hello")).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);

    let mut tiers = Vec::new();
    for _ in 0..600 {
        tiers = asked_by_tier(&admin_url).await;
        if tiers.len() >= 3 && tiers.iter().map(|(_, requests)| requests).sum::<u64>() >= 12 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(tiers.len() >= 2, "traffic on one tier only: {tiers:?}");
    let page = get(&admin_url, "", "/?live=off").await;
    assert!(String::from_utf8_lossy(&page.body).contains("Tier mix today"));

    let journal = std::fs::read_dir(demo.folder.path()).unwrap().next().unwrap().unwrap().path();
    for record in exchanges_in(&journal) {
        let (status, error) = (record["status"].as_u64().unwrap(), &record["error_type"]);
        assert!(status == 200 || (status == 429 && error == "billing_error"), "{record}");
    }
    let (code, said, folder) = demo.end("TERM");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.lines().collect::<Vec<_>>(), ["draining; once more to end at once"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the demo left something behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_command_works_as_it_stands() {
    let mut demo = Demo::start(&["--quiet-traffic"]);
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line: &String| !line.starts_with("stop")) {
        lines.push(demo.line());
        assert!(lines.len() < 10 && !lines.last().unwrap().is_empty(), "{lines:?}");
    }
    let command = lines.iter().find_map(|line| line.trim_end().strip_prefix("try").map(words)).unwrap();
    let after = |flag: &str| -> Vec<String> {
        command.windows(2).filter(|pair| pair[0] == flag).map(|pair| pair[1].clone()).collect()
    };
    let headers = after("-H");
    let headers: Vec<(&str, &str)> = headers.iter().map(|header| header.split_once(": ").unwrap()).collect();
    assert_eq!((command[0].as_str(), command[1].as_str()), ("curl", "-i"));
    let answer = send(Method::POST, &command[2], &headers, after("-d")[0].clone()).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    assert!(!answer.header("x-tercet-model").is_empty());
    let (code, said, _folder) = demo.end("INT");
    assert_eq!(code, Some(0), "{said}");
}
