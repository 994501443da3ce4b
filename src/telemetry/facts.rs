//! What the caller says about an event, as borrowed names and plain numbers.
//!
//! Closed sets of label values are enums, so that a label can only hold what `docs/metrics.md` lists.

use std::time::Duration;

use super::exemplar::TraceFacts;
use crate::config::Mode;
use crate::money::NanoUsd;
use crate::tier::Tier;
use crate::usage::Usage;

/// How an exchange ended; the label `outcome`, and the word the journal uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered in full.
    Ok,
    /// The request was at fault: a 4xx of ours or of the upstream, except 429.
    ClientError,
    /// Refused by a limit, ours or the upstream's.
    RateLimited,
    /// Refused by a spent budget or quota.
    QuotaRejected,
    /// The upstream failed.
    UpstreamError,
    /// We failed.
    ProxyError,
    /// The client went away first.
    ClientAborted,
}

/// What the response cache did; the label `result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheResult {
    /// Answered from the cache.
    Hit,
    /// Not there.
    Miss,
    /// Shared the answer of an identical request in flight.
    Joined,
    /// Not asked: switched off, or not cacheable.
    Bypass,
    /// Asked, and failed.
    Error,
}

/// What a request drawn for the shadow sample came to; the label `result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleResult {
    /// The cheaper answer is as good.
    Held,
    /// It is worse.
    Lost,
    /// Nobody can tell.
    Unclear,
    /// There was no second answer.
    Failed,
    /// Nothing is left to spend on it.
    NoBudget,
    /// Too many are under way, or the upstream's limits are tight.
    Busy,
    /// The request or its answer is too large to be kept.
    TooLarge,
}

/// How one try at the upstream ended; the label `result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptResult {
    /// An answer below 400.
    Ok,
    /// An answer from 400 to 499 except 429.
    ClientError,
    /// 429.
    RateLimited,
    /// 529.
    Overloaded,
    /// Another answer from 500.
    ServerError,
    /// No connection.
    ConnectFailed,
    /// A wait ran out.
    TimedOut,
    /// The connection broke.
    Broken,
}

/// A part of our own time; the label `phase`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Reading the envelope.
    Parse,
    /// Limits, quotas and budgets.
    Limits,
    /// Classifying and deciding.
    Classify,
    /// Looking into the response cache.
    Cache,
    /// All of it.
    Total,
}

/// What said how difficult a request is; the label `mechanism`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// The client named the call as a small one.
    Hint,
    /// The request's form.
    Form,
    /// The trained model of its text.
    Text,
    /// What its workload has taught.
    Workload,
}

/// What was asked of a limit; the label `limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKind {
    /// Requests per minute.
    Requests,
    /// Input tokens per minute.
    InputTokens,
    /// Output tokens per minute.
    OutputTokens,
    /// Requests in flight.
    Concurrency,
    /// Money per period.
    Budget,
    /// Tokens per period.
    Quota,
    /// What may be in flight at the whole gateway.
    Room,
}

/// What a limit said; the label `decision`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitDecision {
    /// Within.
    Allowed,
    /// Beyond.
    Refused,
}

/// A budget's period; the label `window`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// A day.
    Day,
    /// An ISO week.
    Week,
    /// A calendar month.
    Month,
}

