//! The operator's side: health, metrics, reports, explanations and a page that nobody can write scripts into.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use std::io::Write;
use std::process::{Command, Stdio};

use http::Method;
use serde_json::{Value, json};
use support::http::{Answer, ask, message, send};
use support::{ACME, House, RIVAL, TENANTS};
use tercet::simulated::Behaviour;

async fn admin(house: &House, path: &str, headers: &[(&str, &str)]) -> Answer {
    send(Method::GET, &format!("{}{path}", house.admin_url), headers, "").await
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.to_vec()).unwrap()
}

fn assert_promtool_accepts(answer: &Answer) {
    let checker = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut checker) = checker else {
        panic!("promtool is missing: install the Debian package `prometheus` (apt-get install prometheus)");
    };
    checker.stdin.take().unwrap().write_all(&answer.body).unwrap();
    let checked = checker.wait_with_output().unwrap();
    assert!(checked.status.success(), "{}\n{}", String::from_utf8_lossy(&checked.stderr), text(answer));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_open_and_everything_else_needs_the_token() {
    let with = format!("[admin]\nlisten = \"127.0.0.1:0\"\ntoken = {{ env = \"ADMIN_TOKEN\" }}\n{TENANTS}");
    let house = House::start(&with).await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(admin(&house, path, &[]).await.status, 200, "{path}");
    }
    let paths = [
        "/",
        "/metrics",
        "/admin/v1/usage",
        "/admin/v1/tenants",
        "/admin/v1/keys",
        "/admin/v1/config",
        "/admin/v1/journal/head",
    ];
    for path in paths {
        assert_eq!(admin(&house, path, &[]).await.status, 401, "{path}");
        let right = [("authorization", "Bearer admin-token-of-the-tests")];
        let answer = admin(&house, path, &right).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(!text(&answer).contains(ACME) && !text(&answer).contains(support::UPSTREAM_KEY), "{path}");
    }
    let wrong = [("authorization", "Bearer admin-token-of-the-texts")];
    assert_eq!(admin(&house, "/admin/v1/usage", &wrong).await.status, 401);
    let reload = send(Method::POST, &format!("{}/admin/v1/reload", house.admin_url), &[], "").await;
    assert_eq!(reload.status, 401);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_a_foreign_name_for_this_machine_is_refused() {
    let house = House::start(TENANTS).await;
    assert_eq!(admin(&house, "/admin/v1/usage", &[]).await.status, 200);
    assert_eq!(admin(&house, "/admin/v1/usage", &[("host", "evil.example")]).await.status, 403);
    assert_eq!(admin(&house, "/healthz", &[("host", "evil.example")]).await.status, 200);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_what_prometheus_reads() {
    let house = House::start(&format!("{TENANTS}\n[tenants.acme.budget]\ndaily = \"1.00 USD\"\n")).await;
    let streamed =
        ask("claude-opus-5-5", "say hi").replace("\"max_tokens\"", "\"stream\":true,\"max_tokens\"");
    for body in [ask("claude-opus-5-5", "say hi"), streamed, "{}".to_owned()] {
        message(&house.url, ACME, body).await;
    }
    message(&house.url, "nobody", ask("claude-opus-5-5", "say hi")).await;
    let answer = admin(&house, "/metrics", &[]).await;
    assert!(answer.header("content-type").starts_with("text/plain"));
    assert_promtool_accepts(&answer);
    let text = text(&answer);
    for name in [
        "tercet_cost_usd_total{",
        "tercet_tenant_budget_usd{",
        "tercet_audit_head_sequence",
        "tercet_panics_total 0",
    ] {
        assert!(text.contains(name), "{name}");
    }
    assert!(!text.contains("ann") && !text.contains("acme-1"), "no user, no key in labels");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_has_its_fixed_shape_and_filters_strictly() {
    let house = House::start(TENANTS).await;
    for key in [ACME, ACME, RIVAL] {
        assert_eq!(message(&house.url, key, ask("claude-opus-5-5", "say hi")).await.status, 200);
    }
    let all = admin(&house, "/admin/v1/usage?by=tenant,user", &[]).await.json();
    let fields = [
        "requests",
        "input_tokens",
        "output_tokens",
        "cache_read_tokens",
        "cache_write_5m_tokens",
        "cache_write_1h_tokens",
        "cost_nanousd",
        "cost_usd",
        "baseline_requested_nanousd",
        "baseline_all_opus_nanousd",
    ];
    let rows = all["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    for sums in rows.iter().chain([&all["totals"]]) {
        for field in fields {
            assert!(!sums[field].is_null(), "{field}: {sums}");
        }
        let cost = support::read::nanos(sums["cost_usd"].as_str().unwrap());
        assert_eq!(sums["cost_nanousd"], cost);
    }
    assert_eq!(rows[0]["key"], json!({ "tenant": "acme", "user": "ann" }));
    assert_eq!((&rows[0]["requests"], &rows[1]["requests"]), (&2.into(), &1.into()));
    let totals = async |query: &str| {
        admin(&house, &format!("/admin/v1/usage?{query}"), &[]).await.json()["totals"]["requests"].clone()
    };
    assert_eq!(totals("tenant=rival").await, 1);
    assert_eq!(totals("user=ann").await, 2);
    assert_eq!(totals("user=nobody").await, 0);
    assert_eq!(totals("from=2026-01-01&to=2026-01-02").await, 0);
    for wrong in ["tenants=acme", "by=colour", "from=yesterday"] {
        let answer = admin(&house, &format!("/admin/v1/usage?{wrong}"), &[]).await;
        assert_eq!(answer.status, 400, "{wrong}");
        assert!(answer.json()["error"]["message"].is_string(), "{wrong}");
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_is_explained_as_it_was_journaled() {
    let house = House::start(TENANTS).await;
    let title = json!({ "model": "claude-opus-5-5", "max_tokens": 32,
        "system": "Summarize this conversation in a title of at most six words. Answer with the title only.",
        "messages": [{ "role": "user", "content": "Write a title for a conversation about: sorting" }] });
    let answer = message(&house.url, ACME, title.to_string()).await;
    let id = answer.header("x-tercet-request-id").to_owned();
    let record = house.records().remove(0);
    let explained = admin(&house, &format!("/admin/v1/explain?request_id={id}"), &[]).await.json();
    assert_eq!(explained["decision"]["reasons"], record["decision"]["reasons"]);
    let headers = [("content-type", "application/json")];
    let url = format!("{}/admin/v1/explain", house.admin_url);
    let body = send(Method::POST, &url, &headers, title.to_string()).await.json();
    for field in ["asked", "candidates", "decision", "policy_version"] {
        assert!(!body[field].is_null(), "{field}: {body}");
    }
    for field in ["tier", "model", "reasons"] {
        assert_eq!(body["decision"][field], record["decision"][field], "{field}");
    }
    assert_eq!(body["decision"]["adaptations"], json!([]));
    assert_eq!(body["candidates"].as_array().unwrap().len(), 3);
    assert_eq!(house.upstream.bill().len(), 1, "explaining sends nothing");
    assert_eq!(admin(&house, "/admin/v1/explain?request_id=tct_nowhere", &[]).await.status, 404);
    assert_eq!(send(Method::POST, &url, &headers, "{").await.status, 400);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journals_head_is_the_last_record() {
    let house = House::start(TENANTS).await;
    message(&house.url, ACME, ask("claude-opus-5-5", "say hi")).await;
    let head = admin(&house, "/admin/v1/journal/head", &[]).await.json();
    let record: Value = house.records().remove(0);
    assert_eq!(head["exchanges"]["seq"], record["seq"]);
    assert_eq!(head["exchanges"]["hash"], record["hash"]);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_on_the_dashboard_are_text_whatever_they_say() {
    let hostile = "<img src=x onerror=alert(1)>";
    let script = "<script>alert(1)</script>";
    let config = TENANTS
        .replacen(
            "user = \"ann\"",
            "user = \"ann\"
allow_user_header = true",
            1,
        )
        .replace("tenants.rival.", r#"tenants."<b>\"bold\"</b>"."#);
    let house = House::start(&config).await;
    assert_eq!(message(&house.url, RIVAL, ask("claude-opus-5-5", "say hi")).await.status, 200);
    let tool = Behaviour::CallTool { name: script.to_owned(), input: json!({}) };
    house.upstream.script(tool);
    let headers = [("x-api-key", ACME), ("anthropic-version", "2023-06-01"), ("x-tercet-user", hostile)];
    let url = format!("{}/v1/messages", house.url);
    assert_eq!(send(Method::POST, &url, &headers, ask("claude-opus-5-5", "say hi")).await.status, 200);
    let refused = send(Method::POST, &url, &headers, ask(script, "say hi")).await;
    assert!(refused.status >= 400);
    let records = house.records_when(3).await;
    assert_eq!((&records[1]["user_id"], &records[2]["requested_model"]), (&hostile.into(), &script.into()));
    let page = admin(&house, "/", &[]).await;
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(!page.header("content-security-policy").is_empty());
    let page = text(&page);
    assert!(
        !page.contains("<img src=x")
            && !page.contains("<script>alert")
            && !page.contains("<b>&quot;bold")
            && !page.contains("<b>\""),
        "{page}"
    );
    assert!(
        page.contains("&lt;img src=x onerror=alert(1)&gt;")
            && page.contains("&lt;script&gt;")
            && page.contains("&lt;b&gt;"),
        "{page}"
    );
    assert_promtool_accepts(&admin(&house, "/metrics", &[]).await);
    house.stop().await;
}
