//! Which configuration a command works with, and what follows from it: the journal's place, the catalog.
//!
//! The order is: the file named, `./tercet.toml`, the defaults. Problems come out as the configuration
//! renders them, with exit code 3.

use std::path::{Path, PathBuf};

use super::ending::Failure;
use crate::catalog::Catalog;
use crate::config::{self, Config};

/// A configuration and the file it is from.
#[derive(Debug)]
pub(super) struct Configured {
    pub(super) config: Config,
    /// `None` where there is no file.
    pub(super) file: Option<PathBuf>,
}

/// Loads the configuration from `named`, `./tercet.toml` or the defaults.
pub(super) fn load(named: Option<&Path>) -> Result<Configured, Failure> {
    let file = named.map(Path::to_owned).or_else(config::resolve_default_path);
    let config = match &file {
        Some(path) => config::load(path).map_err(|problems| Failure::problems(&problems))?,
        None => config::default_config(),
    };
    Ok(Configured { config, file })
}

/// Returns the journal's folder: `given`, or where the configuration puts it.
pub(super) fn journal_path(given: Option<&Path>, named: Option<&Path>) -> Result<PathBuf, Failure> {
    match given {
        Some(path) => Ok(path.to_owned()),
        None => Ok(load(named)?.config.journal.path),
    }
}

/// Reads the catalog the configuration names, or the embedded one.
pub(super) fn catalog(config: &Config) -> Result<Catalog, Failure> {
    let Some(path) = &config.catalog else { return Catalog::embedded().map_err(Failure::run) };
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::configuration(format_args!("cannot read {}: {error}", path.display())))?;
    Catalog::parse(&text)
        .map_err(|problem| Failure::configuration(format_args!("{}: {problem}", path.display())))
}
