use std::time::Duration;

use proptest::prelude::*;

use super::super::exemplar::TraceFacts;
use super::super::facts::{CostParts, ToolUse, Window};
use super::super::outbox::OutboxReading;
use super::super::readings::{
    AtStakeReading, BudgetReading, ContentReading, CopyReading, JournalReading, LimitReading, RedisReading,
    SharingReading,
};
use super::super::table::{Kind, TABLE, markdown};
use super::*;
use crate::config::Mode;
use crate::money::NanoUsd;
use crate::usage::Usage;

fn facts<'a>(tenant: &'a str, model: &'a str) -> ExchangeFacts<'a> {
    ExchangeFacts {
        tenant,
        model,
        requested_tier: Tier::Opus,
        tier: Tier::Haiku,
        decided_tier: Tier::Haiku,
        outcome: Outcome::Ok,
        stream: true,
        duration: Some(Duration::from_millis(1_500)),
        time_to_first_token: Some(Duration::from_millis(500)),
        usage: Usage { input_tokens: 10, output_tokens: 101, ..Usage::default() },
        cost: NanoUsd(3),
        cost_parts: CostParts { input: NanoUsd(1), output: NanoUsd(2), ..CostParts::default() },
        baseline_requested: NanoUsd(7),
        baseline_all_opus: NanoUsd(9),
        rewrite: NanoUsd(1_500_000_000),
        cache_saved: NanoUsd::ZERO,
        cache: Some(CacheResult::Miss),
        reason: Some("title"),
        trace: None,
        mode: Mode::Enforce,
        unpriced: false,
        tools: &[],
        failed_thrice: &[],
        difficulty: None,
    }
}

fn series(page: &str) -> usize {
    page.lines().filter(|line| !line.starts_with('#')).count()
}

#[test]
fn an_exchange_is_counted_in_every_metric_it_touches() {
    let metrics = Metrics::new(20_000).unwrap();
    let tools =
        [ToolUse { name: "Bash", failed: true }, ToolUse { name: "mcp__secret__path", failed: false }];
    metrics.record_exchange(&ExchangeFacts {
        tools: &tools,
        failed_thrice: &["Bash".to_owned(), "mcp__secret__path".to_owned()],
        difficulty: Some((Mechanism::Workload, 740)),
        unpriced: true,
        ..facts("acme", "haiku-5")
    });
    metrics.record_overhead(Phase::Total, Duration::from_micros(200));
    metrics.record_limit("acme", LimitKind::Budget, LimitDecision::Refused);
    metrics.record_attempt(Tier::Haiku, AttemptResult::Overloaded);
    let page = metrics.render();
    for line in [
        r#"tercet_requests_total{model="haiku-5",outcome="ok",stream="true",tenant="acme",tier="haiku"} 1"#,
        r#"tercet_request_duration_seconds_sum{stream="true",tenant="acme",tier="haiku"} 1.5"#,
        r#"tercet_time_to_first_token_seconds_bucket{tier="haiku",le="0.5"} 1"#,
        r#"tercet_time_per_output_token_seconds_sum{tier="haiku"} 0.01"#,
        r#"tercet_tokens_total{model="haiku-5",tenant="acme",token_type="output"} 101"#,
        r#"tercet_cost_usd_total{tenant="acme",model="haiku-5",token_type="output"} 0.000000002"#,
        r#"tercet_baseline_cost_usd_total{tenant="acme",baseline="requested"} 0.000000007"#,
        r#"tercet_route_decisions_total{mode="enforce",reason="title",requested_tier="opus",tenant="acme",tier="haiku"} 1"#,
        r#"tercet_tool_results_total{result="error",tenant="acme",tool="Bash"} 1"#,
        r#"tercet_tool_results_total{result="ok",tenant="acme",tool="_other"} 1"#,
        r#"tercet_tool_failure_streaks_total{tenant="acme",tool="Bash"} 1"#,
        r#"tercet_tool_failure_streaks_total{tenant="acme",tool="_other"} 1"#,
        r#"tercet_classifier_score_bucket{mechanism="workload",le="0.7"} 0"#,
        r#"tercet_classifier_score_bucket{mechanism="workload",le="0.8"} 1"#,
        r#"tercet_classifier_score_count{mechanism="hint"} 0"#,
        r#"tercet_response_cache_requests_total{result="miss",tenant="acme"} 1"#,
        r#"tercet_prompt_cache_rewrite_cost_usd_total{tenant="acme"} 1.500000000"#,
        r#"tercet_unpriced_requests_total{model="haiku-5"} 1"#,
        r#"tercet_overhead_seconds_bucket{phase="total",le="0.00025"} 1"#,
        r#"tercet_ratelimit_decisions_total{decision="refused",limit="budget",tenant="acme"} 1"#,
        r#"tercet_upstream_attempts_total{result="overloaded",tier="haiku"} 1"#,
    ] {
        assert!(page.lines().any(|found| found == line), "{line}\n{page}");
    }
    assert!(!page.contains("mcp__secret__path"));
}

