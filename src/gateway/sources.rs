//! What the admin API shows, read from the runtime.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::{Control, care, changes, kept, readings, replay, spend_limits};
use crate::admin::{
    Access, Budget, Explained, Measured, Overview, Problem, RecentExchange, SetUp, Sources, Spending,
    TenantCache, TenantSpending, TierShare, UsageQuery,
};
use crate::budget::{self, Estimate};
use crate::config::{self, Credential};
use crate::journal::{self, By, CacheSums, ExchangeRecord, Quality, Query, SampleSums, Stream, Sums};
use crate::money::NanoUsd;
use crate::pipeline::{Tercet, explain_body, explain_record};
use crate::store::{Cell, Claim, Period, Standing, Unit};
use crate::telemetry::Window;
use crate::view;
use crate::workload::Written;

/// Who may call the admin API.
pub(super) fn access(tercet: &Arc<Tercet>, listen: SocketAddr) -> Access {
    let tercet = Arc::clone(tercet);
    let token = Box::new(move || tercet.snapshot.load().config.admin.token.clone());
    Access { token, listen, hosts: Vec::new() }
}

/// Returns the functions behind the admin API.
pub(super) fn sources(tercet: &Arc<Tercet>, control: &Arc<Control>) -> Sources {
    let held = || Arc::clone(tercet);
    // The metrics live in the runtime; a strong handle inside them would keep it alive for ever.
    let weak = Arc::downgrade(tercet);
    tercet
        .runtime
        .metrics
        .read_from(move || weak.upgrade().map(|tercet| readings::read(&tercet)).unwrap_or_default());
    let (usage, metrics, ready, tenants) = (held(), held(), held(), held());
    let (keys, explain, config, head, overview) = (held(), held(), held(), held(), held());
    let (changed, limits, members, users, answers, sessions) =
        (held(), held(), held(), held(), held(), held());
    let (policies, replaying, replays) = (held(), held(), replay::Replays::default());
    let (workloads, forgetting, treating) = (held(), Arc::clone(control), held());
    let (control, changing, expiring) = (Arc::clone(control), Arc::clone(control), Arc::clone(control));
    Sources {
        usage: Box::new(move |query| self::usage(&usage, query)),
        metrics: Box::new(move |reads_openmetrics| metrics.runtime.metrics.expose(reads_openmetrics)),
        ready: Box::new(move || self::ready(&ready)),
        tenants: Box::new(move || self::tenants(&tenants)),
        keys: Box::new(move || self::keys(&keys)),
        explain: Box::new(move |asked| self::explain(&explain, asked)),
        config: Box::new(move || config::describe(&config.snapshot.load().config)),
        reload: Box::new(move |who| control.reload(&who)),
        spend_limits: Box::new(move || spend_limits::all(&limits.snapshot.load().config)),
        members: Box::new(move |asked| spend_limits::members(&members, &asked)),
        user: Box::new(move |user| spend_limits::find_user(&users.snapshot.load().config, &user)),
        change: Box::new(move |change| changing.change(&change)),
        policy: Box::new(move || replay::policy_text(&policies.snapshot.load().config)),
        replay: Box::new(move |asked| replays.run(&replaying, &asked)),
        workloads: Box::new(move |tenant| self::workloads(&workloads, tenant.as_deref())),
        forget: Box::new(move |who, tenant| forgetting.forget_workloads(who, &tenant)),
        changes: Box::new(move |asked| changes::list(changed.runtime.journal.path(), &asked)),
        care: Box::new(move |tenant| care::told(&treating, tenant.as_deref())),
        kept: Box::new(move |asked| kept::look(&answers, &asked)),
        expire: Box::new(move |asked| expiring.expire(&asked)),
        journal_head: Box::new(move || journal_head(&head)),
        overview: Box::new(move || self::overview(&overview)),
        session: Box::new(move |id| session(&sessions, &id)),
    }
}

