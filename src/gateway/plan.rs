//! From what an operator asks to what is laid over the configuration, and what it is about.
//!
//! Decides from the configuration in force alone: whether the tenant or key is there, what a body may name. What
//! the values mean is checked afterwards, with the whole configuration.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::changes::differing;
use super::spend_limits;
use crate::admin::{Asked, LimitScope, Problem, SpendLimit, limit_id};
use crate::config::{self, CREATED, Config, FORGET};

/// What one change comes to.
pub(super) struct Planned {
    pub(super) action: &'static str,
    pub(super) subject: Subject,
    pub(super) change: Value,
}

/// What a change is about.
pub(super) enum Subject {
    Gateway,
    Tenant(String),
    Key { tenant: String, id: String },
    Limit { scope: LimitScope, period: &'static str },
}

impl Subject {
    /// Returns what differs of it between two configurations.
    pub(super) fn compared(&self, before: &Config, after: &Config) -> (Value, Value) {
        let (old, new) = (self.described(before), self.described(after));
        // A spend limit is told whole, in its own shape.
        if matches!(self, Self::Limit { .. }) { (old, new) } else { differing(&old, &new) }
    }

    /// Returns its settings as the configuration describes them, secrets masked; `null` where it is not there.
    fn described(&self, config: &Config) -> Value {
        let mut whole = config::describe(config);
        match self {
            Self::Gateway => {
                let Value::Object(whole) = &mut whole else { return Value::Null };
                whole.retain(|name, _| GATEWAY_SECTIONS.contains(&name.as_str()));
                Value::Object(std::mem::take(whole))
            }
            Self::Tenant(name) => {
                let tenant = whole.get_mut("tenants").and_then(|tenants| tenants.get_mut(name));
                let mut tenant = tenant.map(Value::take).unwrap_or_default();
                if let Value::Object(tenant) = &mut tenant {
                    tenant.remove("keys");
                }
                tenant
            }
            Self::Limit { scope, period } => {
                let mut limits = spend_limits::all(config).into_iter();
                let found = limits.find(|limit| limit.scope == *scope && limit.period == *period);
                found.as_ref().map(SpendLimit::to_json).unwrap_or_default()
            }
            Self::Key { tenant, id } => {
                let keys =
                    whole.get_mut("tenants").and_then(|tenants| tenants.get_mut(tenant)?.get_mut("keys"));
                let mut keys = keys.and_then(Value::as_array_mut).into_iter().flatten();
                let key = keys.find(|key| key.get("id").and_then(Value::as_str) == Some(id));
                key.map(Value::take).unwrap_or_default()
            }
        }
    }
}

/// As in the journal.
impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway => formatter.write_str("gateway"),
            Self::Tenant(name) => write!(formatter, "tenant:{name}"),
            Self::Key { id, .. } => write!(formatter, "key:{id}"),
            Self::Limit { scope, period } => formatter.write_str(&limit_id(scope, period)),
        }
    }
}

/// Plans what was asked.
pub(super) fn plan(asked: &Asked, config: &Config, now: Timestamp) -> Result<Planned, Problem> {
    match asked {
        Asked::Gateway { settings } => {
            allow(settings, |name| GATEWAY_SECTIONS.contains(&name))?;
            let change = Value::Object(settings.clone());
            Ok(Planned { action: "gateway.change", subject: Subject::Gateway, change })
        }
        Asked::TenantCreate { name, settings } => {
            if config.tenants.contains_key(name) {
                return Err(Problem::Conflict(format!("tenant `{name}` is there already")));
            }
            of_tenant("tenant.create", name, settings, true)
        }
        Asked::TenantChange { name, settings } => {
            require_tenant(config, name)?;
            of_tenant("tenant.change", name, settings, false)
        }
        Asked::KeyCreate { tenant, id, hash, settings } => {
            require_tenant(config, tenant)?;
            if find(config, id).is_ok() {
                return Err(Problem::Conflict(format!("the key id `{id}` is taken already")));
            }
            allow(settings, |name| !KEY_VERBS.contains(&name))?;
            let mut settings = settings.clone();
            settings.insert(CREATED.to_owned(), Value::Bool(true));
            settings.insert("hash".to_owned(), Value::String(hash.to_string()));
            Ok(of_key("key.create", tenant, id, &Value::Object(settings)))
        }
        Asked::KeyChange { id, settings } => {
            let (tenant, _) = find(config, id)?;
            allow(settings, |name| !KEY_VERBS.contains(&name))?;
            Ok(of_key("key.change", tenant, id, &Value::Object(settings.clone())))
        }
        Asked::KeyRotate { id, hash, overlap } => {
            let (tenant, key) = find(config, id)?;
            let until =
                SignedDuration::try_from(*overlap).ok().and_then(|overlap| now.checked_add(overlap).ok());
            let until = until.ok_or_else(|| Problem::Invalid("`overlap` is too long".to_owned()))?;
            let previous = json!({"hash": key.hash.to_string(), "expires": until.to_string()});
            let change = json!({"secret": null, "hash": hash.to_string(), "previous": previous});
            Ok(of_key("key.rotate", tenant, id, &change))
        }
        Asked::KeyRevoke { id } => {
            let (tenant, _) = find(config, id)?;
            let made = config.source.amendments().at(&["tenants", tenant, "keys", id, CREATED]);
            let change = if made.is_some() { json!({FORGET: true}) } else { Value::Null };
            Ok(of_key("key.revoke", tenant, id, &change))
        }
        Asked::LimitSet { scope, period, amount } => {
            let amount = amount.map_or(Value::Null, |amount| Value::from(format!("{amount} USD")));
            of_limit("spend_limit.set", config, scope, period, &amount)
        }
        Asked::LimitDelete { scope, period } => {
            let mut path = scope.path();
            path.push(period);
            let was_set_here = config.source.amendments().at(&path).is_some();
            let change = if was_set_here { json!({FORGET: true}) } else { Value::Null };
            of_limit("spend_limit.delete", config, scope, period, &change)
        }
    }
}

