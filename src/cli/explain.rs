//! `tercet explain`: how a request would be routed and why, or why one in the journal was.
//!
//! Sends nothing. A body is judged by itself: headers, running conversations and what was learned of a
//! workload are the gateway's knowledge, so a request inside a conversation may go elsewhere. The share held
//! back as control is left out, as it is a draw of lots.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::configured;
use super::ending::{Ending, Exit, Failure, plain, print, print_json};
use super::table::{Column, Table, dollars};
use crate::classify::Weights;
use crate::clock::Clock;
use crate::config::{Config, Routing};
use crate::journal;
use crate::money::NanoUsd;
use crate::pipeline::{explain_body, explain_record};

/// Explains the routing of a request body, or of a request in the journal.
#[derive(Args, Debug)]
pub(super) struct Explain {
    /// A file with a body of /v1/messages, `-` for standard input, or a request id (tct_…).
    #[arg(value_name = "FILE|-|REQUEST_ID")]
    subject: String,
    /// Judge by this tenant's routing.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// The configuration file; ./tercet.toml, or the defaults where there is none.
    #[arg(long, value_name = "F")]
    config: Option<PathBuf>,
    /// The journal's folder; by default where the configuration puts it.
    #[arg(long, value_name = "PATH")]
    journal: Option<PathBuf>,
    /// Print {"asked", "candidates", "decision", "workload", "conversation", "policy_version"}.
    #[arg(long)]
    json: bool,
}

pub(super) fn explain(asked: &Explain) -> Ending {
    if asked.subject.starts_with("tct_") && !Path::new(&asked.subject).exists() {
        return recorded(asked);
    }
    let body = read_body(&asked.subject)?;
    let config = configured::load(asked.config.as_deref())?.config;
    let routing = routing_of(&config, asked.tenant.as_deref())?;
    let catalog = configured::catalog(&config)?;
    let weights = Weights::embedded().map_err(Failure::run)?;
    let explained = explain_body(&config, &catalog, &weights, &routing, &body, Clock::default().now())
        .map_err(|refusal| Failure::run(format_args!("not a body of /v1/messages: {}", refusal.message)))?;
    let shown = if asked.json { print_json(&explained) } else { print(&laid_out(&explained)) };
    shown.map(|()| Exit::Ok)
}

fn routing_of(config: &Config, tenant: Option<&str>) -> Result<Routing, Failure> {
    match tenant {
        None => Ok(config.routing.clone()),
        Some(name) => match config.tenants.get(name) {
            Some(tenant) => Ok(tenant.routing.clone()),
            None => Err(Failure::usage(format_args!("the configuration has no tenant `{}`", plain(name)))),
        },
    }
}

fn recorded(asked: &Explain) -> Ending {
    let path = configured::journal_path(asked.journal.as_deref(), asked.config.as_deref())?;
    let found = journal::find(&path, &asked.subject).map_err(|error| {
        Failure::run(format_args!("cannot read the journal at {}: {error}", path.display()))
    })?;
    let found = found.ok_or_else(|| {
        Failure::run(format_args!("{} is not in the journal at {}", plain(&asked.subject), path.display()))
    })?;
    let explained = explain_record(&found);
    if asked.json {
        print_json(&explained)?;
    } else {
        let cost = found.record.cost_nanousd;
        let saved = found.record.baseline_nanousd.requested - cost;
        print(&format!(
            "{}request    {} at {} (record {})\ncost       {} USD, saved {} USD\n",
            laid_out(&explained),
            found.record.request_id,
            found.record.timestamp,
            found.seq,
            dollars(cost),
            dollars(saved),
        ))?;
    }
    Ok(Exit::Ok)
}

/// Lays out an explanation for people.
fn laid_out(explained: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| "-".to_owned(), plain);
    let decision = &explained["decision"];
    let mut lines = format!(
        "asked      {}\ndecided    {} {}{}\n",
        text(&explained["asked"]),
        text(&decision["tier"]),
        text(&decision["model"]),
        not_acted(decision),
    );
    lines.push_str(&format!("because    {}\n", reasons(&decision["reasons"])));
    let adaptations = names(&decision["adaptations"]);
    if !adaptations.is_empty() {
        lines.push_str(&format!("changed    {}\n", adaptations.join(", ")));
    }
    if explained["conversation"].is_string() {
        lines.push_str(&format!("conversation {}\n", text(&explained["conversation"])));
    }
    if explained["workload"].is_string() {
        lines.push_str(&format!("workload   {}\n", text(&explained["workload"])));
    }
    lines.push_str(&format!("policy     {}\n", text(&explained["policy_version"])));
    if explained["weights_version"].is_string() {
        lines.push_str(&format!("weights    {}\n", text(&explained["weights_version"])));
    }
    let candidates = explained["candidates"].as_array().map_or(&[][..], Vec::as_slice);
    if candidates.is_empty() {
        return lines;
    }
    let mut table = Table::new(vec![
        Column::Words("Tier"),
        Column::Words("Model"),
        Column::Words("Feasible"),
        Column::Numbers("Suffices"),
        Column::Numbers("Estimate (USD)"),
        Column::Words("Why not"),
    ]);
    for candidate in candidates {
        let sufficiency = candidate["sufficiency"].as_f64().unwrap_or(0.0);
        let estimate = NanoUsd(candidate["estimate_nanousd"].as_i64().unwrap_or(0));
        table.row(vec![
            text(&candidate["tier"]),
            text(&candidate["model"]),
            if candidate["feasible"] == true { "yes" } else { "no" }.to_owned(),
            format!("{:.1} %", sufficiency * 100.0),
            estimate.to_string(),
            names(&candidate["reasons"]).join(", "),
        ]);
    }
    lines.push('\n');
    lines.push_str(&table.render());
    lines
}

fn not_acted(decision: &Value) -> String {
    match (decision["acted"] == false, decision["mode"].as_str(), decision["sent_model"].as_str()) {
        (true, Some(mode), Some(sent)) => format!(" ({}: sent to {})", plain(mode), plain(sent)),
        _ => String::new(),
    }
}

fn reasons(reasons: &Value) -> String {
    let listed = reasons.as_array().map_or(&[][..], Vec::as_slice);
    let one = |reason: &Value| match (reason["code"].as_str(), reason["weight"].as_i64()) {
        (Some(code), Some(1_000)) => plain(code),
        (Some(code), Some(weight)) => format!("{} ({weight:+})", plain(code)),
        _ => reason.as_str().map_or_else(|| "-".to_owned(), plain),
    };
    match listed {
        [] => "-".to_owned(),
        listed => listed.iter().map(one).collect::<Vec<_>>().join(", "),
    }
}

fn names(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(plain).collect()
}

fn read_body(source: &str) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    let read = match source {
        "-" => std::io::stdin().take(BODY_BYTES_MAX + 1).read_to_end(&mut body),
        path => {
            std::fs::File::open(path).and_then(|file| file.take(BODY_BYTES_MAX + 1).read_to_end(&mut body))
        }
    };
    read.map_err(|error| Failure::run(format_args!("cannot read {}: {error}", plain(source))))?;
    if body.len() as u64 > BODY_BYTES_MAX {
        return Err(Failure::run("the body is larger than 32 MiB, which the API does not take"));
    }
    Ok(body)
}

/// The API takes no larger body.
const BODY_BYTES_MAX: u64 = 32 << 20;
