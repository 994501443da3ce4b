//! `GET /v1/organizations/usage_report/messages` and `/v1/organizations/cost_report`: the bill by day, for an admin key.
//!
//! Buckets are whole minutes, hours or days of UTC, pages of them behind an opaque token. Of the dimensions to group by,
//! those that the bill knows are told, the others are null as for an account that has none of them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::call::Call;
use super::fault::Fault;
use super::prices::{self, BilledTokens, Terms};
use super::state::{BilledCall, State, rfc3339};

/// One of the two reports.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Report {
    Usage,
    Cost,
}

/// Returns the report that a path is of.
pub(super) fn named(path: &str) -> Option<Report> {
    match path {
        "/v1/organizations/usage_report/messages" => Some(Report::Usage),
        "/v1/organizations/cost_report" => Some(Report::Cost),
        _ => None,
    }
}

/// Answers a page of a report.
pub(super) fn route(report: Report, call: &Call, state: &State) -> Result<Value, Fault> {
    if call.method != "GET" {
        return Err(Fault::new(405, "invalid_request_error", "Method Not Allowed"));
    }
    if !is_admin(&call.key) {
        return Err(Fault::new(401, "authentication_error", "invalid x-api-key"));
    }
    let asked = Asked::read(call, report == Report::Cost)?;
    let end_ms = asked.end_ms.unwrap_or_else(|| state.now_ms());
    let bill: Vec<BilledCall> = state.memory().bill.iter().cloned().collect();
    let mut data = Vec::new();
    let mut start_ms = asked.start_ms;
    while data.len() < asked.limit && start_ms < end_ms {
        let bucket_end = start_ms + asked.width_ms;
        let within = |one: &&BilledCall| (start_ms..bucket_end).contains(&one.at_ms);
        let calls: Vec<BilledCall> = bill.iter().filter(within).cloned().collect();
        let results = match report {
            _ if calls.is_empty() => Vec::new(),
            Report::Usage => usage(&calls, &asked.group_by),
            Report::Cost => cost(&calls, &asked.group_by),
        };
        data.push(
            json!({ "starting_at": rfc3339(start_ms), "ending_at": rfc3339(bucket_end), "results": results }),
        );
        start_ms = bucket_end;
    }
    let has_more = start_ms < end_ms;
    let next_page = has_more.then(|| format!("page_{start_ms:x}"));
    Ok(json!({ "data": data, "has_more": has_more, "next_page": next_page }))
}

/// Whether a key is one of administration.
fn is_admin(key: &str) -> bool {
    key.starts_with("sk-ant-admin")
}

struct Asked<'a> {
    start_ms: i64,
    end_ms: Option<i64>,
    width_ms: i64,
    limit: usize,
    group_by: Vec<&'a str>,
}

impl<'a> Asked<'a> {
    fn read(call: &'a Call, is_cost: bool) -> Result<Self, Fault> {
        let groups: &[&str] = if is_cost { &COST_GROUPS } else { &USAGE_GROUPS };
        let mut group_by = Vec::new();
        for (name, value) in &call.query {
            match name.as_str() {
                "group_by[]" if groups.contains(&value.as_str()) => group_by.push(value.as_str()),
                "group_by[]" => {
                    return Err(Fault::invalid(format!(
                        "group_by: Input should be one of {}",
                        groups.join(", ")
                    )));
                }
                "starting_at" | "ending_at" | "bucket_width" | "limit" | "page" => {}
                other => return Err(Fault::extra(other)),
            }
        }
        let (width_ms, usual, most) = match call.query_value("bucket_width") {
            None | Some("1d") => (DAY_MS, 7, 31),
            Some("1h") if !is_cost => (DAY_MS / 24, 24, 168),
            Some("1m") if !is_cost => (60_000, 60, 1_440),
            Some(_) => return Err(Fault::invalid("bucket_width: Input should be '1d'")),
        };
        let limit = match call.query_value("limit").map(str::parse) {
            None => usual,
            Some(Ok(limit)) if (1..=most).contains(&limit) => limit,
            Some(_) => return Err(Fault::invalid(format!("limit: Input should be between 1 and {most}"))),
        };
        let time = |name: &str| match call.query_value(name).map(str::parse::<Timestamp>) {
            None => Ok(None),
            Some(Ok(time)) => Ok(Some(time.as_millisecond())),
            Some(Err(_)) => Err(Fault::invalid(format!("{name}: Input should be a valid datetime"))),
        };
        let begun = time("starting_at")?.ok_or_else(|| Fault::invalid("starting_at: Field required"))?;
        let start_ms = match call.query_value("page") {
            None => begun.div_euclid(width_ms) * width_ms,
            Some(page) => {
                let number =
                    page.strip_prefix("page_").and_then(|number| i64::from_str_radix(number, 16).ok());
                number.ok_or_else(|| Fault::invalid("page: Invalid page token"))?
            }
        };
        let end_ms = time("ending_at")?;
        if end_ms.is_some_and(|end| end <= begun) {
            return Err(Fault::invalid("ending_at: must be after starting_at"));
        }
        Ok(Self { start_ms, end_ms, width_ms, limit, group_by })
    }
}

/// A model and a service tier; none where that is not grouped by.
type Group<'a> = (Option<&'a str>, Option<&'a str>);
/// Tokens and web searches.
type Used = (BilledTokens, u64);

