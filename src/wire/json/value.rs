//! Passing over whole values, in a loop rather than by recursion, with the grammar checked on the way.

use std::ops::Range;

use super::{Cursor, MAX_DEPTH, Malformed};

/// The open containers of a value being passed over; one bit each, set for an object.
#[derive(Default)]
struct Nest {
    objects: u128,
    depth: usize,
}

impl Nest {
    const fn push(&mut self, object: bool) {
        self.objects = (self.objects << 1) | object as u128;
        self.depth += 1;
    }

    const fn pop(&mut self) {
        self.objects >>= 1;
        self.depth -= 1;
    }

    const fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }
}

impl Cursor<'_> {
    /// Passes over one value of any kind and returns where it stands.
    pub fn skip(&mut self) -> Result<Range<usize>, Malformed> {
        self.skip_space();
        let start = self.at;
        let mut nest = Nest::default();
        loop {
            self.skip_space();
            let opened = self.pass_scalar_or_open(&mut nest)?;
            if !opened && self.pass_ends(&mut nest)? {
                return Ok(start..self.at);
            }
        }
    }

    /// Passes over a scalar or an empty container; or opens a container, stands before its first value and
    /// returns true.
    fn pass_scalar_or_open(&mut self, nest: &mut Nest) -> Result<bool, Malformed> {
        let (closing, object) = match self.peek() {
            Some(b'"') => return self.pass_string().map(|_| false),
            Some(b'{') => (b'}', true),
            Some(b'[') => (b']', false),
            Some(b't') => return self.pass_literal(b"true"),
            Some(b'f') => return self.pass_literal(b"false"),
            Some(b'n') => return self.pass_literal(b"null"),
            Some(b'-' | b'0'..=b'9') => return self.pass_number().map(|()| false),
            _ => return Err(self.expected("a value")),
        };
        if self.depth + nest.depth >= MAX_DEPTH {
            return Err(self.too_deep());
        }
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(closing) {
            self.at += 1;
            return Ok(false);
        }
        nest.push(object);
        if object {
            self.pass_name()?;
        }
        Ok(true)
    }

    /// After a value: passes over closing brackets; returns true where the outermost value has ended, else
    /// stands before the next value.
    fn pass_ends(&mut self, nest: &mut Nest) -> Result<bool, Malformed> {
        while nest.depth > 0 {
            self.skip_space();
            match (self.peek(), nest.in_object()) {
                (Some(b','), true) => {
                    self.at += 1;
                    self.skip_space();
                    return self.pass_name().map(|()| false);
                }
                (Some(b','), false) => {
                    self.at += 1;
                    return Ok(false);
                }
                (Some(b'}'), true) | (Some(b']'), false) => {
                    self.at += 1;
                    nest.pop();
                }
                (_, true) => return Err(self.expected("',' or '}'")),
                (_, false) => return Err(self.expected("',' or ']'")),
            }
        }
        Ok(true)
    }

    fn pass_name(&mut self) -> Result<(), Malformed> {
        self.pass_string()?;
        self.skip_space();
        self.take(b':', "':'")
    }

    fn pass_literal(&mut self, literal: &[u8]) -> Result<bool, Malformed> {
        if !self.rest().starts_with(literal) {
            return Err(self.expected("a value"));
        }
        self.at += literal.len();
        Ok(false)
    }

    fn pass_number(&mut self) -> Result<(), Malformed> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.pass_digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.pass_digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.pass_digits()?;
        }
        Ok(())
    }

    fn pass_digits(&mut self) -> Result<(), Malformed> {
        let digits = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += digits;
        if digits == 0 { Err(self.expected("a digit")) } else { Ok(()) }
    }
}
