//! The cells of an account, and what may be asked of them.
//!
//! A cell is a rate bucket, the gauge of requests in flight, or a window of money or tokens. This file takes
//! from one cell at a time and gives back to it; that several accounts move together is `reservation`'s work.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{Timestamp, tz::TimeZone};

use super::account::Account;
use super::bucket::Bucket;
use super::reservation::Wait;
use super::share::Shares;
use super::window::Window;
use crate::money::NanoUsd;
use crate::usage::Usage;

/// One counter of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cell {
    /// A ceiling per minute.
    Rate(Rate),
    /// Requests in flight.
    Concurrency,
    /// A ceiling per calendar period.
    Window(Unit, Period),
}

impl Cell {
    /// How many cells an account has.
    pub(super) const COUNT: usize = 10;

    /// Every cell of an account, in the order of their places.
    pub(super) const ALL: [Self; Self::COUNT] = [
        Self::Rate(Rate::Requests),
        Self::Rate(Rate::InputTokens),
        Self::Rate(Rate::OutputTokens),
        Self::Concurrency,
        Self::Window(Unit::Money, Period::Day),
        Self::Window(Unit::Money, Period::Week),
        Self::Window(Unit::Money, Period::Month),
        Self::Window(Unit::Tokens, Period::Day),
        Self::Window(Unit::Tokens, Period::Week),
        Self::Window(Unit::Tokens, Period::Month),
    ];

    /// Returns its place in [`Cell::ALL`].
    pub(super) const fn place(self) -> usize {
        match self {
            Self::Rate(rate) => rate as usize,
            Self::Concurrency => 3,
            Self::Window(unit, period) => 4 + 3 * (unit as usize) + period as usize,
        }
    }
}

/// What is counted per minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rate {
    /// Requests.
    Requests,
    /// Prompt tokens that were not read from the prompt cache.
    InputTokens,
    /// Tokens of answers.
    OutputTokens,
}

/// What is counted per calendar period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Nano-dollars.
    Money,
    /// Tokens of every kind.
    Tokens,
}

/// A period of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Period {
    /// From midnight.
    Day,
    /// The ISO week, from Monday.
    Week,
    /// The calendar month.
    Month,
}

/// What is asked of one cell.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// The cell.
    pub cell: Cell,
    /// How much is held; nano-dollars for money. After a reservation: how much is held indeed.
    pub amount: u64,
    /// The most the request may come to; `amount` where the two are the same. Once less than four times
    /// this is left of a window, this much is held instead, or what is left but never less than `amount`:
    /// near its end a budget serves requests one after the other, and is exceeded by one at most.
    pub most: u64,
    /// The ceiling; `None` counts windows and the gauge without limiting them, and leaves rates alone.
    pub ceiling: Option<u64>,
}

impl Demand {
    /// Returns by how much the request may exceed what is held for it.
    const fn unheld(&self) -> u64 {
        self.most.saturating_sub(self.amount)
    }
}

/// What one request asks of one account.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The account.
    pub account: Arc<Account>,
    /// In whose calendar the account's windows turn.
    pub zone: TimeZone,
    /// What is asked; a handful, one per cell.
    pub demands: Vec<Demand>,
}

/// What a request came to.
#[derive(Clone, Copy, Debug)]
pub struct Actual {
    /// The time of the exchange's record, so that a rebuild from the journal counts it in the same period.
    pub at: Timestamp,
    /// Prompt tokens that were not read from the prompt cache.
    pub input_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
    /// Tokens of every kind.
    pub total_tokens: u64,
    /// The cost; a negative one counts as nothing.
    pub cost: NanoUsd,
}

impl Actual {
    /// Returns what `usage` at `cost` comes to, recorded at `at`.
    #[must_use]
    pub const fn of(usage: &Usage, cost: NanoUsd, at: Timestamp) -> Self {
        Self {
            at,
            input_tokens: usage.prompt_tokens().saturating_sub(usage.cache_read_tokens),
            output_tokens: usage.output_tokens,
            total_tokens: usage.total_tokens(),
            cost,
        }
    }

    /// Returns what a demand that held `held` of `cell` settles at.
    pub(super) fn amount(&self, cell: Cell, held: u64) -> u64 {
        match cell {
            Cell::Rate(Rate::Requests) | Cell::Concurrency => held,
            Cell::Rate(Rate::InputTokens) => self.input_tokens,
            Cell::Rate(Rate::OutputTokens) => self.output_tokens,
            Cell::Window(Unit::Money, _) => u64::try_from(self.cost.0).unwrap_or(0),
            Cell::Window(Unit::Tokens, _) => self.total_tokens,
        }
    }
}

