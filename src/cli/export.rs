//! `tercet export`: the files that run and watch a gateway, as they belong to this version.
//!
//! Each is a file of the repository's `deploy`, embedded; nothing is made up at run time.

use clap::{Args, ValueEnum};
use serde_json::json;

use super::ending::{Ending, Exit, print, print_json};

/// Prints a file to run or watch a gateway with: alert rules for Prometheus, a systemd unit.
#[derive(Args, Debug)]
pub(super) struct Export {
    /// Which.
    what: What,
    /// Print {"name", "text"}.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    Alerts,
    Systemd,
}

pub(super) fn export(asked: &Export) -> Ending {
    let (name, text) = match asked.what {
        What::Alerts => ("tercet.yml", include_str!("../../deploy/prometheus/rules/tercet.yml")),
        What::Systemd => ("tercet.service", include_str!("../../deploy/systemd/tercet.service")),
    };
    if asked.json {
        print_json(&json!({"name": name, "text": text}))?;
    } else {
        print(text)?;
    }
    Ok(Exit::Ok)
}
