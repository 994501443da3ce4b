//! The rows Money, Tenants, and Models and tokens.

use std::collections::BTreeMap;

use super::panel::Shape::{Bars, Lines, Stat, Table};
use super::panel::{Row, panel, target};
use super::truth::{Expected, Truth, baseline, cost, model, one, scaled, text, tokens};
use super::{BUDGET_WINDOWS, BUDGETS};

pub fn rows() -> Vec<Row> {
    vec![money(), tenants(), models()]
}

fn saved(truth: &Truth, which: &str) -> f64 {
    truth.total(|record| baseline(record, which) - cost(record))
}

fn money() -> Row {
    Row { title: "Money", panels: vec![
        panel("Spent today", Stat, "currencyUSD", 4, vec![target(
            r#"sum(max by (tenant) (tercet_tenant_spend_usd{tenant=~"$tenant",window="day"})) or sum(increase(tercet_cost_usd_total{tenant=~"$tenant"}[$__range]))"#,
            "", |truth| one(truth.all.iter().map(cost).sum()))])
        .says("By the counters that enforce budgets, in their day; without tenants, the growth of the cost in the time shown."),
        panel("Projected month", Stat, "currencyUSD", 4, vec![target(
            r#"sum(max by (tenant) (tercet_tenant_spend_usd{tenant=~"$tenant",window="month"})) + sum(rate(tercet_cost_usd_total{tenant=~"$tenant"}[$interval])) * (max(tercet_tenant_budget_reset_timestamp_seconds{window="month"}) - time())"#,
            "", |truth| {
                let spent: f64 = truth.all.iter().map(cost).sum();
                one(spent + truth.total(cost) / truth.window_s * (month_end(truth.now_s) - truth.now_s))
            })])
        .says("What is spent of the month, and its rest at the pace of `Rates over`."),
        panel("Saved against the models asked for", Stat, "currencyUSD", 4, vec![target(
            r#"sum(increase(tercet_baseline_cost_usd_total{tenant=~"$tenant",baseline="requested"}[$__range])) - sum(increase(tercet_cost_usd_total{tenant=~"$tenant"}[$__range]))"#,
            "", |truth| one(saved(truth, "requested")))])
        .says("Net: what writing prompt caches anew cost is taken off, answers from the response cache are in it."),
        panel("Saved share", Stat, "percentunit", 4, vec![target(
            r#"1 - sum(increase(tercet_cost_usd_total{tenant=~"$tenant"}[$__range])) / sum(increase(tercet_baseline_cost_usd_total{tenant=~"$tenant",baseline="requested"}[$__range]))"#,
            "", |truth| one(saved(truth, "requested") / truth.total(|record| baseline(record, "requested"))))])
        .says("Of what the models asked for would have cost."),
        panel("Saved against all-Opus", Stat, "currencyUSD", 4, vec![target(
            r#"sum(increase(tercet_baseline_cost_usd_total{tenant=~"$tenant",baseline="all_opus"}[$__range])) - sum(increase(tercet_cost_usd_total{tenant=~"$tenant"}[$__range]))"#,
            "", |truth| one(saved(truth, "all_opus")))])
        .says("As if every request had gone to the model of the opus tier."),
        panel("Saved by the response cache", Stat, "currencyUSD", 4, vec![target(
            r#"sum(increase(tercet_response_cache_saved_usd_total{tenant=~"$tenant"}[$__range]))"#,
            "",
            |truth| one(truth.total(|record| kept_for(truth, record))),
        )])
        .says("What the kept answers that were given again would have cost."),
        panel("Cost of switching", Stat, "currencyUSD", 4, vec![target(
            r#"sum(increase(tercet_prompt_cache_rewrite_cost_usd_total{tenant=~"$tenant"}[$__range]))"#,
            "", |_| one(0.0))])
        .says("What prompts cost that were written anew because their conversation was moved; classifying costs no money."),
        panel("Cost of a request", Stat, "currencyUSD", 4, vec![target(
            r#"sum(increase(tercet_cost_usd_total{tenant=~"$tenant",model=~"$model"}[$__range])) / sum(increase(tercet_requests_total{tenant=~"$tenant",model=~"$model"}[$__range]))"#,
            "", |truth| one(truth.total(cost) / truth.total(|_| 1.0)))])
        .says("On average, refused requests among them."),
    ] }
}

