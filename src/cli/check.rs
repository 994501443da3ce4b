//! `tercet check`: is the configuration right, and what does it come to.
//!
//! Reads the file and what it refers to, the catalog included; starts nothing and opens no port.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::configured;
use super::ending::{Ending, Exit, Failure, print, print_json};
use crate::config::{self, Config, ConfigProblem, Credential, Mode};

/// Checks a configuration file and says what it comes to.
#[derive(Args, Debug)]
pub(super) struct Check {
    /// The file; ./tercet.toml, or the defaults where there is none.
    file: Option<PathBuf>,
    /// Print {"ok", "problems", "config"} with the effective configuration, secrets masked.
    #[arg(long)]
    json: bool,
}

pub(super) fn check(asked: &Check) -> Ending {
    let file = asked.file.clone().or_else(config::resolve_default_path);
    let loaded = match &file {
        Some(path) => config::load(path),
        None => Ok(config::default_config()),
    };
    let config = match loaded {
        Ok(config) => config,
        Err(problems) => return refused(asked, &problems),
    };
    if let Err(failure) = configured::catalog(&config) {
        let problem = json!({"file": config.catalog, "line": null, "column": null, "key": "catalog",
            "message": failure.text, "hint": null});
        return refused_as(asked, &json!([problem]), failure);
    }
    if asked.json {
        print_json(&json!({"ok": true, "problems": [], "config": config::describe(&config)}))?;
    } else {
        let name = file.map_or_else(|| "no file, defaults".to_owned(), |path| path.display().to_string());
        print(&format!("ok: {name}\n{}", summary(&config)))?;
    }
    Ok(Exit::Ok)
}

fn refused(asked: &Check, problems: &[ConfigProblem]) -> Ending {
    let listed: Vec<Value> = problems.iter().map(ConfigProblem::to_json).collect();
    refused_as(asked, &Value::from(listed), Failure::problems(problems))
}

fn refused_as(asked: &Check, problems: &Value, failure: Failure) -> Ending {
    if !asked.json {
        return Err(failure);
    }
    print_json(&json!({"ok": false, "problems": problems, "config": null}))?;
    Ok(failure.exit)
}

fn summary(config: &Config) -> String {
    let credential = match config.upstream.credential {
        Credential::Client => "the caller's credential",
        Credential::Ours(_) => "our credential",
    };
    let keys: usize = config.tenants.values().map(|tenant| tenant.keys.len()).sum();
    let users: usize = config.tenants.values().map(|tenant| tenant.users.len()).sum();
    let tenants = match config.tenants.len() {
        0 => "none: nobody is identified, every request passes".to_owned(),
        count => format!("{count} (keys: {keys}, users with ceilings of their own: {users})"),
    };
    let scheme = |tls: bool| if tls { "https" } else { "http" };
    let lines = [
        ("listen", format!("{}://{}", scheme(config.server.tls.is_some()), config.server.listen)),
        ("admin", format!("{}://{}", scheme(config.admin.tls.is_some()), config.admin.listen)),
        ("upstream", format!("{} with {credential}", config.upstream.base_url)),
        ("tenants", tenants),
        ("routing", mode_text(config.routing.mode).to_owned()),
        ("journal", config.journal.path.display().to_string()),
        ("version", config.version.clone()),
    ];
    lines.map(|(name, text)| format!("  {name:<9} {text}\n")).concat()
}

/// Returns what a mode does, in a few words.
pub(super) const fn mode_text(mode: Mode) -> &'static str {
    match mode {
        Mode::Off => "off (sends as asked, decides nothing)",
        Mode::Shadow => "shadow (decides and records, sends as asked)",
        Mode::Enforce => "enforce (acts on its decisions)",
    }
}
