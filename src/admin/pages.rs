//! The pages that only show: why a request went where it went, sessions, set-up, the system.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use maud::{Markup, html};
use serde_json::Value;

use super::AdminState;
use super::api::{Explained, blocking};
use super::care;
use super::change::ChangeQuery;
use super::format::{clip, count, dollars_to, short, title};
use super::overview::{RecentExchange, SetUp};
use super::reply::Problem;
use super::shell::{Here, Page};
use crate::money::NanoUsd;

/// `GET /explain?request_id=ID`
pub(super) async fn explain(
    State(state): State<AdminState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = query.unwrap_or_default();
    let id = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "request_id");
    let id = id.map(|(_, id)| id.trim().to_owned()).filter(|id| !id.is_empty());
    let wanted = id.clone().map(Explained::Record);
    show_explained(&state, &headers, wanted, id.as_deref().unwrap_or_default(), "").await
}

/// `POST /explain`: a body that is sent nowhere.
pub(super) async fn explain_body(
    State(state): State<AdminState>,
    headers: HeaderMap,
    form: Bytes,
) -> Result<Response, Problem> {
    let fields: BTreeMap<String, String> = form_urlencoded::parse(&form).into_owned().collect();
    let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
    state.seal.check(&headers, field("token"))?;
    let body = field("body");
    let wanted = Explained::Body(Bytes::copy_from_slice(body.as_bytes()));
    show_explained(&state, &headers, Some(wanted), "", body).await
}

async fn show_explained(
    state: &AdminState,
    headers: &HeaderMap,
    wanted: Option<Explained>,
    id: &str,
    body: &str,
) -> Result<Response, Problem> {
    let sealed = state.seal.seal(headers)?;
    let asked = move |sources: &super::Sources| {
        ((sources.overview)(), wanted.map(|wanted| (sources.explain)(wanted)))
    };
    let (overview, explained) = blocking(state, asked).await?;
    let status = match &explained {
        Some(Err(Problem::NotFound(_))) => StatusCode::NOT_FOUND,
        Some(Err(_)) => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    };
    let content = html! {
        form.filter method="get" action="/explain" {
            label for="request_id" { "Id of a request" }
            input #request_id name="request_id" value=(id) autocomplete="off";
            button { "Explain" }
        }
        @match &explained {
            Some(Ok(told)) => (explanation(told)),
            Some(Err(problem)) => p.alarm role="alert" { (problem) },
            None => p.note { "An id is in the answer's header " code { "x-tercet-request-id" } "." },
        }
        section aria-labelledby="try" {
            h2 #try { "What would happen to this request?" }
            form.fields method="post" action="/explain" {
                (sealed.field())
                label for="body" { "Body of a message, as JSON; it is sent nowhere" }
                textarea #body name="body" rows="8" spellcheck="false" { (body) }
                div.actions { button { "Explain" } }
            }
        }
    };
    let page = Page { overview: &overview, here: Here::Explain, title: "Explain", live: None, content };
    let mut response = sealed.send(&page);
    *response.status_mut() = status;
    Ok(response)
}

