//! Promises of the store as a whole; `model` checks them against a plain model.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};

use super::cell::{Cells, Moment, Reach};
use super::share::{CellReply, Needs};
use super::*;
use crate::clock::Clock;
use crate::money::NanoUsd;

mod model;

const DAY_MONEY: Cell = Cell::Window(Unit::Money, Period::Day);

fn clock() -> Clock {
    Clock::manual("2026-11-20T12:00:00Z".parse().unwrap())
}

fn demand(cell: Cell, amount: u64, ceiling: u64) -> Demand {
    Demand { cell, amount, most: amount, ceiling: Some(ceiling) }
}

fn claim(account: &Arc<Account>, demands: &[Demand]) -> Claim {
    Claim { account: Arc::clone(account), zone: TimeZone::UTC, demands: demands.to_vec() }
}

fn actual(cost: i64, at: Timestamp) -> Actual {
    Actual { at, input_tokens: 0, output_tokens: 0, total_tokens: 0, cost: NanoUsd(cost) }
}

fn tenant(accounts: &Accounts, name: &str) -> Arc<Account> {
    accounts.configured(&AccountId::tenant(name.into()))
}

#[test]
fn two_hundred_at_once_against_a_ceiling_that_fits_twenty_admit_twenty() {
    for cell in [Cell::Rate(Rate::Requests), Cell::Concurrency, DAY_MONEY] {
        let accounts = Arc::new(Accounts::new(clock()));
        let account = tenant(&accounts, "acme");
        let (barrier, admitted) = (Arc::new(Barrier::new(200)), Arc::new(AtomicUsize::new(0)));
        thread::scope(|scope| {
            for _ in 0..200 {
                let held = (Arc::clone(&accounts), Arc::clone(&account), Arc::clone(&barrier));
                let admitted = Arc::clone(&admitted);
                scope.spawn(move || {
                    let (accounts, account, barrier) = held;
                    barrier.wait();
                    let outcome = accounts.reserve(vec![claim(&account, &[demand(cell, 3, 60)])]);
                    admitted.fetch_add(usize::from(outcome.is_ok()), Ordering::Relaxed);
                    barrier.wait();
                    outcome.map(Reservation::void).ok();
                });
            }
        });
        assert_eq!(admitted.load(Ordering::Relaxed), 20, "{cell:?}");
        assert_eq!((accounts.reserved_total(), accounts.leaked()), (Held::default(), 0));
    }
}

#[test]
fn crossing_claims_of_many_threads_neither_deadlock_nor_lose_a_nano_dollar() {
    let accounts = Accounts::new(clock());
    let at = "2026-11-20T12:00:00Z".parse().unwrap();
    let all: Vec<_> = ["a", "b", "c", "d"].map(|name| tenant(&accounts, name)).into();
    thread::scope(|scope| {
        for worker in 0..8 {
            let (accounts, all) = (&accounts, &all);
            scope.spawn(move || {
                for round in 0..2_000 {
                    // Every worker names the accounts in another order.
                    let order =
                        (0..4).map(|place| &all[(place * (1 + 2 * (worker % 2)) + worker + round) % 4]);
                    let demands = [demand(DAY_MONEY, 5, 1_000_000), demand(Cell::Concurrency, 1, 100)];
                    let held = accounts.reserve(order.map(|one| claim(one, &demands)).collect()).unwrap();
                    if round % 2 == 0 { held.post(&actual(3, at)) } else { held.void() }
                }
            });
        }
    });
    for account in &all {
        let standing = accounts.standing(&[claim(account, &[demand(DAY_MONEY, 0, 1_000_000)])]);
        assert_eq!((standing[0].used, standing[0].reserved), (8 * 1_000 * 3, 0));
    }
    assert_eq!(accounts.reserved_total(), Held::default());
}

