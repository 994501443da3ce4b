//! What is written down: one record per exchange, reservation, upstream object and administrative change.
//!
//! The names of the fields are a contract with readers outside this program; more may be added, none renamed.
//! Every fixed field is always written, as `null` where it has no value. Prompt and answer text is never part
//! of a record. Reading tolerates fields it does not know. Money is in nano-dollars, time RFC 3339 in UTC with
//! microseconds.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::finds::GuardFind;
use super::prompt::PromptRecord;
use super::sample::SampleRecord;
use crate::clock::rfc3339;
use crate::id::RequestId;
use crate::money::NanoUsd;
use crate::tier::Tier;
use crate::usage::Usage;
use crate::wire::json::Json;

/// One request and its reply, settled.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(Serialize))]
#[serde(tag = "kind", rename = "exchange")]
pub struct ExchangeRecord {
    /// When the request came.
    #[serde(with = "rfc3339")]
    pub timestamp: Timestamp,
    /// Our id of the exchange.
    pub request_id: RequestId,
    /// The upstream's id of it.
    pub upstream_request_id: Option<String>,
    /// Who owns the key.
    pub tenant: String,
    /// The person or service inside the tenant.
    pub user_id: Option<String>,
    /// The public part of the key.
    pub key_id: Option<String>,
    /// The session the client named.
    pub session_id: Option<String>,
    /// The upstream's id of the answer.
    pub message_id: Option<String>,
    /// The upstream thread.
    pub thread_id: Option<String>,
    /// The model the client asked for, as it wrote it.
    pub requested_model: String,
    /// The model the request was sent to; `None` where it was sent nowhere.
    pub sent_model: Option<String>,
    /// The model the upstream says answered.
    pub answered_model: Option<String>,
    /// The tier of the model it was sent to.
    pub tier: Tier,
    /// The route decision: reason codes with weights, policy version.
    pub decision: Option<Json>,
    /// Prompt tokens neither read from nor written to the prompt cache.
    pub input_tokens: u64,
    /// Prompt tokens read from the prompt cache.
    pub cache_read_tokens: u64,
    /// Prompt tokens written to the prompt cache for five minutes.
    pub cache_write_5m_tokens: u64,
    /// Prompt tokens written to the prompt cache for an hour.
    pub cache_write_1h_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
    /// The sum of the five kinds.
    pub tokens_used: u64,
    /// Who counted the tokens.
    pub usage_source: UsageSource,
    /// What the exchange cost.
    pub cost_nanousd: NanoUsd,
    /// What it would have cost without routing.
    pub baseline_nanousd: Baselines,
    /// The version of the prices it was reckoned with.
    pub price_version: Option<String>,
    /// The status the client got; 0 where it got none.
    pub status: u16,
    /// The error's type, where there was one.
    pub error_type: Option<String>,
    /// Why the model stopped.
    pub stop_reason: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// What the response cache did: `hit`, `miss`, `joined` or `bypass`.
    pub cache: Option<String>,
    /// The tools of the exchange, without their inputs and outputs.
    pub tool_calls: Vec<ToolCall>,
    /// Whether the answer was streamed.
    pub stream: bool,
    /// From the request's first byte to the answer's last.
    pub latency_ms: u64,
    /// From the request's first byte to the answer's first token.
    pub ttft_ms: Option<u64>,
    /// What we added ourselves.
    pub overhead_us: u64,
    /// How often an upstream was tried.
    pub attempts: u32,
    /// When it was settled: the time by which its cost counts in a period. In the order of the journal these
    /// times never go back, so a rebuild counts as the running process did.
    #[serde(with = "rfc3339")]
    pub settled_at: Timestamp,
    /// The path it came in on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The fallback it went to; absent for the configured upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// The routing mode in force: `off`, `shadow` or `enforce`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The agent the client named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// The client's program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Where in a trace the client says it is: W3C `traceparent`, as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The client's own tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The levels that were charged, such as `org` or `tenant:acme`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<String>,
    /// The upstream objects it made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<ObjectName>,
    /// The request of a client that was asked again here; then nobody waited for this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Box<SampleRecord>>,
    /// What an answer of the response cache would have cost.
    #[serde(default, skip_serializing_if = "NanoUsd::is_zero")]
    pub cache_saved_nanousd: NanoUsd,
    /// What of the prompt the upstream's prompt cache could hold, where it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_cache: Option<Box<PromptRecord>>,
    /// What guards found, by kind and count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guards: Vec<GuardFind>,
}

impl ExchangeRecord {
    /// Returns a record of an exchange of which nothing is known yet: no tokens, no money, [`Outcome::Lost`].
    #[must_use]
    pub const fn begin(
        request_id: RequestId,
        timestamp: Timestamp,
        tenant: String,
        requested_model: String,
    ) -> Self {
        Self {
            timestamp,
            request_id,
            upstream_request_id: None,
            tenant,
            user_id: None,
            key_id: None,
            session_id: None,
            message_id: None,
            thread_id: None,
            requested_model,
            sent_model: None,
            answered_model: None,
            tier: Tier::Other,
            decision: None,
            input_tokens: 0,
            cache_read_tokens: 0,
            cache_write_5m_tokens: 0,
            cache_write_1h_tokens: 0,
            output_tokens: 0,
            tokens_used: 0,
            usage_source: UsageSource::Estimate,
            cost_nanousd: NanoUsd::ZERO,
            baseline_nanousd: Baselines { requested: NanoUsd::ZERO, all_opus: NanoUsd::ZERO },
            price_version: None,
            status: 0,
            error_type: None,
            stop_reason: None,
            outcome: Outcome::Lost,
            cache: None,
            tool_calls: Vec::new(),
            stream: false,
            latency_ms: 0,
            ttft_ms: None,
            overhead_us: 0,
            attempts: 0,
            settled_at: timestamp,
            endpoint: None,
            upstream: None,
            mode: None,
            agent_id: None,
            client: None,
            tags: Vec::new(),
            levels: Vec::new(),
            objects: Vec::new(),
            sample: None,
            traceparent: None,
            cache_saved_nanousd: NanoUsd::ZERO,
            prompt_cache: None,
            guards: Vec::new(),
        }
    }

