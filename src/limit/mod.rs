//! Ceilings on rates: requests, input tokens and output tokens per minute, and requests in flight.
//!
//! Turns `config::Limits` of one level into demands on the store, tells which ceiling a refused request ran
//! into, and finds the values of the `anthropic-ratelimit-*` headers: of each dimension the tightest of the
//! caller's own levels. [`Gate`]s bound what needs neither levels nor refunds, and the [`Room`] what is in flight at all.
//!
//! Counting is the store's work, wording of headers the pipeline's. Buckets hold a minute's worth and refill
//! evenly; estimates are taken before and corrected after, so a bucket of tokens may go below zero. Prompt
//! tokens read from the prompt cache do not count, as upstream.

mod gate;
mod room;

use std::time::Duration;

use jiff::Timestamp;

pub use gate::{Gate, GateKind, TenantGates};
pub use room::{Full, Room, Stay};

use crate::config::Limits;
use crate::store::{Cell, Demand, Exhausted, Rate, Standing, Wait};

/// Adds what a request asks of one level's limits: itself, its tokens, and its place among those in flight.
///
/// A request larger than a whole minute's tokens asks for all of them: it passes when the bucket is full, and
/// what it used beyond that is owed.
pub fn demands(limits: &Limits, input_tokens: u64, output_tokens: u64, into: &mut Vec<Demand>) {
    into.reserve(DEMANDS);
    request_demands(limits, into);
    tokens(Rate::InputTokens, limits.input_tokens_per_minute, input_tokens, into);
    tokens(Rate::OutputTokens, limits.output_tokens_per_minute, output_tokens, into);
}

/// Adds what an answer from the cache asks of one level's limits: the request and its place in flight.
pub fn request_demands(limits: &Limits, into: &mut Vec<Demand>) {
    into.reserve_exact(REQUEST_DEMANDS);
    if let Some(ceiling) = limits.requests_per_minute {
        into.push(Demand { cell: Cell::Rate(Rate::Requests), amount: 1, most: 1, ceiling: Some(ceiling) });
    }
    // Counted even without a ceiling, so that one set by a reload sees what is in flight.
    into.push(Demand { cell: Cell::Concurrency, amount: 1, most: 1, ceiling: limits.concurrent_requests });
}

/// A limit that a request ran into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitReached {
    /// `requests`, `input_tokens`, `output_tokens` or `concurrency`; the label used in metrics.
    pub dimension: &'static str,
    /// What to tell the caller.
    pub message: String,
    /// Whole seconds, 1 to 60.
    pub retry_after_s: u64,
}

impl LimitReached {
    /// Reads the store's answer; `None` where it is about money or tokens per period.
    #[must_use]
    pub fn of(exhausted: &Exhausted) -> Option<Self> {
        let (dimension, ceiling) = match exhausted.cell {
            Cell::Rate(Rate::Requests) => ("requests", "requests per minute"),
            Cell::Rate(Rate::InputTokens) => ("input_tokens", "input tokens per minute"),
            Cell::Rate(Rate::OutputTokens) => ("output_tokens", "output tokens per minute"),
            Cell::Concurrency => ("concurrency", "concurrent requests"),
            Cell::Window(..) => return None,
        };
        let wait = match exhausted.wait {
            Wait::For(wait) => wait,
            Wait::Until(_) => Duration::ZERO,
        };
        let retry_after_s = (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).clamp(1, 60);
        let (id, limit) = (&exhausted.id, exhausted.ceiling);
        let message = format!(
            "this request would exceed the limit of {id} of {limit} {ceiling}; try again in {retry_after_s} s"
        );
        Some(Self { dimension, message, retry_after_s })
    }
}

/// Values of one group of `anthropic-ratelimit-*` headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateFacts {
    /// Per minute.
    pub limit: u64,
    /// Whole units left.
    pub remaining: u64,
    /// When it is full again.
    pub resets_at: Timestamp,
}

/// Values of the `anthropic-ratelimit-*` headers; a group without a limit of ours is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeaderFacts {
    /// `anthropic-ratelimit-requests-*`
    pub requests: Option<RateFacts>,
    /// `anthropic-ratelimit-tokens-*`: input and output together where both are limited.
    pub tokens: Option<RateFacts>,
    /// `anthropic-ratelimit-input-tokens-*`
    pub input_tokens: Option<RateFacts>,
    /// `anthropic-ratelimit-output-tokens-*`
    pub output_tokens: Option<RateFacts>,
}

impl HeaderFacts {
    /// Finds the tightest of the caller's levels in each dimension: the one with the least left.
    #[must_use]
    pub fn of(standings: &[Standing]) -> Self {
        let input_tokens = tightest(standings, Rate::InputTokens);
        let output_tokens = tightest(standings, Rate::OutputTokens);
        let tokens = match (input_tokens, output_tokens) {
            (Some(input), Some(output)) => Some(RateFacts {
                limit: input.limit.saturating_add(output.limit),
                remaining: input.remaining.saturating_add(output.remaining),
                resets_at: input.resets_at.max(output.resets_at),
            }),
            (one, other) => one.or(other),
        };
        Self { requests: tightest(standings, Rate::Requests), tokens, input_tokens, output_tokens }
    }
}

fn tokens(rate: Rate, limit: Option<u64>, estimate: u64, into: &mut Vec<Demand>) {
    if let Some(ceiling) = limit {
        let amount = estimate.min(ceiling);
        into.push(Demand { cell: Cell::Rate(rate), amount, most: amount, ceiling: Some(ceiling) });
    }
}

fn tightest(standings: &[Standing], rate: Rate) -> Option<RateFacts> {
    standings
        .iter()
        .filter(|standing| standing.cell == Cell::Rate(rate))
        .filter_map(|standing| {
            let (remaining, resets_at) = (standing.remaining, standing.resets_at);
            standing.ceiling.map(|limit| RateFacts { limit, remaining, resets_at })
        })
        .min_by_key(|facts| (facts.remaining, facts.limit))
}

/// What a request asks of a level at most: of its limits, budgets and quotas; and for itself alone.
const DEMANDS: usize = 9;
const REQUEST_DEMANDS: usize = 2;

#[cfg(test)]
mod tests;
