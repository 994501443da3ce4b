//! A body in chunks, read for where it ends: RFC 9112 section 7.1 without its liberties.
//!
//! Sizes of at most 15 hexadecimal digits, no white space beside them, extensions of visible text, every line
//! ended by CR LF. Chunks are found, not kept: the parser behind reads them again.

/// Where in its chunks a body stands.
#[derive(Debug, Default)]
pub(super) struct Chunked {
    place: Place,
    /// Of the chunk that is being read.
    size: u64,
    /// Digits, or bytes of an extension or of trailers, in a row.
    run: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Size,
    Extension,
    SizeEnd,
    Data,
    DataEnd,
    DataEndLf,
    /// At the beginning of a line behind the last chunk.
    TrailerStart,
    Trailer,
    TrailerEnd,
    End,
}

impl Chunked {
    /// Reads on; returns how many of `bytes` belong to the body and whether it has ended.
    ///
    /// # Errors
    /// How many bytes are sound, and what is wrong with the one behind them, which is never data.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<(usize, bool), (usize, &'static str)> {
        let mut taken = 0;
        while let Some(&byte) = bytes.get(taken) {
            if self.place == Place::Data {
                let some = usize::try_from(self.size).unwrap_or(usize::MAX).min(bytes.len() - taken);
                self.size -= some as u64;
                taken += some;
                if self.size == 0 {
                    self.place = Place::DataEnd;
                }
                continue;
            }
            let ended = self.step(byte).map_err(|what| (taken, what))?;
            taken += 1;
            if ended {
                return Ok((taken, true));
            }
        }
        Ok((taken, false))
    }

    /// Reads one byte that is not data; returns whether it was the body's last.
    fn step(&mut self, byte: u8) -> Result<bool, &'static str> {
        self.place = match (self.place, byte) {
            (Place::Size, _) if byte.is_ascii_hexdigit() => self.digit(byte)?,
            (Place::Size, b';') if self.run > 0 => self.fresh(Place::Extension),
            (Place::Size, b'\r') if self.run > 0 => Place::SizeEnd,
            (Place::Size, _) => return Err("a chunk's size is not a number"),
            (Place::Extension, b'\r') => Place::SizeEnd,
            (Place::Extension, b'\t' | b' '..=b'~') => self.longer(Place::Extension, EXTENSION_MAX_BYTES)?,
            (Place::Extension, _) => return Err("a chunk's extension holds a control character"),
            (Place::SizeEnd, b'\n') if self.size == 0 => self.fresh(Place::TrailerStart),
            (Place::SizeEnd, b'\n') => self.fresh(Place::Data),
            (Place::DataEnd, b'\r') => Place::DataEndLf,
            (Place::DataEndLf, b'\n') => self.fresh(Place::Size),
            (Place::TrailerStart, b'\r') => Place::End,
            (Place::TrailerStart, b' ' | b'\t' | b':') => return Err("a trailer has no name"),
            (Place::Trailer, b'\r') => Place::TrailerEnd,
            (Place::TrailerStart | Place::Trailer, _) if byte == b'\t' || byte >= b' ' && byte != 0x7f => {
                self.longer(Place::Trailer, TRAILERS_MAX_BYTES)?
            }
            (Place::TrailerStart | Place::Trailer, _) => return Err("a trailer holds a control character"),
            (Place::TrailerEnd, b'\n') => Place::TrailerStart,
            (Place::End, b'\n') => return Ok(true),
            (Place::DataEnd, _) => return Err("a chunk is longer than its size"),
            _ => return Err("a chunk's line ends without CR LF"),
        };
        Ok(false)
    }

    fn digit(&mut self, byte: u8) -> Result<Place, &'static str> {
        self.size = self.size << 4 | u64::from(char::from(byte).to_digit(16).unwrap_or_default());
        self.longer(Place::Size, SIZE_MAX_DIGITS)
    }

    fn longer(&mut self, place: Place, most: usize) -> Result<Place, &'static str> {
        self.run += 1;
        if self.run > most { Err("a chunk's size, extension or trailer is too long") } else { Ok(place) }
    }

    /// Begins another part: a run ends, and a size that was read to its end is counted down from then on.
    fn fresh(&mut self, place: Place) -> Place {
        self.run = 0;
        place
    }
}

/// Digits that always fit a 64-bit size.
const SIZE_MAX_DIGITS: usize = 15;
/// Longest extension of one chunk; nobody is known to use any.
const EXTENSION_MAX_BYTES: usize = 256;
/// Longest trailers of one body.
const TRAILERS_MAX_BYTES: usize = 8 * 1024;