fn explanation(told: &Value) -> Markup {
    let decision = told.get("decision").cloned().unwrap_or_default();
    let text = |value: &Value, name: &str| match value.get(name) {
        Some(Value::String(text)) => text.clone(),
        _ => "–".to_owned(),
    };
    let list =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let candidates = list(told, "candidates");
    let record = told.get("record").filter(|record| record.is_object());
    let nanos = |value: &Value, name: &str| NanoUsd(value.get(name).and_then(Value::as_i64).unwrap_or(0));
    html! {
        section aria-labelledby="decision" {
            h2 #decision { "The decision" }
            table.plain.facts { tbody {
                tr { th scope="row" { "Asked for" } td { (clip(&text(told, "asked"))) } }
                tr { th scope="row" { "Decided" } td { (title(&text(&decision, "tier"))) ", " (clip(&text(&decision, "model"))) } }
                tr { th scope="row" { "Because" } td {
                    @for reason in list(&decision, "reasons") { span.chip { (clip(&reason_text(&reason))) } " " }
                } }
                @for adaptation in list(&decision, "adaptations") {
                    tr { th scope="row" { "Changed" } td { (clip(adaptation.as_str().unwrap_or_default())) } }
                }
                @if let Some(record) = record {
                    tr { th scope="row" { "Who" } td { (clip(&text(record, "tenant"))) " " (clip(&text(record, "user_id"))) } }
                    tr { th scope="row" { "Answered by" } td { (clip(&text(record, "answered_model"))) } }
                    tr { th scope="row" { "Cost" } td { (dollars_to(nanos(record, "cost_nanousd"), 6)) } }
                    tr { th scope="row" { "At" } td { (text(record, "timestamp")) } }
                }
                tr { th scope="row" { "Policy" } td { code { (clip(&text(told, "policy_version"))) } } }
            } }
        }
        @if !candidates.is_empty() {
            section aria-labelledby="candidates" {
                h2 #candidates { "The candidates" }
                table.plain {
                    thead { tr {
                        th scope="col" { "Tier" } th scope="col" { "Model" } th scope="col" { "Possible" }
                        th.n scope="col" { "Estimate" } th scope="col" { "Why not" }
                    } }
                    tbody { @for candidate in &candidates { tr {
                        th scope="row" { (title(&text(candidate, "tier"))) }
                        td { (clip(&text(candidate, "model"))) }
                        td { @if candidate.get("feasible") == Some(&Value::Bool(true)) { "yes" } @else { "no" } }
                        td.n { (dollars_to(nanos(candidate, "estimate_nanousd"), 6)) }
                        td { @for reason in list(candidate, "reasons") { span.chip { (clip(&reason_text(&reason))) } " " } }
                    } } }
                }
            }
        }
    }
}

fn reason_text(reason: &Value) -> String {
    reason.as_str().or_else(|| reason.get("code")?.as_str()).unwrap_or_default().to_owned()
}

/// What one session cost.
#[derive(Default)]
struct Session {
    who: String,
    requests: u64,
    tokens: u64,
    cost: NanoUsd,
    saved: NanoUsd,
}

/// `GET /sessions`
pub(super) async fn sessions(State(state): State<AdminState>) -> Result<Response, Problem> {
    let gathered = blocking(&state, |sources| ((sources.overview)(), (sources.care)(None)));
    let (overview, treatments) = gathered.await?;
    let mut sessions: BTreeMap<(&str, &str), Session> = BTreeMap::new();
    for exchange in overview.recent.iter().filter(|exchange| !exchange.session.is_empty()) {
        let RecentExchange { session, agent, prompt_tokens, output_tokens, cost, saved, .. } = exchange;
        let held = sessions.entry((session, agent)).or_default();
        held.who = format!("{} {}", exchange.tenant, exchange.user);
        held.requests += 1;
        held.tokens = held.tokens.saturating_add(prompt_tokens.saturating_add(*output_tokens));
        held.cost += *cost;
        held.saved += *saved;
    }
    let mut dearest: Vec<_> = sessions.iter().collect();
    dearest.sort_by_key(|(_, session)| std::cmp::Reverse(session.cost));
    let content = html! {
        p.note { "Sessions that clients named, among the last " (count(overview.recent.len() as u64)) " requests, the dearest first." }
        @if dearest.is_empty() { p.empty { "None of them named a session; Claude Code does." } } @else {
            table.plain.sessions {
                thead { tr {
                    th scope="col" { "Session" } th scope="col" { "Agent" } th scope="col" { "Who" }
                    th.n scope="col" { "Requests" } th.n scope="col" { "Tokens" }
                    th.n scope="col" { "Cost" } th.n scope="col" { "Saved" }
                } }
                tbody { @for ((session, agent), held) in dearest { tr {
                    th scope="row" { (clip(session)) }
                    td { @if agent.is_empty() { "main" } @else { (clip(agent)) } }
                    td { (clip(&held.who)) }
                    td.n { (count(held.requests)) } td.n { (short(held.tokens)) }
                    td.n { (dollars_to(held.cost, 4)) } td.n { (dollars_to(held.saved, 4)) }
                } } }
            }
        }
        (care::section(&treatments))
    };
    Ok(Page { overview: &overview, here: Here::Sessions, title: "Sessions", live: None, content }.send())
}

