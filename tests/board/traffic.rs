//! The rows Routing, Limits, Reliability and Internals.

use std::collections::BTreeMap;

use serde_json::Value;

use super::panel::Shape::{Bars, Lines, Shares, Stat, Table};
use super::panel::{Row, panel, target};
use super::script::{is_drawn, is_kept};
use super::truth::{Expected, Truth, nothing, number, one, route, scaled, text, tier_of};
use super::{DAILY_TOKENS, RELOADED};

pub fn rows() -> Vec<Row> {
    vec![routing(), limits(), reliability(), internals()]
}

fn reason(record: &Value) -> Option<String> {
    record["decision"]["reasons"][0]["code"].as_str().map(str::to_owned)
}

/// The share of shadow decisions that would have sent the request to another tier.
fn disagreement(truth: &Truth) -> f64 {
    let shadow = truth.measured.iter().filter(|record| record["mode"] == "shadow");
    let routes: Vec<_> = shadow.filter_map(route).collect();
    let other = routes.iter().filter(|(asked, decided)| asked != decided).count();
    other as f64 / routes.len() as f64
}

fn routing() -> Row {
    Row { title: "Routing", panels: vec![
        panel("Tiers", Shares, "reqps", 8, vec![target(
            r#"sum by (tier) (rate(tercet_requests_total{tenant=~"$tenant",model=~"$model"}[$__rate_interval]))"#,
            "{{tier}}", |truth| scaled(truth.per_second(|record| vec![(text(record, "tier"), 1.0)]), 1.0))])
        .says("Where requests went."),
        panel("Asked for, and served", Table, "short", 8, vec![target(
            r#"sum by (requested_tier, tier) (increase(tercet_route_decisions_total{tenant=~"$tenant"}[$__range]))"#,
            "Requests", |truth| scaled(truth.grown(|record| {
                route(record).map(|(asked, went)| (format!("{asked}/{went}"), 1.0)).into_iter().collect()
            }), 1.0))])
        .says("In shadow mode, where they would have gone."),
        panel("Reasons", Bars, "short", 8, vec![target(
            r#"topk(10, sum by (reason) (increase(tercet_route_decisions_total{tenant=~"$tenant"}[$__range])))"#,
            "{{reason}}", |truth| scaled(truth.grown(|record| {
                reason(record).map(|code| (code, 1.0)).into_iter().collect()
            }), 1.0))])
        .says("What decided; docs/routing.md explains each."),
        panel("Asked again one tier up", Lines, "short", 8, vec![target(
            r#"sum by (from, to, reason) (increase(tercet_escalations_total{tenant=~"$tenant"}[$__rate_interval]))"#,
            "{{from}} to {{to}}: {{reason}}", |truth| scaled(truth.grown(|record| {
                let from = record["decision"]["escalated_from"].as_str().map(tier_of);
                let code = record["decision"]["reasons"].as_array().and_then(|reasons| reasons.last()?["code"].as_str());
                from.zip(code).map(|(from, code)| (format!("{from}/{code}/{}", text(record, "tier")), 1.0)).into_iter().collect()
            }), 1.0))])
        .says("Answers that surely failed at a lower tier; both attempts are paid."),
        panel("Shadow disagreement", Lines, "percentunit", 8, vec![target(
            r#"1 - (sum(rate(tercet_route_decisions_total{tenant=~"$tenant",mode="shadow",requested_tier="haiku",tier="haiku"}[$__rate_interval]) or rate(tercet_route_decisions_total{tenant=~"$tenant",mode="shadow",requested_tier="sonnet",tier="sonnet"}[$__rate_interval]) or rate(tercet_route_decisions_total{tenant=~"$tenant",mode="shadow",requested_tier="opus",tier="opus"}[$__rate_interval]) or rate(tercet_route_decisions_total{tenant=~"$tenant",mode="shadow",requested_tier="other",tier="other"}[$__rate_interval])) or vector(0)) / sum(rate(tercet_route_decisions_total{tenant=~"$tenant",mode="shadow"}[$__rate_interval]))"#,
            "would go elsewhere", |truth| one(disagreement(truth)))])
        .says("The share of requests in shadow mode that routing would have sent to another tier."),
        panel("Difficulty", Bars, "short", 8, vec![target(
            r#"sum by (le) (increase(tercet_classifier_score_bucket[$__range]))"#,
            "up to {{le}}", scores)])
        .says("How many requests were scored up to each difficulty, from 0 to 1."),
        panel("Asked again to compare", Lines, "short", 12, vec![target(
            r#"sum by (result) (increase(tercet_shadow_samples_total{tenant=~"$tenant"}[$__rate_interval]))"#,
            "{{result}}", |truth| scaled(truth.grown(|record| {
                if is_drawn(record) { vec![("no_budget", 1.0)] } else { Vec::new() }
            }), 1.0))])
        .says("The shadow sample: `held` where the cheaper model's answer was as good, `lost` where it was not."),
        panel("Spent on comparing", Lines, "currencyUSD", 12, vec![target(
            r#"sum by (tenant) (increase(tercet_shadow_sample_cost_usd_total{tenant=~"$tenant"}[$__rate_interval]))"#,
            "{{tenant}}", |_| nothing())])
        .says("Asking again and judging; part of what was spent."),
    ] }
}

