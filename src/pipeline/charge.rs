//! What a request claims at each of its levels, and what a refused claim tells the client.

use super::exchange::Exchange;
use super::{own_limits, policy};
use crate::budget::{self, Estimate, Spent, Utilization};
use crate::config::{Ceilings, Reserve, WhenLow};
use crate::limit::{self, LimitReached};
use crate::money::NanoUsd;
use crate::store::{Accounts, Cell, Claim, Demand, Exhausted, Refused, Standing, Unit};
use crate::telemetry::{LimitDecision, LimitKind};
use crate::tenant::{LevelOf, Unidentified};
use crate::wire::error::{self, Refusal};

/// Returns what the request asks of every level: rates, money and tokens.
pub(super) fn claims(exchange: &Exchange, estimate: &Estimate) -> Vec<Claim> {
    claims_with(exchange, |ceilings, into| {
        limit::demands(&ceilings.limits, estimate.input_tokens, estimate.output_tokens, into);
        budget::demands(&ceilings.budget, &ceilings.quota, estimate, into);
    })
}

/// Returns what of money and tokens is asked of levels, and no rate: batches have rates of their own upstream, and
/// samples are no requests of a client.
pub(super) fn spending_claims(levels: &[LevelOf], accounts: &Accounts, estimate: &Estimate) -> Vec<Claim> {
    let claim = |level: &LevelOf| {
        level_claim(level, accounts, |ceilings, into| {
            budget::demands(&ceilings.budget, &ceilings.quota, estimate, into);
        })
    };
    levels.iter().map(claim).collect()
}

/// Returns the money and the tokens that are held by an estimate: what a crash leaves is charged at that.
pub(super) fn held(levels: &[LevelOf], estimate: &Estimate) -> (NanoUsd, u64) {
    let at_most = levels.iter().any(|level| level.ceilings.budget.reserve == Reserve::Max);
    match at_most {
        true => (estimate.max_cost, estimate.max_total_tokens()),
        false => (estimate.cost, estimate.total_tokens()),
    }
}

/// Returns what an answer from the cache asks: the request alone.
pub(super) fn request_claims(exchange: &Exchange) -> Vec<Claim> {
    claims_with(exchange, |ceilings, into| limit::request_demands(&ceilings.limits, into))
}

fn claims_with(exchange: &Exchange, demands: impl Fn(&Ceilings, &mut Vec<Demand>)) -> Vec<Claim> {
    let Some(identity) = &exchange.identity else { return Vec::new() };
    let accounts = &exchange.tercet.runtime.accounts;
    identity.levels.iter().map(|level| level_claim(level, accounts, &demands)).collect()
}

fn level_claim(level: &LevelOf, accounts: &Accounts, demands: impl Fn(&Ceilings, &mut Vec<Demand>)) -> Claim {
    let mut wanted = Vec::new();
    demands(&level.ceilings, &mut wanted);
    Claim { account: level.account(accounts), zone: level.ceilings.budget.zone.clone(), demands: wanted }
}

/// Returns where a level stands with each of its rates, budgets and quotas that has a ceiling.
pub(super) fn standings(level: &LevelOf, accounts: &Accounts) -> Vec<Standing> {
    let Ceilings { limits, budget, quota } = &*level.ceilings;
    let mut demands = Vec::new();
    limit::demands(limits, 1, 1, &mut demands);
    budget::demands(budget, quota, &Estimate::NOTHING, &mut demands);
    standing(level, accounts, demands)
}

/// Returns where those of a level's demands stand that have a ceiling; requests in flight are nobody's to be told.
fn standing(level: &LevelOf, accounts: &Accounts, mut demands: Vec<Demand>) -> Vec<Standing> {
    demands.retain(|demand| demand.ceiling.is_some() && demand.cell != Cell::Concurrency);
    if demands.is_empty() {
        return Vec::new();
    }
    accounts.standing_of(&level.account(accounts), &level.ceilings.budget.zone, &demands)
}

/// Returns how full each budget and quota of a level is; looks at nothing where it has none.
pub(super) fn utilizations<'a>(
    level: &'a LevelOf,
    accounts: &Accounts,
) -> impl Iterator<Item = Utilization<'a>> + use<'a> {
    let Ceilings { budget, quota, .. } = &*level.ceilings;
    let mut demands = Vec::new();
    if has_budget(&level.ceilings) {
        budget::demands(budget, quota, &Estimate::NOTHING, &mut demands);
    }
    let warn_at = budget.warn_at_permille;
    standing(level, accounts, demands)
        .into_iter()
        .filter_map(move |standing| Utilization::of(&level.id, &standing, warn_at))
}

/// Says why nothing was held.
pub(super) fn refused(exchange: &Exchange, refused: &Refused) -> Refusal {
    match refused {
        Refused::Exhausted(exhausted) => refusal(exchange, exhausted),
        Refused::Unreachable => Refusal::unavailable(
            "the counters that instances of this gateway share cannot be reached, so this request cannot be held \
             to its limits and budgets; try again soon",
        ),
    }
}

