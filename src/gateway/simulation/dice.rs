//! What is drawn from a seed (SplitMix64).

use std::time::Duration;

/// A source of numbers; the same seed gives the same ones.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns dice of their own, so that what another draws changes nothing for whoever has them.
    pub(super) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub(super) fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap()
    }

    pub(super) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(super) fn pick<T: Clone>(&mut self, among: &[T]) -> T {
        among[self.index(among.len())].clone()
    }

    /// Returns a time below a number of milliseconds; none at all half of the time.
    pub(super) fn pause(&mut self, below_ms: u64) -> Duration {
        Duration::from_millis(if self.one_in(2) { 0 } else { self.below(below_ms) })
    }

    /// Returns a time below a number of milliseconds.
    pub(super) fn millis(&mut self, below_ms: u64) -> Duration {
        Duration::from_millis(self.below(below_ms))
    }
}
