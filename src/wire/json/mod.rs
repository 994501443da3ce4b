//! A strict pull scanner over one JSON document (RFC 8259): it validates, finds spans, and allocates nothing.
//!
//! The whole body is checked as UTF-8 once; after that every step moves forward only. Refused: a byte order
//! mark, trailing bytes, a second document, nesting deeper than [`MAX_DEPTH`]. Left to the caller: repeated
//! names, names written with escapes, numbers out of any range. Escapes of lone surrogates are accepted and
//! keep their bytes; they cannot be unescaped. Offsets are bytes from the start of the body.

mod block;
mod plain;
mod text;
mod value;
pub(crate) mod write;

use std::fmt;
use std::ops::Range;

pub use plain::Plain;
pub(super) use text::plain_prefix;
pub use text::{Text, quote};
pub use write::Json;

/// Why a body was refused, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// What is wrong, in words that tell the sender what to change.
    pub message: String,
    /// The byte at which it was noticed.
    pub offset: usize,
}

/// What stands at a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// A number.
    Number,
    /// `true` or `false`
    Bool,
    /// `null`
    Null,
}

/// A position in a document, before a value or after one.
#[derive(Debug)]
pub struct Cursor<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    numbered_escapes: bool,
}

/// The containers that may stand inside one another, the outermost included.
pub const MAX_DEPTH: usize = 128;

impl Malformed {
    /// Returns the refusal of a document whose grammar is broken at `offset`.
    #[must_use]
    pub fn grammar(what: &str, offset: usize) -> Self {
        Self { message: format!("the body is not valid JSON: {what} at byte {offset}"), offset }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Malformed {}

impl<'a> Cursor<'a> {
    /// Returns a cursor before the first value of `body`; refuses what is not UTF-8 or has a byte order mark.
    pub fn new(body: &'a [u8]) -> Result<Self, Malformed> {
        if body.starts_with(BYTE_ORDER_MARK) {
            return Err(Malformed::grammar("a byte order mark is not allowed", 0));
        }
        // A fourth of what the standard library takes for long text.
        let text = simdutf8::compat::from_utf8(body)
            .map_err(|error| Malformed::grammar("the text is not UTF-8", error.valid_up_to()))?;
        Ok(Self { text, bytes: body, at: 0, depth: 0, numbered_escapes: false })
    }

    /// Returns another cursor at the same place, to look ahead with.
    #[must_use]
    pub const fn ahead(&self) -> Self {
        Self { ..*self }
    }

    /// Tells whether an escape by number (`\u0041`) was read so far.
    #[must_use]
    pub const fn numbered_escapes(&self) -> bool {
        self.numbered_escapes
    }

    /// Returns the offset of the next byte.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.at
    }

    /// Returns the bytes that follow.
    #[must_use]
    pub fn remainder(&self) -> &'a [u8] {
        self.rest()
    }

    /// Returns the bytes of a span of this body; empty where the span is not one.
    #[must_use]
    pub fn slice(&self, span: Range<usize>) -> &'a [u8] {
        self.bytes.get(span).unwrap_or_default()
    }

    /// Moves to the next value and tells what it is, by its first byte.
    pub fn kind(&mut self) -> Result<Kind, Malformed> {
        self.skip_space();
        match self.peek() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::String),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            _ => Err(self.expected("a value")),
        }
    }

    /// Reads a string.
    pub fn string(&mut self) -> Result<Text<'a>, Malformed> {
        self.skip_space();
        let start = self.at;
        let escaped = self.pass_string()?;
        let raw = self.text.get(start.saturating_add(1)..self.at.saturating_sub(1)).unwrap_or_default();
        Ok(Text { raw, span: start..self.at, escaped })
    }

    /// Reads `true` or `false`.
    pub fn boolean(&mut self) -> Result<bool, Malformed> {
        let span = self.skip()?;
        match self.slice(span.clone()) {
            b"true" => Ok(true),
            b"false" => Ok(false),
            _ => Err(Malformed::grammar("expected true or false", span.start)),
        }
    }

    /// Reads an object: `field` is called with each name and must read that name's value, once.
    pub fn each_field(
        &mut self,
        mut field: impl FnMut(&mut Self, &Text<'a>) -> Result<(), Malformed>,
    ) -> Result<Range<usize>, Malformed> {
        self.skip_space();
        let start = self.at;
        self.open(b'{', "'{'")?;
        if !self.close_empty(b'}') {
            loop {
                self.skip_space();
                let name = self.string()?;
                self.skip_space();
                self.take(b':', "':'")?;
                field(self, &name)?;
                if self.comma_or(b'}', "',' or '}'")? {
                    break;
                }
            }
        }
        Ok(start..self.at)
    }

    /// Reads an array: `item` is called before each item and must read it, once.
    pub fn each_item(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), Malformed>,
    ) -> Result<Range<usize>, Malformed> {
        self.skip_space();
        let start = self.at;
        self.open(b'[', "'['")?;
        if !self.close_empty(b']') {
            loop {
                item(self)?;
                if self.comma_or(b']', "',' or ']'")? {
                    break;
                }
            }
        }
        Ok(start..self.at)
    }

    /// Checks that nothing but white space follows.
    pub fn end(&mut self) -> Result<(), Malformed> {
        self.skip_space();
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.expected("the end of the document")) }
    }

    fn open(&mut self, bracket: u8, what: &str) -> Result<(), Malformed> {
        self.take(bracket, what)?;
        self.depth = self.depth.saturating_add(1);
        if self.depth > MAX_DEPTH { Err(self.too_deep()) } else { Ok(()) }
    }

    fn close_empty(&mut self, bracket: u8) -> bool {
        self.skip_space();
        let closed = self.peek() == Some(bracket);
        if closed {
            self.at += 1;
            self.depth = self.depth.saturating_sub(1);
        }
        closed
    }

    fn comma_or(&mut self, bracket: u8, what: &str) -> Result<bool, Malformed> {
        self.skip_space();
        if self.peek() == Some(b',') {
            self.at += 1;
            return Ok(false);
        }
        self.take(bracket, what)?;
        self.depth = self.depth.saturating_sub(1);
        Ok(true)
    }

    fn take(&mut self, byte: u8, what: &str) -> Result<(), Malformed> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(self.expected(what))
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn expected(&self, what: &str) -> Malformed {
        Malformed::grammar(&format!("expected {what}"), self.at)
    }

    fn too_deep(&self) -> Malformed {
        Malformed::grammar(&format!("nested deeper than {MAX_DEPTH} levels"), self.at)
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests;
