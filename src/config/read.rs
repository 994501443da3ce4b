//! Text to schema, with as many problems as can be found in one go.
//!
//! A deserializer stops at its first error. So the entry that it stumbled over is taken out and the rest is
//! read again, at most 32 times. A text that is not TOML has one problem only. Values are never repeated
//! in a message unless the value's own reader chose to.

use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer};

use super::amend::Amendments;
use super::excerpt::Secrecy;
use super::problem::Finding;
use super::schema::File;
use super::suggest::{closest, listed};

/// A file read as far as it could be.
pub(super) struct Reading {
    /// `None` where reading had to be given up.
    pub(super) file: Option<File>,
    /// What was left out of `file` because it could not be read.
    pub(super) findings: Vec<Finding>,
    /// The keys and where they are; empty where the text is not TOML.
    pub(super) keys: KeyPlaces,
}

/// Where each key and its value stand, for naming a place by its key.
#[derive(Debug, Default)]
pub(super) struct KeyPlaces(Vec<(Range<usize>, Range<usize>, String)>);

/// Reads `text` with amendments laid over it; a text that is not TOML gives one finding.
pub(super) fn read(text: &str, amendments: &Amendments) -> Reading {
    let amended = amendments.text_behind(text.len());
    let mut table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let finding = Finding {
                secrecy: Secrecy::Unparsed,
                ..Finding::new(error.span(), &format!("not valid TOML: {}", error.message()))
            };
            return Reading { file: None, findings: vec![finding], keys: KeyPlaces::default() };
        }
    };
    amendments.lay_over(table.get_mut(), &amended);
    let mut keys = KeyPlaces::default();
    keys.collect("", table.get_ref());
    let mut findings = Vec::new();
    for _ in 0..PROBLEMS_MAX {
        let error = match File::deserialize(Deserializer::from(table.clone())) {
            Ok(file) => return Reading { file: Some(file), findings, keys },
            Err(error) => error,
        };
        let removed = error.span().is_some_and(|span| remove(table.get_mut(), &span));
        if !follows_from(&error, &findings) {
            findings.push(finding_of(&error, &keys));
        }
        if !removed {
            break;
        }
    }
    Reading { file: None, findings, keys }
}

impl KeyPlaces {
    /// Returns the innermost key that holds `span`; empty where none does.
    pub(super) fn key_at(&self, span: &Range<usize>) -> &str {
        let holds = |outer: &Range<usize>| outer.start <= span.start && span.end <= outer.end;
        let found = self.0.iter().filter(|(key, value, _)| holds(key) || holds(value));
        found.max_by_key(|(_, _, path)| path.len()).map_or("", |(_, _, path)| path)
    }

    fn collect(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let path = join(prefix, key.get_ref());
            self.0.push((key.span(), value.span(), path.clone()));
            self.descend(&path, value);
        }
    }

    fn descend(&mut self, path: &str, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Table(table) => self.collect(path, table),
            DeValue::Array(values) => {
                for (index, value) in values.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    self.0.push((value.span(), value.span(), path.clone()));
                    self.descend(&path, value);
                }
            }
            _ => {}
        }
    }
}

fn join(prefix: &str, key: &str) -> String {
    let bare =
        !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if prefix.is_empty() { key } else { format!("{prefix}.{key}") }
}

/// Takes out the innermost entry that holds `span`; tells whether there was one.
fn remove(table: &mut DeTable<'_>, span: &Range<usize>) -> bool {
    let holds = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
    for (_, value) in table.iter_mut() {
        if remove_within(value.get_mut(), span) {
            return true;
        }
    }
    let found = table.iter().find(|(key, value)| holds(key.span()) || holds(value.span()));
    let Some(name) = found.map(|(key, _)| key.get_ref().to_string()) else { return false };
    table.remove(name.as_str()).is_some()
}

fn remove_within(value: &mut DeValue<'_>, span: &Range<usize>) -> bool {
    match value {
        DeValue::Table(table) => remove(table, span),
        DeValue::Array(values) => {
            if values.iter_mut().any(|value| remove_within(value.get_mut(), span)) {
                return true;
            }
            let holds = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
            let Some(index) = values.iter().position(|value| holds(value.span())) else { return false };
            let kept = std::mem::replace(values, DeArray::new())
                .into_iter()
                .enumerate()
                .filter(|(at, _)| *at != index);
            *values = kept.map(|(_, value)| value).collect();
            true
        }
        _ => false,
    }
}

/// Tells whether an earlier problem lies within this one, and taking it out may have caused this one.
fn follows_from(error: &toml::de::Error, earlier: &[Finding]) -> bool {
    let Some(span) = error.span() else { return false };
    let mut spans = earlier.iter().filter_map(|finding| finding.span.as_ref());
    spans.any(|inner| span.start <= inner.start && inner.end <= span.end)
}

fn finding_of(error: &toml::de::Error, keys: &KeyPlaces) -> Finding {
    let message = error.message().trim_end();
    if let Some(rest) = message.strip_prefix("unknown field `") {
        return unknown_key(error.span(), rest);
    }
    let what = message.strip_prefix("invalid type: ").and_then(|rest| {
        let (found, expected) = rest.rsplit_once(", expected ")?;
        Some(format!("expected {}, found {}", kind_expected(expected), kind_found(found)))
    });
    let key = error.span().map_or("", |span| keys.key_at(&span));
    let secrecy = if holds_secret(key) { Secrecy::Secret } else { Secrecy::Plain };
    Finding { secrecy, ..Finding::new(error.span(), what.as_deref().unwrap_or(message)) }
}

/// `rest` is how serde names a field it does not know, "x`, expected one of `a`, `b`", less its beginning.
fn unknown_key(span: Option<Range<usize>>, rest: &str) -> Finding {
    let (name, expected) = rest.split_once("`, expected ").unwrap_or((rest, ""));
    let names: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    let hint = match closest(name, &names) {
        Some(name) => Some(format!("did you mean `{name}`?")),
        None if names.is_empty() => None,
        None => Some(listed(&names)),
    };
    Finding { hint, ..Finding::new(span, &format!("unknown key `{}`", name.escape_debug())) }
}

fn kind_expected(expected: &str) -> &str {
    match expected {
        "a map" => "a table",
        "a sequence" => "a list",
        "a boolean" => "true or false",
        "path string" => "a path",
        other => other,
    }
}

/// Says what kind of thing was found, without the thing.
fn kind_found(found: &str) -> &'static str {
    let kinds = [
        ("string", "a string"),
        ("integer", "an integer"),
        ("floating point", "a float"),
        ("boolean", "a boolean"),
        ("map", "a table"),
        ("sequence", "a list"),
    ];
    kinds.iter().find(|(start, _)| found.starts_with(start)).map_or("something else", |(_, kind)| kind)
}

/// Tells whether a value under this key may be a secret, or may hold one by mistake.
fn holds_secret(key: &str) -> bool {
    let mut parts = key.rsplit('.').map(|part| part.split('[').next().unwrap_or_default());
    let (last, parent) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    ADDRESSES.iter().any(|address| key.starts_with(address))
        || matches!(last, "keys" | "hash")
        || [last, parent].iter().any(|part| REFERENCES.contains(part))
}

/// More problems than anyone reads at once.
pub(super) const PROBLEMS_MAX: usize = 32;

/// The keys whose values are references to secrets.
const REFERENCES: [&str; 4] = ["secret", "token", "credential", "password"];

/// The keys of addresses that may hold a login, and of what placeholders are made with.
const ADDRESSES: [&str; 5] =
    ["redis.counters", "redis.cache", "webhook.url", "clickhouse.url", "redaction.key"];
