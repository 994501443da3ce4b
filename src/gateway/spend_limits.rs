//! Budgets of every level as the Admin API's spend limits, and what was spent against them.

use std::collections::BTreeSet;

use super::sources::standings;
use crate::admin::{LimitScope, Member, MemberQuery, PERIODS, Problem, SpendLimit, user_id};
use crate::config::{Budget, Config, Tenant};
use crate::money::NanoUsd;
use crate::pipeline::Tercet;
use crate::store::Period;

/// Lists every budget that is set, and every explicit absence of one.
pub(super) fn all(config: &Config) -> Vec<SpendLimit> {
    let mut limits = Vec::new();
    add(&mut limits, config, &LimitScope::Gateway, &config.organisation.budget);
    for (name, tenant) in &config.tenants {
        add(&mut limits, config, &LimitScope::Tenant(name.clone()), &tenant.ceilings.budget);
        add(&mut limits, config, &LimitScope::EachUser(name.clone()), &tenant.user_ceilings.budget);
        for (user, ceilings) in &tenant.users {
            add(&mut limits, config, &LimitScope::User(name.clone(), user.clone()), &ceilings.budget);
        }
    }
    limits
}

/// Lists users in the order of their ids, each with the limit that holds for them alone in each period.
pub(super) fn members(tercet: &Tercet, asked: &MemberQuery) -> Vec<Member> {
    let snapshot = tercet.snapshot.load();
    let config = &snapshot.config;
    let mut ids = BTreeSet::new();
    for (name, tenant) in &config.tenants {
        ids.extend(users_of(tenant).into_iter().map(|user| (user_id(name, user), name.as_str(), user)));
    }
    let is_wanted = |id: &str, user: &str| {
        (asked.users.is_empty() || asked.users.iter().any(|wanted| wanted == id || wanted == user))
            && asked.after.as_deref().is_none_or(|after| id > after)
    };
    let wanted = ids.into_iter().filter(|(id, _, user)| is_wanted(id, user)).take(asked.limit);
    wanted.map(|(_, tenant, user)| member(tercet, config, tenant, user)).collect()
}

/// Finds the tenant of a user given as `TENANT/USER`, or as `USER` where one tenant alone has such a user.
pub(super) fn find_user(config: &Config, given: &str) -> Result<LimitScope, Problem> {
    if let Some((_, user)) = given.split_once('/') {
        let tenant = config.tenants.keys().find(|tenant| user_id(tenant, user) == given);
        if let Some(tenant) = tenant {
            return Ok(LimitScope::User(tenant.clone(), user.to_owned()));
        }
    }
    let mut having = config.tenants.iter().filter(|(_, tenant)| users_of(tenant).contains(given));
    match (having.next(), having.next()) {
        (Some((tenant, _)), None) => Ok(LimitScope::User(tenant.clone(), given.to_owned())),
        (Some(_), Some(_)) => {
            Err(Problem::Invalid(format!("several tenants have a user `{given}`; name one as TENANT/USER")))
        }
        (None, _) => Err(Problem::Invalid(format!("no tenant has a user `{given}`; name it as TENANT/USER"))),
    }
}

fn users_of(tenant: &Tenant) -> BTreeSet<&str> {
    tenant.users.keys().map(String::as_str).chain(tenant.keys.iter().map(|key| key.user.as_str())).collect()
}

fn member(tercet: &Tercet, config: &Config, tenant: &str, user: &str) -> Member {
    let mut held = Vec::new();
    if let Some(settings) = config.tenants.get(tenant) {
        if let Some(own) = settings.users.get(user) {
            add(&mut held, config, &LimitScope::User(tenant.to_owned(), user.to_owned()), &own.budget);
        }
        let mut inherited = Vec::new();
        let of_all = LimitScope::EachUser(tenant.to_owned());
        add(&mut inherited, config, &of_all, &settings.user_ceilings.budget);
        inherited.retain(|limit| held.iter().all(|own| own.period != limit.period));
        held.append(&mut inherited);
    }
    let spent = standings(tercet, tenant, Some(user));
    let spent_in = |name: &str| {
        let found = spent.iter().find(|(period, ..)| period_name(*period) == name);
        found.map_or(NanoUsd::ZERO, |(_, standing, _)| {
            NanoUsd(i64::try_from(standing.used).unwrap_or(i64::MAX))
        })
    };
    let limits = held.into_iter().map(|limit| {
        let spent = spent_in(limit.period);
        (limit, spent)
    });
    Member { tenant: tenant.to_owned(), user: user.to_owned(), limits: limits.collect() }
}

fn add(limits: &mut Vec<SpendLimit>, config: &Config, scope: &LimitScope, budget: &Budget) {
    let amounts = [budget.daily, budget.weekly, budget.monthly];
    for (period, amount) in PERIODS.into_iter().zip(amounts) {
        let mut path = scope.path();
        path.push(period);
        let said = config.source.amendments().at(&path);
        let is_own = match scope {
            LimitScope::User(tenant, _) => said.is_some() || amount != inherited(config, tenant, period),
            _ => said.is_some() || amount.is_some(),
        };
        if !is_own {
            continue;
        }
        let read_at = config.source.read_at();
        let touched = config.source.amendments().touched(&path);
        let (created_at, updated_at) =
            touched.map_or((read_at, read_at), |touched| (touched.first, touched.last));
        limits.push(SpendLimit { scope: scope.clone(), period, amount, created_at, updated_at });
    }
}

/// What a user gets who has nothing of their own.
fn inherited(config: &Config, tenant: &str, period: &str) -> Option<NanoUsd> {
    let budget = &config.tenants.get(tenant)?.user_ceilings.budget;
    match period {
        "daily" => budget.daily,
        "weekly" => budget.weekly,
        _ => budget.monthly,
    }
}

const fn period_name(period: Period) -> &'static str {
    match period {
        Period::Day => "daily",
        Period::Week => "weekly",
        Period::Month => "monthly",
    }
}
