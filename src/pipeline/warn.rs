//! Warnings: when a budget or quota comes to its share, the log, the metrics and the webhook are told, once.

use serde_json::{Value, json};

use super::charge;
use super::runtime::Tercet;
use crate::budget::Utilization;
use crate::money::NanoUsd;
use crate::store::{Account, Level, Unit};
use crate::telemetry::{LimitKind, Notice};
use crate::tenant::LevelOf;

/// Looks where the levels stand that have just been charged, and tells what came to its share.
pub(super) fn look(tercet: &Tercet, levels: &[LevelOf]) {
    for level in levels {
        for due in charge::utilizations(level, &tercet.runtime.accounts).filter(Utilization::is_due) {
            if tercet.runtime.told.first(&due, tercet.runtime.clock.now()) {
                tell(tercet, &due);
            }
        }
    }
}

/// Takes what is due at a start for told: it was, when it came to its share.
pub fn take_for_told(tercet: &Tercet) {
    let (snapshot, runtime) = (tercet.snapshot.load(), &tercet.runtime);
    let now = runtime.clock.now();
    let level_of = |account: &Account| {
        let id = account.id();
        let (user, key) = match id.level {
            Level::User => (&*id.name, None),
            Level::Key => ("", Some(&*id.name)),
            Level::Organisation | Level::Tenant | Level::Sample => ("", None),
        };
        let levels = snapshot.directory.levels_of(&id.tenant, user, key);
        levels.into_iter().find(|level| level.id == *id)
    };
    for level in runtime.accounts.all().iter().filter_map(|account| level_of(account)) {
        for due in charge::utilizations(&level, &runtime.accounts).filter(Utilization::is_due) {
            runtime.told.first(&due, now);
        }
    }
}

fn tell(tercet: &Tercet, due: &Utilization<'_>) {
    let level = due.id.level;
    let limit = if due.unit == Unit::Money { LimitKind::Budget } else { LimitKind::Quota };
    tercet.runtime.metrics.record_warning(tenant_label(due), level.name(), limit);
    tracing::warn!(
        tenant = &*due.id.tenant,
        level = level.name(),
        name = &*due.id.name,
        claim = due.claim(),
        utilization_permille = due.permille,
        resets_at = %due.resets_at,
        "budget warning"
    );
    if tercet.snapshot.load().config.webhook.is_some() {
        tercet.runtime.outbox.put(notice(tercet, due));
    }
}

/// Tenants' names do not begin with an underscore.
fn tenant_label<'a>(due: &Utilization<'a>) -> &'a str {
    if due.id.level == Level::Organisation { "_gateway" } else { &due.id.tenant }
}

fn notice(tercet: &Tercet, due: &Utilization<'_>) -> Notice {
    let id = identity(due);
    let named = |level: Level| if due.id.level == level { Value::from(&*due.id.name) } else { Value::Null };
    let tenant = if due.id.level == Level::Organisation { Value::Null } else { Value::from(&*due.id.tenant) };
    let (used, limit) = match due.unit {
        Unit::Money => ("used_nanousd", "limit_nanousd"),
        Unit::Tokens => ("used_tokens", "limit_tokens"),
    };
    let mut body = json!({
        "type": BUDGET_WARNING,
        "id": id,
        "timestamp": tercet.runtime.clock.now().to_string(),
        "level": due.id.level.name(),
        "tenant": tenant,
        "user": named(Level::User),
        "key": named(Level::Key),
        "claim": due.claim(),
        used: due.used,
        limit: due.limit,
        "utilization_permille": due.permille,
        "warn_at_permille": due.warn_at_permille,
        "resets_at": due.resets_at.to_string(),
        "text": due.message(),
    });
    if due.unit == Unit::Money {
        let dollars = |amount: u64| NanoUsd(i64::try_from(amount).unwrap_or(i64::MAX)).to_string();
        body["used_usd"] = dollars(due.used).into();
        body["limit_usd"] = dollars(due.limit).into();
    }
    Notice { id, event: BUDGET_WARNING, body: body.to_string() }
}

/// The same for the same window under the same ceiling, on every instance and after a restart.
fn identity(due: &Utilization<'_>) -> String {
    let (level, ends) = (due.id.level.name(), due.resets_at.as_nanosecond().to_string());
    let mut hasher = blake3::Hasher::new();
    for part in [level, &due.id.tenant, &due.id.name, due.claim(), &ends, &due.limit.to_string()] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

const BUDGET_WARNING: &str = "budget_warning";
