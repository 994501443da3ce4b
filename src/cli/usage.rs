//! `tercet usage`: what was used and what it cost, summed from the journal.
//!
//! Reads the journal without holding it, verifying the chain on the way, so it works beside a running gateway
//! and never reports what was tampered with. Where a gateway keeps the database of sums and whole hours are asked for, only
//! what was written since is read; the sums are those of the chain as it was when they were made. Periods are those of UTC. Costs are shown to four decimals of a
//! dollar; `--json` and `--csv` are exact. Savings are against the models asked for, net. Besides, it shows what the
//! response cache did, and how clients treat the upstream's prompt cache.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;

use super::ending::{Ending, Exit, Failure, print, print_json};
use super::records;
use super::span;
use super::table::{Column, Table, dollars, grouped};
use super::{configured, prompt_cache};
use crate::clock::Clock;
use crate::journal::{By, ExchangeRecord, Query, Row, SampleSums, Selection, Sums, UsageReport};
use crate::view::{self, Picked};

/// Shows requests, tokens, cost and savings from the journal.
#[derive(Args, Debug)]
pub(super) struct Usage {
    /// One row per hour, day, week, month, tenant, user, model, tier, session or tag; several with commas.
    ///
    /// Tags are those of the header `x-tercet-tags`. A request with several tags is in a row of each of them, so
    /// these rows may sum to more than the total.
    #[arg(long, default_value = "day", value_delimiter = ',', value_parser = read_part)]
    by: Vec<Part>,
    /// From this day or time on, or so long ago: 2026-11-20, 2026-11-20T08:00:00Z, 7d.
    #[arg(long, value_name = "D")]
    since: Option<String>,
    /// Up to and with this day, or up to this time.
    #[arg(long, value_name = "D")]
    until: Option<String>,
    /// Only this tenant.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// Only this user.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Only requests sent to this model.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Show what the response cache did in place of tokens and cost.
    #[arg(long, conflicts_with = "csv")]
    cache: bool,
    /// Show how much each workload reads from the upstream's prompt cache, and what breaks it costs.
    #[arg(long, conflicts_with_all = ["csv", "cache", "by"])]
    prompt_cache: bool,
    /// Print {"totals", "rows"} as the admin API does; with --prompt-cache {"workloads"}.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print the rows as CSV, exact.
    #[arg(long)]
    csv: bool,
    /// Sum the records themselves, verifying the chain, also where a gateway keeps their sums.
    #[arg(long)]
    verify: bool,
    /// The journal's folder; by default where the configuration puts it.
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    journal: Option<PathBuf>,
    /// The configuration file; ./tercet.toml, or the defaults where there is none.
    #[arg(long, value_name = "F")]
    config: Option<PathBuf>,
}

/// What rows are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// What the gateway keeps sums by as well.
    Kept(By),
    Session,
    Tag,
}

/// Sums by the values of the parts.
#[derive(Default)]
struct Summed {
    totals: Sums,
    rows: BTreeMap<Vec<String>, Sums>,
}

pub(super) fn usage(asked: &Usage) -> Ending {
    let now = Clock::default().now();
    let from =
        asked.since.as_deref().map(|text| span::since(text, now)).transpose().map_err(Failure::usage)?;
    let to = asked.until.as_deref().map(span::until).transpose().map_err(Failure::usage)?;
    let path = configured::journal_path(asked.journal.as_deref(), asked.config.as_deref())?;
    let selection = Selection {
        tenant: asked.tenant.clone(),
        user: asked.user.clone(),
        model: asked.model.clone(),
        from,
        to,
    };
    if asked.prompt_cache {
        return prompt_cache::show(&path, &selection, asked.config.as_deref(), asked.json);
    }
    let sums = match kept_sums(&path, asked, &selection) {
        Some(picked) => Summed { totals: picked.totals, rows: picked.rows },
        None => {
            let mut sums = Summed::default();
            records::each(&path, &selection, |record| sums.add(&asked.by, record))?;
            sums
        }
    };
    let report = sums.report(&asked.by);
    if asked.json {
        print_json(&serde_json::to_value(&report).map_err(Failure::run)?)?;
    } else if asked.csv {
        print(&exact(&asked.by, &report).csv())?;
    } else if asked.cache {
        print(&shown(&asked.by, &report, CACHE_COUNTS, answered).render())?;
    } else {
        print(&shown(&asked.by, &report, TOKEN_COUNTS, cells).render())?;
        if let Some(told) = measured(&report.totals.sample) {
            print(&told)?;
        }
    }
    Ok(Exit::Ok)
}

