//! The sample files are right, and samples and reference name every key there is.

use super::super::Amendments;
use super::super::read::read;
use super::{bad, good};

const FULL: &str = include_str!("../../../config/tercet.toml");
const MINIMAL: &str = include_str!("../../../config/minimal.toml");
const REFERENCE: &str = include_str!("../../../docs/configuration.md");

/// Asks the schema itself: a key that cannot be known makes it list those that are.
fn keys_of(section: &str) -> Vec<String> {
    let text = match section.strip_suffix("[]") {
        Some(list) => format!("[[{list}]]\nqqqqqqqqqqqq = 1"),
        None if section.is_empty() => "qqqqqqqqqqqq = 1".to_owned(),
        None => format!("[{section}]\nqqqqqqqqqqqq = 1"),
    };
    let hint = read(&text, &Amendments::default()).findings.swap_remove(0).hint.expect(section);
    hint.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

const SECTIONS: [&str; 38] = [
    "",
    "server",
    "server.tls",
    "admin",
    "admin.token",
    "admin.tls",
    "upstream",
    "upstream.credential",
    "upstream.fallback[]",
    "tiers",
    "routing",
    "routing.shadow_sample",
    "cache",
    "journal",
    "redis",
    "redis.counters",
    "redis.on_failure",
    "webhook",
    "webhook.secret",
    "clickhouse",
    "clickhouse.password",
    "limits",
    "budget",
    "quota",
    "telemetry",
    "tenants.x",
    "tenants.x.limits",
    "tenants.x.user_budget",
    "tenants.x.users.y",
    "tenants.x.users.y.quota",
    "tenants.x.keys[]",
    "tenants.x.routing",
    "tenants.x.cache",
    "tenants.x.journal",
    "tenants.x.guards[]",
    "guards[]",
    "redaction",
    "redaction.key",
];

#[test]
fn the_samples_are_right() {
    assert!(good(MINIMAL).tenants.contains_key("team"));
    assert!(good(FULL).tenants.contains_key("research"));
}

#[test]
fn the_full_sample_sets_defaults_and_nothing_else_outside_its_tenant() {
    let (mut sample, mut empty) = (super::super::describe(&good(FULL)), super::super::describe(&good("")));
    for described in [&mut sample, &mut empty] {
        let sections = described.as_object_mut().unwrap();
        sections.remove("tenants");
        sections.remove("version");
    }
    assert_eq!(sample, empty);
}

#[test]
fn every_key_is_in_the_full_sample_and_in_the_reference() {
    for section in SECTIONS {
        let keys = keys_of(section);
        assert!(!keys.is_empty(), "{section}");
        for key in keys {
            let names = |line: &str| {
                let line = line.trim_start_matches(['#', ' ', '[']);
                line.starts_with(&format!("{key} =")) || line.starts_with(&format!("{key}]"))
            };
            let in_header = |line: &str| line.contains('[') && line.contains(&format!(".{key}"));
            let in_table = FULL.contains(&format!("{{ {key} =")) || FULL.contains(&format!(", {key} ="));
            let sampled = FULL.lines().any(|line| names(line) || in_header(line)) || in_table;
            assert!(sampled || key == "tenants", "config/tercet.toml lacks {section}.{key}");
            let mut forms = [format!("`{key}`"), format!("[{key}]"), format!("[{key}.NAME]")].into_iter();
            let documented = forms.any(|form| REFERENCE.contains(&form));
            assert!(documented, "docs/configuration.md lacks {section}.{key}");
        }
    }
}

#[test]
fn a_misspelt_key_gets_a_suggestion_in_every_section() {
    for section in SECTIONS {
        let key = keys_of(section).into_iter().max_by_key(String::len).unwrap();
        let (swapped, rest) = key.split_at(2);
        let misspelt: String = swapped.chars().rev().chain(rest.chars()).collect();
        let text = match section.strip_suffix("[]") {
            Some(list) => format!("[[{list}]]\n{misspelt} = 1"),
            None if section.is_empty() => format!("{misspelt} = 1"),
            None => format!("[{section}]\n{misspelt} = 1"),
        };
        let said = bad(&text);
        assert!(said.contains(&format!("error: unknown key `{misspelt}`")), "{section}: {said}");
        assert!(said.contains(&format!("help: did you mean `{key}`?")), "{section}: {said}");
    }
}
