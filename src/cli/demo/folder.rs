//! A temporary folder for the demo's journal: the owner's only, and gone with the demo.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::cli::ending::{Failure, tell};
use crate::secret::random;

/// A folder that is removed when dropped.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Makes a folder of an unguessable name, which must not exist yet.
    pub(super) fn make() -> Result<Self, Failure> {
        let path = std::env::temp_dir()
            .join(format!("tercet-demo-{:016x}", u64::from_be_bytes(random().map_err(Failure::run)?)));
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| Failure::run(format_args!("cannot make {}: {error}", path.display())))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tell(&format!("{} could not be removed: {error}", self.0.display()));
        }
    }
}
