//! The admin listener's routes: health, metrics, the JSON API and the dashboard.
//!
//! Shows and asks, and never decides: everything comes from [`Sources`], functions that the gateway fills in,
//! which may take a while and therefore run on blocking threads. `gate` stands before every route: who may call,
//! from which page, how often; it also sets the security headers. Errors are always
//! `{"type": "error", "error": {"type", "message"}}`.
//!
//! Bounds: bodies of `explain` 32 MiB, of changes 1 MiB; 500 calls a second (burst 1,000) over all callers; ten
//! failed logins per address, then one more every six seconds, and a minute's pause after each beyond.

mod api;
mod care;
mod change;
mod changes;
mod dashboard;
mod format;
mod forms;
mod gate;
mod kept;
mod live;
mod overview;
mod pages;
mod replay;
mod reply;
mod shell;
mod spend_limit;
mod spend_limits;
mod tenants;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, patch, post};
use serde_json::Value;

use crate::clock::Clock;
use crate::secret::Secret;
use crate::telemetry::Exposition;

pub use api::{Explained, UsageQuery};
pub use change::{Asked, Change, ChangeQuery, Changed};
pub use kept::{Expiry, KeptQuery};
pub use overview::{
    Budget, Measured, Overview, RecentExchange, SetUp, Spending, TenantCache, TenantSpending, TierShare,
};
pub use replay::{ReplayAnswer, ReplayQuery};
pub use reply::Problem;
pub use spend_limit::{Member, MemberQuery, PERIODS, Scope as LimitScope, SpendLimit, limit_id, user_id};

/// Where the answers come from; each may take a while and must not panic.
pub struct Sources {
    /// Sums of the journal, in the shape of the usage route.
    pub usage: Box<dyn Fn(UsageQuery) -> Result<Value, Problem> + Send + Sync>,
    /// `/metrics`, given whether OpenMetrics is read.
    pub metrics: Box<dyn Fn(bool) -> Exposition + Send + Sync>,
    /// Whether requests should be sent here; the reason where not.
    pub ready: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// Tenants with their ceilings.
    pub tenants: Box<dyn Fn() -> Value + Send + Sync>,
    /// Keys by id, tenant, user and expiry; never hashes, never secrets.
    pub keys: Box<dyn Fn() -> Value + Send + Sync>,
    /// Why a request is routed as it is.
    pub explain: Box<dyn Fn(Explained) -> Result<Value, Problem> + Send + Sync>,
    /// The effective configuration, secrets masked.
    pub config: Box<dyn Fn() -> Value + Send + Sync>,
    /// Loads the configuration again for somebody; the problems where it stays as it was.
    pub reload: Box<dyn Fn(String) -> Result<Value, Value> + Send + Sync>,
    /// Every budget that is set, in no order.
    pub spend_limits: Box<dyn Fn() -> Vec<SpendLimit> + Send + Sync>,
    /// Users and what limits each of them.
    pub members: Box<dyn Fn(MemberQuery) -> Vec<Member> + Send + Sync>,
    /// The scope of a user given as `TENANT/USER` or `USER`.
    pub user: Box<dyn Fn(String) -> Result<LimitScope, Problem> + Send + Sync>,
    /// Makes a change, or says what it would do.
    pub change: Box<dyn Fn(Change) -> Result<Changed, Problem> + Send + Sync>,
    /// The policy in force, as text that `replay` takes.
    pub policy: Box<dyn Fn() -> String + Send + Sync>,
    /// Decides the last exchanges again under another policy.
    pub replay: Box<dyn Fn(ReplayQuery) -> Result<ReplayAnswer, Problem> + Send + Sync>,
    /// What is known of a tenant's workloads, or of everybody's.
    pub workloads: Box<dyn Fn(Option<String>) -> Value + Send + Sync>,
    /// Forgets, for somebody, what is known of a tenant's workloads.
    pub forget: Box<dyn Fn(String, String) -> Result<Value, Problem> + Send + Sync>,
    /// What was changed, newest first.
    pub changes: Box<dyn Fn(ChangeQuery) -> Result<Value, Problem> + Send + Sync>,
    /// How workloads treat the upstream's prompt cache, of one tenant or of all.
    pub care: Box<dyn Fn(Option<String>) -> Value + Send + Sync>,
    /// What is kept of answers, here and shared.
    pub kept: Box<dyn Fn(KeptQuery) -> Value + Send + Sync>,
    /// Expires kept answers, or says which would be.
    pub expire: Box<dyn Fn(Expiry) -> Result<Value, Problem> + Send + Sync>,
    /// Sequence and hash of the journal's last record.
    pub journal_head: Box<dyn Fn() -> Value + Send + Sync>,
    /// What the dashboard shows.
    pub overview: Box<dyn Fn() -> Overview + Send + Sync>,
    /// What a session of a client has used, and everybody today.
    pub session: Box<dyn Fn(String) -> Value + Send + Sync>,
}

