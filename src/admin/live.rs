//! The page of the last requests, and the table of them that the first page shows as well.

use axum::extract::{RawQuery, State};
use axum::response::Response;
use maud::{Markup, html};

use super::format::{clip, dollars_to, query_value, short, time_of_day};
use super::overview::{Overview, RecentExchange};
use super::reply::Problem;
use super::shell::{Here, Page};
use super::{AdminState, api};

/// `GET /live?q=TEXT&live=off`
pub(super) async fn page(
    State(state): State<AdminState>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let mut overview = api::blocking(&state, |sources| (sources.overview)()).await?;
    let (mut live, mut wanted) = (true, String::new());
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*name {
            "live" => live = value != "off",
            "q" => wanted = value.trim().to_lowercase(),
            _ => {}
        }
    }
    if !wanted.is_empty() {
        // A filter that is being typed must not be taken away.
        live = false;
        overview.recent.retain(|exchange| holds(exchange, &wanted));
    }
    let content = html! {
        form.filter method="get" action="/live" role="search" {
            label for="q" { "Tenant, user, model, reason or status" }
            input #q name="q" type="search" value=(wanted) autocomplete="off";
            button { "Filter" }
            @if !wanted.is_empty() { a href="/live" { "Show all" } }
        }
        (recent(&overview, SHOWN))
    };
    Ok(Page { overview: &overview, here: Here::Live, title: "Live", live: Some(live), content }.send())
}

fn holds(exchange: &RecentExchange, wanted: &str) -> bool {
    let names = [&exchange.tenant, &exchange.user, &exchange.asked, &exchange.sent, &exchange.answered];
    names.into_iter().chain(&exchange.reasons).any(|name| name.to_lowercase().contains(wanted))
        || exchange.status.to_string() == wanted
        || exchange.request_id == wanted
}

/// Lists the latest exchanges, so many at most.
pub(super) fn recent(overview: &Overview, shown: usize) -> Markup {
    html! {
        section aria-labelledby="recent" {
            h2 #recent { "Recent requests" }
            @if overview.recent.is_empty() { p.empty { "Waiting for the first request." } } @else {
                table.recent {
                    thead { tr {
                        th scope="col" { "Time" } th scope="col" { "Who" } th scope="col" { "Model" }
                        th scope="col" { "Why" } th.n scope="col" { "In / out" } th.n scope="col" { "Cost" }
                        th.n scope="col" { "Saved" } th.n scope="col" { "Status" }
                    } }
                    tbody { @for exchange in overview.recent.iter().take(shown) { (recent_line(exchange)) } }
                }
            }
        }
    }
}

fn recent_line(exchange: &RecentExchange) -> Markup {
    let why = format!("/explain?request_id={}", query_value(&exchange.request_id));
    let kind = if exchange.status < 400 { "good" } else { "bad" };
    let saving = if exchange.saved.0 > 0 { "saving" } else { "none" };
    let paid = exchange.cost.0 != 0;
    html! {
        tr {
            td.when {
                a href=(why) title=(exchange.request_id) {
                    time datetime=(exchange.time) { (time_of_day(exchange.time)) }
                }
            }
            td.who data-label="Who" {
                span.name { (clip(&exchange.tenant)) }
                @if !exchange.user.is_empty() { span.user { (clip(&exchange.user)) } }
            }
            td.models data-label="Model" { (models(exchange)) }
            td.why data-label="Why" {
                @if exchange.from_cache { span.chip.cached { "cached" } }
                @for reason in exchange.reasons.iter().take(REASONS_SHOWN) { span.chip { (clip(reason)) } " " }
            }
            td.n data-label="In / out" {
                @if exchange.prompt_tokens == 0 && exchange.output_tokens == 0 { span.none { "–" } } @else {
                    (short(exchange.prompt_tokens)) " / " (short(exchange.output_tokens))
                }
            }
            td.n data-label="Cost" { @if paid { (dollars_to(exchange.cost, 4)) } @else { span.none { "–" } } }
            td.n data-label="Saved" { span class=(saving) {
                @if exchange.saved.0 == 0 { "–" } @else { (dollars_to(exchange.saved, 4)) }
            } }
            td.n data-label="Status" { span class=(format!("status {kind}")) { (exchange.status) } }
        }
    }
}

fn models(exchange: &RecentExchange) -> Markup {
    html! {
        @if exchange.sent.is_empty() { span.model { span class="swatch unsent" {} span.none { "not sent" } } } @else {
            span.model { span class=(format!("swatch {}", exchange.tier.name())) {} (clip(&exchange.sent)) }
        }
        @if exchange.asked != exchange.sent { span.asked { "asked " (clip(&exchange.asked)) } }
        @if !exchange.answered.is_empty() && exchange.answered != exchange.sent {
            span.asked { "answered by " (clip(&exchange.answered)) }
        }
    }
}

/// Exchanges, and reasons of one exchange, shown at most.
const SHOWN: usize = 50;
const REASONS_SHOWN: usize = 4;
