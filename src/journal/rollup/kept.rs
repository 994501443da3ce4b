//! The sums as they are kept between two starts: every cell, to the nano-dollar.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::super::report::{CacheSums, Sums};
use super::super::sample::SampleSums;
use super::{Cell, Cells, MAX_CELLS, Rollup};
use crate::money::NanoUsd;
use crate::tier::Tier;
use crate::usage::Usage;

/// All cells of a [`Rollup`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct KeptSums {
    hours: Vec<KeptCell>,
    days: Vec<KeptCell>,
    months: Vec<KeptCell>,
    newest_hour: i64,
    named_from: i64,
}

/// Start, tenant, user, model, tier; requests and the five kinds of tokens; what the cache did, four ways; cost, both
/// baselines and what the cache saved; and the sample's sums where there are any.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct KeptCell(i64, Box<str>, Box<str>, Box<str>, Tier, [u64; 6], [u64; 4], [i64; 4], Option<KeptSample>);

/// Compared, lost, spared, unclear; spent, as asked, routed, cheaper.
type KeptSample = ([u64; 4], [i64; 4]);

impl Rollup {
    /// Returns all cells, to be kept.
    #[must_use]
    pub fn kept(&self) -> KeptSums {
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        KeptSums {
            hours: kept(&cells.hours),
            days: kept(&cells.days),
            months: kept(&cells.months),
            newest_hour: cells.newest_hour,
            named_from: cells.named_from,
        }
    }

    /// Returns the sums that were kept.
    #[must_use]
    pub fn from_kept(sums: KeptSums) -> Self {
        let cells = Cells {
            hours: cells(sums.hours),
            days: cells(sums.days),
            months: cells(sums.months),
            newest_hour: sums.newest_hour,
            named_from: sums.named_from,
        };
        Self { cells: Mutex::new(cells), max_cells: MAX_CELLS }
    }
}

fn kept(cells: &BTreeMap<Cell, Sums>) -> Vec<KeptCell> {
    let one = |(cell, sums): (&Cell, &Sums)| {
        let Cell { start, tenant, user, model, tier } = cell.clone();
        let usage = sums.usage;
        let counts = [
            sums.requests,
            usage.input_tokens,
            usage.cache_read_tokens,
            usage.cache_write_5m_tokens,
            usage.cache_write_1h_tokens,
            usage.output_tokens,
        ];
        let CacheSums { hits, joined, misses, bypassed, saved } = sums.cache;
        let did = [hits, joined, misses, bypassed];
        let money =
            [sums.cost, sums.baseline_requested, sums.baseline_all_opus, saved].map(|amount| amount.0);
        let sample = (sums.sample != SampleSums::default()).then(|| kept_sample(&sums.sample));
        KeptCell(start, tenant, user, model, tier, counts, did, money, sample)
    };
    cells.iter().map(one).collect()
}

fn cells(kept: Vec<KeptCell>) -> BTreeMap<Cell, Sums> {
    let one = |KeptCell(start, tenant, user, model, tier, counts, did, money, sample): KeptCell| {
        let [requests, input_tokens, cache_read_tokens, written_5m, written_1h, output_tokens] = counts;
        let usage = Usage {
            input_tokens,
            cache_read_tokens,
            cache_write_5m_tokens: written_5m,
            cache_write_1h_tokens: written_1h,
            output_tokens,
        };
        let [hits, joined, misses, bypassed] = did;
        let [cost, baseline_requested, baseline_all_opus, saved] = money.map(NanoUsd);
        let cache = CacheSums { hits, joined, misses, bypassed, saved };
        let sample = sample.map(sample_of).unwrap_or_default();
        let sums = Sums { requests, usage, cost, baseline_requested, baseline_all_opus, cache, sample };
        (Cell { start, tenant, user, model, tier }, sums)
    };
    kept.into_iter().map(one).collect()
}

fn kept_sample(sums: &SampleSums) -> KeptSample {
    let SampleSums { compared, lost, spared, unclear, spent, as_asked, routed, cheaper } = *sums;
    ([compared, lost, spared, unclear], [spent.0, as_asked.0, routed.0, cheaper.0])
}

fn sample_of((counts, money): KeptSample) -> SampleSums {
    let ([compared, lost, spared, unclear], [spent, as_asked, routed, cheaper]) =
        (counts, money.map(NanoUsd));
    SampleSums { compared, lost, spared, unclear, spent, as_asked, routed, cheaper }
}