#[test]
fn rare_counters_exist_before_their_first_event() {
    let metrics = Metrics::new(20_000).unwrap();
    metrics.expect_tenants(&["acme"]);
    let page = metrics.render();
    for line in [
        "tercet_panics_total 0",
        "tercet_reservations_leaked_total 0",
        "tercet_audit_write_failures_total 0",
        "tercet_reserved_usd 0.000000000",
        r#"tercet_log_dropped_total{sink="stderr"} 0"#,
        r#"tercet_log_queue_length{sink="stderr"} 0"#,
        r#"tercet_unpriced_requests_total{model="_other"} 0"#,
        r#"tercet_metric_series_dropped_total{metric="tercet_cost_usd_total"} 0"#,
        r#"tercet_ratelimit_decisions_total{decision="refused",limit="requests",tenant="acme"} 0"#,
        r#"tercet_prompt_cache_rewrite_cost_usd_total{tenant="acme"} 0.000000000"#,
        r#"tercet_response_cache_saved_usd_total{tenant="acme"} 0.000000000"#,
        r#"tercet_inflight_requests{tenant="acme"} 0"#,
        r#"tercet_budget_warnings_total{level="key",limit="quota",tenant="acme"} 0"#,
        r#"tercet_budget_warnings_total{level="gateway",limit="budget",tenant="_gateway"} 0"#,
        r#"tercet_webhook_notices_total{result="dropped"} 0"#,
    ] {
        assert!(page.lines().any(|found| found == line), "{line}\n{page}");
    }
}

#[test]
fn a_request_in_flight_leaves_the_gauge_when_dropped() {
    let metrics = Metrics::new(20_000).unwrap();
    let (first, second) = (metrics.enter("a"), metrics.enter("b"));
    assert_eq!(metrics.inflight_requests(), 2);
    drop((first, second));
    assert_eq!(metrics.inflight_requests(), 0);
}

#[test]
fn budgets_and_the_journal_are_read_at_the_scrape() {
    let metrics = Metrics::new(20_000).unwrap();
    metrics.read_from(|| Readings {
        budgets: vec![BudgetReading {
            tenant: "a\"b\\c".to_owned(),
            window: Window::Month,
            spend: NanoUsd(1_234_567_890),
            reserved: NanoUsd(5),
            overshoot: NanoUsd(7),
            budget: None,
            reset_timestamp_s: 1_800_000_000,
        }],
        limits: vec![LimitReading {
            tenant: "acme".to_owned(),
            limit: "requests",
            used_millionths: 1_050_000,
        }],
        reserved: NanoUsd(5),
        journal: JournalReading { records: 3, write_failures: 1, head_sequence: 99 },
        at_stake: vec![AtStakeReading { tenant: "a".to_owned(), cause: "ttl-too-short", amount: NanoUsd(7) }],
        copies: vec![CopyReading { name: "sums", behind_records: 4, behind_ms: 1_050, failures: 2 }],
        content: ContentReading { kept: 6, no_room: 1, failed: 0, stored_bytes: 512 },
        redis: vec![RedisReading {
            name: "counters",
            up: true,
            round_trips: 7,
            failures: vec![("loading", 2)],
        }],
        sharing: Some(SharingReading { leases: 4, unasked: 95, asked: 5 }),
        outbox: OutboxReading { delivered: 6, failed: 2, dropped: 1 },
    });
    metrics.record_reload("0123456789ab", Timestamp::from_second(1_700_000_000).unwrap());
    metrics.record_failed_reload();
    let page = metrics.render();
    for line in [
        "tercet_prompt_cache_at_stake_usd{tenant=\"a\",cause=\"ttl-too-short\"} 0.000000007",
        r#"tercet_tenant_spend_usd{tenant="a\"b\\c",window="month"} 1.234567890"#,
        r#"tercet_tenant_budget_reset_timestamp_seconds{tenant="a\"b\\c",window="month"} 1800000000"#,
        r#"tercet_tenant_limit_utilization_ratio{tenant="acme",limit="requests"} 1.050000"#,
        "tercet_reserved_usd 0.000000005",
        "tercet_audit_head_sequence 99",
        r#"tercet_copy_lag_records{copy="sums"} 4"#,
        r#"tercet_copy_lag_seconds{copy="sums"} 1.050"#,
        r#"tercet_copy_failures_total{copy="sums"} 2"#,
        "tercet_content_records_total 6",
        r#"tercet_content_dropped_total{cause="room"} 1"#,
        r#"tercet_content_dropped_total{cause="disk"} 0"#,
        "tercet_content_bytes 512",
        r#"tercet_redis_up{redis="counters"} 1"#,
        r#"tercet_redis_round_trips_total{redis="counters"} 7"#,
        r#"tercet_redis_failures_total{redis="counters",reason="loading"} 2"#,
        "tercet_redis_leases 4",
        r#"tercet_redis_reservations_total{asked="false"} 95"#,
        r#"tercet_config_info{policy_version="0123456789ab"} 1"#,
        "tercet_config_last_reload_successful 0",
        "tercet_config_last_reload_success_timestamp_seconds 1700000000",
    ] {
        assert!(page.lines().any(|found| found == line), "{line}\n{page}");
    }
    assert!(!page.contains("tercet_tenant_budget_usd{"));
}

