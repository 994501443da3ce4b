//! Exemplars, as a real Prometheus keeps them: of each bucket of a duration the trace that fell into it last.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]
#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod support;

use http::Method;
use serde_json::json;
use support::configuration;
use support::http::{get, send};
use support::process::Process;
use support::prometheus::Prometheus;
use tempfile::TempDir;
use tercet::simulated::{Options, Upstream};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const UNSAMPLED: &str = "1bf7651916cd43dd8448eb211c80319c";

async fn ask(gateway: &Process, traceparent: Option<String>) {
    let body = json!({"model": "claude-opus-5-5", "max_tokens": 20, "messages": [{"role": "user", "content": "Why?"}]});
    let mut headers = vec![
        ("content-type", "application/json"),
        ("x-api-key", "sk-of-the-caller"),
        ("anthropic-version", "2023-06-01"),
    ];
    headers.extend(traceparent.as_deref().map(|text| ("traceparent", text)));
    let url = format!("{}/v1/messages", gateway.url);
    let answer = send(Method::POST, &url, &headers, body.to_string()).await;
    assert_eq!(answer.status, 200);
}

async fn start(exemplars: bool) -> (Upstream, TempDir, Process) {
    let upstream = Upstream::start(Options::default()).await.unwrap();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("tercet.toml");
    let more = format!("\n[telemetry]\nexemplars = {exemplars}\n");
    std::fs::write(&file, configuration(upstream.url(), folder.path(), &more)).unwrap();
    let gateway = Process::start(&file).await;
    (upstream, folder, gateway)
}

#[tokio::test]
async fn prometheus_leads_from_a_slow_bucket_to_the_trace() {
    let (_upstream, _folder, gateway) = start(true).await;
    ask(&gateway, Some(format!("00-{UNSAMPLED}-b7ad6b7169203331-00"))).await;
    ask(&gateway, None).await;
    ask(&gateway, Some(format!("00-{TRACE}-b7ad6b7169203331-01"))).await;
    let prometheus = Prometheus::start(&gateway.admin_url).await;
    prometheus
        .when("sum(tercet_request_duration_seconds_count)", |told| told.values().sum::<f64>() == 3.0)
        .await;
    // What has no exemplars reads as ever.
    prometheus.when("sum(tercet_requests_total)", |told| told.values().sum::<f64>() == 3.0).await;
    let kept = prometheus.exemplars("tercet_request_duration_seconds_bucket").await;
    let traces: Vec<&str> = kept.iter().map(|one| one["labels"]["trace_id"].as_str().unwrap()).collect();
    assert_eq!(traces, [TRACE], "one for the client's trace, none for what is not sampled or in no trace");
    assert_eq!(kept[0]["labels"].as_object().unwrap().len(), 1);
    let seconds: f64 = kept[0]["value"].as_str().unwrap().parse().unwrap();
    assert!((0.0..60.0).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn without_the_switch_metrics_stay_as_they_are() {
    let (_upstream, _folder, gateway) = start(false).await;
    ask(&gateway, Some(format!("00-{TRACE}-b7ad6b7169203331-01"))).await;
    let page = get(&gateway.admin_url, "", "/metrics").await;
    assert_eq!(page.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(!text.contains("trace_id") && !text.contains(TRACE));
}
