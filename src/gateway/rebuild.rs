//! From a configuration and a journal to a gateway that knows what was spent, who owns what, and where it stands.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio_util::task::TaskTracker;

use super::problem::StartProblem;
use super::shared;
use crate::budget::{self, Forecast};
use crate::cache::{AnswerCache, Retries};
use crate::catalog::Catalog;
use crate::classify::Weights;
use crate::clock::Clock;
use crate::config::{Config, Tiers};
use crate::id::RequestId;
use crate::journal::{
    Entry, ExchangeRecord, Journal, ObjectType, Recent, Recovered, ReservationRecord, Rollup,
};
use crate::limit::{Gate, GateKind, TenantGates};
use crate::pipeline::{Batches, Held, Runtime, Samples, Share, Snapshot, Telling, Tercet};
use crate::route::{Asked, Conversations, Habits, tier_model};
use crate::store::{Accounts, Claim};
use crate::telemetry::Metrics;
use crate::tenant::Directory;
use crate::tenant::ownership::Ownership;
use crate::tier::Tier;
use crate::upstream::{Headroom, Upstream};
use crate::workload::{self, Workloads};

/// Builds the gateway's inside; blocks while the journal is read.
pub(super) async fn tercet(config: Config, clock: Clock) -> Result<Tercet, StartProblem> {
    let snapshot = snapshot(config, None)?;
    let workloads = Workloads::default();
    workloads.take(workload::load(&snapshot.config.journal.path.join(workload::FILE))?);
    let shared = shared::shared(&snapshot.config)?;
    let mut views = Views {
        accounts: Accounts::shared(clock.clone(), shared.sharing.clone()),
        rollup: Arc::new(Rollup::new()),
        recent: Recent::default(),
        ownership: Ownership::default(),
        now: clock.now(),
        batches: HashMap::new(),
        open: Batches::default(),
    };
    let settings = &snapshot.config.journal;
    let (journal, recovered) =
        Journal::open(settings, &clock, |_, entry| views.add(&snapshot.directory, &entry))?;
    let (held, lost): (Vec<_>, Vec<_>) =
        recovered.unsettled.iter().cloned().partition(|held| views.batch_of(held).is_some());
    report(&recovered, lost.len());
    views.hold_again(&snapshot.directory, held, clock.instant());
    for reservation in &lost {
        let record = ExchangeRecord::lost(reservation);
        let appended = journal.append(&record.clone().into());
        views.add(&snapshot.directory, &record.into());
        if let Err(failure) = appended.await {
            tracing::error!(%failure, "charge of a lost exchange not written yet");
        }
    }
    let metrics = Metrics::new(snapshot.config.telemetry.series_max)
        .map_err(|error| StartProblem::Metrics(error.to_string()))?;
    let runtime = Runtime {
        retries: Retries::default(),
        accounts: views.accounts,
        count_tokens: TenantGates::new(GateKind::CountTokens, clock.clone()),
        failed_logins: Gate::new(GateKind::FailedLogins, clock.clone()),
        weights: Weights::embedded()?,
        workloads,
        conversations: Conversations::default(),
        telling: Telling::default(),
        habits: Habits::default(),
        recent: views.recent,
        counters: shared.counters,
        answers: shared.answers,
        headroom: Headroom::default(),
        batches: views.open,
        samples: Samples::default(),
        forecast: Forecast::default(),
        journal,
        rollup: views.rollup,
        ownership: views.ownership,
        metrics: Arc::new(metrics),
        tasks: TaskTracker::new(),
        draining: AtomicBool::new(false),
        in_flight: AtomicUsize::new(0),
        drained: AtomicUsize::new(0),
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
    let upstream = match before {
        Some(before) if same_upstream(&before.config, &config) => Arc::clone(&before.upstream),
        _ => Arc::new(Upstream::new(&config.upstream)?),
    };
    let cache = match before {
        Some(before) if before.config.cache.max_bytes == config.cache.max_bytes => Arc::clone(&before.cache),
        _ => Arc::new(AnswerCache::new(config.cache.max_bytes)),
    };
    let directory = Directory::build(&config);
    Ok(Snapshot { config, catalog, directory, upstream, cache })
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

fn same_upstream(before: &Config, after: &Config) -> bool {
    let (before, after) = (&before.upstream, &after.upstream);
    // Certificates are read from their file when the upstream is built, so one with a file is always built anew.
    before.base_url == after.base_url
        && before.connect_timeout == after.connect_timeout
        && before.first_byte_timeout == after.first_byte_timeout
        && before.idle_timeout == after.idle_timeout
        && before.ca.is_none()
        && after.ca.is_none()
}

/// What is derived from the journal.
struct Views {
    accounts: Accounts,
    rollup: Arc<Rollup>,
    recent: Recent,
    ownership: Ownership,
    now: Timestamp,
    /// By the exchange that made a batch: its id, and the models that were held for.
    batches: HashMap<RequestId, (Option<String>, Vec<String>)>,
    open: Batches,
}

impl Views {
    fn add(&mut self, directory: &Directory, entry: &Entry) {
        match entry {
            Entry::Exchange(record) => {
                self.rollup.add(record);
                self.charge(directory, record);
                for object in &record.objects {
                    self.ownership.claim(object.object_type, &object.object_id, &record.tenant);
                }
                self.recent.add(Arc::clone(record));
            }
            Entry::Object(record) => {
                let kind: ObjectType = record.object_type;
                self.ownership.claim(kind, &record.object_id, &record.tenant);
                if let Some((id, _)) = self.batches.get_mut(&record.request_id) {
                    *id = Some(record.object_id.clone());
                }
            }
            Entry::Reservation(held) => {
                if let Some(batch) = &held.batch {
                    let (_, models) = self.batches.entry(batch.clone()).or_default();
                    models.push(held.sent_model.clone());
                }
            }
            Entry::Admin(_) | Entry::Open(_) | Entry::Checkpoint(_) => {}
        }
    }

    /// Returns the upstream's id of the batch for which this was held, where it was made.
    fn batch_of(&self, held: &ReservationRecord) -> Option<&str> {
        self.batches.get(held.batch.as_ref()?)?.0.as_deref()
    }

    /// Takes up batches whose results were not known when the process ended.
    fn hold_again(&self, directory: &Directory, held: Vec<ReservationRecord>, now: Instant) {
        let mut open: HashMap<String, Held> = HashMap::new();
        for record in held {
            let Some((Some(id), models)) = record.batch.as_ref().and_then(|batch| self.batches.get(batch))
            else {
                continue;
            };
            let user = record.user_id.as_deref().unwrap_or_default();
            let levels = directory.levels_of(&record.tenant, user, record.key_id.as_deref());
            let batch = open.entry(id.clone()).or_default();
            batch.models.clone_from(models);
            batch.shares.extend(Share::again(record, &levels, &self.accounts));
        }
        open.into_iter().for_each(|(id, batch)| self.open.open(&id, batch, now));
    }

    /// Counts what was spent in periods that may still run; a month is the longest.
    fn charge(&self, directory: &Directory, record: &ExchangeRecord) {
        let running = self.now.checked_sub(LONGEST_PERIOD).unwrap_or(Timestamp::MIN);
        let at = record.settled_at;
        if at < running || (record.cost_nanousd.0 == 0 && record.tokens_used == 0) {
            return;
        }
        let user = record.user_id.as_deref().unwrap_or_default();
        let levels = match record.sample {
            Some(_) => directory.sample_levels(&record.tenant),
            None => directory.levels_of(&record.tenant, user, record.key_id.as_deref()),
        };
        let claims: Vec<Claim> = levels
            .iter()
            .map(|level| {
                let (budget, quota) = (&level.ceilings.budget, &level.ceilings.quota);
                let mut demands = Vec::with_capacity(5);
                budget::charges(budget, quota, record.cost_nanousd, record.tokens_used, &mut demands);
                Claim { account: level.account(&self.accounts), zone: budget.zone.clone(), demands }
            })
            .collect();
        self.accounts.charge(&claims, at.min(self.now));
    }
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
            let config = crate::config::parse(&text, None, &|_| None).unwrap();
            let problem = snapshot(config, None).map(drop).unwrap_err();
            assert!(problem.is_configuration());
            let told = problem.to_string();
            assert!(told.contains("tiers.sonnet") && told.contains(model), "{told}");
        }
    }
}
