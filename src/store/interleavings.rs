//! Every order in which threads may take and end: `make loom`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};
use loom::thread;

use super::*;
use crate::clock::Clock;
use crate::money::NanoUsd;

const DAY: Cell = Cell::Window(Unit::Money, Period::Day);

struct World {
    clock: Clock,
    accounts: Arc<Accounts>,
    levels: [Arc<Account>; 2],
}

/// An organisation and a tenant; made outside of the threads, as a start does.
fn world() -> World {
    let clock = Clock::manual("2026-11-20T12:00:00Z".parse::<Timestamp>().unwrap());
    let accounts = Arc::new(Accounts::new(clock.clone()));
    let ids = [AccountId::organisation(), AccountId::tenant("acme".into())];
    let levels = ids.map(|id| accounts.configured(&id));
    World { clock, accounts, levels }
}

impl World {
    /// Claims so much of a level's ceiling; one that asks for nothing is left out.
    fn claims(&self, amounts: [u64; 2], ceilings: [u64; 2]) -> Vec<Claim> {
        let claim = |level: usize| Claim {
            account: Arc::clone(&self.levels[level]),
            zone: TimeZone::UTC,
            demands: vec![Demand {
                cell: DAY,
                amount: amounts[level],
                most: amounts[level],
                ceiling: Some(ceilings[level]),
            }],
        };
        (0..2).filter(|&level| amounts[level] > 0).map(claim).collect()
    }

    fn standing(&self) -> [(u64, u64); 2] {
        let all = self.accounts.standing(&self.claims([1, 1], [9, 9]));
        [(all[0].used, all[0].reserved), (all[1].used, all[1].reserved)]
    }

    fn actual(&self, cost: i64) -> Actual {
        Actual {
            at: self.clock.now(),
            input_tokens: 0,
            output_tokens: 0,
            total_tokens: 0,
            cost: NanoUsd(cost),
        }
    }
}

/// Runs `once` in every order of its threads, and sees that there was more than one.
fn every_order(once: impl Fn() + Send + Sync + 'static) {
    let tried = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tried);
    loom::model(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        once();
    });
    let tried = tried.load(Ordering::Relaxed);
    println!("{tried} orders tried");
    assert!(tried > 3, "only {tried} orders were tried");
}

#[test]
fn of_two_that_fit_once_one_is_admitted_and_at_every_level() {
    every_order(|| {
        let world = Arc::new(world());
        let ask = |world: Arc<World>, backwards: bool| {
            move || {
                let mut claims = world.claims([1, 1], [2, 1]);
                if backwards {
                    claims.reverse();
                }
                world.accounts.reserve(claims).ok()
            }
        };
        let other = thread::spawn(ask(Arc::clone(&world), true));
        let held = [ask(Arc::clone(&world), false)(), other.join().unwrap()];
        assert_eq!(held.iter().flatten().count(), 1);
        assert_eq!(world.standing(), [(0, 1), (0, 1)], "the refused one left nothing behind");
        held.into_iter().flatten().for_each(|held| held.post(&world.actual(1)));
        assert_eq!(world.standing(), [(1, 0), (1, 0)]);
    });
}

#[test]
fn what_is_refused_at_one_level_is_never_seen_at_another() {
    every_order(|| {
        let world = Arc::new(world());
        let refused = thread::spawn({
            let world = Arc::clone(&world);
            // The tenant has no room, so the organisation's whole is never taken, not for a moment.
            move || assert!(world.accounts.reserve(world.claims([2, 1], [2, 0])).is_err())
        });
        let whole = world.accounts.reserve(world.claims([2, 0], [2, 0]));
        whole.expect("nobody holds any of it").void();
        refused.join().unwrap();
        assert_eq!(world.standing(), [(0, 0), (0, 0)]);
    });
}

#[test]
fn a_reservation_that_ends_while_it_is_swept_is_counted_once() {
    every_order(|| {
        let world = Arc::new(world());
        let held = world.accounts.reserve(world.claims([3, 3], [9, 9])).unwrap();
        let silence = Duration::from_secs(60);
        assert_eq!(world.accounts.sweep(silence), 0);
        world.clock.advance(silence);
        let sweeping = thread::spawn({
            let world = Arc::clone(&world);
            move || world.accounts.sweep(silence)
        });
        // The table of leases is no lock that is tried in every order. Where the reservation ends first the sweep finds nothing
        // there, and nothing would tell that the other order differs: so the sweep goes first at first.
        thread::yield_now();
        held.post(&world.actual(4));
        let swept = sweeping.join().unwrap();
        // Swept it is settled at the three that were held, and at one more when it tells of four.
        assert_eq!(world.standing(), [(4, 0), (4, 0)], "swept: {swept}");
        assert_eq!(world.accounts.leaked(), swept as u64);
    });
}
