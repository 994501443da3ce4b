//! Following the journal as it is written: for whoever watches it, not for an audit.
//!
//! Reads files that a running gateway writes, and blocks while it does; a line that is not whole yet is read when it is.
//! The chain is not verified.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::chain::{Line, Stream};
use super::segment::{self, Lines};

/// A place in the stream of exchanges, which moves on.
#[derive(Debug)]
pub struct Follower {
    folder: PathBuf,
    /// The first record of the segment read, and how many of its bytes were.
    segment: u64,
    read_bytes: u64,
}

impl Follower {
    /// Starts at the end of the journal at `path`; returns what `shown` makes of the last exchanges before it as well,
    /// `count` at most.
    ///
    /// Fails where the journal cannot be read.
    pub fn start<T>(
        path: &Path,
        count: usize,
        shown: impl Fn(&[u8]) -> Option<T>,
    ) -> io::Result<(Self, VecDeque<T>)> {
        let folder = path.join(Stream::Exchanges.name());
        let segments = segment::list(&folder)?;
        let mut follower = Self { folder, segment: 0, read_bytes: 0 };
        let mut last: VecDeque<T> = VecDeque::new();
        // From the newest segment back, until there are enough.
        for (age, segment) in segments.iter().rev().enumerate() {
            let mut of_segment = VecDeque::new();
            let mut read_bytes = 0;
            let mut lines = Lines::open(&segment.path)?;
            while let Some(raw) = lines.next()? {
                if !raw.ended {
                    break;
                }
                read_bytes += raw.bytes.len() as u64 + 1;
                if is_exchange(raw.bytes)
                    && let Some(one) = shown(raw.bytes)
                {
                    of_segment.push_back(one);
                    if of_segment.len() > count - last.len() {
                        of_segment.pop_front();
                    }
                }
            }
            if age == 0 {
                (follower.segment, follower.read_bytes) = (segment.first_seq, read_bytes);
            }
            of_segment.append(&mut last);
            last = of_segment;
            if last.len() >= count {
                break;
            }
        }
        Ok((follower, last))
    }

    /// Gives `each` the exchanges that were written since; one call reads all there are.
    ///
    /// Fails where the journal cannot be read, or where `each` does.
    pub fn catch_up(&mut self, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        // A segment that has a successor is written no more, so what it holds then is all of it.
        let segments = segment::list(&self.folder)?;
        let from = self.segment;
        for segment in segments.iter().filter(|segment| segment.first_seq >= from) {
            if segment.first_seq > self.segment {
                (self.segment, self.read_bytes) = (segment.first_seq, 0);
            }
            let mut file = File::open(&segment.path)?;
            file.seek(SeekFrom::Start(self.read_bytes))?;
            let (mut reader, mut line) = (BufReader::new(file), Vec::new());
            while reader.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
                self.read_bytes += line.len() as u64;
                line.pop();
                if is_exchange(&line) {
                    each(&line)?;
                }
                line.clear();
            }
        }
        Ok(())
    }
}

fn is_exchange(bytes: &[u8]) -> bool {
    Line::read(bytes).is_some_and(|line| line.kind == b"exchange")
}
