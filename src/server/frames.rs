//! Frames of HTTP/2 that ask nothing, counted in front of the parser, so that a flood of them ends its connection.
//!
//! Each of them costs its sender a few bytes and the parser work, an answer or a buffer: resets, pings, settings,
//! priorities, continuations, data of next to no bytes, and kinds nobody knows. A connection may send [`BURST`] at once
//! and [`A_SECOND`] after that, far more than any client does. Updates of windows are not counted: they answer what we send.

use std::time::Duration;

use tokio::time::Instant;

/// Where a connection's frames stand.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes to pass over: of the preface, of a payload.
    skip: usize,
    head: [u8; HEAD_BYTES],
    filled: usize,
    /// Frames that ask nothing and may still come.
    credit: u32,
    since: Instant,
}

impl Frames {
    /// Begins before the preface.
    pub(super) fn new() -> Self {
        Self { skip: PREFACE_BYTES, head: [0; HEAD_BYTES], filled: 0, credit: BURST, since: Instant::now() }
    }

    /// Reads on; false where too many frames asked nothing.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            for (byte, read) in self.head.iter_mut().skip(self.filled).zip(bytes) {
                *byte = *read;
            }
            let taken = (HEAD_BYTES - self.filled).min(bytes.len());
            self.filled += taken;
            bytes = bytes.get(taken..).unwrap_or_default();
            if self.filled == HEAD_BYTES && !self.pass() {
                return false;
            }
        }
        true
    }

    /// Takes in a frame's head.
    fn pass(&mut self) -> bool {
        let [high, middle, low, kind, flags, ..] = self.head;
        let length = u32::from_be_bytes([0, high, middle, low]);
        self.filled = 0;
        self.skip = usize::try_from(length).unwrap_or(usize::MAX);
        let asks = match kind {
            DATA => length >= LEAST_DATA || flags & END_STREAM != 0,
            HEADERS | WINDOW_UPDATE => true,
            _ => false,
        };
        asks || self.spend()
    }

    fn spend(&mut self) -> bool {
        if self.credit == 0 {
            let passed =
                u32::try_from(self.since.elapsed().as_millis() / EACH.as_millis()).unwrap_or(u32::MAX);
            self.credit = passed.min(BURST);
            if self.credit > 0 {
                self.since = Instant::now();
            }
        }
        let Some(left) = self.credit.checked_sub(1) else { return false };
        self.credit = left;
        true
    }
}

const PREFACE_BYTES: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
const HEAD_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
/// Bytes below which data that do not end a body ask nothing.
const LEAST_DATA: u32 = 16;
/// Frames that ask nothing at once.
const BURST: u32 = 1_000;
/// And after that.
const A_SECOND: u64 = 100;
const EACH: Duration = Duration::from_millis(1_000 / A_SECOND);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn begun() -> Frames {
        let mut frames = Frames::new();
        assert!(frames.read(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
        frames
    }

    #[test]
    fn what_asks_nothing_may_come_a_thousand_times_and_a_hundred_a_second() {
        for (kind, flags, payload) in [
            (3, 0, &[0; 4][..]),
            (6, 0, &[0; 8]),
            (4, 0, &[]),
            (2, 0, &[0; 5]),
            (9, 0, &[1; 100]),
            (0, 0, &[1]),
            (99, 0, &[]),
        ] {
            let (mut frames, ping) = (begun(), frame(kind, flags, payload));
            assert!((0..BURST).all(|_| frames.read(&ping)), "{kind}");
            frames.since = Instant::now();
            assert!(!frames.read(&ping), "{kind}");
            frames.since -= Duration::from_secs(1);
            assert!((0..100).all(|_| frames.read(&ping)));
        }
        for (kind, flags, payload) in [(1, 4, &[0x88][..]), (8, 0, &[0; 4]), (0, 0, &[1; 16]), (0, 1, &[])] {
            let (mut frames, asking) = (begun(), frame(kind, flags, payload));
            assert!((0..10 * BURST).all(|_| frames.read(&asking)), "{kind}");
        }
    }

    proptest! {
        /// Cut wherever it may be, a connection spends the same.
        #[test]
        fn frames_are_told_apart_wherever_reads_end(
            kinds in prop::collection::vec((0_u8..12, 0_u8..2, 0_usize..40), 0..50),
            cuts in prop::collection::vec(1_usize..30, 1..20),
        ) {
            let whole: Vec<u8> =
                kinds.iter().flat_map(|(kind, flags, size)| frame(*kind, *flags, &vec![3; *size])).collect();
            let spent = |frames: &Frames| BURST - frames.credit;
            let mut at_once = begun();
            prop_assert!(at_once.read(&whole));
            let (mut cut, mut rest) = (begun(), whole.as_slice());
            for size in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*size).min(rest.len()));
                prop_assert!(cut.read(now));
                rest = later;
            }
            let expected = kinds.iter().filter(|(kind, flags, size)| match kind {
                0 => *size < 16 && *flags == 0,
                1 | 8 => false,
                _ => true,
            });
            let expected = u32::try_from(expected.count()).unwrap();
            prop_assert_eq!((spent(&at_once), spent(&cut)), (expected, expected));
        }
    }
}
