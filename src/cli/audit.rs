//! `tercet audit`: is the journal what was written, what anchors it, and a copy of its lines.
//!
//! Reads and never writes; runs beside a gateway. A finding ends with exit code 4 and says the kind of damage
//! and its place. A head kept elsewhere shows what a chain alone cannot: a lost tail, a rewritten whole.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::configured;
use super::ending::{Ending, Exit, Failure, print, print_json, tell};
use super::records::damaged;
use super::span;
use super::table::{csv_line, grouped};
use crate::clock::Clock;
use crate::journal::{
    self, CheckpointRecord, Finding, FindingKind, Head, Selection, SigningKey, Verified, WalkFailure,
};

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
    /// A file of heads as `audit head` printed them: the journal must hold those very records, and where a head
    /// is signed, so must be every checkpoint, by the same key.
    #[arg(long, value_name = "FILE")]
    head: Option<PathBuf>,
    /// Print {"ok", "streams", "finding"}.
    #[arg(long)]
    json: bool,
}

/// Prints the last record's number and hash of each stream, signed, to keep elsewhere.
#[derive(Args, Debug)]
pub(super) struct Heads {
    #[command(flatten)]
    place: JournalPlace,
    /// Print [{"stream", "seq", "hash"}], signed where the journal's key can be read.
    #[arg(long)]
    json: bool,
}

/// Writes the exchanges to standard output, as recorded or as CSV, verifying on the way.
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
    /// Only this user.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Only requests sent to this model.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// One row each with the fields that fit a cell, in place of the lines.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
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
    let verified = match verify_all(&path, &anchors.heads).and_then(|verified| {
        anchors.signed_alike(&path, &verified)?;
        Ok(verified)
    }) {
        Ok(verified) => verified,
        Err(WalkFailure::Found(finding)) => return found(asked.json, &finding),
        Err(unreadable) => return Err(damaged(unreadable)),
    };
    if asked.json {
        print_json(&json!({"ok": true, "streams": verified, "finding": null}))?;
    } else {
        let lines = verified.iter().map(|stream| {
            let Verified { records, head, segments, dropped, checkpoints, .. } = stream;
            let (name, records, files) = (head.stream.name(), grouped(*records), grouped(*segments));
            let signed =
                if *checkpoints > 0 { format!(", {checkpoints} signed checkpoints") } else { String::new() };
            let gone = if *dropped > 0 { format!(", {dropped} dropped before them") } else { String::new() };
            format!(
                "ok: {name}: {records} records in {files} files{signed}{gone}, head {} {}\n",
                head.seq, head.hash
            )
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

/// Heads kept elsewhere, and the keys that signed them.
#[derive(Default)]
struct Anchors {
    heads: Vec<Head>,
    keys: Vec<String>,
}

impl Anchors {
    /// Refuses checkpoints by another key than signed the heads.
    fn signed_alike(&self, path: &Path, verified: &[Verified]) -> Result<(), Finding> {
        let foreign = |stream: &&Verified| stream.keys.iter().any(|key| !self.keys.contains(key));
        match verified.iter().find(foreign).filter(|_| !self.keys.is_empty()) {
            None => Ok(()),
            Some(stream) => Err(Finding {
                kind: FindingKind::Fork,
                file: path.to_path_buf(),
                line: 0,
                seq: stream.head.seq,
                detail: "checkpoints are signed by another key than the heads that were kept".to_owned(),
            }),
        }
    }

    /// Takes a head, whose signature has to be genuine where it has one.
    fn take(&mut self, value: Value) -> Result<(), String> {
        if value.get("signature").is_some() {
            let signed: CheckpointRecord =
                serde_json::from_value(value.clone()).map_err(|error| error.to_string())?;
            let head: Head = serde_json::from_value(value.clone()).map_err(|error| error.to_string())?;
            if !signed.is_genuine() || signed.head() != head {
                return Err(format!(
                    "the head of {} is not signed by the key it names",
                    signed.stream.name()
                ));
            }
            self.keys.push(signed.key);
        }
        self.heads.push(serde_json::from_value(value).map_err(|error| error.to_string())?);
        Ok(())
    }
}

/// Reads heads as an array, as one object, or as a sequence of either; at most 64.
fn read_heads(path: &Path) -> Result<Anchors, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::run(format_args!("cannot read {}: {error}", path.display())))?;
    let mut anchors = Anchors::default();
    for value in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
        let value = value.map_err(|error| not_heads(path, &error))?;
        let listed = match value {
            Value::Array(listed) => listed,
            one => vec![one],
        };
        for one in listed {
            anchors.take(one).map_err(|error| not_heads(path, &error))?;
        }
    }
    match anchors.heads.len() {
        1..=HEADS_MAX => Ok(anchors),
        count => {
            Err(Failure::usage(format_args!("{} holds {count} heads, expected 1 to 64", path.display())))
        }
    }
}

