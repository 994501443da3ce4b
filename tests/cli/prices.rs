//! `tercet prices`: a new price reaches the file whole, and is seen by `check` and `diff`.

use std::fs;

use super::{folder, tercet};

#[test]
fn a_price_is_set_seen_and_compared() {
    let folder = folder();
    let run = |arguments: &[&str]| tercet(folder.path(), &[&["prices"], arguments].concat(), "");
    let set = ["set", "claude-haiku-5-5", "--from", "2099-01-01", "--output", "0.75", "--source", "a letter"];
    let unnamed = run(&set);
    assert_eq!(unnamed.code, 2, "{}", unnamed.out);
    assert!(unnamed.error.contains("--file"), "{}", unnamed.error);
    let done = run(&[&set[..], &["--file", "models.toml", "--json"]].concat());
    assert_eq!((done.code, &done.json()["file"]), (0, &"models.toml".into()), "{}", done.error);
    fs::write(folder.path().join("tercet.toml"), "catalog = \"models.toml\"\n").unwrap();

    let checked = run(&["check", "--json"]).json();
    assert_eq!(checked["version"], done.json()["version"]);
    let haiku = checked["prices"].as_array().unwrap().iter().filter(|one| one["model"] == "claude-haiku-5-5");
    let haiku: Vec<_> =
        haiku.map(|one| (one["in_force"] == true, one["rates"]["output"].as_str().unwrap())).collect();
    assert_eq!(haiku, [(true, "0.5"), (false, "0.75")]);
    assert_eq!(checked["unpriced"], serde_json::json!(["claude-mythos-preview"]));

    let differences = run(&["diff", "--json"]).json()["differences"].clone();
    let output = differences.as_array().unwrap().iter().find(|one| one["rate"] == "output").unwrap().clone();
    let expected = serde_json::json!({"model": "claude-haiku-5-5", "from": "2099-01-01", "rate": "output",
        "in_force": "0.75", "other": null});
    assert_eq!(output, expected);
    assert_eq!(run(&["diff", "models.toml"]).out, "no price differs\n");
    assert!(run(&["check"]).out.contains("prompt > 100000 tokens"));
}

#[test]
fn a_price_that_would_not_load_leaves_the_file_as_it_was() {
    let folder = folder();
    let file = folder.path().join("models.toml");
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/config/models.toml"), &file).unwrap();
    let before = fs::read(&file).unwrap();
    for (model, from, input) in [
        ("claude-next", "2099-01-01", "1"),
        ("claude-haiku-5-5", "soon", "1"),
        ("claude-haiku-5-5", "2020-01-01", "1"),
        ("claude-haiku-5-5", "2099-01-01", "free"),
        ("claude-haiku-5-5", "2099-01-01", "0"),
    ] {
        let arguments = [
            "prices",
            "set",
            model,
            "--from",
            from,
            "--input",
            input,
            "--source",
            "x",
            "--file",
            "models.toml",
        ];
        let ended = tercet(folder.path(), &arguments, "");
        assert_eq!(ended.code, 3, "{arguments:?}: {}{}", ended.out, ended.error);
        assert!(ended.error.contains(model), "{}", ended.error);
    }
    assert_eq!(fs::read(&file).unwrap(), before);
}
