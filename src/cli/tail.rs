//! `tercet tail`: exchanges as they end, from the journal beside a running gateway.
//!
//! Reads the journal's files without holding or verifying them; looks for more every [`PAUSE`].

use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::configured;
use super::ending::{Ending, Exit, Failure, plain, print};
use super::table::{dollars, grouped};
use crate::clock;
use crate::journal::{ExchangeRecord, Follower};

/// Shows exchanges as they end.
#[derive(Args, Debug)]
pub(super) struct Tail {
    /// Begin with so many that ended before, 100,000 at most.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(..=100_000))]
    lines: u32,
    /// End after those.
    #[arg(long)]
    no_follow: bool,
    /// Only this tenant.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// Only this user.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Only requests sent to this model, or asking for it.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Only this session.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Only requests with this tag.
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Only requests that ended so: ok, `client_error`, `rate_limited`, `quota_rejected`, `upstream_error`, `proxy_error`, `client_aborted`.
    #[arg(long, value_name = "OUTCOME")]
    outcome: Option<String>,
    /// Only requests that did not end well.
    #[arg(long, conflicts_with = "outcome")]
    failed: bool,
    /// Print the records as the journal holds them, one a line.
    #[arg(long)]
    json: bool,
    /// The journal's folder; by default where the configuration puts it.
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    journal: Option<PathBuf>,
    /// The configuration file; ./tercet.toml, or the defaults where there is none.
    #[arg(long, value_name = "F")]
    config: Option<PathBuf>,
}

pub(super) fn tail(asked: &Tail) -> Ending {
    let path = configured::journal_path(asked.journal.as_deref(), asked.config.as_deref())?;
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::BrokenPipe => error.into(),
        _ => Failure::run(format_args!("cannot read the journal at {}: {error}", path.display())),
    };
    let count = asked.lines as usize;
    let (mut follower, last) = Follower::start(&path, count, |line| asked.shown(line)).map_err(unreadable)?;
    for text in &last {
        print(text)?;
    }
    if asked.no_follow {
        return Ok(Exit::Ok);
    }
    loop {
        let show = |line: &[u8]| match asked.shown(line) {
            Some(text) => print(&text).map_err(|_| io::ErrorKind::BrokenPipe.into()),
            None => Ok(()),
        };
        follower.catch_up(show).map_err(unreadable)?;
        thread::sleep(PAUSE);
    }
}

impl Tail {
    /// Returns an exchange as it is shown; `None` where it is filtered out.
    fn shown(&self, line: &[u8]) -> Option<String> {
        let record: ExchangeRecord = serde_json::from_slice(line).ok()?;
        if !self.holds(&record) {
            return None;
        }
        Some(if self.json { String::from_utf8_lossy(line).into_owned() } else { told(&record) })
    }

    fn holds(&self, record: &ExchangeRecord) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        let outcome = serde_json::to_value(record.outcome).unwrap_or_default();
        is(&self.tenant, Some(&record.tenant))
            && is(&self.user, record.user_id.as_deref())
            && (is(&self.model, record.sent_model.as_deref())
                || is(&self.model, Some(&record.requested_model)))
            && is(&self.session, record.session_id.as_deref())
            && self.tag.as_ref().is_none_or(|tag| record.tags.contains(tag))
            && is(&self.outcome, outcome.as_str())
            && !(self.failed && outcome == "ok")
    }
}

/// `2026-11-20T08:00:00Z acme/ada claude-opus-5-5 → claude-haiku-5-5 title 1,200+56 $0.0012 saved $0.0100 200 1.5s`
fn told(record: &ExchangeRecord) -> String {
    let mut text = String::with_capacity(160);
    clock::push_rfc3339(&mut text, record.timestamp, clock::Precision::Seconds);
    let mut say = |word: &str| {
        text.push(' ');
        text.push_str(word);
    };
    say(&match &record.user_id {
        Some(user) => format!("{}/{user}", record.tenant),
        None => record.tenant.clone(),
    });
    say(&record.requested_model);
    if let Some(sent) = record.sent_model.as_ref().filter(|sent| **sent != record.requested_model) {
        say("→");
        say(sent);
    }
    let decision: Option<Value> =
        record.decision.as_ref().and_then(|raw| serde_json::from_str(raw.get()).ok());
    if let Some(code) = decision.as_ref().and_then(|told| told.pointer("/reasons/0/code")?.as_str()) {
        say(code);
    }
    say(&format!("{}+{}", grouped(record.usage().prompt_tokens()), grouped(record.output_tokens)));
    say(&format!("${}", dollars(record.cost_nanousd)));
    let saved = record.baseline_nanousd.requested - record.cost_nanousd;
    if saved.0 > 0 {
        say("saved");
        say(&format!("${}", dollars(saved)));
    }
    if let Some(cache) = record.cache.as_deref().filter(|cache| matches!(*cache, "hit" | "joined")) {
        say(cache);
    }
    say(&record.status.to_string());
    if let Some(error) = &record.error_type {
        say(error);
    }
    say(&format!("{}.{}s", record.latency_ms / 1_000, record.latency_ms % 1_000 / 100));
    plain(&text)
}

const PAUSE: Duration = Duration::from_millis(100);
