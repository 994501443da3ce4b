//! Every metric by name: the one table from which families are built and `docs/metrics.md` is written.

use std::fmt::Write as _;

use super::family::OTHER;

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Grows only.
    Counter,
    /// Grows only; nano-dollars, written as dollars with nine decimals.
    MoneyCounter,
    /// Goes both ways.
    Gauge,
    /// Goes both ways; nano-dollars, written as dollars with nine decimals.
    MoneyGauge,
    /// Counts by upper bound, in the unit of its name.
    Histogram(&'static [f64]),
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// The full name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Label names, in order.
    pub labels: &'static [&'static str],
    /// What it says, in one sentence.
    pub help: &'static str,
}

impl Row {
    const fn new(
        name: &'static str,
        kind: Kind,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, kind, labels, help }
    }

    /// Returns the type as Prometheus names it.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self.kind {
            Kind::Counter | Kind::MoneyCounter => "counter",
            Kind::Gauge | Kind::MoneyGauge => "gauge",
            Kind::Histogram(_) => "histogram",
        }
    }

    /// Returns how many series one label set makes: a histogram has one per bucket, `+Inf`, sum and count.
    #[must_use]
    pub const fn series(&self) -> usize {
        match self.kind {
            Kind::Histogram(bounds) => bounds.len() + 3,
            _ => 1,
        }
    }
}

/// Returns `docs/metrics.md`.
#[must_use]
pub fn markdown() -> String {
    let mut page = String::from(INTRODUCTION);
    for row in TABLE {
        let labels = row.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let labels = if labels.is_empty() { "–" } else { &labels };
        let _ = writeln!(page, "| `{}` | {} | {labels} | {} |", row.name, row.type_name(), row.help);
    }
    page.push_str("\n## Buckets\n\n| Metric | Upper bounds |\n| --- | --- |\n");
    for row in TABLE {
        if let Kind::Histogram(bounds) = row.kind {
            let bounds = bounds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let _ = writeln!(page, "| `{}` | {bounds} |", row.name);
        }
    }
    page.push_str("\n## Labels\n\n| Label | Values |\n| --- | --- |\n");
    for (label, values) in LABELS {
        let _ = writeln!(page, "| `{label}` | {values} |");
    }
    page
}

/// Labels whose values come from configuration or from outside; past the cap they fold to `_other`.
pub(super) const FREE_LABELS: &[&str] = &["tenant", "model", "tool", "family", "reason", "found"];

/// Tools counted by name: those of Claude Code and the upstream's own; all others are `_other`.
const KNOWN_TOOLS: &[&str] = &[
    "Agent",
    "AskUserQuestion",
    "Bash",
    "BashOutput",
    "Edit",
    "ExitPlanMode",
    "Glob",
    "Grep",
    "KillShell",
    "LS",
    "MultiEdit",
    "NotebookEdit",
    "NotebookRead",
    "Read",
    "Skill",
    "SlashCommand",
    "Task",
    "TodoWrite",
    "WebFetch",
    "WebSearch",
    "Write",
    "bash",
    "code_execution",
    "computer",
    "memory",
    "str_replace_based_edit_tool",
    "web_fetch",
    "web_search",
];

/// Returns the label of a tool.
pub(super) fn known_tool(name: &str) -> &str {
    if KNOWN_TOOLS.contains(&name) { name } else { OTHER }
}

const DURATION_S: &[f64] =
    &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0];
const FIRST_TOKEN_S: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0];
const PER_TOKEN_S: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
const SCORES: &[f64] = &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];
const OVERHEAD_S: &[f64] =
    &[0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25];

macro_rules! table {
    ($($id:ident = $name:literal, $kind:expr, [$($label:literal),*], $help:literal;)+) => {
        $(pub(super) const $id: &Row = &Row::new(concat!("tercet_", $name), $kind, &[$($label),*], $help);)+

        /// Every metric, in the order of `/metrics` and of the documentation.
        pub const TABLE: &[&Row] = &[$($id),+];
    };
}

