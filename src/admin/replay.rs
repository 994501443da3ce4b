//! The page that decides the last exchanges again under another policy; nothing is sent, and nothing changes.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use maud::{Markup, html};

use super::AdminState;
use super::api::blocking;
use super::format::{clip, count, dollars_to, query_value};
use super::reply::Problem;
use super::shell::{Here, Page, Sealed};
use crate::config;
use crate::pipeline::Replayed;

/// What is to be decided again.
#[derive(Clone, Debug)]
pub struct ReplayQuery {
    /// `[routing]` and `[tiers]` as in a configuration file.
    pub policy: String,
    /// Of this tenant alone.
    pub tenant: Option<String>,
    /// How long ago the first of them may be.
    pub since: Duration,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct ReplayAnswer {
    /// The counts, the money and the changes.
    pub replayed: Replayed,
    /// Whether older exchanges of the time asked for were left out, because there are more than one page looks at.
    pub is_cut: bool,
}

/// `GET /replay`
pub(super) async fn page(State(state): State<AdminState>, headers: HeaderMap) -> Result<Response, Problem> {
    let policy = blocking(&state, |sources| (sources.policy)()).await?;
    show(&state, &headers, &Form { policy, tenant: String::new(), since: SINCE.to_owned() }, None).await
}

/// `POST /replay`
pub(super) async fn run(
    State(state): State<AdminState>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let mut fields: BTreeMap<String, String> = form_urlencoded::parse(&body).into_owned().collect();
    let mut field = |name: &str| fields.remove(name).unwrap_or_default();
    state.seal.check(&headers, &field("token"))?;
    let form = Form {
        policy: field("policy"),
        tenant: field("tenant").trim().to_owned(),
        since: field("since").trim().to_owned(),
    };
    let answer = match config::parse_duration(&form.since) {
        Err(problem) => Err(Problem::Invalid(format!("not so long ago: {problem}"))),
        Ok(since) => {
            let tenant = Some(form.tenant.clone()).filter(|tenant| !tenant.is_empty());
            let query = ReplayQuery { policy: form.policy.clone(), tenant, since };
            blocking(&state, |sources| (sources.replay)(query)).await?
        }
    };
    show(&state, &headers, &form, Some(answer)).await
}

/// What the form holds.
struct Form {
    policy: String,
    tenant: String,
    since: String,
}

async fn show(
    state: &AdminState,
    headers: &HeaderMap,
    form: &Form,
    answer: Option<Result<ReplayAnswer, Problem>>,
) -> Result<Response, Problem> {
    let sealed = state.seal.seal(headers)?;
    let overview = blocking(state, |sources| (sources.overview)()).await?;
    let status = match &answer {
        Some(Err(problem)) => problem.clone().into_response().status(),
        _ => StatusCode::OK,
    };
    let content = html! {
        (asked(form, &sealed))
        @match &answer {
            Some(Ok(answer)) => (told(answer)),
            Some(Err(problem)) => p.alarm role="alert" { (problem) },
            None => p.note {
                "Each exchange is decided again on the facts it was decided on, and priced with the tokens it used. "
                "Under the policy in force when it was made no decision changes."
            },
        }
    };
    let page = Page { overview: &overview, here: Here::Replay, title: "Replay", live: None, content };
    let mut response = sealed.send(&page);
    *response.status_mut() = status;
    Ok(response)
}

fn asked(form: &Form, sealed: &Sealed) -> Markup {
    html! {
        form.fields method="post" action="/replay" {
            (sealed.field())
            label for="policy" { "Another policy: " code { "[routing]" } " and " code { "[tiers]" } " as in the configuration; here is the one in force" }
            textarea #policy name="policy" rows="14" spellcheck="false" { (form.policy) }
            label for="since" { "Since so long ago, such as 1h or 7d" }
            input #since name="since" value=(form.since) autocomplete="off";
            label for="tenant" { "Only this tenant; all where empty" }
            input #tenant name="tenant" value=(form.tenant) autocomplete="off";
            div.actions { button { "Replay" } }
        }
    }
}

fn told(answer: &ReplayAnswer) -> Markup {
    let replayed = &answer.replayed;
    let shown = replayed.changes.len().min(CHANGES_SHOWN);
    let facts = [
        ("Cost", replayed.cost_nanousd, replayed.replayed_cost_nanousd),
        ("Saved, against the models asked for", replayed.saved_nanousd, replayed.replayed_saved_nanousd),
    ];
    html! {
        section aria-labelledby="result" {
            h2 #result role="status" { (count(replayed.changed)) " of " (count(replayed.exchanges)) " decisions would change" }
            @if answer.is_cut { p.note { "There are more exchanges of that time: these are the last ones." } }
            @if replayed.without_facts > 0 {
                p.note { (count(replayed.without_facts)) " were recorded without what it takes to decide again, and left as they were." }
            }
            table.plain {
                thead { tr { th scope="col" { "" } th.n scope="col" { "Was" } th.n scope="col" { "Would have been" } } }
                tbody { @for (name, was, now) in facts { tr {
                    th scope="row" { (name) } td.n { (dollars_to(was, 6)) } td.n { (dollars_to(now, 6)) }
                } } }
            }
        }
        @if shown > 0 {
            section aria-labelledby="changes" {
                h2 #changes { "What would have gone elsewhere" }
                p.note { "The first " (count(shown as u64)) "; how long other answers would have been, nobody knows." }
                table.plain {
                    thead { tr {
                        th scope="col" { "Request" } th scope="col" { "Tenant" } th scope="col" { "Asked" } th scope="col" { "Was" }
                        th scope="col" { "Would be" } th.n scope="col" { "Cost" } th.n scope="col" { "Would cost" } th scope="col" { "Why" }
                    } }
                    tbody { @for change in replayed.changes.iter().take(shown) { tr {
                        td { a href={ "/explain?request_id=" (query_value(&change.request_id)) } { (clip(&change.request_id)) } }
                        td { (clip(&change.tenant)) } td { (clip(&change.asked)) } td { (clip(&change.was)) }
                        td { @match &change.now { Some(model) => (clip(model)), None => "refused" } }
                        td.n { (dollars_to(change.cost_nanousd, 6)) } td.n { (dollars_to(change.replayed_cost_nanousd, 6)) }
                        td { @for reason in &change.reasons { span.chip { (clip(reason)) } " " } }
                    } } }
                }
            }
        }
    }
}

const SINCE: &str = "1d";
const CHANGES_SHOWN: usize = 50;
