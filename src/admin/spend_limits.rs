//! Budgets in the shapes of Anthropic's Admin API, so that a client written for it works here.
//!
//! | scope there | budget here |
//! | --- | --- |
//! | `organization` | of the gateway |
//! | `workspace`, its id a tenant's name | of the tenant |
//! | `rbac_group`, its id a tenant's name | of each user of the tenant |
//! | `user`, its id `TENANT/USER`, or `USER` where one tenant has such a user | of one user |
//!
//! Amounts are whole US cents as text, rounded down where a budget is finer; `"0"` lets nothing through, `null` is
//! no ceiling. A limit's id is made of its scope and period. Pages are at most 1,000 long.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, Path, RawQuery, State};
use serde_json::{Map, Value, json};

use super::api::blocking;
use super::change::{Asked, Change, ChangeQuery};
use super::changes::read;
use super::gate::Caller;
use super::reply::Problem;
use super::spend_limit::{
    LIMIT_PREFIX, Member, MemberQuery, Scope, SpendLimit, cents, fine_cents, limit_id, period_named,
    read_amount, user_id,
};
use super::{AdminState, Sources};
use crate::money::NanoUsd;

/// `GET /v1/organizations/spend_limits`
pub(super) async fn list(
    State(state): State<AdminState>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Problem> {
    let mut asked = Parameters::read(query.as_deref(), &["scope_type", "workspace_id"])?;
    let (kinds, workspace) = (asked.take("scope_type"), asked.take("workspace_id").pop());
    let mut limits = blocking(&state, |sources| (sources.spend_limits)()).await?;
    limits.retain(|limit| {
        let scope = limit.scope.to_json();
        let is = |name: &str, wanted: &str| scope.get(name).and_then(Value::as_str) == Some(wanted);
        (kinds.is_empty() || kinds.iter().any(|kind| is("type", kind)))
            && workspace.as_ref().is_none_or(|tenant| is("workspace_id", tenant))
    });
    let mut ordered: Vec<(String, Value)> =
        limits.iter().map(|limit| (limit.id(), limit.to_json())).collect();
    ordered.sort_by(|(one, _), (other, _)| one.cmp(other));
    ordered.retain(|(id, _)| asked.page.as_ref().is_none_or(|page| id > page));
    let next = ordered.get(asked.limit.saturating_sub(1)).filter(|_| ordered.len() > asked.limit);
    let next_page = next.map(|(id, _)| id.clone());
    let data: Vec<Value> = ordered.into_iter().take(asked.limit).map(|(_, limit)| limit).collect();
    Ok(Json(json!({ "data": data, "next_page": next_page })))
}

/// `GET /v1/organizations/spend_limits/{id}`
pub(super) async fn retrieve(
    State(state): State<AdminState>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    blocking(&state, move |sources| find(sources, &id)).await?.map(|limit| Json(limit.to_json()))
}

/// `GET /v1/organizations/spend_limits/effective`
pub(super) async fn effective(
    State(state): State<AdminState>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Problem> {
    let mut asked = Parameters::read(query.as_deref(), &["period", "user_ids"])?;
    let (periods, users) = (asked.take("period"), asked.take("user_ids"));
    if users.len() > USERS_MAX {
        return Err(Problem::Invalid(format!("`user_ids` takes at most {USERS_MAX}")));
    }
    // One more than fits tells that there is another page.
    let wanted = MemberQuery { users, after: asked.page.take(), limit: asked.limit.saturating_add(1) };
    let mut members = blocking(&state, move |sources| (sources.members)(wanted)).await?;
    let has_more = members.len() > asked.limit;
    members.truncate(asked.limit);
    let next_page = members.last().filter(|_| has_more).map(|last| user_id(&last.tenant, &last.user));
    let rows = members.iter().flat_map(|member| member.limits.iter().map(move |limit| (member, limit)));
    let wanted = rows
        .filter(|(_, (limit, _))| periods.is_empty() || periods.iter().any(|period| period == limit.period));
    let data: Vec<Value> = wanted.map(|(member, (limit, spent))| summary(member, limit, *spent)).collect();
    Ok(Json(json!({ "data": data, "next_page": next_page })))
}

/// `POST /v1/organizations/spend_limits`: sets a limit that is there or not.
pub(super) async fn set(
    Extension(caller): Extension<Caller>,
    State(state): State<AdminState>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Problem> {
    let given: Map<String, Value> = read(body)?;
    let unknown = given.keys().find(|name| !["amount", "scope", "period"].contains(&name.as_str()));
    if let Some(name) = unknown {
        return Err(Problem::Invalid(format!("`{name}` is none of amount, scope, period")));
    }
    let period = period_named(given.get("period").and_then(Value::as_str).unwrap_or("monthly"))?;
    let (amount, scope) =
        (read_amount(given.get("amount"))?, given.get("scope").cloned().unwrap_or_default());
    let done = move |sources: &Sources| {
        let scope = Scope::read(&scope, |user| (sources.user)(user.to_owned()))?;
        put(sources, caller, scope, period, amount)
    };
    blocking(&state, done).await?.map(Json)
}

/// `POST /v1/organizations/spend_limits/{id}`: sets another amount.
pub(super) async fn update(
    Extension(caller): Extension<Caller>,
    State(state): State<AdminState>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Problem> {
    let given: Map<String, Value> = read(body)?;
    let amount = read_amount(given.get("amount"))?;
    let done = move |sources: &Sources| {
        let limit = find(sources, &id)?;
        put(sources, caller, limit.scope, limit.period, amount)
    };
    blocking(&state, done).await?.map(Json)
}

/// `DELETE /v1/organizations/spend_limits/{id}`
pub(super) async fn delete(
    Extension(caller): Extension<Caller>,
    State(state): State<AdminState>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let done = move |sources: &Sources| {
        let limit = find(sources, &id)?;
        let asked = Asked::LimitDelete { scope: limit.scope, period: limit.period };
        (sources.change)(Change { who: caller.0, asked, dry_run: false })?;
        Ok(Json(json!({"id": id, "type": "spend_limit_deleted"})))
    };
    blocking(&state, done).await?
}

/// `GET /v1/organizations/spend_limits/audit`
pub(super) async fn audit(
    State(state): State<AdminState>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Problem> {
    let asked = Parameters::read(query.as_deref(), &[])?;
    let before = asked
        .page
        .map(|page| page.parse().map_err(|_| Problem::Invalid("`page` is not one of ours".to_owned())));
    let wanted = ChangeQuery {
        before: before.transpose()?,
        subject: None,
        kind: Some(LIMIT_PREFIX),
        limit: asked.limit,
    };
    let mut listed = blocking(&state, move |sources| (sources.changes)(wanted)).await??;
    let changes =
        listed.get_mut("data").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
    let told = changes.into_iter().map(|change| {
        let of = |name: &str| change.get(name).cloned().unwrap_or_default();
        json!({
            "type": "spend_limit_change", "id": of("seq").to_string(), "created_at": of("timestamp"),
            "action": of("action"), "actor": {"type": "admin_token", "id": of("who")},
            "spend_limit_id": of("subject"), "before": of("before"), "after": of("after"),
        })
    });
    let next_page = listed.get("next_page").and_then(Value::as_u64).map(|seq| seq.to_string());
    Ok(Json(json!({ "data": told.collect::<Vec<_>>(), "next_page": next_page })))
}

fn put(
    sources: &Sources,
    caller: Caller,
    scope: Scope,
    period: &'static str,
    amount: Option<NanoUsd>,
) -> Result<Value, Problem> {
    let id = limit_id(&scope, period);
    (sources.change)(Change {
        who: caller.0,
        asked: Asked::LimitSet { scope, period, amount },
        dry_run: false,
    })?;
    find(sources, &id).map(|limit| limit.to_json())
}

fn find(sources: &Sources, id: &str) -> Result<SpendLimit, Problem> {
    let mut limits = (sources.spend_limits)().into_iter();
    limits
        .find(|limit| limit.id() == id)
        .ok_or_else(|| Problem::NotFound(format!("there is no spend limit `{id}`")))
}

fn summary(member: &Member, limit: &SpendLimit, spent: NanoUsd) -> Value {
    let user_id = user_id(&member.tenant, &member.user);
    let actor = json!({
        "type": "user_actor", "user_id": user_id, "name": member.user, "email_address": null, "deleted": false,
    });
    json!({
        "actor": actor, "scope": {"type": "user", "user_id": user_id}, "source": limit.scope.to_json(),
        "spend_limit_id": limit.id(), "period": limit.period, "amount": limit.amount.map(cents),
        "currency": "USD", "period_to_date_spend": fine_cents(spent),
    })
}

/// The parameters that every list takes, and the further ones of some.
struct Parameters {
    limit: usize,
    page: Option<String>,
    further: Vec<(String, String)>,
}

impl Parameters {
    /// Reads a query; lists are written `name[]=…`, once for each value.
    fn read(query: Option<&str>, further: &[&str]) -> Result<Self, Problem> {
        let mut read = Self { limit: 20, page: None, further: Vec::new() };
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match name.strip_suffix("[]").unwrap_or(&name) {
                // The SDK marks its beta resources so.
                "beta" => {}
                "page" => read.page = Some(value.into_owned()),
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
                    read.limit =
                        limit.ok_or_else(|| Problem::Invalid(format!("`limit` is 1 to {PAGE_MAX}")))?;
                }
                name if further.contains(&name) => read.further.push((name.to_owned(), value.into_owned())),
                name => return Err(Problem::Invalid(format!("unknown parameter `{name}`"))),
            }
        }
        Ok(read)
    }

    fn take(&mut self, name: &str) -> Vec<String> {
        self.further.iter().filter(|(given, _)| given == name).map(|(_, value)| value.clone()).collect()
    }
}

const PAGE_MAX: usize = 1_000;
const USERS_MAX: usize = 100;
