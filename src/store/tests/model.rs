//! Random interleavings against a model without locks, laziness or shared code.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

mod plain;

use plain::{Plain, SCALE, day_of};

const ACCOUNTS: usize = 3;
const REQUESTS_MAX: u64 = 5;
const INPUT_MAX: u64 = 1_000;
const CONCURRENT_MAX: u64 = 4;

#[derive(Clone, Debug)]
enum Step {
    Reserve {
        accounts: [bool; ACCOUNTS],
        money: u64,
        input: u64,
    },
    Post {
        which: usize,
        money: u64,
        input: u64,
    },
    Void {
        which: usize,
        request_too: bool,
    },
    Drop {
        which: usize,
    },
    /// Its exchange leaves a mark.
    Touch {
        which: usize,
    },
    /// Its exchange loses it: nobody will ever end it.
    Lose {
        which: usize,
    },
    Sweep,
    /// The process dies; another one rebuilds the counters from the journal.
    Crash,
    Advance {
        ms: u64,
    },
    SetWall {
        hours: i64,
    },
    Ceiling {
        account: usize,
        money: u64,
    },
}

struct Hold {
    /// `None` where it was lost.
    reservation: Option<Reservation>,
    accounts: [bool; ACCOUNTS],
    money: u64,
    input: u64,
    at: Timestamp,
    touched: bool,
    silent_since_ms: Option<u64>,
    /// Settled as held by a sweep.
    expired: bool,
}

/// What the journal says of an exchange: at whose cost, how much, and when.
type Record = ([bool; ACCOUNTS], u64, Timestamp);

const SILENCE: Duration = Duration::from_secs(40);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (any::<[bool; ACCOUNTS]>(), 0u64..400, 0u64..600)
            .prop_map(|(accounts, money, input)| Step::Reserve { accounts, money, input }),
        4 => (any::<usize>(), 0u64..500, 0u64..900)
            .prop_map(|(which, money, input)| Step::Post { which, money, input }),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(which, request_too)| Step::Void { which, request_too }),
        1 => any::<usize>().prop_map(|which| Step::Drop { which }),
        1 => any::<usize>().prop_map(|which| Step::Touch { which }),
        1 => any::<usize>().prop_map(|which| Step::Lose { which }),
        3 => Just(Step::Sweep),
        1 => Just(Step::Crash),
        3 => (0u64..30_000).prop_map(|ms| Step::Advance { ms }),
        1 => (-40i64..40).prop_map(|hours| Step::SetWall { hours }),
        1 => (0..ACCOUNTS, 0u64..1_500).prop_map(|(account, money)| Step::Ceiling { account, money }),
    ];
    vec(step, 1..120)
}

fn demands(money: u64, input: u64, ceiling: u64) -> [Demand; 4] {
    [
        demand(Cell::Rate(Rate::Requests), 1, REQUESTS_MAX),
        demand(Cell::Rate(Rate::InputTokens), input, INPUT_MAX),
        demand(Cell::Concurrency, 1, CONCURRENT_MAX),
        demand(DAY_MONEY, money, ceiling),
    ]
}

fn accounts_of(accounts: &Accounts) -> Vec<Arc<Account>> {
    (0..ACCOUNTS).map(|number| tenant(accounts, &number.to_string())).collect()
}

struct World {
    clock: Clock,
    accounts: Accounts,
    real: Vec<Arc<Account>>,
    plain: Vec<Plain>,
    holds: Vec<Hold>,
    journal: Vec<Record>,
    ms: u64,
    leaked: u64,
}

impl World {
    fn new() -> Self {
        let clock = clock();
        let accounts = Accounts::new(clock.clone());
        let (real, plain) = (accounts_of(&accounts), vec![Plain::new(); ACCOUNTS]);
        let (holds, journal) = (Vec::new(), Vec::new());
        Self { clock, accounts, real, plain, holds, journal, ms: 0, leaked: 0 }
    }

