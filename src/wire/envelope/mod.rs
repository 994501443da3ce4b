//! The borrowed view of a request body: the few fields that policies read, found in one scan.
//!
//! The bytes stay as they came. A field that two parsers could read differently (given twice, or under an
//! escaped name) is refused, and so is a field of a type that no upstream accepts; what was judged is then what
//! is forwarded. Everything not named here passes, repeated or not, and an absent field is the upstream's to
//! refuse, `model` excepted. Null stands for absence wherever a field may be absent.

mod fields;
mod history;
mod read;

use std::borrow::Cow;
use std::ops::Range;

pub use read::read;

/// What policies read of a `/v1/messages` or `count_tokens` body.
#[derive(Clone, Debug, Default)]
pub struct Envelope<'a> {
    /// The whole body.
    pub body: &'a [u8],
    /// The model's name, unescaped.
    pub model: Cow<'a, str>,
    /// Where the model's string stands in the body, quotes included.
    pub model_span: Range<usize>,
    /// `max_tokens`; required by messages, absent in count_tokens.
    pub max_tokens: Option<u64>,
    /// `stream`, false where absent.
    pub stream: bool,
    /// Where `stream` and `metadata.user_id` stand, which do not change what is answered: each with its name and
    /// one comma next to it, so that the rest is a document too; in order of place, empty where absent.
    pub formalities: [Range<usize>; 2],
    /// The raw value of `system`.
    pub system: Option<&'a [u8]>,
    /// The raw value of `tools`.
    pub tools: Option<&'a [u8]>,
    /// Each tool's `type` (`custom` where absent) and name, in order; at most 512 are kept.
    pub tool_list: Vec<Tool<'a>>,
    /// `tool_choice.type`.
    pub tool_choice: Option<ToolChoice<'a>>,
    /// `thinking`, where given and not null.
    pub thinking: Option<Thinking<'a>>,
    /// `thinking` is written out as null, which counts as left out.
    pub thinking_null: bool,
    /// `output_config.effort`.
    pub effort: Option<Cow<'a, str>>,
    /// `output_config.format` is given and not null.
    pub structured_output: bool,
    /// `output_config.task_budget` is given and not null.
    pub task_budget: bool,
    /// Sampling parameters as written, null as absent.
    pub sampling: Sampling<'a>,
    /// `stop_sequences` is given and not empty.
    pub stop_sequences: bool,
    /// `metadata.user_id`.
    pub metadata_user: Option<Cow<'a, str>>,
    /// `service_tier`.
    pub service_tier: Option<Cow<'a, str>>,
    /// `speed`.
    pub speed: Option<Cow<'a, str>>,
    /// `inference_geo`.
    pub inference_geo: Option<Cow<'a, str>>,
    /// `container` as a string or its `id`; `Some("")` where an object has none.
    pub container: Option<Cow<'a, str>>,
    /// `thread`, where given and not null.
    pub thread: Option<Thread<'a>>,
    /// Names of other top-level fields with a value other than null, in order; at most 64 are kept.
    pub other_fields: Vec<Cow<'a, str>>,
    /// `fallbacks` is given and not null.
    pub fallbacks: bool,
    /// `fallbacks` is given as a list (not the word "default").
    pub fallback_list: bool,
    /// A string holds an escape by number, such as `\u0041`.
    pub numbered_escapes: bool,
    /// What the messages hold.
    pub history: History<'a>,
}

impl Envelope<'_> {
    /// Tells whether the last user message answers tool calls, so that the model is amid its work.
    #[must_use]
    pub const fn in_tool_loop(&self) -> bool {
        !self.history.last_tool_results.is_empty()
    }

    /// Tells whether the last message is the assistant's, to be continued by the answer (prefill).
    #[must_use]
    pub const fn ends_with_assistant(&self) -> bool {
        matches!(self.history.last_role, Role::Assistant)
    }

    /// Tells whether a tool is run by the upstream itself (or has a type we do not know).
    #[must_use]
    pub fn has_server_tools(&self) -> bool {
        self.tool_list.iter().any(|tool| {
            tool.kind != "custom" && !CLIENT_TOOLS.iter().any(|client| tool.kind.starts_with(client))
        })
    }
}