/// One moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) wall: Timestamp,
    pub(super) instant: Instant,
}

/// Within what is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Within the share of this instance, where counters are shared.
    Shared,
    /// Within the ceiling, as far as is known here.
    Alone,
}

/// What a cell holds against a ceiling.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    pub(super) used: u64,
    pub(super) reserved: u64,
    pub(super) remaining: u64,
    /// When the cell would be empty again if nothing more were taken.
    pub(super) wait: Wait,
}

/// The counters of one account.
#[derive(Debug, Default)]
pub(super) struct Cells {
    pub(super) buckets: [Bucket; 3],
    pub(super) in_flight: u64,
    pub(super) windows: [[Window; 3]; 2],
    /// Where counters are shared with other instances.
    pub(super) shares: Option<Box<Shares>>,
}

impl Cells {
    /// Returns empty cells of an account that is shared with other instances.
    pub(super) fn shared() -> Self {
        Self { shares: Some(Box::default()), ..Self::default() }
    }

    /// Takes a demand and notes in it how much; or takes nothing and returns how long to wait.
    pub(super) fn take(
        &mut self,
        demand: &mut Demand,
        zone: &TimeZone,
        now: Moment,
        reach: Reach,
    ) -> Result<(), Wait> {
        if let Some(wait) = self.shortage(demand, zone, now, reach) {
            return Err(wait);
        }
        match (demand.cell, demand.ceiling) {
            (Cell::Rate(rate), Some(limit)) => {
                self.buckets[rate as usize].take(demand.amount, limit, now.instant);
                if let Some(shares) = &mut self.shares {
                    shares.took(demand.cell, demand.amount);
                }
            }
            (Cell::Rate(_), None) => {}
            (Cell::Concurrency, _) => self.in_flight = self.in_flight.saturating_add(demand.amount),
            (Cell::Window(unit, period), ceiling) => {
                if let Some(ceiling) = ceiling {
                    demand.amount = hold(demand, self.remaining(demand.cell, ceiling, zone, now));
                }
                let window = self.window(unit, period, zone, now.wall);
                window.reserved = window.reserved.saturating_add(demand.amount);
                window.unheld = window.unheld.saturating_add(demand.unheld());
            }
        }
        Ok(())
    }

    /// Returns how long to wait if a demand does not fit; takes nothing.
    pub(super) fn shortage(
        &mut self,
        demand: &Demand,
        zone: &TimeZone,
        now: Moment,
        reach: Reach,
    ) -> Option<Wait> {
        let ceiling = demand.ceiling?;
        let remaining = self.remaining(demand.cell, ceiling, zone, now);
        let fits = match (&self.shares, reach) {
            (Some(shares), Reach::Shared) => {
                let (own, ends) = self.own(demand.cell);
                // What is left of a common bucket is only guessed here; a share of it is certain.
                let left = remaining >= demand.amount || matches!(demand.cell, Cell::Rate(_));
                left && shares.cover(demand.cell, own, ends, hold(demand, remaining), now)
            }
            _ => remaining >= demand.amount,
        };
        if fits {
            return None;
        }
        Some(match demand.cell {
            Cell::Rate(rate) => {
                Wait::For(self.buckets[rate as usize].wait(demand.amount, ceiling, now.instant))
            }
            Cell::Concurrency => Wait::For(CONCURRENCY_WAIT),
            Cell::Window(unit, period) => Wait::Until(self.window(unit, period, zone, now.wall).end),
        })
    }

    /// Gives back what a demand held and counts `settled` as used instead.
    pub(super) fn settle(&mut self, demand: &Demand, settled: u64, zone: &TimeZone, now: Moment) {
        match (demand.cell, demand.ceiling) {
            (Cell::Rate(rate), Some(limit)) => {
                let bucket = &mut self.buckets[rate as usize];
                let (back, more) =
                    (demand.amount.saturating_sub(settled), settled.saturating_sub(demand.amount));
                bucket.give(back, limit, now.instant);
                bucket.take(more, limit, now.instant);
                if let Some(shares) = &mut self.shares {
                    shares.gave(demand.cell, back);
                    shares.took(demand.cell, more);
                }
            }
            (Cell::Rate(_), None) => {}
            (Cell::Concurrency, _) => self.in_flight = self.in_flight.saturating_sub(demand.amount),
            (Cell::Window(unit, period), _) => {
                let window = self.window(unit, period, zone, now.wall);
                window.reserved = window.reserved.saturating_sub(demand.amount);
                window.unheld = window.unheld.saturating_sub(demand.unheld());
                window.used = window.used.saturating_add(settled);
            }
        }
    }

