//! `tercet replay`: journaled decisions made again under another policy, offline.
//!
//! A policy is a configuration of which only `[routing]`, `[tiers]`, `catalog` and the tenants' routing count; its
//! secrets are not needed and not read from the environment. Under the policy in force when they were made, no
//! decision changes.

use std::path::{Path, PathBuf};

use clap::Args;

use super::configured;
use super::ending::{Ending, Exit, Failure, plain, print, print_json};
use super::records;
use super::span;
use super::table::{Column, Table, dollars, grouped};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::journal::Selection;
use crate::pipeline::{Replay, Replayed};

/// Decides the journal's exchanges again under another policy and lists what would have changed.
#[derive(Args, Debug)]
pub(super) struct ReplayVerb {
    /// A configuration file with the policy.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// From this day or time on, or so long ago: 2026-11-20, 2026-11-20T08:00:00Z, 7d.
    #[arg(long, value_name = "D")]
    since: Option<String>,
    /// Up to and with this day, or up to this time.
    #[arg(long, value_name = "D")]
    until: Option<String>,
    /// Only this tenant.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// The journal's folder; by default where the configuration puts it.
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    journal: Option<PathBuf>,
    /// The configuration file; ./tercet.toml, or the defaults where there is none.
    #[arg(long, value_name = "F")]
    config: Option<PathBuf>,
    /// Print the counts, the money and the first 1,000 changes.
    #[arg(long)]
    json: bool,
}

pub(super) fn replay(asked: &ReplayVerb) -> Ending {
    let now = Clock::default().now();
    let from =
        asked.since.as_deref().map(|text| span::since(text, now)).transpose().map_err(Failure::usage)?;
    let to = asked.until.as_deref().map(span::until).transpose().map_err(Failure::usage)?;
    let policy = read_policy(&asked.policy)?;
    let catalog = configured::catalog(&policy)?;
    let path = configured::journal_path(asked.journal.as_deref(), asked.config.as_deref())?;
    let mut replay = Replay::under(&policy, &catalog);
    let selection = Selection { tenant: asked.tenant.clone(), from, to, ..Selection::default() };
    records::each(&path, &selection, |record| replay.add(record))?;
    let replayed = replay.finish();
    if asked.json {
        print_json(&serde_json::to_value(&replayed).map_err(Failure::run)?)?;
    } else {
        print(&laid_out(&replayed))?;
    }
    Ok(Exit::Ok)
}

/// Reads a policy; whatever secrets it names, none is needed to decide.
pub(super) fn read_policy(path: &Path) -> Result<Config, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::configuration(format_args!("cannot read {}: {error}", path.display())))?;
    let stand_in = |name: &str| Some(format!("stands-in-for-{name}"));
    config::parse(&text, Some(path), &stand_in).map_err(|problems| Failure::problems(&problems))
}

fn laid_out(replayed: &Replayed) -> String {
    let mut lines = format!(
        "exchanges  {} (without facts, left as they were: {})\nchanged    {}\n\
         cost       {} USD, would have been {} USD\nsaved      {} USD, would have been {} USD\n",
        grouped(replayed.exchanges),
        grouped(replayed.without_facts),
        grouped(replayed.changed),
        dollars(replayed.cost_nanousd),
        dollars(replayed.replayed_cost_nanousd),
        dollars(replayed.saved_nanousd),
        dollars(replayed.replayed_saved_nanousd),
    );
    if replayed.changes.is_empty() {
        return lines;
    }
    let mut table = Table::new(vec![
        Column::Words("Request"),
        Column::Words("Asked"),
        Column::Words("Was"),
        Column::Words("Now"),
        Column::Numbers("Cost (USD)"),
        Column::Numbers("Now (USD)"),
        Column::Words("Why"),
    ]);
    for change in replayed.changes.iter().take(SHOWN) {
        table.row(vec![
            plain(&change.request_id),
            plain(&change.asked),
            plain(&change.was),
            change.now.as_deref().map_or_else(|| "refused".to_owned(), plain),
            change.cost_nanousd.to_string(),
            change.replayed_cost_nanousd.to_string(),
            plain(&change.reasons.join(", ")),
        ]);
    }
    lines.push('\n');
    lines.push_str(&table.render());
    lines
}

/// Changes laid out for people; `--json` has more.
const SHOWN: usize = 50;
