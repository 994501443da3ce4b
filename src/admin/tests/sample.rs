//! A gateway at noon, for the tests.

use super::*;
use crate::config::Mode;

pub(super) fn sources(shown: Overview) -> Sources {
    Sources {
        usage: Box::new(|query| {
            let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
            Ok(
                json!({"tenant": query.tenant, "from": time(query.from), "to": time(query.to), "by": query.by}),
            )
        }),
        metrics: Box::new(|reads_openmetrics| Exposition {
            content_type: if reads_openmetrics { "application/openmetrics-text" } else { "text/plain" },
            text: "tercet_panics_total 0\n".to_owned(),
        }),
        ready: Box::new(|| Ok(())),
        tenants: Box::new(|| json!([])),
        keys: Box::new(|| json!([])),
        explain: Box::new(|wanted| match wanted {
            Explained::Record(id) if id == "unknown" => Err(Problem::NotFound("no such exchange".to_owned())),
            Explained::Record(id) => Ok(json!({"id": id})),
            Explained::Body(body) => Ok(json!({"length": body.len()})),
        }),
        config: Box::new(|| json!({})),
        policy: Box::new(|| "[routing]\n".to_owned()),
        replay: Box::new(|asked| Err(Problem::Invalid(asked.policy))),
        workloads: Box::new(|tenant| json!({"workloads": [{"tenant": tenant}]})),
        forget: Box::new(|who, tenant| Ok(json!({"forgotten": 1, "who": who, "tenant": tenant}))),
        changes: Box::new(|_| Ok(json!({"data": []}))),
        reload: Box::new(|_| Ok(json!({"policy_version": "0123456789ab"}))),
        spend_limits: Box::new(Vec::new),
        members: Box::new(|_| Vec::new()),
        user: Box::new(|user| Err(Problem::NotFound(user))),
        change: Box::new(|_| Err(Problem::Internal("not in this test".to_owned()))),
        care: Box::new(|tenant| json!({ "workloads": [], "asked": tenant })),
        kept: Box::new(|asked| json!({ "asked": asked.tenant })),
        expire: Box::new(|asked| Ok(json!({ "subject": asked.which.key, "applied": !asked.dry_run }))),
        journal_head: Box::new(|| json!({"seq": 1})),
        overview: Box::new(move || shown.clone()),
        session: Box::new(|id| json!({"session": null, "asked": id})),
    }
}

pub(super) fn overview() -> Overview {
    let now: Timestamp = "2026-11-20T14:03:27Z".parse().unwrap();
    Overview {
        now,
        mode: Mode::Enforce,
        ready: Ok(()),
        policy_version: "4be1c09a77d2".to_owned(),
        journal_head: 48_213,
        in_flight: 3,
        today: spending(),
        month: Spending { spent: money("214.09"), ..spending() },
        would_save_today: None,
        prompt_cache_at_stake: money("0.0312"),
        tenants: vec![
            tenant(now, "research", "6.120", "25.00", 820),
            tenant(now, "support-bot", "5.410", "5.00", 800),
            tenant(now, "web", "1.310", "10.00", 800),
            TenantSpending {
                name: "sandbox".to_owned(),
                today: NanoUsd::ZERO,
                month: money("3.2"),
                cache: TenantCache::default(),
                budgets: vec![],
            },
        ],
        recent: recent(now),
        set_up: SetUp {
            base_url: "http://127.0.0.1:8787".to_owned(),
            needs_key: true,
            model: "claude-opus-5-5".to_owned(),
        },
    }
}

fn spending() -> Spending {
    let share = |tier, requests, spent| TierShare { tier, requests, spent: money(spent) };
    Spending {
        requests: 1_204,
        spent: money("12.84"),
        baseline_requested: money("20.95"),
        baseline_all_opus: money("44.02"),
        cache_answered: 217,
        cache_saved: money("1.02"),
        prompt_tokens: 9_000_000,
        prompt_cache_read_tokens: 6_480_000,
        tiers: vec![
            share(Tier::Haiku, 611, "1.0214"),
            share(Tier::Sonnet, 402, "5.33"),
            share(Tier::Opus, 191, "6.49"),
        ],
        measured: Some(Measured {
            held_permille: [968, 941, 983],
            compared: 310,
            costs: ["5.12", "2.90", "4.21"].map(money),
            spent: money("0.61"),
        }),
    }
}

