//! `tercet workloads`: what outcomes have taught of each tenant's workloads, to look at, move, seed and forget.
//!
//! Works on the file beside the journal, which a gateway reads when it starts: what is changed here is in force from
//! the next start on. A file that is damaged is refused and left as it is; a change is written whole or not at all.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::classify::learn_outcomes;
use super::configured;
use super::ending::{Ending, Exit, Failure, plain, print, print_json};
use super::table::{Column, Table};
use crate::classify::Weights;
use crate::workload::{self, Workloads, Written};

/// Lists, exports, imports, seeds and forgets what is known of workloads.
#[derive(Subcommand, Debug)]
pub(super) enum Verb {
    List(List),
    Export(Export),
    Import(Import),
    Learn(Learn),
    Reset(Reset),
}

/// Where the workloads are.
#[derive(Args, Debug)]
struct Place {
    /// The configuration file; ./tercet.toml, or the defaults where there is none.
    #[arg(long, value_name = "F")]
    config: Option<PathBuf>,
    /// The journal's folder; by default where the configuration puts it.
    #[arg(long, value_name = "PATH")]
    journal: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Lists workloads with their outcomes, those taught last first.
#[derive(Args, Debug)]
pub(super) struct List {
    /// Only this tenant.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// Writes workloads to standard output, in the form that `import` reads.
#[derive(Args, Debug)]
pub(super) struct Export {
    /// Only this tenant.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// Takes over workloads of an exported file, in place of what is known of the same ones.
#[derive(Args, Debug)]
pub(super) struct Import {
    /// The file.
    file: PathBuf,
    #[command(flatten)]
    place: Place,
}

/// Learns from labelled outcomes: lines {"body", "tier", "score"}, score from 0 to 1.
#[derive(Args, Debug)]
pub(super) struct Learn {
    /// The file of outcomes.
    file: PathBuf,
    /// The tenant whose workloads they are; none where the gateway has no tenants.
    #[arg(long, value_name = "NAME", default_value = "")]
    tenant: String,
    /// The client that sends them: its user agent up to the first slash.
    #[arg(long, value_name = "NAME", default_value = "")]
    client: String,
    #[command(flatten)]
    place: Place,
}

/// Forgets what is known of a tenant's workloads.
#[derive(Args, Debug)]
pub(super) struct Reset {
    /// The tenant; an empty name where the gateway has no tenants.
    #[arg(long, value_name = "NAME")]
    tenant: String,
    #[command(flatten)]
    place: Place,
}

pub(super) fn workloads(asked: &Verb) -> Ending {
    match asked {
        Verb::List(asked) => list(&asked.place, asked.tenant.as_deref()),
        Verb::Export(asked) => {
            let mut out = io::BufWriter::new(io::stdout().lock());
            workload::write(&asked.place.load()?.written(asked.tenant.as_deref()), &mut out)?;
            out.flush()?;
            Ok(Exit::Ok)
        }
        Verb::Import(asked) => {
            let file = std::fs::File::open(&asked.file).map_err(|error| unreadable(&asked.file, &error))?;
            let read = workload::read(file).map_err(|problem| unreadable(&asked.file, &problem))?;
            let count = read.len();
            asked.place.change(|workloads| {
                workloads.take(read);
                Ok(json!({ "imported": count }))
            })
        }
        Verb::Learn(asked) => asked.place.change(|workloads| {
            let weights = Weights::embedded().map_err(Failure::run)?;
            let learned = learn_outcomes(&asked.file, &weights, workloads, &asked.tenant, &asked.client)?;
            Ok(json!({ "learned": learned }))
        }),
        Verb::Reset(asked) => {
            asked.place.change(|workloads| Ok(json!({ "forgotten": workloads.reset(&asked.tenant) })))
        }
    }
}

impl Place {
    fn file(&self) -> Result<PathBuf, Failure> {
        let folder = configured::journal_path(self.journal.as_deref(), self.config.as_deref())?;
        Ok(folder.join(workload::FILE))
    }

    fn load(&self) -> Result<Workloads, Failure> {
        let file = self.file()?;
        let written = workload::load(&file).map_err(|problem| unreadable(&file, &problem))?;
        let workloads = Workloads::default();
        workloads.take(written);
        Ok(workloads)
    }

    /// Changes what is written down, and tells what came of it.
    fn change(&self, change: impl FnOnce(&Workloads) -> Result<Value, Failure>) -> Ending {
        let workloads = self.load()?;
        let told = change(&workloads)?;
        let file = self.file()?;
        workload::save(&workloads.written(None), &file)
            .map_err(|error| Failure::run(format_args!("cannot write {}: {error}", file.display())))?;
        if self.json {
            print_json(&told)?;
        } else {
            let lines = told.as_object().into_iter().flatten().map(|(name, count)| format!("{name} {count}"));
            print(&lines.collect::<Vec<_>>().join("\n"))?;
        }
        Ok(Exit::Ok)
    }
}

fn list(place: &Place, tenant: Option<&str>) -> Ending {
    let written = place.load()?.written(tenant);
    if place.json {
        let rows: Vec<Value> = written.iter().map(Written::describe).collect();
        return print_json(&json!({ "workloads": rows })).map(|()| Exit::Ok);
    }
    let mut table = Table::new(vec![
        Column::Words("Tenant"),
        Column::Words("Workload"),
        Column::Words("Level"),
        Column::Numbers("Haiku"),
        Column::Numbers("Sonnet"),
        Column::Numbers("Opus"),
    ]);
    for one in &written {
        let [haiku, sonnet, opus] = one.tally.rates().map(|rate| {
            rate.map_or_else(|| "-".to_owned(), |(rate, seen)| format!("{:.0} % of {seen:.0}", rate * 100.0))
        });
        let code = one.level.code().to_owned();
        table.row(vec![plain(&one.tenant), workload::name(one.fingerprint), code, haiku, sonnet, opus]);
    }
    print(&table.render()).map(|()| Exit::Ok)
}

fn unreadable(path: &std::path::Path, problem: &dyn std::fmt::Display) -> Failure {
    Failure::run(format_args!("cannot read {}: {problem}", plain(&path.to_string_lossy())))
}
