//! Decoding a copy of an answer for the meter, where the upstream compressed it against our asking.
//!
//! What the client gets is never decoded. A coding we do not read, a broken one, or one that grows beyond
//! 256 MiB ends metering, not the answer. Memory stays within about a megabyte whatever comes.

use std::io::Write;

use flate2::write::MultiGzDecoder;

/// Turns an answer's chunks into what they mean.
#[derive(Debug)]
pub enum Decoder {
    /// Not compressed.
    Identity,
    /// gzip, and how many bytes it has grown to.
    Gzip(Box<MultiGzDecoder<Vec<u8>>>, u64),
    /// Nothing that can be metered, or no longer.
    Unknown,
}

/// What a compressed answer may grow to before metering ends.
const MAX_DECODED_BYTES: u64 = 256 << 20;

impl Decoder {
    /// Returns the decoder for the value of a `content-encoding` header.
    #[must_use]
    pub fn for_encoding(encoding: Option<&str>) -> Self {
        match encoding.map(|name| name.trim().to_ascii_lowercase()).as_deref() {
            None | Some("" | "identity") => Self::Identity,
            Some("gzip" | "x-gzip") => Self::Gzip(Box::new(MultiGzDecoder::new(Vec::new())), 0),
            Some(_) => Self::Unknown,
        }
    }

    /// Decodes the next chunk; calls `meter` with each piece of what it means, which may be none.
    pub fn decode(&mut self, chunk: &[u8], mut meter: impl FnMut(&[u8])) {
        let Self::Gzip(decoder, grown_bytes) = self else {
            if matches!(self, Self::Identity) {
                meter(chunk);
            }
            return;
        };
        // In small pieces, for each may grow a thousandfold.
        for piece in chunk.chunks(PIECE_BYTES) {
            let read = decoder.write_all(piece).and_then(|()| decoder.flush());
            let plain = decoder.get_mut();
            *grown_bytes = grown_bytes.saturating_add(plain.len() as u64);
            meter(plain);
            plain.clear();
            if read.is_err() || *grown_bytes > MAX_DECODED_BYTES {
                *self = Self::Unknown;
                return;
            }
        }
    }

    /// Tells whether everything so far could be metered.
    #[must_use]
    pub const fn is_metering(&self) -> bool {
        !matches!(self, Self::Unknown)
    }
}

const PIECE_BYTES: usize = 512;
