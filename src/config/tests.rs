//! Promises of the configuration: what it means, what it says of a mistake, and what it never says.

mod meaning;
mod mistakes;
mod samples;

use super::{Config, parse};

/// The environment of all tests.
fn fake_environment(name: &str) -> Option<String> {
    let value = match name {
        "ANTHROPIC_API_KEY" => "sk-ant-upstream-secret",
        "TERCET_ADMIN_TOKEN" => "admin-secret",
        "KEY" => "tercet-key-secret",
        "EMPTY" => " \n",
        "TWO_WORDS" => "two words",
        "HOME" => "/home/ada",
        "REDIS" => "rediss://tercet:redis-secret@cache.example:6380/2",
        _ => return None,
    };
    Some(value.to_owned())
}

/// Parses a text that must be right.
fn good(text: &str) -> Config {
    parse(text, None, &fake_environment).unwrap_or_else(|problems| panic!("{}", rendered(&problems)))
}

/// Parses a text that must be wrong, and renders what is said of it.
fn bad(text: &str) -> String {
    rendered(&parse(text, Some("tercet.toml".as_ref()), &fake_environment).expect_err(text))
}

fn rendered(problems: &[super::ConfigProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n")
}