/// What the answer that was given again had cost.
fn kept_for(truth: &Truth, record: &serde_json::Value) -> f64 {
    if !matches!(text(record, "cache"), "hit" | "joined") {
        return 0.0;
    }
    let original =
        |other: &&serde_json::Value| other["message_id"] == record["message_id"] && other["cache"] == "miss";
    cost(truth.all.iter().find(original).unwrap())
}

fn of_budgets(value: impl Fn(&str, &str, f64) -> f64) -> Expected {
    let each = BUDGETS.iter().flat_map(|(tenant, ceilings)| {
        BUDGET_WINDOWS.iter().zip(ceilings).map(move |(window, ceiling)| (*tenant, *window, *ceiling))
    });
    Expected::Each(
        each.map(|(tenant, window, ceiling)| (format!("{tenant}/{window}"), value(tenant, window, ceiling)))
            .collect(),
    )
}

fn tenants() -> Row {
    Row { title: "Tenants", panels: vec![
        panel("Spent of the budget", Bars, "percentunit", 8, vec![target(
            r#"max by (tenant, window) (tercet_tenant_spend_usd{tenant=~"$tenant"}) / max by (tenant, window) (tercet_tenant_budget_usd{tenant=~"$tenant"})"#,
            "{{tenant}} {{window}}", |truth| of_budgets(|tenant, _, ceiling| truth.spent(tenant) / ceiling))])
        .says("At 100 % requests are refused until the period ends."),
        panel("Spending by tenant", Lines, "currencyUSD", 8, vec![target(
            r#"sum by (tenant) (rate(tercet_cost_usd_total{tenant=~"$tenant",model=~"$model"}[$__rate_interval])) * 3600"#,
            "{{tenant}}", |truth| scaled(truth.per_second(|record| vec![(text(record, "tenant"), cost(record))]), 3_600.0))])
        .says("In dollars an hour."),
        panel("Fastest growing", Bars, "currencyUSD", 8, vec![target(
            r#"topk(10, sum by (tenant) (increase(tercet_cost_usd_total{tenant=~"$tenant"}[$interval])) - sum by (tenant) (increase(tercet_cost_usd_total{tenant=~"$tenant"}[$interval] offset $interval)))"#,
            "{{tenant}}", |truth| scaled(truth.grown(|record| vec![(text(record, "tenant"), cost(record))]), 1.0))])
        .says("How much more was spent than in the time before, over `Rates over`."),
        panel("Budgets", Table, "currencyUSD", 24, vec![
            target(r#"max by (tenant, window) (tercet_tenant_spend_usd{tenant=~"$tenant"})"#, "Spent",
                |truth| of_windows(|tenant| truth.spent(tenant))),
            target(r#"max by (tenant, window) (tercet_tenant_budget_usd{tenant=~"$tenant"})"#, "Budget",
                |_| of_budgets(|_, _, ceiling| ceiling)),
            target(r#"max by (tenant, window) (tercet_tenant_spend_usd{tenant=~"$tenant"}) / max by (tenant, window) (tercet_tenant_budget_usd{tenant=~"$tenant"})"#,
                "Used", |truth| of_budgets(|tenant, _, ceiling| truth.spent(tenant) / ceiling)),
            target(r#"max by (tenant, window) (tercet_tenant_spend_usd{tenant=~"$tenant"}) * 0 + on (tenant) group_left () sum by (tenant) (rate(tercet_cost_usd_total{tenant=~"$tenant"}[$interval])) * 86400"#,
                "A day", |truth| of_windows(|tenant| truth.burn_per_day(tenant))),
            target(r#"(max by (tenant, window) (tercet_tenant_budget_usd{tenant=~"$tenant"}) - max by (tenant, window) (tercet_tenant_spend_usd{tenant=~"$tenant"})) / on (tenant) group_left () (sum by (tenant) (rate(tercet_cost_usd_total{tenant=~"$tenant"}[$interval])) * 86400 > 0)"#,
                "Days left", days_left),
            target(r#"max by (tenant, window) (tercet_tenant_budget_reset_timestamp_seconds{tenant=~"$tenant"}) * 1000"#, "Resets",
                resets),
        ])
        .says("`A day` is the pace of `Rates over`; at it the budget is spent in `Days left`, or reset before."),
    ] }
}

