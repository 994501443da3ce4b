//! `tercet journal`: what is derived from the journal and kept beside it, made anew.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::configured;
use super::ending::{Ending, Exit, Failure, print, print_json, tell};
use super::table::grouped;
use crate::view::{Stood, Sums, SumsFailure};

/// Makes anew what is derived from the journal.
#[derive(Subcommand, Debug)]
pub(super) enum Verb {
    Rebuild(Rebuild),
}

/// Sums the journal anew into the database of sums beside it, verifying its chain on the way.
///
/// Works beside a running gateway, which goes on from there. Hours that the journal holds no longer are not in it then.
#[derive(Args, Debug)]
pub(super) struct Rebuild {
    /// The journal's folder; by default where the configuration puts it.
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    journal: Option<PathBuf>,
    /// The configuration file; ./tercet.toml, or the defaults where there is none.
    #[arg(long, value_name = "F")]
    config: Option<PathBuf>,
    /// Print {"file", "records", "exchanges", "rows", "was"}.
    #[arg(long)]
    json: bool,
}

pub(super) fn journal(verb: &Verb) -> Ending {
    match verb {
        Verb::Rebuild(asked) => rebuild(asked),
    }
}

fn rebuild(asked: &Rebuild) -> Ending {
    let path = configured::journal_path(asked.journal.as_deref(), asked.config.as_deref())?;
    if !path.is_dir() {
        return Err(Failure::run(format_args!(
            "there is no journal at {}\nhelp: name its folder with --journal, or the configuration that does",
            path.display()
        )));
    }
    let (mut sums, distrusted) = Sums::open_or_begin(&path).map_err(|failure| failed(&path, &failure))?;
    let mut shown = 0;
    let stood = sums.rebuild(&path, |done, total| {
        let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100);
        if percent >= shown + PROGRESS_STEP {
            shown = percent;
            tell(&format!("{percent} % of {} MB read", grouped(total / 1_000_000)));
        }
    });
    let Stood { place, rows, exchanges, .. } = stood.map_err(|failure| failed(&path, &failure))?;
    let was = distrusted.map(|failure| failure.to_string());
    let file = Sums::file(&path);
    if asked.json {
        let file = file.display().to_string();
        print_json(&json!({
            "file": file, "records": place.seq, "exchanges": exchanges, "rows": rows, "was": was,
        }))?;
        return Ok(Exit::Ok);
    }
    if let Some(was) = was {
        tell(&format!("{was}; it was begun anew"));
    }
    print(&format!(
        "{}: {} exchanges up to record {} in {} rows\n",
        file.display(),
        grouped(exchanges),
        grouped(place.seq),
        grouped(rows)
    ))?;
    Ok(Exit::Ok)
}

fn failed(path: &Path, failure: &SumsFailure) -> Failure {
    match failure {
        SumsFailure::Journal(failure) => Failure {
            exit: Exit::Verification,
            text: format!(
                "the sums were left as they were: {failure}\nhelp: `tercet audit verify {}` says what is wrong",
                path.display()
            ),
        },
        other => Failure::run(other),
    }
}

/// In hundredths of the journal.
const PROGRESS_STEP: u64 = 5;