#[test]
fn one_level_short_takes_nothing_anywhere_and_is_named() {
    let accounts = Accounts::new(clock());
    let (org, acme) = (accounts.configured(&AccountId::organisation()), tenant(&accounts, "acme"));
    let requests = Cell::Rate(Rate::Requests);
    let ask = || {
        vec![
            claim(
                &acme,
                &[demand(requests, 1, 10), demand(DAY_MONEY, 11, 10), demand(Cell::Concurrency, 1, 9)],
            ),
            claim(&org, &[demand(requests, 1, 10), demand(DAY_MONEY, 11, 20)]),
        ]
    };
    let short = accounts.reserve(ask()).unwrap_err();
    assert_eq!(
        (short.id.to_string().as_str(), short.cell, short.remaining),
        ("tenant `acme`", DAY_MONEY, 10)
    );
    assert_eq!(short.wait, Wait::Until("2026-11-21T00:00:00Z".parse().unwrap()));
    assert_eq!(accounts.look(&ask()).unwrap_err(), short);
    for standing in accounts.standing(&ask()) {
        assert_eq!((standing.used, standing.reserved), (0, 0), "{standing:?}");
    }
}

#[test]
fn of_a_shared_ceiling_no_more_is_taken_than_a_share_and_none_before_there_is_one() {
    let clock = clock();
    let now = Moment { wall: clock.now(), instant: clock.instant() };
    let (mut cells, utc) = (Cells::shared(), TimeZone::UTC);
    let fits = |cells: &mut Cells, reach| {
        let most = |amount| cells.shortage(&demand(DAY_MONEY, amount, 100), &utc, now, reach).is_none();
        [1, 30, 31, 40, 41, 100, 101].map(most)
    };
    assert_eq!(fits(&mut cells, Reach::Shared), [false; 7]);
    assert_eq!(fits(&mut cells, Reach::Alone), [true, true, true, true, true, true, false]);
    let mut needs = Needs::default();
    assert!(cells.add_needs(&[demand(DAY_MONEY, 30, 100)], &utc, now, &mut needs));
    let reports = cells.report(&needs, now, false);
    let reply = CellReply { share: 30, elsewhere_used: 50, elsewhere_held: 10, scarce: false };
    cells.learn(&reports, &vec![reply; reports.len()], now.instant, now);
    assert_eq!(fits(&mut cells, Reach::Shared), [true, true, false, false, false, false, false]);
    assert_eq!(fits(&mut cells, Reach::Alone), [true, true, true, true, false, false, false]);
}

#[test]
fn of_several_ceilings_that_are_short_the_one_that_holds_longest_is_named() {
    let month = Cell::Window(Unit::Money, Period::Month);
    // Cell and ceiling of the gateway, of the tenant, and whose is named where 11 are asked.
    for (gateway, acme, named) in [
        ((month, 10), (DAY_MONEY, 10), "the organisation"),
        ((DAY_MONEY, 10), (month, 10), "tenant `acme`"),
        ((DAY_MONEY, 5), (DAY_MONEY, 3), "tenant `acme`"),
        ((DAY_MONEY, 3), (DAY_MONEY, 5), "the organisation"),
        ((DAY_MONEY, 10), (DAY_MONEY, 10), "the organisation"),
    ] {
        let accounts = Accounts::new(clock());
        let (org, tenant) = (accounts.configured(&AccountId::organisation()), tenant(&accounts, "acme"));
        let mut claims = vec![
            claim(&org, &[demand(gateway.0, 11, gateway.1)]),
            claim(&tenant, &[demand(acme.0, 11, acme.1)]),
        ];
        for _ in 0..2 {
            let short = accounts.reserve(claims.clone()).unwrap_err();
            assert_eq!(short.id.to_string(), named, "{gateway:?} {acme:?}");
            claims.reverse();
        }
    }
}

#[test]
fn every_cell_stands_at_its_place() {
    assert_eq!(Cell::ALL.map(Cell::place), std::array::from_fn(|place| place));
}

#[test]
fn levels_are_named_as_documents_and_metrics_name_them() {
    let levels = [Level::Organisation, Level::Tenant, Level::User, Level::Key, Level::Sample];
    assert_eq!(levels.map(Level::name), ["gateway", "tenant", "user", "key", "sample"]);
}