/// Answers from the database of sums where it can: it knows no sessions, no tags and nothing between two hours.
fn kept_sums(path: &Path, asked: &Usage, selection: &Selection) -> Option<Picked> {
    if asked.verify {
        return None;
    }
    let by = asked.by.iter().map(|part| match part {
        Part::Kept(by) => Some(*by),
        Part::Session | Part::Tag => None,
    });
    let Selection { tenant, user, model, from, to } = selection.clone();
    view::Sums::answer(path, &Query { tenant, user, model, from, to, by: by.collect::<Option<_>>()? }, None)
}

/// The table for people; of tokens in the shape of `ccusage`.
fn shown<const N: usize>(
    by: &[Part],
    report: &UsageReport,
    counts: [&'static str; N],
    cells: impl Fn(&Sums) -> [String; N],
) -> Table {
    let keys = by.iter().map(|by| Column::Words(by.title()));
    let mut table = Table::new(keys.chain(counts.map(Column::Numbers)).collect());
    for row in &report.rows {
        let keys = by.iter().map(|by| match row.key.get(by.name()).map_or("", String::as_str) {
            "" => "-".to_owned(),
            text => text.to_owned(),
        });
        table.row(keys.chain(cells(&row.sums)).collect());
    }
    let label = by.iter().enumerate().map(|(place, _)| if place == 0 { "Total" } else { "" }.to_owned());
    table.total(label.chain(cells(&report.totals)).collect());
    table
}

/// What the shadow sample says, where it compared anything.
fn measured(sample: &SampleSums) -> Option<String> {
    let quality = sample.quality()?;
    let [held, low, high] = [quality.held, quality.low, quality.high].map(|share| share * 100.0);
    let [as_asked, routed, coin, spent] =
        [sample.as_asked, sample.routed, sample.coin(), sample.spent].map(dollars);
    Some(format!(
        "\nQuality held: {held:.1} % of the models asked for ({low:.1} to {high:.1} with 95 % certainty), \
         {} compared, {} unclear.\nOn those requests: {as_asked} USD as asked, {routed} as routed, {coin} with a coin \
         that holds as much. The shadow sample cost {spent}.\n",
        grouped(sample.compared),
        grouped(sample.unclear),
    ))
}

fn cells(sums: &Sums) -> [String; 8] {
    let usage = &sums.usage;
    let written = usage.cache_write_5m_tokens.saturating_add(usage.cache_write_1h_tokens);
    [
        grouped(sums.requests),
        grouped(usage.input_tokens),
        grouped(usage.output_tokens),
        grouped(written),
        grouped(usage.cache_read_tokens),
        grouped(usage.total_tokens()),
        dollars(sums.cost),
        dollars(sums.saved_on_requested()),
    ]
}

fn answered(sums: &Sums) -> [String; 6] {
    let cache = &sums.cache;
    let counts = [sums.requests, cache.hits, cache.joined, cache.misses, cache.bypassed].map(grouped);
    let [requests, hits, joined, misses, bypassed] = counts;
    [requests, hits, joined, misses, bypassed, dollars(cache.saved)]
}

fn exact(by: &[Part], report: &UsageReport) -> Table {
    const COUNTS: [&str; 14] = [
        "requests",
        "input_tokens",
        "output_tokens",
        "cache_write_5m_tokens",
        "cache_write_1h_tokens",
        "cache_read_tokens",
        "total_tokens",
        "cost_usd",
        "saved_usd",
        "cache_hits",
        "cache_joined",
        "cache_misses",
        "cache_bypassed",
        "cache_saved_usd",
    ];
    let keys = by.iter().map(|by| Column::Words(by.name()));
    let mut table = Table::new(keys.chain(COUNTS.map(Column::Numbers)).collect());
    for row in &report.rows {
        let usage = &row.sums.usage;
        let counts = [
            row.sums.requests,
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_write_5m_tokens,
            usage.cache_write_1h_tokens,
            usage.cache_read_tokens,
            usage.total_tokens(),
        ];
        let money = [row.sums.cost, row.sums.saved_on_requested()].map(|amount| amount.to_string());
        let keys = by.iter().map(|by| row.key.get(by.name()).cloned().unwrap_or_default());
        let cache = &row.sums.cache;
        let did = [cache.hits, cache.joined, cache.misses, cache.bypassed];
        let text = |count: u64| count.to_string();
        let cells = keys.chain(counts.map(text)).chain(money).chain(did.map(text));
        table.row(cells.chain([cache.saved.to_string()]).collect());
    }
    table
}

impl Part {
    const fn name(self) -> &'static str {
        match self {
            Self::Kept(by) => by.name(),
            Self::Session => "session",
            Self::Tag => "tag",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Kept(By::Hour) => "Hour",
            Self::Kept(By::Day) => "Day",
            Self::Kept(By::Week) => "Week",
            Self::Kept(By::Month) => "Month",
            Self::Kept(By::Tenant) => "Tenant",
            Self::Kept(By::User) => "User",
            Self::Kept(By::Model) => "Model",
            Self::Kept(By::Tier) => "Tier",
            Self::Session => "Session",
            Self::Tag => "Tag",
        }
    }

    /// What an exchange is of; several where it has several tags.
    fn of(self, record: &ExchangeRecord) -> Vec<String> {
        match self {
            Self::Kept(by) => vec![by.of(record)],
            Self::Session => vec![record.session_id.clone().unwrap_or_default()],
            Self::Tag if record.tags.is_empty() => vec![String::new()],
            Self::Tag => {
                let mut tags = record.tags.clone();
                tags.sort_unstable();
                tags.dedup();
                tags
            }
        }
    }
}

