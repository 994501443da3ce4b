//! `tercet workloads`.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly anywhere")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

fn tercet(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tercet")).args(arguments).current_dir(folder).output().unwrap()
}

fn told(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Outcomes of one workload that haiku masters.
fn outcomes(folder: &Path) {
    let mut lines = String::new();
    for number in 0..20 {
        let text =
            format!("Here is item number {number}: sort it with all of its parts, and do it well please.");
        let body = json!({"model": "m", "system": "You sort mail.", "messages": [{"role": "user", "content": text}]});
        for tier in ["haiku", "opus"] {
            lines += &format!("{}\n", json!({"body": body, "tier": tier, "score": 1.0}));
        }
    }
    fs::write(folder.join("outcomes.jsonl"), lines).unwrap();
}

#[test]
fn workloads_are_learned_listed_moved_and_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for name in ["one", "two"] {
        fs::create_dir(at.join(name)).unwrap();
    }
    outcomes(at);
    let learn = ["workloads", "learn", "outcomes.jsonl", "--tenant", "acme", "--journal", "one", "--json"];
    assert_eq!(told(&tercet(at, &learn))["learned"], 40);
    let list = |journal: &str, tenant: &str| {
        let listed =
            told(&tercet(at, &["workloads", "list", "--tenant", tenant, "--journal", journal, "--json"]));
        listed["workloads"].as_array().unwrap().clone()
    };
    let listed = list("one", "acme");
    assert_eq!(listed[0]["tiers"]["haiku"], json!({"quality": 1.0, "outcomes": 20.0}));
    assert!(list("one", "rival").is_empty());
    let exported = tercet(at, &["workloads", "export", "--journal", "one"]);
    fs::write(at.join("exported"), &exported.stdout).unwrap();
    let imported = told(&tercet(at, &["workloads", "import", "exported", "--journal", "two", "--json"]));
    assert_eq!(imported["imported"].as_u64().unwrap(), listed.len() as u64);
    assert_eq!(list("two", "acme"), listed);
    told(&tercet(at, &["workloads", "reset", "--tenant", "acme", "--journal", "two", "--json"]));
    assert!(list("two", "acme").is_empty());

    let half = &exported.stdout[..exported.stdout.len() - 30];
    fs::write(at.join("cut"), half).unwrap();
    let refused = tercet(at, &["workloads", "import", "cut", "--journal", "one"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("nothing of the file was taken over"));
    assert_eq!(list("one", "acme"), listed, "the old ones stay");
}
