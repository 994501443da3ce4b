//! The characters of raw JSON text, without copying it.
//!
//! Text comes as it stood between the quotes, so `\n` is two bytes and `\u0041` a letter. Characters beyond ASCII are all
//! one to us.

/// Stands for any character beyond ASCII.
pub const OTHER: u8 = 128;

/// The characters of a piece: ASCII as it is meant, [`OTHER`] once for every other character.
#[derive(Clone, Debug)]
pub struct Characters<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Characters<'a> {
    /// Begins to read.
    #[must_use]
    pub const fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// Reads an escape; `None` where it stands for nothing by itself.
    fn escape(&mut self) -> Option<u8> {
        let Some(&kind) = self.text.get(self.at + 1) else {
            self.at = self.text.len();
            return None;
        };
        if kind == b'u' {
            let digits = self.text.get(self.at + 2..self.at + 6);
            self.at += 6;
            let value = digits?
                .iter()
                .try_fold(0, |value, digit| Some(value * 16 + char::from(*digit).to_digit(16)?))?;
            return match value {
                0..128 => u8::try_from(value).ok(),
                // The second half of a pair.
                0xdc00..0xe000 => None,
                _ => Some(OTHER),
            };
        }
        self.at += 2;
        Some(match kind {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'b' => 8,
            b'f' => 12,
            128.. => OTHER,
            plain => plain,
        })
    }
}

impl Iterator for Characters<'_> {
    type Item = u8;

    #[inline]
    fn next(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.get(self.at)?;
            match byte {
                b'\\' => {
                    if let Some(character) = self.escape() {
                        return Some(character);
                    }
                }
                0..128 => {
                    self.at += 1;
                    return Some(byte);
                }
                // Only the first byte of a character counts.
                128..0xc0 => self.at += 1,
                0xc0.. => {
                    self.at += 1;
                    return Some(OTHER);
                }
            }
        }
    }
}
