//! One walk along a stream's chain, shared by the auditor and the start of the gateway.
//!
//! It checks every record's hash, number and link, and stops at the first that is wrong, naming the kind of
//! damage as precisely as the files can tell. A line that the last file ends in the midst of is not yet a
//! finding: the auditor makes it one, the start cuts it off.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::chain::{Head, Line, Link, RecordHash, Stream};
use super::checkpoint;
use super::entry::CHECKPOINT;
use super::record::OpenRecord;
use super::retention;
use super::segment::{self, Lines, Segment};
use super::sweep::{Swept, push_new, sweep};

/// The first thing wrong with a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{}:{line}: {} at record {seq}: {detail}", file.display(), kind.name())]
pub struct Finding {
    /// What happened, as far as can be told.
    pub kind: FindingKind,
    /// The file it is in.
    pub file: PathBuf,
    /// The line, counted from 1; 0 where the finding is about no line.
    pub line: u64,
    /// The number of the record that is wrong or should be there.
    pub seq: u64,
    /// The same in a sentence.
    pub detail: String,
}

/// The kinds of damage to a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FindingKind {
    /// A line is not what was hashed.
    Edit,
    /// Records are missing before a line.
    Gap,
    /// A line stands where another belongs that is still there.
    Reorder,
    /// A line stands twice.
    Duplicate,
    /// Records at the end are missing.
    Truncation,
    /// A whole record that continues another chain.
    Fork,
    /// The last line was never finished, as a crash leaves it.
    Torn,
}

impl FindingKind {
    /// Returns the word for the kind.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Edit => "edit",
            Self::Gap => "gap",
            Self::Reorder => "reorder",
            Self::Duplicate => "duplicate",
            Self::Truncation => "truncation",
            Self::Fork => "fork",
            Self::Torn => "torn",
        }
    }
}

/// Why a walk stopped.
#[derive(Debug, thiserror::Error)]
pub enum WalkFailure {
    /// The chain is damaged.
    #[error(transparent)]
    Found(#[from] Finding),
    /// A file could not be read.
    #[error("{}: {source}", file.display())]
    Unreadable {
        /// The file or folder.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Where a walk came to its end.
#[derive(Clone, Debug)]
pub(super) struct Walked {
    /// The end of the chain; `None` where there is no segment.
    pub(super) end: Option<Link>,
    pub(super) segments: u64,
    /// The last file, and how many of its bytes are whole lines.
    pub(super) last_file: PathBuf,
    pub(super) whole_bytes: u64,
    pub(super) origin: String,
    /// The last record that retention dropped; 0 where none was.
    pub(super) dropped: u64,
    /// How many checkpoints there are, and the keys that signed them, the latest last.
    pub(super) checkpoints: u64,
    pub(super) keys: Vec<String>,
    /// The number of the last line and how many bytes there are of it, where the file stops within it.
    pub(super) torn: Option<(u64, u64)>,
}

/// A place in a stream.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) file: &'a Path,
    pub(super) line: u64,
}

impl Place<'_> {
    pub(super) fn finding(&self, kind: FindingKind, seq: u64, detail: impl Into<String>) -> Finding {
        Finding { kind, file: self.file.to_path_buf(), line: self.line, seq, detail: detail.into() }
    }

    pub(super) fn unreadable_record(&self, seq: u64, error: &serde_json::Error) -> Finding {
        self.finding(FindingKind::Edit, seq, format!("the record cannot be read: {error}"))
    }
}

/// A stream's segments ahead, and what is known of the chain before them.
#[derive(Debug)]
pub(super) struct Way {
    stream: Stream,
    segments: Vec<Segment>,
    /// The last record of these segments where another one follows them, so that none may end within a line.
    sealed_at: Option<u64>,
    walked: Walked,
}

/// Walks along the stream in `folder`, calling `each` for every record that is as it should be.
pub(super) fn walk(
    folder: &Path,
    stream: Stream,
    each: impl FnMut(Place<'_>, &Line<'_>) -> Result<(), Finding>,
) -> Result<Walked, WalkFailure> {
    Way::of(folder, stream)?.walk(None, each)
}

impl Way {
    /// Returns the whole way of a stream, from where retention left it.
    pub(super) fn of(folder: &Path, stream: Stream) -> Result<Self, WalkFailure> {
        let mut segments = segment::list(folder).map_err(|source| unreadable(folder, source))?;
        let dropped = retention::tombstone(folder, stream)?;
        let end = dropped.as_ref().map(|dropped| Link { seq: dropped.seq, hash: dropped.hash });
        let dropped_seq = end.map_or(0, |end| end.seq);
        // A crash may have left segments behind that the tombstone covers.
        segments.retain(|segment| segment.first_seq > dropped_seq);
        let walked = Walked {
            end,
            segments: segments.len() as u64,
            last_file: folder.to_path_buf(),
            whole_bytes: 0,
            dropped: dropped_seq,
            checkpoints: 0,
            keys: dropped.iter().map(|dropped| dropped.key.clone()).collect(),
            origin: dropped.map(|dropped| dropped.origin).unwrap_or_default(),
            torn: None,
        };
        Ok(Self { stream, segments, sealed_at: None, walked })
    }

