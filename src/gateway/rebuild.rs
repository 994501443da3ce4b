//! From a configuration and a journal to a gateway that knows what was spent, who owns what, and where it stands.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio_util::task::TaskTracker;

use super::past::{Past, Spender, Spending};
use super::problem::StartProblem;
use super::shared;
use crate::budget::{self, Densities, Forecast, Told};
use crate::cache::{AnswerCache, Retries, Twins};
use crate::catalog::Catalog;
use crate::classify::Weights;
use crate::clock::Clock;
use crate::config::{self, Config, Tiers};
use crate::content::Waiting;
use crate::journal::{Entry, ExchangeRecord, Journal, Recovered, ReservationRecord};
use crate::limit::{Gate, GateKind, Room, TenantGates};
use crate::pipeline::{Batches, Held, Runtime, Samples, Share, Snapshot, Telling, Tercet};
use crate::route::{Asked, Conversations, Habits, tier_model};
use crate::store::{Accounts, Claim};
use crate::telemetry::{Copies, Metrics, Outbox};
use crate::tenant::{Directory, LevelOf};
use crate::tier::Tier;
use crate::upstream::{Allowance, Headroom, Upstream};
use crate::workload::Workloads;

/// Builds the gateway's inside; blocks while the journal is read.
pub(super) async fn tercet(
    config: Config,
    clock: Clock,
    workloads: Workloads,
) -> Result<Tercet, StartProblem> {
    let snapshot = snapshot(config, None)?;
    let shared = shared::shared(&snapshot.config)?;
    let mut past = Past::priced_by(&snapshot.catalog);
    let (journal, recovered) = Journal::open_view(&snapshot.config.journal, &clock, &mut past)?;
    let (held, lost): (Vec<_>, Vec<_>) =
        recovered.unsettled.iter().cloned().partition(|held| past.batch_of(held).is_some());
    report(&recovered, lost.len());
    for reservation in &lost {
        let record = Arc::new(ExchangeRecord::lost(reservation));
        let appended = journal.append(&Entry::Exchange(Arc::clone(&record)));
        past.settled(record);
        if let Err(failure) = appended.await {
            tracing::error!(%failure, "charge of a lost exchange not written yet");
        }
    }
    let accounts = Accounts::shared(clock.clone(), shared.sharing.clone());
    charge(&accounts, &snapshot.directory, &past.spending, clock.now());
    let batches = Batches::default();
    hold_again(&batches, &past, (&snapshot.directory, &accounts), held, clock.instant());
    let metrics = Metrics::new(snapshot.config.telemetry.series_max)
        .map_err(|error| StartProblem::Metrics(error.to_string()))?
        .with_exemplars(snapshot.config.telemetry.exemplars);
    let runtime = Runtime {
        retries: Retries::default(),
        accounts,
        count_tokens: TenantGates::new(GateKind::CountTokens, clock.clone()),
        failed_logins: Gate::new(GateKind::FailedLogins, clock.clone()),
        weights: Weights::embedded()?,
        workloads,
        conversations: Conversations::new(clock.clone()),
        telling: Telling::default(),
        habits: Habits::default(),
        recent: past.recent,
        counters: shared.counters,
        answers: shared.answers,
        room: Room::default(),
        headroom: Headroom::default(),
        allowance: Allowance::default(),
        batches,
        samples: Samples::default(),
        forecast: Forecast::default(),
        densities: Densities::default(),
        journal,
        rollup: Arc::new(past.rollup),
        care: past.care,
        ownership: past.ownership,
        metrics: Arc::new(metrics),
        told: Told::default(),
        outbox: Outbox::default(),
        copies: Copies::default(),
        content: Waiting::default(),
        tasks: TaskTracker::new(),
        draining: AtomicBool::new(false),
        in_flight: AtomicUsize::new(0),
        drained: AtomicUsize::new(0),
        drained_nanousd: AtomicU64::new(0),
        clock,
    };
    Ok(Tercet { snapshot: ArcSwap::from_pointee(snapshot), runtime })
}

/// Compiles a configuration; parts whose settings did not change are shared with the snapshot before.
pub(super) fn snapshot(config: Config, before: Option<&Snapshot>) -> Result<Snapshot, StartProblem> {
    let catalog = match &config.catalog {
        None => Catalog::embedded()?,
        Some(path) => {
            let read = fs::read_to_string(path);
            let text = read.map_err(|error| StartProblem::CatalogFile {
                path: path.clone(),
                reason: error.to_string(),
            })?;
            Catalog::parse(&text)?
        }
    };
    check_tiers(&config.tiers, &catalog)?;
    check_judges(&config, &catalog)?;
    let fallbacks = fallbacks(&config, before)?;
    let upstream = match before {
        Some(before) if same_upstream(&before.config.upstream, &config.upstream) => {
            Arc::clone(&before.upstream)
        }
        _ => Arc::new(Upstream::new(&config.upstream)?),
    };
    let cache = match before {
        Some(before) if before.config.cache.max_bytes == config.cache.max_bytes => Arc::clone(&before.cache),
        _ => Arc::new(AnswerCache::new(config.cache.max_bytes)),
    };
    let directory = Directory::build(&config);
    Ok(Snapshot { config, catalog, directory, upstream, fallbacks, cache, twins: Twins::default() })
}