table! {
    REQUESTS = "requests_total", Kind::Counter, ["tenant", "tier", "model", "outcome", "stream"],
        "Exchanges ended.";
    DURATION = "request_duration_seconds", Kind::Histogram(DURATION_S), ["tenant", "tier", "stream"],
        "Time from the first byte of a request to the last of its answer.";
    FIRST_TOKEN = "time_to_first_token_seconds", Kind::Histogram(FIRST_TOKEN_S), ["tier"],
        "Time to the first content of an answer.";
    PER_TOKEN = "time_per_output_token_seconds", Kind::Histogram(PER_TOKEN_S), ["tier"],
        "Time per output token after the first, of streamed answers.";
    OVERHEAD = "overhead_seconds", Kind::Histogram(OVERHEAD_S), ["phase"],
        "Time the gateway itself adds.";
    INFLIGHT = "inflight_requests", Kind::Gauge, ["tenant"], "Requests being handled.";
    CONNECTIONS = "connections", Kind::Gauge, [], "Open client connections.";
    ATTEMPTS = "upstream_attempts_total", Kind::Counter, ["tier", "result"], "Tries at the upstream.";
    FALLBACKS = "upstream_fallbacks_total", Kind::Counter, ["upstream"],
        "Exchanges that went to a fallback, as the upstream could not answer.";
    UPSTREAM_OPEN = "upstream_open", Kind::Gauge, ["upstream"],
        "Whether an upstream is left alone for not answering, 1 or 0.";
    TOKENS = "tokens_total", Kind::Counter, ["tenant", "model", "token_type"],
        "Tokens as billed; the types are disjoint, input is uncached input.";
    COST = "cost_usd_total", Kind::MoneyCounter, ["tenant", "model", "token_type"],
        "Money spent at list price; sums to the journal.";
    BASELINE = "baseline_cost_usd_total", Kind::MoneyCounter, ["tenant", "baseline"],
        "What the same exchanges would have cost without routing.";
    REWRITE = "prompt_cache_rewrite_cost_usd_total", Kind::MoneyCounter, ["tenant"],
        "What it cost to write prompts anew that were warm at the model a conversation was moved from.";
    AT_STAKE = "prompt_cache_at_stake_usd", Kind::MoneyGauge, ["tenant", "cause"],
        "What it would have saved, today and yesterday, not to break the upstream's prompt cache; net.";
    CACHE_SAVED = "response_cache_saved_usd_total", Kind::MoneyCounter, ["tenant"],
        "What answers from the response cache would have cost.";
    ROUTES = "route_decisions_total", Kind::Counter, ["tenant", "requested_tier", "tier", "reason", "mode"],
        "Route decisions by their decisive reason; in shadow mode `tier` is where it would have gone.";
    ESCALATIONS = "escalations_total", Kind::Counter, ["tenant", "from", "to", "reason"],
        "Answers that failed at a lower tier, unseen, and were asked for again one tier up.";
    SAMPLES = "shadow_samples_total", Kind::Counter, ["tenant", "result"],
        "Requests drawn to be asked again elsewhere, by what that came to.";
    SAMPLE_COST = "shadow_sample_cost_usd_total", Kind::MoneyCounter, ["tenant"],
        "Money spent on asking again and judging; part of tercet_cost_usd_total.";
    SCORE = "classifier_score", Kind::Histogram(SCORES), ["mechanism"],
        "Difficulty of requests, 0 to 1, by what said so.";
    TOOLS = "tool_results_total", Kind::Counter, ["tenant", "tool", "result"], "Tool results seen in requests.";
    TOOL_STREAKS = "tool_failure_streaks_total", Kind::Counter, ["tenant", "tool"],
        "Times that a tool's result failed for the third time in a row in its conversation.";
    CACHE_REQUESTS = "response_cache_requests_total", Kind::Counter, ["tenant", "result"],
        "What the response cache did; `error` counts, besides, shared values that were no answer.";
    GUARD_FINDS = "guard_finds_total", Kind::Counter, ["tenant", "found", "action", "side"],
        "What guards found in prompts and answers.";
    LIMIT_DECISIONS = "ratelimit_decisions_total", Kind::Counter, ["tenant", "limit", "decision"],
        "What limits, quotas and budgets decided.";
    SPEND = "tenant_spend_usd", Kind::MoneyGauge, ["tenant", "window"],
        "Spent in the running period, by the counter that enforces the budget.";
    BUDGET = "tenant_budget_usd", Kind::MoneyGauge, ["tenant", "window"], "The budget of the period.";
    TENANT_RESERVED = "tenant_reserved_usd", Kind::MoneyGauge, ["tenant", "window"],
        "Money held for requests in flight; zero when idle.";
    OVERSHOOT = "tenant_overshoot_bound_usd", Kind::MoneyGauge, ["tenant", "window"],
        "What requests in flight on this instance may cost at most beyond what is held for them: no budget is overshot by more.";
    BUDGET_RESET = "tenant_budget_reset_timestamp_seconds", Kind::Gauge, ["tenant", "window"],
        "When the running period ends.";
    WARNINGS = "budget_warnings_total", Kind::Counter, ["tenant", "level", "limit"],
        "Budgets and quotas that came to the share at which a warning is due, once for each period.";
    WEBHOOK = "webhook_notices_total", Kind::Counter, ["result"], "Notices to the webhook, by what became of them.";
    UTILIZATION = "tenant_limit_utilization_ratio", Kind::Gauge, ["tenant", "limit"],
        "Used share of a tenant's own limits and quotas.";
    RESERVED = "reserved_usd", Kind::MoneyGauge, [], "Money held for requests in flight; zero when idle.";
    LEAKED = "reservations_leaked_total", Kind::Counter, [],
        "Reservations that nobody posted or voided; any is a bug.";
    UPSTREAM_LIMIT = "upstream_ratelimit_limit", Kind::Gauge, ["family", "kind"], "The upstream's limit.";
    UPSTREAM_REMAINING = "upstream_ratelimit_remaining", Kind::Gauge, ["family", "kind"],
        "What is left of the upstream's limit.";
    UPSTREAM_RESET = "upstream_ratelimit_reset_timestamp_seconds", Kind::Gauge, ["family", "kind"],
        "When the upstream's limit is full again.";
    UNPRICED = "unpriced_requests_total", Kind::Counter, ["model"],
        "Exchanges whose model has no price in the catalog.";
    AUDIT_RECORDS = "audit_records_total", Kind::Counter, [], "Journal records written since start.";
    AUDIT_FAILURES = "audit_write_failures_total", Kind::Counter, [],
        "Writes and syncs of the journal that failed since start; a write that is tried again counts again.";
    AUDIT_HEAD = "audit_head_sequence", Kind::Gauge, [], "Sequence number of the journal's last record.";
    COPY_RECORDS = "copy_lag_records", Kind::Gauge, ["copy"],
        "Records of the journal that a copy of it does not have yet.";
    COPY_SECONDS = "copy_lag_seconds", Kind::Gauge, ["copy"],
        "Time since a copy of the journal last had all of it; 0 while it has.";
    COPY_FAILURES = "copy_failures_total", Kind::Counter, ["copy"],
        "Rounds of copying that failed; what they were about is copied later.";
    CONTENT_KEPT = "content_records_total", Kind::Counter, [],
        "Exchanges whose texts were kept, of tenants that have them kept.";
    CONTENT_DROPPED = "content_dropped_total", Kind::Counter, ["cause"],
        "Exchanges whose texts were to be kept and were not.";
    CONTENT_BYTES = "content_bytes", Kind::Gauge, [], "Size of all kept texts on the disk.";
    REDIS_UP = "redis_up", Kind::Gauge, ["redis"], "Whether a shared Redis takes reads and writes, 1 or 0.";
    REDIS_ROUND_TRIPS = "redis_round_trips_total", Kind::Counter, ["redis"], "Calls that a shared Redis answered.";
    REDIS_FAILURES = "redis_failures_total", Kind::Counter, ["redis", "reason"],
        "Calls and looks that a shared Redis did not answer, or with an error.";
    REDIS_LEASES = "redis_leases", Kind::Gauge, [],
        "Accounts of which this instance holds something, or has a share set aside.";
    REDIS_RESERVATIONS = "redis_reservations_total", Kind::Counter, ["asked"],
        "Reservations with shared counters; `asked` ones waited for Redis.";
    PANICS = "panics_total", Kind::Counter, [], "Panics caught; any is a bug.";
    SERIES_DROPPED = "metric_series_dropped_total", Kind::Counter, ["metric"],
        "Label sets folded to _other, or readings left out, because the series cap was reached.";
    LOG_DROPPED = "log_dropped_total", Kind::Counter, ["sink"],
        "Log lines dropped because they were not read fast enough.";
    LOG_QUEUE = "log_queue_length", Kind::Gauge, ["sink"], "Log lines that wait to be written.";
    BUILD_INFO = "build_info", Kind::Gauge, ["version"], "Always 1; the version that runs.";
    CONFIG_INFO = "config_info", Kind::Gauge, ["policy_version"], "Always 1; the configuration in force.";
    RELOAD_OK = "config_last_reload_successful", Kind::Gauge, [],
        "Whether the last load of the configuration succeeded, 1 or 0.";
    RELOAD_TIME = "config_last_reload_success_timestamp_seconds", Kind::Gauge, [],
        "When the configuration in force was loaded.";
}

