//! One more price in a catalog file's text: a dated entry, everything else left as it was written.
//!
//! The text comes back checked as a whole, so that what is written to a file can be loaded. Does no I/O.

use serde::Deserialize;
use toml::Spanned;

use super::{Catalog, CatalogProblem, Price};

/// A price from a date on; rates in dollars per million tokens, the missing ones as they were.
#[derive(Clone, Debug, Default)]
pub struct PriceChange {
    /// The model, by id or alias.
    pub model: String,
    /// A day, from its midnight in UTC, or an instant (RFC 3339).
    pub from: String,
    /// Input, output, five-minute write, one-hour write, read.
    pub rates: [Option<String>; 5],
    /// Who says so.
    pub source: String,
}

impl PriceChange {
    /// Returns `text` with the price added behind the model's others.
    ///
    /// # Errors
    ///
    /// An unknown model, a rate missing where there is no price yet, a date that is not the newest, or a catalog
    /// that would not load.
    pub fn applied_to(&self, text: &str) -> Result<String, CatalogProblem> {
        let catalog = Catalog::parse(text)?;
        let unknown = || self.problem("id", "is not in the catalog");
        let model = catalog.model(&self.model).ok_or_else(unknown)?;
        let entry = self.entry(model.prices.last())?;
        let place = end_of_model(text, &model.id).ok_or_else(unknown)?;
        let (before, after) = text.split_at_checked(place).ok_or_else(unknown)?;
        let separator = if before.ends_with('\n') { "" } else { "\n" };
        let edited = [before, separator, &entry, after].concat();
        let loaded = Catalog::parse(&edited)?;
        let prices = loaded.model(&model.id).map_or(0, |model| model.prices.len());
        if prices == model.prices.len() + 1 {
            Ok(edited)
        } else {
            Err(self.problem("prices", "could not be placed; add the entry by hand"))
        }
    }

    fn entry(&self, before: Option<&Price>) -> Result<String, CatalogProblem> {
        let known = before.map(|price| {
            let card = price.card;
            [card.input, card.output, card.cache_write_5m, card.cache_write_1h, card.cache_read]
        });
        let mut rates = Vec::with_capacity(RATES.len());
        for (index, (name, given)) in RATES.iter().zip(&self.rates).enumerate() {
            let before = known.and_then(|rates| rates.get(index).copied()).map(|rate| rate.to_string());
            let rate = given.clone().or(before).ok_or_else(|| {
                self.problem("prices.card", &format!("{name} must be given: there is no price before"))
            })?;
            rates.push(format!("{name} = {}", quoted(&rate)));
        }
        let mut entry =
            format!("[[model.prices]]\nfrom = {}\ncard = {{ {} }}\n", quoted(&self.from), rates.join(", "));
        if let Some((above_tokens, card)) = before.and_then(|price| price.long) {
            let rates = [card.input, card.output, card.cache_write_5m, card.cache_write_1h, card.cache_read];
            let rates: Vec<String> =
                RATES.iter().zip(rates).map(|(name, rate)| format!("{name} = \"{rate}\"")).collect();
            entry += &format!("long_above_tokens = {above_tokens}\nlong_card = {{ {} }}\n", rates.join(", "));
        }
        if let Some(fast) = before.and_then(|price| price.fast) {
            let until = fast
                .until
                .map_or_else(String::new, |until| format!(", until = \"{}\"", until.strftime("%F")));
            entry += &format!(
                "fast = {{ input = \"{}\", output = \"{}\"{until} }}\n",
                fast.card.input, fast.card.output
            );
        }
        Ok(entry + &format!("source = {}\n", quoted(&self.source)))
    }

    fn problem(&self, key: &str, what: &str) -> CatalogProblem {
        CatalogProblem { model: self.model.clone(), key: key.to_owned(), what: what.to_owned() }
    }
}

/// Returns the place behind the last line of a model's tables, before blank lines and comments that follow.
fn end_of_model(text: &str, id: &str) -> Option<usize> {
    #[derive(Deserialize)]
    struct File {
        model: Vec<Named>,
    }
    #[derive(Deserialize)]
    struct Named {
        id: Spanned<String>,
    }
    let file: File = toml::from_str(text).ok()?;
    let named = file.model.iter().find(|model| model.id.get_ref() == id)?;
    let mut end = named.id.span().end;
    let mut at = end;
    for line in text.get(end..)?.split_inclusive('\n') {
        let words = line.trim();
        if words == "[[model]]" {
            break;
        }
        at += line.len();
        if !words.is_empty() && !words.starts_with('#') {
            end = at;
        }
    }
    Some(end)
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

const RATES: [&str; 5] = ["input", "output", "cache_write_5m", "cache_write_1h", "cache_read"];
