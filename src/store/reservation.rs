//! Taking from several accounts in one step, and ending that exactly once.
//!
//! The locks of all accounts of a request are held together, taken in the order of their ids, so that two
//! requests can neither deadlock nor refuse each other over something that one of them gives back at once.
//! Nothing here waits on anything but those locks, and no lock outlives a call.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::account::{Account, AccountId, Accounts, Ledger};
use super::cell::{Actual, Cell, Cells, Claim, Demand, Moment, Rate, Reach};
use super::lease::{Ended, Lease};
use super::locks::MutexGuard;

/// When something that is short will be there again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// After a while, for rates.
    For(Duration),
    /// At a time, for windows.
    Until(Timestamp),
}

/// The ceiling that a request ran into: of several, the one that takes longest to give way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// Whose ceiling it is.
    pub id: AccountId,
    /// On what.
    pub cell: Cell,
    /// The ceiling; nano-dollars for money.
    pub ceiling: u64,
    /// What was asked.
    pub amount: u64,
    /// What was used, without what is held by requests in flight where that is known apart (windows).
    pub used: u64,
    /// What requests in flight hold of a window; they may give some of it back.
    pub reserved: u64,
    /// What is left.
    pub remaining: u64,
    /// When it would fit.
    pub wait: Wait,
}

/// Where one cell of one account stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub cell: Cell,
    /// Its ceiling, if any.
    pub ceiling: Option<u64>,
    /// What was used; for rates what has not refilled.
    pub used: u64,
    /// What requests in flight hold of a window.
    pub reserved: u64,
    /// By how much those of this instance may exceed what they hold.
    pub unheld: u64,
    /// What is left in whole units; `u64::MAX` less the rest where there is no ceiling.
    pub remaining: u64,
    /// When a bucket is full again, or the window turns.
    pub resets_at: Timestamp,
}

/// What a request holds until it is posted or voided.
///
/// Dropped without either it posts what it held and is counted in [`Accounts::leaked`]; so is one that is neither ended
/// nor dropped, by [`Accounts::sweep`].
#[derive(Debug)]
#[must_use = "a reservation is posted or voided"]
pub struct Reservation {
    lease: Arc<Lease>,
    ledger: Arc<Ledger>,
}

enum Ending<'a> {
    Posted(&'a Actual),
    AsHeld,
    Voided { request_counts: bool },
}

impl Accounts {
    /// Takes every demand of every claim, or nothing.
    ///
    /// # Errors
    /// Returns the ceiling that takes longest to give way, if any demand does not fit.
    pub fn reserve(&self, claims: Vec<Claim>) -> Result<Reservation, Box<Exhausted>> {
        self.take(claims, Reach::Alone)
    }

    /// Takes every demand of every claim within `reach`, or nothing.
    pub(super) fn take(&self, mut claims: Vec<Claim>, reach: Reach) -> Result<Reservation, Box<Exhausted>> {
        claims.sort_by(|one, other| one.account.id().cmp(other.account.id()));
        claims.dedup_by(|later, earlier| {
            let same = Arc::ptr_eq(&later.account, &earlier.account);
            if same {
                earlier.demands.append(&mut later.demands);
            }
            same
        });
        let now = self.ledger.now();
        if let Some(exhausted) = take_all(&mut claims, now, reach) {
            return Err(Box::new(exhausted));
        }
        self.ledger.changed(&claims);
        Ok(Reservation { lease: self.ledger.leases.open(claims), ledger: Arc::clone(&self.ledger) })
    }

    /// Tells whether each demand would fit on its own, taking nothing.
    ///
    /// # Errors
    /// Returns the ceiling that takes longest to give way, if any demand does not fit.
    pub fn look(&self, claims: &[Claim]) -> Result<(), Box<Exhausted>> {
        let now = self.ledger.now();
        let mut binding = None;
        for claim in claims {
            let mut cells = claim.account.lock();
            for demand in &claim.demands {
                if let Some(wait) = cells.shortage(demand, &claim.zone, now, Reach::Alone) {
                    binding = tighter(
                        binding,
                        exhausted(&claim.account, &mut cells, demand, claim, wait, now),
                        now,
                    );
                }
            }
        }
        binding.map_or(Ok(()), |found| Err(Box::new(found)))
    }

