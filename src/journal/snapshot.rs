//! What a start learned from sealed segments, kept so that the next one need not put it together again.
//!
//! `PATH/snapshot` holds the views as they stood behind the last record of a sealed segment, and is bound to that record
//! by its number and hash, and to this journal by its key. It is a view like those in it: where it is missing, cut off,
//! edited, signed by another key, of another chain, or older than what retention dropped, it is left alone and all is
//! replayed. What it saves is reading records one by one; that the segments before it are what was written is checked
//! at each start as ever.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::chain::{Link, RecordHash, Stream};
use super::checkpoint::SigningKey;
use super::entry::Entry;
use super::record::ReservationRecord;
use super::walk::{Place, WalkFailure, Way};
use crate::id::RequestId;

/// What is learned from the entries of a journal, those of a stream in their order, and can be kept.
pub trait View {
    /// Takes the next entry; `seq` is its number.
    fn add(&mut self, seq: u64, entry: Entry);

    /// Returns what [`Self::restore`] needs to stand where this one does.
    fn to_bytes(&self) -> Vec<u8>;

    /// Takes up what was kept in the place of all that was added; false, and as before, where it cannot be read.
    fn restore(&mut self, kept: &[u8]) -> bool;
}

/// Where a snapshot stands: behind which record, and behind what retention dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotPlace {
    /// The last record it covers.
    pub seq: u64,
    dropped: u64,
}

/// A view of one function, of which nothing is kept.
pub(super) struct Each<F>(pub(super) F);

impl<F: FnMut(u64, Entry)> View for Each<F> {
    fn add(&mut self, seq: u64, entry: Entry) {
        (self.0)(seq, entry);
    }

    fn to_bytes(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&mut self, _: &[u8]) -> bool {
        false
    }
}

/// What the journal itself learns from a stream: what is held, and how much it does not know.
#[derive(Debug, Default)]
pub(super) struct Pending {
    held: HashMap<RequestId, (u64, ReservationRecord)>,
    pub(super) unknown: u64,
}

/// What a snapshot says of itself.
#[derive(Debug, Serialize, Deserialize)]
struct Standing {
    version: u32,
    origin: String,
    dropped: u64,
    seq: u64,
    hash: RecordHash,
    unknown: u64,
    /// Reservations without an exchange, with their numbers, oldest first.
    held: Vec<(u64, Box<RawValue>)>,
}

impl Pending {
    /// Reads the record of a line and gives it on.
    pub(super) fn take(
        &mut self,
        place: Place<'_>,
        line: &super::chain::Line<'_>,
        view: &mut impl View,
    ) -> Result<(), super::walk::Finding> {
        let read = Entry::from_line(line.kind, line.bytes);
        let Some(entry) = read.map_err(|error| place.unreadable_record(line.seq, &error))? else {
            self.unknown += 1;
            return Ok(());
        };
        match &entry {
            Entry::Reservation(held) => {
                self.held.insert(held.request_id.clone(), (line.seq, held.clone()));
            }
            Entry::Exchange(record) => drop(self.held.remove(&record.request_id)),
            _ => {}
        }
        view.add(line.seq, entry);
        Ok(())
    }

    /// Returns the reservations without an exchange, oldest first.
    pub(super) fn into_held(self) -> Vec<ReservationRecord> {
        let mut held: Vec<_> = self.held.into_values().collect();
        held.sort_by_key(|(seq, _)| *seq);
        held.into_iter().map(|(_, held)| held).collect()
    }
}

/// Takes up the snapshot where it belongs to the way's stream, and goes past what it covers.
///
/// What it covers is verified first; `None` where there is nothing to take up, and then the way is as it was.
pub(super) fn resume(root: &Path, key: &SigningKey, way: &mut Way, view: &mut impl View) -> Option<Pending> {
    let bytes = read(root, key)?;
    let (standing, body) = parts(&bytes)?;
    let swept = way.sweep_to(standing.seq)?;
    let is_ours = swept.end == standing.end() && swept.origin == standing.origin;
    if !is_ours || way.dropped() != standing.dropped {
        tracing::warn!(seq = standing.seq, "the journal's snapshot is not of this chain; all is replayed");
        return None;
    }
    let pending = standing.pending()?;
    if !view.restore(body) {
        tracing::info!(seq = standing.seq, "the journal's snapshot is of another version; all is replayed");
        return None;
    }
    way.pass(swept);
    Some(pending)
}

