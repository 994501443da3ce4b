//! The end of a stream on disk, where groups of records are chained and written.
//!
//! A group is one `write(2)`. After a failure the file is cut back to its last whole group and the chain
//! stands where it stood, so the same records can be tried again. A segment gets its name only once its first
//! group is in it and synced: an empty segment, or one whose first line is torn, never comes from a crash.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::chain::Link;
use super::checkpoint::Signer;
#[cfg(test)]
use super::disk::Faults;
use super::reader::Place;
use super::segment;

/// The last segment of a stream, open for writing.
#[derive(Debug)]
pub(super) struct Tail {
    folder: PathBuf,
    segment_bytes: u64,
    file: Option<Arc<File>>,
    first_seq: u64,
    whole_bytes: u64,
    link: Link,
    is_dirty: bool,
    lines: Vec<u8>,
    signer: Signer,
    #[cfg(test)]
    pub(super) faults: Faults,
}

impl Tail {
    /// Returns the tail of a stream that has no segment yet.
    pub(super) fn new(folder: PathBuf, segment_bytes: u64, link: Link, signer: Signer) -> Self {
        Self {
            folder,
            segment_bytes,
            file: None,
            first_seq: 0,
            whole_bytes: 0,
            link,
            is_dirty: false,
            lines: Vec::new(),
            signer,
            #[cfg(test)]
            faults: Faults::here(),
        }
    }

    /// Takes up writing at the end of the segment `path`, cutting off what lies beyond `whole_bytes`.
    pub(super) fn resume(&mut self, path: &Path, whole_bytes: u64) -> io::Result<()> {
        let file = OpenOptions::new().append(true).open(path)?;
        if file.metadata()?.len() != whole_bytes {
            file.set_len(whole_bytes)?;
            file.sync_all()?;
        }
        (self.first_seq, self.whole_bytes) = (segment::first_seq(path).unwrap_or_default(), whole_bytes);
        self.file = Some(Arc::new(file));
        Ok(())
    }

    /// Returns the place behind the last record.
    pub(super) const fn place(&self) -> Place {
        let Link { seq, hash } = self.link;
        Place { seq, hash, segment: self.first_seq, offset: self.whole_bytes }
    }

    pub(super) const fn link(&self) -> Link {
        self.link
    }

    /// Returns the file that is written to, for syncing.
    pub(super) fn file(&self) -> Option<Arc<File>> {
        self.file.clone()
    }

    /// Has a file of the stream put on the disk.
    #[cfg_attr(not(test), expect(clippy::unused_self, reason = "tests hold faults in it"))]
    pub(super) fn sync(&self, file: &File) -> io::Result<()> {
        #[cfg(test)]
        if let Some(synced) = self.faults.sync(file) {
            return synced;
        }
        file.sync_all()
    }

    /// Returns how many records the next group may have so that none stands where a checkpoint was due.
    pub(super) fn until_checkpoint(&self) -> usize {
        self.signer.room(self.link)
    }

    /// Says whether the next group begins a new segment, which is synced before it is there.
    pub(super) const fn begins_segment(&self) -> bool {
        self.file.is_none() || self.whole_bytes >= self.segment_bytes
    }

    /// Chains `records` and writes them all, or changes nothing; their numbers end with that of [`Self::link`].
    /// Where a checkpoint is due it stands before them.
    ///
    /// Failing, it may leave whole lines of the group behind if even cutting the file back fails; that is
    /// tried again before anything else is written.
    pub(super) fn write<'a>(&mut self, records: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
        self.repair()?;
        let mut link = self.link;
        let mut lines = std::mem::take(&mut self.lines);
        lines.clear();
        let checkpoint = self.signer.due(link);
        if let Some(record) = &checkpoint {
            link.chain(record, &mut lines);
        }
        for record in records {
            link.chain(record, &mut lines);
        }
        let written = match self.file.clone().filter(|_| !self.begins_segment()) {
            Some(file) => self.extend(&file, &lines),
            None => self.rotate(&lines),
        };
        if written.is_ok() {
            if checkpoint.is_some() {
                self.signer.written(self.link);
            }
            self.link = link;
        }
        lines.shrink_to(KEPT_BYTES);
        self.lines = lines;
        written
    }

    fn extend(&mut self, file: &File, lines: &[u8]) -> io::Result<()> {
        self.is_dirty = true;
        if let Err(error) = self.write_all(file, lines) {
            // The write's own error is the one to tell; a failed repair is tried again.
            let _ = self.repair();
            return Err(error);
        }
        self.is_dirty = false;
        self.whole_bytes += lines.len() as u64;
        Ok(())
    }

    fn rotate(&mut self, lines: &[u8]) -> io::Result<()> {
        if let Some(old) = &self.file {
            self.sync(old)?;
        }
        let first_seq = self.link.seq + 1;
        let path = segment::path(&self.folder, first_seq);
        let unnamed = path.with_extension(UNNAMED);
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unnamed)?;
        self.write_all(&file, lines)?;
        self.sync(&file)?;
        let file = OpenOptions::new().append(true).open(&unnamed)?;
        std::fs::rename(&unnamed, &path)?;
        // From here on the segment exists, whatever becomes of the folder's sync.
        (self.first_seq, self.whole_bytes) = (first_seq, lines.len() as u64);
        self.file = Some(Arc::new(file));
        if let Err(error) = File::open(&self.folder).and_then(|folder| folder.sync_all()) {
            tracing::warn!(%error, folder = %self.folder.display(), "the journal's folder could not be synced");
        }
        Ok(())
    }

    fn repair(&mut self) -> io::Result<()> {
        if let (true, Some(file)) = (self.is_dirty, &self.file) {
            #[cfg(test)]
            self.faults.before_cut()?;
            file.set_len(self.whole_bytes)?;
            self.is_dirty = false;
        }
        Ok(())
    }

    fn write_all(&self, mut file: &File, mut lines: &[u8]) -> io::Result<()> {
        while !lines.is_empty() {
            let count = match self.taken(lines).and_then(|taken| file.write(taken)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                count => count?,
            };
            lines = lines.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Returns what of `lines` the disk is given at once.
    #[cfg_attr(not(test), expect(clippy::unused_self, reason = "tests hold faults in it"))]
    #[cfg_attr(not(test), expect(clippy::unnecessary_wraps, reason = "in tests it may fail"))]
    fn taken<'a>(&self, lines: &'a [u8]) -> io::Result<&'a [u8]> {
        #[cfg(test)]
        return self.faults.before_write(lines);
        #[cfg(not(test))]
        Ok(lines)
    }
}

/// Removes segments that a crash left without a name; nothing in them was acknowledged.
pub(super) fn remove_unnamed(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == UNNAMED) {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

const UNNAMED: &str = "begun";
const KEPT_BYTES: usize = 1 << 20;