impl Summed {
    fn add(&mut self, by: &[Part], record: &ExchangeRecord) {
        let sums = Sums::of(record);
        self.totals.add(&sums);
        let mut keys = vec![Vec::new()];
        for part in by {
            let values = part.of(record);
            keys = keys
                .into_iter()
                .flat_map(|key: Vec<String>| {
                    values.iter().map(move |value| key.iter().chain([value]).cloned().collect())
                })
                .collect();
        }
        for key in keys {
            self.rows.entry(key).or_default().add(&sums);
        }
    }

    fn report(self, by: &[Part]) -> UsageReport {
        let names = || by.iter().map(|part| part.name());
        let rows = self.rows.into_iter().map(|(key, sums)| Row { key: names().zip(key).collect(), sums });
        UsageReport { totals: self.totals, rows: rows.collect() }
    }
}

fn read_part(text: &str) -> Result<Part, String> {
    match text {
        "session" => Ok(Part::Session),
        "tag" => Ok(Part::Tag),
        _ => text.parse().map(Part::Kept).map_err(|()| {
            "expected hour, day, week, month, tenant, user, model, tier, session or tag".to_owned()
        }),
    }
}

const TOKEN_COUNTS: [&str; 8] =
    ["Requests", "Input", "Output", "Cache write", "Cache read", "Total tokens", "Cost (USD)", "Saved"];
const CACHE_COUNTS: [&str; 6] = ["Requests", "Hits", "Joined", "Misses", "Bypassed", "Saved (USD)"];
