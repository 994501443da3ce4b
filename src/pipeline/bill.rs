//! What an exchange used and cost, from what the upstream said or, where it could not say, an upper estimate.

use jiff::Timestamp;

use super::exchange::Exchange;
use super::finish::{Ending, Seen};
use crate::budget::Estimate;
use crate::catalog::Catalog;
use crate::journal::{Baselines, UsageSource};
use crate::money::NanoUsd;
use crate::telemetry::CostParts;
use crate::usage::{Billed, Terms, Usage};
use crate::wire::meter::Metered;

/// What a bill is priced by.
pub(super) struct Pricing<'a> {
    pub(super) catalog: &'a Catalog,
    /// The model of the opus tier.
    pub(super) opus: &'a str,
    /// The model that would have answered without routing.
    pub(super) requested: &'a str,
    /// The model that was sent to.
    pub(super) sent: &'a str,
    /// Dates prices.
    pub(super) at: Timestamp,
    /// How much of the prompt would have been warm in a conversation that had stayed where it began.
    pub(super) warm_tokens: u64,
}

impl<'a> Pricing<'a> {
    fn of(exchange: &'a Exchange) -> Self {
        Self {
            catalog: &exchange.snapshot.catalog,
            opus: &exchange.snapshot.config.tiers.opus,
            requested: exchange.requested_model(),
            sent: exchange.sent_model(),
            at: exchange.timestamp,
            warm_tokens: exchange
                .course
                .as_ref()
                .map_or(0, |course| course.past.warmest(exchange.timestamp.as_second())),
        }
    }
}

/// The reckoning of one exchange.
#[derive(Clone, Debug)]
pub(super) struct Bill {
    /// All tokens, iterations summed.
    pub(super) usage: Usage,
    /// Who counted them.
    pub(super) source: UsageSource,
    /// What they cost.
    pub(super) cost: NanoUsd,
    /// The cost by kind of token.
    pub(super) parts: CostParts,
    /// What they would have cost without routing, in a conversation that had stayed where it began.
    pub(super) baselines: Baselines,
    /// What writing a prompt anew cost, that was warm where the conversation was before.
    pub(super) rewrite: NanoUsd,
    /// A model without a price of its own was billed.
    pub(super) unpriced: bool,
    /// The upstream billed nothing: it refused, failed, or was never reached.
    pub(super) free: bool,
    /// The pieces of work.
    pub(super) billed: Vec<Billed>,
}

impl Bill {
    /// Returns a bill of nothing.
    pub(super) fn nothing() -> Self {
        Self::of(Vec::new(), UsageSource::Upstream)
    }

    pub(super) fn of(billed: Vec<Billed>, source: UsageSource) -> Self {
        let mut usage = Usage::default();
        billed.iter().for_each(|work| usage.add(&work.usage));
        Self {
            usage,
            source,
            cost: NanoUsd::ZERO,
            parts: CostParts::default(),
            baselines: Baselines::default(),
            rewrite: NanoUsd::ZERO,
            unpriced: false,
            free: billed.is_empty(),
            billed,
        }
    }

    /// Reckons a finished answer.
    pub(super) fn reckon(exchange: &Exchange, metered: &Metered, seen: &Seen, ending: Ending) -> Self {
        if !(200..300).contains(&seen.status) || (seen.error_event && !seen.content) {
            return Self::nothing();
        }
        if !exchange.endpoint.is_message() && metered.usage.is_none() {
            // Another path; its size says nothing of what it cost.
            return Self::nothing();
        }
        let complete = metered.complete && matches!(ending, Ending::Whole | Ending::Drained);
        let bill = if complete && metered.usage.is_some() {
            Self::of(metered.billed.clone(), UsageSource::Upstream)
        } else {
            Self::of(vec![estimate(exchange, metered, seen, ending)], UsageSource::Estimate)
        };
        bill.priced(&Pricing::of(exchange))
    }

    /// Reckons an attempt whose answer was read to its end.
    pub(super) fn of_attempt(exchange: &Exchange, metered: &Metered) -> Self {
        Self::of(metered.billed.clone(), UsageSource::Upstream).priced(&Pricing::of(exchange))
    }

    /// Adds an attempt that failed unseen: it cost what it cost, and without routing it would not have been.
    pub(super) fn with_spoiled(mut self, spoiled: &Self) -> Self {
        self.usage.add(&spoiled.usage);
        self.cost += spoiled.cost;
        self.parts.input += spoiled.parts.input;
        self.parts.cache_read += spoiled.parts.cache_read;
        self.parts.cache_write_5m += spoiled.parts.cache_write_5m;
        self.parts.cache_write_1h += spoiled.parts.cache_write_1h;
        self.parts.output += spoiled.parts.output;
        self.unpriced |= spoiled.unpriced;
        self.free &= spoiled.free;
        if spoiled.source == UsageSource::Estimate {
            self.source = UsageSource::Estimate;
        }
        self
    }

