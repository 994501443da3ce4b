//! `tercet top`: a running gateway at a glance, drawn anew every second.
//!
//! Asks the admin listener's `overview`. Full screen on a terminal, where `q` ends it; one frame elsewhere.

use std::time::Duration;

use clap::Args;
use http::Method;
use serde::Deserialize;
use serde_json::Value;

use super::ending::{Ending, Exit, Failure, print, print_json};
use super::operator::Gateway;
use super::screen::{Screen, quit_key};
use super::table::{Column, Table, cents, dollars, grouped};
use crate::money::NanoUsd;

/// Shows what a running gateway does and spends, live.
#[derive(Args, Debug)]
pub(super) struct Top {
    #[command(flatten)]
    gateway: Gateway,
    /// Show it once.
    #[arg(long)]
    once: bool,
    /// Print what the admin API tells, one line each time.
    #[arg(long)]
    json: bool,
    /// How often, at least 100ms.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = super::span::duration)]
    every: Duration,
}

/// What the admin API tells, as far as it is shown.
#[derive(Debug, Deserialize)]
struct Told {
    now: String,
    mode: String,
    ready: bool,
    reason: Option<String>,
    in_flight: u64,
    today: Spending,
    month: Spending,
    tenants: Vec<Tenant>,
    recent: Vec<Exchange>,
}

#[derive(Debug, Deserialize)]
struct Spending {
    requests: u64,
    spent_nanousd: NanoUsd,
    baseline_requested_nanousd: NanoUsd,
    cache_answered: u64,
    prompt_tokens: u64,
    prompt_cache_read_tokens: u64,
    tiers: Vec<Share>,
}

#[derive(Debug, Deserialize)]
struct Share {
    tier: String,
    requests: u64,
    spent_nanousd: NanoUsd,
}

#[derive(Debug, Deserialize)]
struct Tenant {
    name: String,
    today_nanousd: NanoUsd,
    month_nanousd: NanoUsd,
    budgets: Vec<Budget>,
}

#[derive(Debug, Deserialize)]
struct Budget {
    window: String,
    spent_nanousd: NanoUsd,
    ceiling_nanousd: NanoUsd,
}

#[derive(Debug, Deserialize)]
struct Exchange {
    time: String,
    tenant: String,
    user: String,
    asked: String,
    sent: String,
    reasons: Vec<String>,
    prompt_tokens: u64,
    output_tokens: u64,
    cost_nanousd: NanoUsd,
    status: u16,
}

pub(super) async fn top(asked: &Top) -> Ending {
    if asked.every < EVERY_MIN {
        return Err(Failure::usage("--every is 100ms at least"));
    }
    let look = async || asked.gateway.ask(Method::GET, "/admin/v1/overview", None).await;
    // Asked before the screen is taken, so that a gateway that is not there is told as everywhere.
    let first = look().await?;
    if asked.json {
        print_json(&first)?;
    }
    if asked.json && !asked.once {
        loop {
            tokio::time::sleep(asked.every).await;
            print_json(&look().await?)?;
        }
    }
    let mut seen = read(first)?;
    if asked.json {
        return Ok(Exit::Ok);
    }
    let screen = if asked.once { None } else { Screen::take()? };
    let Some(screen) = screen else {
        return print(&frame(&seen, None, LINES_ONCE)).map(|()| Exit::Ok);
    };
    let (mut quit, mut before) = (quit_key(), None);
    let ended = loop {
        Screen::draw(&frame(&seen, before.as_ref(), Screen::size().1))?;
        tokio::select! {
            Some(()) = quit.recv() => break Ok(Exit::Ok),
            _ = tokio::signal::ctrl_c() => break Ok(Exit::Ok),
            () = tokio::time::sleep(asked.every) => {}
        }
        match look().await.and_then(read) {
            Ok(now) => before = Some(std::mem::replace(&mut seen, now)),
            Err(failure) => break Err(failure),
        }
    };
    drop(screen);
    ended
}

fn read(told: Value) -> Result<Told, Failure> {
    serde_json::from_value(told)
        .map_err(|error| Failure::run(format_args!("the gateway is of another version: {error}")))
}

/// Lays out one frame of so many lines at most.
fn frame(told: &Told, before: Option<&Told>, lines: usize) -> String {
    let mut text =
        vec![head(told, before), money("today", &told.today), money("month", &told.month), tiers(told)];
    let tenants = tenants(told);
    // At least a few exchanges are shown, however many tenants there are.
    let room = lines.saturating_sub(text.len() + RECENT_MIN + 4);
    text.push(String::new());
    text.extend(tenants.lines().take(room).map(str::to_owned));
    text.push(String::new());
    let left = lines.saturating_sub(text.len() + 2);
    text.extend(recent(told, left).lines().map(str::to_owned));
    text.join("\n")
}