/// Refuses a tier that could not be priced or would be sent under a name of ours.
fn check_tiers(tiers: &Tiers, catalog: &Catalog) -> Result<(), StartProblem> {
    for tier in Tier::ROUTED {
        let model = tier_model(tiers, tier).unwrap_or_default();
        if catalog.model(model).is_none() || !matches!(Asked::parse(model), Asked::Model(_)) {
            return Err(StartProblem::TierModel { tier: tier.name(), model: model.to_owned() });
        }
    }
    Ok(())
}

/// Refuses a judge that could not be asked or priced.
fn check_judges(config: &Config, catalog: &Catalog) -> Result<(), StartProblem> {
    let routings = config.tenants.values().map(|tenant| &tenant.routing).chain([&config.routing]);
    for judge in routings.filter_map(|routing| routing.shadow_sample.judge.as_ref()) {
        if catalog.model(judge).is_none() {
            return Err(StartProblem::Judge(judge.clone()));
        }
    }
    Ok(())
}

/// Builds the fallbacks; one whose settings did not change is shared with the snapshot before.
fn fallbacks(
    config: &Config,
    before: Option<&Snapshot>,
) -> Result<Vec<(config::Fallback, Arc<Upstream>)>, StartProblem> {
    let mut built = Vec::new();
    for fallback in &config.upstream.fallbacks {
        let settings = config.upstream.at(fallback);
        let known = before.and_then(|before| {
            let same = |known: &config::Fallback| same_upstream(&before.config.upstream.at(known), &settings);
            before.fallbacks.iter().find(|(known, _)| known.name == fallback.name && same(known))
        });
        let upstream = match known {
            Some((_, upstream)) => Arc::clone(upstream),
            None => Arc::new(Upstream::new(&settings)?),
        };
        built.push((fallback.clone(), upstream));
    }
    Ok(built)
}

fn same_upstream(before: &config::Upstream, after: &config::Upstream) -> bool {
    // Certificates are read from their file when the upstream is built, so one with a file is always built anew.
    before.base_url == after.base_url
        && before.connect_timeout == after.connect_timeout
        && before.first_byte_timeout == after.first_byte_timeout
        && before.idle_timeout == after.idle_timeout
        && before.ca.is_none()
        && after.ca.is_none()
}

/// Takes up batches whose results were not known when the process ended.
fn hold_again(
    batches: &Batches,
    past: &Past,
    (directory, accounts): (&Directory, &Accounts),
    held: Vec<ReservationRecord>,
    now: Instant,
) {
    let mut open: HashMap<String, Held> = HashMap::new();
    for record in held {
        let Some((id, batch)) = past.batch_of(&record) else { continue };
        let user = record.user_id.as_deref().unwrap_or_default();
        let levels = directory.levels_of(&record.tenant, user, record.key_id.as_deref());
        let held = open.entry(id.to_owned()).or_default();
        held.models.clone_from(&batch.models);
        held.shares.extend(Share::again(record, &levels, accounts));
    }
    open.into_iter().for_each(|(id, batch)| batches.open(&id, batch, now));
}

/// Counts what was spent in periods that may still run; a month is the longest.
pub(super) fn charge(accounts: &Accounts, directory: &Directory, spending: &Spending, now: Timestamp) {
    let running = now.checked_sub(LONGEST_PERIOD).unwrap_or(Timestamp::MIN);
    let mut known: HashMap<&Spender, Vec<LevelOf>> = HashMap::new();
    spending.for_each(|at, spender, spent| {
        if at < running {
            return;
        }
        let levels = known.entry(spender).or_insert_with(|| match spender.is_sample {
            true => directory.sample_levels(&spender.tenant),
            false => directory.levels_of(&spender.tenant, &spender.user, spender.key_id.as_deref()),
        });
        let claims: Vec<Claim> = levels
            .iter()
            .map(|level| {
                let (budget, quota) = (&level.ceilings.budget, &level.ceilings.quota);
                let mut demands = Vec::with_capacity(5);
                budget::charges(budget, quota, spent.cost, spent.tokens, &mut demands);
                Claim { account: level.account(accounts), zone: budget.zone.clone(), demands }
            })
            .collect();
        accounts.charge(&claims, at.min(now));
    });
}

fn report(recovered: &Recovered, lost: usize) {
    for torn in &recovered.torn {
        tracing::warn!(file = %torn.file.display(), "a last line that a crash left unfinished was cut off");
    }
    if lost > 0 {
        tracing::warn!(exchanges = lost, "exchanges that a crash cut short are charged at their estimate");
    }
    tracing::info!(records = recovered.records, segments = recovered.segments, "journal read");
}

/// A month and a day, whatever the zone.
pub(super) const LONGEST_PERIOD: Duration = Duration::from_secs(32 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_without_a_model_of_the_catalog_is_refused() {
        for model in ["claude-typo-9", "haiku", "tercet-auto"] {
            let text = format!("[tiers]\nsonnet = \"{model}\"");
            let config = config::parse(&text, None, &|_| None).unwrap();
            let problem = snapshot(config, None).map(drop).unwrap_err();
            assert!(problem.is_configuration());
            let told = problem.to_string();
            assert!(told.contains("tiers.sonnet") && told.contains(model), "{told}");
        }
    }
}
