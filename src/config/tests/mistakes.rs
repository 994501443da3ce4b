//! What is said of a mistake, to the letter; and that no mistake brings a secret to light.
//!
//! `mistakes.txt` holds a text, a line `-----`, and what is said of it; a line `=====` parts the cases.

use super::bad;

const CASES: &str = include_str!("mistakes.txt");

#[test]
fn every_mistake_is_explained_to_the_letter() {
    for case in CASES.split("=====\n") {
        let (text, said) = case.split_once("-----\n").expect(case);
        assert_eq!(bad(text), said.trim_end(), "\n{text}");
    }
}

#[test]
fn a_secret_written_in_the_wrong_place_is_not_repeated() {
    let secret = "sk-ant-very-secret-0123456789";
    for text in [
        "[admin]\ntoken = SECRET",
        "[admin]\ntoken = \"SECRET\"",
        "[admin]\ntoken = \"SECRET",
        "[admin]\ntokn = \"SECRET\"",
        "[admin]\ntokn = SECRET",
        "[admin]\ntoken = { env = \"SECRET\" }",
        "[admin]\ntoken = { env = [\"SECRET\"] }",
        "[admin]\ntoken = { value = \"SECRET\" }",
        "[admin]\ntoken = [\"SECRET\"]",
        "[admin]\ntoken = \"\"\"SECRET\"\"\"",
        "[admin]\nlisten = 5 # was SECRET",
        "[upstream]\ncredential = \"SECRET\"",
        "[upstream]\ncredential = 'SECRET'",
        "[upstream]\nbase_url = \"https://SECRET@host\"",
        "[redis]\ncounters = \"redis://u:SECRET@h\"",
        "[redis]\ncounters = \"SECRET\"",
        "[webhook]\nurl = \"SECRET\"",
        "[webhook]\nurl = \"https://SECRET@host\"",
        "[webhook]\nsecret = \"SECRET\"",
        "[clickhouse]\nurl = \"https://u:SECRET@host\"",
        "[clickhouse]\nurl = \"https://host/?password=SECRET\"",
        "[clickhouse]\nurl = \"http://host\"\npassword = \"SECRET\"",
        "[tenants.t]\nkeys = \"SECRET\"",
        "[tenants.t]\nkeys = [\"SECRET\"]",
        "[tenants.t]\nkeys = [{ id = 5, secret = \"SECRET\" }]",
        "[[tenants.t.keys]]\nhash = \"SECRET\"",
        "[[tenants.t.keys]]\nhash = \"blake3:SECRET\"",
        "[[tenants.t.keys]]\nkey = \"SECRET\"",
        "[[tenants.t.keys]]\nid = \"a\"\nsecret = \"x, expected SECRET\"",
    ] {
        let said = bad(&text.replace("SECRET", secret));
        assert!(said.starts_with("error: ") && !said.contains(secret), "{text}\n{said}");
    }
}

#[test]
fn a_problem_says_which_key_it_is_about() {
    let text = "[[tenants.t.keys]]\nid = \"a\"\nlimits = { requests_per_minute = 0 }";
    let problems = super::parse(text, None, &super::fake_environment).unwrap_err();
    assert_eq!(problems[0].key, "tenants.t.keys[0].limits.requests_per_minute");
    let place = problems[0].place.clone().unwrap();
    assert_eq!((place.line, place.column, &text[place.span]), (3, 34, "0"));
}

#[test]
fn at_most_32_problems_are_told() {
    let text: String = (0..100).map(|number| format!("unknown_{number} = 1\n")).collect();
    assert_eq!(bad(&text).matches("error: ").count(), 32);
}
