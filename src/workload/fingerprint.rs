//! Which workload a request belongs to: its system prompt, tools and client with everything volatile left out.
//!
//! Of a text only the words count. A word that holds a digit or looks like a path, an address or a file is volatile
//! (dates, times, paths, uuids, hashes, counters), and so are names of days and months; what follows the words
//! `git status` is left out to the end of its text. Cache markers are the client's business and say nothing.
//!
//! From the narrowest to the widest: system prompt and tools; system prompt; the frame of the first user turn, its
//! first and last line; the client. Hashes are of 64 bits and meant against accidents: a tenant that made two of its
//! workloads collide would mix its own evidence and nobody else's.

use crate::wire::characters::Characters;
use crate::wire::envelope::Envelope;

/// How narrowly a workload is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// System prompt and tools.
    Exact,
    /// System prompt.
    System,
    /// First and last line of the first user turn.
    Template,
    /// The client alone.
    Client,
}

/// The fingerprints of a request, narrowest first; `None` where it lacks what a level is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprints {
    at: [Option<u64>; 4],
}

impl Level {
    /// All of them, narrowest first.
    pub const ALL: [Self; 4] = [Self::Exact, Self::System, Self::Template, Self::Client];

    /// Returns the reason code under which a workload of this level speaks.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Exact => "workload-exact",
            Self::System => "workload-system",
            Self::Template => "workload-template",
            Self::Client => "workload-client",
        }
    }
}

impl Fingerprints {
    /// Returns the fingerprints of a request from `client`, the name a client gives itself, without its version.
    #[must_use]
    pub fn of(envelope: &Envelope<'_>, client: &str) -> Self {
        let client = add_words(SEED, client.as_bytes());
        let system = envelope.system.filter(|system| system.len() > 2).map(|text| masked(client, text));
        let tools = envelope.tool_list.iter().fold(None, |hash, tool| {
            let hash = hash.unwrap_or(SEED);
            Some(add(add(hash, tool.kind.as_bytes()), tool.name.as_bytes()))
        });
        let exact = match (system, tools) {
            (None, None) => None,
            (system, tools) => Some(mix(system.unwrap_or(client), tools.unwrap_or_default())),
        };
        let template = template(&envelope.history.first_user_text).map(|frame| mix(client, frame));
        let salted = |hash: Option<u64>, level: u8| hash.map(|hash| add(hash, &[level]));
        Self { at: [salted(exact, 0), salted(system, 1), salted(template, 2), salted(Some(client), 3)] }
    }

    /// Returns each level's fingerprint, narrowest first.
    pub fn levels(&self) -> impl DoubleEndedIterator<Item = (Level, u64)> + '_ {
        Level::ALL.into_iter().zip(self.at).filter_map(|(level, hash)| Some((level, hash?)))
    }

    /// Returns the narrowest fingerprint, the client's where there is no other.
    #[must_use]
    pub fn narrowest(&self) -> u64 {
        self.levels().next().map_or(0, |(_, hash)| hash)
    }

    /// Returns the narrowest fingerprint that names a workload; the client alone names none.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        self.levels().find(|(level, _)| *level != Level::Client).map(|(_, hash)| name(hash))
    }
}

/// Returns a fingerprint as it is written: 16 hex digits.
#[must_use]
pub fn name(hash: u64) -> String {
    let digit =
        |place: u32| char::from_digit((hash >> (60 - 4 * place) & 0xf) as u32, 16).unwrap_or_default();
    (0..16).map(digit).collect()
}

/// Hashes the steady words of a system prompt, a JSON value.
fn masked(seed: u64, text: &[u8]) -> u64 {
    let text = text.get(..SYSTEM_BYTES).unwrap_or(text);
    let end = GIT_STATUS.iter().filter_map(|words| memchr::memmem::find(text, words)).min();
    add_words(seed, text.get(..end.unwrap_or(text.len())).unwrap_or(text))
}

