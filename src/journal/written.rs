//! The records of a request as JSON: an exchange and its reservation, of which every request leaves one each.
//!
//! The other records are rare and go through serde; so do these in tests, which see that no field is forgotten here.

use super::finds::GuardFind;
use super::record::{Baselines, ExchangeRecord, ObjectName, ObjectType, Outcome, ReservationRecord};
use super::record::{ToolCall, UsageSource};
use crate::wire::json::write::{Json, Object, push_text};

impl ExchangeRecord {
    /// Returns the record as one JSON object, `kind` first.
    pub(super) fn to_json(&self) -> String {
        let mut object = Object::begin("exchange");
        self.put_names(&mut object);
        self.put_sums(&mut object);
        self.put_end(&mut object);
        self.put_optional(&mut object);
        object.end()
    }

    /// Who asked, and what for.
    fn put_names(&self, object: &mut Object) {
        object.time("timestamp", self.timestamp);
        object.text("request_id", self.request_id.as_str());
        object.maybe("upstream_request_id", self.upstream_request_id.as_deref());
        object.text("tenant", &self.tenant);
        object.maybe("user_id", self.user_id.as_deref());
        object.maybe("key_id", self.key_id.as_deref());
        object.maybe("session_id", self.session_id.as_deref());
        object.maybe("message_id", self.message_id.as_deref());
        object.maybe("thread_id", self.thread_id.as_deref());
        object.text("requested_model", &self.requested_model);
        object.maybe("sent_model", self.sent_model.as_deref());
        object.maybe("answered_model", self.answered_model.as_deref());
        object.word("tier", self.tier.name());
        object.json("decision", self.decision.as_ref().map(Json::get));
    }

    /// What it used and cost.
    fn put_sums(&self, object: &mut Object) {
        object.count("input_tokens", self.input_tokens);
        object.count("cache_read_tokens", self.cache_read_tokens);
        object.count("cache_write_5m_tokens", self.cache_write_5m_tokens);
        object.count("cache_write_1h_tokens", self.cache_write_1h_tokens);
        object.count("output_tokens", self.output_tokens);
        object.count("tokens_used", self.tokens_used);
        object.word("usage_source", self.usage_source.name());
        object.number("cost_nanousd", self.cost_nanousd.0);
        let Baselines { requested, all_opus } = self.baseline_nanousd;
        object.nested("baseline_nanousd", [("requested", requested.0), ("all_opus", all_opus.0)]);
        object.maybe("price_version", self.price_version.as_deref());
    }

    /// How it ended.
    fn put_end(&self, object: &mut Object) {
        object.count("status", u64::from(self.status));
        object.maybe("error_type", self.error_type.as_deref());
        object.maybe("stop_reason", self.stop_reason.as_deref());
        object.word("outcome", self.outcome.name());
        object.maybe("cache", self.cache.as_deref());
        object.list("tool_calls", &self.tool_calls, put_tool_call);
        object.flag("stream", self.stream);
        object.count("latency_ms", self.latency_ms);
        match self.ttft_ms {
            Some(time) => object.count("ttft_ms", time),
            None => object.json("ttft_ms", None),
        }
        object.count("overhead_us", self.overhead_us);
        object.count("attempts", u64::from(self.attempts));
        object.time("settled_at", self.settled_at);
    }

    /// What is written only where it is known.
    fn put_optional(&self, object: &mut Object) {
        let texts = [
            ("endpoint", &self.endpoint),
            ("upstream", &self.upstream),
            ("mode", &self.mode),
            ("agent_id", &self.agent_id),
            ("client", &self.client),
            ("traceparent", &self.traceparent),
        ];
        for (name, value) in texts {
            if let Some(value) = value {
                object.text(name, value);
            }
        }
        for (name, values) in [("tags", &self.tags), ("levels", &self.levels)] {
            if !values.is_empty() {
                object.list(name, values, |text, value| push_text(text, value));
            }
        }
        if !self.objects.is_empty() {
            object.list("objects", &self.objects, put_object);
        }
        if let Some(sample) = self.sample.as_ref().and_then(|sample| serde_json::to_string(sample).ok()) {
            object.json("sample", Some(&sample));
        }
        if !self.cache_saved_nanousd.is_zero() {
            object.number("cache_saved_nanousd", self.cache_saved_nanousd.0);
        }
        if let Some(prompt) = &self.prompt_cache {
            prompt.put(object);
        }
        if !self.guards.is_empty() {
            object.list("guards", &self.guards, GuardFind::put);
        }
    }
}

impl ReservationRecord {
    /// Returns the record as one JSON object, `kind` first.
    pub(super) fn to_json(&self) -> String {
        let mut object = Object::begin("reservation");
        object.time("timestamp", self.timestamp);
        object.text("request_id", self.request_id.as_str());
        object.text("tenant", &self.tenant);
        object.maybe("user_id", self.user_id.as_deref());
        object.maybe("key_id", self.key_id.as_deref());
        object.text("sent_model", &self.sent_model);
        object.word("tier", self.tier.name());
        object.number("estimate_nanousd", self.estimate_nanousd.0);
        object.count("estimate_tokens", self.estimate_tokens);
        if let Some(batch) = &self.batch {
            object.text("batch", batch.as_str());
        }
        if let Some(sample) = &self.sample {
            object.text("sample", sample.as_str());
        }
        object.end()
    }
}

impl UsageSource {
    /// Returns the word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Estimate => "estimate",
        }
    }
}

impl Outcome {
    /// Returns the word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ClientError => "client_error",
            Self::RateLimited => "rate_limited",
            Self::QuotaRejected => "quota_rejected",
            Self::UpstreamError => "upstream_error",
            Self::ProxyError => "proxy_error",
            Self::ClientAborted => "client_aborted",
            Self::Lost => "lost",
        }
    }
}

fn put_tool_call(text: &mut String, call: &ToolCall) {
    text.push_str(r#"{"name":"#);
    push_text(text, &call.name);
    if let Some(is_error) = call.is_error {
        text.push_str(if is_error { r#","is_error":true"# } else { r#","is_error":false"# });
    }
    text.push('}');
}

fn put_object(text: &mut String, object: &ObjectName) {
    let kind = match object.object_type {
        ObjectType::Batch => "batch",
        ObjectType::File => "file",
        ObjectType::Container => "container",
        ObjectType::Thread => "thread",
    };
    text.push_str(r#"{"object_type":""#);
    text.push_str(kind);
    text.push_str(r#"","object_id":"#);
    push_text(text, &object.object_id);
    text.push('}');
}
