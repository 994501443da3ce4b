//! The catalog file: its shape, and the checks that give it meaning.
//!
//! Every problem names the model and the key. Unknown keys, ids given twice, names of models that are not in the
//! file, prices out of order and amounts that are not decimal dollars are refused.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::model::{Accepts, Fast, Lifecycle, Model, Switch, ThinkingType};
use super::price::{Card, FastPrice, Price};
use super::{CatalogProblem, Everywhere, PriceTerms};
use crate::money::{Factor, NanoUsd, Rate};
use crate::tier::Tier;

/// The file, read and checked.
pub(super) struct Parsed {
    pub(super) models: Vec<Model>,
    pub(super) terms: PriceTerms,
    pub(super) everywhere: Everywhere,
}

/// Reads and checks a catalog file.
pub(super) fn parse(text: &str) -> Result<Parsed, CatalogProblem> {
    let file: File = toml::from_str(text).map_err(|error| problem("", "", &error.to_string()))?;
    let mut models = Vec::with_capacity(file.model.len());
    for table in file.model {
        models.push(model(table)?);
    }
    check_names(&models)?;
    let terms = PriceTerms {
        batch: factor("batch", &file.terms.batch)?,
        us_only: factor("us_only", &file.terms.us_only)?,
        web_search: web_search(&file.terms.web_search_per_thousand)?,
    };
    Ok(Parsed { models, terms, everywhere: file.everywhere })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    terms: TermsTable,
    everywhere: Everywhere,
    model: Vec<toml::Table>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TermsTable {
    batch: String,
    us_only: String,
    web_search_per_thousand: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelTable {
    id: String,
    #[serde(default)]
    aliases: Vec<String>,
    tier: TierName,
    pool: Option<String>,
    lifecycle: Lifecycle,
    retires: Option<String>,
    accepts: Option<Accepts>,
    #[serde(default)]
    prices: Vec<PriceTable>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum TierName {
    Haiku,
    Sonnet,
    Opus,
    Other,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceTable {
    from: String,
    card: CardTable,
    long_above_tokens: Option<u64>,
    long_card: Option<CardTable>,
    fast: Option<FastTable>,
    source: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CardTable {
    input: String,
    output: String,
    cache_write_5m: String,
    cache_write_1h: String,
    cache_read: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FastTable {
    input: String,
    output: String,
    until: Option<String>,
}

fn model(table: toml::Table) -> Result<Model, CatalogProblem> {
    let named = table.get("id").and_then(toml::Value::as_str).unwrap_or("(without id)").to_owned();
    let table: ModelTable = table.try_into().map_err(|error: toml::de::Error| {
        let text = error.to_string();
        problem(&named, "", text.trim())
    })?;
    let mut prices = Vec::with_capacity(table.prices.len());
    for entry in &table.prices {
        prices.push(price(&table.id, entry)?);
    }
    if prices.windows(2).any(|pair| pair[0].from >= pair[1].from) {
        return Err(problem(&table.id, "prices.from", "dates must rise"));
    }
    if let Some(accepts) = &table.accepts {
        check_accepts(&table.id, accepts, &prices)?;
    }
    if let Some(day) = &table.retires {
        midnight(&table.id, "retires", day)?;
    }
    let tier = match table.tier {
        TierName::Haiku => Tier::Haiku,
        TierName::Sonnet => Tier::Sonnet,
        TierName::Opus => Tier::Opus,
        TierName::Other => Tier::Other,
    };
    let (lifecycle, retires, accepts) = (table.lifecycle, table.retires, table.accepts);
    let pool = table.pool.unwrap_or_else(|| table.id.trim_start_matches("claude-").to_owned());
    Ok(Model { id: table.id, aliases: table.aliases, tier, pool, lifecycle, retires, accepts, prices })
}

fn check_accepts(id: &str, accepts: &Accepts, prices: &[Price]) -> Result<(), CatalogProblem> {
    let thinking = &accepts.thinking;
    let disabled = thinking.types.contains(&ThinkingType::Disabled);
    if disabled != thinking.disabled_up_to.is_some() {
        return Err(problem(
            id,
            "accepts.thinking.disabled_up_to",
            "goes with type disabled, and only with it",
        ));
    }
    if thinking.omitted == Switch::On && !thinking.types.contains(&ThinkingType::Adaptive) {
        return Err(problem(id, "accepts.thinking.omitted", "on by default needs type adaptive"));
    }
    if accepts.default_effort.is_some_and(|effort| !accepts.efforts.contains(&effort)) {
        return Err(problem(id, "accepts.default_effort", "is not among the efforts"));
    }
    if accepts.max_output_tokens == 0 || accepts.max_output_tokens >= accepts.context_tokens {
        return Err(problem(id, "accepts.max_output_tokens", "must be above zero and below context_tokens"));
    }
    let Some(newest) = prices.last() else {
        return Err(problem(id, "prices", "a model that is described needs a price"));
    };
    if (accepts.fast == Fast::No) != newest.fast.is_none() {
        return Err(problem(id, "accepts.fast", "a fast mode needs a fast price, and only then"));
    }
    Ok(())
}

fn check_names(models: &[Model]) -> Result<(), CatalogProblem> {
    let mut seen = std::collections::HashSet::new();
    for model in models {
        for name in std::iter::once(&model.id).chain(&model.aliases) {
            if name.is_empty() || !seen.insert(name.as_str()) {
                return Err(problem(&model.id, "id", &format!("`{name}` is empty or given twice")));
            }
        }
    }
    for model in models {
        let Some(accepts) = &model.accepts else { continue };
        let lists =
            [("reads", &accepts.reads), ("fallbacks", &accepts.fallbacks), ("advisors", &accepts.advisors)];
        for (key, names) in lists {
            if let Some(name) = names.iter().find(|name| *name != "*" && !seen.contains(name.as_str())) {
                return Err(problem(&model.id, key, &format!("`{name}` is not in the catalog")));
            }
        }
    }
    Ok(())
}

fn price(id: &str, entry: &PriceTable) -> Result<Price, CatalogProblem> {
    let base = card(id, "prices.card", &entry.card)?;
    let long = match (entry.long_above_tokens, &entry.long_card) {
        (Some(above_tokens), Some(table)) => Some((above_tokens, card(id, "prices.long_card", table)?)),
        (None, None) => None,
        _ => return Err(problem(id, "prices.long_card", "goes with long_above_tokens")),
    };
    let fast = match &entry.fast {
        Some(table) => Some(FastPrice {
            card: base.fast(rate(id, "prices.fast", &table.input)?, rate(id, "prices.fast", &table.output)?),
            until: table.until.as_ref().map(|day| midnight(id, "prices.fast.until", day)).transpose()?,
        }),
        None => None,
    };
    let from = match entry.from.parse() {
        Ok(instant) => instant,
        Err(_) => midnight(id, "prices.from", &entry.from)?,
    };
    Ok(Price { from, card: base, long, fast, source: entry.source.clone() })
}

fn card(id: &str, key: &str, table: &CardTable) -> Result<Card, CatalogProblem> {
    Ok(Card {
        input: rate(id, key, &table.input)?,
        cache_read: rate(id, key, &table.cache_read)?,
        cache_write_5m: rate(id, key, &table.cache_write_5m)?,
        cache_write_1h: rate(id, key, &table.cache_write_1h)?,
        output: rate(id, key, &table.output)?,
    })
}

/// Dollars per million tokens in nine decimals are nano-dollars per million tokens; free is refused.
fn rate(id: &str, key: &str, dollars: &str) -> Result<Rate, CatalogProblem> {
    NanoUsd::parse_dollars(dollars)
        .and_then(|amount| u64::try_from(amount.0).ok())
        .filter(|nanos| *nanos > 0)
        .map(Rate)
        .ok_or_else(|| {
            problem(id, key, &format!("`{dollars}` is not a decimal amount of dollars above zero"))
        })
}

fn midnight(id: &str, key: &str, day: &str) -> Result<Timestamp, CatalogProblem> {
    day.parse::<Date>()
        .ok()
        .and_then(|date| date.to_zoned(TimeZone::UTC).ok())
        .map(|zoned| zoned.timestamp())
        .ok_or_else(|| problem(id, key, &format!("`{day}` is not a date (YYYY-MM-DD)")))
}

fn factor(key: &str, text: &str) -> Result<Factor, CatalogProblem> {
    let part = |digits: &str| digits.parse::<u32>().ok().filter(|number| (1..=1_000).contains(number));
    text.split_once('/')
        .and_then(|(over, under)| Some(Factor { numerator: part(over)?, denominator: part(under)? }))
        .ok_or_else(|| {
            problem("", &format!("terms.{key}"), "must be a fraction such as 1/2, parts up to 1,000")
        })
}

/// One search in nano-dollars; the price per thousand must divide evenly.
fn web_search(dollars: &str) -> Result<NanoUsd, CatalogProblem> {
    NanoUsd::parse_dollars(dollars)
        .filter(|amount| amount.0 % 1_000 == 0)
        .map(|amount| NanoUsd(amount.0 / 1_000))
        .ok_or_else(|| problem("", "terms.web_search_per_thousand", "is not an amount of dollars"))
}

fn problem(model: &str, key: &str, what: &str) -> CatalogProblem {
    CatalogProblem { model: model.to_owned(), key: key.to_owned(), what: what.to_owned() }
}