#[test]
fn what_may_come_on_top_of_what_is_held_is_known_while_it_is_held() {
    let accounts = Accounts::new(clock());
    let acme = tenant(&accounts, "acme");
    let ask = |amount, most| claim(&acme, &[Demand { most, ..demand(DAY_MONEY, amount, 1_000) }]);
    let unheld = || acme.lock().unheld(DAY_MONEY);
    let (one, other) =
        (accounts.reserve(vec![ask(5, 25)]).unwrap(), accounts.reserve(vec![ask(7, 7)]).unwrap());
    assert_eq!(unheld(), 20);
    assert_eq!(accounts.reserved_total(), Held { requests: 0, nanousd: 12, tokens: 0 });
    one.void();
    assert_eq!(unheld(), 0);
    other.void();
}

#[test]
fn the_same_account_or_cell_asked_twice_is_counted_twice() {
    let accounts = Accounts::new(clock());
    let acme = tenant(&accounts, "acme");
    let twice = vec![claim(&acme, &[demand(DAY_MONEY, 6, 10)]), claim(&acme, &[demand(DAY_MONEY, 6, 10)])];
    assert!(accounts.reserve(twice).is_err());
    assert_eq!(accounts.reserved_total(), Held::default());
}

#[test]
fn a_dropped_reservation_is_charged_as_held_and_counted() {
    let accounts = Accounts::new(clock());
    let acme = tenant(&accounts, "acme");
    drop(accounts.reserve(vec![claim(&acme, &[demand(DAY_MONEY, 6, 10)])]).unwrap());
    let standing = accounts.standing(&[claim(&acme, &[demand(DAY_MONEY, 0, 10)])]);
    assert_eq!((standing[0].used, standing[0].reserved, accounts.leaked()), (6, 0, 1));
}

#[test]
fn a_lost_reservation_is_found_once_it_is_silent_for_too_long_and_never_sooner() {
    let clock = clock();
    let accounts = Accounts::new(clock.clone());
    let acme = tenant(&accounts, "acme");
    let ask = || vec![claim(&acme, &[demand(DAY_MONEY, 6, 100), demand(Cell::Concurrency, 1, 9)])];
    let (lost, slow) = (accounts.reserve(ask()).unwrap(), accounts.reserve(ask()).unwrap());
    std::mem::forget(lost);
    let minute = Duration::from_secs(60);
    let silence = minute * 60;
    let mut found = Vec::new();
    for at in 0..=62 {
        slow.touch();
        if accounts.sweep(silence) > 0 {
            found.push(at);
        }
        clock.advance(minute);
    }
    // Silent from the first sweep's end on, which is all that is known of it.
    assert_eq!(found, [60]);
    let standing = |cell: Cell| accounts.standing(&[claim(&acme, &[demand(cell, 0, 100)])]).remove(0);
    assert_eq!((standing(DAY_MONEY).used, standing(DAY_MONEY).reserved), (6, 6));
    assert_eq!((standing(Cell::Concurrency).used, accounts.leaked()), (1, 1));
    slow.post(&actual(2, clock.now()));
    assert_eq!((standing(DAY_MONEY).used, accounts.reserved_total()), (8, Held::default()));
}

#[test]
fn an_exchange_that_ends_after_it_was_given_up_costs_what_it_came_to_and_no_less_than_was_held() {
    let clock = clock();
    for (cost, counted) in [(2, 6), (6, 6), (9, 9)] {
        let accounts = Accounts::new(clock.clone());
        let acme = tenant(&accounts, "acme");
        let held = accounts.reserve(vec![claim(&acme, &[demand(DAY_MONEY, 6, 100)])]).unwrap();
        for _ in 0..2 {
            accounts.sweep(Duration::from_secs(1));
            clock.advance(Duration::from_secs(1));
        }
        assert_eq!(accounts.leaked(), 1);
        held.post(&actual(cost, clock.now()));
        let standing = accounts.standing(&[claim(&acme, &[demand(DAY_MONEY, 0, 100)])]);
        assert_eq!((standing[0].used, standing[0].reserved, accounts.leaked()), (counted, 0, 1));
    }
}

