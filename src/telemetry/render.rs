//! Writes `/metrics` in the Prometheus text format, version 0.0.4, or in OpenMetrics.
//!
//! Rows come in the table's order, each with its help and type even while it has no series, so that names can
//! be found on an idle gateway. Money is written from the integer, never through a float.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::PoisonError;

use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, TextEncoder};

use super::exemplar;
use super::family::Family;
use super::metrics::Metrics;
use super::outbox::OutboxReading;
use super::readings::{
    AtStakeReading, BudgetReading, ContentReading, CopyReading, LimitReading, Readings, RedisReading,
    SharingReading,
};
use super::sink;
use super::table::{self, Row, TABLE};
use crate::money::NanoUsd;

impl Metrics {
    /// Returns `/metrics` as a scraper wants it: in OpenMetrics where it reads that and there are exemplars, which the
    /// other form has no place for.
    #[must_use]
    pub fn expose(&self, reads_openmetrics: bool) -> Exposition {
        if reads_openmetrics && self.keeps_exemplars() {
            let text = exemplar::to_openmetrics(&self.page(true));
            return Exposition { content_type: OPENMETRICS, text };
        }
        Exposition { content_type: TEXT, text: self.render() }
    }

    /// Returns the text of `/metrics`.
    #[must_use]
    pub fn render(&self) -> String {
        self.page(false)
    }

    fn page(&self, with_exemplars: bool) -> String {
        let readings = self.source.get().map(|read| read()).unwrap_or_default();
        let mut by_tenant: HashMap<&str, Samples> =
            BY_TENANT.iter().map(|row| (row.name, of_tenants(row, &readings))).collect();
        self.keep_to_the_cap(&mut by_tenant);
        let mut gathered: HashMap<String, MetricFamily> =
            self.registry.gather().into_iter().map(|family| (family.name().to_owned(), family)).collect();
        let mut page = String::with_capacity(64 * 1024);
        for row in TABLE {
            if let Some(family) = gathered.remove(row.name) {
                let start = page.len();
                let _ = TextEncoder::new().encode_utf8(std::slice::from_ref(&family), &mut page);
                if with_exemplars && row.name == table::DURATION.name {
                    let told =
                        exemplar::put_behind(page.get(start..).unwrap_or_default(), &family, &self.durations);
                    page.truncate(start);
                    page.push_str(&told);
                }
                continue;
            }
            let _ =
                writeln!(page, "# HELP {} {}\n# TYPE {} {}", row.name, row.help, row.name, row.type_name());
            let samples = by_tenant.remove(row.name).unwrap_or_else(|| self.samples(row, &readings));
            for (labels, value) in samples {
                write_sample(&mut page, row, &labels, &value);
            }
        }
        page
    }

    /// Leaves out what would pass the cap.
    fn keep_to_the_cap(&self, by_tenant: &mut HashMap<&str, Samples>) {
        // The metrics that have one series each, or a handful.
        let mut room = self.cap.room().saturating_sub(FEW);
        for row in BY_TENANT {
            let Some(samples) = by_tenant.get_mut(row.name) else { continue };
            let over = samples.len().saturating_sub(room);
            samples.truncate(room);
            room -= samples.len();
            if over > 0 {
                self.cap.drop_sets(row, over as u64);
            }
        }
    }

    /// Returns the samples of a row that the registry does not hold.
    fn samples(&self, row: &Row, readings: &Readings) -> Samples {
        let log = sink::reading();
        match row.name {
            name if name == table::COST.name => money(&self.cost),
            name if name == table::BASELINE.name => money(&self.baseline),
            name if name == table::REWRITE.name => money(&self.rewrite),
            name if name == table::SAMPLE_COST.name => money(&self.sample_cost),
            name if name == table::CACHE_SAVED.name => money(&self.cache_saved),
            name if name == table::RESERVED.name => single(&readings.reserved),
            name if name == table::AUDIT_RECORDS.name => single(&readings.journal.records),
            name if name == table::AUDIT_FAILURES.name => single(&readings.journal.write_failures),
            name if name == table::AUDIT_HEAD.name => single(&readings.journal.head_sequence),
            name if name == table::LOG_DROPPED.name => labelled(STDERR, log.dropped),
            name if name == table::LOG_QUEUE.name => labelled(STDERR, log.waiting),
            name if name == table::WEBHOOK.name => webhook(&readings.outbox),
            name if name == table::BUILD_INFO.name => labelled(env!("CARGO_PKG_VERSION"), 1),
            name if name == table::CONFIG_INFO.name => {
                labelled(&self.policy_version.lock().unwrap_or_else(PoisonError::into_inner), 1)
            }
            _ => of_copies(row, readings),
        }
    }
}

/// `/metrics`, and what it is written in.
#[derive(Clone, Debug)]
pub struct Exposition {
    /// Its `content-type`.
    pub content_type: &'static str,
    /// The page.
    pub text: String,
}

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Label values and the value.
type Samples = Vec<(Vec<String>, String)>;

/// What is read of each tenant.
const BY_TENANT: [&Row; 7] = [
    table::SPEND,
    table::BUDGET,
    table::BUDGET_RESET,
    table::TENANT_RESERVED,
    table::OVERSHOOT,
    table::AT_STAKE,
    table::UTILIZATION,
];
/// Series of the metrics that have a handful and are in no family: the cap's own counts among them.
const FEW: usize = 128;
const STDERR: &str = "stderr";

fn single(value: &impl ToString) -> Samples {
    vec![(Vec::new(), value.to_string())]
}

