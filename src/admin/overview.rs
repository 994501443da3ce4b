//! What the dashboard shows, as the gateway reads it from the journal's views and the enforcing counters.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::config::Mode;
use crate::money::NanoUsd;
use crate::tier::Tier;

/// One look at the gateway.
#[derive(Clone, Debug)]
pub struct Overview {
    /// When it was taken.
    pub now: Timestamp,
    /// The gateway's routing mode.
    pub mode: Mode,
    /// Whether requests should be sent here; the reason where not.
    pub ready: Result<(), String>,
    /// The configuration in force.
    pub policy_version: String,
    /// Sequence number of the journal's last record.
    pub journal_head: u64,
    /// Requests being handled.
    pub in_flight: u64,
    /// Since midnight.
    pub today: Spending,
    /// Since the first of the month.
    pub month: Spending,
    /// Only in shadow mode: what today's decisions would have saved, net.
    pub would_save_today: Option<NanoUsd>,
    /// What it would save to mend how clients treat the upstream's prompt cache, today's and yesterday's requests.
    pub prompt_cache_at_stake: NanoUsd,
    /// Every configured tenant, in the order to show; the first 100 are shown.
    pub tenants: Vec<TenantSpending>,
    /// The latest exchanges, newest first; the first 200 are held.
    pub recent: Vec<RecentExchange>,
    /// How to point a client here.
    pub set_up: SetUp,
}

/// Sums of a period.
#[derive(Clone, Debug, Default)]
pub struct Spending {
    /// Exchanges ended.
    pub requests: u64,
    /// Money spent, prompt-cache rewrites and shadow spend included.
    pub spent: NanoUsd,
    /// What the same exchanges would have cost at the models asked for.
    pub baseline_requested: NanoUsd,
    /// What they would have cost at the opus tier.
    pub baseline_all_opus: NanoUsd,
    /// Exchanges answered with a kept or shared answer.
    pub cache_answered: u64,
    /// What those would have cost.
    pub cache_saved: NanoUsd,
    /// All tokens of prompts.
    pub prompt_tokens: u64,
    /// Those of them that the upstream's prompt cache served.
    pub prompt_cache_read_tokens: u64,
    /// By the tier sent to.
    pub tiers: Vec<TierShare>,
    /// What the shadow sample says; `None` where it compared nothing.
    pub measured: Option<Measured>,
}

/// What was learned by asking a sample of requests again elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Share of the asked models' quality that was held, in parts per thousand, with the ends of its interval of 95 %.
    pub held_permille: [u64; 3],
    /// Requests compared.
    pub compared: u64,
    /// What they come to at the models asked for, as routed, and with a coin that holds as much.
    pub costs: [NanoUsd; 3],
    /// What asking again cost.
    pub spent: NanoUsd,
}

/// What one tier got.
#[derive(Clone, Copy, Debug)]
pub struct TierShare {
    /// The tier.
    pub tier: Tier,
    /// Exchanges sent to it.
    pub requests: u64,
    /// Money spent on it.
    pub spent: NanoUsd,
}

/// What one tenant spent.
#[derive(Clone, Debug)]
pub struct TenantSpending {
    /// The configured name.
    pub name: String,
    /// Since midnight.
    pub today: NanoUsd,
    /// Since the first of the month.
    pub month: NanoUsd,
    /// What the response cache did with its exchanges since midnight.
    pub cache: TenantCache,
    /// Its budgets; empty where none is set.
    pub budgets: Vec<Budget>,
}

/// What the response cache did with one tenant's exchanges.
#[derive(Clone, Copy, Debug, Default)]
pub struct TenantCache {
    /// Answered with a kept answer.
    pub hits: u64,
    /// Shared an answer on its way.
    pub joined: u64,
    /// Looked up and sent.
    pub misses: u64,
    /// What those that were answered would have cost.
    pub saved: NanoUsd,
}