#[test]
fn near_its_end_a_budget_is_exceeded_by_one_request_at_most() {
    let accounts = Accounts::new(clock());
    let acme = tenant(&accounts, "acme");
    let ask = || vec![claim(&acme, &[Demand { cell: DAY_MONEY, amount: 1, most: 20, ceiling: Some(100) }])];
    let mut held = Vec::new();
    while let Ok(reservation) = accounts.reserve(ask()) {
        held.push(reservation);
    }
    // 21 at the usual cost, until less than 80 is left; then 20 each, and the last takes what remains.
    assert_eq!(held.len(), 21 + 4);
    let last = held.pop().unwrap();
    held.into_iter().for_each(Reservation::void);
    let at = "2026-11-20T12:00:00Z".parse().unwrap();
    accounts.charge(&[claim(&acme, &[demand(DAY_MONEY, 95, 100)])], at);
    last.void();
    let alone = accounts.reserve(ask()).unwrap();
    assert!(accounts.reserve(ask()).is_err(), "what remains is held whole");
    alone.post(&actual(20, at));
    let standing = accounts.standing(&ask());
    assert_eq!((standing[0].used, standing[0].remaining), (115, 0));
}

#[test]
fn a_request_across_midnight_counts_where_its_record_does() {
    let clock = clock();
    let accounts = Accounts::new(clock.clone());
    let acme = tenant(&accounts, "acme");
    let ask = || vec![claim(&acme, &[demand(DAY_MONEY, 6, 10)])];
    let held = accounts.reserve(ask()).unwrap();
    clock.advance(Duration::from_secs(12 * 3_600));
    assert!(accounts.reserve(ask()).is_err(), "what is in flight counts against the new day");
    held.post(&actual(4, clock.now()));
    assert_eq!(accounts.standing(&ask())[0].used, 4);
    let rebuilt = Accounts::new(clock.clone());
    rebuilt.charge(&[claim(&tenant(&rebuilt, "acme"), &[demand(DAY_MONEY, 4, 10)])], clock.now());
    let again = [claim(&tenant(&rebuilt, "acme"), &[demand(DAY_MONEY, 6, 10)])];
    assert_eq!(rebuilt.standing(&again), accounts.standing(&ask()));
}

#[test]
fn negative_and_huge_actuals_never_lower_what_was_used() {
    let accounts = Accounts::new(clock());
    let acme = tenant(&accounts, "acme");
    let at = "2026-11-20T12:00:00Z".parse().unwrap();
    let ask = || vec![claim(&acme, &[demand(DAY_MONEY, 1, u64::MAX)])];
    for cost in [7, -5, i64::MIN, i64::MAX, i64::MAX, i64::MAX] {
        let before = accounts.standing(&ask())[0].used;
        accounts.reserve(ask()).map(|held| held.post(&actual(cost, at))).ok();
        assert!(accounts.standing(&ask())[0].used >= before);
    }
}

#[test]
fn unknown_users_beyond_the_bound_share_one_account_per_tenant() {
    let accounts = Accounts::new(clock());
    let user = |tenant: &str, name: String| AccountId::user(tenant.into(), name.into());
    for number in 0..Accounts::DYNAMIC_MAX {
        let _ = accounts.dynamic(&user("acme", format!("u{number}")));
    }
    let shared = accounts.dynamic(&user("acme", "late".into()));
    assert_eq!(*shared.id(), user("acme", "_other".into()));
    assert!(Arc::ptr_eq(&shared, &accounts.dynamic(&user("acme", "later".into()))));
    assert!(!Arc::ptr_eq(&shared, &accounts.dynamic(&user("other", "late".into()))));
    assert_eq!(*accounts.dynamic(&user("acme", "u7".into())).id(), user("acme", "u7".into()));
    assert_eq!(accounts.all().len(), Accounts::DYNAMIC_MAX + 2);
}
