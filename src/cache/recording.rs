//! An answer being written down while it is relayed.

use bytes::{Bytes, BytesMut};

/// Collects the chunks of an answer up to a bound, after which it gives up and holds nothing.
#[derive(Debug)]
pub struct Recording {
    chunks: Option<Vec<Bytes>>,
    size_bytes: usize,
    max_bytes: usize,
}

impl Recording {
    /// Returns an empty recording of at most `max_bytes`.
    #[must_use]
    pub const fn new(max_bytes: usize) -> Self {
        Self { chunks: Some(Vec::new()), size_bytes: 0, max_bytes }
    }

    /// Adds a chunk; past the bound everything kept so far is let go.
    pub fn push(&mut self, chunk: &Bytes) {
        self.size_bytes = self.size_bytes.saturating_add(chunk.len());
        if self.size_bytes > self.max_bytes {
            self.chunks = None;
        } else if let Some(chunks) = &mut self.chunks {
            chunks.push(chunk.clone());
        }
    }

    /// Returns the whole answer in memory of its own, or `None` where it was too large.
    ///
    /// Chunks are slices of read buffers; copying them once keeps those buffers from being held for the
    /// life of the entry.
    #[must_use]
    pub fn finish(self) -> Option<Bytes> {
        let chunks = self.chunks?;
        let mut whole = BytesMut::with_capacity(self.size_bytes);
        chunks.iter().for_each(|chunk| whole.extend_from_slice(chunk));
        Some(whole.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_is_whole_or_nothing() {
        let mut small = Recording::new(6);
        small.push(&Bytes::from_static(b"abc"));
        small.push(&Bytes::from_static(b"def"));
        assert_eq!(small.finish().as_deref(), Some(b"abcdef".as_slice()));

        let mut large = Recording::new(5);
        large.push(&Bytes::from_static(b"abc"));
        large.push(&Bytes::from_static(b"def"));
        large.push(&Bytes::new());
        assert_eq!(large.finish(), None);
    }
}
