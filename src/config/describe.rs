//! The effective configuration as JSON, for the admin API and for `tercet check --json`.
//!
//! Sections and keys are named as in the file, defaults are filled in, values have the file's form. Secrets
//! and key hashes are `"***"`. What is unlimited is `null`.

use std::time::Duration;

use serde_json::{Value, json};

use super::value::{DURATION_UNITS, SIZE_UNITS};
use super::{
    Admin, Budget, Ceiling, Ceilings, Config, Credential, Fallback, Guard, Journal, Key, LogFormat, Reserve,
    Routing, Scope, Server, Side, Tenant, Tls, WhenLow,
};
use crate::money::NanoUsd;
use crate::tier::Tier;

/// Returns the effective configuration with every secret masked.
#[must_use]
pub fn describe(config: &Config) -> Value {
    let (server, upstream) = (&config.server, &config.upstream);
    let fallbacks: Vec<Value> = upstream.fallbacks.iter().map(fallback).collect();
    let tenants: serde_json::Map<String, Value> =
        config.tenants.iter().map(|(name, held)| (name.clone(), tenant(held, config.guards.len()))).collect();
    let mut whole = json!({
        "version": config.version,
        "catalog": config.catalog,
        "server": listening(server),
        "admin": administered(&config.admin),
        "upstream": {
            "base_url": upstream.base_url.to_string(),
            "credential": credential(&upstream.credential),
            "connect_timeout": duration(upstream.connect_timeout),
            "first_byte_timeout": duration(upstream.first_byte_timeout),
            "idle_timeout": duration(upstream.idle_timeout),
            "ca": upstream.ca,
            "retry_streams": upstream.retry_streams,
            "fallback": fallbacks,
        },
        "tiers": { "haiku": config.tiers.haiku, "sonnet": config.tiers.sonnet, "opus": config.tiers.opus },
        "routing": routing(&config.routing),
        "cache": {
            "enabled": config.cache.enabled,
            "ttl": duration(config.cache.ttl),
            "max_size": size(config.cache.max_bytes),
            "scope": match config.cache.scope { Scope::Tenant => "tenant", Scope::User => "user" },
        },
        "journal": journal(&config.journal),
        "redis": {
            "counters": config.redis.counters.as_ref().map(ToString::to_string),
            "cache": config.redis.cache.as_ref().map(ToString::to_string),
            "on_failure": {
                "limits": config.redis.on_failure.limits.name(),
                "budgets": config.redis.on_failure.budgets.name(),
            },
        },
        "webhook": {
            "url": config.webhook.as_ref().map(super::Webhook::origin),
            "secret": config.webhook.as_ref().and_then(|webhook| webhook.secret.as_ref()).map(|_| MASK),
        },
        "clickhouse": clickhouse(config.clickhouse.as_ref()),
        "guards": config.guards.iter().map(guard).collect::<Vec<_>>(),
        "redaction": { "key": config.redaction_key.as_ref().map(|_| MASK) },
        "telemetry": {
            "log": match config.telemetry.log { LogFormat::Json => "json", LogFormat::Text => "text" },
            "series_max": config.telemetry.series_max,
            "exemplars": config.telemetry.exemplars,
            "otlp": config.telemetry.otlp.as_ref().map(|otlp| otlp.url.to_string()),
        },
        "tenants": tenants,
    });
    add(&mut whole, "", &config.organisation);
    whole
}

fn journal(journal: &Journal) -> Value {
    json!({
        "path": journal.path,
        "fsync": duration(journal.fsync),
        "retention": duration(journal.retention),
        "content": journal.content.enabled,
        "content_path": journal.content_path(),
        "content_retention": duration(journal.content.retention),
        "content_max_size": size(journal.content.max_bytes),
    })
}