fn usage(tercet: &Tercet, query: UsageQuery) -> Result<Value, Problem> {
    let by: Result<Vec<By>, Problem> = query
        .by
        .iter()
        .map(|name| {
            name.parse().map_err(|_| {
                let known = "hour, day, week, month, tenant, user, model, tier";
                Problem::Invalid(format!("by: {name:?} is none of {known}"))
            })
        })
        .collect();
    let UsageQuery { tenant, user, model, from, to, .. } = query;
    let query = Query { tenant, user, model, from, to, by: by? };
    let rollup = &tercet.runtime.rollup;
    // Hours of more than two days ago are not in memory any more, but in the database beside the journal.
    let believed = Some(tercet.runtime.copies.sums_inode.load(Ordering::Relaxed));
    let by_the_hour = (!rollup.is_exact(&query))
        .then(|| view::Sums::answer_hours(tercet.runtime.journal.path(), &query, believed));
    let report =
        by_the_hour.flatten().map_or_else(|| rollup.query(&query), |picked| picked.report(&query.by));
    serde_json::to_value(report).map_err(|error| Problem::Internal(error.to_string()))
}

fn ready(tercet: &Tercet) -> Result<(), String> {
    if tercet.runtime.draining.load(Ordering::Relaxed) {
        return Err("draining".to_owned());
    }
    if !tercet.runtime.journal.healthy() {
        return Err("the journal cannot be written".to_owned());
    }
    Ok(())
}

fn tenants(tercet: &Tercet) -> Value {
    let snapshot = tercet.snapshot.load();
    let spent = |name: &str| -> Vec<Value> {
        standings(tercet, name, None)
            .iter()
            .map(|(period, standing, _)| standing_json(*period, standing))
            .collect()
    };
    let described = config::describe(&snapshot.config);
    let settings =
        |name: &str| described.pointer(&format!("/tenants/{}", name.replace('~', "~0").replace('/', "~1")));
    let one = |name: &String| json!({ "name": name, "settings": settings(name), "spending": spent(name) });
    Value::Array(snapshot.config.tenants.keys().map(one).collect())
}

fn standing_json(period: Period, standing: &Standing) -> Value {
    json!({
        "window": window_name(period),
        "spent_nanousd": standing.used,
        "reserved_nanousd": standing.reserved,
        "ceiling_nanousd": standing.ceiling,
        "resets_at": standing.resets_at.to_string(),
    })
}

fn keys(tercet: &Tercet) -> Value {
    let snapshot = tercet.snapshot.load();
    let tenants = snapshot.config.tenants.iter();
    let now = tercet.runtime.clock.now();
    let keys = tenants.flat_map(|(tenant, settings)| settings.keys.iter().map(move |key| (tenant, key)));
    let one = |(tenant, key): (&String, &config::Key)| {
        json!({
            "id": key.id, "tenant": tenant, "user": key.user, "allow_user_header": key.allow_user_header,
            "expires": key.expires.map(|expires| expires.to_string()),
            "previous_expires": key.previous.map(|previous| previous.expires.to_string()),
            "state": if key.expires.is_some_and(|expires| expires <= now) { "expired" } else { "active" },
        })
    };
    Value::Array(keys.map(one).collect())
}

fn explain(tercet: &Tercet, asked: Explained) -> Result<Value, Problem> {
    match asked {
        Explained::Body(body) => {
            let snapshot = tercet.snapshot.load();
            let (config, now) = (&snapshot.config, tercet.runtime.clock.now());
            let explained =
                explain_body(config, &snapshot.catalog, &tercet.runtime.weights, &config.routing, &body, now);
            explained.map_err(|refusal| Problem::Invalid(refusal.message))
        }
        Explained::Record(id) => {
            let found = journal::find(tercet.runtime.journal.path(), &id);
            let found = found.map_err(|error| Problem::Internal(error.to_string()))?;
            let found = found.ok_or_else(|| Problem::NotFound(format!("no exchange {id} in the journal")))?;
            let mut explained = explain_record(&found);
            explained["record"] = serde_json::from_str(&found.line).unwrap_or(Value::Null);
            Ok(explained)
        }
    }
}

fn workloads(tercet: &Tercet, tenant: Option<&str>) -> Value {
    let written = tercet.runtime.workloads.written(tenant);
    json!({ "workloads": written.iter().map(Written::describe).collect::<Vec<_>>() })
}

