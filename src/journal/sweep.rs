//! A quick look along the sealed part of a chain: its segments are read by all processors at once.
//!
//! It accepts exactly what a walk accepts and names nothing: where anything is not as it should be it has no answer,
//! and the walk from the beginning says what is wrong and where. Every byte is hashed all the same.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::chain::{Head, Line, Link, RecordHash, Stream};
use super::checkpoint;
use super::entry::CHECKPOINT;
use super::record::OpenRecord;
use super::segment::{Lines, Segment};

/// The end of a chain's part that is as it was written.
#[derive(Clone, Debug)]
pub(super) struct Swept {
    pub(super) end: Link,
    pub(super) origin: String,
    pub(super) checkpoints: u64,
    /// The keys that signed, each once in a row.
    pub(super) keys: Vec<String>,
}

/// One segment, sound in itself.
struct Part {
    index: usize,
    before: RecordHash,
    end: Link,
    checkpoints: u64,
    keys: Vec<String>,
}

/// Sweeps over `segments`, which follow `before`, or begin the stream where there is nothing before.
///
/// `None` where there are none, or where something is wrong with one. With `head`, its record has to have its hash.
pub(super) fn sweep(
    segments: &[Segment],
    stream: Stream,
    before: Option<(Link, String)>,
    head: Option<&Head>,
) -> Option<Swept> {
    let first = segments.first()?;
    let (link, origin) = match before {
        Some(before) => before,
        None => beginning(first, stream)?,
    };
    let next = AtomicUsize::new(0);
    let read = || read_parts(segments, &next, |segment| sweep_one(segment, stream, &origin, head));
    let more =
        thread::available_parallelism().map_or(1, usize::from).min(segments.len()).min(THREADS_MAX) - 1;
    let mut parts = thread::scope(|scope| {
        // Where no thread is to be had, fewer do it.
        let started = (0..more).filter_map(|_| thread::Builder::new().spawn_scoped(scope, read).ok());
        let started: Vec<_> = started.collect();
        let mut parts = read()?;
        for one in started {
            parts.append(&mut one.join().ok()??);
        }
        Some(parts)
    })?;
    parts.sort_by_key(|part| part.index);
    let mut swept = Swept { end: link, origin, checkpoints: 0, keys: Vec::new() };
    for (part, segment) in parts.into_iter().zip(segments) {
        if part.before != swept.end.hash || segment.first_seq != swept.end.seq + 1 {
            return None;
        }
        swept.end = part.end;
        swept.checkpoints += part.checkpoints;
        for key in part.keys {
            push_new(&mut swept.keys, key);
        }
    }
    Some(swept)
}

/// Takes one segment after the other until none is left; `None`, for all, once one is not sound.
fn read_parts(
    segments: &[Segment],
    next: &AtomicUsize,
    read: impl Fn(&Segment) -> Option<Part>,
) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(segment) = segments.get(index) else { return Some(parts) };
        let Some(part) = read(segment) else {
            next.store(segments.len(), Ordering::Relaxed);
            return None;
        };
        parts.push(Part { index, ..part });
    }
}

fn sweep_one(segment: &Segment, stream: Stream, origin: &str, head: Option<&Head>) -> Option<Part> {
    let mut lines = Lines::open(&segment.path).ok()?;
    let mut part: Option<Part> = None;
    while let Some(raw) = lines.next().ok()? {
        let line = Line::read(raw.bytes).filter(|line| raw.ended && line.is_intact())?;
        let part = part.get_or_insert_with(|| Part {
            index: 0,
            before: line.prev,
            end: Link { seq: segment.first_seq.saturating_sub(1), hash: line.prev },
            checkpoints: 0,
            keys: Vec::new(),
        });
        if line.prev != part.end.hash || line.seq != part.end.seq + 1 {
            return None;
        }
        if head.is_some_and(|head| head.seq == line.seq && head.hash != line.hash) {
            return None;
        }
        if line.kind == CHECKPOINT {
            push_new(&mut part.keys, checkpoint::check(&line, stream, origin, part.end).ok()?);
            part.checkpoints += 1;
        }
        part.end = Link { seq: line.seq, hash: line.hash };
    }
    part
}

/// Reads where the stream begins from its first record.
fn beginning(first: &Segment, stream: Stream) -> Option<(Link, String)> {
    let mut lines = Lines::open(&first.path).ok()?;
    let line = Line::read(lines.next().ok()??.bytes).filter(|line| line.kind == b"open")?;
    let open: OpenRecord = serde_json::from_slice(line.bytes).ok()?;
    Some((Link::genesis(stream, &open.origin), open.origin))
}

/// Adds a key unless it is the last one already.
pub(super) fn push_new(keys: &mut Vec<String>, key: String) {
    if keys.last() != Some(&key) {
        keys.push(key);
    }
}

/// More threads than this wait for the disk rather than help it.
const THREADS_MAX: usize = 8;
