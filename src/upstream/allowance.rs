//! How many requests may be tried at a second upstream: a tenth of all, and five saved up.
//!
//! In a storm of refusals every try adds to it; bounded by what was asked, and not by time, they never exceed 1.2 calls
//! a request from the fiftieth on.

use std::sync::atomic::{AtomicU32, Ordering};

/// What is left to spend on further tries; safe to share.
#[derive(Debug)]
pub struct Allowance(AtomicU32);

impl Default for Allowance {
    fn default() -> Self {
        Self(AtomicU32::new(SAVED_MAX))
    }
}

impl Allowance {
    /// Adds what one request brings.
    pub fn earn(&self) {
        let earned = |saved: u32| Some((saved + EARNED).min(SAVED_MAX));
        // Never fails: the closure always gives a value.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earned);
    }

    /// Takes what one further try costs; false where too little is left.
    pub fn spend(&self) -> bool {
        let spent = |saved: u32| saved.checked_sub(COST);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spent).is_ok()
    }
}

const COST: u32 = 10;
const EARNED: u32 = 1;
const SAVED_MAX: u32 = 5 * COST;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_storm_a_tenth_is_tried_again_and_five_more() {
        let allowance = Allowance::default();
        for requests in [50, 100, 1_000] {
            let fresh = Allowance::default();
            let tried = (0..requests)
                .filter(|_| {
                    fresh.earn();
                    fresh.spend()
                })
                .count();
            assert!(tried <= requests / 10 + 5 && tried >= requests / 10, "{tried} of {requests}");
        }
        for _ in 0..5 {
            assert!(allowance.spend());
        }
        assert!(!allowance.spend());
        (0..9).for_each(|_| allowance.earn());
        assert!(!allowance.spend());
        allowance.earn();
        assert!(allowance.spend());
    }
}