fn head(told: &Told, before: Option<&Told>) -> String {
    let state = match (&told.reason, told.ready) {
        (_, true) => "ready".to_owned(),
        (Some(reason), _) => format!("not ready: {reason}"),
        (None, _) => "not ready".to_owned(),
    };
    let pace = before.and_then(|before| pace(told, before)).unwrap_or_default();
    format!("tercet  {state}  routing {}  {} in flight{pace}", told.mode, grouped(told.in_flight))
}

/// Requests and money a minute since the look before; nothing where a day has begun between them.
fn pace(told: &Told, before: &Told) -> Option<String> {
    let time = |text: &str| text.parse::<jiff::Timestamp>().ok();
    let passed = time(&told.now)?.duration_since(time(&before.now)?);
    let millis = u64::try_from(passed.as_millis()).ok().filter(|millis| *millis > 0)?;
    let requests = told.today.requests.checked_sub(before.today.requests)?;
    let spent = u64::try_from((told.today.spent_nanousd - before.today.spent_nanousd).0).ok()?;
    let a_minute =
        |count: u64| i64::try_from(u128::from(count) * 60_000 / u128::from(millis)).unwrap_or(i64::MAX);
    let requests = grouped(a_minute(requests).unsigned_abs());
    Some(format!("  {requests} requests and ${} a minute", dollars(NanoUsd(a_minute(spent)))))
}

fn money(name: &str, spending: &Spending) -> String {
    let saved = spending.baseline_requested_nanousd - spending.spent_nanousd;
    let percent = percent(saved.0, spending.baseline_requested_nanousd.0);
    let cached = spending.prompt_cache_read_tokens.cast_signed();
    let read = self::percent(cached, spending.prompt_tokens.cast_signed());
    format!(
        "{name}   {}  saved {} ({percent} %)  {} requests, {} from the cache, {read} % of prompts from prompt caches",
        cents(spending.spent_nanousd),
        cents(saved),
        grouped(spending.requests),
        grouped(spending.cache_answered),
    )
}

fn tiers(told: &Told) -> String {
    let share = |share: &Share| {
        let of = percent(share.requests.cast_signed(), told.today.requests.cast_signed());
        format!("{} {of} % {}", share.tier, cents(share.spent_nanousd))
    };
    format!("tiers   {}", told.today.tiers.iter().map(share).collect::<Vec<_>>().join("  "))
}

fn tenants(told: &Told) -> String {
    let numbers = ["Today", "Month", "Of day's budget", "Of week's", "Of month's"].map(Column::Numbers);
    let mut table = Table::new([Column::Words("Tenant")].into_iter().chain(numbers).collect());
    for tenant in &told.tenants {
        let used = |window: &str| {
            let budget = tenant.budgets.iter().find(|budget| budget.window == window);
            budget.map_or_else(
                || "-".to_owned(),
                |budget| format!("{} %", percent(budget.spent_nanousd.0, budget.ceiling_nanousd.0)),
            )
        };
        let mut cells = vec![tenant.name.clone(), cents(tenant.today_nanousd), cents(tenant.month_nanousd)];
        cells.extend(["day", "week", "month"].map(used));
        table.row(cells);
    }
    table.render()
}

fn recent(told: &Told, lines: usize) -> String {
    let words = ["Time", "Who", "Asked", "Sent", "Why"].map(Column::Words);
    let numbers = ["In", "Out", "Cost", "Status"].map(Column::Numbers);
    let mut table = Table::new(words.into_iter().chain(numbers).collect());
    for exchange in told.recent.iter().take(lines) {
        let who = match exchange.user.as_str() {
            "" => exchange.tenant.clone(),
            user => format!("{}/{user}", exchange.tenant),
        };
        table.row(vec![
            exchange.time.get(TIME_OF_DAY).unwrap_or_default().to_owned(),
            who,
            exchange.asked.clone(),
            exchange.sent.clone(),
            exchange.reasons.first().cloned().unwrap_or_default(),
            grouped(exchange.prompt_tokens),
            grouped(exchange.output_tokens),
            format!("${}", dollars(exchange.cost_nanousd)),
            exchange.status.to_string(),
        ]);
    }
    table.render()
}

/// Whole percent, rounded down; zero of nothing.
fn percent(part: i64, whole: i64) -> i64 {
    part.saturating_mul(100).checked_div(whole).unwrap_or(0)
}

const EVERY_MIN: Duration = Duration::from_millis(100);
/// Lines of a frame that is printed once.
const LINES_ONCE: usize = 60;
/// Where hours, minutes and seconds stand in a time of RFC 3339.
const TIME_OF_DAY: std::ops::Range<usize> = 11..19;
/// Exchanges that are shown before tenants take the rest.
const RECENT_MIN: usize = 5;
