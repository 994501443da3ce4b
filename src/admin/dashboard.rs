//! The dashboard's first page, today, and the stylesheet of all pages.
//!
//! It shows what the gateway did today and explains each figure by its formula. It renews itself every five
//! seconds (`/?live=off` stands still). Every text is escaped by maud; models, tenants, users and reasons come
//! from outside. Styles are one file with its hash in its name; bars are SVG, because the content security
//! policy forbids inline styles.

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::header;
use maud::{Markup, html};

use super::format::{clip, count, dollars, dollars_to, percent, permille, query_value, title, until};
use super::live::recent;
use super::overview::{Budget, Overview, Spending, TenantSpending, TierShare};
use super::pages::set_up;
use super::reply::Problem;
use super::shell::{Here, Page};
use super::{AdminState, api};
use crate::config::Mode;

pub(super) async fn page(
    State(state): State<AdminState>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let live = query.as_deref() != Some("live=off");
    let overview = api::blocking(&state, |sources| (sources.overview)()).await?;
    Ok(render(&overview, live).send())
}

pub(super) async fn stylesheet() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/css; charset=utf-8"),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    (headers, STYLES).into_response()
}

/// Returns the stylesheet's path, which changes with its content.
pub(super) fn stylesheet_path() -> String {
    format!("/assets/dashboard-{}.css", &blake3::hash(STYLES.as_bytes()).to_hex()[..12])
}

pub(super) fn render(overview: &Overview, live: bool) -> Page<'_> {
    let content = html! {
        @if overview.recent.is_empty() { (set_up(&overview.set_up)) }
        (figures(overview))
        div.pair {
            div { (measured(&overview.today)) (tier_mix(&overview.today)) @if overview.today.requests > 0 { (comparison(&overview.today)) } }
            (tenants(overview))
        }
        (recent(overview, RECENT_SHOWN))
    };
    Page { overview, here: Here::Today, title: "Today", live: Some(live), content }
}

fn figures(overview: &Overview) -> Markup {
    let (today, month) = (&overview.today, &overview.month);
    let answered = permille(today.cache_answered, today.requests);
    let cached = permille(today.prompt_cache_read_tokens, today.prompt_tokens);
    html! {
        section.figures aria-label="Today" {
            div.figure {
                h2 { "Spent today" }
                p.number { (dollars(today.spent)) }
                p.note { (dollars(month.spent)) " this month, " (count(today.requests)) " requests today" }
            }
            (saved(today, overview))
            div.figure {
                h2 { "Against all Opus" }
                p.number { (dollars(today.baseline_all_opus - today.spent)) }
                p.note { (dollars(today.baseline_all_opus)) " all Opus − " (dollars(today.spent)) " paid" }
            }
            div.figure {
                h2 { "From the cache" }
                p.number { (percent(answered)) }
                p.note { "of requests, " (dollars(today.cache_saved)) " saved; " (percent(cached)) " of prompt tokens read from the prompt cache"
                    @if !overview.prompt_cache_at_stake.is_zero() {
                        ", " a href="/sessions#prompt-cache" { (dollars(overview.prompt_cache_at_stake)) " at stake" }
                    }
                }
            }
        }
    }
}

/// Says what quality was held, where a sample of requests was asked again.
fn measured(today: &Spending) -> Markup {
    let Some(measured) = &today.measured else { return html! {} };
    let [held, low, high] = measured.held_permille;
    let [as_asked, routed, coin] = measured.costs;
    html! {
        section aria-labelledby="measured" {
            h2 #measured { "Quality held today, measured" }
            p.number { (percent(held)) }
            p.note {
                "of the asked models' quality, " (percent(low)) " to " (percent(high)) " with 95 % certainty, from "
                (count(measured.compared)) " requests asked again elsewhere for " (dollars(measured.spent))
            }
            p.note {
                "On those requests: " (dollars(as_asked)) " as asked, " (dollars(routed)) " as routed, "
                (dollars(coin)) " with a coin that holds as much"
            }
        }
    }
}

fn saved(today: &Spending, overview: &Overview) -> Markup {
    let saved = today.baseline_requested - today.spent;
    let share = permille(u64::try_from(saved.0).unwrap_or(0), today.baseline_requested.0.unsigned_abs());
    html! {
        div.figure.lead {
            @if let Some(amount) = overview.would_save_today {
                h2 { "Would have saved today" }
                p.number { (dollars(amount)) }
                p.note { "Shadow mode: decided and recorded, sent as asked" }
            } @else {
                h2 { "Saved today, net" }
                p.number { (dollars(saved)) @if share > 0 { " " small { (percent(share)) } } }
                @if overview.mode == Mode::Shadow {
                    p.note { "Shadow mode sends as asked: decisions are recorded, not acted upon" }
                } @else { p.note { (dollars(today.baseline_requested)) " as asked − " (dollars(today.spent)) " paid, cache rewrites included" } }
            }
        }
    }
}

