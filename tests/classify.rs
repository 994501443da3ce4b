//! `tercet classify`: requests and outcomes in, tiers and scores out, and what it says of bad input.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly anywhere")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

fn classify(folder: &Path, arguments: &[&str], lines: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tercet"));
    command.arg("classify").args(arguments).current_dir(folder);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn answers(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn told(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A body of the workload `task`; date, folder and request differ from one to the next.
fn body(task: &str, number: usize) -> Value {
    let system = format!(
        "You {task}.\n\nToday is 2026-03-{:02}. Folder: /home/u{number}/p. Request {number:032x}.",
        number % 28
    );
    let text = format!(
        "Here is item number {number} of the list; do what your task asks for with all of its parts."
    );
    json!({"model": "claude-opus-5-5", "max_tokens": 4096, "system": system,
        "messages": [{"role": "user", "content": text}]})
}

#[test]
fn outcomes_of_a_workload_decide_its_later_requests() {
    let folder = tempfile::tempdir().unwrap();
    let mut outcomes = String::new();
    for number in 0..20 {
        for (tier, score) in [("haiku", 1.0), ("opus", 1.0)] {
            outcomes +=
                &format!("{}\n", json!({"body": body("sort mail", number), "tier": tier, "score": score}));
        }
        for (tier, score) in [("haiku", 0.0), ("opus", 1.0)] {
            outcomes += &format!(
                "{}\n",
                json!({"body": body("settle claims", number), "tier": tier, "score": score})
            );
        }
    }
    fs::write(folder.path().join("outcomes.jsonl"), outcomes).unwrap();
    let requests: String = ["sort mail", "settle claims", "write songs"]
        .iter()
        .map(|task| format!("{}\n", json!({"id": task, "body": body(task, 999)})))
        .collect();
    let output = classify(folder.path(), &["--outcomes", "outcomes.jsonl"], &requests);
    assert!(output.status.success(), "{}", told(&output));
    let answers = answers(&output);
    let tiers: Vec<&Value> = answers.iter().map(|answer| &answer["tier"]).collect();
    assert_eq!(tiers, ["haiku", "opus", "opus"]);
    let score = |at: usize| answers[at]["score"].as_f64().unwrap();
    assert!(score(0) < score(1) && score(2) < score(1), "{answers:?}");
    let expected = |at: usize, tier: usize| answers[at]["quality"][tier].as_f64().unwrap();
    assert!(expected(0, 0) > 0.8 && expected(1, 0) < 0.4 && expected(1, 2) > 0.8, "{answers:?}");
}

#[test]
fn a_line_that_is_no_request_is_told_by_number_and_what_came_before_stands() {
    let folder = tempfile::tempdir().unwrap();
    let good = json!({"id": 7, "body": body("sort mail", 1)});
    let output = classify(folder.path(), &[], &format!("{good}\n\n{{\"id\": 8\n"));
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains("standard input, line 3: "), "{}", told(&output));
    assert_eq!(answers(&output)[0]["id"], 7);
}

#[test]
fn an_absurd_body_goes_as_asked() {
    let folder = tempfile::tempdir().unwrap();
    let lines: String =
        [json!([]), json!({}), json!({"model": 7}), json!({"model": "m", "messages": "no"}), json!(null)]
            .iter()
            .map(|body| format!("{}\n", json!({"id": "a", "body": body})))
            .collect();
    let output = classify(folder.path(), &[], &lines);
    assert!(output.status.success(), "{}", told(&output));
    let answers = answers(&output);
    assert_eq!(answers.len(), 5);
    assert!(answers.iter().all(|answer| answer["tier"] == "opus"), "{answers:?}");
}

#[test]
fn outcomes_and_weights_that_make_no_sense_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text, why) in [
        (
            "score",
            json!({"body": body("a", 1), "tier": "haiku", "score": 1.5}).to_string(),
            "line 1: score is from 0 to 1",
        ),
        (
            "tier",
            json!({"body": body("a", 1), "tier": "other", "score": 1.0}).to_string(),
            "line 1: tier is one of",
        ),
        ("body", json!({"body": {}, "tier": "opus", "score": 1.0}).to_string(), "line 1: "),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
        let output = classify(folder.path(), &["--outcomes", name], "");
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(told(&output).contains(why), "{}", told(&output));
    }
    let output = classify(folder.path(), &["--outcomes", "nowhere"], "");
    assert!(told(&output).contains("cannot read nowhere"), "{}", told(&output));
    let weights = include_str!("../src/classify/weights.json");
    fs::write(folder.path().join("cut.json"), &weights[..weights.len() / 2]).unwrap();
    let output = classify(folder.path(), &["--weights", "cut.json"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains("cut.json: not usable as weights"), "{}", told(&output));
    fs::write(folder.path().join("whole.json"), weights).unwrap();
    let line = format!("{}\n", json!({"id": 1, "body": body("sort mail", 1)}));
    let given = classify(folder.path(), &["--weights", "whole.json"], &line);
    assert_eq!(answers(&given), answers(&classify(folder.path(), &[], &line)));
}