fn tenant(now: Timestamp, name: &str, today: &str, ceiling: &str, warn_at_permille: u16) -> TenantSpending {
    let budget = |window, spent, ceiling, hours: i64| Budget {
        window,
        spent,
        ceiling,
        resets_at: Timestamp::from_second(now.as_second() + hours * 3_600 + 2_193).unwrap(),
        warn_at_permille,
    };
    let (spent, daily) = (money(today), money(ceiling));
    let monthly = NanoUsd(daily.0 * 20);
    TenantSpending {
        name: name.to_owned(),
        today: spent,
        month: NanoUsd(spent.0 * 17),
        cache: TenantCache { hits: 12, joined: 3, misses: 40, saved: money("0.41") },
        budgets: vec![budget("day", spent, daily, 9), budget("month", NanoUsd(spent.0 * 14), monthly, 249)],
    }
}

fn recent(now: Timestamp) -> Vec<RecentExchange> {
    RECENT.lines().enumerate().map(|(index, row)| exchange(now, index, row)).collect()
}

fn exchange(now: Timestamp, index: usize, row: &str) -> RecentExchange {
    let cells: Vec<&str> = row.split_whitespace().collect();
    let &[tenant, user, asked, sent, tier, reasons, tokens, cost, saved, status] = cells.as_slice() else {
        panic!("a row has ten cells: {row}")
    };
    let (prompt_tokens, output_tokens) = tokens.split_once('/').unwrap();
    let negative = saved.starts_with('-');
    let saved = money(saved.trim_start_matches('-'));
    RecentExchange {
        time: Timestamp::from_second(now.as_second() - 7 * i64::try_from(index).unwrap()).unwrap(),
        request_id: format!("tct_{index}"),
        tenant: tenant.to_owned(),
        user: user.trim_matches('.').to_owned(),
        session: if tenant == "research" { "session-1".to_owned() } else { String::new() },
        agent: String::new(),
        asked: asked.to_owned(),
        sent: sent.to_owned(),
        answered: sent.to_owned(),
        tier: tier.parse().unwrap(),
        reasons: reasons.split(',').map(str::to_owned).collect(),
        prompt_tokens: prompt_tokens.parse().unwrap(),
        output_tokens: output_tokens.parse().unwrap(),
        cost: money(cost),
        saved: if negative { NanoUsd(-saved.0) } else { saved },
        status: status.parse().unwrap(),
        from_cache: reasons == "extraction",
    }
}

fn money(text: &str) -> NanoUsd {
    NanoUsd::parse_dollars(text).unwrap()
}

/// Tenant, user, asked, sent, tier, reasons, tokens, cost, saved, status.
const RECENT: &str = "\
research ada claude-opus-5-5 claude-opus-5-5 opus tool_loop,thinking_in_history 84120/1904 0.1377 0 200
research ada claude-opus-5-5 claude-haiku-5-5 haiku title 412/18 0.0005 0.0026 200
support-bot queue-7 claude-sonnet-5-5 claude-haiku-5-5 haiku workload_posterior,quality_kept 3310/240 0.0045 0.009 200
web . tercet-auto claude-sonnet-5-5 sonnet workload_posterior 12004/911 0.0497 0.0331 200
web . claude-sonnet-5-5 claude-haiku-5-5 haiku extraction 2118/96 0 0.0078 200
support-bot queue-2 claude-sonnet-5-5 claude-sonnet-5-5 sonnet budget_spent 1204/0 0 0 429
research grace.hopper@navy.example claude-opus-5-5 claude-sonnet-5-5 sonnet user_turn,cold_cache_paid_back 41872/3377 0.1763 -0.0121 200
research ada claude-opus-5-5 claude-opus-5-5 opus as_asked 1310441/640 0.7114 0 529";
