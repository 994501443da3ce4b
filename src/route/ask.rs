//! What a decision needs of a request: facts, no text, so that they can be kept and decided on again.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::past::is_default;
use crate::wire::envelope::{Envelope, Role};

/// The facts of one request; what is absent from a record is as it is here by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ask<'a> {
    /// The model's name; a record tells it as the model that was asked for.
    #[serde(skip_serializing)]
    pub model: Cow<'a, str>,
    /// Bytes of JSON, base64 payload left out.
    pub text_bytes: u64,
    /// `max_tokens`.
    #[serde(skip_serializing_if = "is_default")]
    pub max_tokens: Option<u64>,
    /// `thinking.type`.
    #[serde(skip_serializing_if = "is_default")]
    pub thinking: Option<Cow<'a, str>>,
    /// `thinking.display`.
    #[serde(skip_serializing_if = "is_default")]
    pub display: Option<Cow<'a, str>>,
    /// `thinking.budget_tokens` is given.
    #[serde(skip_serializing_if = "is_default")]
    pub thinking_budget: bool,
    /// `thinking` is written out as null.
    #[serde(skip_serializing_if = "is_default")]
    pub thinking_null: bool,
    /// `output_config.effort`.
    #[serde(skip_serializing_if = "is_default")]
    pub effort: Option<Cow<'a, str>>,
    /// An answer in a schema.
    #[serde(skip_serializing_if = "is_default")]
    pub structured_output: bool,
    /// `output_config.task_budget`.
    #[serde(skip_serializing_if = "is_default")]
    pub task_budget: bool,
    /// `temperature`, as written.
    #[serde(skip_serializing_if = "is_default")]
    pub temperature: Option<Cow<'a, str>>,
    /// `top_p`, as written.
    #[serde(skip_serializing_if = "is_default")]
    pub top_p: Option<Cow<'a, str>>,
    /// `top_k`, as written.
    #[serde(skip_serializing_if = "is_default")]
    pub top_k: Option<Cow<'a, str>>,
    /// `tool_choice.type`.
    #[serde(skip_serializing_if = "is_default")]
    pub tool_choice: Option<Cow<'a, str>>,
    /// Types of tools besides `custom`, each once.
    #[serde(skip_serializing_if = "is_default")]
    pub tool_kinds: Vec<Cow<'a, str>>,
    /// Models of advisor tools.
    #[serde(skip_serializing_if = "is_default")]
    pub advisors: Vec<Cow<'a, str>>,
    /// More tools than are read.
    #[serde(skip_serializing_if = "is_default")]
    pub tools_unread: bool,
    /// `service_tier`.
    #[serde(skip_serializing_if = "is_default")]
    pub service_tier: Option<Cow<'a, str>>,
    /// `speed`.
    #[serde(skip_serializing_if = "is_default")]
    pub speed: Option<Cow<'a, str>>,
    /// `inference_geo` is given.
    #[serde(skip_serializing_if = "is_default")]
    pub inference_geo: bool,
    /// A container is named.
    #[serde(skip_serializing_if = "is_default")]
    pub container: bool,
    /// It belongs to a thread.
    #[serde(skip_serializing_if = "is_default")]
    pub thread: bool,
    /// `fallbacks` is a list.
    #[serde(skip_serializing_if = "is_default")]
    pub fallback_list: bool,
    /// Names of other top-level fields; at most 64.
    #[serde(skip_serializing_if = "is_default")]
    pub other_fields: Vec<Cow<'a, str>>,
    /// Kinds of blocks besides the usual ones; at most 64.
    #[serde(skip_serializing_if = "is_default")]
    pub other_blocks: Vec<Cow<'a, str>>,
    /// An answer is in the history.
    #[serde(skip_serializing_if = "is_default")]
    pub answered: bool,
    /// The last message is the assistant's.
    #[serde(skip_serializing_if = "is_default")]
    pub prefill: bool,
    /// The last message's role is none that is known.
    #[serde(skip_serializing_if = "is_default")]
    pub unknown_role: bool,
    /// A message with role `system`.
    #[serde(skip_serializing_if = "is_default")]
    pub system_messages: bool,
    /// A message with settings of its own.
    #[serde(skip_serializing_if = "is_default")]
    pub message_config: bool,
    /// A document in an assistant's message.
    #[serde(skip_serializing_if = "is_default")]
    pub assistant_document: bool,
    /// Thinking in the history.
    #[serde(skip_serializing_if = "is_default")]
    pub has_thinking: bool,
    /// Marked for the prompt cache.
    #[serde(skip_serializing_if = "is_default")]
    pub cached: bool,
    /// Some of it for an hour.
    #[serde(skip_serializing_if = "is_default")]
    pub cached_hour: bool,
    /// The last message answers tool calls.
    #[serde(skip_serializing_if = "is_default")]
    pub in_tool_loop: bool,
    /// The last answer called tools.
    #[serde(skip_serializing_if = "is_default")]
    pub called_tools: bool,
    /// Images.
    #[serde(skip_serializing_if = "is_default")]
    pub images: u64,
    /// Documents, or sources that the upstream fetches: their size is not known.
    #[serde(skip_serializing_if = "is_default")]
    pub unsized_parts: bool,
}

