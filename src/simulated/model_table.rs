//! One row per simulated model, typed in from the API's documentation as of November 2026.
//!
//! The table is deliberately not shared with the product's catalog: one misreading cannot hide in both.
//! Lengths are in tokens.

use super::models::{Disabled, Fast, History, Model, Thinking};
use super::readers::{
    EVERYTHING, FABLE_5_1_READS, HAIKU_4_5, HAIKU_5_5_READS, OLDER_READ, OPUS_4_5, OPUS_5_5_READS,
    SONNET_4_5, SONNET_5_5_READS,
};

const MILLION: u64 = 1_000_000;
const OUT_128K: u64 = 128_000;

const NO_EFFORT: &[&str] = &[];
const THREE_EFFORTS: &[&str] = &["low", "medium", "high"];
const NO_XHIGH: &[&str] = &["low", "medium", "high", "max"];
const ALL_EFFORTS: &[&str] = &["low", "medium", "high", "xhigh", "max"];

const ADAPTIVE_ONLY: Thinking = Thinking {
    adaptive: true,
    enabled: false,
    disabled: Disabled::Never,
    between_tools: false,
    on_by_default: true,
};
const BUDGET_ONLY: Thinking = Thinking {
    adaptive: false,
    enabled: true,
    disabled: Disabled::Always,
    between_tools: false,
    on_by_default: false,
};
const ALL_BUT_BETWEEN: Thinking = Thinking { adaptive: true, ..BUDGET_ONLY };
const OFF_UNLESS_ASKED: Thinking = Thinking { enabled: false, ..ALL_BUT_BETWEEN };

const TOOLSET: &[&str] = &["computer_toolset_20260801"];
const TOOLSET_AND_2025: &[&str] = &["computer_toolset_20260801", "computer_20251124"];
const LATE_2025: &[&str] = &["computer_20251124"];
const EARLY_2025: &[&str] = &["computer_20250124"];

const OPUS_FALLBACKS: &[&str] = &["claude-opus-4-8", "claude-opus-5"];
const SONNET_FALLBACKS: &[&str] = &["claude-sonnet-5"];

/// What the newest rows have in common; every row below states where it differs.
const NEWEST: Model = Model {
    id: "",
    alias: None,
    name: "",
    line: "",
    released: "",
    retires: None,
    context_tokens: MILLION,
    max_output_tokens: OUT_128K,
    thinking: ADAPTIVE_ONLY,
    efforts: ALL_EFFORTS,
    sampling_free: false,
    prefill: false,
    forced_tool_choice: false,
    system_messages: true,
    task_budget: true,
    fast: Fast::No,
    priority: false,
    min_cache_tokens: 512,
    history: History::NewAccounts,
    message_effort: true,
    compaction: true,
    computer: TOOLSET,
    browser: true,
    fallbacks: &[],
    reads: EVERYTHING,
    account_bound: false,
    new_tokenizer: true,
};

/// What the models before 4.7 have in common.
const OLD: Model = Model {
    thinking: ALL_BUT_BETWEEN,
    efforts: NO_XHIGH,
    sampling_free: true,
    forced_tool_choice: true,
    system_messages: false,
    task_budget: false,
    priority: true,
    min_cache_tokens: 4096,
    history: History::Unchecked,
    message_effort: false,
    computer: LATE_2025,
    reads: OLDER_READ,
    new_tokenizer: false,
    ..NEWEST
};

/// What the models with 200K of context have in common.
const SMALL: Model = Model {
    context_tokens: 200_000,
    max_output_tokens: 64_000,
    thinking: BUDGET_ONLY,
    efforts: NO_EFFORT,
    prefill: true,
    compaction: false,
    computer: EARLY_2025,
    ..OLD
};