/// One entry of `tools`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool<'a> {
    /// `type`, `custom` where absent.
    pub kind: Cow<'a, str>,
    /// `name`, empty where absent.
    pub name: Cow<'a, str>,
    /// `model` of an advisor tool, else empty.
    pub model: Cow<'a, str>,
}

/// `tool_choice`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolChoice<'a> {
    /// `type`: auto, any, tool, none.
    pub kind: Cow<'a, str>,
    /// `name` of a forced tool.
    pub name: Option<Cow<'a, str>>,
}

/// `thinking`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thinking<'a> {
    /// `type`: adaptive, enabled, disabled, `between_tools`, or one we do not know.
    pub kind: Cow<'a, str>,
    /// `display`, where given.
    pub display: Option<Cow<'a, str>>,
    /// `budget_tokens`, where given.
    pub budget_tokens: Option<u64>,
}

/// Sampling parameters, each as the bytes of its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sampling<'a> {
    /// `temperature`.
    pub temperature: Option<&'a [u8]>,
    /// `top_p`.
    pub top_p: Option<&'a [u8]>,
    /// `top_k`.
    pub top_k: Option<&'a [u8]>,
}

/// `thread`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread<'a> {
    /// `type`: create or continue.
    pub kind: Cow<'a, str>,
    /// `previous_message_id`, of a continued thread.
    pub previous_message_id: Option<Cow<'a, str>>,
}

/// What the messages of a request hold.
#[derive(Clone, Debug, Default)]
pub struct History<'a> {
    /// Where each message stands in the body, in order; at most 100,000.
    pub spans: Vec<Range<usize>>,
    /// Messages with role `assistant`.
    pub assistant_messages: usize,
    /// Which of `spans` is the last message with role `assistant`.
    pub last_assistant: Option<usize>,
    /// Messages with role `system`.
    pub system_messages: usize,
    /// The last message's role.
    pub last_role: Role,
    /// An assistant message holds a `thinking` or `redacted_thinking` block.
    pub has_thinking: bool,
    /// A message carries its own `output_config` or `clear_at`.
    pub per_message_config: bool,
    /// An assistant message holds a `document` block.
    pub assistant_document: bool,
    /// A message holds `cache_control`, or `system` or `tools` do.
    pub cache_control: bool,
    /// One of those asks for an hour.
    pub cache_hour: bool,
    /// Block types seen that are neither text, thinking, tool_use, tool_result nor image; each once.
    pub other_blocks: Vec<Cow<'a, str>>,
    /// Number of `image` blocks.
    pub images: usize,
    /// Widths and heights of those that are in the body and say so; at most 600.
    pub pictures: Vec<(u32, u32)>,
    /// Number of `document` blocks.
    pub documents: usize,
    /// Bytes of base64 payload in them.
    pub document_bytes: usize,
    /// `document` blocks whose source is a URL or a file id.
    pub remote_documents: usize,
    /// Bytes of base64 payload (`source.data`) in the whole body, which are not text.
    pub payload_bytes: usize,
    /// Blocks whose `source.type` is `url` or `file`: their size cannot be known beforehand.
    pub remote_sources: usize,
    /// Raw text strings (between the quotes, escapes as they came) of the last user message that has
    /// text, tool results excluded; in order.
    pub last_user_text: Vec<&'a [u8]>,
    /// Raw text of the first user message, likewise.
    pub first_user_text: Vec<&'a [u8]>,
    /// `tool_use` names of the last assistant message.
    pub last_tool_calls: Vec<Cow<'a, str>>,
    /// For each `tool_result` of the last user message, in order: whether `is_error` was true.
    pub last_tool_results: Vec<bool>,
    /// Tools by name whose results have failed up to here, and how often in a row; at most 64 are kept.
    pub failing_tools: Vec<(Cow<'a, str>, u32)>,
    /// Tools whose result failed for the third time in a row in the last user message.
    pub failed_thrice: Vec<Cow<'a, str>>,
}

/// Who speaks in a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// The user, tool results included.
    #[default]
    User,
    /// The model.
    Assistant,
    /// Instructions in mid-conversation.
    System,
    /// Anything else; the upstream refuses it.
    Unknown,
}

/// Beginnings of the types of tools that the upstream defines and the client runs.
const CLIENT_TOOLS: [&str; 5] = ["bash_", "text_editor_", "computer_", "browser_toolset_", "memory_"];

#[cfg(test)]
mod tests;