/// Gives an enum its label values, in the order of its variants.
macro_rules! names {
    ($($kind:ident: $($variant:ident = $name:literal),+;)+) => {$(
        impl $kind {
            /// Every variant, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the label value.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    )+};
}

names! {
    Outcome: Ok = "ok", ClientError = "client_error", RateLimited = "rate_limited",
        QuotaRejected = "quota_rejected", UpstreamError = "upstream_error", ProxyError = "proxy_error",
        ClientAborted = "client_aborted";
    CacheResult: Hit = "hit", Miss = "miss", Joined = "joined", Bypass = "bypass", Error = "error";
    SampleResult: Held = "held", Lost = "lost", Unclear = "unclear", Failed = "failed", NoBudget = "no_budget",
        Busy = "busy", TooLarge = "too_large";
    AttemptResult: Ok = "ok", ClientError = "client_error", RateLimited = "rate_limited",
        Overloaded = "overloaded", ServerError = "server_error", ConnectFailed = "connect_failed",
        TimedOut = "timed_out", Broken = "broken";
    Phase: Parse = "parse", Limits = "limits", Classify = "classify", Cache = "cache", Total = "total";
    Mechanism: Hint = "hint", Form = "form", Text = "text", Workload = "workload";
    LimitKind: Requests = "requests", InputTokens = "input_tokens", OutputTokens = "output_tokens",
        Concurrency = "concurrency", Budget = "budget", Quota = "quota", Room = "room";
    LimitDecision: Allowed = "allowed", Refused = "refused";
    Window: Day = "day", Week = "week", Month = "month";
}

/// The cost of an exchange by kind of token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CostParts {
    /// Uncached input.
    pub input: NanoUsd,
    /// Output.
    pub output: NanoUsd,
    /// Read from the prompt cache.
    pub cache_read: NanoUsd,
    /// Written to the prompt cache for five minutes.
    pub cache_write_5m: NanoUsd,
    /// Written to the prompt cache for an hour.
    pub cache_write_1h: NanoUsd,
}

impl CostParts {
    /// Returns six amounts that sum to `total` exactly: the five kinds, then what they leave (`other`: web
    /// searches, rounding). A part that would pass the total is cut to what is left of it.
    pub(super) fn fitted_to(self, total: NanoUsd) -> [u64; 6] {
        let mut left = u64::try_from(total.0).unwrap_or(0);
        let parts = [self.input, self.output, self.cache_read, self.cache_write_5m, self.cache_write_1h];
        let mut fitted = [0; 6];
        for (cell, part) in fitted.iter_mut().zip(parts) {
            *cell = u64::try_from(part.0).unwrap_or(0).min(left);
            left -= *cell;
        }
        fitted[5] = left;
        fitted
    }
}

/// A tool whose result came back in a request.
#[derive(Clone, Copy, Debug)]
pub struct ToolUse<'a> {
    /// The tool's name as the client gave it; folded to `_other` unless well known.
    pub name: &'a str,
    /// Whether the result was an error.
    pub failed: bool,
}

/// All that metrics want to know about one finished exchange.
#[derive(Clone, Copy, Debug)]
pub struct ExchangeFacts<'a> {
    /// A configured tenant's name.
    pub tenant: &'a str,
    /// A catalog model id; anything else must be given as `_other`.
    pub model: &'a str,
    /// The tier asked for.
    pub requested_tier: Tier,
    /// The tier sent to.
    pub tier: Tier,
    /// The tier of the route decision: the same, but in shadow mode the one it would have been sent to.
    pub decided_tier: Tier,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether the answer was streamed.
    pub stream: bool,
    /// From the request's first byte to the answer's last; `None` where nobody waited for it: a batch.
    pub duration: Option<Duration>,
    /// To the answer's first content; `None` where there was none.
    pub time_to_first_token: Option<Duration>,
    /// Tokens as billed.
    pub usage: Usage,
    /// What it cost.
    pub cost: NanoUsd,
    /// The same by kind of token; what the parts leave of `cost` is counted as `other`.
    pub cost_parts: CostParts,
    /// What it would have cost at the model asked for.
    pub baseline_requested: NanoUsd,
    /// What it would have cost at the opus tier.
    pub baseline_all_opus: NanoUsd,
    /// What it cost to write a prompt anew that was warm where the conversation was before.
    pub rewrite: NanoUsd,
    /// What an answer from the response cache would have cost; zero otherwise.
    pub cache_saved: NanoUsd,
    /// What the response cache did; `None` where it was not reached.
    pub cache: Option<CacheResult>,
    /// The decisive reason code of the route; `None` where nothing was decided.
    pub reason: Option<&'a str>,
    /// Where in a trace it was; `None` where it was in none that is kept.
    pub trace: Option<TraceFacts>,
    /// The routing mode in force.
    pub mode: Mode,
    /// Whether the model had no price of its own.
    pub unpriced: bool,
    /// Results of tools in the request.
    pub tools: &'a [ToolUse<'a>],
    /// Tools whose result failed for the third time in a row with this request.
    pub failed_thrice: &'a [String],
    /// Difficulty, 0 to 1,000, and what said so; `None` where nothing was classified.
    pub difficulty: Option<(Mechanism, u16)>,
}

/// One of the upstream's limits, from its `anthropic-ratelimit-*` headers.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamLimit<'a> {
    /// The family of models that shares the limit.
    pub family: &'a str,
    /// `requests`, `tokens`, `input_tokens` or `output_tokens`.
    pub kind: &'static str,
    /// The ceiling.
    pub limit: i64,
    /// What is left.
    pub remaining: i64,
    /// When it is full again, in seconds since 1970.
    pub reset_timestamp_s: i64,
}