impl<'a> Ask<'a> {
    /// Gathers the facts of a request.
    #[must_use]
    pub fn of(envelope: &Envelope<'a>) -> Self {
        let history = &envelope.history;
        let thinking = envelope.thinking.as_ref();
        let number = |bytes: &'a [u8]| String::from_utf8_lossy(bytes);
        let mut tool_kinds: Vec<Cow<'a, str>> = Vec::new();
        let mut advisors: Vec<Cow<'a, str>> = Vec::new();
        for tool in envelope.tool_list.iter().filter(|tool| tool.kind != "custom") {
            if !tool_kinds.contains(&tool.kind) {
                tool_kinds.push(tool.kind.clone());
            }
            if tool.kind == ADVISOR && !advisors.contains(&tool.model) {
                advisors.push(tool.model.clone());
            }
        }
        Self {
            model: envelope.model.clone(),
            text_bytes: count(envelope.body.len().saturating_sub(history.payload_bytes)),
            max_tokens: envelope.max_tokens,
            thinking: thinking.map(|thinking| thinking.kind.clone()),
            display: thinking.and_then(|thinking| thinking.display.clone()),
            thinking_budget: thinking.is_some_and(|thinking| thinking.budget_tokens.is_some()),
            thinking_null: envelope.thinking_null,
            effort: envelope.effort.clone(),
            structured_output: envelope.structured_output,
            task_budget: envelope.task_budget,
            temperature: envelope.sampling.temperature.map(number),
            top_p: envelope.sampling.top_p.map(number),
            top_k: envelope.sampling.top_k.map(number),
            tool_choice: envelope.tool_choice.as_ref().map(|choice| choice.kind.clone()),
            tool_kinds,
            advisors,
            tools_unread: envelope.tool_list.len() >= TOOLS_READ,
            service_tier: envelope.service_tier.clone(),
            speed: envelope.speed.clone(),
            inference_geo: envelope.inference_geo.is_some(),
            container: envelope.container.is_some(),
            thread: envelope.thread.is_some(),
            fallback_list: envelope.fallback_list,
            other_fields: envelope.other_fields.clone(),
            other_blocks: history.other_blocks.clone(),
            answered: history.assistant_messages > 0,
            prefill: envelope.ends_with_assistant(),
            unknown_role: history.last_role == Role::Unknown,
            system_messages: history.system_messages > 0,
            message_config: history.per_message_config,
            assistant_document: history.assistant_document,
            has_thinking: history.has_thinking,
            cached: history.cache_control,
            cached_hour: history.cache_hour,
            in_tool_loop: envelope.in_tool_loop(),
            called_tools: !history.last_tool_calls.is_empty(),
            images: count(history.images),
            unsized_parts: history.documents > 0 || history.remote_sources > 0,
        }
    }

    /// Tells whether answering does nothing but answer: no thread, container or file is made, no tool of the upstream's
    /// runs, nothing is asked for that we do not know. Only such a request may be asked again behind its client's back.
    #[must_use]
    pub fn only_answers(&self) -> bool {
        let known = |name: &Cow<'_, str>| WITHOUT_EFFECT.contains(&name.as_ref());
        let run_by_client = |kind: &Cow<'_, str>| CLIENT_TOOLS.iter().any(|client| kind.starts_with(client));
        !(self.thread || self.container || self.fallback_list || self.tools_unread)
            && self.max_tokens != Some(0)
            && self.advisors.is_empty()
            && self.tool_kinds.iter().all(run_by_client)
            && self.other_fields.iter().all(known)
            && self.other_blocks.iter().all(|kind| kind == "document" || kind == "redacted_thinking")
    }

    /// Tells whether the request asks for thinking by name.
    pub(super) fn asks_thinking(&self) -> bool {
        self.thinking.as_ref().is_some_and(|kind| kind != "disabled")
    }

    /// Tells whether fast mode is asked for.
    pub(super) fn is_fast(&self) -> bool {
        self.speed.as_deref() == Some("fast")
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// The type of an advisor tool.
pub(super) const ADVISOR: &str = "advisor_20260301";
/// Beginnings of the types of tools that the client runs, besides custom ones; kinds not named may run upstream.
const CLIENT_TOOLS: [&str; 3] = ["bash_", "text_editor_", "memory_"];
/// Top-level fields, besides those the envelope names, that only shape the answer.
const WITHOUT_EFFECT: [&str; 7] = [
    "messages",
    "metadata",
    "cache_control",
    "context_management",
    "stop_sequences",
    "output_config",
    "tool_choice",
];
/// As many tools as an envelope keeps.
const TOOLS_READ: usize = 512;
