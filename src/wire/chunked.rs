//! A body in chunks, read for where it ends: RFC 9112 section 7.1 without its liberties.
//!
//! Sizes of at most 15 hexadecimal digits, no white space beside them, extensions of visible text, every line
//! ended by CR LF. A client's chunks are found, not kept, as the parser behind reads them again; of an upstream's the data
//! is taken out.

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};

/// Where in its chunks a body stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chunked {
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
    Over,
}

impl Chunked {
    /// Reads on; returns how many of `bytes` belong to the body and whether it has ended.
    ///
    /// # Errors
    /// How many bytes are sound, and what is wrong with the one behind them, which is never data.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(usize, bool), (usize, &'static str)> {
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

    /// Takes the next piece of data out of `bytes`, as long as it is there; none where the body has ended or more has to be
    /// read first, and then nothing but what follows the body is left of `bytes`.
    ///
    /// Small chunks that are there together come as one piece, but for the last of them, with which an answer may end: it is
    /// a piece of its own and keeps nothing before it waiting. A burst of 50 events is then carried in two pieces, not in 50.
    ///
    /// # Errors
    /// What is wrong with a byte that is not data, once all data before it was taken out.
    pub fn piece(&mut self, bytes: &mut Bytes) -> Result<Option<Bytes>, &'static str> {
        if let Some(piece) = self.small(bytes) {
            return Ok(Some(piece));
        }
        let mut taken = 0;
        while !self.has_ended() {
            if self.place == Place::Data {
                bytes.advance(taken);
                let some = usize::try_from(self.size).unwrap_or(usize::MAX).min(bytes.len());
                self.size -= some as u64;
                if self.size == 0 {
                    self.place = Place::DataEnd;
                }
                return Ok((some > 0).then(|| bytes.split_to(some)));
            }
            let Some(&byte) = bytes.get(taken) else { break };
            self.step(byte)?;
            taken += 1;
        }
        bytes.advance(taken);
        Ok(None)
    }

    /// Takes out what is left of a small chunk that is there whole, or of all but the last where there are several.
    fn small(&mut self, bytes: &mut Bytes) -> Option<Bytes> {
        let (mut joined, mut taken) = (BytesMut::new(), 0);
        let (mut after, mut data) = self.small_at(bytes, 0)?;
        while let Some((later, next)) = after.small_at(bytes, data.end) {
            if joined.is_empty() {
                joined.reserve(bytes.len());
            }
            joined.extend_from_slice(bytes.get(data.clone())?);
            (*self, taken) = (after, data.end);
            (after, data) = (later, next);
        }
        if joined.is_empty() {
            *self = after;
            bytes.advance(data.start);
            return Some(bytes.split_to(data.len()));
        }
        bytes.advance(taken);
        Some(joined.freeze())
    }

    /// Finds the data of a small chunk, from a place on at which the body stands so, and where it stands behind them.
    fn small_at(mut self, bytes: &[u8], mut place: usize) -> Option<(Self, Range<usize>)> {
        while self.place != Place::Data {
            self.step(*bytes.get(place)?).ok()?;
            place += 1;
        }
        let size = usize::try_from(self.size).ok().filter(|size| *size <= SMALL_BYTES)?;
        if bytes.len() - place < size {
            return None;
        }
        (self.size, self.place) = (0, Place::DataEnd);
        Some((self, place..place + size))
    }

    /// Tells whether the last byte was read.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.place == Place::Over
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
            (Place::End, b'\n') => Place::Over,
            (Place::DataEnd, _) => return Err("a chunk is longer than its size"),
            _ => return Err("a chunk's line ends without CR LF"),
        };
        Ok(self.has_ended())
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

/// A chunk of which no more is left is rather copied than handed on by itself.
const SMALL_BYTES: usize = 4 * 1024;
/// Digits that always fit a 64-bit size.
const SIZE_MAX_DIGITS: usize = 15;
/// Longest extension of one chunk; nobody is known to use any.
const EXTENSION_MAX_BYTES: usize = 256;
/// Longest trailers of one body.
const TRAILERS_MAX_BYTES: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a body that comes in pieces of a size; returns its data, what is left behind it, and the fault.
    fn read(body: &[u8], size: usize) -> (Vec<u8>, Vec<u8>, Option<&'static str>) {
        let (mut chunked, mut data) = (Chunked::default(), Vec::new());
        let mut pieces = body.chunks(size.max(1));
        for piece in pieces.by_ref() {
            let mut bytes = Bytes::copy_from_slice(piece);
            loop {
                match chunked.piece(&mut bytes) {
                    Ok(Some(some)) => data.extend_from_slice(&some),
                    Ok(None) if chunked.has_ended() => {
                        let left = pieces.fold(bytes.to_vec(), |left, piece| [&left, piece].concat());
                        return (data, left, None);
                    }
                    Ok(None) => break,
                    Err(fault) => return (data, Vec::new(), Some(fault)),
                }
            }
        }
        (data, Vec::new(), Some("unfinished"))
    }

    proptest! {
        #[test]
        fn the_data_comes_out_however_it_comes(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..8),
            size in 1_usize..64,
        ) {
            let mut body = Vec::new();
            for chunk in &chunks {
                body.extend(format!("{:x};a=b\r\n", chunk.len()).bytes());
                body.extend_from_slice(chunk);
                body.extend(b"\r\n");
            }
            body.extend(b"0\r\nx: y\r\n\r\nnext");
            prop_assert_eq!(read(&body, size), (chunks.concat(), b"next".to_vec(), None));
        }
    }

    #[test]
    fn small_chunks_come_together_but_for_the_last_and_what_is_sound_before_a_fault() {
        let large = "x".repeat(SMALL_BYTES + 1);
        let body = format!("llo\r\n1\r\n,\r\n1001\r\n{large}\r\n1\r\na\r\n1\r\nb\r\n1\r\nc\r\n1;\x01");
        let mut bytes = Bytes::from(body);
        let mut chunked = Chunked { place: Place::Data, size: 3, run: 0 };
        let mut pieces = Vec::new();
        let fault = loop {
            match chunked.piece(&mut bytes) {
                Ok(piece) => pieces.push(piece.unwrap()),
                Err(fault) => break fault,
            }
        };
        assert_eq!(pieces, ["llo", ",", &large, "ab", "c"]);
        assert_eq!(fault, "a chunk's extension holds a control character");
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for body in
            ["zz\r\nhalf", "5\nhello", "5\r\nhello0\r\n\r\n", "-1\r\n", "1000000000000000\r\n", "0\r\n\n"]
        {
            let fault = read(body.as_bytes(), 100).2;
            assert!(fault.is_some_and(|fault| fault != "unfinished"), "{body:?}");
        }
    }
}
