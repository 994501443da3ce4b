//! Exchanges as OpenTelemetry: a span each, and the GenAI metrics; names as in the conventions' default set, or their newest.
//!
//! A span is made from the record, so its ids are the same whenever it is made. Its parent is what the client named in
//! `traceparent`, whose wish not to be sampled holds. No text of prompts or answers, no user, no key is in it.

mod meters;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource as WireResource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use serde::Deserialize;

pub use meters::Meters;

use crate::journal::{ExchangeRecord, Outcome};

/// Who tells: the process, by the origin of its journal.
#[derive(Clone, Debug)]
pub struct Resource {
    /// The journal's origin, which no other instance has.
    pub instance: String,
    /// Whether the newest names of the conventions are used.
    pub latest: bool,
}

impl Resource {
    fn to_wire(&self) -> WireResource {
        let attributes = vec![
            text("service.name", "tercet"),
            text("service.version", env!("CARGO_PKG_VERSION")),
            text("service.instance.id", &self.instance),
        ];
        WireResource { attributes, ..WireResource::default() }
    }
}

/// Returns the spans of messages among `records`; `None` where there are none.
#[must_use]
pub fn spans<'a>(
    resource: &Resource,
    records: impl Iterator<Item = &'a ExchangeRecord>,
) -> Option<ExportTraceServiceRequest> {
    let mut spans: Vec<Span> = records.filter(|record| is_message(record)).filter_map(span).collect();
    if spans.is_empty() {
        return None;
    }
    if resource.latest {
        spans.iter_mut().for_each(|span| span.attributes.retain(|one| one.key != OLD_SYSTEM));
    }
    let scope_spans = vec![ScopeSpans { scope: Some(scope()), spans, ..ScopeSpans::default() }];
    let resource = Some(resource.to_wire());
    Some(ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }],
    })
}

/// A client's message, neither a sample nor another path.
fn is_message(record: &ExchangeRecord) -> bool {
    record.sample.is_none() && record.endpoint.as_deref() == Some("/v1/messages")
}

/// Returns the span of an exchange; `None` where its client does not want one.
fn span(record: &ExchangeRecord) -> Option<Span> {
    let trace = record.trace()?;
    let start = u64::try_from(record.timestamp.as_nanosecond()).ok()?;
    let failed = record.outcome != Outcome::Ok;
    Some(Span {
        trace_id: trace.trace_id.to_vec(),
        span_id: trace.span_id.to_vec(),
        parent_span_id: trace.parent.map(Vec::from).unwrap_or_default(),
        name: format!("chat {}", record.requested_model),
        kind: SpanKind::Server.into(),
        start_time_unix_nano: start,
        end_time_unix_nano: start.saturating_add(record.latency_ms.saturating_mul(1_000_000)),
        attributes: attributes(record),
        status: failed.then(|| Status {
            code: StatusCode::Error.into(),
            message: record.error_type.clone().unwrap_or_default(),
        }),
        ..Span::default()
    })
}

fn attributes(record: &ExchangeRecord) -> Vec<KeyValue> {
    let usage = record.usage();
    let written = usage.cache_write_5m_tokens.saturating_add(usage.cache_write_1h_tokens);
    let mut list = vec![
        text("gen_ai.operation.name", "chat"),
        text(OLD_SYSTEM, "anthropic"),
        text("gen_ai.provider.name", "anthropic"),
        text("gen_ai.request.model", &record.requested_model),
        // The API counts what is cached apart; the convention has it in the sum.
        count("gen_ai.usage.input_tokens", usage.prompt_tokens()),
        count("gen_ai.usage.output_tokens", usage.output_tokens),
        count("gen_ai.usage.cache_read.input_tokens", usage.cache_read_tokens),
        count("gen_ai.usage.cache_creation.input_tokens", written),
        count("http.response.status_code", u64::from(record.status)),
        text("tercet.request_id", record.request_id.as_str()),
        text("tercet.tenant", &record.tenant),
        text("tercet.tier", record.tier.name()),
        text("tercet.outcome", record.outcome.name()),
        value("tercet.cost_nanousd", Value::IntValue(record.cost_nanousd.0)),
        list_of("tercet.reasons", reasons(record)),
    ];
    let optional = [
        ("gen_ai.response.model", &record.answered_model),
        ("gen_ai.response.id", &record.message_id),
        ("gen_ai.conversation.id", &record.session_id),
        ("error.type", &record.error_type),
        ("tercet.sent_model", &record.sent_model),
        ("tercet.cache", &record.cache),
    ];
    list.extend(optional.iter().filter_map(|(name, value)| Some(text(name, value.as_deref()?))));
    if let Some(reason) = &record.stop_reason {
        list.push(list_of("gen_ai.response.finish_reasons", vec![reason.clone()]));
    }
    list
}

fn reasons(record: &ExchangeRecord) -> Vec<String> {
    #[derive(Deserialize)]
    struct Decided {
        reasons: Vec<Code>,
    }
    #[derive(Deserialize)]
    struct Code {
        code: String,
    }
    let decided = record.decision.as_ref().and_then(|raw| serde_json::from_str::<Decided>(raw.get()).ok());
    decided.map_or_else(Vec::new, |decided| decided.reasons.into_iter().map(|one| one.code).collect())
}

fn scope() -> InstrumentationScope {
    let (name, version) = ("tercet".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    InstrumentationScope { name, version, ..InstrumentationScope::default() }
}

fn value(name: &str, value: Value) -> KeyValue {
    KeyValue { key: name.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text(name: &str, text: &str) -> KeyValue {
    value(name, Value::StringValue(text.to_owned()))
}

fn count(name: &str, count: u64) -> KeyValue {
    value(name, Value::IntValue(i64::try_from(count).unwrap_or(i64::MAX)))
}

fn list_of(name: &str, texts: Vec<String>) -> KeyValue {
    let values = texts.into_iter().map(|text| AnyValue { value: Some(Value::StringValue(text)) });
    value(name, Value::ArrayValue(ArrayValue { values: values.collect() }))
}

/// What the newest names have no place for: the provider says it.
const OLD_SYSTEM: &str = "gen_ai.system";