    /// Counts amounts as used at `at` without having held them: a rebuild from the journal in its order,
    /// or a batch that has ended. Requests in flight are not touched.
    pub fn charge(&self, claims: &[Claim], at: Timestamp) {
        let now = Moment { wall: at, ..self.ledger.now() };
        for claim in claims {
            let mut cells = claim.account.lock();
            for demand in &claim.demands {
                cells.charge(demand, &claim.zone, now);
            }
        }
        self.ledger.changed(claims);
    }

    /// Posts as held what was reserved and gave no sign of life for `silence`, and counts it as leaked; returns how many
    /// there were.
    ///
    /// To be called again and again; `silence` is longer than any exchange may stand still.
    pub fn sweep(&self, silence: Duration) -> usize {
        let expired = self.ledger.leases.expired(self.ledger.now().instant, silence);
        for (lease, claims) in &expired {
            self.ledger.leaked.fetch_add(1, Ordering::Relaxed);
            self.ledger.settle(claims, &Ending::AsHeld);
            let accounts: Vec<String> = claims.iter().map(|claim| claim.account.id().to_string()).collect();
            tracing::error!(
                lease,
                ?accounts,
                "a reservation was lost and is settled as held; please report it"
            );
        }
        expired.len()
    }

    /// Returns where each demanded cell stands, in order; amounts do not matter.
    #[must_use]
    pub fn standing(&self, claims: &[Claim]) -> Vec<Standing> {
        let of = |claim: &Claim| self.standing_of(&claim.account, &claim.zone, &claim.demands);
        claims.iter().flat_map(of).collect()
    }

    /// Returns where each demanded cell of one account stands, in order; amounts do not matter.
    #[must_use]
    pub fn standing_of(&self, account: &Account, zone: &TimeZone, demands: &[Demand]) -> Vec<Standing> {
        let now = self.ledger.now();
        let mut cells = account.lock();
        let mut stand = |&Demand { cell, ceiling, .. }: &Demand| {
            let level = cells.level(cell, ceiling.unwrap_or(u64::MAX), zone, now);
            Standing {
                cell,
                ceiling,
                used: level.used,
                reserved: level.reserved,
                unheld: cells.unheld(cell),
                remaining: level.remaining,
                resets_at: level.wait.time(now.wall),
            }
        };
        demands.iter().map(&mut stand).collect()
    }
}

impl Reservation {
    /// Ends the request with what it came to: the difference is given back or taken as well.
    pub fn post(mut self, actual: &Actual) {
        self.end(&Ending::Posted(actual));
    }

    /// Gives everything back except the request, which was made.
    pub fn void(mut self) {
        self.end(&Ending::Voided { request_counts: true });
    }

    /// Gives everything back, the request too.
    pub fn void_request(mut self) {
        self.end(&Ending::Voided { request_counts: false });
    }

    /// Tells that the exchange goes on, so that no sweep takes this for lost.
    pub fn touch(&self) {
        self.lease.touch();
    }

    fn end(&mut self, ending: &Ending<'_>) {
        match self.ledger.leases.end(&self.lease) {
            Ended::Held(claims) => self.ledger.settle(&claims, ending),
            Ended::Expired(claims) => self.ledger.settle_late(&claims, ending),
            Ended::Before => {}
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Ended::Held(claims) = self.ledger.leases.end(&self.lease)
            && !claims.is_empty()
        {
            self.ledger.leaked.fetch_add(1, Ordering::Relaxed);
            self.ledger.settle(&claims, &Ending::AsHeld);
        }
    }
}

impl Ledger {
    /// Gives back what was held and counts what it came to.
    fn settle(&self, claims: &[Claim], ending: &Ending<'_>) {
        let now = self.time_of(ending);
        for claim in claims {
            let mut cells = claim.account.lock();
            for demand in &claim.demands {
                cells.settle(demand, ending.amount(demand), &claim.zone, now);
            }
        }
        self.changed(claims);
    }

