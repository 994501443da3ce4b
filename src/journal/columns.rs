//! Sums as a row of whole numbers, for views that keep them in columns.

use super::report::{CacheSums, Sums};
use super::sample::SampleSums;
use crate::money::NanoUsd;
use crate::usage::Usage;

/// The names of the numbers; those of money end in `_nanousd`.
pub const SUM_COLUMNS: [&str; 22] = [
    "requests",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "cost_nanousd",
    "baseline_requested_nanousd",
    "baseline_all_opus_nanousd",
    "cache_hits",
    "cache_joined",
    "cache_misses",
    "cache_bypassed",
    "cache_saved_nanousd",
    "sample_compared",
    "sample_lost",
    "sample_spared",
    "sample_unclear",
    "sample_spent_nanousd",
    "sample_as_asked_nanousd",
    "sample_routed_nanousd",
    "sample_cheaper_nanousd",
];

impl Sums {
    /// Returns the numbers in the order of [`SUM_COLUMNS`]; counts beyond 2^63 − 1 as that.
    #[must_use]
    pub fn columns(&self) -> [i64; 22] {
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let Self { requests, usage, cost, baseline_requested, baseline_all_opus, cache, sample } = *self;
        [
            count(requests),
            count(usage.input_tokens),
            count(usage.cache_read_tokens),
            count(usage.cache_write_5m_tokens),
            count(usage.cache_write_1h_tokens),
            count(usage.output_tokens),
            cost.0,
            baseline_requested.0,
            baseline_all_opus.0,
            count(cache.hits),
            count(cache.joined),
            count(cache.misses),
            count(cache.bypassed),
            cache.saved.0,
            count(sample.compared),
            count(sample.lost),
            count(sample.spared),
            count(sample.unclear),
            sample.spent.0,
            sample.as_asked.0,
            sample.routed.0,
            sample.cheaper.0,
        ]
    }

    /// Returns the sums of such a row; a count below zero is none.
    #[must_use]
    pub fn from_columns(columns: [i64; 22]) -> Self {
        let count = |count: i64| u64::try_from(count).unwrap_or(0);
        let [requests, input, read, written_5m, written_1h, output, money @ .., _, _, _, _] = columns;
        let [cost, requested, all_opus, hits, joined, misses, bypassed, saved, told @ ..] = money;
        let [compared, lost, spared, unclear] = told.map(count);
        let [.., spent, as_asked, routed, cheaper] = columns.map(NanoUsd);
        Self {
            requests: count(requests),
            usage: Usage {
                input_tokens: count(input),
                cache_read_tokens: count(read),
                cache_write_5m_tokens: count(written_5m),
                cache_write_1h_tokens: count(written_1h),
                output_tokens: count(output),
            },
            cost: NanoUsd(cost),
            baseline_requested: NanoUsd(requested),
            baseline_all_opus: NanoUsd(all_opus),
            cache: CacheSums {
                hits: count(hits),
                joined: count(joined),
                misses: count(misses),
                bypassed: count(bypassed),
                saved: NanoUsd(saved),
            },
            sample: SampleSums { compared, lost, spared, unclear, spent, as_asked, routed, cheaper },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_back_where_it_was() {
        let columns: [i64; 22] = std::array::from_fn(|place| 1 + i64::try_from(place).unwrap());
        let sums = Sums::from_columns(columns);
        assert_eq!(sums.columns(), columns);
        assert_eq!(
            (sums.cost, sums.cache.saved, sums.sample.cheaper),
            (NanoUsd(7), NanoUsd(14), NanoUsd(22))
        );
    }
}