fn journal_head(tercet: &Tercet) -> Value {
    let journal = &tercet.runtime.journal;
    json!({ "exchanges": journal.head(Stream::Exchanges), "admin": journal.head(Stream::Admin) })
}

/// Where a tenant's windows of money stand, or those of a user of it, with the share at which to warn.
pub(super) fn standings(tercet: &Tercet, tenant: &str, user: Option<&str>) -> Vec<(Period, Standing, u16)> {
    let snapshot = tercet.snapshot.load();
    let levels = snapshot.directory.levels_of(tenant, user.unwrap_or_default(), None);
    let Some(level) = levels.get(if user.is_some() { 2 } else { 1 }) else { return Vec::new() };
    let (budget, quota) = (&level.ceilings.budget, &level.ceilings.quota);
    let mut demands = Vec::new();
    budget::demands(budget, quota, &Estimate::NOTHING, &mut demands);
    let account = level.account(&tercet.runtime.accounts);
    let claim = Claim { account, zone: budget.zone.clone(), demands };
    let standings = tercet.runtime.accounts.standing(&[claim]);
    let of_money = standings.into_iter().filter_map(|standing| match standing.cell {
        Cell::Window(Unit::Money, period) => Some((period, standing, budget.warn_at_permille)),
        _ => None,
    });
    of_money.collect()
}

fn overview(tercet: &Tercet) -> Overview {
    let snapshot = tercet.snapshot.load();
    let now = tercet.runtime.clock.now();
    let (day, month) = (start_of(now, false), start_of(now, true));
    let recent = tercet.runtime.recent.last(RECENT);
    let spent_by = |from| sums_by_tenant(tercet, from);
    let (today_by, month_by) = (spent_by(day), spent_by(month));
    let of = |sums: &[(String, Sums)], name: &str| {
        sums.iter().find(|(tenant, _)| tenant == name).map(|(_, sums)| *sums).unwrap_or_default()
    };
    let tenants = snapshot.config.tenants.keys().map(|name| TenantSpending {
        name: name.clone(),
        today: of(&today_by, name).cost,
        month: of(&month_by, name).cost,
        cache: cache_of(&of(&today_by, name)),
        budgets: standings(tercet, name, None).into_iter().filter_map(budget_of).collect(),
    });
    Overview {
        now,
        mode: snapshot.config.routing.mode,
        ready: ready(tercet),
        policy_version: snapshot.config.version.clone(),
        journal_head: tercet.runtime.journal.head(Stream::Exchanges).seq,
        in_flight: tercet.runtime.in_flight.load(Ordering::Relaxed) as u64,
        today: spending(tercet, day),
        month: spending(tercet, month),
        would_save_today: None,
        prompt_cache_at_stake: care::at_stake(tercet),
        tenants: tenants.collect(),
        recent: recent.iter().map(|record| recent_of(record)).collect(),
        set_up: SetUp {
            base_url: snapshot.config.server.public_url.clone(),
            needs_key: !snapshot.config.tenants.is_empty()
                || matches!(snapshot.config.upstream.credential, Credential::Ours(_)),
            model: snapshot.config.tiers.opus.clone(),
        },
    }
}

fn cache_of(sums: &Sums) -> TenantCache {
    let CacheSums { hits, joined, misses, bypassed: _, saved } = sums.cache;
    TenantCache { hits, joined, misses, saved }
}

/// Sums a session over the tenants that name it.
fn session(tercet: &Tercet, id: &str) -> Value {
    let found = tercet.runtime.recent.session(id);
    let mut sums = Sums::default();
    for (_, one) in &found {
        sums.add(&one.sums);
    }
    let known = !found.is_empty();
    json!({
        "session": known.then_some(sums),
        "last": found.iter().map(|(_, one)| one.last).max().map(|last| last.to_string()),
        "tenants": found.iter().map(|(tenant, _)| tenant).collect::<Vec<_>>(),
        "today": tercet.runtime.rollup.day(tercet.runtime.clock.now()).totals,
    })
}

