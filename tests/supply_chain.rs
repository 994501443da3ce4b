//! What Tercet is built from: held against `deny.toml`, and listed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn script(arguments: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/supply-chain");
    Command::new(script).args(arguments).output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn everything_is_of_an_allowed_licence_and_source_and_nothing_is_banned() {
    let output = script(&["check"]);
    assert!(output.status.success(), "{}", told(&output));
}

#[test]
fn what_the_rules_forbid_is_named() {
    let rules = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        (rules.replace("crate = \"reqwest\"", "crate = \"hyper\""), "banned: hyper "),
        (rules.replace("  \"Unicode-3.0\",\n", ""), "licence: unicode-ident "),
        (rules.replace("  \"Apache-2.0\",\n", ""), "licence: tercet "),
    ];
    for (changed, named) in cases {
        assert_ne!(changed, rules);
        let file = folder.path().join("deny.toml");
        std::fs::write(&file, changed).unwrap();
        let output = script(&["check", "--rules", file.to_str().unwrap()]);
        assert!(!output.status.success() && told(&output).contains(named), "{named}: {}", told(&output));
    }
}

#[test]
fn the_bill_of_materials_names_every_crate_once_with_its_checksum() {
    let output = script(&["sbom"]);
    let bill: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", told(&output)));
    assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
    assert_eq!(bill["metadata"]["component"]["name"], "tercet");
    let components = bill["components"].as_array().unwrap();
    let mut references: Vec<_> = components.iter().map(|one| one["bom-ref"].as_str().unwrap()).collect();
    references.dedup();
    assert_eq!(references.len(), components.len());
    for component in components {
        assert_eq!(component["hashes"][0]["content"].as_str().unwrap().len(), 64, "{component}");
        assert!(component["licenses"][0]["expression"].is_string(), "{component}");
    }
    let named = |name: &str| components.iter().any(|one| one["name"] == name);
    assert!(named("hyper") && named("rustls") && !named("criterion") && !named("proptest"));
    for needed in
        bill["dependencies"].as_array().unwrap().iter().flat_map(|one| one["dependsOn"].as_array().unwrap())
    {
        assert!(references.contains(&needed.as_str().unwrap()), "{needed}");
    }
    assert_eq!(script(&["sbom"]).stdout, output.stdout, "the same every time");
}

#[test]
fn fuzz_targets_are_built_from_what_the_gateway_is_built_from() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap().parse::<toml::Table>().unwrap();
    let locked = |file: &str| {
        let packages = read(file)["package"].as_array().unwrap().clone();
        let ours = packages.iter().find(|one| one["name"].as_str() == Some("tercet")).unwrap();
        let of = ours["dependencies"].as_array().unwrap();
        let version = |one: &toml::Value| (one["name"].clone(), one["version"].clone());
        packages.iter().map(version).filter(|(name, _)| of.contains(name)).collect::<Vec<_>>()
    };
    let manifest = read("Cargo.toml");
    let all = locked("Cargo.lock").into_iter();
    let is_needed =
        |name: &str| manifest["dependencies"].get(name).is_some_and(|one| one.get("optional").is_none());
    let needed: Vec<_> = all.filter(|(name, _)| is_needed(name.as_str().unwrap())).collect();
    let fuzzed = locked("fuzz/Cargo.lock");
    assert!(needed.len() > 30, "{needed:?}");
    for one in needed {
        assert!(fuzzed.contains(&one), "fuzz/Cargo.lock lacks {one:?}: copy Cargo.lock there, and build");
    }
}
