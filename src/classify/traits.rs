//! The traits of a request: a few sums of features along which tasks differ most in what makes a request hard.
//!
//! They say nothing of difficulty by themselves. Which way they point is learned by workload.

use serde::Deserialize;

use super::features::{Features, NAMES};
use crate::tier::TRAITS;

/// How traits are made of features, as the training script writes it; all in 2^-30ths.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Traits {
    /// What the logarithm of each feature adds to each trait.
    factors: Vec<Vec<i32>>,
    /// Each trait where it is usual.
    offsets: Vec<i64>,
}

impl Traits {
    /// Tells whether these are of the size expected, so that no sum overflows.
    pub(super) fn are_sound(&self) -> bool {
        let factors = self.factors.iter().flatten();
        self.factors.len() == TRAITS
            && self.offsets.len() == TRAITS
            && self.factors.iter().all(|row| row.len() == NAMES.len())
            && factors.into_iter().all(|factor| factor.unsigned_abs() <= FACTOR_MAX)
            && self.offsets.iter().all(|offset| offset.unsigned_abs() <= OFFSET_MAX)
    }

    /// Returns the traits of a request, in 2^-20ths.
    pub(super) fn of(&self, features: &Features) -> [i32; TRAITS] {
        let logarithms: [i64; NAMES.len()] = std::array::from_fn(|place| logarithm(features.at(place)));
        let mut traits = [0; TRAITS];
        for (place, (factors, offset)) in traits.iter_mut().zip(self.factors.iter().zip(&self.offsets)) {
            let sum = factors.iter().zip(&logarithms).map(|(factor, log)| i64::from(*factor) * log);
            // Factors and offsets are so bounded that it fits.
            *place = i32::try_from((sum.sum::<i64>() - offset) >> SHIFT).unwrap_or_default();
        }
        traits
    }
}

/// Logarithm to base 2 of a count and one, in 256ths, straight between powers of two.
fn logarithm(count: i32) -> i64 {
    let more = i64::from(count.max(0)) + 1;
    let power = more.ilog2();
    i64::from(power) * 256 + ((more << 8) >> power) - 256
}

/// Cut off a sum of factors.
const SHIFT: u32 = 10;
const FACTOR_MAX: u32 = 1 << 20;
const OFFSET_MAX: u64 = 1 << 39;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_those_of_powers_of_two_and_straight_between() {
        let known = [(-5, 0), (0, 0), (1, 256), (2, 384), (3, 512), (1_023, 2_560), (i32::MAX, 31 * 256)];
        for (count, log) in known {
            assert_eq!(logarithm(count), log, "{count}");
        }
    }

    #[test]
    fn factors_of_another_size_are_refused() {
        let traits = |factor: i32, offset: i64, rows: usize, columns: usize| Traits {
            factors: vec![vec![factor; columns]; rows],
            offsets: vec![offset; rows],
        };
        let features = NAMES.len();
        assert!(traits(1 << 20, -1 << 39, TRAITS, features).are_sound());
        for unsound in [
            traits(1, 0, TRAITS + 1, features),
            traits(1, 0, TRAITS, features - 1),
            traits(i32::MIN, 0, TRAITS, features),
            traits(1, i64::MIN, TRAITS, features),
        ] {
            assert!(!unsound.are_sound(), "{unsound:?}");
        }
    }
}
