//! The routes that change something: the gateway's ceilings, tenants, keys; and the list of what was changed.
//!
//! Bodies are JSON objects with the names and values of the configuration file; `null` removes a setting. Every
//! change takes `?dry_run=true`, and answers with what differs before and after. A new key is in its answer and
//! nowhere else.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::AdminState;
use super::api::{Query, blocking, parameters};
use super::change::{Asked, Change, ChangeQuery, Changed};
use super::gate::Caller;
use super::reply::Problem;
use crate::config;
use crate::secret::{self, KeyHash, Secret};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeParameters {
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParameters {
    limit: Option<usize>,
    page: Option<u64>,
    subject: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyParameters {
    tenant: Option<String>,
}

#[derive(Deserialize)]
struct NewTenant {
    name: String,
    #[serde(flatten)]
    settings: Map<String, Value>,
}

#[derive(Deserialize)]
struct NewKey {
    tenant: String,
    id: Option<String>,
    #[serde(flatten)]
    settings: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotation {
    overlap: Option<String>,
}

type Body = Result<Bytes, BytesRejection>;
type Asker = (Extension<Caller>, State<AdminState>);

/// `PATCH /admin/v1/gateway`
pub(super) async fn gateway(
    asker: Asker,
    query: Query<ChangeParameters>,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let settings = read(body)?;
    changed(asker, query, Asked::Gateway { settings }).await
}

/// `POST /admin/v1/tenants`
pub(super) async fn create_tenant(
    asker: Asker,
    query: Query<ChangeParameters>,
    body: Body,
) -> Result<Response, Problem> {
    let NewTenant { name, settings } = read(body)?;
    let changed = changed(asker, query, Asked::TenantCreate { name, settings }).await?;
    Ok((StatusCode::CREATED, changed).into_response())
}

/// `GET /admin/v1/tenants/{name}`
pub(super) async fn tenant(
    State(state): State<AdminState>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    let all = blocking(&state, |sources| (sources.tenants)()).await?;
    one_of(&all, "name", &name).ok_or_else(|| Problem::NotFound(format!("there is no tenant `{name}`")))
}

/// `PATCH /admin/v1/tenants/{name}`
pub(super) async fn tenant_change(
    asker: Asker,
    Path(name): Path<String>,
    query: Query<ChangeParameters>,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let settings = read(body)?;
    changed(asker, query, Asked::TenantChange { name, settings }).await
}

/// `GET /admin/v1/keys`
pub(super) async fn keys(
    State(state): State<AdminState>,
    query: Query<KeyParameters>,
) -> Result<Json<Value>, Problem> {
    let wanted = parameters(query)?.tenant;
    let mut keys = blocking(&state, |sources| (sources.keys)()).await?;
    if let (Some(wanted), Some(keys)) = (wanted, keys.as_array_mut()) {
        keys.retain(|key| key.get("tenant").and_then(Value::as_str) == Some(&wanted));
    }
    Ok(Json(keys))
}

/// `GET /admin/v1/keys/{id}`
pub(super) async fn key(
    State(state): State<AdminState>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let all = blocking(&state, |sources| (sources.keys)()).await?;
    one_of(&all, "id", &id).ok_or_else(|| Problem::NotFound(format!("there is no key `{id}`")))
}

/// `POST /admin/v1/keys`: the key is in the answer, once.
pub(super) async fn create_key(
    asker: Asker,
    query: Query<ChangeParameters>,
    body: Body,
) -> Result<Response, Problem> {
    let NewKey { tenant, id, settings } = read(body)?;
    let (key, hash) = new_key()?;
    let id = match id {
        Some(id) => id,
        None => new_key_id(&tenant, &settings)?,
    };
    let asked = Asked::KeyCreate { tenant: tenant.clone(), id: id.clone(), hash, settings };
    let made = make(asker, query, asked).await?;
    let mut answer = json!({ "id": id, "tenant": tenant });
    show_once(&mut answer, &made, &key, hash);
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// `PATCH /admin/v1/keys/{id}`
pub(super) async fn key_change(
    asker: Asker,
    Path(id): Path<String>,
    query: Query<ChangeParameters>,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let settings = read(body)?;
    changed(asker, query, Asked::KeyChange { id, settings }).await
}

/// `POST /admin/v1/keys/{id}/rotate`: the new key is in the answer, once; the old one holds for `overlap`.
pub(super) async fn rotate_key(
    asker: Asker,
    Path(id): Path<String>,
    query: Query<ChangeParameters>,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let overlap = match body {
        Ok(bytes) if bytes.is_empty() => None,
        body => read::<Rotation>(body)?.overlap,
    };
    let overlap = config::parse_duration(overlap.as_deref().unwrap_or(OVERLAP));
    let overlap =
        overlap.map_err(|what| Problem::Invalid(format!("overlap: {}", what.replace('\n', "; "))))?;
    let (key, hash) = new_key()?;
    let made = make(asker, query, Asked::KeyRotate { id: id.clone(), hash, overlap }).await?;
    let mut answer = json!({ "id": id });
    show_once(&mut answer, &made, &key, hash);
    Ok(Json(answer))
}

/// `DELETE /admin/v1/keys/{id}`
pub(super) async fn revoke_key(
    asker: Asker,
    Path(id): Path<String>,
    query: Query<ChangeParameters>,
) -> Result<Json<Value>, Problem> {
    changed(asker, query, Asked::KeyRevoke { id }).await
}

/// `GET /admin/v1/changes`
pub(super) async fn list(
    State(state): State<AdminState>,
    query: Query<ListParameters>,
) -> Result<Json<Value>, Problem> {
    let ListParameters { limit, page, subject } = parameters(query)?;
    let limit = limit.unwrap_or(20);
    if !(1..=LISTED_MAX).contains(&limit) {
        return Err(Problem::Invalid(format!("`limit` is 1 to {LISTED_MAX}")));
    }
    let asked = ChangeQuery { before: page, subject, kind: None, limit };
    blocking(&state, move |sources| (sources.changes)(asked)).await?.map(Json)
}

async fn changed(asker: Asker, query: Query<ChangeParameters>, asked: Asked) -> Result<Json<Value>, Problem> {
    Ok(Json(make(asker, query, asked).await?.to_json()))
}

async fn make(
    (Extension(caller), State(state)): Asker,
    query: Query<ChangeParameters>,
    asked: Asked,
) -> Result<Changed, Problem> {
    let change = Change { who: caller.0, asked, dry_run: parameters(query)?.dry_run };
    blocking(&state, move |sources| (sources.change)(change)).await?
}

pub(super) fn read<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::TooLarge("the body is larger than 1 MiB".to_owned()),
        _ => Problem::Invalid("the body could not be read".to_owned()),
    })?;
    serde_json::from_slice(&body).map_err(|error| Problem::Invalid(format!("the body: {error}")))
}

/// Returns a new key and its hash.
pub(super) fn new_key() -> Result<(Secret, KeyHash), Problem> {
    let key = secret::new_key().map_err(|error| Problem::Internal(error.to_string()))?;
    let hash = KeyHash::of(key.expose().as_bytes());
    Ok((key, hash))
}

/// Makes up an id from the key's user, or its tenant.
pub(super) fn new_key_id(tenant: &str, settings: &Map<String, Value>) -> Result<String, Problem> {
    let owner = settings.get("user").and_then(Value::as_str).unwrap_or(tenant);
    secret::new_key_id(owner).map_err(|error| Problem::Internal(error.to_string()))
}

/// Adds what came of a change, and the key where it is one that works.
fn show_once(answer: &mut Value, made: &Changed, key: &Secret, hash: KeyHash) {
    let Value::Object(answer) = answer else { return };
    if made.is_applied {
        answer.insert("key".to_owned(), Value::from(key.expose()));
        answer.insert("hash".to_owned(), Value::from(hash.to_string()));
    }
    if let Value::Object(change) = made.to_json() {
        answer.extend(change);
    }
}

fn one_of(all: &Value, name: &str, wanted: &str) -> Option<Json<Value>> {
    let mut all = all.as_array()?.iter();
    all.find(|one| one.get(name).and_then(Value::as_str) == Some(wanted)).cloned().map(Json)
}

/// How long the secret before is taken after a rotation that does not say.
pub(super) const OVERLAP: &str = "1d";
const LISTED_MAX: usize = 1_000;
