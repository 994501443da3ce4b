//! `tercet export`: the files that run and watch a gateway, as they belong to this version.
//!
//! Each is a file of the repository's `deploy`, embedded; nothing is made up at run time. What is one file is
//! printed; what is several is written to a folder, where nothing that differs is ever replaced.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::ending::{Ending, Exit, Failure, print, print_json, tell};

/// Prints or writes what runs and watches a gateway.
///
/// alerts: rules for Prometheus. dashboards: the dashboard for Grafana. systemd: a unit. k8s: manifests. compose: a folder
/// with Tercet, Prometheus and Grafana for `docker compose`.
#[derive(Args, Debug)]
pub(super) struct Export {
    /// Which.
    what: What,
    /// Write into this folder; a file that is there and differs is refused.
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
    /// Print {"name", "text"} of a file, or a list of them.
    #[arg(long, conflicts_with = "to")]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    Alerts,
    Dashboards,
    Systemd,
    K8s,
    Compose,
}

type File = (&'static str, &'static str);

/// Embeds a file of `deploy` under the name it is written as.
macro_rules! file {
    ($name:literal, $path:literal) => {
        ($name, include_str!(concat!("../../deploy/", $path)))
    };
}

const ALERTS: &[File] = &[file!("tercet.yml", "prometheus/rules/tercet.yml")];
const DASHBOARDS: &[File] = &[file!("tercet.json", "grafana/tercet.json")];
const SYSTEMD: &[File] = &[file!("tercet.service", "systemd/tercet.service")];
const K8S: &[File] = &[file!("tercet.yaml", "k8s/tercet.yaml")];
const COMPOSE: &[File] = &[
    file!("compose.yaml", "compose/compose.yaml"),
    file!("tercet.toml", "compose/tercet.toml"),
    file!("prometheus/prometheus.yml", "compose/prometheus/prometheus.yml"),
    file!("prometheus/rules/tercet.yml", "prometheus/rules/tercet.yml"),
    file!("grafana/dashboards/tercet.json", "grafana/tercet.json"),
    file!(
        "grafana/provisioning/datasources/tercet.yaml",
        "compose/grafana/provisioning/datasources/tercet.yaml"
    ),
    file!(
        "grafana/provisioning/dashboards/tercet.yaml",
        "compose/grafana/provisioning/dashboards/tercet.yaml"
    ),
];

pub(super) fn export(asked: &Export) -> Ending {
    let files = match asked.what {
        What::Alerts => ALERTS,
        What::Dashboards => DASHBOARDS,
        What::Systemd => SYSTEMD,
        What::K8s => K8S,
        What::Compose => COMPOSE,
    };
    if let Some(folder) = &asked.to {
        return write(files, folder);
    }
    let told = |(name, text): &File| json!({"name": name, "text": text});
    match files {
        [one] if asked.json => print_json(&told(one))?,
        several if asked.json => print_json(&several.iter().map(told).collect::<Vec<Value>>().into())?,
        [(_, text)] => print(text)?,
        several => {
            let names: Vec<&str> = several.iter().map(|(name, _)| *name).collect();
            let names = names.join(", ");
            return Err(Failure::usage(format_args!(
                "these are several files ({names}); say where to write them: --to FOLDER"
            )));
        }
    }
    Ok(Exit::Ok)
}

/// Writes all of the files or, where one of them is there and differs, none.
fn write(files: &[File], folder: &Path) -> Ending {
    let mut missing = Vec::new();
    for (name, text) in files {
        let path = folder.join(name);
        match fs::read(&path) {
            Ok(found) if found == text.as_bytes() => {}
            Ok(_) => {
                let path = path.display();
                return Err(Failure::run(format_args!("{path} is there and differs; nothing was written")));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push((path, text)),
            Err(error) => return Err(cannot(&path, &error)),
        }
    }
    for (path, text) in missing {
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&path, text))
            .map_err(|error| cannot(&path, &error))?;
        tell(&path.display().to_string());
    }
    Ok(Exit::Ok)
}

fn cannot(path: &Path, error: &io::Error) -> Failure {
    Failure::run(format_args!("{}: {error}", path.display()))
}
