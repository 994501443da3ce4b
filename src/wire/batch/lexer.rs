//! A strict JSON lexer that is fed: it may stop within any token and go on with the next chunk.

use crate::wire::json::{MAX_DEPTH, Malformed, plain_prefix};

/// The lexical state of one document.
#[derive(Debug, Default)]
pub(super) struct Lexer {
    state: State,
    objects: u128,
    depth: usize,
}

/// What the next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// White space, a comma, a colon.
    Between,
    /// The opening bracket of a container, which counts into the depth from now on.
    Open { object: bool },
    /// A closing bracket; the depth no longer counts its container.
    Close,
    /// The opening quote of a string, or of an object's name.
    StringBegin { name: bool },
    /// The first bytes of a number or literal come next; nothing is used yet.
    ScalarBegin,
    /// A piece of the string, number or literal.
    Part,
    /// The closing quote.
    StringEnd { escaped: bool },
    /// The number or literal ended before these bytes; nothing is used.
    ScalarEnd,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Value,
    FirstItem,
    FirstName,
    Name,
    Colon,
    After,
    Text(InText),
    Scalar(Scalar),
}

/// Inside a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct InText {
    name: bool,
    escaped: bool,
    /// What is left of an escape.
    escape: Escape,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    No,
    Begun,
    Hex(u8),
}

