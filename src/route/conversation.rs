//! What conversations have been through: a bounded memory, forgotten with the process.
//!
//! Every request sent leaves the hash of all its messages, with the state of its conversation. A request that
//! answers an answer is looked up by the messages before its last assistant message: a hit proves that it extends a
//! request we sent. A beginning it shares with others, as prompts with examples do, was never sent by itself and
//! proves nothing. Tenant, user, session and agent are part of the hash, and the system prompt where no session is
//! named.
//!
//! Cache markers move between turns, so requests that hold any are hashed by structure, without the markers, and
//! others by their bytes. A conversation whose markers appear or vanish in the middle is not recognised at that turn
//! and goes where it was asked. Nothing is allocated in proportion to the body.

use blake3::Hasher;

use super::past::Past;
use super::remembered::{NAME_BYTES_MAX, Remembered};
use crate::clock::Clock;
use crate::wire::envelope::Envelope;
use crate::wire::json::{Cursor, Kind, Malformed};

/// Who speaks, besides what is said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Speaker<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// The user in it.
    pub user: &'a str,
    /// The session the client names.
    pub session: Option<&'a str>,
    /// The agent in that session.
    pub agent: Option<&'a str>,
}

/// The names of a request in its conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefixes {
    /// The request that this one extends, where it holds an answer.
    pub extended: Option<[u8; 32]>,
    /// This request, as those that extend it will look for it.
    pub whole: [u8; 32],
}

/// What conversations have been through, by prefix; at most 100,000, each for a day after its last use and no longer than two.
pub struct Conversations(Remembered);

impl Prefixes {
    /// Hashes a request once, noting the place before its last assistant message.
    #[must_use]
    pub fn of(speaker: &Speaker<'_>, envelope: &Envelope<'_>) -> Option<Self> {
        match envelope.history.cache_control {
            true => by_structure(speaker, envelope),
            false => by_bytes(speaker, envelope),
        }
    }
}

impl Conversations {
    /// Returns a memory of nothing.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self(Remembered::new(clock))
    }

    /// Returns what is known of the conversation that this request extends.
    #[must_use]
    pub fn lookup(&self, prefixes: &Prefixes) -> Option<Past> {
        self.0.get(&prefixes.extended?)
    }

    /// Returns what is known of this very request, where it was sent before.
    #[must_use]
    pub fn same(&self, prefixes: &Prefixes) -> Option<Past> {
        self.0.get(&prefixes.whole)
    }

    /// Notes what a request's conversation is now, for those that extend it; returns what was known of this very request.
    ///
    /// Where another request alike asked for or went to another model, the conversation is nobody's from then on;
    /// the same request may say more, or that it went elsewhere after all. Of requests alike either answer may be
    /// the one that is answered.
    pub fn record(&self, prefixes: &Prefixes, mut past: Past) -> Option<Past> {
        let named = [&past.asked, &past.model];
        past.parted |= named.iter().any(|name| name.len() > NAME_BYTES_MAX);
        self.0.change(&prefixes.whole, |held| {
            if let Some(held) = held {
                past.follow(held);
            }
            Some(past)
        })
    }

    /// Takes over what another instance knows of the conversation that a request extends, unless we know more of it.
    pub fn adopt(&self, extended: [u8; 32], shared: Past) {
        self.0.change(&extended, |known| {
            let knows_less = |known: &Past| known.by != shared.by || (!known.answered && shared.answered);
            known.is_none_or(knows_less).then_some(shared)
        });
    }
}

/// Returns the name under which a conversation is shared; what it is made of cannot be told from it.
#[must_use]
pub fn shared_name(prefix: &[u8; 32]) -> String {
    let name = blake3::derive_key("tercet 1 name of a shared conversation", prefix);
    format!("tercet:conversation:{}", blake3::Hash::from_bytes(name).to_hex())
}

/// Returns what is shared of a conversation: names and counts, sealed by what only its own requests can tell.
#[must_use]
pub fn pack(prefix: &[u8; 32], past: &Past) -> Option<Vec<u8>> {
    let text = serde_json::to_vec(past).ok().filter(|text| text.len() <= SHARED_BYTES_MAX)?;
    let mut value = seal(prefix, &text).to_vec();
    value.extend_from_slice(&text);
    Some(value)
}

/// Reads what is shared of a conversation; `None` for what nobody who knows its requests wrote.
#[must_use]
pub fn unpack(prefix: &[u8; 32], value: &[u8]) -> Option<Past> {
    let (seal_of_it, text) = value.split_at_checked(SEAL_BYTES)?;
    // Compared in constant time by the hash's own type.
    let sound = blake3::Hash::from_slice(seal_of_it).ok()? == blake3::Hash::from_bytes(seal(prefix, text));
    serde_json::from_slice(text).ok().filter(|_| sound && text.len() <= SHARED_BYTES_MAX)
}

fn seal(prefix: &[u8; 32], text: &[u8]) -> [u8; SEAL_BYTES] {
    let key = blake3::derive_key("tercet 1 seal of a shared conversation", prefix);
    *blake3::keyed_hash(&key, text).as_bytes()
}

