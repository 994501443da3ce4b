//! Thirty-two bytes of a document looked at together, a bit for each, the lowest for the first.
//!
//! Code and tool results have an escape in every line. Going from one to the next costs a search and a branch that is
//! predicted wrong for each; here escapes are told apart by arithmetic on the bits, after Langdale and Lemire, "Parsing
//! Gigabytes of JSON per Second" (2019), section 3.1.1.

use std::num::NonZeroU32;

use wide::u8x32;

/// What of a block ends or interrupts a string.
#[derive(Clone, Copy)]
pub(super) struct Block {
    pub(super) quotes: u32,
    pub(super) backslashes: u32,
    /// The letter of the commonest escape, which ends a line.
    letters_n: u32,
    /// Bytes below the space, and what is beyond the end.
    pub(super) controls: u32,
}

/// Which of a block's bytes are escaped, and what the next block is to know of it.
pub(super) struct Escapes {
    /// The byte behind each backslash that begins an escape.
    pub(super) escaped: u32,
    /// 1 where the next block's first byte is escaped, else 0.
    pub(super) carried: u32,
}

impl Block {
    /// Looks at the bytes from `at` on.
    #[inline]
    pub(super) fn of(bytes: &[u8], at: usize) -> Self {
        match bytes.get(at..).and_then(<[u8]>::first_chunk) {
            Some(block) => Self::read(*block),
            None => Self::last(bytes, at),
        }
    }

    /// Looks at fewer bytes than a block has: the last block of all, less those before `at`.
    fn last(bytes: &[u8], at: usize) -> Self {
        let (block, end) = match bytes.last_chunk() {
            Some(block) => (*block, bytes.len()),
            None => {
                let mut block = [0; BLOCK_BYTES];
                block.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
                (block, BLOCK_BYTES)
            }
        };
        let passed = u32::try_from((at + BLOCK_BYTES).saturating_sub(end)).unwrap_or(u32::MAX);
        let behind = |bits: u32| bits.checked_shr(passed).unwrap_or(0);
        let Self { quotes, backslashes, letters_n, controls } = Self::read(block);
        Self {
            quotes: behind(quotes),
            backslashes: behind(backslashes),
            letters_n: behind(letters_n),
            controls: behind(controls) | !behind(u32::MAX),
        }
    }

    #[inline]
    fn read(block: [u8; BLOCK_BYTES]) -> Self {
        let block = u8x32::new(block);
        let bits = |byte| block.simd_eq(u8x32::splat(byte)).to_bitmask();
        Self {
            quotes: bits(b'"'),
            backslashes: bits(b'\\'),
            letters_n: bits(b'n'),
            controls: block.simd_le(u8x32::splat(0x1f)).to_bitmask(),
        }
    }

    /// Returns how many bytes stand before the first that is special; `None` where none is.
    #[inline]
    pub(super) fn plain(&self) -> Option<usize> {
        let special = NonZeroU32::new(self.quotes | self.backslashes | self.controls);
        special.map(|special| special.trailing_zeros() as usize)
    }

    /// Tells escapes from backslashes that are escaped themselves.
    #[inline]
    pub(super) const fn escapes(&self, carried: u32) -> Escapes {
        // An escape starts at the first backslash of a run and at every other one; taken from the bits that follow
        // them, each run borrows as far as its end, which is escaped or not by whether it is of odd length.
        let starts = self.backslashes & !carried;
        let turned = ((starts << 1) | ODD).wrapping_sub(starts) ^ ODD;
        let escaped = turned ^ (self.backslashes | carried);
        Escapes { escaped, carried: (turned & self.backslashes) >> (u32::BITS - 1) }
    }

    /// Of what escapes may hold, those that nearly all do.
    #[inline]
    pub(super) const fn usual(&self) -> u32 {
        self.quotes | self.backslashes | self.letters_n
    }
}

/// Bytes of a block: more than most names and ids have.
pub(super) const BLOCK_BYTES: usize = 32;
const ODD: u32 = 0xaaaa_aaaa;