    /// Counts a demand as used without having held it.
    pub(super) fn charge(&mut self, demand: &Demand, zone: &TimeZone, now: Moment) {
        match (demand.cell, demand.ceiling) {
            (Cell::Rate(rate), Some(limit)) => {
                self.buckets[rate as usize].take(demand.amount, limit, now.instant);
                if let Some(shares) = &mut self.shares {
                    shares.took(demand.cell, demand.amount);
                }
            }
            (Cell::Rate(_), None) | (Cell::Concurrency, _) => {}
            (Cell::Window(unit, period), _) => {
                let window = self.window(unit, period, zone, now.wall);
                window.used = window.used.saturating_add(demand.amount);
            }
        }
    }

    /// Returns where a cell stands against `ceiling`, with what is known of other instances.
    pub(super) fn level(&mut self, cell: Cell, ceiling: u64, zone: &TimeZone, now: Moment) -> Level {
        let mut level = self.own_level(cell, ceiling, zone, now);
        if let Some(shares) = self.shares.as_ref().filter(|_| !matches!(cell, Cell::Rate(_))) {
            shares.add_elsewhere(cell, self.own(cell).1, ceiling, &mut level);
        }
        level
    }

    /// Returns what is left of a cell, without the time until it is empty again, which takes two long divisions.
    fn remaining(&mut self, cell: Cell, ceiling: u64, zone: &TimeZone, now: Moment) -> u64 {
        match cell {
            Cell::Rate(rate) => self.buckets[rate as usize].remaining(ceiling, now.instant),
            Cell::Concurrency | Cell::Window(..) => self.level(cell, ceiling, zone, now).remaining,
        }
    }

    fn own_level(&mut self, cell: Cell, ceiling: u64, zone: &TimeZone, now: Moment) -> Level {
        match cell {
            Cell::Rate(rate) => {
                let bucket = &mut self.buckets[rate as usize];
                let remaining = bucket.remaining(ceiling, now.instant);
                let wait = Wait::For(bucket.wait(ceiling, ceiling, now.instant));
                Level { used: ceiling - remaining, reserved: 0, remaining, wait }
            }
            Cell::Concurrency => Level {
                used: self.in_flight,
                reserved: 0,
                remaining: ceiling.saturating_sub(self.in_flight),
                wait: Wait::For(Duration::ZERO),
            },
            Cell::Window(unit, period) => {
                let window = self.window(unit, period, zone, now.wall);
                Level {
                    used: window.used,
                    reserved: window.reserved,
                    remaining: window.remaining(ceiling),
                    wait: Wait::Until(window.end),
                }
            }
        }
    }

    /// Returns by how much what this instance holds of a window may be exceeded.
    pub(super) const fn unheld(&self, cell: Cell) -> u64 {
        match cell {
            Cell::Window(unit, period) => self.windows[unit as usize][period as usize].unheld,
            Cell::Rate(_) | Cell::Concurrency => 0,
        }
    }

    /// Returns requests in flight, and money and tokens held in any window.
    pub(super) fn held(&self) -> (u64, u64, u64) {
        let largest = |unit: Unit| self.windows[unit as usize].iter().map(|w| w.reserved).max().unwrap_or(0);
        (self.in_flight, largest(Unit::Money), largest(Unit::Tokens))
    }

    fn window(&mut self, unit: Unit, period: Period, zone: &TimeZone, at: Timestamp) -> &mut Window {
        let window = &mut self.windows[unit as usize][period as usize];
        window.turn(period, zone, at);
        window
    }
}

/// Returns how much of a cell of which `remaining` is left is held for a demand: near the end of a window as much
/// as the request may come to.
pub(super) fn hold(demand: &Demand, remaining: u64) -> u64 {
    match demand.cell {
        Cell::Window(..) if remaining < demand.most.saturating_mul(NEAR_THE_END) => {
            demand.most.min(remaining).max(demand.amount)
        }
        _ => demand.amount,
    }
}

/// Below this many times the dearest outcome a window is near its end.
const NEAR_THE_END: u64 = 4;

/// How long a client is told to wait for another request to end.
const CONCURRENCY_WAIT: Duration = Duration::from_secs(1);
