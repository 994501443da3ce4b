//! Decisions of the journal made again under another policy, offline: what would have changed, and what it would
//! have cost.
//!
//! Each record is decided again on the facts it was decided on, except that a conversation that would have gone
//! elsewhere goes on from there. What changed is priced with the tokens that were used, at the other model's prices:
//! counted by its tokenizer, and with what was read from the prompt cache written instead where the conversation
//! comes new to that model. How long its answer would have been, nobody knows.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::catalog::{Catalog, Tokenizer};
use crate::config::{Config, Tiers};
use crate::journal::ExchangeRecord;
use crate::money::NanoUsd;
use crate::route::Basis;
use crate::usage::{Billed, Terms, Usage};
use crate::wire::json::Json;

/// A policy, and what became of the records under it.
pub struct Replay<'a> {
    config: &'a Config,
    catalog: &'a Catalog,
    /// Where requests would have gone instead; at most [`WENT_MAX`].
    went: HashMap<String, String>,
    report: Replayed,
}

/// What a replay comes to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Replayed {
    /// Exchanges with a decision.
    pub exchanges: u64,
    /// Those recorded without the facts to decide again; they are left as they were.
    pub without_facts: u64,
    /// Those that would have gone to another model, or been refused.
    pub changed: u64,
    /// What they cost.
    pub cost_nanousd: NanoUsd,
    /// What they would have cost.
    pub replayed_cost_nanousd: NanoUsd,
    /// What they would have cost on the models asked for.
    pub baseline_requested_nanousd: NanoUsd,
    /// What was saved against that.
    pub saved_nanousd: NanoUsd,
    /// What would have been.
    pub replayed_saved_nanousd: NanoUsd,
    /// The first 1,000 changes.
    pub changes: Vec<Change>,
}

/// A decision that would have been another.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// Our id of the request.
    pub request_id: String,
    /// Whose.
    pub tenant: String,
    /// The model asked for.
    pub asked: String,
    /// The model it was sent to.
    pub was: String,
    /// The model it would have been sent to; none where a header's wish would have been refused.
    pub now: Option<String>,
    /// Why, as codes.
    pub reasons: Vec<String>,
    /// What it cost.
    pub cost_nanousd: NanoUsd,
    /// What it would have cost.
    pub replayed_cost_nanousd: NanoUsd,
}

/// What of a record's `decision` is needed.
#[derive(Deserialize)]
struct Kept {
    model: String,
    /// Where it is not the one decided on.
    #[serde(default)]
    sent_model: Option<String>,
    #[serde(default)]
    escalated_from: Option<String>,
    #[serde(default)]
    basis: Option<Basis<'static>>,
}

impl<'a> Replay<'a> {
    /// Begins a replay under the routing, tiers and tenants of `config`.
    #[must_use]
    pub fn under(config: &'a Config, catalog: &'a Catalog) -> Self {
        Self { config, catalog, went: HashMap::new(), report: Replayed::default() }
    }

    /// Decides a record again; records are to come in their order.
    pub fn add(&mut self, record: &ExchangeRecord) {
        let Some(decision) = &record.decision else { return };
        let report = &mut self.report;
        report.exchanges += 1;
        report.cost_nanousd += record.cost_nanousd;
        report.baseline_requested_nanousd += record.baseline_nanousd.requested;
        let cost = match kept(decision) {
            Some((was, basis)) => self.again(record, was, basis),
            None => {
                self.report.without_facts += 1;
                record.cost_nanousd
            }
        };
        self.report.replayed_cost_nanousd += cost;
    }

    /// Ends it.
    #[must_use]
    pub fn finish(mut self) -> Replayed {
        let report = &mut self.report;
        report.saved_nanousd = report.baseline_requested_nanousd - report.cost_nanousd;
        report.replayed_saved_nanousd = report.baseline_requested_nanousd - report.replayed_cost_nanousd;
        self.report
    }