/// Puts the snapshot behind the last sealed segment where it is not there yet; `view` is an empty one.
///
/// Returns where it stands then, `None` where nothing is sealed. Where that is `known` nothing is read.
pub(super) fn renew(
    root: &Path,
    key: &SigningKey,
    view: &mut impl View,
    known: Option<SnapshotPlace>,
) -> Result<Option<SnapshotPlace>, WalkFailure> {
    let folder = root.join(Stream::Exchanges.name());
    let mut way = Way::of(&folder, Stream::Exchanges)?.sealed();
    let Some(seq) = way.sealed_at() else { return Ok(None) };
    let place = Some(SnapshotPlace { seq, dropped: way.dropped() });
    if place == known {
        return Ok(place);
    }
    let mut pending = Pending::default();
    let kept = read(root, key);
    if let Some((standing, body)) = kept.as_deref().and_then(parts)
        && standing.dropped == way.dropped()
    {
        if standing.seq == seq {
            return Ok(place);
        }
        // Signed by us, so what it says of the segments before it was so.
        if let Some(held) = standing.pending()
            && way.has_boundary(standing.seq)
            && view.restore(body)
        {
            pending = held;
            way.pass_known(standing.end(), standing.origin);
        }
    }
    let walked = way.walk(None, |place, line| pending.take(place, line, view))?;
    let Some(end) = walked.end else { return Ok(None) };
    let standing = Standing::of(end, walked.origin, walked.dropped, pending);
    let written = standing.and_then(|standing| write(root, key, &standing, &view.to_bytes()));
    written.map_err(|source| WalkFailure::Unreadable { file: root.join(FILE), source })?;
    Ok(place)
}

impl Standing {
    fn of(end: Link, origin: String, dropped: u64, pending: Pending) -> io::Result<Self> {
        let Pending { held, unknown } = pending;
        let mut listed: Vec<_> = held.into_values().collect();
        listed.sort_by_key(|(seq, _)| *seq);
        let raw = |(seq, held): (u64, ReservationRecord)| Ok((seq, RawValue::from_string(held.to_json())?));
        let held = listed.into_iter().map(raw).collect::<io::Result<_>>()?;
        Ok(Self { version: VERSION, origin, dropped, seq: end.seq, hash: end.hash, unknown, held })
    }

    const fn end(&self) -> Link {
        Link { seq: self.seq, hash: self.hash }
    }

    fn pending(&self) -> Option<Pending> {
        let mut held = HashMap::new();
        for (seq, raw) in &self.held {
            let record: ReservationRecord = serde_json::from_str(raw.get()).ok()?;
            held.insert(record.request_id.clone(), (*seq, record));
        }
        Some(Pending { held, unknown: self.unknown })
    }
}

/// Reads the file; `None` where it is not there, or not as this journal's key signed it.
fn read(root: &Path, key: &SigningKey) -> Option<Vec<u8>> {
    let path = root.join(FILE);
    let mut bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(%error, file = %path.display(), "the journal's snapshot cannot be read; all is replayed");
            return None;
        }
    };
    let whole = bytes.len().checked_sub(SIGNATURE_BYTES)?;
    let signature = bytes.split_off(whole);
    let is_ours = std::str::from_utf8(&signature).is_ok_and(|signature| key.has_signed(&bytes, signature));
    if !is_ours {
        tracing::warn!(file = %path.display(), "the journal's snapshot is not what was written; all is replayed");
        return None;
    }
    Some(bytes)
}

/// Takes a signed file apart.
fn parts(bytes: &[u8]) -> Option<(Standing, &[u8])> {
    let rest = bytes.strip_prefix(MARK)?;
    let (head, body) = rest.split_at_checked(memchr::memchr(b'\n', rest)?)?;
    let standing: Standing = serde_json::from_slice(head).ok()?;
    (standing.version == VERSION).then_some((standing, body.strip_prefix(b"\n")?))
}

fn write(root: &Path, key: &SigningKey, standing: &Standing, body: &[u8]) -> io::Result<()> {
    let mut bytes = MARK.to_vec();
    serde_json::to_writer(&mut bytes, standing)?;
    bytes.push(b'\n');
    bytes.extend_from_slice(body);
    let signature = key.sign_bytes(&bytes);
    bytes.extend_from_slice(signature.as_bytes());
    let path = root.join(FILE);
    let begun = path.with_extension("begun");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&begun)?;
    let written = file.write_all(&bytes).and_then(|()| file.sync_all());
    // A full disk has better use for the room; what there was before stays good.
    written.inspect_err(|_| drop(std::fs::remove_file(&begun)))?;
    std::fs::rename(&begun, &path)
}

pub(super) const FILE: &str = "snapshot";
const MARK: &[u8] = b"tercet snapshot\n";
const SIGNATURE_BYTES: usize = 128;
/// Of the file around the view's bytes.
const VERSION: u32 = 1;
