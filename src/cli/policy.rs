//! `tercet policy test`: declared cases, each a request and where it is to go.
//!
//! The file is TOML, at most 1,000 cases of `[[case]]`: `name`; `body` or `body_file`; `headers` and `tenant` where
//! they matter; what is expected: `tier`, `model`, `reason`, or `refused = true`. Each request is decided as if it
//! came first in its conversation. A case that goes elsewhere ends with exit code 5, a file that cannot be read
//! with 3.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};

use super::configured;
use super::ending::{Ending, Exit, Failure, plain, print, print_json};
use crate::catalog::Catalog;
use crate::classify::Weights;
use crate::clock::Clock;
use crate::config::Config;
use crate::pipeline::judge;
use crate::tier::Tier;

/// Tests the routing policy of a configuration.
#[derive(Subcommand, Debug)]
pub(super) enum Policy {
    Test(PolicyTest),
}

/// Runs declared cases; exit code 5 where one goes elsewhere.
#[derive(Args, Debug)]
pub(super) struct PolicyTest {
    /// A TOML file of cases.
    file: PathBuf,
    /// The configuration file; ./tercet.toml, or the defaults where there is none.
    #[arg(long, value_name = "F")]
    config: Option<PathBuf>,
    /// Print {"ok", "cases": [{"name", "ok", "tier", "model", "reasons", "problem"}]}.
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    tenant: Option<String>,
    body: Option<String>,
    body_file: Option<PathBuf>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    tier: Option<Tier>,
    model: Option<String>,
    reason: Option<String>,
    #[serde(default)]
    refused: bool,
}

pub(super) fn policy(asked: &Policy) -> Ending {
    let Policy::Test(asked) = asked;
    let cases = read(&asked.file)?;
    let config = configured::load(asked.config.as_deref())?.config;
    let catalog = configured::catalog(&config)?;
    let weights = Weights::embedded().map_err(Failure::run)?;
    let mut told = Vec::with_capacity(cases.len());
    for case in &cases {
        told.push(run(case, &asked.file, &config, &catalog, &weights)?);
    }
    let failed = told.iter().filter(|one| one["ok"] == false).count();
    if asked.json {
        print_json(&json!({ "ok": failed == 0, "cases": told }))?;
    } else {
        let lines = told.iter().map(line).collect::<String>();
        print(&format!("{lines}{} cases, {failed} failed", told.len()))?;
    }
    Ok(if failed == 0 { Exit::Ok } else { Exit::PolicyTests })
}

fn read(path: &Path) -> Result<Vec<Case>, Failure> {
    let file = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::configuration(format_args!("cannot read {file}: {error}")))?;
    let cases: Cases =
        toml::from_str(&text).map_err(|error| Failure::configuration(format_args!("{file}: {error}")))?;
    let wrong = |case: &Case, what: &str| {
        Err(Failure::configuration(format_args!("{file}: case {:?} {what}", plain(&case.name))))
    };
    for case in &cases.case {
        if case.body.is_some() == case.body_file.is_some() {
            return wrong(case, "needs one of `body` and `body_file`");
        }
        let expects = case.tier.is_some() || case.model.is_some() || case.reason.is_some();
        if expects == case.refused {
            return wrong(
                case,
                "needs what is expected: `tier`, `model`, `reason`, or `refused = true` alone",
            );
        }
    }
    if cases.case.len() > CASES_MAX {
        return Err(Failure::configuration(format_args!("{file}: more than {CASES_MAX} cases")));
    }
    Ok(cases.case)
}

/// Decides one case and says how it came out.
fn run(
    case: &Case,
    file: &Path,
    config: &Config,
    catalog: &Catalog,
    weights: &Weights,
) -> Result<Value, Failure> {
    let unreadable = |what: String| {
        Failure::configuration(format_args!("{}: case {:?}: {what}", file.display(), plain(&case.name)))
    };
    let body = match (&case.body, &case.body_file) {
        (Some(body), _) => body.clone().into_bytes(),
        (None, Some(path)) => {
            let path = file.parent().unwrap_or(Path::new("")).join(path);
            std::fs::read(&path)
                .map_err(|error| unreadable(format!("cannot read {}: {error}", path.display())))?
        }
        (None, None) => Vec::new(),
    };
    let routing = match &case.tenant {
        None => &config.routing,
        Some(name) => match config.tenants.get(name) {
            Some(tenant) => &tenant.routing,
            None => return Err(unreadable(format!("the configuration has no tenant `{}`", plain(name)))),
        },
    };
    let mut headers = HeaderMap::new();
    for (name, value) in &case.headers {
        let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) else {
            return Err(unreadable(format!("`{}` is no header", plain(name))));
        };
        headers.append(name, value);
    }
    let judged = judge(config, catalog, weights, routing, &headers, &body, Clock::default().now());
    let (told, problem) = match judged {
        Err(refusal) => {
            let problem = (!case.refused).then(|| format!("refused: {}", refusal.message));
            (json!({ "tier": null, "model": null, "reasons": [] }), problem)
        }
        Ok(decision) => {
            let codes: Vec<&str> = decision.reasons.iter().map(|reason| reason.code).collect();
            let chosen = decision.decided();
            let told = json!({ "tier": chosen.tier, "model": chosen.model, "reasons": codes });
            let wanted = [
                ("tier", case.tier.map(Tier::name), chosen.tier.name().to_owned()),
                ("model", case.model.as_deref(), chosen.model.clone()),
            ];
            let differs = wanted.into_iter().find_map(|(what, wanted, got)| {
                let wanted = wanted.filter(|wanted| *wanted != got)?;
                Some(format!("{what} is {got}, not {wanted}"))
            });
            let reason = case.reason.as_deref().filter(|wanted| !codes.contains(wanted));
            let differs =
                differs.or_else(|| reason.map(|wanted| format!("{wanted} is not among the reasons")));
            (told, if case.refused { Some("it is not refused".to_owned()) } else { differs })
        }
    };
    let mut told = told;
    told["name"] = json!(case.name);
    told["ok"] = json!(problem.is_none());
    told["problem"] = json!(problem);
    Ok(told)
}

fn line(case: &Value) -> String {
    let text = |name: &str| case[name].as_str().map_or_else(|| "-".to_owned(), plain);
    let codes: Vec<&str> =
        case["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mark = if case["ok"] == true { "ok    " } else { "FAILED" };
    let problem = case["problem"].as_str().map(|what| format!(": {}", plain(what))).unwrap_or_default();
    format!("{mark} {} ({} by {}){problem}\n", text("name"), text("model"), codes.join(", "))
}

const CASES_MAX: usize = 1_000;
