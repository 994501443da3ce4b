//! Putting texts back in a stream of events as it passes, however it is cut.
//!
//! An event is held until it is whole. The end of a piece of text that may be the beginning of a placeholder is held
//! until the next piece of its block tells, at most as long as a placeholder; where none comes, it is sent in an event
//! like the last. Events in which nothing changes pass byte for byte.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::{Depth, Restoration, inside};
use crate::wire::json::{Cursor, Kind, Malformed, Plain, Text};
use crate::wire::texts::Texts;

/// One stream on its way to the client.
#[derive(Debug)]
pub struct Stream {
    restoration: Arc<Restoration>,
    /// The event that has begun.
    event: Vec<u8>,
    /// Where in it the present line begins.
    line: usize,
    after_cr: bool,
    /// The event has ended, but for the line feed that may follow.
    ended: bool,
    /// What of each block is held.
    held: HashMap<u64, Held>,
    /// An event had no end within bounds, and what follows passes as it is.
    given_up: bool,
}

/// The end of a block's text so far, and the event it came in.
#[derive(Debug)]
struct Held {
    text: String,
    event: Vec<u8>,
    /// Where in the event its text stands, quotes included.
    at: Range<usize>,
}

/// What an event does to a block.
enum Said<'a> {
    /// A piece of text.
    Piece(u64, Text<'a>, Depth),
    /// Whole strings.
    Strings(Vec<Text<'a>>),
    /// The block has ended.
    Stop(u64),
    /// All blocks have.
    Over,
    /// Nothing of interest.
    Nothing,
}

impl Stream {
    /// Begins a stream.
    #[must_use]
    pub fn new(restoration: Arc<Restoration>) -> Self {
        let (event, held) = (Vec::new(), HashMap::new());
        Self { restoration, event, line: 0, after_cr: false, ended: false, held, given_up: false }
    }

    /// Takes the next chunk, and appends what can go on to `output`.
    pub fn feed(&mut self, chunk: &[u8], output: &mut Vec<u8>) {
        let mut rest = chunk;
        while !rest.is_empty() {
            if self.given_up {
                output.extend_from_slice(rest);
                return;
            }
            if std::mem::take(&mut self.after_cr) && rest.first() == Some(&b'\n') {
                self.take(&mut rest, 1);
                self.line = self.event.len();
            }
            if std::mem::take(&mut self.ended) {
                self.end_event(output);
                continue;
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', rest) else {
                let length = rest.len();
                self.take(&mut rest, length);
                self.look_at_size(output);
                return;
            };
            self.after_cr = rest.get(end) == Some(&b'\r');
            self.take(&mut rest, end + 1);
            // Behind a carriage return it takes one more byte to tell whether the line has ended.
            self.ended = self.event.len() - 1 == self.line;
            self.line = self.event.len();
            if self.ended && !self.after_cr {
                self.ended = false;
                self.end_event(output);
            }
            self.look_at_size(output);
        }
    }

    /// Appends everything that is still held: the stream has ended.
    pub fn end(&mut self, output: &mut Vec<u8>) {
        if std::mem::take(&mut self.ended) {
            self.end_event(output);
        }
        self.let_go(output);
        output.append(&mut self.event);
        self.line = 0;
    }

    fn take(&mut self, rest: &mut &[u8], length: usize) {
        let (taken, left) = rest.split_at(length.min(rest.len()));
        self.event.extend_from_slice(taken);
        *rest = left;
    }

    fn look_at_size(&mut self, output: &mut Vec<u8>) {
        if self.event.len() > EVENT_BYTES_MAX {
            self.end(output);
            self.given_up = true;
        }
    }

    fn end_event(&mut self, output: &mut Vec<u8>) {
        let event = std::mem::take(&mut self.event);
        self.line = 0;
        let Some(data) = data_of(&event) else {
            output.extend_from_slice(&event);
            return;
        };
        match read(event.get(data.clone()).unwrap_or_default()).unwrap_or(Said::Nothing) {
            Said::Piece(index, text, depth) => self.piece(&event, data.start, index, &text, depth, output),
            Said::Strings(texts) => {
                let changed = self.restoration.strings(&event, data.start, &texts);
                output.extend_from_slice(changed.as_deref().unwrap_or(&event));
            }
            Said::Stop(index) => {
                self.let_one_go(index, output);
                output.extend_from_slice(&event);
            }
            Said::Over => {
                self.let_go(output);
                output.extend_from_slice(&event);
            }
            Said::Nothing => output.extend_from_slice(&event),
        }
    }

    fn piece(
        &mut self,
        event: &[u8],
        begin: usize,
        index: u64,
        text: &Text<'_>,
        depth: Depth,
        output: &mut Vec<u8>,
    ) {
        let before = self.held.remove(&index).map(|held| held.text).unwrap_or_default();
        let plain = Plain::of(text);
        let joined = if before.is_empty() {
            plain.text.as_ref().to_owned()
        } else {
            format!("{before}{}", plain.text)
        };
        let restoration = &self.restoration;
        let hits: Vec<_> = restoration.finder.find_iter(&joined).collect();
        let mut until = restoration.held_from(&joined).max(hits.last().map_or(0, aho_corasick::Match::end));
        if self.held.len() >= BLOCKS_MAX {
            until = joined.len();
        }
        if before.is_empty() && hits.is_empty() && until == joined.len() {
            output.extend_from_slice(event);
            return;
        }
        // Of what was held only the meaning is left; what just came is copied as it was written.
        let written = |from: usize, to: usize| {
            let old = before.get(from.min(before.len())..to.min(before.len())).unwrap_or_default();
            let place = |at: usize| plain.raw(at.saturating_sub(before.len()));
            let new = text.raw.get(place(from)..place(to)).unwrap_or_default();
            if old.is_empty() { new.to_owned() } else { inside(old) + new }
        };
        let (mut value, mut passed) = (String::with_capacity(text.raw.len() + before.len()), 0);
        for hit in &hits {
            value.push_str(&written(passed, hit.start()));
            value.push_str(restoration.replacement(hit.pattern().as_usize(), depth));
            passed = hit.end();
        }
        value.push_str(&written(passed, until));
        let at = begin + text.span.start..begin + text.span.end;
        if !value.is_empty() || until == joined.len() {
            put(event, &at, &value, output);
        }
        if let Some(rest) = joined.get(until..).filter(|rest| !rest.is_empty()) {
            self.held.insert(index, Held { text: rest.to_owned(), event: event.to_vec(), at });
        }
    }

    fn let_one_go(&mut self, index: u64, output: &mut Vec<u8>) {
        if let Some(held) = self.held.remove(&index) {
            put(&held.event, &held.at, &inside(&held.text), output);
        }
    }

    fn let_go(&mut self, output: &mut Vec<u8>) {
        let mut open: Vec<u64> = self.held.keys().copied().collect();
        open.sort_unstable();
        for index in open {
            self.let_one_go(index, output);
        }
    }
}

/// Appends an event with another value for one of its strings.
fn put(event: &[u8], at: &Range<usize>, value: &str, output: &mut Vec<u8>) {
    output.extend_from_slice(event.get(..at.start + 1).unwrap_or_default());
    output.extend_from_slice(value.as_bytes());
    output.extend_from_slice(event.get(at.end.saturating_sub(1)..).unwrap_or_default());
}

/// Returns where an event's data stands; `None` where it has none, or in several lines, which no event of the API has.
fn data_of(event: &[u8]) -> Option<Range<usize>> {
    let (mut found, mut begun) = (None, 0);
    for end in memchr::memchr2_iter(b'\n', b'\r', event) {
        let line = event.get(begun..end).unwrap_or_default();
        if let Some(value) = line.strip_prefix(b"data:") {
            let start = end - value.len();
            if found.replace(start..end).is_some() {
                return None;
            }
        }
        begun = end + 1;
    }
    found
}

fn read(data: &[u8]) -> Result<Said<'_>, Malformed> {
    let mut cursor = Cursor::new(data)?;
    if cursor.kind()? != Kind::Object {
        return Ok(Said::Nothing);
    }
    let (mut kind, mut index, mut piece, mut strings) = (String::new(), 0, None, Vec::new());
    cursor.each_field(|cursor, name| {
        match (name.raw, cursor.kind()?) {
            ("type", Kind::String) => kind = cursor.string()?.raw.to_owned(),
            ("index", Kind::Number) => {
                let span = cursor.skip()?;
                let digits = std::str::from_utf8(cursor.slice(span)).unwrap_or_default();
                index = digits.parse().unwrap_or(0);
            }
            ("delta", Kind::Object) => (piece, strings) = delta(cursor)?,
            ("content_block", Kind::Object) => strings = Texts::of_block(cursor, false)?.all,
            ("error", _) => strings = Texts::of_value(cursor)?.all,
            _ => {
                cursor.skip()?;
            }
        }
        Ok(())
    })?;
    Ok(match (kind.as_str(), piece) {
        ("content_block_delta", Some((text, depth))) => Said::Piece(index, text, depth),
        ("content_block_stop", _) => Said::Stop(index),
        ("message_delta" | "message_stop", _) => Said::Over,
        _ if !strings.is_empty() => Said::Strings(strings),
        _ => Said::Nothing,
    })
}

type Delta<'a> = (Option<(Text<'a>, Depth)>, Vec<Text<'a>>);

fn delta<'a>(cursor: &mut Cursor<'a>) -> Result<Delta<'a>, Malformed> {
    let (mut piece, mut strings) = (None, Vec::new());
    cursor.each_field(|cursor, name| {
        match (name.raw, cursor.kind()?) {
            ("text", Kind::String) => piece = Some((cursor.string()?, Depth::Once)),
            ("partial_json", Kind::String) => piece = Some((cursor.string()?, Depth::Twice)),
            ("citation", _) => strings = Texts::of_value(cursor)?.all,
            _ => {
                cursor.skip()?;
            }
        }
        Ok(())
    })?;
    Ok((piece, strings))
}

/// Longest event that is held; a longer one and all behind it pass as they are.
const EVENT_BYTES_MAX: usize = 4 << 20;
/// Most blocks of which something is held.
const BLOCKS_MAX: usize = 64;
