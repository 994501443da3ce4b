//! Retention: whole sealed segments of exchanges are dropped once their last record is old enough.
//!
//! What stays is a tombstone beside the segments, a signed checkpoint of the last record dropped, from which the
//! rest verifies. Who owns a file or a thread outlives the records: it is written again at the chain's end before
//! anything is dropped. The tombstone is written before the first file goes, so a crash between leaves files that
//! the next start removes. Administrative changes are kept.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Deserialize;

use super::chain::{Head, Line, Link, Stream};
use super::checkpoint::CheckpointRecord;
use super::entry::Entry;
use super::record::{ExchangeRecord, ObjectRecord, ObjectType};
use super::segment::{self, Lines, Segment};
use super::walk::{FindingKind, Place, WalkFailure, unreadable};
use super::{Journal, StoreFailure};
use crate::aside::aside;
use crate::clock::rfc3339;

/// What was dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// How many segments.
    pub segments: u64,
    /// The last record of them; 0 where nothing was dropped.
    pub last_seq: u64,
    /// How many owners of objects were written again.
    pub carried: u64,
}

/// Why nothing, or not all, was dropped.
#[derive(Debug, thiserror::Error)]
pub enum RetentionFailure {
    /// A file could not be read, written or removed.
    #[error("{}: {source}", file.display())]
    Unusable {
        /// The file or folder.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An owner could not be written again.
    #[error(transparent)]
    Unwritten(#[from] StoreFailure),
}

/// Segments to drop, and what has to outlive them.
struct Plan {
    segments: Vec<Segment>,
    end: Link,
    objects: Vec<ObjectRecord>,
}

impl Journal {
    /// Drops the sealed segments of exchanges that hold nothing from `before` on; signs for them at `now`.
    ///
    /// # Errors
    /// When files cannot be read, written or removed; then what is left verifies all the same.
    pub async fn drop_before(&self, before: Timestamp, now: Timestamp) -> Result<Dropped, RetentionFailure> {
        let folder = self.path.join(Stream::Exchanges.name());
        let looked = folder.clone();
        let planned = aside(move || plan(&looked, before));
        let unusable = |source| RetentionFailure::Unusable { file: folder.clone(), source };
        let Some(plan) = planned.await.map_err(unusable)?.map_err(unusable)? else {
            return Ok(Dropped::default());
        };
        let carried = plan.objects.len() as u64;
        for object in plan.objects {
            self.append(&object.into()).await?;
        }
        let head = Head { stream: Stream::Exchanges, seq: plan.end.seq, hash: plan.end.hash };
        let tombstone = self.key.sign(&head, &self.exchanges.origin, now);
        let segments = plan.segments.len() as u64;
        let dropped = aside({
            let folder = folder.clone();
            move || bury(&folder, &tombstone).and_then(|()| remove_covered(&folder, tombstone.seq))
        });
        dropped.await.map_err(unusable)?.map_err(unusable)?;
        Ok(Dropped { segments, last_seq: head.seq, carried })
    }
}

/// Returns the tombstone of a stream, which has to be signed and about this stream.
pub(super) fn tombstone(folder: &Path, stream: Stream) -> Result<Option<CheckpointRecord>, WalkFailure> {
    let path = folder.join(TOMBSTONE);
    let text = match std::fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|source| unreadable(&path, source))?,
    };
    let place = Place { file: &path, line: 1 };
    match serde_json::from_slice::<CheckpointRecord>(&text) {
        Ok(dropped) if dropped.stream == stream && dropped.is_genuine() => Ok(Some(dropped)),
        _ => Err(place
            .finding(FindingKind::Edit, 1, "the tombstone of dropped segments is not what was signed")
            .into()),
    }
}

/// Removes segments that the tombstone covers.
pub(super) fn remove_covered(folder: &Path, last_seq: u64) -> io::Result<()> {
    for segment in segment::list(folder)?.into_iter().filter(|segment| segment.first_seq <= last_seq) {
        std::fs::remove_file(&segment.path)?;
    }
    Ok(())
}

/// Looks for segments from the first on that are wholly older than `before`; never the last, which is written to.
fn plan(folder: &Path, before: Timestamp) -> io::Result<Option<Plan>> {
    let mut segments = segment::list(folder)?;
    segments.pop();
    let mut found: Option<Plan> = None;
    // By kind and id, so that an object is carried once.
    let mut objects: BTreeMap<(u8, String), ObjectRecord> = BTreeMap::new();
    for segment in segments {
        let Some(end) = end_of_old(&segment.path, before, &mut objects)? else { break };
        let plan = found.get_or_insert_with(|| Plan { segments: Vec::new(), end, objects: Vec::new() });
        plan.segments.push(segment);
        plan.end = end;
    }
    let kept = found.map(|plan| Plan { objects: objects.into_values().collect(), ..plan });
    Ok(kept)
}

/// Returns the last link of a segment that holds nothing from `before` on, and gathers what it says of owners.
fn end_of_old(
    path: &Path,
    before: Timestamp,
    objects: &mut BTreeMap<(u8, String), ObjectRecord>,
) -> io::Result<Option<Link>> {
    let mut owned = Vec::new();
    let mut end = None;
    let mut lines = Lines::open(path)?;
    while let Some(raw) = lines.next()? {
        let Some(line) = Line::read(raw.bytes) else { return Ok(None) };
        match serde_json::from_slice::<Dated>(raw.bytes) {
            Ok(dated) if dated.timestamp < before => {}
            _ => return Ok(None),
        }
        end = Some(Link { seq: line.seq, hash: line.hash });
        match Entry::from_line(line.kind, line.bytes) {
            Ok(Some(Entry::Object(record))) => owned.push(record),
            Ok(Some(Entry::Exchange(record))) => owned.extend(made_by(&record)),
            _ => {}
        }
    }
    for record in owned.into_iter().filter(|record| outlives(record.object_type)) {
        objects.insert((record.object_type as u8, record.object_id.clone()), record);
    }
    Ok(end)
}

#[derive(Deserialize)]
struct Dated {
    #[serde(with = "rfc3339")]
    timestamp: Timestamp,
}

fn made_by(record: &ExchangeRecord) -> impl Iterator<Item = ObjectRecord> + '_ {
    record.objects.iter().map(|object| ObjectRecord {
        timestamp: record.timestamp,
        object_type: object.object_type,
        object_id: object.object_id.clone(),
        tenant: record.tenant.clone(),
        user_id: record.user_id.clone(),
        request_id: record.request_id.clone(),
    })
}

/// Batches and containers are gone upstream after 30 days at most, sooner than any record is dropped.
const fn outlives(kind: ObjectType) -> bool {
    matches!(kind, ObjectType::File | ObjectType::Thread)
}

/// Writes the tombstone in the place of the one before.
fn bury(folder: &Path, tombstone: &CheckpointRecord) -> io::Result<()> {
    let begun = folder.join(TOMBSTONE).with_extension("begun");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&begun)?;
    file.write_all(&serde_json::to_vec(tombstone)?)?;
    file.sync_all()?;
    std::fs::rename(&begun, folder.join(TOMBSTONE))?;
    std::fs::File::open(folder)?.sync_all()
}

const TOMBSTONE: &str = "dropped.json";
