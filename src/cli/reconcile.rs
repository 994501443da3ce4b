//! `tercet reconcile`: the journal beside Anthropic's own usage and cost reports, by day and model.
//!
//! The reports are of the whole organisation: what went past Tercet is in them too. A day is a day of UTC; a request
//! that crosses midnight may stand on either side of it, and one that was asked for again one tier up, or that fell back
//! upstream, stands here at the model that answered. The key is one of administration, and is sent to the upstream only.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::configured;
use super::ending::{Ending, Exit, Failure, print, print_json};
use super::records;
use super::span;
use super::table::{Column, Table, dollars, grouped};
use crate::clock::Clock;
use crate::config;
use crate::journal::{ExchangeRecord, Selection};
use crate::money::NanoUsd;
use crate::secret::Secret;
use crate::usage::Usage;

mod reports;

use reports::Reports;

/// Compares the journal with Anthropic's usage and cost reports.
#[derive(Args, Debug)]
pub(super) struct Reconcile {
    /// From this day on, or so long ago.
    #[arg(long, value_name = "D", default_value = "7d")]
    since: String,
    /// Up to and with this day; until now where it is not said.
    #[arg(long, value_name = "D")]
    until: Option<String>,
    /// End with code 4 where the costs of all days differ by more than so many percent.
    #[arg(long, value_name = "PERCENT")]
    within: Option<u32>,
    /// The environment variable that holds the admin key (sk-ant-admin…).
    #[arg(long, value_name = "NAME", default_value = "ANTHROPIC_ADMIN_KEY")]
    key_env: String,
    /// Print {"rows", "totals"}.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print the rows as CSV, exact.
    #[arg(long)]
    csv: bool,
    /// The journal's folder; by default where the configuration puts it.
    #[arg(long, value_name = "PATH")]
    journal: Option<PathBuf>,
    /// The configuration file; ./tercet.toml, or the defaults where there is none.
    #[arg(long, value_name = "F")]
    config: Option<PathBuf>,
}

/// What one side says of a day and a model.
#[derive(Clone, Copy, Debug, Default)]
struct Side {
    usage: Usage,
    cost: NanoUsd,
}

/// What both say.
#[derive(Clone, Copy, Debug, Default)]
struct Pair {
    ours: Side,
    theirs: Side,
}

/// By day and model; costs that no model is named for stand under an empty one.
type Pairs = BTreeMap<(String, String), Pair>;

pub(super) async fn reconcile(asked: &Reconcile) -> Ending {
    let now = Clock::default().now();
    let from = day_of(span::since(&asked.since, now).map_err(Failure::usage)?);
    let from = span::since(&from, now).map_err(Failure::usage)?;
    let to = asked.until.as_deref().map(span::until).transpose().map_err(Failure::usage)?.unwrap_or(now);
    let config = configured::load(asked.config.as_deref())?.config;
    let path = asked.journal.clone().unwrap_or_else(|| config.journal.path.clone());
    let key = config::environment(&asked.key_env).map(Secret::new).ok_or_else(|| {
        Failure::usage(format_args!(
            "{} is not set: it has to hold an admin key of the organisation (sk-ant-admin…)",
            asked.key_env
        ))
    })?;
    let mut pairs = Pairs::new();
    Reports::new(&config.upstream, key)?.add_to(&mut pairs, from, to).await?;
    let selection = Selection { from: Some(from), to: Some(to), ..Selection::default() };
    records::each(&path, &selection, |record| add(&mut pairs, record))?;
    tell(asked, &pairs)?;
    let totals = totals(&pairs);
    match asked.within {
        Some(percent) if !is_within(&totals, percent) => Ok(Exit::Verification),
        _ => Ok(Exit::Ok),
    }
}

/// Adds what the upstream was used for; what it was not is no business of its reports.
fn add(pairs: &mut Pairs, record: &ExchangeRecord) {
    let model = record.answered_model.as_ref().or(record.sent_model.as_ref());
    let Some(model) = model.filter(|_| record.tokens_used > 0 || record.cost_nanousd.0 > 0) else { return };
    let pair = pairs.entry((day_of(record.timestamp), model.clone())).or_default();
    pair.ours.usage.add(&record.usage());
    pair.ours.cost += record.cost_nanousd;
}