    /// Returns the charge for a reservation that a crash left without an exchange: its estimate.
    ///
    /// The estimate does not say of which kind its tokens are; they are written as input. Both baselines are
    /// the cost, so that a crash never looks like a saving; those of a sample are nothing, as ever.
    #[must_use]
    pub fn lost(reservation: &ReservationRecord) -> Self {
        let mut record = Self::begin(
            reservation.request_id.clone(),
            reservation.timestamp,
            reservation.tenant.clone(),
            reservation.sent_model.clone(),
        );
        record.user_id.clone_from(&reservation.user_id);
        record.key_id.clone_from(&reservation.key_id);
        record.sent_model = Some(reservation.sent_model.clone());
        record.tier = reservation.tier;
        record.set_usage(&Usage { input_tokens: reservation.estimate_tokens, ..Usage::default() });
        record.cost_nanousd = reservation.estimate_nanousd;
        record.sample =
            reservation.sample.clone().map(|of| Box::new(SampleRecord::unknown(of, reservation.tier)));
        if record.sample.is_none() {
            let cost = reservation.estimate_nanousd;
            record.baseline_nanousd = Baselines { requested: cost, all_opus: cost };
        }
        record.attempts = 1;
        record
    }

    /// Returns the tokens by kind.
    #[must_use]
    pub const fn usage(&self) -> Usage {
        Usage {
            input_tokens: self.input_tokens,
            cache_read_tokens: self.cache_read_tokens,
            cache_write_5m_tokens: self.cache_write_5m_tokens,
            cache_write_1h_tokens: self.cache_write_1h_tokens,
            output_tokens: self.output_tokens,
        }
    }

    /// Writes the tokens by kind, and their sum.
    pub const fn set_usage(&mut self, usage: &Usage) {
        self.input_tokens = usage.input_tokens;
        self.cache_read_tokens = usage.cache_read_tokens;
        self.cache_write_5m_tokens = usage.cache_write_5m_tokens;
        self.cache_write_1h_tokens = usage.cache_write_1h_tokens;
        self.output_tokens = usage.output_tokens;
        self.tokens_used = usage.total_tokens();
    }
}

/// What an exchange would have cost without routing, in nano-dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baselines {
    /// On the model the client asked for.
    pub requested: NanoUsd,
    /// On the model of the opus tier.
    pub all_opus: NanoUsd,
}

/// Who counted the tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageSource {
    /// The upstream reported them.
    Upstream,
    /// We did, because the upstream's count never came.
    Estimate,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Answered.
    Ok,
    /// The request was wrong.
    ClientError,
    /// A rate was spent, ours or the upstream's.
    RateLimited,
    /// A budget or quota was spent.
    QuotaRejected,
    /// The upstream failed.
    UpstreamError,
    /// We failed.
    ProxyError,
    /// The client left.
    ClientAborted,
    /// We crashed while it ran; it is charged at its estimate.
    Lost,
}

/// One tool named in an exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The tool.
    pub name: String,
    /// Whether its result was an error, where a result was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_error: Option<bool>,
}

/// Money and tokens held for a request in flight.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(Serialize))]
#[serde(tag = "kind", rename = "reservation")]
pub struct ReservationRecord {
    /// When it was held.
    #[serde(with = "rfc3339")]
    pub timestamp: Timestamp,
    /// Our id of the exchange.
    pub request_id: RequestId,
    /// Who owns the key.
    pub tenant: String,
    /// The person or service inside the tenant.
    pub user_id: Option<String>,
    /// The public part of the key.
    pub key_id: Option<String>,
    /// The model the request goes to.
    pub sent_model: String,
    /// That model's tier.
    pub tier: Tier,
    /// The money held.
    pub estimate_nanousd: NanoUsd,
    /// The tokens held, all kinds together.
    pub estimate_tokens: u64,
    /// For one model's share of a batch: the exchange that made the batch. Held until the results are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<RequestId>,
    /// For a sample: the client's exchange that is asked again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<RequestId>,
}

/// An upstream object and who owns it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename = "object")]
pub struct ObjectRecord {
    /// When it was made.
    #[serde(with = "rfc3339")]
    pub timestamp: Timestamp,
    /// What it is.
    pub object_type: ObjectType,
    /// The upstream's id of it.
    pub object_id: String,
    /// The tenant it belongs to.
    pub tenant: String,
    /// The user who made it.
    pub user_id: Option<String>,
    /// The exchange that made it.
    pub request_id: RequestId,
}

/// The kinds of upstream object that have an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectType {
    /// A message batch.
    Batch,
    /// A file.
    File,
    /// A code-execution container.
    Container,
    /// A thread.
    Thread,
}

/// An upstream object as an exchange names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectName {
    /// What it is.
    pub object_type: ObjectType,
    /// The upstream's id of it.
    pub object_id: String,
}

/// The first record of a stream: where its chain begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename = "open")]
pub struct OpenRecord {
    /// When the stream was begun.
    #[serde(with = "rfc3339")]
    pub timestamp: Timestamp,
    /// The stream's name.
    pub stream: String,
    /// Sixteen random bytes in hexadecimal, so that no two instances share a chain.
    pub origin: String,
    /// The version of the format; 1.
    pub version: u32,
}
