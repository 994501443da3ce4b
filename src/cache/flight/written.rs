//! What was written down of an answer, and how much of it may be read.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Pieces of an answer in order, by the byte each begins at.
///
/// Small pieces that several readers find released together are joined here, once for all of them: whoever reads them is
/// given a slice, and holds nothing of its own.
#[derive(Default)]
pub(super) struct Written {
    pieces: VecDeque<(usize, Bytes)>,
    /// The first byte that is held.
    begin: usize,
    /// Behind the last byte that was written.
    end: usize,
    /// Behind the last byte that may be read.
    released: usize,
    /// Sizes of the pieces that may not be read yet.
    waiting: VecDeque<usize>,
}

impl Written {
    /// Returns how many bytes were written, those that were let go of too.
    pub(super) const fn end(&self) -> usize {
        self.end
    }

    /// Tells whether a piece may not be read yet.
    pub(super) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Returns how many bytes are held.
    pub(super) const fn held_bytes(&self) -> usize {
        self.end - self.begin
    }

    /// Writes a piece down, not to be read yet.
    pub(super) fn push(&mut self, piece: &Bytes) {
        self.pieces.push_back((self.end, piece.clone()));
        self.waiting.push_back(piece.len());
        self.end += piece.len();
    }

    /// Releases one more piece.
    pub(super) fn release(&mut self) {
        self.released += self.waiting.pop_front().unwrap_or(0);
    }

    /// Releases all of it.
    pub(super) fn release_all(&mut self) {
        self.waiting.clear();
        self.released = self.end;
    }

    /// Lets go of pieces that were released, from the first, until no more than `max_bytes` are held.
    pub(super) fn let_go(&mut self, max_bytes: usize) {
        while self.held_bytes() > max_bytes {
            let Some((start, piece)) = self.pieces.front() else { return };
            let end = start + piece.len();
            if end > self.released {
                return;
            }
            self.begin = end;
            self.pieces.pop_front();
        }
    }

    /// Returns what may be read from a byte on, some of it; `None` where nothing may yet.
    ///
    /// # Errors
    /// Where it was let go of.
    pub(super) fn read(&mut self, from: usize) -> Result<Option<Bytes>, LetGo> {
        if from < self.begin {
            return Err(LetGo);
        }
        if from >= self.released {
            return Ok(None);
        }
        let place = self.pieces.partition_point(|(start, _)| *start <= from).saturating_sub(1);
        self.join_from(place);
        let readable = self.pieces.get(place).and_then(|(start, piece)| {
            let end = piece.len().min(self.released - start);
            (from - start < end).then(|| piece.slice(from - start..end))
        });
        Ok(readable)
    }

    /// Joins a small piece with those behind it that may be read too.
    fn join_from(&mut self, place: usize) {
        let (mut bytes, mut count) = (0, 0);
        for (start, piece) in self.pieces.iter().skip(place) {
            if bytes >= JOINED_BYTES || start + piece.len() > self.released {
                break;
            }
            (bytes, count) = (bytes + piece.len(), count + 1);
        }
        if count < 2 {
            return;
        }
        let mut joined = BytesMut::with_capacity(bytes);
        let mut pieces = self.pieces.drain(place..place + count);
        let start = pieces.next().map_or(0, |(start, piece)| {
            joined.extend_from_slice(&piece);
            start
        });
        pieces.for_each(|(_, piece)| joined.extend_from_slice(&piece));
        self.pieces.insert(place, (start, joined.freeze()));
    }

    /// Returns all that is held, in memory of its own.
    pub(super) fn whole(&self) -> Bytes {
        let mut whole = BytesMut::with_capacity(self.held_bytes());
        self.pieces.iter().for_each(|(_, piece)| whole.extend_from_slice(piece));
        whole.freeze()
    }
}

/// What was asked for is held no longer.
#[derive(Debug)]
pub(super) struct LetGo;

/// A piece of this size is joined with none behind it, so that each byte is copied but a few times.
const JOINED_BYTES: usize = 16 << 10;
