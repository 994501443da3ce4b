//! How tenants treat the upstream's prompt cache: the route, and its section of the page of sessions.

use axum::Json;
use axum::extract::State;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::AdminState;
use super::api::{Query, blocking, parameters};
use super::format::{clip, count, dollars, percent, short};
use super::reply::Problem;
use crate::money::NanoUsd;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CareParameters {
    tenant: Option<String>,
}

/// `GET /admin/v1/prompt-cache`
pub(super) async fn care(
    State(state): State<AdminState>,
    query: Query<CareParameters>,
) -> Result<Json<Value>, Problem> {
    let tenant = parameters(query)?.tenant;
    blocking(&state, move |sources| (sources.care)(tenant)).await.map(Json)
}

/// Lists workloads with what they read from the prompt cache, and what they lose.
pub(super) fn section(told: &Value) -> Markup {
    let all = told.get("workloads").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let number = |one: &Value, name: &str| one.get(name).and_then(Value::as_u64).unwrap_or(0);
    let text = |one: &Value, name: &str| one.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let money = |one: &Value| NanoUsd(one.get("at_stake_nanousd").and_then(Value::as_i64).unwrap_or(0));
    html! {
        section aria-labelledby="prompt-cache" {
            h2 #prompt-cache { "Prompt cache by workload" }
            p.note { "Today and yesterday: how much of the prompts the upstream's prompt cache served, and what it would save to mend what breaks it." }
            @if all.is_empty() { p.empty { "No prompts yet." } } @else {
                table.plain {
                    thead { tr {
                        th scope="col" { "Tenant" } th scope="col" { "Workload" } th.n scope="col" { "Requests" }
                        th.n scope="col" { "Prompt tokens" } th.n scope="col" { "Read" } th.n scope="col" { "At stake" }
                        th scope="col" { "Because" }
                    } }
                    tbody { @for one in all.iter().take(SHOWN) { tr {
                        th scope="row" { (clip(&text(one, "tenant"))) }
                        td { code { (clip(&text(one, "workload"))) } }
                        td.n { (count(number(one, "requests"))) }
                        td.n { (short(number(one, "prompt_tokens"))) }
                        td.n { (percent(number(one, "read_permille"))) }
                        td.n { @if money(one).is_zero() { "–" } @else { (dollars(money(one))) } }
                        td { @for each in one.get("breaks").and_then(Value::as_array).into_iter().flatten() {
                            span.chip { (text(each, "cause")) } " " (text(each, "advice")) " "
                        } }
                    } } }
                }
                @if all.len() > SHOWN { p.note { "and " (count((all.len() - SHOWN) as u64)) " more: "
                    a href="/admin/v1/prompt-cache" { "/admin/v1/prompt-cache" } } }
            }
        }
    }
}

const SHOWN: usize = 20;