/// Inside a number or literal: what was last read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scalar {
    Begun,
    Literal(&'static [u8]),
    Minus,
    Zero,
    Digits,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

impl Lexer {
    /// The open containers.
    pub(super) const fn depth(&self) -> usize {
        self.depth
    }

    /// Reads from `bytes`, not empty, at `position` of the document; returns how many were used and for what.
    pub(super) fn next(&mut self, bytes: &[u8], position: usize) -> Result<(usize, Token), Malformed> {
        match self.state {
            State::Text(text) => self.text(text, bytes, position),
            State::Scalar(scalar) => self.scalar(scalar, bytes, position),
            _ => {
                let space =
                    bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')).count();
                match bytes.first() {
                    Some(byte) if space == 0 => self.structure(*byte, position),
                    _ => Ok((space, Token::Between)),
                }
            }
        }
    }

    /// Checks that the document has ended.
    pub(super) fn end(&self, position: usize) -> Result<(), Malformed> {
        if self.state == State::After && self.depth == 0 {
            Ok(())
        } else {
            Err(Malformed::grammar("the document is cut off", position))
        }
    }

    fn structure(&mut self, byte: u8, position: usize) -> Result<(usize, Token), Malformed> {
        let in_object = self.objects & 1 == 1;
        let (state, token) = match (self.state, byte) {
            (State::FirstItem, b']') | (State::FirstName, b'}') => return Ok(self.close()),
            (State::Value | State::FirstItem, b'{' | b'[') => return self.open(byte == b'{', position),
            (State::Value | State::FirstItem, b'"') => (text(false), Token::StringBegin { name: false }),
            (State::FirstName | State::Name, b'"') => (text(true), Token::StringBegin { name: true }),
            (State::Value | State::FirstItem, b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
                self.state = State::Scalar(Scalar::Begun);
                return Ok((0, Token::ScalarBegin));
            }
            (State::Colon, b':') => (State::Value, Token::Between),
            (State::After, b',') if self.depth > 0 => {
                (if in_object { State::Name } else { State::Value }, Token::Between)
            }
            (State::After, b'}') if self.depth > 0 && in_object => return Ok(self.close()),
            (State::After, b']') if self.depth > 0 && !in_object => return Ok(self.close()),
            (state, _) => {
                let expected = match state {
                    State::Colon => "expected ':'",
                    State::Name | State::FirstName => "expected a name",
                    State::After if self.depth == 0 => "expected the end of the document",
                    State::After if in_object => "expected ',' or '}'",
                    State::After => "expected ',' or ']'",
                    _ => "expected a value",
                };
                return Err(Malformed::grammar(expected, position));
            }
        };
        self.state = state;
        Ok((1, token))
    }

    fn open(&mut self, object: bool, position: usize) -> Result<(usize, Token), Malformed> {
        if self.depth >= MAX_DEPTH {
            return Err(Malformed::grammar(&format!("nested deeper than {MAX_DEPTH} levels"), position));
        }
        self.depth += 1;
        self.objects = (self.objects << 1) | u128::from(object);
        self.state = if object { State::FirstName } else { State::FirstItem };
        Ok((1, Token::Open { object }))
    }

    const fn close(&mut self) -> (usize, Token) {
        self.depth = self.depth.saturating_sub(1);
        self.objects >>= 1;
        self.state = State::After;
        (1, Token::Close)
    }

    fn text(&mut self, mut text: InText, bytes: &[u8], position: usize) -> Result<(usize, Token), Malformed> {
        let plain = if text.escape == Escape::No { plain_prefix(bytes) } else { 0 };
        if plain > 0 {
            return Ok((plain, Token::Part));
        }
        let byte = bytes.first().copied().unwrap_or_default();
        text.escape = match (text.escape, byte) {
            (Escape::No, b'"') => {
                self.state = if text.name { State::Colon } else { State::After };
                return Ok((1, Token::StringEnd { escaped: text.escaped }));
            }
            (Escape::No, b'\\') => Escape::Begun,
            (Escape::No, _) => return Err(Malformed::grammar("a control character in a string", position)),
            (Escape::Begun, b'u') => Escape::Hex(4),
            (Escape::Begun, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Escape::No,
            (Escape::Hex(1), digit) if digit.is_ascii_hexdigit() => Escape::No,
            (Escape::Hex(left), digit) if digit.is_ascii_hexdigit() => Escape::Hex(left.saturating_sub(1)),
            _ => return Err(Malformed::grammar("an unknown escape in a string", position)),
        };
        text.escaped = true;
        self.state = State::Text(text);
        Ok((1, Token::Part))
    }

    fn scalar(
        &mut self,
        mut scalar: Scalar,
        bytes: &[u8],
        position: usize,
    ) -> Result<(usize, Token), Malformed> {
        let mut used = 0usize;
        for byte in bytes {
            let Some(next) = scalar.next(*byte) else { break };
            scalar = next;
            used += 1;
        }
        if used > 0 {
            self.state = State::Scalar(scalar);
            return Ok((used, Token::Part));
        }
        if !scalar.may_end() {
            return Err(Malformed::grammar("expected a value", position));
        }
        self.state = State::After;
        Ok((0, Token::ScalarEnd))
    }
}

impl Scalar {
    /// Returns the state after one more byte; `None` where the byte does not belong to it.
    fn next(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Begun, b't') => Self::Literal(b"rue"),
            (Self::Begun, b'f') => Self::Literal(b"alse"),
            (Self::Begun, b'n') => Self::Literal(b"ull"),
            (Self::Begun, b'-') => Self::Minus,
            (Self::Begun | Self::Minus, b'0') => Self::Zero,
            (Self::Begun | Self::Minus | Self::Digits, b'0'..=b'9') => Self::Digits,
            (Self::Literal([next, rest @ ..]), byte) if byte == *next => Self::Literal(rest),
            (Self::Zero | Self::Digits, b'.') => Self::Point,
            (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Zero | Self::Digits | Self::Fraction, b'e' | b'E') => Self::Exponent,
            (Self::Exponent, b'+' | b'-') => Self::ExponentSign,
            (Self::Exponent | Self::ExponentSign | Self::ExponentDigits, b'0'..=b'9') => Self::ExponentDigits,
            _ => return None,
        })
    }

    const fn may_end(self) -> bool {
        matches!(self, Self::Literal([]) | Self::Zero | Self::Digits | Self::Fraction | Self::ExponentDigits)
    }
}

const fn text(name: bool) -> State {
    State::Text(InText { name, escaped: false, escape: Escape::No })
}