fn scores(truth: &Truth) -> Expected {
    let of = |record: &Value| Some(record["decision"]["basis"]["score"].as_f64()? / 1_000.0);
    let bounds = ["0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9", "1", "+Inf"];
    scaled(
        truth.grown(|record| {
            let Some(score) = of(record) else { return Vec::new() };
            let above =
                bounds.iter().filter(|bound| bound.parse::<f64>().map_or(true, |bound| score <= bound));
            above.map(|bound| (*bound, 1.0)).collect()
        }),
        1.0,
    )
}

fn limits() -> Row {
    Row { title: "Limits", panels: vec![
        panel("Used of limits", Bars, "percentunit", 6, vec![target(
            r#"max by (tenant, limit) (tercet_tenant_limit_utilization_ratio{tenant=~"$tenant"})"#,
            "{{tenant}} {{limit}}", |truth| {
                let used: f64 = truth.all.iter().filter(|record| record["tenant"] == "acme").map(|record| number(record, "tokens_used")).sum();
                // Millionths are what the gateway tells.
                let used = (used * 1e6 / DAILY_TOKENS).floor() / 1e6;
                Expected::Each(BTreeMap::from([("concurrency/acme".to_owned(), 0.0), ("daily_tokens/acme".to_owned(), used)]))
            })])
        .says("Of each tenant's own limits and quotas."),
        panel("Refused by limits", Lines, "short", 6, vec![target(
            r#"sum by (limit) (increase(tercet_ratelimit_decisions_total{tenant=~"$tenant",decision="refused"}[$__rate_interval]))"#,
            "{{limit}}", |truth| scaled(truth.grown(|record| {
                if record["outcome"] == "quota_rejected" { vec![("budget", 1.0)] } else { Vec::new() }
            }), 1.0))])
        .says("By what was run into."),
        panel("Left upstream", Lines, "percentunit", 6, vec![target(
            r#"min by (family, kind) (tercet_upstream_ratelimit_remaining / (tercet_upstream_ratelimit_limit > 0))"#,
            "{{family}} {{kind}}", |truth| {
                let left = |labels: &str| {
                    let of = |name: &str| super::sample(&truth.page, &format!("{name}{{{labels}}}"));
                    of("tercet_upstream_ratelimit_remaining") / of("tercet_upstream_ratelimit_limit")
                };
                upstream(truth, left)
            })])
        .says("Of the upstream's own limits, by its last answers; models of one family share them."),
        panel("Full again upstream", Lines, "s", 6, vec![target(
            r#"clamp_min(max by (family, kind) (tercet_upstream_ratelimit_reset_timestamp_seconds) - time(), 0)"#,
            "{{family}} {{kind}}", |truth| {
                let wait = |labels: &str| {
                    let at = super::sample(&truth.page, &format!("tercet_upstream_ratelimit_reset_timestamp_seconds{{{labels}}}"));
                    (at - truth.now_s).max(0.0)
                };
                upstream(truth, wait)
            })])
        .says("How long until the upstream's limits have refilled."),
    ] }
}

/// Each pool and kind that the gateway tells of, by what the upstream said last.
fn upstream(truth: &Truth, value: impl Fn(&str) -> f64) -> Expected {
    let lines = truth.page.lines().filter_map(|line| line.strip_prefix("tercet_upstream_ratelimit_limit{"));
    let each = lines.map(|line| {
        let labels = line.split_once('}').unwrap().0;
        let parts: Vec<&str> = labels.split('"').collect();
        (format!("{}/{}", parts[1], parts[3]), value(labels))
    });
    Expected::Each(each.collect())
}