fn sums_by_tenant(tercet: &Tercet, from: Timestamp) -> Vec<(String, Sums)> {
    let report =
        tercet.runtime.rollup.query(&Query { from: Some(from), by: vec![By::Tenant], ..Query::default() });
    report
        .rows
        .into_iter()
        .map(|row| (row.key.get("tenant").cloned().unwrap_or_default(), row.sums))
        .collect()
}

fn spending(tercet: &Tercet, from: Timestamp) -> Spending {
    let rollup = &tercet.runtime.rollup;
    let report = rollup.query(&Query { from: Some(from), by: vec![By::Tier], ..Query::default() });
    let mut tiers: Vec<TierShare> = report
        .rows
        .iter()
        .filter_map(|row| {
            let tier = row.key.get("tier")?.parse().unwrap_or(crate::tier::Tier::Other);
            Some(TierShare { tier, requests: row.sums.requests, spent: row.sums.cost })
        })
        .collect();
    // From the cheapest to the dearest, so that the bar keeps its order while its shares change.
    tiers.sort_by_key(|share| share.tier);
    let totals = &report.totals;
    Spending {
        requests: totals.requests,
        spent: totals.cost,
        baseline_requested: totals.baseline_requested,
        baseline_all_opus: totals.baseline_all_opus,
        cache_answered: totals.cache.answered(),
        cache_saved: totals.cache.saved,
        prompt_tokens: totals.usage.prompt_tokens(),
        prompt_cache_read_tokens: totals.usage.cache_read_tokens,
        tiers,
        measured: measured(&totals.sample),
    }
}

fn measured(sample: &SampleSums) -> Option<Measured> {
    let Quality { held, low, high } = sample.quality()?;
    Some(Measured {
        held_permille: [held, low, high].map(|share| (share * 1_000.0).round() as u64),
        compared: sample.compared,
        costs: [sample.as_asked, sample.routed, sample.coin()],
        spent: sample.spent,
    })
}

fn budget_of((period, standing, warn_at_permille): (Period, Standing, u16)) -> Option<Budget> {
    Some(Budget {
        window: window_name(period),
        spent: amount(standing.used),
        ceiling: amount(standing.ceiling?),
        resets_at: standing.resets_at,
        warn_at_permille,
    })
}

fn recent_of(record: &ExchangeRecord) -> RecentExchange {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let decision: Value =
        record.decision.as_ref().and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    let reasons = decision.get("reasons").and_then(Value::as_array).into_iter().flatten();
    RecentExchange {
        time: ended(record),
        request_id: record.request_id.to_string(),
        tenant: record.tenant.clone(),
        user: text(&record.user_id),
        session: text(&record.session_id),
        agent: text(&record.agent_id),
        asked: record.requested_model.clone(),
        sent: text(&record.sent_model),
        answered: text(&record.answered_model),
        tier: record.tier,
        reasons: reasons.filter_map(|reason| reason.get("code")?.as_str().map(ToOwned::to_owned)).collect(),
        prompt_tokens: record.usage().prompt_tokens(),
        output_tokens: record.output_tokens,
        cost: record.cost_nanousd,
        saved: record.baseline_nanousd.requested - record.cost_nanousd,
        status: record.status,
        from_cache: matches!(record.cache.as_deref(), Some("hit" | "joined")),
    }
}

/// Returns when an exchange ended: the order in which they are listed.
fn ended(record: &ExchangeRecord) -> Timestamp {
    record.timestamp.checked_add(Duration::from_millis(record.latency_ms)).unwrap_or(record.timestamp)
}

fn start_of(now: Timestamp, month: bool) -> Timestamp {
    let date = now.to_zoned(TimeZone::UTC).date();
    let date = if month { date.first_of_month() } else { date };
    date.to_zoned(TimeZone::UTC).map_or(now, |start| start.timestamp())
}

pub(super) fn amount(nanousd: u64) -> NanoUsd {
    NanoUsd(i64::try_from(nanousd).unwrap_or(i64::MAX))
}

pub(super) const fn window(period: Period) -> Window {
    match period {
        Period::Day => Window::Day,
        Period::Week => Window::Week,
        Period::Month => Window::Month,
    }
}

const fn window_name(period: Period) -> &'static str {
    window(period).name()
}

/// How many of the last exchanges the dashboard lists.
const RECENT: usize = 200;