    fn run(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Reserve { accounts, money, input } => self.reserve(accounts, money, input)?,
            Step::Post { which, money, input } => self.end(which, |reservation, _, at| {
                let actual = Actual { input_tokens: input, ..actual(i64::try_from(money).unwrap(), at) };
                reservation.post(&actual);
                (money, input, false)
            }),
            Step::Void { which, request_too } => self.end(which, |reservation, _, _| {
                if request_too {
                    reservation.void_request();
                } else {
                    reservation.void();
                }
                (0, 0, request_too)
            }),
            Step::Drop { which } => {
                let expired = self.live(which).is_none_or(|place| self.holds[place].expired);
                self.end(which, |reservation, held, _| {
                    drop(reservation);
                    (held.0, held.1, false)
                });
                self.leaked += u64::from(!expired);
            }
            Step::Touch { which } => {
                if let Some(place) = self.live(which) {
                    self.holds[place].touched = true;
                    self.holds[place].reservation.as_ref().unwrap().touch();
                }
            }
            Step::Lose { which } => {
                if let Some(place) = self.live(which) {
                    std::mem::forget(self.holds[place].reservation.take());
                }
            }
            Step::Sweep => self.sweep()?,
            Step::Crash => self.crash(),
            Step::Advance { ms } => {
                self.clock.advance(Duration::from_millis(ms));
                self.ms += ms;
                let day = day_of(self.clock.now());
                self.plain.iter_mut().for_each(|plain| plain.pass(ms, day));
            }
            Step::SetWall { hours } => {
                let moved = self.clock.now().checked_add(jiff::SignedDuration::from_hours(hours)).unwrap();
                self.clock.set_wall(moved);
                let day = day_of(self.clock.now());
                self.plain.iter_mut().for_each(|plain| plain.pass(0, day));
            }
            Step::Ceiling { account, money } => self.plain[account].ceiling = money,
        }
        self.compare()
    }

    fn reserve(&mut self, chosen: [bool; ACCOUNTS], money: u64, input: u64) -> Result<(), TestCaseError> {
        let which = || (0..ACCOUNTS).filter(|&number| chosen[number]);
        let claims = which()
            .map(|number| claim(&self.real[number], &demands(money, input, self.plain[number].ceiling)))
            .collect();
        let fits = which().all(|number| self.plain[number].fits(money, input));
        let outcome = self.accounts.reserve(claims);
        prop_assert_eq!(outcome.is_ok(), fits);
        let Ok(reservation) = outcome else { return Ok(()) };
        if which().count() == 0 {
            reservation.void();
            return Ok(());
        }
        which().for_each(|number| self.plain[number].hold(money, input));
        self.holds.push(Hold {
            reservation: Some(reservation),
            accounts: chosen,
            money,
            input,
            at: self.clock.now(),
            touched: true,
            silent_since_ms: None,
            expired: false,
        });
        Ok(())
    }

    /// The place of one that was not lost.
    fn live(&self, which: usize) -> Option<usize> {
        let live: Vec<_> =
            (0..self.holds.len()).filter(|&place| self.holds[place].reservation.is_some()).collect();
        (!live.is_empty()).then(|| live[which % live.len()])
    }

    fn sweep(&mut self) -> Result<(), TestCaseError> {
        let mut found = 0;
        for hold in self.holds.iter_mut().filter(|hold| !hold.expired) {
            match hold.silent_since_ms.filter(|_| !hold.touched) {
                None => (hold.touched, hold.silent_since_ms) = (false, Some(self.ms)),
                Some(since) if Duration::from_millis(self.ms - since) >= SILENCE => {
                    (hold.expired, found) = (true, found + 1);
                    for number in (0..ACCOUNTS).filter(|&number| hold.accounts[number]) {
                        self.plain[number].end((hold.money, hold.input), hold.money, hold.input, false);
                    }
                }
                Some(_) => {}
            }
        }
        self.leaked += found;
        prop_assert_eq!(self.accounts.sweep(SILENCE) as u64, found);
        Ok(())
    }

    /// What was held is charged as held: its reservation stands in the journal, its exchange does not.
    fn crash(&mut self) {
        for hold in self.holds.drain(..) {
            self.journal.push((hold.accounts, hold.money, hold.at));
        }
        self.accounts = Accounts::new(self.clock.clone());
        (self.real, self.leaked) = (accounts_of(&self.accounts), 0);
        let now = self.clock.now();
        for (accounts, money, at) in &self.journal {
            let which = (0..ACCOUNTS).filter(|&number| accounts[number]);
            let claims = which.map(|number| claim(&self.real[number], &[demand(DAY_MONEY, *money, 1)]));
            self.accounts.charge(&claims.collect::<Vec<_>>(), (*at).min(now));
        }
        for (number, plain) in self.plain.iter_mut().enumerate() {
            let records = self.journal.iter().filter(|(accounts, ..)| accounts[number]);
            *plain = plain.rebuilt(records.map(|(_, money, at)| (*money, *at)), now);
        }
    }

    fn end(
        &mut self,
        which: usize,
        how: impl FnOnce(Reservation, (u64, u64), Timestamp) -> (u64, u64, bool),
    ) {
        let Some(place) = self.live(which) else { return };
        let hold = self.holds.swap_remove(place);
        let now = self.clock.now();
        let (money, input, request_too) = how(hold.reservation.unwrap(), (hold.money, hold.input), now);
        self.journal.push((hold.accounts, money, now));
        for number in (0..ACCOUNTS).filter(|&number| hold.accounts[number]) {
            let held = (hold.money, hold.input);
            if hold.expired {
                self.plain[number].end_late(held, money, input);
            } else {
                self.plain[number].end(held, money, input, request_too);
            }
        }
    }

    fn compare(&self) -> Result<(), TestCaseError> {
        for (real, plain) in self.real.iter().zip(&self.plain) {
            let standing = self.accounts.standing(&[claim(real, &demands(0, 0, plain.ceiling))]);
            let whole = |left: i128| u64::try_from(left.max(0) / SCALE).unwrap();
            prop_assert_eq!(standing[0].remaining, whole(plain.requests));
            prop_assert_eq!(standing[1].remaining, whole(plain.input));
            prop_assert_eq!(standing[2].used, plain.in_flight);
            prop_assert_eq!((standing[3].used, standing[3].reserved), (plain.used, plain.reserved));
            prop_assert!(plain.requests >= 0, "requests are never overshot");
        }
        prop_assert_eq!(self.accounts.leaked(), self.leaked);
        Ok(())
    }
}

proptest! {
    #[test]
    fn any_interleaving_counts_as_the_plain_model_does(steps in steps()) {
        let mut world = World::new();
        world.compare()?;
        for step in &steps {
            world.run(step)?;
        }
        while world.live(0).is_some() {
            world.run(&Step::Void { which: 0, request_too: false })?;
        }
        // What was lost is found by the second sweep that is late enough.
        for _ in 0..2 {
            world.run(&Step::Sweep)?;
            world.run(&Step::Advance { ms: 40_000 })?;
        }
        world.run(&Step::Sweep)?;
        prop_assert_eq!(world.accounts.reserved_total(), Held::default());
    }

    #[test]
    fn used_and_reserved_stay_within_the_budget_while_actuals_stay_within_what_was_held(steps in steps()) {
        let mut world = World::new();
        world.compare()?;
        // A ceiling may be lowered below what is used, and a rebuild counts days together that a clock set back mixes.
        for step in steps.iter().filter(|step| !matches!(step, Step::Ceiling { .. } | Step::Crash)) {
            world.run(step)?;
            for plain in &world.plain {
                prop_assert!(plain.used + plain.reserved <= plain.ceiling + plain.excess);
            }
        }
    }
}
