//! The auditor: is the journal what was written, and is it all there.
//!
//! It reads and never writes, and may run beside a gateway that is writing. A chain alone shows edits, not
//! the loss of its tail or its replacement as a whole; for those a head kept elsewhere has to be given.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::chain::{Head, Stream};
use super::checkpoint::{CheckpointRecord, SigningKey};
use super::recover::LOCK_FILE;
use super::walk::{FindingKind, Place, WalkFailure, Walked, Way, head_of, walk};

/// A stream that is as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// How many records there are.
    pub records: u64,
    /// The last of them.
    pub head: Head,
    /// How many files they are in.
    pub segments: u64,
    /// How many records retention dropped before them.
    pub dropped: u64,
    /// How many signed checkpoints stand among them.
    pub checkpoints: u64,
    /// The keys that signed, in order; more than one where the journal's key was lost and made anew.
    pub keys: Vec<String>,
}

/// Which exchanges to export; every part narrows.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Of this tenant.
    pub tenant: Option<String>,
    /// Of this user.
    pub user: Option<String>,
    /// Sent to this model; where it was sent nowhere, asked of it.
    pub model: Option<String>,
    /// At this time or later.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub to: Option<Timestamp>,
}

/// Verifies every stream of the journal at `path`; `head` anchors the stream it names.
///
/// `path` may also be the folder of one stream. Fails with the first finding, or if nothing is there to read.
pub fn verify(path: &Path, head: Option<&Head>) -> Result<Vec<Verified>, WalkFailure> {
    let mut verified = Vec::new();
    for (stream, folder) in streams(path)? {
        let anchor = head.filter(|head| head.stream == stream);
        verified.push(verify_stream(&folder, stream, anchor)?);
    }
    if let Some(head) = head.filter(|head| verified.iter().all(|found| found.head.stream != head.stream)) {
        let place = Place { file: path, line: 0 };
        return Err(place
            .finding(FindingKind::Truncation, head.seq, "the anchored stream is missing")
            .into());
    }
    Ok(verified)
}

/// Returns the heads of the streams at `path`, verified on the way.
pub fn head(path: &Path) -> Result<Vec<Head>, WalkFailure> {
    Ok(verify(path, None)?.into_iter().map(|verified| verified.head).collect())
}

/// Returns the heads of the streams at `path`, verified on the way and signed with the journal's key at `now`.
pub fn signed_heads(
    path: &Path,
    key: &SigningKey,
    now: Timestamp,
) -> Result<Vec<CheckpointRecord>, WalkFailure> {
    let sign = |(stream, folder): (Stream, PathBuf)| {
        let walked = follow(&folder, stream, None)?;
        Ok(key.sign(&head_of(stream, walked.end), &walked.origin, now))
    };
    streams(path)?.into_iter().map(sign).collect()
}

/// Gives `each` the lines of the selected exchanges, as they were recorded and without their ends; returns how
/// many there were.
///
/// Verifies on the way, and stops at a finding: what was given until then is sound.
pub fn export(
    path: &Path,
    selection: &Selection,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<u64, WalkFailure> {
    let mut count = 0;
    let mut broken: Option<io::Error> = None;
    for (stream, folder) in streams(path)? {
        if stream == Stream::Admin {
            continue;
        }
        walk(&folder, stream, |_, line| {
            if broken.is_none() && line.kind == b"exchange" && selection.holds(line.bytes) {
                count += 1;
                broken = each(line.bytes).err();
            }
            Ok(())
        })?;
    }
    match broken {
        Some(source) => Err(WalkFailure::Unreadable { file: PathBuf::from("the output"), source }),
        None => Ok(count),
    }
}

impl Selection {
    fn holds(&self, line: &[u8]) -> bool {
        #[derive(Deserialize)]
        struct Wanted<'a> {
            #[serde(borrow)]
            tenant: Cow<'a, str>,
            timestamp: Cow<'a, str>,
            user_id: Option<Cow<'a, str>>,
            requested_model: Cow<'a, str>,
            sent_model: Option<Cow<'a, str>>,
        }
        let Ok(wanted) = serde_json::from_slice::<Wanted<'_>>(line) else { return false };
        let Ok(time) = wanted.timestamp.parse::<Timestamp>() else { return false };
        let is = |asked: &Option<String>, found: &str| asked.as_deref().is_none_or(|name| name == found);
        is(&self.tenant, &wanted.tenant)
            && is(&self.user, wanted.user_id.as_deref().unwrap_or_default())
            && is(&self.model, wanted.sent_model.as_deref().unwrap_or(&wanted.requested_model))
            && self.from.is_none_or(|from| from <= time)
            && self.to.is_none_or(|to| time < to)
    }
}

fn verify_stream(folder: &Path, stream: Stream, anchor: Option<&Head>) -> Result<Verified, WalkFailure> {
    // Asked before the walk, so that a gateway which stops meanwhile cannot make its own tail look torn.
    let is_written = is_being_written(folder);
    let walked = follow(folder, stream, anchor)?;
    let head = head_of(stream, walked.end);
    let line = walked.torn.map_or(0, |(line, _)| line);
    let place = Place { file: &walked.last_file, line };
    if let Some(anchor) = anchor.filter(|anchor| anchor.seq > head.seq) {
        let detail = format!("the anchored record is {}, the last one here is {}", anchor.seq, head.seq);
        return Err(place.finding(FindingKind::Truncation, head.seq + 1, detail).into());
    }
    if let Some((_, bytes)) = walked.torn.filter(|_| !is_written) {
        let detail = format!("the last line stops after {bytes} bytes; the next start cuts it off");
        return Err(place.finding(FindingKind::Torn, head.seq + 1, detail).into());
    }
    let Walked { segments, dropped, checkpoints, keys, .. } = walked;
    Ok(Verified { records: head.seq - dropped, head, segments, dropped, checkpoints, keys })
}

/// Goes along the whole stream: by all processors where it is sound, from the beginning where a finding is to be named.
fn follow(folder: &Path, stream: Stream, anchor: Option<&Head>) -> Result<Walked, WalkFailure> {
    let mut way = Way::of(folder, stream)?;
    if let Some(swept) = way.sweep(anchor) {
        way.pass(swept);
    }
    way.walk(anchor, |_, _| Ok(()))
}

/// Returns the folders of the streams: below `path`, or `path` itself.
fn streams(path: &Path) -> Result<Vec<(Stream, PathBuf)>, WalkFailure> {
    let below: Vec<_> = Stream::ALL
        .into_iter()
        .map(|stream| (stream, path.join(stream.name())))
        .filter(|(_, folder)| folder.is_dir())
        .collect();
    if !below.is_empty() {
        return Ok(below);
    }
    let named = Stream::ALL.into_iter().find(|stream| path.is_dir() && path.ends_with(stream.name()));
    named.map(|stream| vec![(stream, path.to_path_buf())]).ok_or_else(|| WalkFailure::Unreadable {
        file: path.to_path_buf(),
        source: io::Error::new(io::ErrorKind::NotFound, "no journal here"),
    })
}

/// Says whether a gateway holds the journal, so that the last line may be on its way.
fn is_being_written(folder: &Path) -> bool {
    let lock = folder.parent().map(|root| root.join(LOCK_FILE));
    lock.and_then(|path| File::open(path).ok()).is_some_and(|file| file.try_lock_shared().is_err())
}