/// One row for each model and service tier, as far as they are asked for.
fn usage(calls: &[BilledCall], group_by: &[&str]) -> Vec<Value> {
    let by = |name: &str| group_by.contains(&name);
    let mut rows: BTreeMap<Group<'_>, Used> = BTreeMap::new();
    for call in calls {
        let key = (by("model").then_some(call.model.as_str()), by("service_tier").then_some(tier(call)));
        let (tokens, searches) = rows.entry(key).or_default();
        tokens.input_tokens += call.tokens.input_tokens;
        tokens.cache_read_tokens += call.tokens.cache_read_tokens;
        tokens.cache_write_5m_tokens += call.tokens.cache_write_5m_tokens;
        tokens.cache_write_1h_tokens += call.tokens.cache_write_1h_tokens;
        tokens.output_tokens += call.tokens.output_tokens;
        *searches += call.web_searches;
    }
    let row = |((model, tier), (tokens, searches)): (Group<'_>, Used)| {
        json!({
            "account_id": null, "api_key_id": null, "context_window": null, "inference_geo": null,
            "service_account_id": null, "speed": null, "workspace_id": null,
            "model": model, "service_tier": tier,
            "uncached_input_tokens": tokens.input_tokens,
            "cache_read_input_tokens": tokens.cache_read_tokens,
            "cache_creation": {
                "ephemeral_5m_input_tokens": tokens.cache_write_5m_tokens,
                "ephemeral_1h_input_tokens": tokens.cache_write_1h_tokens,
            },
            "output_tokens": tokens.output_tokens,
            "server_tool_use": { "web_search_requests": searches },
        })
    };
    rows.into_iter().map(row).collect()
}

/// One row in all or, by description, one for each model, service tier and kind of token.
fn cost(calls: &[BilledCall], group_by: &[&str]) -> Vec<Value> {
    let described = group_by.contains(&"description");
    let mut rows: BTreeMap<(&str, &str, &str), u64> = BTreeMap::new();
    for call in calls {
        for (kind, nanousd) in parts(call).into_iter().filter(|(_, nanousd)| *nanousd > 0) {
            let key = if described { (call.model.as_str(), tier(call), kind) } else { ("", "", "") };
            *rows.entry(key).or_default() += nanousd;
        }
    }
    let row = |((model, tier, kind), nanousd): ((&str, &str, &str), u64)| {
        let searches = kind == SEARCHES;
        let of_tokens = |value: &str| (described && !searches).then(|| value.to_owned());
        let words = if searches { "Web Search Usage".to_owned() } else { format!("{model} Usage - {kind}") };
        json!({
            "currency": "USD",
            // Cents, as a decimal text.
            "amount": format!("{}.{:07}", nanousd / NANOS_PER_CENT, nanousd % NANOS_PER_CENT),
            "workspace_id": null, "inference_geo": null, "context_window": null, "speed": null,
            "description": described.then_some(words),
            "cost_type": described.then_some(if searches { "web_search" } else { "tokens" }),
            "model": of_tokens(model), "service_tier": of_tokens(tier), "token_type": of_tokens(kind),
        })
    };
    rows.into_iter().map(row).collect()
}

/// What a call cost by kind of token: in the proportions of the plain prices, so that the parts sum to the whole.
fn parts(call: &BilledCall) -> [(&'static str, u64); 6] {
    let none = BilledTokens::default();
    let tokens = &call.tokens;
    let alone = [
        ("uncached_input_tokens", BilledTokens { input_tokens: tokens.input_tokens, ..none }),
        ("cache_read_input_tokens", BilledTokens { cache_read_tokens: tokens.cache_read_tokens, ..none }),
        (
            "cache_creation.ephemeral_5m_input_tokens",
            BilledTokens { cache_write_5m_tokens: tokens.cache_write_5m_tokens, ..none },
        ),
        (
            "cache_creation.ephemeral_1h_input_tokens",
            BilledTokens { cache_write_1h_tokens: tokens.cache_write_1h_tokens, ..none },
        ),
        ("output_tokens", BilledTokens { output_tokens: tokens.output_tokens, ..none }),
    ];
    let searches =
        prices::nanousd(&call.model, &none, Terms { web_searches: call.web_searches, ..Terms::default() });
    let whole = call.nanousd.saturating_sub(searches);
    let weights = alone.map(|(kind, tokens)| (kind, prices::nanousd(&call.model, &tokens, Terms::default())));
    let sum: u64 = weights.iter().map(|(_, weight)| weight).sum();
    let mut left = whole;
    let mut shared = weights.map(|(kind, weight)| {
        let part = u128::from(whole) * u128::from(weight) / u128::from(sum.max(1));
        let part = u64::try_from(part).unwrap_or(u64::MAX).min(left);
        left -= part;
        (kind, part)
    });
    shared[4].1 += left;
    let [one, two, three, four, five] = shared;
    [one, two, three, four, five, (SEARCHES, searches)]
}

fn tier(call: &BilledCall) -> &'static str {
    if call.batch { "batch" } else { "standard" }
}

const USAGE_GROUPS: [&str; 9] = [
    "account_id",
    "api_key_id",
    "context_window",
    "inference_geo",
    "model",
    "service_account_id",
    "service_tier",
    "speed",
    "workspace_id",
];
const COST_GROUPS: [&str; 2] = ["description", "workspace_id"];
const SEARCHES: &str = "web_search";
const DAY_MS: i64 = 86_400_000;
const NANOS_PER_CENT: u64 = 10_000_000;
