//! `tercet run`: the gateway.
//!
//! Four lines say what to export, where the dashboard and the journal are, and whether routing acts; log lines
//! follow. Without a configuration file they are for people, as on a laptop nobody else reads them.

use std::path::PathBuf;

use clap::Args;

use super::check::mode_text;
use super::configured;
use super::ending::{Ending, tell};
use super::serving::{self, Signals};
use crate::config::{LogFormat, Mode};
use crate::gateway::{Gateway, Origin};

/// Runs the gateway.
#[derive(Args, Debug)]
pub(super) struct Run {
    /// The configuration file; ./tercet.toml, or the defaults where there is none.
    #[arg(long, value_name = "F")]
    config: Option<PathBuf>,
    /// Act on routing decisions, whatever the configuration says.
    #[arg(long, conflicts_with = "shadow")]
    enforce: bool,
    /// Decide and record, but send as asked, whatever the configuration says.
    #[arg(long)]
    shadow: bool,
}

pub(super) async fn run(asked: &Run) -> Ending {
    let configured::Configured { mut config, file } = configured::load(asked.config.as_deref())?;
    let mode = match (asked.enforce, asked.shadow) {
        (true, _) => Some(Mode::Enforce),
        (_, true) => Some(Mode::Shadow),
        _ => None,
    };
    if file.is_none() {
        config.telemetry.log = LogFormat::Text;
    }
    serving::log(config.telemetry.log, "")?;
    let routing = mode_text(mode.unwrap_or(config.routing.mode));
    let journal = config.journal.path.display().to_string();
    let signals = Signals::listen()?;
    let gateway = Box::pin(Gateway::start(config, Origin { file, mode })).await?;
    tell(&format!(
        "export ANTHROPIC_BASE_URL={}\ndashboard  {}\njournal    {journal}\nrouting    {routing}",
        gateway.data_url(),
        gateway.admin_url(),
    ));
    serving::serve(gateway, signals, std::future::pending()).await
}