#[test]
fn a_hundred_thousand_tenants_models_and_tools_stay_under_the_cap_and_lose_no_money() {
    let metrics = Metrics::new(20_000).unwrap();
    let named = |index: i32| format!("tenant-{index}");
    metrics.read_from(move || Readings {
        limits: (0..100_000)
            .map(|index| LimitReading { tenant: named(index), limit: "requests", used_millionths: 1 })
            .collect(),
        ..Readings::default()
    });
    for index in 0..100_000 {
        let (tenant, model, tool) = (named(index), format!("model-{index}"), format!("tool-{index}"));
        let tools = [ToolUse { name: &tool, failed: true }, ToolUse { name: "Bash", failed: true }];
        let failed_thrice = [tool.clone(), "Bash".to_owned()];
        if index % 20 == 0 {
            drop(metrics.enter(&tenant));
            metrics.expect_tenants(&[&tenant]);
            metrics.record_limit(&tenant, LimitKind::Budget, LimitDecision::Refused);
            metrics.record_escalation(&tenant, Tier::Haiku, Tier::Sonnet, &tool);
        }
        metrics.record_exchange(&ExchangeFacts {
            tools: &tools,
            failed_thrice: &failed_thrice,
            unpriced: true,
            ..facts(&tenant, &model)
        });
    }
    let page = metrics.render();
    assert!(series(&page) <= 20_000, "{}", series(&page));
    assert!(
        page.contains(
            r#"tercet_metric_series_dropped_total{metric="tercet_tenant_limit_utilization_ratio"} 9"#
        )
    );
    assert!(page.contains(r#"tenant="_other""#));
    let dropped = r#"tercet_metric_series_dropped_total{metric="tercet_cost_usd_total"} "#;
    let dropped = page.lines().find_map(|line| line.strip_prefix(dropped)).unwrap();
    assert!(dropped.parse::<u64>().unwrap() > 0);
    assert_eq!(sum_nanos(&page, "tercet_cost_usd_total"), 300_000);
    assert_eq!(sum_nanos(&page, "tercet_baseline_cost_usd_total"), 1_600_000);
}

#[test]
fn a_value_unfit_for_a_label_becomes_other() {
    let metrics = Metrics::new(20_000).unwrap();
    metrics.record_exchange(&facts("line\nbreak", &"m".repeat(129)));
    let page = metrics.render();
    assert!(
        page.contains(
            r#"tercet_cost_usd_total{tenant="_other",model="_other",token_type="input"} 0.000000001"#
        )
    );
}

fn sum_nanos(page: &str, name: &str) -> i64 {
    let sample = |line: &str| {
        let rest = line.strip_prefix(name)?;
        NanoUsd::parse_dollars(rest.rsplit_once(' ')?.1).map(|amount| amount.0)
    };
    page.lines().filter_map(sample).sum()
}

proptest! {
    #[test]
    fn money_is_rendered_to_the_nano_dollar(amounts in prop::collection::vec(0i64..=40_000_000_000_000_007, 1..40)) {
        let metrics = Metrics::new(20_000).unwrap();
        for amount in &amounts {
            let parts = CostParts { output: NanoUsd(amount / 3 * 2), ..CostParts::default() };
            metrics.record_exchange(&ExchangeFacts { cost: NanoUsd(*amount), cost_parts: parts, ..facts("a", "m") });
        }
        prop_assert_eq!(sum_nanos(&metrics.render(), "tercet_cost_usd_total"), amounts.iter().sum::<i64>());
    }

    #[test]
    fn parts_always_sum_to_the_cost(total in -5i64..1 << 40, parts in prop::array::uniform5(-5i64..1 << 40)) {
        let [input, output, cache_read, cache_write_5m, cache_write_1h] = parts.map(NanoUsd);
        let parts = CostParts { input, output, cache_read, cache_write_5m, cache_write_1h };
        let sum: u64 = parts.fitted_to(NanoUsd(total)).iter().sum();
        prop_assert_eq!(sum, u64::try_from(total).unwrap_or(0));
    }
}

#[test]
fn every_name_keeps_to_the_conventions() {
    for row in TABLE {
        let counter = matches!(row.kind, Kind::Counter | Kind::MoneyCounter);
        assert_eq!(row.name.ends_with("_total"), counter, "{}", row.name);
        assert!(row.help.ends_with('.'), "{}", row.name);
        for forbidden in ["user", "key", "session", "path", "prompt"] {
            assert!(!row.labels.contains(&forbidden), "{}", row.name);
        }
        if let Kind::Histogram(bounds) = row.kind {
            assert!(bounds.is_sorted(), "{}", row.name);
        }
    }
}

#[test]
fn every_row_is_announced_with_its_type() {
    let page = Metrics::new(20_000).unwrap().render();
    for row in TABLE {
        assert!(page.contains(&format!("# TYPE {} {}\n", row.name, row.type_name())), "{}", row.name);
    }
    let announced = page.lines().filter(|line| line.starts_with("# TYPE ")).count();
    assert_eq!(announced, TABLE.len());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test may be told to rewrite what it compares")]
fn the_documentation_lists_every_metric() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    if std::env::var("UPDATE").is_ok() {
        std::fs::write(path, markdown()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(written, markdown(), "run `UPDATE=1 cargo test --lib telemetry`");
}

fn exemplified() -> Metrics {
    let metrics = Metrics::new(20_000).unwrap().with_exemplars(true);
    let trace = |first: u8, at: i64| {
        Some(TraceFacts { trace_id: [first; 16], at: Timestamp::from_millisecond(at).unwrap() })
    };
    for (tenant, seconds, trace) in [
        ("acme", 1.5, trace(0xab, 1_000_001)),
        ("acme", 2.5, trace(0xcd, 2_000_500)),
        ("acme", 1_000.0, trace(0xef, 3_000_000)),
        ("beta\"s", 0.01, trace(0x12, 4_000_000)),
        ("gamma", 0.01, None),
    ] {
        let duration = Some(Duration::from_secs_f64(seconds));
        metrics.record_exchange(&ExchangeFacts { duration, trace, ..facts(tenant, "haiku-5") });
    }
    metrics
}

#[test]
fn a_bucket_names_the_last_trace_that_fell_into_it_and_no_other() {
    let page = exemplified().expose(true);
    assert_eq!(page.content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let of = |trace: &str| {
        let lines: Vec<&str> = page.text.lines().filter(|line| line.contains(trace)).collect();
        assert_eq!(lines.len(), 1, "{trace}: {lines:?}");
        lines[0].to_owned()
    };
    // 1.5 s was replaced: 2.5 s lies in the same bucket, whose bound it equals.
    assert!(!page.text.contains(&"ab".repeat(16)));
    let line = of(&"cd".repeat(16));
    assert!(line.contains("tenant=\"acme\"") && line.contains("le=\"2.5\"} 2 # {trace_id="), "{line}");
    assert!(line.ends_with("} 2.5 2000.500"), "{line}");
    assert!(of(&"ef".repeat(16)).contains("le=\"+Inf\"} 3 # "), "beyond the last bound");
    assert!(of(&"12".repeat(16)).contains("tenant=\"beta\\\"s\""), "each at its own series");
    assert_eq!(page.text.matches(" # {").count(), 3);
}

#[test]
fn openmetrics_says_the_same_as_the_text_format() {
    let metrics = exemplified();
    let (text, page) = (metrics.render(), metrics.expose(true).text);
    let samples = |page: &str| {
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.split(" # ").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(samples(&text), samples(&page));
    assert!(page.ends_with("\n# EOF\n") && page.matches("# EOF").count() == 1);
    let mut families: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert_eq!(families.len(), TABLE.len());
    assert!(families.iter().all(|name| !name.ends_with("_total")), "a counter's family has no suffix");
    families.sort_unstable();
    families.dedup();
    assert_eq!(families.len(), TABLE.len(), "names clash without their suffix");
}