    /// Leaves out the last segment, which may still be written.
    pub(super) fn sealed(mut self) -> Self {
        let sealed_at = self.segments.pop().map(|last| last.first_seq.saturating_sub(1));
        Self { sealed_at, ..self }
    }

    /// The last record of sealed segments ahead; `None` where there are none, or not all are sealed.
    pub(super) fn sealed_at(&self) -> Option<u64> {
        self.sealed_at.filter(|_| !self.segments.is_empty())
    }

    /// The last record that retention dropped; 0 where none was.
    pub(super) const fn dropped(&self) -> u64 {
        self.walked.dropped
    }

    /// Says whether a segment ends with this record.
    pub(super) fn has_boundary(&self, seq: u64) -> bool {
        self.segments.iter().skip(1).any(|segment| segment.first_seq == seq + 1)
    }

    /// Sweeps over the segments before the last; `None` where there are none or a walk has to say what is wrong.
    pub(super) fn sweep(&self, head: Option<&Head>) -> Option<Swept> {
        self.sweep_first(self.segments.len().checked_sub(1)?, head)
    }

    /// Likewise, over the segments that end with record `seq`, of which others follow.
    pub(super) fn sweep_to(&self, seq: u64) -> Option<Swept> {
        self.sweep_first(self.segments.iter().position(|segment| segment.first_seq == seq + 1)?, None)
    }

    fn sweep_first(&self, count: usize, head: Option<&Head>) -> Option<Swept> {
        let before = self.walked.end.map(|end| (end, self.walked.origin.clone()));
        sweep(self.segments.get(..count)?, self.stream, before, head)
    }

    /// Goes past what was swept.
    pub(super) fn pass(&mut self, swept: Swept) {
        self.pass_known(swept.end, swept.origin);
        self.walked.checkpoints = swept.checkpoints;
        for key in swept.keys {
            push_new(&mut self.walked.keys, key);
        }
    }

    /// Goes past what is known from elsewhere to end so.
    pub(super) fn pass_known(&mut self, end: Link, origin: String) {
        self.segments.retain(|segment| segment.first_seq > end.seq);
        self.walked.end = Some(end);
        self.walked.origin = origin;
    }

    /// Walks along what is ahead, calling `each` for every record that is as it should be.
    ///
    /// With `head`, the record of that number has to have that hash.
    pub(super) fn walk(
        self,
        head: Option<&Head>,
        mut each: impl FnMut(Place<'_>, &Line<'_>) -> Result<(), Finding>,
    ) -> Result<Walked, WalkFailure> {
        let Self { stream, segments, sealed_at, mut walked } = self;
        for (index, segment) in segments.iter().enumerate() {
            walked.last_file.clone_from(&segment.path);
            walked.whole_bytes = 0;
            let is_last = index + 1 == segments.len() && sealed_at.is_none();
            let mut lines = Lines::open(&segment.path).map_err(|source| unreadable(&segment.path, source))?;
            let mut place = Place { file: &segment.path, line: 0 };
            while let Some(raw) = lines.next().map_err(|source| unreadable(&segment.path, source))? {
                place.line += 1;
                if !raw.ended {
                    if !is_last || place.line == 1 {
                        return Err(cut(place, walked.end).into());
                    }
                    walked.torn = Some((place.line, raw.bytes.len() as u64));
                    break;
                }
                let rest = segments.get(index..).unwrap_or_default();
                let line = check(place, raw.bytes, stream, &mut walked, rest)?;
                if let Some(head) = head.filter(|head| head.seq == line.seq && head.hash != line.hash) {
                    return Err(place.finding(FindingKind::Fork, head.seq, ANCHOR_DIFFERS).into());
                }
                each(place, &line)?;
                walked.whole_bytes += raw.bytes.len() as u64 + 1;
            }
            if place.line == 0 {
                return Err(cut(Place { file: &segment.path, line: 1 }, walked.end).into());
            }
        }
        Ok(walked)
    }
}

/// Checks one line against the chain so far and moves the chain's end on to it.
fn check<'a>(
    place: Place<'_>,
    bytes: &'a [u8],
    stream: Stream,
    walked: &mut Walked,
    rest: &[Segment],
) -> Result<Line<'a>, WalkFailure> {
    let expected = walked.end.map_or(1, |end| end.seq + 1);
    let Some(line) = Line::read(bytes).filter(Line::is_intact) else {
        return Err(place.finding(FindingKind::Edit, expected, "the line is not what was written").into());
    };
    if line.seq != expected {
        return Err(misplaced(place, expected, &line, rest)?.into());
    }
    let first_of_file = rest.first().map_or(0, |segment| segment.first_seq);
    if place.line == 1 && first_of_file != line.seq {
        let detail = "the file is not named by its first record";
        return Err(place.finding(FindingKind::Edit, expected, detail).into());
    }
    let link = match walked.end {
        Some(end) => end,
        None => begin(place, &line, stream, walked)?,
    };
    if line.prev != link.hash {
        return Err(place.finding(FindingKind::Fork, expected, OTHER_CHAIN).into());
    }
    if line.kind == CHECKPOINT {
        let key = checkpoint::check(&line, stream, &walked.origin, link)
            .map_err(|detail| place.finding(FindingKind::Fork, expected, detail))?;
        walked.checkpoints += 1;
        push_new(&mut walked.keys, key);
    }
    walked.end = Some(Link { seq: line.seq, hash: line.hash });
    Ok(line)
}