fn clickhouse(section: Option<&super::ClickHouse>) -> Value {
    json!({
        "url": section.map(super::ClickHouse::origin),
        "database": section.map_or("tercet", |section| &section.database),
        "user": section.map_or("default", |section| &section.user),
        "password": section.and_then(|section| section.password.as_ref()).map(|_| MASK),
        "ca": section.and_then(|section| section.ca.as_ref()),
        "create_tables": section.is_none_or(|section| section.create_tables),
    })
}

fn tenant(tenant: &Tenant, shared_guards: usize) -> Value {
    let users: serde_json::Map<String, Value> = tenant
        .users
        .iter()
        .map(|(name, ceilings)| {
            let mut user = json!({});
            add(&mut user, "", ceilings);
            (name.clone(), user)
        })
        .collect();
    let mut described = json!({
        "users": users,
        "keys": tenant.keys.iter().map(key).collect::<Vec<_>>(),
        "disabled": tenant.disabled,
        "routing": routing(&tenant.routing),
        "cache": { "enabled": tenant.cache.enabled, "ttl": duration(tenant.cache.ttl) },
        "journal": { "content": tenant.content },
        "allow_paths": tenant.allow_paths,
        // The gateway's own, which come first, are described with the gateway.
        "guards": tenant.guards.iter().skip(shared_guards).map(guard).collect::<Vec<_>>(),
    });
    add(&mut described, "", &tenant.ceilings);
    add(&mut described, "user_", &tenant.user_ceilings);
    described
}

fn guard(guard: &Guard) -> Value {
    let sides = [(guard.prompt, Side::Prompt), (guard.answer, Side::Answer)];
    json!({
        "name": guard.name,
        "action": guard.action.name(),
        "in": sides.iter().filter(|(looks, _)| *looks).map(|(_, side)| side.name()).collect::<Vec<_>>(),
        "max_body": guard.max_body_bytes.map(size),
        "max_messages": guard.max_messages,
        "max_output_tokens": guard.max_output_tokens,
        "max_text": guard.max_text_bytes.map(size),
        "allow_content": guard.allow_content,
        "allow_tools": guard.allow_tools,
        "deny_tools": guard.deny_tools,
        "detect": guard.detect.iter().map(|one| one.name()).collect::<Vec<_>>(),
        "patterns": guard.patterns.iter().map(regex::Regex::as_str).collect::<Vec<_>>(),
    })
}

fn key(key: &Key) -> Value {
    let mut described = json!({
        "id": key.id,
        "user": key.user,
        "hash": MASK,
        "expires": key.expires.map(|moment| moment.to_string()),
        "previous": key.previous.map(|previous| json!({ "hash": MASK, "expires": previous.expires.to_string() })),
        "allow_user_header": key.allow_user_header,
    });
    add(&mut described, "", &key.ceilings);
    described
}

fn listening(server: &Server) -> Value {
    json!({
        "listen": server.listen.to_string(),
        "public_url": server.public_url,
        "tls": server.tls.as_ref().map(tls),
        "max_body": size(server.max_body_bytes),
        "header_timeout": duration(server.header_timeout),
        "body_timeout": duration(server.body_timeout),
        "max_connections": server.max_connections,
        "max_in_flight": server.max_in_flight,
        "max_in_flight_size": size(server.max_in_flight_bytes),
        "drain_timeout": duration(server.drain_timeout),
    })
}

fn administered(admin: &Admin) -> Value {
    json!({
        "listen": admin.listen.to_string(),
        "token": admin.token.as_ref().map(|_| MASK),
        "tls": admin.tls.as_ref().map(tls),
    })
}

fn tls(tls: &Tls) -> Value {
    json!({ "cert": tls.cert, "key": tls.key, "client_ca": tls.client_ca })
}

fn fallback(fallback: &Fallback) -> Value {
    json!({
        "name": fallback.name,
        "base_url": fallback.base_url.to_string(),
        "credential": credential(&fallback.credential),
        "same_account": fallback.same_account,
    })
}

fn credential(credential: &Credential) -> &'static str {
    match credential {
        Credential::Client => "client",
        Credential::Ours(_) => MASK,
    }
}

