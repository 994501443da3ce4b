//! Random interleavings against a model without locks, laziness or shared code.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const ACCOUNTS: usize = 3;
const REQUESTS_MAX: u64 = 5;
const INPUT_MAX: u64 = 1_000;
const CONCURRENT_MAX: u64 = 4;

#[derive(Clone, Debug)]
enum Step {
    Reserve { accounts: [bool; ACCOUNTS], money: u64, input: u64 },
    Post { which: usize, money: u64, input: u64 },
    Void { which: usize, request_too: bool },
    Drop { which: usize },
    Advance { ms: u64 },
    SetWall { hours: i64 },
    Ceiling { account: usize, money: u64 },
}

#[derive(Clone, Debug, Default)]
struct Plain {
    /// What is left of the buckets, in 1/60,000 of a unit (one millisecond of a limit of one).
    requests: i128,
    input: i128,
    in_flight: u64,
    day: i64,
    used: u64,
    reserved: u64,
    ceiling: u64,
    /// The most that posted actuals exceeded what was held by.
    excess: u64,
}

struct Hold {
    reservation: Reservation,
    accounts: [bool; ACCOUNTS],
    money: u64,
    input: u64,
}

const SCALE: i128 = 60_000;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (any::<[bool; ACCOUNTS]>(), 0u64..400, 0u64..600)
            .prop_map(|(accounts, money, input)| Step::Reserve { accounts, money, input }),
        4 => (any::<usize>(), 0u64..500, 0u64..900)
            .prop_map(|(which, money, input)| Step::Post { which, money, input }),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(which, request_too)| Step::Void { which, request_too }),
        1 => any::<usize>().prop_map(|which| Step::Drop { which }),
        3 => (0u64..30_000).prop_map(|ms| Step::Advance { ms }),
        1 => (-40i64..40).prop_map(|hours| Step::SetWall { hours }),
        1 => (0..ACCOUNTS, 0u64..1_500).prop_map(|(account, money)| Step::Ceiling { account, money }),
    ];
    vec(step, 1..120)
}

fn day_of(clock: &Clock) -> i64 {
    clock.now().as_second().div_euclid(86_400)
}

fn demands(money: u64, input: u64, ceiling: u64) -> [Demand; 4] {
    [
        demand(Cell::Rate(Rate::Requests), 1, REQUESTS_MAX),
        demand(Cell::Rate(Rate::InputTokens), input, INPUT_MAX),
        demand(Cell::Concurrency, 1, CONCURRENT_MAX),
        demand(DAY_MONEY, money, ceiling),
    ]
}

impl Plain {
    fn new() -> Self {
        let full = |limit: u64| i128::from(limit) * SCALE;
        let day = day_of(&clock());
        Self { requests: full(REQUESTS_MAX), input: full(INPUT_MAX), day, ceiling: 1_000, ..Self::default() }
    }

    fn pass(&mut self, ms: u64, day: i64) {
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

    fn fits(&self, money: u64, input: u64) -> bool {
        self.requests >= SCALE
            && (self.input >= i128::from(input) * SCALE || input == 0)
            && self.in_flight < CONCURRENT_MAX
            && (self.used + self.reserved + money <= self.ceiling || money == 0)
    }

    fn hold(&mut self, money: u64, input: u64) {
        self.requests -= SCALE;
        self.input -= i128::from(input) * SCALE;
        self.in_flight += 1;
        self.reserved += money;
    }

    fn end(&mut self, hold: (u64, u64), money: u64, input: u64, request_too: bool) {
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

struct World {
    clock: Clock,
    accounts: Accounts,
    real: Vec<Arc<Account>>,
    plain: Vec<Plain>,
    holds: Vec<Hold>,
    leaked: u64,
}

impl World {
    fn new() -> Self {
        let clock = clock();
        let accounts = Accounts::new(clock.clone());
        let real = (0..ACCOUNTS).map(|number| tenant(&accounts, &number.to_string())).collect();
        Self { clock, accounts, real, plain: vec![Plain::new(); ACCOUNTS], holds: Vec::new(), leaked: 0 }
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
                self.leaked += u64::from(!self.holds.is_empty());
                self.end(which, |reservation, held, _| {
                    drop(reservation);
                    (held.0, held.1, false)
                });
            }
            Step::Advance { ms } => {
                self.clock.advance(Duration::from_millis(ms));
                let day = day_of(&self.clock);
                self.plain.iter_mut().for_each(|plain| plain.pass(ms, day));
            }
            Step::SetWall { hours } => {
                let moved = self.clock.now().checked_add(jiff::SignedDuration::from_hours(hours)).unwrap();
                self.clock.set_wall(moved);
                let day = day_of(&self.clock);
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
        self.holds.push(Hold { reservation, accounts: chosen, money, input });
        Ok(())
    }

    fn end(
        &mut self,
        which: usize,
        how: impl FnOnce(Reservation, (u64, u64), Timestamp) -> (u64, u64, bool),
    ) {
        if self.holds.is_empty() {
            return;
        }
        let hold = self.holds.swap_remove(which % self.holds.len());
        let (money, input, request_too) = how(hold.reservation, (hold.money, hold.input), self.clock.now());
        for number in (0..ACCOUNTS).filter(|&number| hold.accounts[number]) {
            self.plain[number].end((hold.money, hold.input), money, input, request_too);
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
        while !world.holds.is_empty() {
            world.run(&Step::Void { which: 0, request_too: false })?;
        }
        prop_assert_eq!(world.accounts.reserved_total(), Held::default());
    }

    #[test]
    fn used_and_reserved_stay_within_the_budget_while_actuals_stay_within_what_was_held(steps in steps()) {
        let mut world = World::new();
        world.compare()?;
        for step in steps.iter().filter(|step| !matches!(step, Step::Ceiling { .. })) {
            world.run(step)?;
            for plain in &world.plain {
                prop_assert!(plain.used + plain.reserved <= plain.ceiling + plain.excess);
            }
        }
    }
}