    /// Reckons what a kept answer would have cost again.
    pub(super) fn saved(exchange: &Exchange, billed: &[Billed]) -> Self {
        Self::of(billed.to_vec(), UsageSource::Upstream).priced(&Pricing::of(exchange))
    }

    /// Reckons a request whose answer never came although the upstream may have worked on it.
    pub(super) fn at_estimate(exchange: &Exchange) -> Self {
        let held = exchange.estimate.unwrap_or(Estimate::NOTHING);
        let usage =
            Usage { input_tokens: held.prompt_tokens, output_tokens: held.output_tokens, ..Usage::default() };
        let work = Billed { model: exchange.sent_model().to_owned(), usage, terms: exchange.asked.terms };
        Self::of(vec![work], UsageSource::Estimate).priced(&Pricing::of(exchange))
    }

    /// Adds up what each piece of work cost, and would have cost elsewhere.
    pub(super) fn priced(mut self, pricing: &Pricing<'_>) -> Self {
        let Pricing { catalog, opus, requested, sent, at, warm_tokens } = *pricing;
        let moved = !same_model(catalog, requested, sent);
        for work in &mut self.billed {
            // An answer that names no model, or a dated form of the one sent to, is that model's.
            if work.model.is_empty() || (catalog.model(&work.model).is_none() && work.model.starts_with(sent))
            {
                sent.clone_into(&mut work.model);
            }
            let priced = catalog.price(work, at);
            let [input, cache_read, cache_write_5m, cache_write_1h, output] = priced.by_kind;
            self.cost += priced.cost;
            self.parts.input += input;
            self.parts.cache_read += cache_read;
            self.parts.cache_write_5m += cache_write_5m;
            self.parts.cache_write_1h += cache_write_1h;
            self.parts.output += output;
            self.unpriced |= !priced.known;
            // Work of another model than the one we chose (an advisor, a fallback) costs the same either way.
            if !same_model(catalog, &work.model, sent) {
                self.baselines.requested += priced.cost;
                self.baselines.all_opus += priced.cost;
                continue;
            }
            let warmed = |model: &str| {
                let usage = work.usage.warmed(warm_tokens);
                let stayed = Billed { model: model.to_owned(), usage, ..work.clone() };
                catalog.price(&stayed, at).cost
            };
            let elsewhere = |model: &str| {
                if same_model(catalog, model, &work.model) { priced.cost } else { warmed(model) }
            };
            self.baselines.requested += elsewhere(requested);
            self.baselines.all_opus += elsewhere(opus);
            if moved {
                self.rewrite += priced.cost - warmed(&work.model);
            }
        }
        self
    }
}

/// Tells whether two names mean one model.
fn same_model(catalog: &Catalog, one: &str, other: &str) -> bool {
    one == other || catalog.model(one).is_some_and(|model| model.is(other))
}

/// An upper estimate from what passed: the prompt as counted or held, and for the answer what the bytes allow.
fn estimate(exchange: &Exchange, metered: &Metered, seen: &Seen, ending: Ending) -> Billed {
    let held = exchange.estimate.unwrap_or(Estimate::NOTHING);
    let max_tokens = exchange.asked.max_tokens.unwrap_or(u64::MAX);
    let mut usage = metered.usage.unwrap_or(Usage { input_tokens: held.prompt_tokens, ..Usage::default() });
    // What the frames of events leave is content; what the upstream wrote after the cut is unknown.
    let passed = seen.passed_bytes.saturating_sub(seen.deltas * DELTA_FRAME_BYTES) / BYTES_PER_TOKEN;
    // An answer that is no stream was made whole before its first byte came.
    let made = ending == Ending::Abandoned || !exchange.asked.stream;
    let unseen = if made { held.output_tokens } else { 0 };
    usage.output_tokens = usage.output_tokens.max(passed).max(unseen).min(max_tokens);
    let terms = metered.billed.first().map_or(exchange.asked.terms, |work| work.terms);
    let model = metered.answered_model.clone().unwrap_or_else(|| exchange.sent_model().to_owned());
    Billed { model, usage, terms: Terms { web_searches: terms.web_searches, ..terms } }
}

/// Fewer bytes of content than any token but a few takes.
const BYTES_PER_TOKEN: u64 = 3;
/// What a `content_block_delta` event takes besides its content, at least.
const DELTA_FRAME_BYTES: u64 = 100;