    /// Returns what the exchange would have cost.
    fn again(&mut self, record: &ExchangeRecord, was: String, mut basis: Basis<'static>) -> NanoUsd {
        if basis.ask.model.is_empty() {
            basis.ask.model = record.requested_model.clone().into();
        }
        let mut came_from = was.clone();
        if let Some(past) = &mut basis.past {
            if let Some(model) = self.went.get(&past.by) {
                past.went_to(model);
            }
            came_from.clone_from(&past.model);
        }
        let lot = record.session_id.as_deref().unwrap_or_else(|| record.request_id.as_str());
        let tenant = self.config.tenants.get(&record.tenant);
        let routing = tenant.map_or(&self.config.routing, |one| &one.routing).drawn(|| lot);
        let tiers: &Tiers = &self.config.tiers;
        let decided = basis.decide(self.catalog, tiers, routing, lot, record.timestamp);
        let (now, reasons) = match &decided {
            Ok(decision) => (Some(decision.model().to_owned()), decision.codes()),
            Err(unroutable) => (None, unroutable.blockers.join(",")),
        };
        if now.as_deref() == Some(was.as_str()) {
            return record.cost_nanousd;
        }
        let cost = now.as_ref().map_or(NanoUsd::ZERO, |now| {
            self.price(record, &was, now, basis.past.is_some() && came_from == *now)
        });
        if let (Some(now), true) = (&now, self.went.len() < WENT_MAX) {
            self.went.insert(record.request_id.to_string(), now.clone());
        }
        self.report.changed += 1;
        if self.report.changes.len() < CHANGES_MAX {
            self.report.changes.push(Change {
                request_id: record.request_id.to_string(),
                tenant: record.tenant.clone(),
                asked: record.requested_model.clone(),
                was,
                now,
                reasons: reasons.split(',').map(ToOwned::to_owned).collect(),
                cost_nanousd: record.cost_nanousd,
                replayed_cost_nanousd: cost,
            });
        }
        cost
    }

    fn price(&self, record: &ExchangeRecord, was: &str, now: &str, warm: bool) -> NanoUsd {
        let mut usage = record.usage();
        if !warm {
            usage.cache_write_5m_tokens = usage.cache_write_5m_tokens.saturating_add(usage.cache_read_tokens);
            usage.cache_read_tokens = 0;
        }
        let usage = recounted(&usage, self.tokenizer(was), self.tokenizer(now));
        let work = Billed { model: now.to_owned(), usage, terms: Terms::default() };
        self.catalog.price(&work, record.timestamp).cost
    }

    fn tokenizer(&self, model: &str) -> Tokenizer {
        let accepts = self.catalog.model(model).and_then(|model| model.accepts.as_ref());
        accepts.map_or(Tokenizer::New, |accepts| accepts.tokenizer)
    }
}

fn kept(decision: &Json) -> Option<(String, Basis<'static>)> {
    let kept: Kept = serde_json::from_str(decision.get()).ok()?;
    Some((kept.escalated_from.or(kept.sent_model).unwrap_or(kept.model), kept.basis?))
}

fn recounted(usage: &Usage, from: Tokenizer, to: Tokenizer) -> Usage {
    let (over, under) = match (from, to) {
        (Tokenizer::Old, Tokenizer::New) => (13, 10),
        (Tokenizer::New, Tokenizer::Old) => (10, 13),
        _ => return *usage,
    };
    let count = |tokens: u64| tokens.saturating_mul(over) / under;
    Usage {
        input_tokens: count(usage.input_tokens),
        cache_read_tokens: count(usage.cache_read_tokens),
        cache_write_5m_tokens: count(usage.cache_write_5m_tokens),
        cache_write_1h_tokens: count(usage.cache_write_1h_tokens),
        output_tokens: count(usage.output_tokens),
    }
}

/// Requests that went elsewhere and are remembered for the conversations they began.
const WENT_MAX: usize = 1_000_000;
const CHANGES_MAX: usize = 1_000;
