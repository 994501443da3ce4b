//! One file of a tenant's texts: JSON lines, named by the time of its first.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// A file and what its name says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Segment {
    /// When its first line was written, in milliseconds since 1970.
    pub(super) begun_ms: i64,
    pub(super) path: PathBuf,
}

impl Segment {
    /// Names a file of `folder` that is not there yet.
    pub(super) fn begin(folder: &Path, now: Timestamp) -> Self {
        let mut begun_ms = now.as_millisecond();
        loop {
            let path = folder.join(format!("{begun_ms:014}{EXTENSION}"));
            if path.symlink_metadata().is_err() {
                return Self { begun_ms, path };
            }
            begun_ms += 1;
        }
    }

    /// Appends a line, all of it or nothing.
    pub(super) fn append(&self, line: &[u8]) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
        let before = file.metadata()?.len();
        let written = file.write_all(line);
        if written.is_err() {
            // Half a line is left where even that fails; it is no line, and nothing is appended to it.
            drop(file.set_len(before));
        }
        written
    }

    pub(super) fn bytes(&self) -> u64 {
        self.path.metadata().map_or(0, |found| found.len())
    }
}

/// Returns the files of one tenant's folder, the oldest first; none where there is no folder.
pub(super) fn segments(folder: &Path) -> io::Result<Vec<Segment>> {
    let mut found = Vec::new();
    for entry in entries(folder)? {
        let name = entry.file_name();
        let begun = name.to_str().and_then(|name| name.strip_suffix(EXTENSION)?.parse().ok());
        found.extend(begun.map(|begun_ms| Segment { begun_ms, path: entry.path() }));
    }
    found.sort();
    Ok(found)
}

/// Returns what a folder holds; nothing where there is none.
pub(super) fn entries(folder: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(folder) {
        Ok(read) => read.collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

const EXTENSION: &str = ".jsonl";
