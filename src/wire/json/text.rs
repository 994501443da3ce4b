//! Strings of a JSON document: passing over them quickly, and their meaning.
//!
//! Most bytes of a request are inside strings, so passing looks at whole blocks in a form that compilers turn
//! into vector instructions. Meaning is worked out only for the few short strings that policies read.

use std::borrow::Cow;
use std::ops::Range;

use super::{Cursor, Malformed};

/// A string as it stands in the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    /// What stands between the quotes, escapes as they came.
    pub raw: &'a str,
    /// Where the string stands, quotes included.
    pub span: Range<usize>,
    /// Whether it holds an escape.
    pub escaped: bool,
}

impl<'a> Text<'a> {
    /// Returns the string's meaning; `None` where an escape is half of a surrogate pair, which no text has.
    #[must_use]
    pub fn unescape(&self) -> Option<Cow<'a, str>> {
        if !self.escaped {
            return Some(Cow::Borrowed(self.raw));
        }
        let mut meaning = String::with_capacity(self.raw.len());
        let mut rest = self.raw;
        while let Some(at) = rest.find('\\') {
            meaning.push_str(rest.get(..at)?);
            let (character, length) = escape(rest.get(at..)?)?;
            meaning.push(character);
            rest = rest.get(at.checked_add(length)?..)?;
        }
        meaning.push_str(rest);
        Some(Cow::Owned(meaning))
    }
}

impl Cursor<'_> {
    /// Passes over a string and tells whether it holds an escape.
    pub(super) fn pass_string(&mut self) -> Result<bool, Malformed> {
        self.take(b'"', "a string")?;
        let mut escaped = false;
        loop {
            self.at += plain_prefix(self.rest());
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    match self.bytes.get(self.at + 1) {
                        // Nearly all of them.
                        Some(b'n' | b'"' | b't' | b'\\') => self.at += 2,
                        _ => self.pass_escape()?,
                    }
                }
                Some(_) => return Err(Malformed::grammar("a control character in a string", self.at)),
                None => return Err(self.expected("'\"'")),
            }
        }
    }

    fn pass_escape(&mut self) -> Result<(), Malformed> {
        let length = match self.rest() {
            [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
            [b'\\', b'u', digits @ ..]
                if digits.get(..4).is_some_and(|four| four.iter().all(u8::is_ascii_hexdigit)) =>
            {
                6
            }
            _ => return Err(Malformed::grammar("an unknown escape in a string", self.at)),
        };
        self.at += length;
        Ok(())
    }
}

/// Returns `text` as a JSON string, quotes included.
#[must_use]
pub fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Returns how many leading bytes are neither a quote, nor a backslash, nor a control character.
///
/// Most strings are short and most long ones have an escape in every other line, so words go first; what is longer is
/// left to a search in vectors as wide as the processor has, and its control characters to a minimum over it. Long
/// text takes a third of an instruction a byte so, where a test of each byte took three.
#[inline]
pub(in crate::wire) fn plain_prefix(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    for _ in 0..HEAD_WORDS {
        let Some((word, after)) = rest.split_first_chunk::<8>() else {
            let last = rest.iter().position(|&byte| is_special(byte)).unwrap_or(rest.len());
            return bytes.len() - rest.len() + last;
        };
        let special = special_bytes(u64::from_le_bytes(*word));
        if special != 0 {
            return bytes.len() - rest.len() + special.trailing_zeros() as usize / 8;
        }
        rest = after;
    }
    HEAD_WORDS * 8 + long_plain_prefix(rest)
}

#[inline(never)]
fn long_plain_prefix(bytes: &[u8]) -> usize {
    let plain = bytes.get(..memchr::memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len())).unwrap_or_default();
    let least = plain.iter().fold(u8::MAX, |least, &byte| least.min(byte));
    if least < b' ' { plain.iter().take_while(|&&byte| byte >= b' ').count() } else { plain.len() }
}

/// Sets the top bit of every special byte of a word. Borrows may set it wrongly in bytes above the first
/// special one, so that only the lowest is to be believed.
const fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let quotes = word ^ (ONES * b'"' as u64);
    let backslashes = word ^ (ONES * b'\\' as u64);
    let found = (quotes.wrapping_sub(ONES) & !quotes)
        | (backslashes.wrapping_sub(ONES) & !backslashes)
        | (word.wrapping_sub(ONES * 0x20) & !word);
    found & (ONES << 7)
}

const fn is_special(byte: u8) -> bool {
    (byte == b'"') | (byte == b'\\') | (byte < 0x20)
}

/// Decodes the escape that `text` begins with; returns its character and its length in bytes.
pub(super) fn escape(text: &str) -> Option<(char, usize)> {
    let character = match text.as_bytes().get(1)? {
        b'u' => {
            let first = code_unit(text)?;
            let second = text.get(6..).filter(|rest| rest.starts_with("\\u")).and_then(code_unit);
            let pair = std::iter::once(first).chain(second.filter(|_| (0xd800..0xdc00).contains(&first)));
            let length = if (0xd800..0xdc00).contains(&first) { 12 } else { 6 };
            return Some((char::decode_utf16(pair).next()?.ok()?, length));
        }
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        other => char::from(*other),
    };
    Some((character, 2))
}

fn code_unit(escape: &str) -> Option<u16> {
    u16::from_str_radix(escape.get(2..6)?, 16).ok()
}

/// Short strings (names, ids) end within these words.
const HEAD_WORDS: usize = 4;