    /// Counts what an exchange came to beyond what a sweep has settled it at.
    fn settle_late(&self, claims: &[Claim], ending: &Ending<'_>) {
        let now = self.time_of(ending);
        for claim in claims {
            let mut cells = claim.account.lock();
            for demand in &claim.demands {
                let amount = ending.amount(demand).saturating_sub(demand.amount);
                cells.charge(&Demand { amount, ..*demand }, &claim.zone, now);
            }
        }
        self.changed(claims);
    }

    fn time_of(&self, ending: &Ending<'_>) -> Moment {
        let mut now = self.now();
        if let Ending::Posted(actual) = ending {
            now.wall = actual.at;
        }
        now
    }
}

impl Ending<'_> {
    /// Returns what a demand settles at.
    fn amount(&self, demand: &Demand) -> u64 {
        match (self, demand.cell) {
            (Self::Posted(actual), cell) => actual.amount(cell, demand.amount),
            (Self::AsHeld, _) | (Self::Voided { request_counts: true }, Cell::Rate(Rate::Requests)) => {
                demand.amount
            }
            (Self::Voided { .. }, _) => 0,
        }
    }
}

impl Wait {
    /// Returns the time at which the wait is over, counted from `now`.
    #[must_use]
    pub fn time(self, now: Timestamp) -> Timestamp {
        match self {
            Self::For(duration) => now.checked_add(duration).unwrap_or(Timestamp::MAX),
            Self::Until(time) => time,
        }
    }
}

/// Takes every demand under all locks; gives all back and names the binding ceiling where one does not fit.
fn take_all(claims: &mut [Claim], now: Moment, reach: Reach) -> Option<Exhausted> {
    let accounts: Vec<Arc<Account>> = claims.iter().map(|claim| Arc::clone(&claim.account)).collect();
    let mut locked: Vec<MutexGuard<'_, Cells>> = accounts.iter().map(|account| account.lock()).collect();
    let mut binding = None;
    let mut taken = Vec::with_capacity(claims.iter().map(|claim| claim.demands.len()).sum());
    for (place, (claim, cells)) in claims.iter_mut().zip(&mut locked).enumerate() {
        if let Some(shares) = &mut cells.shares {
            shares.touch(now);
        }
        for index in 0..claim.demands.len() {
            let asked = claim.demands[index];
            match cells.take(&mut claim.demands[index], &claim.zone, now, reach) {
                Ok(()) => taken.push((place, index)),
                Err(wait) => {
                    let short = exhausted(&accounts[place], cells, &asked, claim, wait, now);
                    binding = tighter(binding, short, now);
                }
            }
        }
    }
    if binding.is_some() {
        for (place, index) in taken {
            locked[place].settle(&claims[place].demands[index], 0, &claims[place].zone, now);
        }
    }
    binding
}

fn exhausted(
    account: &Account,
    cells: &mut Cells,
    demand: &Demand,
    claim: &Claim,
    wait: Wait,
    now: Moment,
) -> Exhausted {
    let ceiling = demand.ceiling.unwrap_or(u64::MAX);
    let level = cells.level(demand.cell, ceiling, &claim.zone, now);
    Exhausted {
        id: account.id().clone(),
        cell: demand.cell,
        ceiling,
        amount: demand.amount,
        used: level.used,
        reserved: level.reserved,
        remaining: level.remaining,
        wait,
    }
}

/// Of two, the one that takes longer to give way; then the one with less left, then the higher level.
fn tighter(held: Option<Exhausted>, found: Exhausted, now: Moment) -> Option<Exhausted> {
    let rank = |one: &Exhausted| (one.wait.time(now.wall), Reverse(one.remaining), Reverse(one.id.level));
    match held {
        Some(held) if rank(&held) >= rank(&found) => Some(held),
        _ => Some(found),
    }
}
