//! Reading on in the stream of exchanges from a place that was kept: for views that are kept outside this process.
//!
//! Every line read is held against its own hash and the one before it, the first of them against the place's, so what a
//! reader has taken is one chain from its beginning to its place. It reads what another thread or process writes, blocks
//! while it does, and leaves a line alone that is not whole yet.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::chain::{Line, RecordHash, Stream};
use super::entry::{Entry, MAX_RECORD_BYTES, RESERVATION};
use super::retention::tombstone;
use super::segment::{self, Segment};
use super::walk::WalkFailure;

/// A place behind a record of the exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The record's number; 0 before the first.
    pub seq: u64,
    /// Its hash.
    pub hash: RecordHash,
    /// The number of the first record in its segment.
    pub segment: u64,
    /// The bytes of the segment up to the record's end.
    pub offset: u64,
}

/// Reads on from a place.
#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
    place: Place,
}

/// How a call of [`Reader::read`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// As many records as were asked for.
    Full,
    /// All there are.
    End,
}

/// Why a reader cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ReadFailure {
    /// The place is none of this journal, or what follows does not continue it.
    #[error("the journal does not go on behind record {seq}: {detail}")]
    Elsewhere {
        /// The last record that was read.
        seq: u64,
        /// What there is instead.
        detail: &'static str,
    },
    /// A record cannot be read by this version.
    #[error("record {seq} cannot be read: {source}")]
    Record {
        /// Its number.
        seq: u64,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A file could not be read.
    #[error("{}: {source}", file.display())]
    Unreadable {
        /// The file or folder.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What retention left cannot be trusted.
    #[error(transparent)]
    Walk(#[from] WalkFailure),
}

impl Place {
    /// The place before the first record.
    pub const BEGINNING: Self = Self { seq: 0, hash: RecordHash::NONE, segment: 0, offset: 0 };
}

impl Reader {
    /// Reads on in the journal at `path` from `place`.
    #[must_use]
    pub fn at(path: &Path, place: Place) -> Self {
        Self { folder: path.join(Stream::Exchanges.name()), place }
    }

    /// Reads on in the segments at the end of the journal at `path` that are `bytes` together at most, the last always.
    ///
    /// Fails where the journal cannot be read, or the first line there is none of ours.
    pub fn near_end(path: &Path, bytes: u64) -> Result<Self, ReadFailure> {
        let mut reader = Self::at(path, Place::BEGINNING);
        let (mut first, mut sum) = (None, 0_u64);
        for segment in reader.segments()?.into_iter().rev() {
            sum = sum.saturating_add(size(&segment)?);
            if sum > bytes && first.is_some() {
                break;
            }
            first = Some(segment);
        }
        let Some(segment) = first.filter(|segment| segment.first_seq > 1) else { return Ok(reader) };
        let failed = |source| unreadable(&segment.path, source);
        let mut line = Vec::new();
        let file = File::open(&segment.path).map_err(failed)?;
        BufReader::new(file).take(LINE_MAX).read_until(b'\n', &mut line).map_err(failed)?;
        line.pop();
        let Some(hash) = Line::read(&line).map(|line| line.prev) else {
            return Err(reader.elsewhere("a segment does not begin with a record"));
        };
        let seq = segment.first_seq - 1;
        reader.place = Place { seq, hash, segment: segment.first_seq, offset: 0 };
        Ok(reader)
    }

    /// Returns the place behind the last record that was given to anyone.
    #[must_use]
    pub const fn place(&self) -> Place {
        self.place
    }

    /// Returns how many bytes of records there are in all, for whoever shows how far a reader has come.
    ///
    /// Fails where the journal cannot be read.
    pub fn total_bytes(&self) -> Result<u64, ReadFailure> {
        self.segments()?.iter().map(size).sum()
    }

    /// Gives `each` the next records, `count` at most, with the place behind each and its entry.
    ///
    /// Reservations have none, which are half of all and of which nobody asks here, nor have kinds of a later version. After a failure the place is that behind the last record given.
    pub fn read(
        &mut self,
        count: usize,
        mut each: impl FnMut(Place, Option<&Entry>),
    ) -> Result<Pause, ReadFailure> {
        let (mut given, mut line) = (0, Vec::new());
        for segment in self.ahead()? {
            if segment.first_seq > self.place.segment {
                (self.place.segment, self.place.offset) = (segment.first_seq, 0);
            }
            let failed = |source| unreadable(&segment.path, source);
            let mut file = File::open(&segment.path).map_err(failed)?;
            if file.metadata().map_err(failed)?.len() < self.place.offset {
                return Err(self.elsewhere("the file ends before"));
            }
            file.seek(SeekFrom::Start(self.place.offset)).map_err(failed)?;
            let mut reader = BufReader::with_capacity(READ_BYTES, file);
            loop {
                if given == count {
                    return Ok(Pause::Full);
                }
                line.clear();
                (&mut reader).take(LINE_MAX).read_until(b'\n', &mut line).map_err(failed)?;
                if line.pop() != Some(b'\n') {
                    break;
                }
                self.take(&line, &mut each)?;
                given += 1;
            }
        }
        Ok(Pause::End)
    }

    /// Takes one line, which has to continue the chain.
    fn take(
        &mut self,
        bytes: &[u8],
        each: &mut impl FnMut(Place, Option<&Entry>),
    ) -> Result<(), ReadFailure> {
        let line = Line::read(bytes).filter(Line::is_intact);
        let line = line.ok_or_else(|| self.elsewhere("the next line is not what was written"))?;
        if line.seq != self.place.seq + 1 || (self.place.seq > 0 && line.prev != self.place.hash) {
            return Err(self.elsewhere("the next record is of another chain"));
        }
        let entry = match line.kind {
            RESERVATION => None,
            kind => Entry::from_line(kind, line.bytes)
                .map_err(|source| ReadFailure::Record { seq: line.seq, source })?,
        };
        let offset = self.place.offset + bytes.len() as u64 + 1;
        self.place = Place { seq: line.seq, hash: line.hash, offset, ..self.place };
        each(self.place, entry.as_ref());
        Ok(())
    }

    /// Returns the segment of the place and those behind it; past what retention dropped, where the place is in that.
    fn ahead(&mut self) -> Result<Vec<Segment>, ReadFailure> {
        let mut segments = self.segments()?;
        if let Some(dropped) = tombstone(&self.folder, Stream::Exchanges)? {
            segments.retain(|segment| segment.first_seq > dropped.seq);
            if self.place.seq < dropped.seq {
                self.place = Place { seq: dropped.seq, hash: dropped.hash, segment: 0, offset: 0 };
            }
        }
        segments.retain(|segment| segment.first_seq >= self.place.segment);
        let first = segments.first().map(|segment| segment.first_seq);
        let follows = match first {
            None => self.place.seq == 0 || self.place.offset == 0,
            Some(first) => first == self.place.segment || first == self.place.seq + 1,
        };
        if follows { Ok(segments) } else { Err(self.elsewhere("its segment is missing")) }
    }

    fn segments(&self) -> Result<Vec<Segment>, ReadFailure> {
        segment::list(&self.folder).map_err(|source| unreadable(&self.folder, source))
    }

    const fn elsewhere(&self, detail: &'static str) -> ReadFailure {
        ReadFailure::Elsewhere { seq: self.place.seq, detail }
    }
}

fn size(segment: &Segment) -> Result<u64, ReadFailure> {
    let found = segment.path.metadata();
    found.map(|found| found.len()).map_err(|source| unreadable(&segment.path, source))
}

fn unreadable(file: &Path, source: io::Error) -> ReadFailure {
    ReadFailure::Unreadable { file: file.to_owned(), source }
}

const READ_BYTES: usize = 256 << 10;
/// The longest line: a record and the chain around it.
const LINE_MAX: u64 = MAX_RECORD_BYTES as u64 + 1024;

#[cfg(test)]
mod tests {
    use super::super::{ExchangeRecord, Journal};
    use super::*;
    use crate::clock::Clock;
    use crate::config;
    use crate::id::RequestId;

    async fn journal(path: &Path, count: usize) {
        let settings = config::Journal { path: path.to_owned(), ..config::default_config().journal };
        let (journal, _) = Journal::open(&settings, &Clock::default(), |_, _| {}).unwrap();
        let time = "2026-11-20T12:00:00Z".parse().unwrap();
        for _ in 0..count {
            let record = ExchangeRecord::begin(RequestId::generate(), time, "acme".into(), "m".into());
            journal.append(&record.into()).await.unwrap();
        }
        journal.flush_and_close().await.unwrap();
    }

    fn exchanges(reader: &mut Reader, count: usize) -> (usize, Result<Pause, ReadFailure>) {
        let mut found = 0;
        let pause =
            reader.read(count, |_, entry| found += usize::from(matches!(entry, Some(Entry::Exchange(_)))));
        (found, pause)
    }

    #[tokio::test]
    async fn what_was_read_is_not_read_again_and_a_line_is_read_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let mut reader = Reader::at(folder.path(), Place::BEGINNING);
        assert_eq!(exchanges(&mut reader, 9).0, 0, "there is none yet");
        journal(folder.path(), 5).await;
        assert!(matches!(exchanges(&mut reader, 3), (2, Ok(Pause::Full))), "the first opens the stream");
        let mut reader = Reader::at(folder.path(), reader.place());
        assert!(matches!(exchanges(&mut reader, 9), (3, Ok(Pause::End))));
        journal(folder.path(), 2).await;
        assert!(matches!(exchanges(&mut reader, 9), (2, Ok(Pause::End))));

        let file = segment::list(&folder.path().join("exchanges")).unwrap().remove(0).path;
        let whole = std::fs::read(&file).unwrap();
        let (kept, last) = (Place::BEGINNING, whole.len() - 9);
        std::fs::write(&file, &whole[..last]).unwrap();
        assert!(
            matches!(exchanges(&mut reader, 9), (0, Err(ReadFailure::Elsewhere { .. }))),
            "its end is lost"
        );
        let mut reader = Reader::at(folder.path(), kept);
        let before = exchanges(&mut reader, 99).0;
        std::fs::write(&file, &whole).unwrap();
        assert!(exchanges(&mut reader, 99).0 > 0 && before >= 5);
    }

    #[tokio::test]
    async fn segments_are_read_one_after_the_other_and_the_last_ones_alone() {
        let folder = tempfile::tempdir().unwrap();
        let settings = config::Journal { path: folder.path().to_owned(), ..config::default_config().journal };
        let view = &mut super::super::snapshot::Each(|_, _| {});
        let (journal, _) =
            Journal::open_with(&settings, &Clock::default(), 4_000, view, |tail| tail).unwrap();
        let time = "2026-11-20T12:00:00Z".parse().unwrap();
        for _ in 0..20 {
            let record = ExchangeRecord::begin(RequestId::generate(), time, "acme".into(), "m".into());
            journal.append(&record.into()).await.unwrap();
        }
        assert!(segment::list(&folder.path().join("exchanges")).unwrap().len() > 3);
        let mut reader = Reader::at(folder.path(), Place::BEGINNING);
        let mut found = 0;
        while let (count @ 1.., Ok(_)) = exchanges(&mut reader, 3) {
            reader = Reader::at(folder.path(), reader.place());
            found += count;
        }
        assert_eq!((found, exchanges(&mut reader, 99).0), (20, 0));
        let last = |bytes| exchanges(&mut Reader::near_end(folder.path(), bytes).unwrap(), 99).0;
        assert!(
            (1..6).contains(&last(0)) && (last(0)..20).contains(&last(9_000)),
            "{} {}",
            last(0),
            last(9_000)
        );
        assert_eq!(last(1 << 20), 20);
        journal.flush_and_close().await.unwrap();
    }

    #[tokio::test]
    async fn another_chain_is_told_from_the_one_that_was_read() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        journal(one.path(), 2).await;
        journal(other.path(), 4).await;
        let mut reader = Reader::at(one.path(), Place::BEGINNING);
        assert_eq!(exchanges(&mut reader, 99).0, 2);
        let mut moved = Reader::at(other.path(), reader.place());
        assert!(matches!(exchanges(&mut moved, 99), (0, Err(ReadFailure::Elsewhere { .. }))));
    }
}
