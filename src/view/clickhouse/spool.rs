//! How far the journal was sent, kept beside it: the journal itself is what waits.
//!
//! Before a batch is sent, its end is written down, so that after a crash, or a failure that leaves it open whether the
//! server took it, the very same records are sent again under the same token, and are dropped there if it had.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::journal::Place;

/// What is sent and what is being sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spool {
    version: u32,
    /// Server and database.
    target: String,
    /// The place up to which all was taken.
    pub(super) sent: Place,
    /// The last record of the batch that is on its way.
    pub(super) sending: Option<u64>,
    /// Places that were reached before, the latest last.
    pub(super) earlier: Vec<Place>,
    #[serde(skip)]
    file: PathBuf,
}

impl Spool {
    /// Reads what is kept beside the journal at `journal`; one at its beginning where nothing is, or for another target.
    ///
    /// Fails where the file cannot be read, or is none of ours: then it is for an operator to say what was sent.
    pub(super) fn read(journal: &Path, target: &str) -> io::Result<Self> {
        let file = journal.join(FILE);
        let begun = Self {
            version: VERSION,
            target: target.to_owned(),
            sent: Place::BEGINNING,
            sending: None,
            earlier: Vec::new(),
            file: file.clone(),
        };
        let text = match std::fs::read(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(begun),
            text => text?,
        };
        let kept: Self = serde_json::from_slice(&text)?;
        if kept.version != VERSION {
            return Err(io::Error::other("it is of another version"));
        }
        if kept.target != target {
            return Ok(begun);
        }
        Ok(Self { file, ..kept })
    }

    /// Writes down that the records up to `seq` are on their way; returns once that is on the disk.
    pub(super) fn begin(&mut self, seq: u64) -> io::Result<()> {
        self.sending = Some(seq);
        self.write()
    }

    /// Writes down that all up to `place` was taken.
    pub(super) fn end(&mut self, place: Place) -> io::Result<()> {
        if self.sent.seq > 0 {
            self.earlier.push(self.sent);
        }
        let excess = self.earlier.len().saturating_sub(EARLIER_MAX);
        self.earlier.drain(..excess);
        (self.sent, self.sending) = (place, None);
        self.write()
    }

    /// Goes back to the place before, the journal's beginning where none is known; false where it is there already.
    pub(super) fn go_back(&mut self) -> io::Result<bool> {
        if self.sent == Place::BEGINNING {
            return Ok(false);
        }
        (self.sent, self.sending) = (self.earlier.pop().unwrap_or(Place::BEGINNING), None);
        self.write()?;
        Ok(true)
    }

    fn write(&self) -> io::Result<()> {
        let begun = self.file.with_extension("begun");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&begun)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        std::fs::rename(&begun, &self.file)
    }
}

const FILE: &str = "clickhouse.json";
const VERSION: u32 = 1;
/// A power cut takes the last moments of a journal; a batch is longer than that.
const EARLIER_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn place(seq: u64) -> Place {
        Place { seq, ..Place::BEGINNING }
    }

    #[test]
    fn what_was_sent_and_what_is_being_sent_outlasts_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let read = || Spool::read(folder.path(), "http://one/tercet").unwrap();
        let mut spool = read();
        assert_eq!((spool.sent, spool.sending), (Place::BEGINNING, None));
        spool.begin(7).unwrap();
        assert_eq!((read().sent, read().sending), (Place::BEGINNING, Some(7)));
        for seq in [7, 9, 12] {
            spool.end(place(seq)).unwrap();
        }
        assert_eq!((read().sent, read().sending), (place(12), None));
        let other = Spool::read(folder.path(), "http://two/tercet").unwrap();
        assert_eq!(other.sent, Place::BEGINNING, "another server has nothing yet");
        for expected in [9, 7, 0] {
            assert!(spool.go_back().unwrap());
            assert_eq!(read().sent, place(expected));
        }
        assert!(!spool.go_back().unwrap());
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        assert!(Spool::read(folder.path(), "http://one/tercet").is_err());
    }
}
