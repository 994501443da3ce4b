//! What this instance may take of an account's cells without asking, and what is known of the others.
//!
//! Where counters are shared, a ceiling is divided: each instance holds a share, and the shares of a cell never
//! exceed its ceiling together. So taking within a share needs nobody's leave and cannot overshoot, and all
//! levels of a request are still taken under the local locks, all or nothing. A share is asked for when it does
//! not suffice (`sharing`), lapses where nothing was heard for [`FRESH_FOR`], and is given back when idle, or
//! when little is left for everyone.
//!
//! Of a window a share is an absolute amount: what this instance has used and holds of the period stays below it.
//! Of a bucket it is what was ever drawn from the common bucket, and what was taken of that is counted beside it.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::cell::{Cell, Cells, Demand, Level, Moment, hold};

/// The shares of one account.
#[derive(Debug)]
pub(super) struct Shares {
    cells: [Share; Cell::COUNT],
    fresh_until: Option<Instant>,
    touched: Option<Instant>,
}

/// The share of one cell.
#[derive(Clone, Copy, Debug)]
struct Share {
    granted: u64,
    /// Of buckets: everything taken, less what was given back.
    taken: u64,
    elsewhere_used: u64,
    elsewhere_held: u64,
    /// The window it was granted in, by its end.
    ends: Timestamp,
    /// The last ceiling and amount asked for.
    ceiling: Option<u64>,
    need: u64,
    scarce: bool,
}

/// What requests that wait need of one cell.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Need {
    /// All of them together.
    pub(super) amount: u64,
    /// The largest of them.
    pub(super) single: u64,
    /// The ceiling; `None` where nobody needs anything.
    pub(super) ceiling: Option<u64>,
}

/// What waiting requests need, by cell.
pub(super) type Needs = [Need; Cell::COUNT];

/// What is said of one cell to the others.
#[derive(Clone, Copy, Debug)]
pub(super) struct CellReport {
    pub(super) cell: Cell,
    pub(super) ends: Timestamp,
    pub(super) ceiling: Option<u64>,
    pub(super) used: u64,
    pub(super) held: u64,
    /// What may be taken already.
    pub(super) keep: u64,
    /// What is needed on top; `None` where nothing is asked for.
    pub(super) extra: Option<u64>,
    pub(super) need: u64,
    /// What is missing of a bucket, as far as is known here.
    pub(super) debt: u64,
}

/// What is heard of one cell.
#[derive(Clone, Copy, Debug)]
pub(super) struct CellReply {
    pub(super) share: u64,
    /// Used by others; of a bucket what is missing, in millionths.
    pub(super) elsewhere_used: u64,
    pub(super) elsewhere_held: u64,
    pub(super) scarce: bool,
}

impl Default for Shares {
    fn default() -> Self {
        let none = Share {
            granted: 0,
            taken: 0,
            elsewhere_used: 0,
            elsewhere_held: 0,
            ends: Timestamp::MIN,
            ceiling: None,
            need: 0,
            scarce: false,
        };
        Self { cells: [none; Cell::COUNT], fresh_until: None, touched: None }
    }
}

impl Shares {
    /// Tells whether `amount` may be taken of a cell of which `own` is used and held here.
    pub(super) fn cover(&self, cell: Cell, own: u64, ends: Timestamp, amount: u64, now: Moment) -> bool {
        let share = &self.cells[cell.place()];
        let own = if matches!(cell, Cell::Rate(_)) { share.taken } else { own };
        self.fresh_until.is_some_and(|until| now.instant <= until)
            && share.ends == ends
            && own.saturating_add(amount) <= share.granted
    }

    /// Adds what others used and hold of a cell to where it stands here.
    pub(super) fn add_elsewhere(&self, cell: Cell, ends: Timestamp, ceiling: u64, level: &mut Level) {
        let share = &self.cells[cell.place()];
        if share.ends != ends {
            return;
        }
        level.used = level.used.saturating_add(share.elsewhere_used);
        level.reserved = level.reserved.saturating_add(share.elsewhere_held);
        level.remaining = ceiling.saturating_sub(level.used).saturating_sub(level.reserved);
    }

    /// Counts what was taken of a bucket.
    pub(super) fn took(&mut self, cell: Cell, amount: u64) {
        let share = &mut self.cells[cell.place()];
        share.taken = share.taken.saturating_add(amount);
    }

    /// Counts what was given back to a bucket.
    pub(super) fn gave(&mut self, cell: Cell, amount: u64) {
        let share = &mut self.cells[cell.place()];
        share.taken = share.taken.saturating_sub(amount);
    }

    /// Notes that a request came.
    pub(super) fn touch(&mut self, now: Moment) {
        self.touched = Some(now.instant);
    }
}

impl Cells {
    /// Adds what a request needs of each cell that has a ceiling, and tells whether the shares lack any of it.
    pub(super) fn add_needs(
        &mut self,
        demands: &[Demand],
        zone: &jiff::tz::TimeZone,
        now: Moment,
        into: &mut Needs,
    ) -> bool {
        let mut short = false;
        for demand in demands {
            let Some(ceiling) = demand.ceiling else { continue };
            let level = self.level(demand.cell, ceiling, zone, now);
            let amount = hold(demand, level.remaining);
            let (own, ends) = self.own(demand.cell);
            short |=
                self.shares.as_ref().is_some_and(|shares| !shares.cover(demand.cell, own, ends, amount, now));
            let need = &mut into[demand.cell.place()];
            need.amount = need.amount.saturating_add(amount);
            need.single = need.single.max(amount);
            need.ceiling = Some(ceiling);
        }
        short
    }