fn of_windows(value: impl Fn(&str) -> f64) -> Expected {
    let each = BUDGETS.iter().flat_map(|(tenant, _)| BUDGET_WINDOWS.map(|window| (*tenant, window)));
    let mut numbers: BTreeMap<String, f64> =
        each.map(|(tenant, window)| (format!("{tenant}/{window}"), value(tenant))).collect();
    // The tenant that nothing was charged to has no cost to have a pace of.
    numbers.retain(|_, value| *value > 0.0);
    Expected::Each(numbers)
}

fn days_left(truth: &Truth) -> Expected {
    let Expected::Each(mut numbers) =
        of_budgets(|tenant, _, ceiling| (ceiling - truth.spent(tenant)) / truth.burn_per_day(tenant))
    else {
        return super::truth::nothing();
    };
    numbers.retain(|_, value| value.is_finite());
    Expected::Each(numbers)
}

fn resets(truth: &Truth) -> Expected {
    let end = |window: &str| {
        let (day, now) = (86_400.0, truth.now_s);
        match window {
            "day" => (now / day).floor() * day + day,
            // The first of January 1970 was a Thursday.
            "week" => {
                ((now / day).floor() - 4.0).rem_euclid(7.0).mul_add(-1.0, 7.0 + (now / day).floor()) * day
            }
            _ => month_end(now),
        }
    };
    of_budgets(|_, window, _| end(window) * 1_000.0)
}

fn month_end(now_s: f64) -> f64 {
    let now = jiff::Timestamp::from_second(now_s as i64).unwrap().to_zoned(jiff::tz::TimeZone::UTC).date();
    let next = now.last_of_month().tomorrow().unwrap().to_zoned(jiff::tz::TimeZone::UTC).unwrap();
    next.timestamp().as_second() as f64
}

fn models() -> Row {
    Row { title: "Models and tokens", panels: vec![
        panel("Spending by model", Lines, "currencyUSD", 6, vec![target(
            r#"sum by (model) (rate(tercet_cost_usd_total{tenant=~"$tenant",model=~"$model"}[$__rate_interval])) * 3600"#,
            "{{model}}", |truth| scaled(truth.per_second(|record| vec![(model(record), cost(record))]), 3_600.0))])
        .says("In dollars an hour."),
        panel("Spending by kind of token", Lines, "currencyUSD", 6, vec![target(
            r#"sum by (token_type) (rate(tercet_cost_usd_total{tenant=~"$tenant",model=~"$model"}[$__rate_interval])) * 3600"#,
            "{{token_type}}", |truth| Expected::Sum(truth.total(cost) / truth.window_s * 3_600.0))])
        .says("In dollars an hour; the kinds do not overlap, `other` is web searches and rounding."),
        panel("Tokens of a request", Lines, "short", 6, vec![target(
            r#"sum by (token_type) (rate(tercet_tokens_total{tenant=~"$tenant",model=~"$model"}[$__rate_interval])) / on () group_left () sum(rate(tercet_requests_total{tenant=~"$tenant",model=~"$model"}[$__rate_interval]))"#,
            "{{token_type}}", |truth| {
                let requests = truth.total(|_| 1.0);
                scaled(truth.grown(|record| tokens(record).to_vec()), 1.0 / requests)
            })])
        .says("On average; input is what no prompt cache answered."),
        panel("Read from prompt caches", Lines, "percentunit", 6, vec![target(
            r#"sum(rate(tercet_tokens_total{tenant=~"$tenant",model=~"$model",token_type="cache_read"}[$__rate_interval])) / sum(rate(tercet_tokens_total{tenant=~"$tenant",model=~"$model",token_type!="output"}[$__rate_interval]))"#,
            "share", |truth| {
                let prompt = truth.total(|record| tokens(record).iter().filter(|(kind, _)| *kind != "output").map(|(_, count)| count).sum());
                one(truth.total(|record| tokens(record)[2].1) / prompt)
            })])
        .says("The share of all prompt tokens."),
    ] }
}
