//! Money as integer nano-dollars, and the one place where a price meets a token count.
//!
//! Nothing here or above it uses floats: a product is taken in 128 bits, divided once and rounded up.
//! One nano-dollar is 1e-9 US dollars; an `i64` holds about nine billion dollars.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub, SubAssign};

use serde::{Deserialize, Serialize};

/// An amount of money in nano-dollars (1e-9 USD); negative only as the difference of two amounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NanoUsd(pub i64);

/// A price in nano-dollars per million tokens; $5 per million tokens is 5,000,000,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(pub u64);

/// An exact factor on a price, such as 11/10 for a region or 1/2 for a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Factor {
    /// Numerator, at most 1,000.
    pub numerator: u32,
    /// Denominator, 1 to 1,000.
    pub denominator: u32,
}

impl Factor {
    /// The factor that changes nothing.
    pub const ONE: Self = Self { numerator: 1, denominator: 1 };

    /// Returns the product of two factors.
    #[must_use]
    pub const fn times(self, other: Self) -> Self {
        Self {
            numerator: self.numerator.saturating_mul(other.numerator),
            denominator: self.denominator.saturating_mul(other.denominator),
        }
    }
}

impl Rate {
    /// Returns what `tokens` cost at this price times `factor`, rounded up to a whole nano-dollar.
    ///
    /// Saturates at `i64::MAX`, which no real bill reaches.
    #[must_use]
    pub fn cost(self, tokens: u64, factor: Factor) -> NanoUsd {
        let product = u128::from(tokens) * u128::from(self.0);
        // A hundred costs are taken for each request, most of no tokens or small enough for a multiplication instead of a
        // division of 128 bits.
        if let (Factor::ONE, Ok(product)) = (factor, u64::try_from(product)) {
            return NanoUsd(i64::try_from(product.div_ceil(TOKENS_PER_RATE)).unwrap_or(i64::MAX));
        }
        let scaled = product.saturating_mul(u128::from(factor.numerator));
        let divisor = u128::from(TOKENS_PER_RATE) * u128::from(factor.denominator.max(1));
        NanoUsd(i64::try_from(scaled.div_ceil(divisor)).unwrap_or(i64::MAX))
    }
}

const TOKENS_PER_RATE: u64 = 1_000_000;

/// Dollars per million tokens without trailing zeros: `0.125`, `5`.
impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:09}", self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        formatter.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl NanoUsd {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// Returns whole dollars as nano-dollars; at most nine billion.
    #[must_use]
    pub const fn from_dollars(dollars: i64) -> Self {
        Self(dollars.saturating_mul(1_000_000_000))
    }

    /// Returns `part` parts of it out of `whole`, rounded towards zero; all of it where `whole` is 0.
    #[must_use]
    pub fn part(self, part: u64, whole: u64) -> Self {
        let scaled = i128::from(self.0) * i128::from(part);
        let parted = scaled.checked_div(i128::from(whole)).unwrap_or(i128::from(self.0));
        Self(i64::try_from(parted).unwrap_or(i64::MAX))
    }

    /// Tells whether it is no money.
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        self.0 == 0
    }

    /// Parses a decimal amount of dollars such as `25`, `25.00` or `0.000000001`; nine decimals at most.
    ///
    /// Returns `None` for anything else: a sign, an exponent, more decimals, or too large an amount.
    #[must_use]
    pub fn parse_dollars(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
            return None;
        }
        let nanos: i64 = format!("{fraction:0<9}").parse().ok()?;
        let dollars: i64 = whole.parse().ok()?;
        dollars.checked_mul(1_000_000_000)?.checked_add(nanos).map(Self)
    }
}

/// Nine decimals, without a currency sign: `1.234567890`.
impl fmt::Display for NanoUsd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let magnitude = self.0.unsigned_abs();
        write!(formatter, "{sign}{}.{:09}", magnitude / 1_000_000_000, magnitude % 1_000_000_000)
    }
}

impl Add for NanoUsd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for NanoUsd {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl AddAssign for NanoUsd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for NanoUsd {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Sum for NanoUsd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dollars_are_read_exactly_or_not_at_all() {
        for (text, nanos) in [("25", 25_000_000_000), ("25.00", 25_000_000_000), ("0.000000001", 1)] {
            assert_eq!(NanoUsd::parse_dollars(text), Some(NanoUsd(nanos)), "{text}");
        }
        for text in ["", ".", "1.", ".5", "-1", "+1", "1e3", "0.0000000001", "1,000", "9999999999"] {
            assert_eq!(NanoUsd::parse_dollars(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn cost_grows_with_tokens_and_never_rounds_down(tokens in 0u64..1 << 40, rate in 0u64..1 << 40) {
            let cost = Rate(rate).cost(tokens, Factor::ONE);
            prop_assert!(cost <= Rate(rate).cost(tokens + 1, Factor::ONE));
            prop_assert!(i128::from(cost.0) * 1_000_000 >= i128::from(tokens) * i128::from(rate) || cost.0 == i64::MAX);
        }

        #[test]
        fn a_factor_of_one_costs_the_same_however_it_is_written(tokens in any::<u64>(), rate in any::<u64>(), bits in 0u32..64) {
            let (tokens, rate) = (tokens >> bits, Rate(rate >> (63 - bits)));
            prop_assert_eq!(rate.cost(tokens, Factor::ONE), rate.cost(tokens, Factor { numerator: 7, denominator: 7 }));
        }

        #[test]
        fn an_amount_survives_printing_and_reading(nanos in 0i64..i64::MAX) {
            prop_assert_eq!(NanoUsd::parse_dollars(&NanoUsd(nanos).to_string()), Some(NanoUsd(nanos)));
        }
    }
}
