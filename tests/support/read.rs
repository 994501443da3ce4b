//! What the accounts, the metrics and the journal of a gateway say, as integers.

use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::Value;
use tercet::store::{AccountId, Cell, Claim, Demand, Period, Standing, Unit};

use super::House;

/// Returns where a window of an account stands against a ceiling.
pub fn standing(house: &House, id: &AccountId, cell: Cell, ceiling: u64) -> Standing {
    let accounts = &house.tercet.runtime.accounts;
    let demand = Demand { cell, amount: 0, most: 0, ceiling: Some(ceiling) };
    let claim = Claim { account: accounts.configured(id), zone: TimeZone::UTC, demands: vec![demand] };
    accounts.standing(&[claim]).remove(0)
}

/// Returns the nano-dollars an account used today.
pub fn spent_today(house: &House, id: &AccountId) -> i64 {
    i64::try_from(standing(house, id, Cell::Window(Unit::Money, Period::Day), u64::MAX).used).unwrap()
}

/// Sums the samples of a metric whose labels contain `labels`; whole numbers or nine decimals, as nanounits.
pub fn metric(text: &str, name: &str, labels: &str) -> i64 {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        if !(rest.starts_with('{') || rest.starts_with(' ')) || !rest.contains(labels) {
            return None;
        }
        Some(nanos(rest.rsplit(' ').next()?))
    });
    values.sum()
}

/// Reads a decimal number exactly, as nanounits.
pub fn nanos(number: &str) -> i64 {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    assert!(fraction.len() <= 9, "{number}");
    whole.parse::<i64>().unwrap() * 1_000_000_000 + format!("{fraction:0<9}").parse::<i64>().unwrap()
}

/// Sums an integer field of records.
pub fn sum(records: &[Value], field: &str) -> i64 {
    records.iter().map(|record| record[field].as_i64().unwrap()).sum()
}

/// Waits until nothing is in flight and everything held is given back.
pub async fn idle(house: &House) {
    let runtime = &house.tercet.runtime;
    until("the gateway is idle", || {
        runtime.in_flight.load(std::sync::atomic::Ordering::Relaxed) == 0
            && runtime.accounts.reserved_total() == tercet::store::Held::default()
    })
    .await;
    assert_eq!(runtime.accounts.leaked(), 0, "a reservation was lost");
}

/// Waits until a condition holds, ten seconds at most.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within ten seconds: {what}");
}

/// Waits until what is told holds a text, ten seconds at most.
pub async fn until_told<F: Future<Output = String>>(ask: impl Fn() -> F, text: &str) {
    let mut told = String::new();
    for _ in 0..1_000 {
        told = ask().await;
        if told.contains(text) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{text} is not told within ten seconds: {told}");
}