fn routing(routing: &Routing) -> Value {
    json!({
        "mode": routing.mode.name(),
        "quality": share(routing.quality_permille),
        "ceiling": match routing.ceiling { Ceiling::Requested => "requested", Ceiling::Opus => "opus" },
        "adaptations": routing.adaptations.iter().map(|one| one.name()).collect::<Vec<_>>(),
        "control": share(routing.control_permille),
        "tiers": routing.tiers.iter().map(|tier| Tier::name(*tier)).collect::<Vec<_>>(),
        "header_override": routing.header_override,
        "escalate": routing.escalate,
        "shadow_sample": {
            "share": share(routing.shadow_sample.share_permille),
            "daily": routing.shadow_sample.daily.map(money),
            "judge": routing.shadow_sample.judge,
        },
        "canary": routing.canary.as_ref().map(|canary| {
            json!({ "share": share(canary.share_permille), "policy": self::routing(&canary.routing) })
        }),
    })
}

/// Adds the three sections of ceilings, their names begun with `prefix`.
fn add(value: &mut Value, prefix: &str, ceilings: &Ceilings) {
    let Some(sections) = value.as_object_mut() else { return };
    let (limits, quota) = (&ceilings.limits, &ceilings.quota);
    let limits = json!({
        "requests_per_minute": limits.requests_per_minute,
        "input_tokens_per_minute": limits.input_tokens_per_minute,
        "output_tokens_per_minute": limits.output_tokens_per_minute,
        "concurrent_requests": limits.concurrent_requests,
    });
    let quota = json!({ "daily_tokens": quota.daily_tokens, "monthly_tokens": quota.monthly_tokens });
    sections.insert(format!("{prefix}limits"), limits);
    sections.insert(format!("{prefix}budget"), budget(&ceilings.budget));
    sections.insert(format!("{prefix}quota"), quota);
}

fn budget(budget: &Budget) -> Value {
    json!({
        "daily": budget.daily.map(money),
        "weekly": budget.weekly.map(money),
        "monthly": budget.monthly.map(money),
        "zone": budget.zone.iana_name().unwrap_or("UTC"),
        "reserve": match budget.reserve { Reserve::Expected => "expected", Reserve::Max => "max" },
        "warn_at": share(budget.warn_at_permille),
        "when_low": match budget.when_low { WhenLow::Warn => "warn", WhenLow::Cheaper => "cheaper" },
    })
}

fn share(permille: u16) -> f64 {
    f64::from(permille) / 1000.0
}

/// Writes a duration in the file's form: `1h30m`.
pub(super) fn duration(duration: Duration) -> String {
    let mut rest_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut written = String::new();
    for (unit, unit_ms) in DURATION_UNITS {
        if rest_ms >= unit_ms {
            written.push_str(&format!("{}{unit}", rest_ms / unit_ms));
            rest_ms %= unit_ms;
        }
    }
    if written.is_empty() { "0s".to_owned() } else { written }
}

/// Writes a size in the file's form, in the largest binary unit that divides it: `32 MiB`.
pub(super) fn size(bytes: u64) -> String {
    let whole =
        |(_, unit_bytes): &&(&str, u64)| unit_bytes.is_power_of_two() && bytes.is_multiple_of(*unit_bytes);
    let (unit, unit_bytes) = SIZE_UNITS.iter().find(whole).copied().unwrap_or(("B", 1));
    format!("{} {unit}", bytes / unit_bytes)
}

/// Writes money in the file's form, with two decimals or as many as are needed: `25.00 USD`.
pub(super) fn money(amount: NanoUsd) -> String {
    let exact = amount.to_string();
    let (whole, decimals) = exact.split_once('.').unwrap_or((&exact, ""));
    let needed = decimals.trim_end_matches('0').len().max(2).min(decimals.len());
    format!("{whole}.{} USD", decimals.get(..needed).unwrap_or(decimals))
}

const MASK: &str = "***";