    /// Says what was taken of every cell and what more is needed; gives up what is not needed, before it says so.
    pub(super) fn report(&mut self, needs: &Needs, now: Moment, leaving: bool) -> Vec<CellReport> {
        let Some(mut shares) = self.shares.take() else { return Vec::new() };
        let idle =
            shares.touched.is_none_or(|touched| now.instant.saturating_duration_since(touched) >= IDLE_FOR);
        let mut reports = Vec::new();
        for cell in Cell::ALL {
            let (own, ends) = self.own(cell);
            let (share, need) = (&mut shares.cells[cell.place()], &needs[cell.place()]);
            if matches!(cell, Cell::Window(..)) && ends <= now.wall {
                continue;
            }
            if share.ends != ends {
                *share = Share { granted: 0, elsewhere_used: 0, elsewhere_held: 0, ends, ..*share };
            }
            let taken = if matches!(cell, Cell::Rate(_)) { share.taken } else { own };
            if need.ceiling.is_some() {
                (share.ceiling, share.need) = (need.ceiling, need.single);
            }
            let before = share.granted;
            share.granted = if idle || leaving || share.scarce { taken } else { share.granted.max(taken) };
            let unknown = matches!(cell, Cell::Rate(_)) && share.ceiling.is_none();
            // A share that is given up whole is told of once, or the others would wait until it lapses.
            if unknown || (need.ceiling.is_none() && share.granted == 0 && before == 0) {
                continue;
            }
            let limit = share.ceiling.unwrap_or(0);
            let (used, debt) = match cell {
                Cell::Rate(rate) => (taken, self.buckets[rate as usize].debt(limit, now.instant)),
                Cell::Concurrency => (0, 0),
                Cell::Window(unit, period) => (self.windows[unit as usize][period as usize].used, 0),
            };
            let lacking = taken.saturating_add(need.amount).saturating_sub(share.granted);
            let extra = need.ceiling.map(|_| lacking);
            let (keep, need, ceiling) = (share.granted, share.need, share.ceiling);
            reports.push(CellReport {
                cell,
                ends,
                ceiling,
                used,
                held: taken - used,
                keep,
                extra,
                need,
                debt,
            });
        }
        self.shares = Some(shares);
        reports
    }

    /// Takes in what was answered to a report that was sent at `sent`.
    pub(super) fn learn(
        &mut self,
        reports: &[CellReport],
        replies: &[CellReply],
        sent: Instant,
        now: Moment,
    ) {
        let Some(mut shares) = self.shares.take() else { return };
        for (report, reply) in reports.iter().zip(replies) {
            let share = &mut shares.cells[report.cell.place()];
            if share.ends != report.ends {
                continue;
            }
            share.granted = reply.share;
            share.scarce = reply.scarce;
            if let Cell::Rate(rate) = report.cell {
                let unspent = reply.share.saturating_sub(share.taken);
                self.buckets[rate as usize].become_debt(reply.elsewhere_used, unspent, now.instant);
            } else {
                (share.elsewhere_used, share.elsewhere_held) = (reply.elsewhere_used, reply.elsewhere_held);
            }
        }
        shares.fresh_until = Some(sent + FRESH_FOR);
        self.shares = Some(shares);
    }

    /// Tells whether a request came not long ago, so that what others use is of interest here.
    pub(super) fn is_watched(&self, now: Moment) -> bool {
        let touched = self.shares.as_ref().and_then(|shares| shares.touched);
        touched.is_some_and(|touched| now.instant.saturating_duration_since(touched) < WATCHED_FOR)
    }

    /// Tells whether something is held or set aside, and the others must be told now and then that it still is.
    pub(super) fn is_holding(&self) -> bool {
        let Some(shares) = &self.shares else { return false };
        Cell::ALL.iter().any(|cell| {
            let (own, ends) = self.own(*cell);
            let share = &shares.cells[cell.place()];
            let taken = if matches!(cell, Cell::Rate(_)) { share.taken } else { own };
            let held = match cell {
                Cell::Rate(_) => 0,
                Cell::Concurrency => self.in_flight,
                Cell::Window(unit, period) => self.windows[*unit as usize][*period as usize].reserved,
            };
            held > 0 || (share.ends == ends && share.granted > taken)
        })
    }

    /// Returns what this instance used and holds of a cell, and the end of its window.
    pub(super) fn own(&self, cell: Cell) -> (u64, Timestamp) {
        match cell {
            Cell::Rate(_) => (0, Timestamp::MIN),
            Cell::Concurrency => (self.in_flight, Timestamp::MIN),
            Cell::Window(unit, period) => {
                let window = &self.windows[unit as usize][period as usize];
                (window.used.saturating_add(window.reserved), window.end)
            }
        }
    }
}

/// How long a share is good for after it was asked for: less than the others wait before they count it for lost.
const FRESH_FOR: Duration = Duration::from_secs(4);

/// After that long without a request what is unspent of a share is given back.
const IDLE_FOR: Duration = Duration::from_secs(1);

/// How long after its last request an account is still told of, to hear of the others.
const WATCHED_FOR: Duration = Duration::from_secs(60);
