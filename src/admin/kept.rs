//! The routes of kept answers: look them up and expire them, by tenant, user or key of who paid for them.

use axum::Json;
use axum::extract::{Extension, State};
use serde::Deserialize;
use serde_json::Value;

use super::AdminState;
use super::api::{Query, blocking, parameters};
use super::gate::Caller;
use super::reply::Problem;

/// Which kept answers are meant: those of every name that is given.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct KeptQuery {
    /// Whose.
    pub tenant: Option<String>,
    /// Paid for by this user.
    pub user: Option<String>,
    /// Paid for with the key of this id.
    pub key: Option<String>,
}

/// Answers that are to be kept no longer.
#[derive(Clone, Debug)]
pub struct Expiry {
    /// Who asks, as it is written down.
    pub who: String,
    /// Which of them.
    pub which: KeptQuery,
    /// Whether only to say which they are.
    pub dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpireParameters {
    tenant: Option<String>,
    user: Option<String>,
    key: Option<String>,
    #[serde(default)]
    all: bool,
    #[serde(default)]
    dry_run: bool,
}

/// `GET /admin/v1/cache`
pub(super) async fn look(
    State(state): State<AdminState>,
    query: Query<KeptQuery>,
) -> Result<Json<Value>, Problem> {
    let asked = parameters(query)?;
    blocking(&state, move |sources| (sources.kept)(asked)).await.map(Json)
}

/// `DELETE /admin/v1/cache`: everything only where that is said.
pub(super) async fn expire(
    State(state): State<AdminState>,
    Extension(caller): Extension<Caller>,
    query: Query<ExpireParameters>,
) -> Result<Json<Value>, Problem> {
    let ExpireParameters { tenant, user, key, all, dry_run } = parameters(query)?;
    let which = KeptQuery { tenant, user, key };
    if (which == KeptQuery::default()) != all {
        let what = "name a tenant, a user or a key, or say `all=true`, and not both";
        return Err(Problem::Invalid(what.to_owned()));
    }
    let expiry = Expiry { who: caller.0, which, dry_run };
    blocking(&state, move |sources| (sources.expire)(expiry)).await?.map(Json)
}