/// Tells whether a level that prefers cheaper answers has come to the share of its budget at which it warns.
pub(super) fn is_low(exchange: &Exchange) -> bool {
    let Some(identity) = &exchange.identity else { return false };
    let accounts = &exchange.tercet.runtime.accounts;
    let cheaper = identity.levels.iter().filter(|level| level.ceilings.budget.when_low == WhenLow::Cheaper);
    cheaper.into_iter().any(|level| utilizations(level, accounts).any(|one| one.is_due()))
}

/// Turns a ceiling that was run into into a refusal.
fn refusal(exchange: &Exchange, exhausted: &Exhausted) -> Refusal {
    if let Some(spent) = Spent::of(exhausted) {
        let limit = if spent.unit == Unit::Money { LimitKind::Budget } else { LimitKind::Quota };
        policy::count_limit(exchange, limit, LimitDecision::Refused);
        return spent_refusal(exchange, &spent, exhausted);
    }
    let Some(reached) = LimitReached::of(exhausted) else {
        return Refusal::internal("a ceiling of no known kind was reached");
    };
    let kind = LimitKind::ALL.iter().copied().find(|kind| kind.name() == reached.dimension);
    policy::count_limit(exchange, kind.unwrap_or(LimitKind::Requests), LimitDecision::Refused);
    with_rates(exchange, Refusal::rate_limited(reached.message, reached.retry_after_s))
}

/// Adds the caller's own rates, whatever it is refused for.
fn with_rates(exchange: &Exchange, refusal: Refusal) -> Refusal {
    let add = |refusal: Refusal, (name, value)| refusal.with_header(name, value);
    own_limits::rates(exchange).into_iter().fold(refusal, add)
}

fn spent_refusal(exchange: &Exchange, spent: &Spent, exhausted: &Exhausted) -> Refusal {
    if spent.held_in_flight {
        // It fits once those in flight give back what they hold: worth another try, unlike a spent budget.
        return with_rates(exchange, Refusal::rate_limited(&spent.message, held_for_s(exchange, exhausted)));
    }
    let refusal = Refusal::budget_spent(&error::Spent {
        message: &spent.message,
        reset: spent.resets_at,
        now: exchange.tercet.runtime.clock.now(),
        claim: budget::claim(spent.unit, spent.period),
        used: spent.used,
        limit: spent.limit,
    });
    with_rates(exchange, refusal)
}

/// Returns for how long it is worth waiting until others give back what they hold: longer where batches hold it.
fn held_for_s(exchange: &Exchange, exhausted: &Exhausted) -> u64 {
    let (money, tokens) = exchange.tercet.runtime.batches.held_by(exchange.tenant());
    let batches = if matches!(exhausted.cell, Cell::Window(Unit::Tokens, _)) { tokens } else { money };
    let without_requests = exhausted.used.saturating_add(exhausted.amount).saturating_add(batches);
    if without_requests > exhausted.ceiling { HELD_BY_BATCH_RETRY_AFTER_S } else { HELD_RETRY_AFTER_S }
}

/// Returns what a caller is told whose key names nobody.
pub(super) fn stranger(unidentified: Unidentified) -> Refusal {
    match unidentified {
        Unidentified::Missing | Unidentified::Unknown | Unidentified::Expired => Refusal::unauthenticated(),
        Unidentified::Disabled => Refusal::forbidden("this tenant is disabled; its operator can enable it"),
        Unidentified::UserHeaderNotAllowed => {
            Refusal::forbidden("x-tercet-user: this key may not name a user")
        }
        Unidentified::UserHeaderInvalid => {
            Refusal::malformed("x-tercet-user: give 1 to 256 bytes without control characters")
        }
    }
}

/// Refuses where spending could not be recorded and somebody relies on the record.
pub(super) fn require_journal(exchange: &Exchange) -> Result<(), Refusal> {
    let Some(identity) = &exchange.identity else { return Ok(()) };
    let budgeted = identity.levels.iter().any(|level| has_budget(&level.ceilings));
    if budgeted && !exchange.tercet.runtime.journal.healthy() {
        return Err(Refusal::unavailable(
            "the journal cannot be written, so spending cannot be held to a budget; the operator must make room",
        ));
    }
    Ok(())
}

fn has_budget(ceilings: &Ceilings) -> bool {
    let (budget, quota) = (&ceilings.budget, &ceilings.quota);
    let money = budget.daily.is_some() || budget.weekly.is_some() || budget.monthly.is_some();
    money || quota.daily_tokens.is_some() || quota.monthly_tokens.is_some()
}

/// Seconds until a request that only waits for others to end is worth sending again.
const HELD_RETRY_AFTER_S: u64 = 5;
/// Where a batch holds it, which takes minutes to hours: the longest that a client is told to wait.
const HELD_BY_BATCH_RETRY_AFTER_S: u64 = 60;
