//! `tercet prices`: what models cost, what differs from another list, and a new price from a date on.
//!
//! Rates are dollars per million tokens. `check` and `diff` read; `set` writes the catalog file, whole or not at
//! all, and a running gateway takes it up by itself. Prices already in the journal never change: each record
//! names the version it was reckoned with.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::configured;
use super::ending::{Ending, Exit, Failure, print, print_json};
use super::table::{Column, Table};
use crate::catalog::{Card, Catalog, Price, PriceChange};
use crate::clock::Clock;

/// Shows, compares and sets the prices of models.
#[derive(Subcommand, Debug)]
pub(super) enum Prices {
    Check(Check),
    Diff(Diff),
    Set(Set),
}

/// Checks the catalog in force and lists its prices, those to come included.
#[derive(Args, Debug)]
pub(super) struct Check {
    /// The configuration file; ./tercet.toml, or the defaults where there is none.
    #[arg(long, value_name = "F")]
    config: Option<PathBuf>,
    /// Print {"version", "prices", "unpriced"}.
    #[arg(long)]
    json: bool,
}

/// Compares the catalog in force with the one built in, or with a file.
#[derive(Args, Debug)]
pub(super) struct Diff {
    /// The catalog file to compare with; the one built into this version by default.
    file: Option<PathBuf>,
    /// The configuration file; ./tercet.toml, or the defaults where there is none.
    #[arg(long, value_name = "F")]
    config: Option<PathBuf>,
    /// Print {"in_force", "other", "differences": [{"model", "from", "rate", "in_force", "other"}]}.
    #[arg(long)]
    json: bool,
}

/// Adds a price that holds from a date on; what is left out stays as it was.
#[derive(Args, Debug)]
pub(super) struct Set {
    /// The model's id.
    model: String,
    /// From the midnight of this day in UTC, or from this instant: 2026-12-01, 2026-12-01T09:00:00Z.
    #[arg(long, value_name = "D")]
    from: String,
    /// Uncached prompt tokens.
    #[arg(long, value_name = "USD")]
    input: Option<String>,
    /// Tokens of the answer.
    #[arg(long, value_name = "USD")]
    output: Option<String>,
    /// Tokens written to the prompt cache for five minutes.
    #[arg(long, value_name = "USD")]
    cache_write_5m: Option<String>,
    /// Tokens written to the prompt cache for an hour.
    #[arg(long, value_name = "USD")]
    cache_write_1h: Option<String>,
    /// Tokens read from the prompt cache.
    #[arg(long, value_name = "USD")]
    cache_read: Option<String>,
    /// Who says so; kept beside the price.
    #[arg(long, value_name = "TEXT")]
    source: String,
    /// The catalog file, begun from the built-in one where it does not exist; by default the configuration's.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    /// The configuration file; ./tercet.toml by default.
    #[arg(long, value_name = "F")]
    config: Option<PathBuf>,
    /// Print {"file", "version"}.
    #[arg(long)]
    json: bool,
}

pub(super) fn prices(asked: &Prices) -> Ending {
    match asked {
        Prices::Check(asked) => check(asked),
        Prices::Diff(asked) => diff(asked),
        Prices::Set(asked) => set(asked),
    }
}

fn check(asked: &Check) -> Ending {
    let catalog = configured::catalog(&configured::load(asked.config.as_deref())?.config)?;
    let now = Clock::default().now();
    let unpriced: Vec<&str> = catalog
        .models()
        .iter()
        .filter(|model| model.prices.is_empty())
        .map(|model| model.id.as_str())
        .collect();
    let priced =
        || catalog.models().iter().flat_map(|model| model.prices.iter().map(move |price| (model, price)));
    if asked.json {
        let listed: Vec<Value> = priced()
            .map(|(model, price)| {
                let rates: BTreeMap<&str, String> = rates(price).into_iter().collect();
                json!({"model": model.id, "from": price.from.to_string(), "in_force": is_in_force(&catalog, &model.id, price, now),
                    "rates": rates, "long_above_tokens": price.long.map(|(above, _)| above), "source": price.source})
            })
            .collect();
        print_json(&json!({"version": catalog.version(), "prices": listed, "unpriced": unpriced}))?;
        return Ok(Exit::Ok);
    }
    let words = ["Model", "From", "In force"].map(Column::Words);
    let numbers = ["Input", "Output", "Write 5m", "Write 1h", "Read"].map(Column::Numbers);
    let mut table = Table::new(words.into_iter().chain(numbers).collect());
    for (model, price) in priced() {
        let from = day(price.from);
        let in_force = if is_in_force(&catalog, &model.id, price, now) { "yes" } else { "" };
        let row = |name: String, in_force: &str, card: &Card| {
            let amounts = card_rates(card).map(|(_, rate)| rate);
            [name, from.clone(), in_force.to_owned()].into_iter().chain(amounts).collect()
        };
        table.row(row(model.id.clone(), in_force, &price.card));
        if let Some((above, card)) = &price.long {
            table.row(row(format!("  prompt > {above} tokens"), in_force, card));
        }
        if let Some(fast) = &price.fast {
            table.row(row("  fast".to_owned(), in_force, &fast.card));
        }
    }
    let without = if unpriced.is_empty() { "none".to_owned() } else { unpriced.join(", ") };
    let dearest = "charged at the dearest known rates";
    print(&format!(
        "{}\nversion  {}\nwithout a price, {dearest}: {without}",
        table.render(),
        catalog.version()
    ))?;
    Ok(Exit::Ok)
}

