//! `tercet audit`: is the journal what was written, what anchors it, and a copy of its lines.
//!
//! Reads and never writes; runs beside a gateway. A finding ends with exit code 4 and says the kind of damage
//! and its place. A head kept elsewhere shows what a chain alone cannot: a lost tail, a rewritten whole.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::configured;
use super::ending::{Ending, Exit, Failure, print, print_json, tell};
use super::span;
use super::table::grouped;
use super::usage::damaged;
use crate::clock::Clock;
use crate::journal::{self, Finding, Head, Selection, Verified, WalkFailure};

/// Verifies the journal, prints its heads, exports its lines.
#[derive(Subcommand, Debug)]
pub(super) enum Audit {
    Verify(Verify),
    Head(Heads),
    Export(Export),
}

/// Verifies every record of the journal; exit code 4 on the first that is not what was written.
#[derive(Args, Debug)]
pub(super) struct Verify {
    #[command(flatten)]
    place: JournalPlace,
    /// A file of heads as `audit head` printed them: the journal must hold those very records.
    #[arg(long, value_name = "FILE")]
    head: Option<PathBuf>,
    /// Print {"ok", "streams", "finding"}.
    #[arg(long)]
    json: bool,
}

/// Prints the last record's number and hash of each stream, to keep elsewhere.
#[derive(Args, Debug)]
pub(super) struct Heads {
    #[command(flatten)]
    place: JournalPlace,
    /// Print [{"stream", "seq", "hash"}].
    #[arg(long)]
    json: bool,
}

/// Writes the exchanges' lines to standard output, verifying on the way.
#[derive(Args, Debug)]
pub(super) struct Export {
    #[command(flatten)]
    place: JournalPlace,
    /// Only this tenant.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// From this day or time on, or so long ago: 2026-11-20, 2026-11-20T08:00:00Z, 7d.
    #[arg(long, value_name = "D")]
    since: Option<String>,
    /// Up to and with this day, or up to this time.
    #[arg(long, value_name = "D")]
    until: Option<String>,
    /// Lines are JSON anyway.
    #[arg(long, hide = true)]
    json: bool,
}

#[derive(Args, Debug)]
struct JournalPlace {
    /// The journal's folder; by default where the configuration puts it.
    path: Option<PathBuf>,
    /// The configuration file; ./tercet.toml, or the defaults where there is none.
    #[arg(long, value_name = "F", conflicts_with = "path")]
    config: Option<PathBuf>,
}

impl JournalPlace {
    fn path(&self) -> Result<PathBuf, Failure> {
        configured::journal_path(self.path.as_deref(), self.config.as_deref())
    }
}

pub(super) fn audit(asked: &Audit) -> Ending {
    match asked {
        Audit::Verify(asked) => verify(asked),
        Audit::Head(asked) => heads(asked),
        Audit::Export(asked) => export(asked),
    }
}

fn verify(asked: &Verify) -> Ending {
    let path = asked.place.path()?;
    let anchors = asked.head.as_deref().map(read_heads).transpose()?.unwrap_or_default();
    let verified = match verify_all(&path, &anchors) {
        Ok(verified) => verified,
        Err(WalkFailure::Found(finding)) => return found(asked.json, &finding),
        Err(unreadable) => return Err(damaged(unreadable)),
    };
    if asked.json {
        print_json(&json!({"ok": true, "streams": verified, "finding": null}))?;
    } else {
        let lines = verified.iter().map(|stream| {
            let Verified { records, head, segments } = stream;
            let (name, records, files) = (head.stream.name(), grouped(*records), grouped(*segments));
            format!("ok: {name}: {records} records in {files} files, head {} {}\n", head.seq, head.hash)
        });
        print(&lines.collect::<String>())?;
    }
    Ok(Exit::Ok)
}

/// Verifies once for each anchor, as an anchor may name a record before the last.
fn verify_all(path: &Path, anchors: &[Head]) -> Result<Vec<Verified>, WalkFailure> {
    let mut verified = journal::verify(path, anchors.first())?;
    for anchor in anchors.iter().skip(1) {
        verified = journal::verify(path, Some(anchor))?;
    }
    Ok(verified)
}

fn found(as_json: bool, finding: &Finding) -> Ending {
    if as_json {
        print_json(&json!({"ok": false, "streams": null, "finding": finding}))?;
    } else {
        print(&format!(
            "{} at record {} in {}, line {}: {}",
            finding.kind.name(),
            finding.seq,
            finding.file.display(),
            finding.line,
            finding.detail
        ))?;
    }
    Ok(Exit::Verification)
}

/// Reads heads as an array, as one object, or as a sequence of either; at most 64.
fn read_heads(path: &Path) -> Result<Vec<Head>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::run(format_args!("cannot read {}: {error}", path.display())))?;
    let mut heads = Vec::new();
    for value in serde_json::Deserializer::from_str(&text).into_iter::<serde_json::Value>() {
        let value = value.map_err(|error| not_heads(path, &error))?;
        let listed = match value {
            serde_json::Value::Array(listed) => listed,
            one => vec![one],
        };
        for one in listed {
            heads.push(serde_json::from_value(one).map_err(|error| not_heads(path, &error))?);
        }
    }
    match heads.len() {
        1..=HEADS_MAX => Ok(heads),
        count => {
            Err(Failure::usage(format_args!("{} holds {count} heads, expected 1 to 64", path.display())))
        }
    }
}

fn not_heads(path: &Path, error: &serde_json::Error) -> Failure {
    let file = path.display();
    Failure::usage(format_args!(
        "{file} holds no heads: {error}\nhelp: `tercet audit head --json` prints them"
    ))
}

fn heads(asked: &Heads) -> Ending {
    let heads = journal::head(&asked.place.path()?).map_err(damaged)?;
    if asked.json {
        print_json(&json!(heads))?;
    } else {
        let lines =
            heads.iter().map(|head| format!("{:<9}  {}  {}\n", head.stream.name(), head.seq, head.hash));
        print(&lines.collect::<String>())?;
    }
    Ok(Exit::Ok)
}

fn export(asked: &Export) -> Ending {
    let now = Clock::default().now();
    let from =
        asked.since.as_deref().map(|text| span::since(text, now)).transpose().map_err(Failure::usage)?;
    let to = asked.until.as_deref().map(span::until).transpose().map_err(Failure::usage)?;
    let selection = Selection { tenant: asked.tenant.clone(), from, to };
    let mut out = BufWriter::new(io::stdout().lock());
    let count = journal::export(&asked.place.path()?, &selection, &mut out);
    // What was written until a finding is sound, and is let out.
    out.flush()?;
    tell(&format!("{} exchanges exported", grouped(count.map_err(damaged)?)));
    Ok(Exit::Ok)
}

const HEADS_MAX: usize = 64;
