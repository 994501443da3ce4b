//! Strings of a JSON document: passing over them quickly, and their meaning.
//!
//! Most bytes of a request are inside strings, so passing looks at whole blocks. Meaning is worked out only for the
//! few short strings that policies read.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::ops::Range;

use super::block::{BLOCK_BYTES, Block};
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
        let (mut start, mut carried, mut backslashes) = (self.at, 0, 0);
        loop {
            let block = Block::of(self.bytes, start);
            let escapes = block.escapes(carried);
            let ends = block.quotes & !escapes.escaped;
            // All that stand before the lowest end, or all.
            let inside = ends.wrapping_sub(1) & !ends;
            let doubtful = (block.controls | (escapes.escaped & !block.usual())) & inside;
            if doubtful != 0 {
                self.look_at(start, doubtful)?;
            }
            backslashes |= block.backslashes & inside;
            if ends != 0 {
                self.at = start + ends.trailing_zeros() as usize + 1;
                return Ok(backslashes != 0);
            }
            carried = escapes.carried;
            start += BLOCK_BYTES;
        }
    }

    /// Refuses control characters and escapes that there are not, at the places set from `start` on.
    fn look_at(&mut self, start: usize, mut places: u32) -> Result<(), Malformed> {
        while let Some(bits) = NonZeroU32::new(places) {
            let at = start + bits.trailing_zeros() as usize;
            match self.bytes.get(at) {
                Some(b'/' | b'b' | b'f' | b'r' | b't') => {}
                Some(b'u') if self.four_digits(at + 1) => self.numbered_escapes = true,
                Some(..b' ') => return Err(Malformed::grammar("a control character in a string", at)),
                Some(_) => {
                    return Err(Malformed::grammar("an unknown escape in a string", at.saturating_sub(1)));
                }
                None => return Err(Malformed::grammar("expected '\"'", self.bytes.len())),
            }
            places &= places - 1;
        }
        Ok(())
    }

    fn four_digits(&self, at: usize) -> bool {
        self.bytes.get(at..at + 4).is_some_and(|four| four.iter().all(u8::is_ascii_hexdigit))
    }
}

/// Returns `text` as a JSON string, quotes included.
#[must_use]
pub fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Returns how many leading bytes are neither a quote, nor a backslash, nor a control character.
#[inline]
pub(in crate::wire) fn plain_prefix(bytes: &[u8]) -> usize {
    let mut start = 0;
    loop {
        let block = Block::of(bytes, start);
        if let Some(length) = block.plain() {
            return start + length;
        }
        start += BLOCK_BYTES;
    }
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
