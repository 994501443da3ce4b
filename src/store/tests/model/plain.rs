//! One account as a handful of numbers.

use super::*;

#[derive(Clone, Debug, Default)]
pub(super) struct Plain {
    /// What is left of the buckets, in 1/60,000 of a unit (one millisecond of a limit of one).
    pub(super) requests: i128,
    pub(super) input: i128,
    pub(super) in_flight: u64,
    pub(super) day: i64,
    pub(super) used: u64,
    pub(super) reserved: u64,
    pub(super) ceiling: u64,
    /// The most that posted actuals exceeded what was held by.
    pub(super) excess: u64,
}

impl Plain {
    pub(super) fn new() -> Self {
        let full = |limit: u64| i128::from(limit) * SCALE;
        let day = day_of(clock().now());
        Self { requests: full(REQUESTS_MAX), input: full(INPUT_MAX), day, ceiling: 1_000, ..Self::default() }
    }

    pub(super) fn pass(&mut self, ms: u64, day: i64) {
        let refill = |left: i128, limit: u64| {
            (left + i128::from(ms) * i128::from(limit)).min(i128::from(limit) * SCALE)
        };
        self.requests = refill(self.requests, REQUESTS_MAX);
        self.input = refill(self.input, INPUT_MAX);
        // The implementation turns when it is touched; touching happens at every step of this test.
        if day > self.day {
            (self.day, self.used, self.excess) = (day, 0, 0);
        }
    }

    pub(super) fn fits(&self, money: u64, input: u64) -> bool {
        self.requests >= SCALE
            && (self.input >= i128::from(input) * SCALE || input == 0)
            && self.in_flight < CONCURRENT_MAX
            && (self.used + self.reserved + money <= self.ceiling || money == 0)
    }

    pub(super) fn hold(&mut self, money: u64, input: u64) {
        self.requests -= SCALE;
        self.input -= i128::from(input) * SCALE;
        self.in_flight += 1;
        self.reserved += money;
    }

    /// What came of a hold after a sweep had settled it.
    pub(super) fn end_late(&mut self, hold: (u64, u64), money: u64, input: u64) {
        self.input -= i128::from(input.saturating_sub(hold.1)) * SCALE;
        self.used += money.saturating_sub(hold.0);
        self.excess += money.saturating_sub(hold.0);
    }

    /// What a process knows that has read its journal.
    pub(super) fn rebuilt(&self, records: impl Iterator<Item = (u64, Timestamp)>, now: Timestamp) -> Self {
        let mut plain = Self { day: i64::MIN, ceiling: self.ceiling, ..Self::new() };
        for (money, at) in records {
            plain.pass(0, day_of(at.min(now)));
            plain.used += money;
        }
        plain.pass(0, day_of(now));
        plain
    }

    pub(super) fn end(&mut self, hold: (u64, u64), money: u64, input: u64, request_too: bool) {
        let full = |limit: u64| i128::from(limit) * SCALE;
        if request_too {
            self.requests = (self.requests + SCALE).min(full(REQUESTS_MAX));
        }
        let back = (i128::from(hold.1) - i128::from(input)) * SCALE;
        self.input = (self.input + back).min(full(INPUT_MAX));
        self.in_flight -= 1;
        self.reserved -= hold.0;
        self.used += money;
        self.excess += money.saturating_sub(hold.0);
    }
}

pub(super) fn day_of(at: Timestamp) -> i64 {
    at.as_second().div_euclid(86_400)
}

/// A limit of one refills by one of these in a millisecond.
pub(super) const SCALE: i128 = 60_000;
