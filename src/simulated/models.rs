//! What can differ between the simulated models; the rows are in `model_table`, the rules that read them in `rules`
//! and its neighbours. Context and output are in tokens.

/// One model and what it accepts.
#[derive(Debug)]
pub(super) struct Model {
    /// The id in answers.
    pub id: &'static str,
    /// Another id that resolves to this row.
    pub alias: Option<&'static str>,
    pub name: &'static str,
    pub line: &'static str,
    pub released: &'static str,
    pub retires: Option<&'static str>,
    pub context_tokens: u64,
    pub max_output_tokens: u64,
    pub thinking: Thinking,
    pub efforts: &'static [&'static str],
    pub sampling_free: bool,
    pub prefill: bool,
    pub forced_tool_choice: bool,
    pub system_messages: bool,
    pub task_budget: bool,
    pub fast: Fast,
    pub priority: bool,
    pub min_cache_tokens: u64,
    pub history: History,
    pub message_effort: bool,
    pub compaction: bool,
    /// Computer tool types accepted.
    pub computer: &'static [&'static str],
    pub browser: bool,
    /// Models that `fallbacks` may list; empty where a list is an error.
    pub fallbacks: &'static [&'static str],
    /// Models whose thinking blocks this one reads, itself included.
    pub reads: &'static [&'static str],
    /// Its thinking blocks are bound to the account that got them.
    pub account_bound: bool,
    /// About 30 % more tokens for the same text.
    pub new_tokenizer: bool,
}

/// Which `thinking.type` values a model accepts and what leaving it out means.
#[derive(Debug, Clone, Copy)]
pub(super) struct Thinking {
    pub adaptive: bool,
    pub enabled: bool,
    pub disabled: Disabled,
    pub between_tools: bool,
    pub on_by_default: bool,
}

/// When `thinking.type` "disabled" is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disabled {
    Never,
    UpToHigh,
    Always,
}

/// When `speed` "fast" is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fast {
    No,
    Preview,
    Yes,
}

/// For which accounts the conversation behind a thinking block is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum History {
    Unchecked,
    NewAccounts,
    EveryAccount,
}

/// Returns the row for an id or alias; None for unknown and retired models.
pub(super) fn find(id: &str) -> Option<&'static Model> {
    super::model_table::MODELS.iter().find(|model| model.id == id || model.alias == Some(id))
}

impl Model {
    /// Says whether only verified organisations may use it.
    pub(super) fn is_mythos(&self) -> bool {
        self.line == "mythos"
    }

    /// Says whether `display` left out means "omitted".
    pub(super) fn omits_thinking(&self) -> bool {
        self.new_tokenizer
    }

    /// Says whether it needs 30-day data retention.
    pub(super) fn needs_retention(&self) -> bool {
        matches!(self.line, "fable" | "mythos")
    }
}
