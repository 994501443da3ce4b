//! The dashboard: one page, rendered here, that needs no script.
//!
//! It shows what the gateway did today and explains each figure by its formula. It reloads itself every five
//! seconds (`/?live=off` stands still). Every text is escaped by maud; models, tenants, users and reasons come
//! from outside. Styles are one file with its hash in its name; bars are SVG, because the content security
//! policy forbids inline styles.

use axum::extract::{RawQuery, State};
use axum::response::{Html, IntoResponse, Response};
use http::header;
use maud::{DOCTYPE, Markup, html};

use super::format::{count, dollars, dollars_to, percent, permille, query_value, short, time_of_day, until};
use super::overview::{Budget, Overview, RecentExchange, SetUp, Spending, TenantSpending, TierShare};
use super::reply::Problem;
use super::{AdminState, api};
use crate::config::Mode;

pub(super) async fn page(
    State(state): State<AdminState>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let live = query.as_deref() != Some("live=off");
    let overview = api::blocking(&state, |sources| (sources.overview)()).await?;
    Ok(Html(render(&overview, live).into_string()).into_response())
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

pub(super) fn render(overview: &Overview, live: bool) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                @if live { meta http-equiv="refresh" content="5"; }
                title { (dollars(overview.today.spent)) " today · Tercet" }
                link rel="stylesheet" href=(stylesheet_path());
            }
            body {
                (masthead(overview, live))
                main {
                    @if let Err(reason) = &overview.ready {
                        p.alarm role="alert" { strong { "Not ready." } " " (reason) }
                    }
                    @if overview.recent.is_empty() { (set_up(&overview.set_up)) }
                    (figures(overview))
                    div.pair {
                        div { (tier_mix(&overview.today)) @if overview.today.requests > 0 { (comparison(&overview.today)) } }
                        (tenants(overview))
                    }
                    (recent(overview))
                    @if !overview.recent.is_empty() { (set_up(&overview.set_up)) }
                }
                (colophon(overview))
            }
        }
    }
}

fn masthead(overview: &Overview, live: bool) -> Markup {
    html! {
        header.masthead {
            h1 {
                svg.mark viewBox="0 0 22 18" aria-hidden="true" {
                    rect x="0" y="1" width="22" height="3" rx="1.5" {}
                    rect x="0" y="7.5" width="15" height="3" rx="1.5" {}
                    rect x="0" y="14" width="19" height="3" rx="1.5" {}
                }
                "Tercet"
            }
            ul.state {
                li {
                    @if overview.ready.is_ok() { span.dot.good {} "Ready" } @else { span.dot.bad {} "Not ready" }
                }
                li { b { (count(overview.in_flight)) } " in flight" }
                li { "Routing: " b { (overview.mode.name()) } }
                li.clock {
                    time datetime=(overview.now) { (time_of_day(overview.now)) " UTC" }
                    @if live { a href="/?live=off" { "Pause" } } @else { a href="/" { "Resume" } }
                }
            }
        }
    }
}

fn figures(overview: &Overview) -> Markup {
    let (today, month) = (&overview.today, &overview.month);
    let answered = permille(today.cache_hits, today.requests);
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
                p.note { "of requests; " (percent(cached)) " of prompt tokens read from the prompt cache" }
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

fn tenants(overview: &Overview) -> Markup {
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
                b.name { (clip(&tenant.name)) }
                span { (dollars(tenant.today)) " today" }
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

fn recent(overview: &Overview) -> Markup {
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
                    tbody { @for exchange in overview.recent.iter().take(RECENT_SHOWN) { (recent_line(exchange)) } }
                }
            }
        }
    }
}

fn recent_line(exchange: &RecentExchange) -> Markup {
    let why = format!("/admin/v1/explain?request_id={}", query_value(&exchange.request_id));
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

fn set_up(set_up: &SetUp) -> Markup {
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

fn colophon(overview: &Overview) -> Markup {
    html! {
        footer {
            span { "Version " (env!("CARGO_PKG_VERSION")) }
            span { "Policy " code { (overview.policy_version) } }
            span { "Journal at record " (count(overview.journal_head)) }
            a href="/metrics" { "Metrics" }
            a href="/admin/v1/usage?by=tenant" { "Usage" }
            a href="/admin/v1/config" { "Configuration" }
            span { "Times are UTC; costs are at list price." }
        }
    }
}

/// Cuts a text from outside to 48 characters, so that none can stretch the page.
fn clip(text: &str) -> String {
    match text.char_indices().nth(48) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Writes a lower-case name with a capital.
fn title(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

const STYLES: &str = include_str!("dashboard.css");

/// Tenants, exchanges and reasons of one exchange shown at most.
const TENANTS_SHOWN: usize = 100;
const RECENT_SHOWN: usize = 50;
const REASONS_SHOWN: usize = 4;