const LABELS: &[(&str, &str)] = &[
    ("tenant", "configured names, `_other`; of warnings also `_gateway`, the gateway as a whole"),
    ("model", "model ids of the catalog, `_other`"),
    ("tier, requested_tier, from, to", "`haiku`, `sonnet`, `opus`, `other`"),
    (
        "outcome",
        "`ok`, `client_error`, `rate_limited`, `quota_rejected`, `upstream_error`, `proxy_error`, `client_aborted`",
    ),
    ("stream", "`true`, `false`"),
    ("phase", "`parse`, `limits`, `classify`, `cache`, `total`"),
    (
        "result (attempts)",
        "`ok`, `client_error`, `rate_limited`, `overloaded`, `server_error`, `connect_failed`, `timed_out`, `broken`",
    ),
    ("upstream", "`configured`, names of fallbacks"),
    ("result (tools)", "`ok`, `error`"),
    (
        "result (shadow samples)",
        "`held`, `lost`, `unclear`, `failed` (no second answer), `no_budget`, `busy` (too many at once, or the \
         upstream's limits are tight), `too_large`",
    ),
    ("result (response cache)", "`hit`, `miss`, `joined`, `bypass`, `error`"),
    (
        "token_type",
        "`input`, `output`, `cache_read`, `cache_write_5m`, `cache_write_1h`; of cost also `other` (web searches, \
         rounding)",
    ),
    ("copy", "`sums` (the database of sums), `clickhouse`, `otlp`; those that are configured"),
    ("cause (content)", "`room` (too many waited), `disk` (it could not be written)"),
    ("cause", "`system-prompt-changes`, `breakpoints-missing`, `ttl-too-short`"),
    ("baseline", "`requested` (the model asked for), `all_opus`"),
    ("reason", "reason codes of the route decision"),
    ("mode", "`off`, `shadow`, `enforce`"),
    ("tool", "well-known tools, `_other`"),
    ("mechanism", "`hint`, `form`, `text`, `workload`"),
    (
        "limit",
        "`requests`, `input_tokens`, `output_tokens`, `concurrency`, `budget`, `quota`, `room` (what may be in flight at the gateway; refusals only)",
    ),
    (
        "limit (utilization)",
        "`requests`, `input_tokens`, `output_tokens`, `concurrency`, `daily_tokens`, `monthly_tokens`",
    ),
    ("found", "kinds of what guards look for, names of guards"),
    ("action", "`flag`, `redact`, `refuse`"),
    ("side", "`prompt`, `answer`"),
    ("decision", "`allowed`, `refused`"),
    ("level", "`gateway`, `tenant`, `user`, `key`"),
    ("result (webhook)", "`delivered`, `failed` (given up), `dropped` (too many waited)"),
    ("window", "`day`, `week`, `month`"),
    ("family", "families of models that share an upstream limit, `_other`"),
    ("kind", "`requests`, `tokens`, `input_tokens`, `output_tokens`"),
    ("redis", "`counters`, `answers`"),
    ("asked", "`true`, `false`"),
    ("reason (redis)", "`down`, `timed_out`, `broken`, `read_only`, `out_of_memory`, `loading`, `refused`"),
    ("sink", "`stderr`"),
    ("metric", "names of this table"),
];

const INTRODUCTION: &str = "# Metrics

Written by `UPDATE=1 cargo test --lib telemetry`; do not edit.

`GET /metrics` on the admin listener answers in the Prometheus text format; with `telemetry.exemplars`, who accepts OpenMetrics gets
that, in which each bucket of `tercet_request_duration_seconds` names the last trace that fell into it. Sums are kept as integers; money is
kept in nano-dollars and written in dollars with nine decimals. No label holds a user, a key, a session, a path
or text of a prompt. Past three quarters of `telemetry.series_max` a new label set has its open labels (`tenant`,
`model`, `tool`, `family`, `reason`, `found`) folded to `_other`, which `tercet_metric_series_dropped_total` counts; the last
quarter is kept for the folded sets, so that no sum loses anything. What is read of tenants at a scrape (budgets, limits) is
left out where it would pass the cap, which is counted there too at each scrape. Classifying asks no model and costs no money, so
there is no metric of its cost; its time is in `tercet_overhead_seconds{phase=\"classify\"}`.

| Metric | Type | Labels | Meaning |
| --- | --- | --- | --- |
";