fn of_tenant(
    action: &'static str,
    name: &str,
    settings: &Map<String, Value>,
    is_new: bool,
) -> Result<Planned, Problem> {
    allow(settings, |name| name != "keys")?;
    let mut settings = settings.clone();
    if is_new {
        settings.insert(CREATED.to_owned(), Value::Bool(true));
    }
    let change = json!({"tenants": {name: settings}});
    Ok(Planned { action, subject: Subject::Tenant(name.to_owned()), change })
}

fn of_key(action: &'static str, tenant: &str, id: &str, change: &Value) -> Planned {
    let subject = Subject::Key { tenant: tenant.to_owned(), id: id.to_owned() };
    Planned { action, subject, change: json!({"tenants": {tenant: {"keys": {id: change}}}}) }
}

fn of_limit(
    action: &'static str,
    config: &Config,
    scope: &LimitScope,
    period: &'static str,
    value: &Value,
) -> Result<Planned, Problem> {
    if let LimitScope::Tenant(tenant) | LimitScope::EachUser(tenant) | LimitScope::User(tenant, _) = scope {
        require_tenant(config, tenant)?;
    }
    let change =
        scope.path().into_iter().rev().fold(json!({period: value}), |inner, name| json!({name: inner}));
    Ok(Planned { action, subject: Subject::Limit { scope: scope.clone(), period }, change })
}

fn require_tenant(config: &Config, name: &str) -> Result<(), Problem> {
    let there = config.tenants.contains_key(name).then_some(());
    there.ok_or_else(|| Problem::NotFound(format!("there is no tenant `{name}`")))
}

fn find<'a>(config: &'a Config, id: &str) -> Result<(&'a str, &'a config::Key), Problem> {
    let mut keys =
        config.tenants.iter().flat_map(|(name, held)| held.keys.iter().map(move |key| (name, key)));
    let found = keys.find(|(_, key)| key.id == id).map(|(name, key)| (name.as_str(), key));
    found.ok_or_else(|| Problem::NotFound(format!("there is no key `{id}`")))
}

/// Refuses names that this call may not set, and marks of ours at any depth.
fn allow(settings: &Map<String, Value>, may: impl Fn(&str) -> bool) -> Result<(), Problem> {
    if let Some(name) = settings.keys().find(|name| !may(name)) {
        return Err(Problem::Invalid(format!("`{name}` cannot be set here")));
    }
    match marked(settings) {
        Some(name) => Err(Problem::Invalid(format!("`{name}`: names do not begin with an underscore"))),
        None => Ok(()),
    }
}

fn marked(settings: &Map<String, Value>) -> Option<&str> {
    settings.iter().find_map(|(name, value)| {
        if name.starts_with('_') { Some(name.as_str()) } else { marked(value.as_object()?) }
    })
}

/// What can be changed of the whole gateway.
const GATEWAY_SECTIONS: [&str; 3] = ["limits", "budget", "quota"];
/// What has verbs of its own.
const KEY_VERBS: [&str; 4] = ["id", "secret", "hash", "previous"];