const DURATION_S: [f64; 14] =
    [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0];
const FIRST_TOKEN_S: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0];
const OVERHEAD_S: [f64; 12] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25];

fn latency(record: &Value) -> Option<f64> {
    Some(number(record, "latency_ms") / 1e3)
}

fn first_token(record: &Value) -> Option<f64> {
    Some(record["ttft_ms"].as_f64()? / 1e3)
}

fn reliability() -> Row {
    Row { title: "Reliability", panels: vec![
        panel("Outcomes", Lines, "reqps", 6, vec![target(
            r#"sum by (outcome) (rate(tercet_requests_total{tenant=~"$tenant",model=~"$model"}[$__rate_interval]))"#,
            "{{outcome}}", |truth| scaled(truth.per_second(|record| vec![(text(record, "outcome"), 1.0)]), 1.0))])
        .says("How requests ended."),
        panel("Duration", Lines, "s", 6, vec![
            target(r#"histogram_quantile(0.5, sum by (le) (rate(tercet_request_duration_seconds_bucket{tenant=~"$tenant"}[$__rate_interval])))"#, "half",
                |truth| truth.bucket(0.5, &DURATION_S, latency)),
            target(r#"histogram_quantile(0.95, sum by (le) (rate(tercet_request_duration_seconds_bucket{tenant=~"$tenant"}[$__rate_interval])))"#, "95 %",
                |truth| truth.bucket(0.95, &DURATION_S, latency)),
            target(r#"histogram_quantile(0.99, sum by (le) (rate(tercet_request_duration_seconds_bucket{tenant=~"$tenant"}[$__rate_interval])))"#, "99 %",
                |truth| truth.bucket(0.99, &DURATION_S, latency)),
        ])
        .says("From a request's first byte to its answer's last."),
        panel("First token", Lines, "s", 6, vec![
            target("histogram_quantile(0.5, sum by (le) (rate(tercet_time_to_first_token_seconds_bucket[$__rate_interval])))", "half",
                |truth| truth.bucket(0.5, &FIRST_TOKEN_S, first_token)),
            target("histogram_quantile(0.95, sum by (le) (rate(tercet_time_to_first_token_seconds_bucket[$__rate_interval])))", "95 %",
                |truth| truth.bucket(0.95, &FIRST_TOKEN_S, first_token)),
        ])
        .says("Until the first content of an answer."),
        panel("Time of a token", Lines, "s", 6, vec![target(
            "histogram_quantile(0.5, sum by (le) (rate(tercet_time_per_output_token_seconds_bucket[$__rate_interval])))", "half",
            |_| Expected::Between(BTreeMap::from([(String::new(), (0.0, 0.1))])))])
        .says("After the first, of streamed answers."),
        panel("Upstream attempts", Lines, "reqps", 8, vec![target(
            "sum by (tier, result) (rate(tercet_upstream_attempts_total[$__rate_interval]))",
            "{{tier}} {{result}}", |truth| scaled(truth.per_second(attempts), 1.0))])
        .says("Every try, by how it ended; an answer asked for again is two."),
        panel("Failing tools", Lines, "short", 8, vec![
            target(r#"sum by (tool) (increase(tercet_tool_results_total{tenant=~"$tenant",result="error"}[$__rate_interval]))"#, "{{tool}} failed",
                |truth| scaled(truth.grown(|record| {
                    let failed = record["tool_calls"].as_array().unwrap().iter().filter(|call| call["is_error"] == true);
                    failed.map(|call| (call["name"].as_str().unwrap().to_owned(), 1.0)).collect()
                }), 1.0)),
            target(r#"sum by (tool) (increase(tercet_tool_failure_streaks_total{tenant=~"$tenant"}[$__rate_interval]))"#, "{{tool}} three times in a row",
                // The script lets one tool fail three times in a row, once.
                |truth| Expected::Each(BTreeMap::from([("Bash".to_owned(), truth.factor)]))),
        ])
        .says("Results that clients sent back as errors."),
        panel("In flight", Lines, "short", 8, vec![target(
            r#"sum by (tenant) (tercet_inflight_requests{tenant=~"$tenant"})"#, "{{tenant}}", |_| nothing())])
        .says("Requests being handled."),
    ] }
}

fn attempts(record: &Value) -> Vec<(String, f64)> {
    let mut tries = Vec::new();
    if let Some(model) = record["decision"]["escalated_from"].as_str() {
        tries.push((format!("ok/{}", tier_of(model)), 1.0));
    }
    let result = match (record["attempts"].as_u64().unwrap(), record["status"].as_u64().unwrap()) {
        (0, _) => return tries,
        (_, 529) => "overloaded",
        (_, 400..=499) => "client_error",
        _ => "ok",
    };
    tries.push((format!("{result}/{}", text(record, "tier")), 1.0));
    tries
}

fn internals() -> Row {
    Row { title: "Internals", panels: vec![
        panel("Added by the gateway", Lines, "s", 8, vec![target(
            r#"histogram_quantile(0.99, sum by (le) (rate(tercet_overhead_seconds_bucket{phase="total"}[$__rate_interval])))"#, "99 %",
            |truth| truth.bucket(0.99, &OVERHEAD_S, |record| Some(number(record, "overhead_us") / 1e6)))])
        .says("Its own time from a request's head to its sending."),
        panel("Log lines", Lines, "short", 8, vec![
            target("sum by (sink) (tercet_log_queue_length)", "{{sink}} waiting", |_| Expected::Between(BTreeMap::from([("stderr".to_owned(), (0.0, 100.0))]))),
            target("sum by (sink) (increase(tercet_log_dropped_total[$__rate_interval]))", "{{sink}} dropped", |_| nothing()),
        ])
        .says("Dropped where nobody reads them fast enough."),
        panel("Journal", Lines, "short", 8, vec![
            target("sum by (instance) (rate(tercet_audit_records_total[$__rate_interval]))", "{{instance}} records a second", |_| {
                // Reservations, objects and checkpoints stand beside the exchanges.
                Expected::Between(BTreeMap::from([("tercet".to_owned(), (0.1, 1e6))]))
            }),
            target("sum by (instance) (increase(tercet_audit_write_failures_total[$__rate_interval]))", "{{instance}} failures", |_| nothing()),
        ])
        .says("Records written, and writes that failed."),
        panel("Copies behind", Lines, "s", 8, vec![
            target("max by (copy) (tercet_copy_lag_seconds)", "{{copy}}", |_| {
                Expected::Between(BTreeMap::from([("sums".to_owned(), (0.0, 60.0))]))
            }),
            target("sum by (copy) (increase(tercet_copy_failures_total[$__rate_interval]))", "{{copy}} failures", |_| nothing()),
        ])
        .says("How long the database of sums, ClickHouse and the OTLP receiver have been without all of the journal."),
        panel("Kept texts", Lines, "short", 8, vec![
            target("sum(increase(tercet_content_records_total[$__rate_interval]))", "kept", |truth| {
                one(truth.total(|record| if is_kept(record) { 1.0 } else { 0.0 }))
            }),
            target("sum by (cause) (increase(tercet_content_dropped_total[$__rate_interval]))", "lost: {{cause}}", |_| nothing()),
        ])
        .says("Exchanges whose texts were kept, of tenants that have them kept, and those that were lost."),
        panel("Series folded", Lines, "short", 8, vec![target(
            "sum by (metric) (increase(tercet_metric_series_dropped_total[$__rate_interval])) > 0", "{{metric}}", |_| nothing())])
        .says("Label sets over `telemetry.series_max`."),
        panel("Bugs", Lines, "short", 8, vec![target(
            "sum(increase(tercet_panics_total[$__rate_interval])) + sum(increase(tercet_reservations_leaked_total[$__rate_interval]))", "met", |_| nothing())])
        .says("Any is to be reported."),
        panel("Configuration in force", Stat, "dateTimeFromNow", 8, vec![target(
            "max(tercet_config_last_reload_success_timestamp_seconds) * 1000 * (min(tercet_config_last_reload_successful) > 0)", "taken over",
            |truth| Expected::Between(BTreeMap::from([(String::new(), ((truth.now_s - RELOADED) * 1e3, truth.now_s * 1e3))])))])
        .says("Since when; nothing where the last reload failed."),
    ] }
}
