//! Promises of the comparison.

use serde_json::json;

use super::*;
use crate::catalog::Catalog;
use crate::journal::Verdict;
use crate::wire::envelope;

fn said(text: &str) -> Transcript {
    Transcript { text: text.to_owned(), ..Transcript::default() }
}

fn called(text: &str, input: Value) -> Transcript {
    Transcript { calls: vec![("move".to_owned(), Some(input))], ..said(text) }
}

#[test]
fn answers_are_the_same_by_text_value_or_calls() {
    let cases = [
        (said("a b"), said(" a\n b "), Some(Ground::Text)),
        (said("a b"), said("a B"), None),
        (said(r#"{"a":1,"b":[2]}"#), said("```json\n{ \"b\": [2], \"a\": 1 }\n```"), Some(Ground::Json)),
        (said("[1,2]"), said("[2,1]"), None),
        (
            called("Let me.", json!({"to": "x", "n": 1})),
            called("", json!({"n": 1, "to": "x"})),
            Some(Ground::Calls),
        ),
        (called("", json!({"to": "x"})), called("", json!({"to": "y"})), None),
        (called("the same", json!({})), said("the same"), None),
    ];
    for (one, other, ground) in cases {
        assert_eq!(alike(&one, &other), ground, "{one:?} {other:?}");
        assert_eq!(alike(&other, &one), ground, "either way");
    }
}

#[test]
fn a_judge_is_believed_where_it_says_the_same_in_either_order() {
    use Preference::{First, Neither, Second};
    let cases = [
        // The cheaper one stands first, then second.
        (Some(Second), Some(First), Verdict::Lost),
        (Some(First), Some(Second), Verdict::Held),
        (Some(Neither), Some(Neither), Verdict::Held),
        (Some(Neither), Some(Second), Verdict::Held),
        (Some(First), Some(First), Verdict::Unclear),
        (Some(Second), Some(Second), Verdict::Unclear),
        (Some(Neither), Some(First), Verdict::Unclear),
        (None, Some(First), Verdict::Unclear),
        (Some(Second), None, Verdict::Unclear),
    ];
    for (before, behind, expected) in cases {
        assert_eq!(verdict(before, behind), expected, "{before:?} {behind:?}");
    }
    for (answer, read) in [("FIRST", Some(First)), (" second.\n", Some(Second)), ("Neither", Some(Neither))] {
        assert_eq!(Preference::read(answer), read);
    }
    for answer in ["", "FIRST, because", "FIRST SECOND", "1"] {
        assert_eq!(Preference::read(answer), None, "{answer}");
    }
}

#[test]
fn a_judge_sees_bounded_material_and_no_names_of_models() {
    let long = "x".repeat(40_000);
    let body = json!({ "model": "claude-opus-5-5", "max_tokens": 9, "system": long,
        "messages": [{ "role": "user", "content": format!("{long} the end") }] })
    .to_string();
    let task = task(&envelope::read(body.as_bytes()).unwrap());
    assert!(task.len() < 17_000 && task.contains("the end"), "{}", task.len());
    assert!(shown(&said(&long)).is_none());
    let shown = shown(&called("Look:", json!({"to": "x"}))).unwrap();
    assert_eq!(shown, "Look:\n[calls the tool move with {\"to\":\"x\"}]");
    let catalog = Catalog::embedded().unwrap();
    let judge = catalog.model("claude-sonnet-5-5").unwrap();
    let asked: Value = serde_json::from_str(&judge_request(judge, &task, "one", "two")).unwrap();
    assert_eq!(
        (&asked["model"], &asked["thinking"]["type"]),
        (&"claude-sonnet-5-5".into(), &"between_tools".into())
    );
    let content = asked["messages"][0]["content"].as_str().unwrap();
    assert!(content.ends_with("<first>\none\n</first>\n<second>\ntwo\n</second>"));
    assert!(!content.contains("claude-"));
}
