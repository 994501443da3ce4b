//! The start: who may write the journal, what is in it, and what a crash left to settle.
//!
//! Every segment is verified; those that a snapshot covers (`snapshot`) need not be replayed. A last line that was
//! never finished is cut off and reported; any other damage refuses the start, because a gateway that forgets spending
//! hands it out again. Missing segments are damage as well: a file beside them remembers that there were some.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::chain::{Link, Stream, to_hex};
use super::checkpoint::{Signer, SigningKey};
use super::entry::{Entry, Line};
use super::record::{OpenRecord, ReservationRecord};
use super::retention;
use super::snapshot::{self, View};
use super::tail::{Tail, remove_unnamed};
use super::walk::{Finding, FindingKind, Place, WalkFailure, Way};
use crate::clock::Clock;

/// Why the journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenFailure {
    /// Another process writes it.
    #[error(
        "another process holds the journal at {}; stop it, or give this one another [journal] path",
        path.display()
    )]
    Held {
        /// The journal's folder.
        path: PathBuf,
    },
    /// The chain is damaged, so that spending may be forgotten.
    #[error(
        "{0}; restore the file from a copy, or move the whole journal aside to begin a new one, \
         which forgets what was spent (`tercet audit verify` says more)"
    )]
    Damaged(#[source] Finding),
    /// The segments are gone although the stream was begun.
    #[error(
        "the segments in {} are gone; restore them, or remove the folder to begin a new journal, \
         which forgets what was spent",
        folder.display()
    )]
    Missing {
        /// The stream's folder.
        folder: PathBuf,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", file.display())]
    Unusable {
        /// The file or folder.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What the start found.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// How many records there are in the exchanges' stream, its own first one included.
    pub records: u64,
    /// How many files they are in.
    pub segments: u64,
    /// Last lines that were cut off.
    pub torn: Vec<Torn>,
    /// Reservations without an exchange, oldest first: requests a crash cut short, to be charged at their
    /// estimate (see [`super::ExchangeRecord::lost`]).
    pub unsettled: Vec<ReservationRecord>,
    /// Records of a kind this version does not know; they are kept and verified, and left out of every view.
    pub unknown: u64,
}

/// A last line that was never finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The file.
    pub file: PathBuf,
    /// How much was cut off.
    pub bytes: u64,
}

/// Takes the journal's folder for this process; it is held until the file is closed.
pub(super) fn hold(root: &Path) -> Result<File, OpenFailure> {
    make_folder(root)?;
    let path = root.join(LOCK_FILE);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|source| unusable(&path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenFailure::Held { path: root.to_path_buf() }),
        Err(TryLockError::Error(source)) => Err(unusable(&path, source)),
    }
}

/// Reads a stream, giving every entry to `view` or what was kept of the first of them, and returns its end, ready to
/// be written.
pub(super) fn recover(
    root: &Path,
    stream: Stream,
    (key, clock): (&SigningKey, &Clock),
    segment_bytes: u64,
    found: &mut Recovered,
    view: &mut impl View,
) -> Result<(Tail, String), OpenFailure> {
    let folder = root.join(stream.name());
    make_folder(&folder)?;
    remove_unnamed(&folder).map_err(|source| unusable(&folder, source))?;
    let signer = |origin: &str, end| Signer::new(key.clone(), clock.clone(), stream, origin.to_owned(), end);
    let mut way = Way::of(&folder, stream)?;
    let resumed = match stream {
        Stream::Exchanges => snapshot::resume(root, key, &mut way, view),
        Stream::Admin => None,
    };
    let mut pending = resumed.unwrap_or_default();
    let walked = way.walk(None, |place, line| pending.take(place, line, view))?;
    found.unknown += pending.unknown;
    let Some(end) = walked.end.filter(|_| walked.segments > 0) else {
        return begin(folder, stream, clock, segment_bytes, signer);
    };
    retention::remove_covered(&folder, walked.dropped).map_err(|source| unusable(&folder, source))?;
    if stream == Stream::Exchanges {
        found.records = end.seq;
        found.segments = walked.segments;
    }
    found.unsettled.extend(pending.into_held());
    if let Some((_, bytes)) = walked.torn {
        tracing::warn!(file = %walked.last_file.display(), bytes, "a record that was never finished is cut off");
        found.torn.push(Torn { file: walked.last_file.clone(), bytes });
    }
    let mut tail = Tail::new(folder.clone(), segment_bytes, end, signer(&walked.origin, end));
    tail.resume(&walked.last_file, walked.whole_bytes)
        .map_err(|source| unusable(&walked.last_file, source))?;
    remember(&folder, &walked.origin)?;
    Ok((tail, walked.origin))
}

/// Begins a stream that has no segment.
fn begin(
    folder: PathBuf,
    stream: Stream,
    clock: &Clock,
    segment_bytes: u64,
    signer: impl Fn(&str, Link) -> Signer,
) -> Result<(Tail, String), OpenFailure> {
    if folder.join(ORIGIN_FILE).exists() {
        return Err(OpenFailure::Missing { folder });
    }
    let mut random = [0; 16];
    let failed = |source| unusable(&folder, source);
    aws_lc_rs::rand::fill(&mut random).map_err(|_| failed(io::Error::other("no random bytes")))?;
    let origin = to_hex(&random);
    let open = OpenRecord { timestamp: clock.now(), stream: stream.name().to_owned(), origin, version: 1 };
    let genesis = Link::genesis(stream, &open.origin);
    let origin = open.origin.clone();
    let mut tail = Tail::new(folder.clone(), segment_bytes, genesis, signer(&origin, genesis));
    let record = Entry::Open(open).to_line().map(Line::into_bytes).unwrap_or_default();
    tail.write([record.as_slice()].into_iter()).map_err(failed)?;
    remember(&folder, &origin)?;
    Ok((tail, origin))
}

/// Writes down that the stream was begun, and where.
fn remember(folder: &Path, origin: &str) -> Result<(), OpenFailure> {
    let path = folder.join(ORIGIN_FILE);
    match std::fs::read_to_string(&path) {
        Ok(known) if known.trim() == origin => return Ok(()),
        Ok(known) if known.trim().len() == origin.len() => {
            let place = Place { file: &path, line: 1 };
            let detail = "the segments are those of another journal than was begun in this folder";
            return Err(OpenFailure::Damaged(place.finding(FindingKind::Fork, 1, detail)));
        }
        // Not there yet, or cut short by a crash.
        _ => {}
    }
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| writeln!(file, "{origin}").and_then(|()| file.sync_all()))
        .map_err(|source| unusable(&path, source))
}

fn make_folder(path: &Path) -> Result<(), OpenFailure> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| unusable(path, source))
}

fn unusable(file: &Path, source: io::Error) -> OpenFailure {
    OpenFailure::Unusable { file: file.to_path_buf(), source }
}

impl From<WalkFailure> for OpenFailure {
    fn from(failure: WalkFailure) -> Self {
        match failure {
            WalkFailure::Found(finding) => Self::Damaged(finding),
            WalkFailure::Unreadable { file, source } => Self::Unusable { file, source },
        }
    }
}

/// Locked by the process that writes.
pub(super) const LOCK_FILE: &str = "lock";
const ORIGIN_FILE: &str = "origin";