fn day_of(time: Timestamp) -> String {
    time.to_zoned(jiff::tz::TimeZone::UTC).date().to_string()
}

fn totals(pairs: &Pairs) -> Pair {
    let mut totals = Pair::default();
    for pair in pairs.values() {
        for (sum, side) in [(&mut totals.ours, pair.ours), (&mut totals.theirs, pair.theirs)] {
            sum.usage.add(&side.usage);
            sum.cost += side.cost;
        }
    }
    totals
}

fn is_within(totals: &Pair, percent: u32) -> bool {
    let difference = i128::from((totals.ours.cost - totals.theirs.cost).0).abs();
    difference * 100 <= i128::from(totals.theirs.cost.0) * i128::from(percent)
}

fn tell(asked: &Reconcile, pairs: &Pairs) -> Result<(), Failure> {
    let totals = totals(pairs);
    if asked.json {
        let row = |((day, model), pair): (&(String, String), &Pair)| {
            json!({ "day": day, "model": model, "ours": side(&pair.ours), "theirs": side(&pair.theirs),
                "difference_nanousd": pair.ours.cost - pair.theirs.cost })
        };
        return print_json(&json!({
            "rows": pairs.iter().map(row).collect::<Vec<_>>(),
            "totals": { "ours": side(&totals.ours), "theirs": side(&totals.theirs),
                "difference_nanousd": totals.ours.cost - totals.theirs.cost },
        }));
    }
    if asked.csv {
        let numbers = ["tokens", "reported_tokens", "cost_usd", "reported_cost_usd", "difference_usd"];
        let mut table = empty(["day", "model"], numbers);
        for ((day, model), pair) in pairs {
            let amounts = [pair.ours.cost, pair.theirs.cost, pair.ours.cost - pair.theirs.cost];
            let tokens = [pair.ours, pair.theirs].map(|side| side.usage.total_tokens().to_string());
            let cells = [day.clone(), model.clone()].into_iter().chain(tokens);
            table.row(cells.chain(amounts.map(|amount| amount.to_string())).collect());
        }
        return print(&table.csv());
    }
    let numbers = ["Tokens", "Reported", "Difference", "Cost (USD)", "Reported cost", "Cost difference"];
    let mut table = empty(["Day", "Model"], numbers);
    for ((day, model), pair) in pairs {
        let model = if model.is_empty() { "-" } else { model };
        table.row([day.clone(), model.to_owned()].into_iter().chain(cells(pair)).collect());
    }
    table.total(["Total".to_owned(), String::new()].into_iter().chain(cells(&totals)).collect());
    print(&table.render())
}

fn empty<const N: usize>(words: [&'static str; 2], numbers: [&'static str; N]) -> Table {
    Table::new(words.map(Column::Words).into_iter().chain(numbers.map(Column::Numbers)).collect())
}

fn cells(pair: &Pair) -> [String; 6] {
    let (ours, theirs) = (pair.ours.usage.total_tokens(), pair.theirs.usage.total_tokens());
    let sign = if ours < theirs { "-" } else { "" };
    [
        grouped(ours),
        grouped(theirs),
        format!("{sign}{}", grouped(ours.abs_diff(theirs))),
        dollars(pair.ours.cost),
        dollars(pair.theirs.cost),
        dollars(pair.ours.cost - pair.theirs.cost),
    ]
}

fn side(side: &Side) -> serde_json::Value {
    let usage = &side.usage;
    json!({
        "input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_tokens, "cache_write_5m_tokens": usage.cache_write_5m_tokens,
        "cache_write_1h_tokens": usage.cache_write_1h_tokens, "cost_nanousd": side.cost,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_held_against_what_was_reported() {
        let pair = |ours: i64, theirs: i64| Pair {
            ours: Side { cost: NanoUsd(ours), ..Side::default() },
            theirs: Side { cost: NanoUsd(theirs), ..Side::default() },
        };
        assert!(is_within(&pair(0, 0), 0) && is_within(&pair(101, 100), 1) && is_within(&pair(99, 100), 1));
        assert!(
            !is_within(&pair(102, 100), 1) && !is_within(&pair(1, 0), 50) && !is_within(&pair(0, 100), 99)
        );
    }
}