fn labelled(label: &str, value: u64) -> Samples {
    vec![(vec![label.to_owned()], value.to_string())]
}

/// Returns the samples of a row about the budgets and limits of tenants.
fn of_tenants(row: &Row, readings: &Readings) -> Samples {
    match row.name {
        name if name == table::SPEND.name => budgets(readings, |budget| Some(budget.spend.to_string())),
        name if name == table::BUDGET.name => {
            budgets(readings, |budget| budget.budget.map(|amount| amount.to_string()))
        }
        name if name == table::AT_STAKE.name => {
            let sample = |one: &AtStakeReading| {
                (vec![one.tenant.clone(), one.cause.to_owned()], one.amount.to_string())
            };
            readings.at_stake.iter().map(sample).collect()
        }
        name if name == table::TENANT_RESERVED.name => {
            budgets(readings, |budget| Some(budget.reserved.to_string()))
        }
        name if name == table::OVERSHOOT.name => {
            budgets(readings, |budget| Some(budget.overshoot.to_string()))
        }
        name if name == table::BUDGET_RESET.name => {
            budgets(readings, |budget| Some(budget.reset_timestamp_s.to_string()))
        }
        _ => {
            let sample = |one: &LimitReading| {
                let (whole, millionths) = (one.used_millionths / 1_000_000, one.used_millionths % 1_000_000);
                (vec![one.tenant.clone(), one.limit.to_owned()], format!("{whole}.{millionths:06}"))
            };
            readings.limits.iter().map(sample).collect()
        }
    }
}

/// Returns the samples of a row about what is kept beside the journal.
fn of_copies(row: &Row, readings: &Readings) -> Samples {
    let ContentReading { kept, no_room, failed, stored_bytes } = readings.content;
    match row.name {
        name if name == table::COPY_RECORDS.name => copies(readings, |copy| copy.behind_records.to_string()),
        name if name == table::COPY_SECONDS.name => {
            copies(readings, |copy| format!("{}.{:03}", copy.behind_ms / 1_000, copy.behind_ms % 1_000))
        }
        name if name == table::COPY_FAILURES.name => copies(readings, |copy| copy.failures.to_string()),
        name if name == table::CONTENT_KEPT.name => single(&kept),
        name if name == table::CONTENT_DROPPED.name => {
            [labelled("room", no_room), labelled("disk", failed)].concat()
        }
        name if name == table::CONTENT_BYTES.name => single(&stored_bytes),
        _ => of_redis(row, readings),
    }
}

fn copies(readings: &Readings, value: impl Fn(&CopyReading) -> String) -> Samples {
    readings.copies.iter().map(|copy| (vec![copy.name.to_owned()], value(copy))).collect()
}

/// Returns the samples of a row about a shared Redis.
fn of_redis(row: &Row, readings: &Readings) -> Samples {
    match row.name {
        name if name == table::REDIS_UP.name => redis(readings, |one| u64::from(one.up)),
        name if name == table::REDIS_ROUND_TRIPS.name => redis(readings, |one| one.round_trips),
        name if name == table::REDIS_FAILURES.name => {
            let each = |one: &RedisReading| {
                let sample = |(reason, count): &(&str, u64)| {
                    (vec![one.name.to_owned(), (*reason).to_owned()], count.to_string())
                };
                one.failures.iter().map(sample).collect::<Vec<_>>()
            };
            readings.redis.iter().flat_map(each).collect()
        }
        name if name == table::REDIS_LEASES.name => {
            readings.sharing.map_or_else(Vec::new, |sharing| single(&sharing.leases))
        }
        name if name == table::REDIS_RESERVATIONS.name => {
            let counts = |sharing: SharingReading| {
                let sample = |(asked, count): (&str, u64)| (vec![asked.to_owned()], count.to_string());
                [("true", sharing.asked), ("false", sharing.unasked)].map(sample).to_vec()
            };
            readings.sharing.map_or_else(Vec::new, counts)
        }
        _ => Vec::new(),
    }
}

fn webhook(outbox: &OutboxReading) -> Samples {
    let OutboxReading { delivered, failed, dropped } = *outbox;
    let sample = |(result, count): (&str, u64)| (vec![result.to_owned()], count.to_string());
    [("delivered", delivered), ("failed", failed), ("dropped", dropped)].map(sample).to_vec()
}

fn money(family: &Family<IntCounter>) -> Samples {
    let dollars = |cell: IntCounter| NanoUsd(i64::try_from(cell.get()).unwrap_or(i64::MAX)).to_string();
    family.cells().into_iter().map(|(labels, cell)| (labels, dollars(cell))).collect()
}

fn budgets(readings: &Readings, value: impl Fn(&BudgetReading) -> Option<String>) -> Samples {
    let sample = |budget: &BudgetReading| {
        value(budget).map(|value| (vec![budget.tenant.clone(), budget.window.name().to_owned()], value))
    };
    readings.budgets.iter().filter_map(sample).collect()
}

fn redis(readings: &Readings, value: impl Fn(&RedisReading) -> u64) -> Samples {
    readings.redis.iter().map(|one| (vec![one.name.to_owned()], value(one).to_string())).collect()
}

fn write_sample(page: &mut String, row: &Row, labels: &[String], value: &str) {
    page.push_str(row.name);
    for (index, (label, text)) in row.labels.iter().zip(labels).enumerate() {
        page.push(if index == 0 { '{' } else { ',' });
        let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(page, "{label}=\"{text}\"");
    }
    page.push_str(if row.labels.is_empty() || labels.is_empty() { " " } else { "} " });
    page.push_str(value);
    page.push('\n');
}