/// Every served model, newest first within its line.
pub(super) const MODELS: &[Model] = &[
    Model {
        id: "claude-fable-5-2",
        name: "Claude Fable 5.2",
        line: "fable",
        released: "2026-11-03T00:00:00Z",
        fast: Fast::Yes,
        history: History::EveryAccount,
        fallbacks: OPUS_FALLBACKS,
        account_bound: true,
        ..NEWEST
    },
    Model {
        id: "claude-mythos-5-2",
        name: "Claude Mythos 5.2",
        line: "mythos",
        released: "2026-11-03T00:00:00Z",
        fast: Fast::Yes,
        history: History::EveryAccount,
        message_effort: false,
        account_bound: true,
        ..NEWEST
    },
    Model {
        id: "claude-haiku-5-5",
        name: "Claude Haiku 5.5",
        line: "haiku",
        released: "2026-10-07T00:00:00Z",
        thinking: Thinking { disabled: Disabled::UpToHigh, ..ADAPTIVE_ONLY },
        forced_tool_choice: true,
        reads: HAIKU_5_5_READS,
        account_bound: true,
        ..NEWEST
    },
    Model {
        id: "claude-sonnet-5-5",
        name: "Claude Sonnet 5.5",
        line: "sonnet",
        released: "2026-09-28T00:00:00Z",
        thinking: Thinking { between_tools: true, ..ADAPTIVE_ONLY },
        fallbacks: SONNET_FALLBACKS,
        reads: SONNET_5_5_READS,
        account_bound: true,
        ..NEWEST
    },
    Model {
        id: "claude-opus-5-5",
        name: "Claude Opus 5.5",
        line: "opus",
        released: "2026-09-22T00:00:00Z",
        fast: Fast::Yes,
        fallbacks: OPUS_FALLBACKS,
        reads: OPUS_5_5_READS,
        ..NEWEST
    },
    Model {
        id: "claude-fable-5-1",
        name: "Claude Fable 5.1",
        line: "fable",
        released: "2026-09-01T00:00:00Z",
        computer: TOOLSET_AND_2025,
        fallbacks: OPUS_FALLBACKS,
        reads: FABLE_5_1_READS,
        ..NEWEST
    },
    Model {
        id: "claude-mythos-5-1",
        name: "Claude Mythos 5.1",
        line: "mythos",
        released: "2026-09-01T00:00:00Z",
        history: History::EveryAccount,
        message_effort: false,
        computer: TOOLSET_AND_2025,
        reads: FABLE_5_1_READS,
        ..NEWEST
    },
    Model {
        id: "claude-opus-5",
        name: "Claude Opus 5",
        line: "opus",
        released: "2026-07-24T00:00:00Z",
        thinking: Thinking { disabled: Disabled::UpToHigh, ..ADAPTIVE_ONLY },
        forced_tool_choice: true,
        fast: Fast::Preview,
        history: History::Unchecked,
        computer: TOOLSET_AND_2025,
        reads: OLDER_READ,
        ..NEWEST
    },
    Model {
        id: "claude-sonnet-5",
        name: "Claude Sonnet 5",
        line: "sonnet",
        released: "2026-06-30T00:00:00Z",
        thinking: Thinking { disabled: Disabled::Always, ..ADAPTIVE_ONLY },
        forced_tool_choice: true,
        system_messages: false,
        task_budget: false,
        min_cache_tokens: 1024,
        history: History::Unchecked,
        message_effort: false,
        computer: TOOLSET_AND_2025,
        reads: OLDER_READ,
        ..NEWEST
    },
    Model {
        id: "claude-fable-5",
        name: "Claude Fable 5",
        line: "fable",
        released: "2026-06-09T00:00:00Z",
        forced_tool_choice: true,
        priority: true,
        history: History::Unchecked,
        message_effort: false,
        computer: TOOLSET_AND_2025,
        fallbacks: OPUS_FALLBACKS,
        reads: OLDER_READ,
        ..NEWEST
    },
    Model {
        id: "claude-mythos-5",
        name: "Claude Mythos 5",
        line: "mythos",
        released: "2026-06-09T00:00:00Z",
        forced_tool_choice: true,
        history: History::Unchecked,
        message_effort: false,
        computer: TOOLSET_AND_2025,
        reads: OLDER_READ,
        ..NEWEST
    },
    Model {
        id: "claude-opus-4-8",
        name: "Claude Opus 4.8",
        line: "opus",
        released: "2026-05-28T00:00:00Z",
        thinking: OFF_UNLESS_ASKED,
        forced_tool_choice: true,
        fast: Fast::Preview,
        priority: true,
        min_cache_tokens: 1024,
        history: History::Unchecked,
        message_effort: false,
        computer: TOOLSET_AND_2025,
        reads: OLDER_READ,
        ..NEWEST
    },
    Model {
        id: "claude-opus-4-7",
        name: "Claude Opus 4.7",
        line: "opus",
        released: "2026-04-16T00:00:00Z",
        thinking: OFF_UNLESS_ASKED,
        forced_tool_choice: true,
        system_messages: false,
        priority: true,
        min_cache_tokens: 2048,
        history: History::Unchecked,
        message_effort: false,
        computer: LATE_2025,
        reads: OLDER_READ,
        ..NEWEST
    },
    Model {
        id: "claude-opus-4-6",
        name: "Claude Opus 4.6",
        line: "opus",
        released: "2026-02-04T00:00:00Z",
        ..OLD
    },
    Model {
        id: "claude-sonnet-4-6",
        name: "Claude Sonnet 4.6",
        line: "sonnet",
        released: "2026-02-17T00:00:00Z",
        min_cache_tokens: 1024,
        ..OLD
    },
    Model {
        id: OPUS_4_5,
        alias: Some("claude-opus-4-5"),
        name: "Claude Opus 4.5",
        line: "opus",
        released: "2025-11-24T00:00:00Z",
        efforts: THREE_EFFORTS,
        computer: LATE_2025,
        ..SMALL
    },
    Model {
        id: HAIKU_4_5,
        alias: Some("claude-haiku-4-5"),
        name: "Claude Haiku 4.5",
        line: "haiku",
        released: "2025-10-15T00:00:00Z",
        browser: false,
        ..SMALL
    },
    Model {
        id: SONNET_4_5,
        alias: Some("claude-sonnet-4-5"),
        name: "Claude Sonnet 4.5",
        line: "sonnet",
        released: "2025-09-29T00:00:00Z",
        retires: Some("2026-11-30T00:00:00Z"),
        min_cache_tokens: 1024,
        ..SMALL
    },
];
