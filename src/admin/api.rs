//! The handlers of the JSON API, of health and of metrics.
//!
//! A handler reads its arguments strictly (an unknown parameter is an error, not ignored: a mistyped filter
//! must not silently widen a sum) and calls one source.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, Uri, header};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Value, json};

use super::gate::Caller;
use super::reply::Problem;
use super::{AdminState, Sources};

/// Which exchanges to sum, and by what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageQuery {
    /// Only this tenant.
    pub tenant: Option<String>,
    /// Only this user.
    pub user: Option<String>,
    /// Only this answered model.
    pub model: Option<String>,
    /// From then on.
    pub from: Option<Timestamp>,
    /// Until just before then.
    pub to: Option<Timestamp>,
    /// Names to group by, in order, at most eight; the source says which it knows.
    pub by: Vec<String>,
}

/// What to explain.
#[derive(Clone, Debug)]
pub enum Explained {
    /// An exchange in the journal.
    Record(String),
    /// A request body that is not sent anywhere; at most 32 MiB.
    Body(Bytes),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UsageParameters {
    tenant: Option<String>,
    user: Option<String>,
    model: Option<String>,
    from: Option<String>,
    to: Option<String>,
    by: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WorkloadParameters {
    tenant: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExplainParameters {
    request_id: String,
}

pub(super) type Query<T> = Result<axum::extract::Query<T>, QueryRejection>;

pub(super) async fn healthz() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

pub(super) async fn readyz(State(state): State<AdminState>) -> Result<Json<Value>, Problem> {
    match (state.sources.ready)() {
        Ok(()) => Ok(Json(json!({"status": "ready"}))),
        Err(reason) => Err(Problem::Unavailable(reason)),
    }
}

pub(super) async fn metrics(
    State(state): State<AdminState>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let accepted = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let reads_openmetrics =
        accepted.split(',').any(|one| one.trim().starts_with("application/openmetrics-text"));
    let page = blocking(&state, move |sources| (sources.metrics)(reads_openmetrics)).await?;
    Ok(([(header::CONTENT_TYPE, page.content_type)], page.text).into_response())
}

pub(super) async fn usage(
    State(state): State<AdminState>,
    query: Query<UsageParameters>,
) -> Result<Json<Value>, Problem> {
    let query = usage_query(parameters(query)?)?;
    blocking(&state, |sources| (sources.usage)(query)).await?.map(Json)
}

pub(super) async fn tenants(State(state): State<AdminState>) -> Result<Json<Value>, Problem> {
    blocking(&state, |sources| (sources.tenants)()).await.map(Json)
}

pub(super) async fn overview(State(state): State<AdminState>) -> Result<Json<Value>, Problem> {
    blocking(&state, |sources| (sources.overview)().json()).await.map(Json)
}

pub(super) async fn session(
    State(state): State<AdminState>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    blocking(&state, |sources| (sources.session)(id)).await.map(Json)
}

pub(super) async fn config(State(state): State<AdminState>) -> Result<Json<Value>, Problem> {
    blocking(&state, |sources| (sources.config)()).await.map(Json)
}

pub(super) async fn workloads(
    State(state): State<AdminState>,
    query: Query<WorkloadParameters>,
) -> Result<Json<Value>, Problem> {
    let tenant = parameters(query)?.tenant;
    blocking(&state, |sources| (sources.workloads)(tenant)).await.map(Json)
}

/// Forgets one tenant's; which one must be said.
pub(super) async fn forget_workloads(
    State(state): State<AdminState>,
    Extension(caller): Extension<Caller>,
    query: Query<WorkloadParameters>,
) -> Result<Json<Value>, Problem> {
    let tenant = parameters(query)?.tenant;
    let tenant = tenant.ok_or_else(|| Problem::Invalid("say whose: ?tenant=NAME".to_owned()))?;
    blocking(&state, |sources| (sources.forget)(caller.0, tenant)).await?.map(Json)
}

pub(super) async fn journal_head(State(state): State<AdminState>) -> Result<Json<Value>, Problem> {
    blocking(&state, |sources| (sources.journal_head)()).await.map(Json)
}

pub(super) async fn explain_record(
    State(state): State<AdminState>,
    query: Query<ExplainParameters>,
) -> Result<Json<Value>, Problem> {
    let wanted = Explained::Record(parameters(query)?.request_id);
    let mut told = blocking(&state, |sources| (sources.explain)(wanted)).await??;
    // What it came to is for the page; here it is told as its body is.
    if let Some(fields) = told.as_object_mut() {
        fields.remove("record");
    }
    Ok(Json(told))
}

pub(super) async fn explain_body(
    State(state): State<AdminState>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Problem> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::TooLarge("the body is larger than 32 MiB".to_owned()),
        _ => Problem::Invalid("the body could not be read".to_owned()),
    })?;
    blocking(&state, |sources| (sources.explain)(Explained::Body(body))).await?.map(Json)
}

/// Answers 200 with what is in force now, or 400 with the problems; then what was in force stays.
pub(super) async fn reload(
    State(state): State<AdminState>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Value>, Problem> {
    let reloaded = blocking(&state, move |sources| (sources.reload)(caller.0)).await?;
    reloaded.map(Json).map_err(Problem::Configuration)
}

pub(super) async fn not_found(uri: Uri) -> Problem {
    Problem::NotFound(format!("there is nothing at {}", uri.path()))
}

pub(super) async fn method_not_allowed() -> Problem {
    Problem::Method("this route does not have that method".to_owned())
}

/// Runs a source on a blocking thread, so that a long sum holds up nobody else.
pub(super) async fn blocking<T: Send + 'static>(
    state: &AdminState,
    work: impl FnOnce(&Sources) -> T + Send + 'static,
) -> Result<T, Problem> {
    let sources = Arc::clone(&state.sources);
    let done = tokio::task::spawn_blocking(move || work(&sources)).await;
    done.map_err(|_| Problem::Internal("the answer could not be computed".to_owned()))
}

pub(super) fn parameters<T>(query: Query<T>) -> Result<T, Problem> {
    query.map(|query| query.0).map_err(|rejection| Problem::Invalid(rejection.body_text()))
}

fn usage_query(asked: UsageParameters) -> Result<UsageQuery, Problem> {
    let by: Vec<String> = asked
        .by
        .iter()
        .flat_map(|names| names.split(','))
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect();
    if by.len() > BY_MAX {
        return Err(Problem::Invalid(format!("`by` takes at most {BY_MAX} names")));
    }
    let time = |name: &str, text: Option<String>| text.map(|text| read_time(name, &text)).transpose();
    Ok(UsageQuery {
        tenant: asked.tenant,
        user: asked.user,
        model: asked.model,
        from: time("from", asked.from)?,
        to: time("to", asked.to)?,
        by,
    })
}

/// Reads RFC 3339, or a date as its midnight in UTC.
fn read_time(name: &str, text: &str) -> Result<Timestamp, Problem> {
    // A plus in a query string is a space; offsets are written with one.
    if let Ok(time) = text.parse().or_else(|_| text.replace(' ', "+").parse()) {
        return Ok(time);
    }
    let midnight = text.parse::<Date>().and_then(|date| date.to_zoned(TimeZone::UTC));
    midnight.map(|zoned| zoned.timestamp()).map_err(|_| {
        Problem::Invalid(format!("`{name}` must be a date (2026-11-20) or a time (2026-11-20T08:00:00Z)"))
    })
}

const BY_MAX: usize = 8;