/// Hashes the messages as they stand, in at most two pieces: BLAKE3 is several times slower over small ones.
fn by_bytes(speaker: &Speaker<'_>, envelope: &Envelope<'_>) -> Option<Prefixes> {
    let mut hasher = Hasher::new();
    name(&mut hasher, BY_BYTES, speaker);
    if speaker.session.is_none() {
        add(&mut hasher, SCALAR, envelope.system.unwrap_or(b"null"));
    }
    let spans = &envelope.history.spans;
    let begin = spans.first().map_or(0, |first| first.start);
    let end = spans.last().map_or(begin, |last| last.end);
    let before = envelope.history.last_assistant.and_then(|index| index.checked_sub(1));
    let middle = before.and_then(|index| spans.get(index)).map(|span| span.end);
    hasher.update(envelope.body.get(begin..middle.unwrap_or(end))?);
    let extended = middle.map(|_| *hasher.finalize().as_bytes());
    hasher.update(envelope.body.get(middle.unwrap_or(end)..end)?);
    Some(Prefixes { extended, whole: *hasher.finalize().as_bytes() })
}

/// Hashes the messages by their structure, cache markers left out.
fn by_structure(speaker: &Speaker<'_>, envelope: &Envelope<'_>) -> Option<Prefixes> {
    let mut pieces = Pieces::new();
    name(&mut pieces, BY_STRUCTURE, speaker);
    let value = |pieces: &mut Pieces, bytes: &[u8]| walk(&mut Cursor::new(bytes)?, pieces, true);
    if speaker.session.is_none() {
        value(&mut pieces, envelope.system.unwrap_or(b"null")).ok()?;
    }
    let mut extended = None;
    for (index, span) in envelope.history.spans.iter().enumerate() {
        if index > 0 && envelope.history.last_assistant == Some(index) {
            extended = Some(pieces.digest());
        }
        value(&mut pieces, envelope.body.get(span.clone())?).ok()?;
    }
    Some(Prefixes { extended, whole: pieces.digest() })
}

/// What is hashed, piece by piece.
trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Hasher {
    fn put(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }
}

/// Gathers small pieces, which BLAKE3 hashes several times slower than what it is given at once.
struct Pieces {
    hasher: Hasher,
    held: [u8; HELD_BYTES],
    filled: usize,
}

impl Pieces {
    fn new() -> Self {
        Self { hasher: Hasher::new(), held: [0; HELD_BYTES], filled: 0 }
    }

    /// Returns the hash of all pieces so far.
    fn digest(&mut self) -> [u8; 32] {
        self.hasher.update(self.held.get(..self.filled).unwrap_or_default());
        self.filled = 0;
        *self.hasher.finalize().as_bytes()
    }
}

impl Sink for Pieces {
    fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(HELD_BYTES - self.filled));
            if let Some(place) = self.held.get_mut(self.filled..self.filled + now.len()) {
                place.copy_from_slice(now);
            }
            self.filled += now.len();
            bytes = later;
            if self.filled == HELD_BYTES {
                self.hasher.update(&self.held);
                self.filled = 0;
            }
        }
    }
}

/// Hashes who speaks, and how what they say is hashed.
fn name(sink: &mut impl Sink, how: u8, speaker: &Speaker<'_>) {
    add(sink, how, speaker.tenant.as_bytes());
    add(sink, NAME, speaker.user.as_bytes());
    add(sink, NAME, speaker.session.unwrap_or("").as_bytes());
    add(sink, NAME, speaker.agent.unwrap_or("").as_bytes());
}

fn add(sink: &mut impl Sink, tag: u8, bytes: &[u8]) {
    let [a, b, c, d, e, f, g, h] = (bytes.len() as u64).to_le_bytes();
    sink.put(&[tag, a, b, c, d, e, f, g, h]);
    sink.put(bytes);
}

/// Hashes a value by its structure; markers are left out, except in what a tool is called with.
fn walk(cursor: &mut Cursor<'_>, sink: &mut impl Sink, marks: bool) -> Result<(), Malformed> {
    match cursor.kind()? {
        Kind::Object => {
            sink.put(b"{");
            cursor.each_field(|cursor, name| {
                if marks && name.raw == "cache_control" {
                    return cursor.skip().map(drop);
                }
                add(sink, NAME, name.raw.as_bytes());
                walk(cursor, sink, marks && name.raw != "input")
            })?;
            sink.put(b"}");
        }
        Kind::Array => {
            sink.put(b"[");
            cursor.each_item(|cursor| walk(cursor, sink, marks))?;
            sink.put(b"]");
        }
        Kind::String | Kind::Number | Kind::Bool | Kind::Null => {
            let span = cursor.skip()?;
            add(sink, SCALAR, cursor.slice(span));
        }
    }
    Ok(())
}

/// Gathered before it is hashed: as many kibibytes as are hashed at once where the processor can most.
const HELD_BYTES: usize = 16 << 10;
const SEAL_BYTES: usize = 32;
/// Longest state of a conversation that is shared.
pub const SHARED_BYTES_MAX: usize = 4 << 10;
const BY_STRUCTURE: u8 = b'm';
const BY_BYTES: u8 = b'b';
const NAME: u8 = b'n';
const SCALAR: u8 = b's';

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_gathered_are_hashed_as_pieces_by_themselves(
            sizes in proptest::collection::vec(prop_oneof![0usize..40, 0usize..3 * HELD_BYTES], 0..12), between: u8,
        ) {
            let (mut pieces, mut hasher) = (Pieces::new(), Hasher::new());
            for (number, size) in sizes.iter().enumerate() {
                let piece: Vec<u8> = (0..*size).map(|at| (at % 251) as u8 ^ number as u8).collect();
                pieces.put(&piece);
                hasher.put(&piece);
                if number == usize::from(between % 12) {
                    prop_assert_eq!(pieces.digest(), *hasher.finalize().as_bytes());
                }
            }
            prop_assert_eq!(pieces.digest(), *hasher.finalize().as_bytes());
        }
    }
}