/// Who may call.
pub struct Access {
    /// Returns the bearer token in force, which a reload may change; `None` only on loopback.
    pub token: Box<dyn Fn() -> Option<Secret> + Send + Sync>,
    /// The admin listener's address; its port and host are accepted in `Host`.
    pub listen: SocketAddr,
    /// Further names accepted in `Host` where there is no token, without port.
    pub hosts: Vec<String>,
}

/// What every handler holds; cheap to clone.
#[derive(Clone)]
pub(super) struct AdminState {
    sources: Arc<Sources>,
    gate: Arc<gate::Gate>,
    seal: Arc<shell::Seal>,
}

/// Returns the admin listener's service.
///
/// Serve it with `into_make_service_with_connect_info::<SocketAddr>()`, so that failed logins are counted by
/// address; without, all callers count as one.
pub fn router(sources: Sources, access: Access, clock: Clock) -> Router {
    let gate = Arc::new(gate::Gate::new(access, clock));
    let state = AdminState { sources: Arc::new(sources), gate, seal: Arc::new(shell::Seal::new()) };
    Router::new()
        .route("/", get(dashboard::page))
        .route(&dashboard::stylesheet_path(), get(dashboard::stylesheet))
        .merge(pages())
        .route("/healthz", get(api::healthz))
        .route("/readyz", get(api::readyz))
        .route("/metrics", get(api::metrics))
        .route("/admin/v1/usage", get(api::usage))
        .route("/admin/v1/explain", get(api::explain_record).post(api::explain_body))
        .route("/admin/v1/overview", get(api::overview))
        .route("/admin/v1/sessions/{id}", get(api::session))
        .route("/admin/v1/config", get(api::config))
        .route("/admin/v1/reload", post(api::reload))
        .route("/admin/v1/prompt-cache", get(care::care))
        .route("/admin/v1/journal/head", get(api::journal_head))
        .merge(changing())
        .fallback(api::not_found)
        .method_not_allowed_fallback(api::method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .layer(from_fn_with_state(Arc::clone(&state.gate), gate::stand))
        .with_state(state)
}

/// The pages besides the first, and what their forms are sent to.
fn pages() -> Router<AdminState> {
    Router::new()
        .route("/live", get(live::page))
        .route("/explain", get(pages::explain).post(pages::explain_body))
        .route("/replay", get(replay::page).post(replay::run))
        .route("/sessions", get(pages::sessions))
        .route("/setup", get(pages::setup))
        .route("/system", get(pages::system))
        .route("/tenants", get(tenants::list).post(forms::create))
        .route("/tenants/{name}", get(tenants::show).post(forms::edit))
        .route("/keys", post(forms::create_key))
        .route("/keys/{id}/rotate", post(forms::rotate_key))
        .route("/keys/{id}/revoke", post(forms::revoke_key))
        .layer(DefaultBodyLimit::max(CHANGE_MAX_BYTES))
}

/// Everything that changes something takes a small body.
fn changing() -> Router<AdminState> {
    Router::new()
        .route("/admin/v1/gateway", patch(changes::gateway))
        .route("/admin/v1/tenants", get(api::tenants).post(changes::create_tenant))
        .route("/admin/v1/tenants/{name}", get(changes::tenant).patch(changes::tenant_change))
        .route("/admin/v1/keys", get(changes::keys).post(changes::create_key))
        .route(
            "/admin/v1/keys/{id}",
            get(changes::key).patch(changes::key_change).delete(changes::revoke_key),
        )
        .route("/admin/v1/keys/{id}/rotate", post(changes::rotate_key))
        .route("/admin/v1/changes", get(changes::list))
        .route("/admin/v1/workloads", get(api::workloads).delete(api::forget_workloads))
        .route("/admin/v1/cache", get(kept::look).delete(kept::expire))
        .route("/v1/organizations/spend_limits", get(spend_limits::list).post(spend_limits::set))
        .route("/v1/organizations/spend_limits/effective", get(spend_limits::effective))
        .route("/v1/organizations/spend_limits/audit", get(spend_limits::audit))
        .route(
            "/v1/organizations/spend_limits/{id}",
            get(spend_limits::retrieve).post(spend_limits::update).delete(spend_limits::delete),
        )
        .layer(DefaultBodyLimit::max(CHANGE_MAX_BYTES))
}

const BODY_MAX_BYTES: usize = 32 << 20;
const CHANGE_MAX_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests;