fn tier_mix(today: &Spending) -> Markup {
    let all: u64 = today.tiers.iter().map(|share| share.requests).sum();
    let mut before = 0;
    let bars: Vec<(u64, u64, &TierShare)> = today
        .tiers
        .iter()
        .map(|share| {
            let from = permille(before, all);
            before += share.requests;
            (from, permille(before, all).saturating_sub(from), share)
        })
        .collect();
    html! {
        section aria-labelledby="mix" {
            h2 #mix { "Tier mix today" }
            svg.mix viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true" {
                rect.track width="1000" height="10" {}
                @for (x, width, share) in &bars { rect class=(share.tier.name()) x=(x) width=(width) height="10" {} }
            }
            @if all == 0 { p.empty { "No requests yet today." } } @else {
                table.plain {
                    thead { tr {
                        th scope="col" { "Tier" } th.n scope="col" { "Requests" }
                        th.n scope="col" { "Share" } th.n scope="col" { "Spent" }
                    } }
                    tbody { @for (_, _, share) in &bars { tr {
                        th scope="row" { span class=(format!("swatch {}", share.tier.name())) {} (title(share.tier.name())) }
                        td.n { (count(share.requests)) } td.n { (percent(permille(share.requests, all))) } td.n { (dollars(share.spent)) }
                    } } }
                }
            }
        }
    }
}

/// Draws what was paid next to what the same requests would have cost.
fn comparison(today: &Spending) -> Markup {
    let rows = [
        ("All Opus", today.baseline_all_opus, "other"),
        ("As asked", today.baseline_requested, "other"),
        ("Paid", today.spent, "paid"),
    ];
    let most = rows.iter().map(|(_, amount, _)| amount.0.unsigned_abs()).max().unwrap_or(0);
    html! {
        section aria-labelledby="comparison" {
            h2 #comparison { "The same requests, three ways" }
            table.plain.comparison {
                tbody { @for (name, amount, class) in rows { tr {
                    th scope="row" { (name) }
                    td { svg viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true" {
                        rect class=(class) width=(permille(amount.0.unsigned_abs(), most)) height="10" {}
                    } }
                    td.n { (dollars(amount)) }
                } } }
            }
        }
    }
}

/// Lists tenants with where their budgets stand.
pub(super) fn tenants(overview: &Overview) -> Markup {
    let hidden = overview.tenants.len().saturating_sub(TENANTS_SHOWN);
    html! {
        section aria-labelledby="tenants" {
            h2 #tenants { "Tenants" }
            @if overview.tenants.is_empty() {
                p.empty { "No tenants are configured: callers use their own credential." }
            }
            ul.tenants {
                @for tenant in overview.tenants.iter().take(TENANTS_SHOWN) { (tenant_line(overview, tenant)) }
            }
            @if hidden > 0 { p.empty { "and " (count(hidden as u64)) " more" } }
        }
    }
}

fn tenant_line(overview: &Overview, tenant: &TenantSpending) -> Markup {
    html! {
        li {
            div.row {
                a.name href={ "/tenants/" (query_value(&tenant.name)) } { (clip(&tenant.name)) }
                span { (dollars(tenant.today)) " today" }
            }
            @if tenant.cache.hits + tenant.cache.joined + tenant.cache.misses > 0 {
                p.note { "cache: " (count(tenant.cache.hits)) " hit, " (count(tenant.cache.joined)) " joined, "
                    (count(tenant.cache.misses)) " missed, " (dollars(tenant.cache.saved)) " saved today" }
            }
            @if tenant.budgets.is_empty() { p.note { (dollars(tenant.month)) " this month, no budget" } }
            @for budget in &tenant.budgets { (budget_bar(overview, budget)) }
        }
    }
}

fn budget_bar(overview: &Overview, budget: &Budget) -> Markup {
    let spent = u64::try_from(budget.spent.0).unwrap_or(0);
    // A little is shown as a little, never as nothing.
    let share = permille(spent, budget.ceiling.0.unsigned_abs()).max(u64::from(spent > 0));
    let (state, word) = match share {
        1_000.. => ("over", "spent, "),
        _ if share >= u64::from(budget.warn_at_permille) => ("near", "nearly spent, "),
        _ => ("within", ""),
    };
    html! {
        svg class=(format!("budget {state}")) viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true" {
            rect.track width="1000" height="10" {}
            rect.fill width=(share.min(1_000)) height="10" {}
        }
        div.row.note {
            span { (dollars_to(budget.spent, 2)) " of " (dollars_to(budget.ceiling, 2)) " a " (budget.window) }
            span class=(state) { (word) (percent(share)) ", resets in " (until(overview.now, budget.resets_at)) }
        }
    }
}

const STYLES: &str = include_str!("dashboard.css");

/// Tenants and exchanges shown at most.
const TENANTS_SHOWN: usize = 100;
const RECENT_SHOWN: usize = 12;
