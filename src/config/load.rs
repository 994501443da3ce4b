//! From a path or a text to a checked configuration, and the digest by which a change is noticed.
//!
//! Decides nothing about the values themselves: `read` and `check` do. Files are at most 16 MiB, problems at
//! most 32; a file is either right as a whole or gives no configuration at all.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::Config;
use super::amend::Amendments;
use super::check::{self, Check};
use super::problem::{ConfigProblem, Finding};
use super::read::{PROBLEMS_MAX, Reading, read};
use super::schema::File;
use super::source::{FILE_BYTES_MAX, Recorder, Surroundings, environment, read_bounded};
use super::value::FromText;

/// Reads and checks the file at `path`, with the process's environment.
///
/// # Errors
///
/// Every problem that could be found, in the order of the file, 32 at most.
pub fn load(path: &Path) -> Result<Config, Vec<ConfigProblem>> {
    let of_file = |what: String| vec![ConfigProblem::of_file(path, what)];
    let bytes = read_bounded(path, FILE_BYTES_MAX)
        .map_err(|error| of_file(format!("cannot read the file: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|_| of_file("the file is not UTF-8 text".to_owned()))?;
    parse(&text, Some(path), &environment)
}

/// Checks `text`; relative paths start from the folder of `path`, or from the current folder.
///
/// # Errors
///
/// Every problem that could be found, in the order of the text, 32 at most.
pub fn parse(
    text: &str,
    path: Option<&Path>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Vec<ConfigProblem>> {
    parse_amended(text, path, environment, &Amendments::default())
}

impl Config {
    /// Reads the same text again with amendments laid over it; variables have the values they had.
    ///
    /// Files it names are read anew.
    ///
    /// # Errors
    ///
    /// Every problem that could be found, 32 at most; one of the amendments has a key and no place.
    pub fn amended(&self, amendments: &Amendments) -> Result<Self, Vec<ConfigProblem>> {
        let source = &self.source;
        let variables = |name: &str| source.variable(name);
        let mut amended = parse_amended(&source.text, source.path.as_deref(), &variables, amendments)?;
        amended.source.read_at = source.read_at;
        // Without a file the journal's place is not that of an empty text; and it never changes while running.
        Ok(Self { journal: self.journal.clone(), ..amended })
    }
}

fn parse_amended(
    text: &str,
    path: Option<&Path>,
    environment: &dyn Fn(&str) -> Option<String>,
    amendments: &Amendments,
) -> Result<Config, Vec<ConfigProblem>> {
    let recorder = Recorder::new(environment);
    let environment = |name: &str| recorder.look_up(name);
    let Reading { file, mut findings, keys } = read(text, amendments);
    let folder = path.and_then(Path::parent).unwrap_or(Path::new(""));
    let surroundings = Surroundings { folder, environment: &environment, complete: findings.is_empty() };
    let mut check = Check { surroundings: &surroundings, findings: Vec::new() };
    let config = file.map(|file| check::config(&mut check, &file));
    findings.append(&mut check.findings);
    match config {
        Some(config) if findings.is_empty() => {
            let version = version_of(text, &config, amendments);
            Ok(Config { version, source: recorder.source(text, path, amendments), ..config })
        }
        _ => {
            findings.sort_by_key(|finding| finding.span.as_ref().map_or(0, |span| span.start));
            findings.truncate(PROBLEMS_MAX);
            let place = |finding: Finding| {
                let key = finding.span.as_ref().map_or("", |span| keys.key_at(span)).to_owned();
                ConfigProblem::of_finding(finding, path, text, key)
            };
            Err(findings.into_iter().map(place).collect())
        }
    }
}

/// Returns what holds without a file: loopback, the caller's credential, no tenants, shadow routing.
///
/// The journal lies in the user's data folder.
#[must_use]
pub fn default_config() -> Config {
    default_config_with(&environment)
}

pub(super) fn default_config_with(environment: &dyn Fn(&str) -> Option<String>) -> Config {
    let surroundings = Surroundings { folder: Path::new(""), environment, complete: true };
    let mut check = Check { surroundings: &surroundings, findings: Vec::new() };
    let mut config = check::config(&mut check, &File::default());
    config.journal.path = data_folder(environment);
    config.version = version_of("", &config, &Amendments::default());
    config
}

/// Returns `tercet.toml` where the current folder has one.
#[must_use]
pub fn resolve_default_path() -> Option<PathBuf> {
    let path = PathBuf::from("tercet.toml");
    path.is_file().then_some(path)
}

/// Reads a duration such as `1h30m`, for callers that take one outside of a file.
///
/// # Errors
/// What is wrong, and a hint after a line break.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    Duration::from_text(text)
}

/// Returns a digest of the file at `path` and of every file it refers to; it changes when any of them does.
///
/// For polling: reads a few small files and checks nothing. A file that cannot be read counts as absent.
#[must_use]
pub fn digest_of_files(path: &Path) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let text = read_bounded(path, FILE_BYTES_MAX).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    absorb(&mut hasher, text.as_deref().map(str::as_bytes));
    if let Some(Ok(table)) = text.as_deref().map(DeTable::parse) {
        let mut paths = Vec::new();
        referenced(table.get_ref(), &mut paths);
        let folder = path.parent().unwrap_or(Path::new(""));
        for referenced in paths {
            absorb(&mut hasher, read_bounded(&folder.join(referenced), FILE_BYTES_MAX).ok().as_deref());
        }
    }
    *hasher.finalize().as_bytes()
}

/// The user's data folder by the XDG rules; `data` where there is no home.
fn data_folder(environment: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    let folder = |name: &str| environment(name).map(PathBuf::from).filter(|path| path.is_absolute());
    folder("XDG_DATA_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".local/share")))
        .map_or_else(|| PathBuf::from("data"), |folder| folder.join("tercet"))
}

/// Names the policy: the text, the catalog it refers to, and what was changed since.
fn version_of(text: &str, config: &Config, amendments: &Amendments) -> String {
    let mut hasher = blake3::Hasher::new();
    absorb(&mut hasher, Some(text.as_bytes()));
    if let Some(catalog) = &config.catalog {
        absorb(&mut hasher, read_bounded(catalog, FILE_BYTES_MAX).ok().as_deref());
    }
    if !amendments.is_empty() {
        absorb(&mut hasher, Some(amendments.digested().as_bytes()));
    }
    hasher.finalize().to_hex().chars().take(VERSION_DIGITS).collect()
}

/// Takes in contents with their length, so that no two lists of files run together.
fn absorb(hasher: &mut blake3::Hasher, contents: Option<&[u8]>) {
    let length = contents.map_or(u64::MAX, |bytes| bytes.len() as u64);
    hasher.update(&length.to_le_bytes());
    hasher.update(contents.unwrap_or_default());
}

/// Collects what stands under a key that names a file, in any section.
fn referenced(table: &DeTable<'_>, paths: &mut Vec<String>) {
    for (key, value) in table {
        collect(key.get_ref(), value.get_ref(), paths);
    }
}

fn collect(key: &str, value: &DeValue<'_>, paths: &mut Vec<String>) {
    match value {
        DeValue::String(path) if FILE_KEYS.contains(&key) && paths.len() < FILES_MAX => {
            paths.push(path.to_string());
        }
        DeValue::Table(table) => referenced(table, paths),
        DeValue::Array(values) => values.iter().for_each(|value| collect("", value.get_ref(), paths)),
        _ => {}
    }
}

const VERSION_DIGITS: usize = 12;
const FILE_KEYS: [&str; 6] = ["file", "cert", "key", "ca", "client_ca", "catalog"];

/// More secret files than any gateway has.
const FILES_MAX: usize = 10_000;