/// One budget and where it stands.
#[derive(Clone, Debug)]
pub struct Budget {
    /// `day`, `week` or `month`.
    pub window: &'static str,
    /// Spent, by the counter that enforces.
    pub spent: NanoUsd,
    /// The ceiling.
    pub ceiling: NanoUsd,
    /// When the period ends.
    pub resets_at: Timestamp,
    /// The share in parts per thousand from which to warn.
    pub warn_at_permille: u16,
}

/// One exchange that ended.
#[derive(Clone, Debug)]
pub struct RecentExchange {
    /// When it ended.
    pub time: Timestamp,
    /// Ours.
    pub request_id: String,
    /// The tenant; empty without tenants.
    pub tenant: String,
    /// The user; empty where unknown.
    pub user: String,
    /// The session its client named; empty where it named none.
    pub session: String,
    /// The agent within the session; empty for the main one.
    pub agent: String,
    /// The model asked for.
    pub asked: String,
    /// The model sent to.
    pub sent: String,
    /// The model that answered; empty where none did.
    pub answered: String,
    /// The tier sent to.
    pub tier: Tier,
    /// Reason codes, the decisive one first.
    pub reasons: Vec<String>,
    /// Tokens of the prompt, cached ones included.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
    /// What it cost.
    pub cost: NanoUsd,
    /// What routing saved against the model asked for; negative where it cost more.
    pub saved: NanoUsd,
    /// The status answered.
    pub status: u16,
    /// Whether the answer came from the response cache.
    pub from_cache: bool,
}

/// How to point a client here.
#[derive(Clone, Debug)]
pub struct SetUp {
    /// The data listener's base URL, without trailing slash.
    pub base_url: String,
    /// Whether clients need a key of ours; else their own credential passes through.
    pub needs_key: bool,
    /// A model id for the examples.
    pub model: String,
}

impl Overview {
    /// Returns it as the admin API tells it: money in nano-dollars, times RFC 3339.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "now": self.now.to_string(),
            "mode": self.mode.name(),
            "ready": self.ready.is_ok(),
            "reason": self.ready.as_ref().err(),
            "policy_version": self.policy_version,
            "journal_head": self.journal_head,
            "in_flight": self.in_flight,
            "today": self.today.json(),
            "month": self.month.json(),
            "tenants": self.tenants.iter().map(TenantSpending::json).collect::<Vec<_>>(),
            "recent": self.recent.iter().map(RecentExchange::json).collect::<Vec<_>>(),
        })
    }
}

impl Spending {
    fn json(&self) -> Value {
        let tier = |share: &TierShare| json!({ "tier": share.tier, "requests": share.requests, "spent_nanousd": share.spent });
        json!({
            "requests": self.requests,
            "spent_nanousd": self.spent,
            "baseline_requested_nanousd": self.baseline_requested,
            "baseline_all_opus_nanousd": self.baseline_all_opus,
            "cache_answered": self.cache_answered,
            "prompt_tokens": self.prompt_tokens,
            "prompt_cache_read_tokens": self.prompt_cache_read_tokens,
            "tiers": self.tiers.iter().map(tier).collect::<Vec<_>>(),
        })
    }
}

impl TenantSpending {
    fn json(&self) -> Value {
        let budget = |budget: &Budget| {
            json!({ "window": budget.window, "spent_nanousd": budget.spent, "ceiling_nanousd": budget.ceiling,
                "resets_at": budget.resets_at.to_string(), "warn_at_permille": budget.warn_at_permille })
        };
        json!({ "name": self.name, "today_nanousd": self.today, "month_nanousd": self.month,
            "budgets": self.budgets.iter().map(budget).collect::<Vec<_>>() })
    }
}

impl RecentExchange {
    fn json(&self) -> Value {
        json!({
            "time": self.time.to_string(), "request_id": self.request_id, "tenant": self.tenant, "user": self.user,
            "session": self.session, "agent": self.agent, "asked": self.asked, "sent": self.sent,
            "answered": self.answered, "tier": self.tier, "reasons": self.reasons,
            "prompt_tokens": self.prompt_tokens, "output_tokens": self.output_tokens,
            "cost_nanousd": self.cost, "saved_nanousd": self.saved, "status": self.status,
            "from_cache": self.from_cache,
        })
    }
}
