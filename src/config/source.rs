//! What surrounds a file: the folder its paths start from, the environment, and the files it refers to.
//!
//! The one place that reads environment variables. What a configuration was read from is kept with it, so that
//! amendments can be laid over the very text that is in force. A secret is one line of visible ASCII, as it must fit
//! into a header; a secret file is at most 64 KiB, any other file at most 16 MiB.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::amend::Amendments;
use super::schema::Reference;
use crate::clock::Clock;
use crate::secret::Secret;

/// What a file is read against.
pub(super) struct Surroundings<'a> {
    /// Relative paths start here; empty for the current folder.
    pub(super) folder: &'a Path,
    /// Looks up an environment variable.
    pub(super) environment: &'a dyn Fn(&str) -> Option<String>,
    /// Whether every entry of the file could be read, so that what is missing is truly missing.
    pub(super) complete: bool,
}

/// What a configuration was read from: its text, its place, the environment variables it named, and what was laid
/// over it.
#[derive(Clone, Default)]
pub struct Source {
    pub(super) text: Arc<str>,
    pub(super) path: Option<PathBuf>,
    variables: Arc<BTreeMap<String, Secret>>,
    amendments: Arc<Amendments>,
    pub(super) read_at: Timestamp,
}

/// Looks up environment variables and remembers those that were there.
pub(super) struct Recorder<'a> {
    environment: &'a dyn Fn(&str) -> Option<String>,
    seen: RefCell<BTreeMap<String, Secret>>,
}

/// Returns the value of an environment variable that is set and valid UTF-8.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Source {
    /// Returns what was laid over the text.
    #[must_use]
    pub fn amendments(&self) -> &Amendments {
        &self.amendments
    }

    /// Returns when the text was read.
    #[must_use]
    pub const fn read_at(&self) -> Timestamp {
        self.read_at
    }

    /// Returns the value that a variable had when the configuration was read.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).map(|value| value.expose().to_owned())
    }
}

/// The text is not shown: a secret may have been written into it by mistake.
impl fmt::Debug for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Source").field("path", &self.path).finish_non_exhaustive()
    }
}

impl<'a> Recorder<'a> {
    pub(super) fn new(environment: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { environment, seen: RefCell::default() }
    }

    pub(super) fn look_up(&self, name: &str) -> Option<String> {
        let value = (self.environment)(name)?;
        self.seen.borrow_mut().insert(name.to_owned(), Secret::new(value.clone()));
        Some(value)
    }

    pub(super) fn source(self, text: &str, path: Option<&Path>, amendments: &Amendments) -> Source {
        let variables = Arc::new(self.seen.into_inner());
        let amendments = Arc::new(amendments.clone());
        let read_at = Clock::default().now();
        Source { text: text.into(), path: path.map(Path::to_owned), variables, amendments, read_at }
    }
}

impl Surroundings<'_> {
    /// Returns `path` as seen from the file's folder.
    pub(super) fn resolve(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    /// Reads a secret; the error says what is wrong, then a hint after a line break, and never the value.
    pub(super) fn secret(&self, reference: &Reference) -> Result<Secret, String> {
        let (value, origin) = match reference {
            Reference::Env(name) => {
                let value = (self.environment)(name)
                    .ok_or_else(|| format!("the environment variable `{name}` is not set"))?;
                (Zeroizing::new(value), format!("the environment variable `{name}`"))
            }
            Reference::File(path) => {
                let path = self.resolve(path);
                let origin = format!("`{}`", path.display());
                let bytes = read_bounded(&path, SECRET_BYTES_MAX).map(Zeroizing::new);
                let bytes = bytes.map_err(|error| format!("cannot read {origin}: {error}"))?;
                let text = std::str::from_utf8(&bytes).map_err(|_| format!("{origin} is not text"))?;
                (Zeroizing::new(text.to_owned()), origin)
            }
        };
        let trimmed = value.trim();
        if trimmed.is_empty() {
            return Err(format!("{origin} is empty"));
        }
        if !trimmed.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!(
                "{origin} holds more than one word of visible ASCII\na secret must fit into a header"
            ));
        }
        Ok(Secret::new(trimmed.to_owned()))
    }
}

/// Tells whether a file can be opened and is a file.
pub(super) fn readable(path: &Path) -> io::Result<()> {
    if File::open(path)?.metadata()?.is_dir() {
        return Err(io::Error::other("it is a folder"));
    }
    Ok(())
}

/// Reads a whole file of at most `bytes_max` bytes.
pub(super) fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    readable(path)?;
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::other(format!("it is larger than {bytes_max} bytes")));
    }
    Ok(bytes)
}

const SECRET_BYTES_MAX: u64 = 64 << 10;

/// The most that is read of a configuration file or of a file it refers to.
pub(super) const FILE_BYTES_MAX: u64 = 16 << 20;