/// The first and last line of a text of at least two lines; what stands between differs from request to request.
fn template(pieces: &[&[u8]]) -> Option<u64> {
    let (first, last) = (pieces.first()?, pieces.last()?);
    let head = first.get(..LINE_BYTES).unwrap_or(first);
    let tail = last.get(last.len().saturating_sub(LINE_BYTES)..).unwrap_or(last);
    let (line_end, line_start) =
        (memchr::memmem::find(head, NEWLINE)?, memchr::memmem::rfind(tail, NEWLINE)? + NEWLINE.len());
    let first_line = add_words(SEED, head.get(..line_end)?);
    Some(add_words(first_line, tail.get(line_start..)?))
}

/// Adds the steady words of a text to a hash, at most 4 KiB of them.
fn add_words(hash: u64, text: &[u8]) -> u64 {
    let mut word = Word { bytes: [0; WORD_BYTES], length: 0, volatile: false };
    let (mut hash, mut left) = (hash, WORDS_BYTES);
    for character in Characters::new(text).chain([b' ']) {
        match character {
            b'0'..=b'9' | b'/' | b'\\' | b'@' | b'~' => word.push(character, true),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 128.. => word.push(character, false),
            // Inside a word these join dates, names of files, addresses and uuids; at its end they are punctuation.
            b'.' | b':' | b'-' | b'+' if word.length > 0 => word.push(character, false),
            _ => {
                if let Some(steady) = word.take() {
                    if left < steady.len() {
                        break;
                    }
                    left -= steady.len();
                    hash = add(hash, steady);
                }
                word.length = 0;
                word.volatile = false;
            }
        }
    }
    hash
}

/// A word as it is read; of one longer than the buffer its beginning counts.
struct Word {
    bytes: [u8; WORD_BYTES],
    length: usize,
    volatile: bool,
}

impl Word {
    #[inline]
    fn push(&mut self, character: u8, volatile: bool) {
        if let Some(byte) = self.bytes.get_mut(self.length) {
            *byte = character;
            self.length += 1;
        }
        self.volatile |= volatile;
    }

    /// Returns the word where it is steady.
    fn take(&self) -> Option<&[u8]> {
        let mut bytes = self.bytes.get(..self.length)?;
        while let [rest @ .., b'.' | b':' | b'-' | b'+'] = bytes {
            bytes = rest;
        }
        let joined = bytes.iter().any(|byte| matches!(byte, b'.' | b':'));
        let steady = !bytes.is_empty() && !self.volatile && !joined && !is_date(bytes) && !is_marker(bytes);
        steady.then_some(bytes)
    }
}

/// Names of days and months, whole or cut to three letters.
fn is_date(word: &[u8]) -> bool {
    let named = |name: &&[u8]| {
        word.eq_ignore_ascii_case(name)
            || word.len() == 3 && name.get(..3).is_some_and(|short| word.eq_ignore_ascii_case(short))
    };
    word.first().is_some_and(u8::is_ascii_uppercase) && DATES.iter().any(|name| named(&name.as_bytes()))
}

/// Words of the JSON around a text, not of it; markers for the prompt cache come and go.
fn is_marker(word: &[u8]) -> bool {
    matches!(word, b"type" | b"text" | b"cache_control" | b"ephemeral" | b"ttl")
}

/// FNV-1a, with an end after each word.
#[inline]
fn add(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().chain(&[0]).fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

fn mix(one: u64, other: u64) -> u64 {
    add(one, &other.to_le_bytes())
}

const SEED: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;
const NEWLINE: &[u8] = br"\n";
const GIT_STATUS: [&[u8]; 3] = [b"gitStatus", b"git status", b"Git status"];
const DATES: [&str; 19] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
const WORD_BYTES: usize = 48;
/// Read of a system prompt; steady words of it that are hashed; read of the first and last line of a turn.
const SYSTEM_BYTES: usize = 6_144;
const WORDS_BYTES: usize = 4_096;
const LINE_BYTES: usize = 256;

#[cfg(test)]
mod tests;
