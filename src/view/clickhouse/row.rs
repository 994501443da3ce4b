//! An exchange as a row of `requests`; the names are those of the columns.

use clickhouse::Row;
use serde::{Deserialize, Serialize};

use crate::journal::{ExchangeRecord, Place};

/// One row. Texts that a record has not are empty.
#[derive(Clone, Debug, Row, Serialize)]
pub(super) struct Request<'a> {
    ts: i64,
    settled_at: i64,
    request_id: &'a str,
    seq: u64,
    record_hash: [u8; 32],
    journal: &'a str,
    tenant: &'a str,
    user: &'a str,
    key_id: &'a str,
    session_id: &'a str,
    agent_id: &'a str,
    client: &'a str,
    tags: &'a [String],
    endpoint: &'a str,
    upstream: &'a str,
    upstream_request_id: &'a str,
    message_id: &'a str,
    requested_model: &'a str,
    sent_model: &'a str,
    answered_model: &'a str,
    tier: &'a str,
    mode: &'a str,
    reasons: Vec<String>,
    escalated_from: String,
    workload: String,
    policy_version: String,
    price_version: &'a str,
    input_tokens: u64,
    cache_read_tokens: u64,
    cache_write_5m_tokens: u64,
    cache_write_1h_tokens: u64,
    output_tokens: u64,
    usage_source: &'a str,
    cost_nanousd: i64,
    baseline_requested_nanousd: i64,
    baseline_all_opus_nanousd: i64,
    cache: &'a str,
    cache_saved_nanousd: i64,
    is_sample: bool,
    status: u16,
    error_type: &'a str,
    stop_reason: &'a str,
    outcome: &'a str,
    tools: Vec<&'a str>,
    failed_tools: Vec<&'a str>,
    guards: Vec<String>,
    stream: bool,
    latency_ms: u64,
    ttft_ms: Option<u64>,
    overhead_us: u64,
    attempts: u32,
}

/// What of a record's decision is copied.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Decided {
    reasons: Vec<Code>,
    escalated_from: Option<String>,
    workload: Option<String>,
    policy_version: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Code {
    code: String,
}

impl<'a> Request<'a> {
    /// Puts a record of the journal with this origin as a row.
    pub(super) fn of(place: &Place, record: &'a ExchangeRecord, journal: &'a str) -> Self {
        let text = |text: &'a Option<String>| text.as_deref().unwrap_or_default();
        let decided = record.decision.as_ref().and_then(|raw| serde_json::from_str(raw.get()).ok());
        let decided: Decided = decided.unwrap_or_default();
        let tools = record.tool_calls.iter();
        Self {
            ts: record.timestamp.as_microsecond(),
            settled_at: record.settled_at.as_microsecond(),
            request_id: record.request_id.as_str(),
            seq: place.seq,
            record_hash: place.hash.bytes(),
            journal,
            tenant: &record.tenant,
            user: text(&record.user_id),
            key_id: text(&record.key_id),
            session_id: text(&record.session_id),
            agent_id: text(&record.agent_id),
            client: text(&record.client),
            tags: &record.tags,
            endpoint: text(&record.endpoint),
            upstream: text(&record.upstream),
            upstream_request_id: text(&record.upstream_request_id),
            message_id: text(&record.message_id),
            requested_model: &record.requested_model,
            sent_model: text(&record.sent_model),
            answered_model: text(&record.answered_model),
            tier: record.tier.name(),
            mode: text(&record.mode),
            reasons: decided.reasons.into_iter().map(|reason| reason.code).collect(),
            escalated_from: decided.escalated_from.unwrap_or_default(),
            workload: decided.workload.unwrap_or_default(),
            policy_version: decided.policy_version.unwrap_or_default(),
            price_version: text(&record.price_version),
            input_tokens: record.input_tokens,
            cache_read_tokens: record.cache_read_tokens,
            cache_write_5m_tokens: record.cache_write_5m_tokens,
            cache_write_1h_tokens: record.cache_write_1h_tokens,
            output_tokens: record.output_tokens,
            usage_source: record.usage_source.name(),
            cost_nanousd: record.cost_nanousd.0,
            baseline_requested_nanousd: record.baseline_nanousd.requested.0,
            baseline_all_opus_nanousd: record.baseline_nanousd.all_opus.0,
            cache: text(&record.cache),
            cache_saved_nanousd: record.cache_saved_nanousd.0,
            is_sample: record.sample.is_some(),
            status: record.status,
            error_type: text(&record.error_type),
            stop_reason: text(&record.stop_reason),
            outcome: record.outcome.name(),
            tools: tools.clone().map(|tool| tool.name.as_str()).collect(),
            failed_tools: tools
                .filter(|tool| tool.is_error == Some(true))
                .map(|tool| tool.name.as_str())
                .collect(),
            guards: record.guards.iter().map(|find| format!("{}:{}", find.action, find.found)).collect(),
            stream: record.stream,
            latency_ms: record.latency_ms,
            ttft_ms: record.ttft_ms,
            overhead_us: record.overhead_us,
            attempts: record.attempts,
        }
    }
}