fn not_heads(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    let file = path.display();
    Failure::usage(format_args!(
        "{file} holds no heads: {error}\nhelp: `tercet audit head --json` prints them"
    ))
}

fn heads(asked: &Heads) -> Ending {
    let path = asked.place.path()?;
    let heads = journal::head(&path).map_err(damaged)?;
    if asked.json {
        // The key lies beside the streams; without it, or where `path` is that of one stream, heads go unsigned.
        let printed = match SigningKey::read(&path) {
            Ok(key) => {
                let heads = journal::signed_heads(&path, &key, Clock::default().now()).map_err(damaged)?;
                heads.iter().map(signed_head).collect::<Result<Value, Failure>>()?
            }
            Err(_) => json!(heads),
        };
        print_json(&printed)?;
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
    let selection = Selection {
        tenant: asked.tenant.clone(),
        user: asked.user.clone(),
        model: asked.model.clone(),
        from,
        to,
    };
    let path = asked.place.path()?;
    let mut out = BufWriter::new(io::stdout().lock());
    if asked.csv {
        out.write_all(csv_line(&COLUMNS.map(ToOwned::to_owned)).as_bytes())?;
    }
    let count = journal::export(&path, &selection, |line| {
        if asked.csv {
            let record: Value = serde_json::from_slice(line)?;
            let row: Vec<String> = COLUMNS.iter().map(|column| cell(&record, column)).collect();
            return out.write_all(csv_line(&row).as_bytes());
        }
        out.write_all(line)?;
        out.write_all(b"\n")
    });
    // What was written until a finding is sound, and is let out.
    out.flush()?;
    tell(&format!("{} exchanges exported", grouped(count.map_err(damaged)?)));
    Ok(Exit::Ok)
}

/// Returns a signed head with the names of a bare one besides.
fn signed_head(signed: &CheckpointRecord) -> Result<Value, Failure> {
    let mut value = serde_json::to_value(signed).map_err(Failure::run)?;
    if let Some(fields) = value.as_object_mut() {
        fields.insert("seq".to_owned(), signed.seq.into());
        fields.insert("hash".to_owned(), signed.hash.to_string().into());
    }
    Ok(value)
}

/// Returns a field as it stands in a cell: lists as words, what is not there as nothing.
fn cell(record: &Value, column: &str) -> String {
    let listed = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    };
    let found = match column {
        "baseline_requested_nanousd" => record.pointer("/baseline_nanousd/requested"),
        "baseline_all_opus_nanousd" => record.pointer("/baseline_nanousd/all_opus"),
        "reasons" => {
            let reasons = record.pointer("/decision/reasons").and_then(Value::as_array);
            let codes = reasons.into_iter().flatten().filter_map(|reason| reason.get("code")?.as_str());
            return codes.collect::<Vec<_>>().join(" ");
        }
        name => record.get(name),
    };
    found.map(listed).unwrap_or_default()
}

const COLUMNS: [&str; 36] = [
    "seq",
    "timestamp",
    "request_id",
    "upstream_request_id",
    "tenant",
    "user_id",
    "key_id",
    "session_id",
    "message_id",
    "thread_id",
    "requested_model",
    "sent_model",
    "answered_model",
    "tier",
    "reasons",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "tokens_used",
    "usage_source",
    "cost_nanousd",
    "baseline_requested_nanousd",
    "baseline_all_opus_nanousd",
    "price_version",
    "status",
    "error_type",
    "stop_reason",
    "outcome",
    "cache",
    "stream",
    "latency_ms",
    "ttft_ms",
    "attempts",
    "tags",
];
const HEADS_MAX: usize = 64;