fn is_in_force(catalog: &Catalog, model: &str, price: &Price, now: Timestamp) -> bool {
    catalog.price_at(model, now).is_some_and(|current| current.from == price.from)
}

fn diff(asked: &Diff) -> Ending {
    let ours = configured::catalog(&configured::load(asked.config.as_deref())?.config)?;
    let other = match &asked.file {
        Some(path) => Catalog::parse(&read(path)?)
            .map_err(|problem| Failure::configuration(format_args!("{}: {problem}", path.display())))?,
        None => Catalog::embedded().map_err(Failure::run)?,
    };
    let (left, right) = (every_rate(&ours), every_rate(&other));
    let places: std::collections::BTreeSet<_> = left.keys().chain(right.keys()).collect();
    let differing: Vec<_> =
        places.into_iter().filter(|place| left.get(*place) != right.get(*place)).collect();
    if asked.json {
        let listed: Vec<Value> = differing
            .iter()
            .map(|place| {
                let (model, from, rate) = place;
                json!({"model": model, "from": from, "rate": rate, "in_force": left.get(*place), "other": right.get(*place)})
            })
            .collect();
        print_json(&json!({"in_force": ours.version(), "other": other.version(), "differences": listed}))?;
        return Ok(Exit::Ok);
    }
    if differing.is_empty() {
        print("no price differs")?;
        return Ok(Exit::Ok);
    }
    let words = ["Model", "From", "Rate"].map(Column::Words);
    let mut table = Table::new(words.into_iter().chain(["In force", "Other"].map(Column::Numbers)).collect());
    for place in differing {
        let (model, from, rate) = place;
        let side = |rates: &Rates| rates.get(place).cloned().unwrap_or_else(|| "-".to_owned());
        table.row(vec![model.clone(), from.clone(), rate.clone(), side(&left), side(&right)]);
    }
    print(&table.render())?;
    Ok(Exit::Ok)
}

/// Every rate by model, date and name.
type Rates = BTreeMap<(String, String, String), String>;

fn every_rate(catalog: &Catalog) -> Rates {
    let mut found = Rates::new();
    for model in catalog.models() {
        for price in &model.prices {
            for (name, rate) in rates(price) {
                found.insert((model.id.clone(), day(price.from), name.to_owned()), rate);
            }
        }
    }
    found
}

/// The rates of a price by name: the card's, those of long prompts, those of fast mode.
fn rates(price: &Price) -> Vec<(&'static str, String)> {
    let mut found: Vec<(&'static str, String)> = card_rates(&price.card).to_vec();
    if let Some((_, card)) = &price.long {
        let names =
            ["long_input", "long_output", "long_cache_write_5m", "long_cache_write_1h", "long_cache_read"];
        found.extend(names.into_iter().zip(card_rates(card).map(|(_, rate)| rate)));
    }
    if let Some(fast) = &price.fast {
        found.push(("fast_input", fast.card.input.to_string()));
        found.push(("fast_output", fast.card.output.to_string()));
    }
    found
}

fn card_rates(card: &Card) -> [(&'static str, String); 5] {
    [
        ("input", card.input.to_string()),
        ("output", card.output.to_string()),
        ("cache_write_5m", card.cache_write_5m.to_string()),
        ("cache_write_1h", card.cache_write_1h.to_string()),
        ("cache_read", card.cache_read.to_string()),
    ]
}

/// A midnight by its day, another instant in full.
fn day(from: Timestamp) -> String {
    let text = from.to_string();
    text.strip_suffix("T00:00:00Z").map_or(text.clone(), ToOwned::to_owned)
}

fn set(asked: &Set) -> Ending {
    let path = match &asked.file {
        Some(path) => path.clone(),
        None => configured::load(asked.config.as_deref())?.config.catalog.ok_or_else(|| {
            Failure::usage(
                "the configuration names no catalog file\n\
                 help: give one with --file models.toml, then set `catalog = \"models.toml\"` in the configuration",
            )
        })?,
    };
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Catalog::embedded_text().to_owned(),
        Err(error) => return Err(unreadable(&path, &error)),
        Ok(text) => text,
    };
    let given = |rate: &Option<String>| rate.clone();
    let change = PriceChange {
        model: asked.model.clone(),
        from: asked.from.clone(),
        rates: [
            given(&asked.input),
            given(&asked.output),
            given(&asked.cache_write_5m),
            given(&asked.cache_write_1h),
            given(&asked.cache_read),
        ],
        source: asked.source.clone(),
    };
    let edited = change.applied_to(&text).map_err(Failure::configuration)?;
    replace(&path, &edited)
        .map_err(|error| Failure::run(format_args!("cannot write {}: {error}", path.display())))?;
    let version = Catalog::parse(&edited).map_err(Failure::configuration)?.version().to_owned();
    if asked.json {
        print_json(&json!({"file": path, "version": version}))?;
    } else {
        print(&format!("{}: {} from {}, version {version}", path.display(), asked.model, asked.from))?;
    }
    Ok(Exit::Ok)
}

/// Writes a file beside the old one and puts it in its place.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("new");
    fs::write(&beside, text)?;
    fs::File::open(&beside)?.sync_all()?;
    fs::rename(&beside, path)
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::run(format_args!("cannot read {}: {error}", path.display()))
}