/// `GET /setup`
pub(super) async fn setup(State(state): State<AdminState>) -> Result<Response, Problem> {
    let overview = blocking(&state, |sources| (sources.overview)()).await?;
    let first = overview.recent.last();
    let content = html! {
        p.light role="status" {
            @match first {
                Some(exchange) => { span.dot.good {} "Requests arrive; the oldest shown is of " time datetime=(exchange.time) { (exchange.time) } "." },
                None => { span.dot.waiting {} "Waiting for the first request." },
            }
        }
        (set_up(&overview.set_up))
    };
    // It renews itself until something has come.
    let live = overview.recent.is_empty().then_some(true);
    Ok(Page { overview: &overview, here: Here::SetUp, title: "Set-up", live, content }.send())
}

/// `GET /system`
pub(super) async fn system(State(state): State<AdminState>) -> Result<Response, Problem> {
    let asked = |sources: &super::Sources| {
        let changes = ChangeQuery { before: None, subject: None, kind: None, limit: CHANGES_SHOWN };
        ((sources.overview)(), (sources.journal_head)(), (sources.changes)(changes))
    };
    let (overview, heads, changes) = blocking(&state, asked).await?;
    let changes = changes?;
    let changes = changes.get("data").and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or("–").to_owned();
    let head = |stream: &str| heads.get(stream).cloned().unwrap_or_default();
    let content = html! {
        section aria-labelledby="state" {
            h2 #state { "State" }
            table.plain.facts { tbody {
                tr { th scope="row" { "Ready" } td { @match &overview.ready { Ok(()) => "yes", Err(reason) => (reason) } } }
                tr { th scope="row" { "Routing" } td { (overview.mode.name()) } }
                tr { th scope="row" { "Policy" } td { code { (overview.policy_version) } } }
                @for stream in ["exchanges", "admin"] {
                    @let head = head(stream);
                    tr { th scope="row" { "Journal, " (stream) } td {
                        "record " (count(head.get("seq").and_then(Value::as_u64).unwrap_or(0))) ", " code { (clip(&text(&head, "hash"))) }
                    } }
                }
                tr { th scope="row" { "Version" } td { (env!("CARGO_PKG_VERSION")) } }
            } }
        }
        section aria-labelledby="changes" {
            h2 #changes { "Last changes" }
            @if changes.is_empty() { p.empty { "Nothing was changed since the journal began." } } @else {
                table.plain {
                    thead { tr {
                        th scope="col" { "Time" } th scope="col" { "Who" } th scope="col" { "What" } th scope="col" { "Of" }
                    } }
                    tbody { @for change in &changes { tr {
                        td { (text(change, "timestamp")) } td { (clip(&text(change, "who"))) }
                        td { (clip(&text(change, "action"))) } td { (clip(&text(change, "subject"))) }
                    } } }
                }
            }
            p.note { "All of them, with before and after: " a href="/admin/v1/changes" { "/admin/v1/changes" } "." }
        }
    };
    Ok(Page { overview: &overview, here: Here::System, title: "System", live: None, content }.send())
}

/// Tells how to point clients here.
pub(super) fn set_up(set_up: &SetUp) -> Markup {
    let (url, model) = (&set_up.base_url, &set_up.model);
    let key = if set_up.needs_key { "a Tercet key" } else { "your own credential, as before" };
    let credential = if set_up.needs_key {
        "export ANTHROPIC_AUTH_TOKEN=…  # a Tercet key"
    } else {
        "# your login or key stays as it is"
    };
    let shell = format!("export ANTHROPIC_BASE_URL={url}\n{credential}\nclaude");
    let python = format!(
        "from anthropic import Anthropic\nclient = Anthropic(base_url=\"{url}\")\n\
         client.messages.create(model=\"{model}\", max_tokens=64, messages=[{{\"role\": \"user\", \"content\": \"Hello\"}}])"
    );
    let typescript = format!(
        "import Anthropic from \"@anthropic-ai/sdk\";\nconst client = new Anthropic({{ baseURL: \"{url}\" }});\n\
         await client.messages.create({{ model: \"{model}\", max_tokens: 64, messages: [{{ role: \"user\", content: \"Hello\" }}] }});"
    );
    html! {
        section aria-labelledby="setup" {
            h2 #setup { "Set up a client" }
            p.note { "Base URL " code { (url) } ", with " (key) "." }
            div.snippets {
                @for (name, lines) in [("Claude Code", shell), ("Python", python), ("TypeScript", typescript)] {
                    figure { figcaption { (name) } pre tabindex="0" { code { (lines) } } }
                }
            }
        }
    }
}

const CHANGES_SHOWN: usize = 20;
