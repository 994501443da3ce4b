//! A token bucket kept as a debt: what was taken and has not yet refilled.
//!
//! Capacity is the limit, the refill is the limit per minute. The bucket itself does not know the limit, so
//! a changed limit keeps what was used. Amounts are integers in nano-units of a sixtieth, in which a refill
//! over any number of nanoseconds is exact: nothing is rounded, however often the bucket is read.

use std::time::{Duration, Instant};

/// What was taken and has not refilled; above the capacity where an actual exceeded its estimate.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    debt: u128,
    settled_at: Option<Instant>,
}

impl Bucket {
    /// Takes `amount` whatever is left.
    pub(super) fn take(&mut self, amount: u64, limit: u64, now: Instant) {
        self.refill(limit, now);
        self.debt = self.debt.saturating_add(scaled(amount));
    }

    /// Gives `amount` back; what would overflow a full bucket is lost.
    pub(super) fn give(&mut self, amount: u64, limit: u64, now: Instant) {
        self.refill(limit, now);
        self.debt = self.debt.saturating_sub(scaled(amount));
    }

    /// Returns the whole units left; zero where the bucket is empty or below.
    pub(super) fn remaining(&mut self, limit: u64, now: Instant) -> u64 {
        self.refill(limit, now);
        u64::try_from(scaled(limit).saturating_sub(self.debt) / UNIT).unwrap_or(u64::MAX)
    }

    /// Returns the time until `amount` is left, zero if it is; until the bucket is full where it never can be.
    pub(super) fn wait(&mut self, amount: u64, limit: u64, now: Instant) -> Duration {
        self.refill(limit, now);
        let allowed = scaled(limit).saturating_sub(scaled(amount));
        let missing = self.debt.saturating_sub(allowed);
        let nanos = missing.div_ceil(u128::from(limit.max(1)));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Returns the units missing, a part of one counted whole.
    pub(super) fn debt(&mut self, limit: u64, now: Instant) -> u64 {
        self.refill(limit, now);
        u64::try_from(self.debt.div_ceil(UNIT)).unwrap_or(u64::MAX)
    }

    /// Takes over what is missing of a bucket shared with others, in millionths of a unit, less `unspent` units.
    pub(super) fn become_debt(&mut self, missing_millionths: u64, unspent: u64, now: Instant) {
        let missing = u128::from(missing_millionths).saturating_mul(UNIT / 1_000_000);
        self.debt = missing.saturating_sub(scaled(unspent));
        self.settled_at = Some(now);
    }

    fn refill(&mut self, limit: u64, now: Instant) {
        let since = self.settled_at.map_or(Duration::ZERO, |then| now.saturating_duration_since(then));
        self.debt = self.debt.saturating_sub(since.as_nanos().saturating_mul(u128::from(limit)));
        self.settled_at = Some(self.settled_at.map_or(now, |then| then.max(now)));
    }
}

const fn scaled(amount: u64) -> u128 {
    amount as u128 * UNIT
}

/// One unit in nano-units of a sixtieth: a limit of one per minute refills one of these per nanosecond.
const UNIT: u128 = 60 * 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn a_refill_is_exact_over_a_year_however_often_it_is_read() {
        let clock = Clock::manual(jiff::Timestamp::UNIX_EPOCH);
        let (mut often, mut seldom) = (Bucket::default(), Bucket::default());
        let limit = 7;
        let year_s: u64 = 365 * 86_400;
        let used = limit * (year_s / 60);
        often.take(used, limit, clock.instant());
        seldom.take(used, limit, clock.instant());
        // Steps of 1.000000007 s leave remainders everywhere that a rounding bucket would lose.
        let step = Duration::from_nanos(1_000_000_007);
        let total = Duration::from_secs(year_s);
        let steps = u32::try_from(total.as_nanos() / step.as_nanos()).unwrap();
        let mut left = total - step * steps;
        for _ in 0..steps / 50 {
            clock.advance(step);
            often.remaining(limit, clock.instant());
        }
        left += step * (steps - steps / 50);
        clock.advance(left - Duration::from_nanos(1));
        assert_eq!(often.remaining(limit, clock.instant()), 6);
        clock.advance(Duration::from_nanos(1));
        assert_eq!(often.remaining(limit, clock.instant()), 7);
        assert_eq!(often.debt, seldom.debt.saturating_sub(total.as_nanos() * u128::from(limit)));
    }

    #[test]
    fn the_wait_is_the_first_moment_at_which_the_amount_is_there() {
        let clock = Clock::manual(jiff::Timestamp::UNIX_EPOCH);
        for (limit, amount) in [(1, 1), (7, 3), (60, 60), (1_000_003, 999)] {
            let mut bucket = Bucket::default();
            bucket.take(limit, limit, clock.instant());
            let wait = bucket.wait(amount, limit, clock.instant());
            clock.advance(wait - Duration::from_nanos(1));
            assert_eq!(bucket.remaining(limit, clock.instant()), amount - 1, "{limit} {amount}");
            clock.advance(Duration::from_nanos(1));
            assert_eq!(bucket.remaining(limit, clock.instant()), amount, "{limit} {amount}");
        }
    }

    #[test]
    fn a_changed_limit_keeps_what_was_used() {
        let now = Clock::manual(jiff::Timestamp::UNIX_EPOCH).instant();
        let mut bucket = Bucket::default();
        bucket.take(8, 10, now);
        assert_eq!(bucket.remaining(10, now), 2);
        assert_eq!(bucket.remaining(5, now), 0);
        assert_eq!(bucket.remaining(20, now), 12);
    }

    #[test]
    fn the_largest_amounts_do_not_overflow() {
        let clock = Clock::manual(jiff::Timestamp::UNIX_EPOCH);
        let mut bucket = Bucket::default();
        for _ in 0..4 {
            bucket.take(u64::MAX, u64::MAX, clock.instant());
        }
        assert_eq!(bucket.remaining(u64::MAX, clock.instant()), 0);
        clock.advance(Duration::from_secs(3_600));
        assert_eq!(bucket.remaining(u64::MAX, clock.instant()), u64::MAX);
    }
}