/// Returns the link before the first record, which has to open this stream.
fn begin(
    place: Place<'_>,
    line: &Line<'_>,
    stream: Stream,
    walked: &mut Walked,
) -> Result<Link, WalkFailure> {
    match serde_json::from_slice::<OpenRecord>(line.bytes) {
        Ok(open) if line.kind == b"open" => {
            walked.origin = open.origin;
            Ok(Link::genesis(stream, &walked.origin))
        }
        _ => Err(place.finding(FindingKind::Fork, line.seq, "the first record opens no stream").into()),
    }
}

/// Names the damage where an intact line has a number other than `expected`.
fn misplaced(
    place: Place<'_>,
    expected: u64,
    line: &Line<'_>,
    rest: &[Segment],
) -> Result<Finding, WalkFailure> {
    let seq = line.seq;
    if seq < expected {
        let detail = format!("record {seq} stands here again, where {expected} belongs");
        return Ok(place.finding(FindingKind::Duplicate, seq, detail));
    }
    let (mut again, mut later) = (false, false);
    for (index, segment) in rest.iter().enumerate() {
        let mut lines = Lines::open(&segment.path).map_err(|source| unreadable(&segment.path, source))?;
        let mut number = 0;
        while let Some(raw) = lines.next().map_err(|source| unreadable(&segment.path, source))? {
            number += 1;
            if let Some(other) = Line::read(raw.bytes).filter(|_| index > 0 || number > place.line) {
                again |= other.seq == seq && other.hash == line.hash;
                later |= other.seq == expected;
            }
        }
    }
    Ok(if again {
        let detail = format!("record {seq} stands here and again further down; {expected} belongs here");
        place.finding(FindingKind::Duplicate, seq, detail)
    } else if later {
        let detail = format!("record {seq} stands where {expected} belongs, which comes further down");
        place.finding(FindingKind::Reorder, seq, detail)
    } else {
        let detail = format!("records {expected} to {} are missing before this line", seq - 1);
        place.finding(FindingKind::Gap, expected, detail)
    })
}

fn cut(place: Place<'_>, end: Option<Link>) -> Finding {
    let seq = end.map_or(1, |end| end.seq + 1);
    place.finding(FindingKind::Truncation, seq, "the file was cut off here; a crash does not leave it so")
}

pub(super) fn unreadable(file: &Path, source: io::Error) -> WalkFailure {
    WalkFailure::Unreadable { file: file.to_path_buf(), source }
}

/// Returns the hash at the chain's end, or that of nothing where there is no chain.
pub(super) fn head_of(stream: Stream, end: Option<Link>) -> Head {
    let end = end.unwrap_or_else(|| Link::genesis(stream, ""));
    let hash: RecordHash = end.hash;
    Head { stream, seq: end.seq, hash }
}

const ANCHOR_DIFFERS: &str = "the record is not the anchored one; the chain was rewritten";
const OTHER_CHAIN: &str =
    "the record continues another chain: the one before it was rewritten, or this one belongs elsewhere";
