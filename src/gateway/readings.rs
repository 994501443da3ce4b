//! What metrics read at each scrape: budgets, limits, the journal, shared Redis.

use super::care;
use super::sources::{amount, standings, window};
use crate::budget::{self, Estimate};
use crate::journal::Stream;
use crate::limit;
use crate::pipeline::Tercet;
use crate::store::{self, Cell, Claim, Link, LinkReading, Period, Rate, Standing, Unit};
use crate::telemetry::{
    BudgetReading, ContentReading, JournalReading, LimitReading, Readings, RedisReading, SharingReading,
};

/// Reads them.
pub(super) fn read(tercet: &Tercet) -> Readings {
    let snapshot = tercet.snapshot.load();
    let names = || snapshot.config.tenants.keys();
    let budgets = names().flat_map(|name| {
        standings(tercet, name, None).into_iter().map(move |(period, standing, _)| BudgetReading {
            tenant: name.clone(),
            window: window(period),
            spend: amount(standing.used),
            reserved: amount(standing.reserved),
            overshoot: amount(standing.unheld),
            budget: standing.ceiling.map(amount),
            reset_timestamp_s: standing.resets_at.as_second(),
        })
    });
    let health = tercet.runtime.journal.health();
    let head = tercet.runtime.journal.head(Stream::Exchanges).seq;
    Readings {
        budgets: budgets.collect(),
        limits: names().flat_map(|name| limits(tercet, name)).collect(),
        reserved: amount(tercet.runtime.accounts.reserved_total().nanousd),
        journal: JournalReading { records: head, write_failures: health.failures, head_sequence: head },
        at_stake: care::readings(tercet),
        sharing: tercet.runtime.accounts.sharing().map(|sharing| {
            let store::SharingReading { holding, unasked, asked } = sharing.reading();
            SharingReading { leases: holding, unasked, asked }
        }),
        outbox: tercet.runtime.outbox.reading(),
        copies: tercet.runtime.copies.readings(head, tercet.runtime.clock.now()),
        content: {
            let ([kept, no_room, failed], stored_bytes) = tercet.runtime.content.reading();
            ContentReading { kept, no_room, failed, stored_bytes }
        },
        redis: tercet.runtime.links().map(|link| redis(link)).collect(),
    }
}

/// Reads how much of a tenant's own limits and quotas is used.
fn limits(tercet: &Tercet, tenant: &str) -> Vec<LimitReading> {
    let snapshot = tercet.snapshot.load();
    let levels = snapshot.directory.levels_of(tenant, "", None);
    let Some(level) = levels.get(1) else { return Vec::new() };
    let mut demands = Vec::new();
    limit::demands(&level.ceilings.limits, 0, 0, &mut demands);
    budget::demands(&level.ceilings.budget, &level.ceilings.quota, &Estimate::NOTHING, &mut demands);
    let account = level.account(&tercet.runtime.accounts);
    let claim = Claim { account, zone: level.ceilings.budget.zone.clone(), demands };
    let reading = |standing: &Standing| {
        let limit = limit_name(standing.cell)?;
        let used_millionths = used_millionths(standing, standing.ceiling?);
        Some(LimitReading { tenant: tenant.to_owned(), limit, used_millionths })
    };
    tercet.runtime.accounts.standing(&[claim]).iter().filter_map(reading).collect()
}

/// Money is told as spending and budget.
const fn limit_name(cell: Cell) -> Option<&'static str> {
    match cell {
        Cell::Rate(Rate::Requests) => Some("requests"),
        Cell::Rate(Rate::InputTokens) => Some("input_tokens"),
        Cell::Rate(Rate::OutputTokens) => Some("output_tokens"),
        Cell::Concurrency => Some("concurrency"),
        Cell::Window(Unit::Tokens, Period::Day) => Some("daily_tokens"),
        Cell::Window(Unit::Tokens, Period::Month) => Some("monthly_tokens"),
        Cell::Window(..) => None,
    }
}

/// A ceiling of nothing is used up.
fn used_millionths(standing: &Standing, ceiling: u64) -> u64 {
    let used = u128::from(standing.used) * 1_000_000;
    used.checked_div(u128::from(ceiling)).map_or(1_000_000, |share| u64::try_from(share).unwrap_or(u64::MAX))
}

fn redis(link: &Link) -> RedisReading {
    let LinkReading { purpose, up, round_trips, failures } = link.reading();
    RedisReading { name: purpose, up, round_trips, failures: failures.to_vec() }
}
