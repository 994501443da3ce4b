//! `tercet content`: kept texts of prompts and answers, read from their files and erased there.
//!
//! Works beside a running gateway. No listener serves these texts: who may read the files may read them.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::configured;
use super::ending::{Ending, Exit, Failure, plain, print, print_json};
use super::table::{Column, Table, grouped};
use crate::content::{self, Kept};

/// Shows and erases what was kept of prompts and answers.
#[derive(Subcommand, Debug)]
pub(super) enum Verb {
    Show(Show),
    List(List),
    Erase(Erase),
}

/// Where the texts are.
#[derive(Args, Debug)]
struct Place {
    /// The folder of the texts; by default where the configuration puts it.
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    folder: Option<PathBuf>,
    /// The configuration file; ./tercet.toml, or the defaults where there is none.
    #[arg(long, value_name = "F")]
    config: Option<PathBuf>,
}

/// Shows what one exchange said, private texts taken out.
#[derive(Args, Debug)]
pub(super) struct Show {
    /// The exchange's id, as in the header x-tercet-request-id and in the journal.
    #[arg(value_name = "REQUEST_ID")]
    request_id: String,
    /// Only where it is this tenant's.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    #[command(flatten)]
    place: Place,
    /// Print {"`request_id`", "timestamp", "tenant", …, "prompt", "answer", "redacted", "`left_out`"}.
    #[arg(long)]
    json: bool,
}

/// Lists how much is kept of each tenant.
#[derive(Args, Debug)]
pub(super) struct List {
    #[command(flatten)]
    place: Place,
    /// Print an array of {"tenant", "exchanges", "bytes", "oldest"}.
    #[arg(long)]
    json: bool,
}

/// Erases what is kept of a tenant, or of one of its users.
#[derive(Args, Debug)]
pub(super) struct Erase {
    /// Whose.
    #[arg(long, value_name = "NAME")]
    tenant: String,
    /// Only what this user said and was answered.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Only say how much would be erased.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    place: Place,
    /// Print {"exchanges", "`dry_run`"}.
    #[arg(long)]
    json: bool,
}

pub(super) fn content(verb: &Verb) -> Ending {
    match verb {
        Verb::Show(asked) => show(asked),
        Verb::List(asked) => list(asked),
        Verb::Erase(asked) => erase(asked),
    }
}

impl Place {
    fn folder(&self) -> Result<PathBuf, Failure> {
        match &self.folder {
            Some(folder) => Ok(folder.clone()),
            None => Ok(configured::load(self.config.as_deref())?.config.journal.content_path()),
        }
    }
}

fn show(asked: &Show) -> Ending {
    let folder = asked.place.folder()?;
    let found = content::find(&folder, &asked.request_id, asked.tenant.as_deref());
    let found = found.map_err(|error| unreadable(&folder, &error))?;
    let Some(kept) = found else {
        return Err(Failure::run(format_args!(
            "nothing is kept of {} in {}\n\
             help: texts are kept of tenants with `journal = {{ content = true }}` only, of requests that were answered, \
             and for `[journal] content_retention`",
            plain(&asked.request_id),
            folder.display()
        )));
    };
    if asked.json {
        let told = serde_json::to_value(&kept).map_err(Failure::run)?;
        return print_json(&told).map(|()| Exit::Ok);
    }
    print(&told(&kept)).map(|()| Exit::Ok)
}

fn told(kept: &Kept) -> String {
    let whose = match &kept.user_id {
        Some(user) => format!("{}/{user}", kept.tenant),
        None => kept.tenant.clone(),
    };
    let mut text = format!("{} {} {} {}\n", kept.timestamp, plain(&whose), plain(&kept.model), kept.status);
    text.push_str(&format!("{} private texts taken out, {} left out or cut\n", kept.redacted, kept.left_out));
    for (said, answered) in
        kept.prompt.iter().map(|said| (said, false)).chain(kept.answer.iter().map(|said| (said, true)))
    {
        let by = if answered { format!("answer, {}", said.by) } else { said.by.clone() };
        text.push_str(&format!("\n[{}]\n", plain(&by)));
        for line in said.text.lines() {
            text.push_str(&plain(&line.replace('\t', "    ")));
            text.push('\n');
        }
    }
    text
}

fn list(asked: &List) -> Ending {
    let folder = asked.place.folder()?;
    let stocks = content::stocks(&folder).map_err(|error| unreadable(&folder, &error))?;
    if asked.json {
        let told = stocks.iter().map(|stock| {
            json!({
                "tenant": stock.tenant, "exchanges": stock.exchanges, "bytes": stock.bytes,
                "oldest": stock.oldest.to_string(),
            })
        });
        return print_json(&Value::Array(told.collect())).map(|()| Exit::Ok);
    }
    let mut table = Table::new(vec![
        Column::Words("Tenant"),
        Column::Numbers("Exchanges"),
        Column::Numbers("Bytes"),
        Column::Words("Oldest"),
    ]);
    for stock in stocks {
        let (exchanges, bytes) = (grouped(stock.exchanges), grouped(stock.bytes));
        table.row(vec![plain(&stock.tenant), exchanges, bytes, stock.oldest.to_string()]);
    }
    print(&table.render()).map(|()| Exit::Ok)
}

fn erase(asked: &Erase) -> Ending {
    let folder = asked.place.folder()?;
    let erased = content::erase(&folder, &asked.tenant, asked.user.as_deref(), asked.dry_run);
    let erased = erased.map_err(|error| unreadable(&folder, &error))?;
    if asked.json {
        return print_json(&json!({ "exchanges": erased.exchanges, "dry_run": asked.dry_run }))
            .map(|()| Exit::Ok);
    }
    let what = if asked.dry_run { "would be erased" } else { "erased" };
    print(&format!("{} exchanges {what}\n", grouped(erased.exchanges))).map(|()| Exit::Ok)
}

fn unreadable(folder: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::run(format_args!("cannot use the texts in {}: {error}", folder.display()))
}
