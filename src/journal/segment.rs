//! The files of a stream: which there are, in which order, and their lines one at a time.
//!
//! A segment is named by the number of its first record. Reading streams; no more than one line is held, and
//! a line is at most [`MAX_LINE_BYTES`] long. Files with other names are left alone.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::entry::MAX_RECORD_BYTES;

/// One file of a stream.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) first_seq: u64,
    pub(super) path: PathBuf,
}

/// Returns the path of the segment that begins with record `first_seq`.
pub(super) fn path(folder: &Path, first_seq: u64) -> PathBuf {
    folder.join(format!("{first_seq:020}{SUFFIX}"))
}

/// Returns the number of the first record of the segment at `path`; `None` where that is no segment's name.
pub(super) fn first_seq(path: &Path) -> Option<u64> {
    let number = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?;
    number.parse().ok().filter(|_| number.len() == 20)
}

/// Returns the segments of a folder in order; none if there is no such folder.
pub(super) fn list(folder: &Path) -> io::Result<Vec<Segment>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut segments = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if let Some(first_seq) = first_seq(&path) {
            segments.push(Segment { first_seq, path });
        }
    }
    segments.sort_by_key(|segment| segment.first_seq);
    Ok(segments)
}

/// The lines of one segment.
pub(super) struct Lines {
    reader: BufReader<File>,
    buffer: Vec<u8>,
}

/// A line without its end; `ended` is false where the file stops before the line does.
#[derive(Clone, Copy)]
pub(super) struct RawLine<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) ended: bool,
}

impl Lines {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { reader: BufReader::with_capacity(READ_BYTES, File::open(path)?), buffer: Vec::new() })
    }

    /// Returns the next line, or `None` at the end of the file; a line over the bound comes cut, as not ended.
    pub(super) fn next(&mut self) -> io::Result<Option<RawLine<'_>>> {
        self.buffer.clear();
        let count = (&mut self.reader).take(MAX_LINE_BYTES).read_until(b'\n', &mut self.buffer)?;
        if count == 0 {
            return Ok(None);
        }
        let line = self.buffer.strip_suffix(b"\n");
        Ok(Some(RawLine { bytes: line.unwrap_or(&self.buffer), ended: line.is_some() }))
    }
}

/// The end of a segment's name.
pub(super) const SUFFIX: &str = ".jsonl";
/// The longest line, its end included: a record and the chain around it.
const MAX_LINE_BYTES: u64 = MAX_RECORD_BYTES as u64 + 1024;
const READ_BYTES: usize = 256 << 10;
