//! The simulated prompt cache: prefixes per account and model, with lifetimes and a smallest cacheable size.
//!
//! A breakpoint writes the prefix up to it and reads the longest prefix that is still warm among the 20 pieces before
//! it. At most 100,000 prefixes are kept; past that the cache starts again from empty.

use std::collections::HashMap;

use super::canonical::Segment;
use super::models::Model;
use super::prices::BilledTokens;

/// Warm prefixes and when they go cold, in milliseconds.
#[derive(Debug, Default)]
pub(super) struct PromptCache {
    warm: HashMap<(String, &'static str, blake3::Hash), Warm>,
}

#[derive(Debug, Clone, Copy)]
struct Warm {
    until_ms: i64,
    ttl_secs: u64,
}

impl PromptCache {
    /// Accounts a prompt and warms what it marks; output is left at 0.
    pub(super) fn account(
        &mut self,
        account: &str,
        model: &Model,
        segments: &[Segment],
        base_tokens: u64,
        now_ms: i64,
    ) -> BilledTokens {
        let mut total = base_tokens;
        let mut ends = Vec::with_capacity(segments.len());
        for segment in segments {
            total += segment.tokens;
            ends.push(total);
        }
        let marks: Vec<usize> = (0..segments.len())
            .filter(|place| segments[*place].mark_secs.is_some() && ends[*place] >= model.min_cache_tokens)
            .collect();
        let read = self.longest_warm(account, model, segments, &marks, now_ms);
        let mut tokens = BilledTokens::default();
        let mut covered = read.map_or(0, |place| ends[place]);
        tokens.cache_read_tokens = covered;
        for place in marks {
            let ttl_secs = segments[place].mark_secs.unwrap_or(300);
            if ends[place] > covered {
                let written = ends[place] - covered;
                covered = ends[place];
                if ttl_secs == 3600 {
                    tokens.cache_write_1h_tokens += written;
                } else {
                    tokens.cache_write_5m_tokens += written;
                }
            }
            self.keep(account, model, segments[place].prefix, ttl_secs, now_ms);
        }
        tokens.input_tokens = total - covered;
        tokens
    }

    fn longest_warm(
        &mut self,
        account: &str,
        model: &Model,
        segments: &[Segment],
        marks: &[usize],
        now_ms: i64,
    ) -> Option<usize> {
        let mut best = None;
        for mark in marks {
            let found = (mark.saturating_sub(LOOK_BACK)..=*mark).rev().find(|place| {
                let key = (account.to_owned(), model.id, segments[*place].prefix);
                self.warm.get(&key).is_some_and(|warm| warm.until_ms > now_ms)
            });
            best = best.max(found);
        }
        let place = best?;
        if let Some(warm) = self.warm.get_mut(&(account.to_owned(), model.id, segments[place].prefix)) {
            warm.until_ms = now_ms + i64::try_from(warm.ttl_secs * 1000).unwrap_or(i64::MAX / 2);
        }
        Some(place)
    }

    fn keep(&mut self, account: &str, model: &Model, prefix: blake3::Hash, ttl_secs: u64, now_ms: i64) {
        if self.warm.len() >= MOST_PREFIXES {
            self.warm.clear();
        }
        let until_ms = now_ms + i64::try_from(ttl_secs * 1000).unwrap_or(i64::MAX / 2);
        let entry =
            self.warm.entry((account.to_owned(), model.id, prefix)).or_insert(Warm { until_ms, ttl_secs });
        entry.ttl_secs = entry.ttl_secs.max(ttl_secs);
        entry.until_ms = entry.until_ms.max(until_ms);
    }
}

const LOOK_BACK: usize = 20;
const MOST_PREFIXES: usize = 100_000;
