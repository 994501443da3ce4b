//! Strictness around features that only some models have, the wire, and the whole price table.

use std::io::Read;

use serde_json::{Value, json};
use tercet::simulated::Behaviour;

use super::client::start;
use super::{FABLE, HAIKU, OPUS, SONNET, hello, with};

const BETAS: &str = "computer-use-2025-11-24,server-side-fallback-2026-07-01,advisor-tool-2026-03-01,\
                     fast-mode-2026-02-01,per-turn-control-2026-07-01,compact-2026-09-04";

#[tokio::test]
async fn tools_fallbacks_and_speed_are_refused_by_the_models_that_lack_them() {
    let (_upstream, client) = start().await;
    let client = client.beta("2023-06-01", BETAS);
    let tool = |kind: &str| json!([{ "type": kind, "name": "computer", "display_width_px": 1, "display_height_px": 1 }]);
    let toolset = |kind: &str| json!([{ "type": kind }]);
    let advisor = |model: &str| json!([{ "type": "advisor_20260301", "name": "advisor", "model": model }]);
    let fallback = |model: &str| json!([{ "model": model }]);
    let cases = [
        (OPUS, "tools", tool("computer_20251124"), 400),
        (OPUS, "tools", toolset("computer_toolset_20260801"), 200),
        ("claude-opus-5", "tools", tool("computer_20251124"), 200),
        ("claude-opus-4-7", "tools", toolset("computer_toolset_20260801"), 400),
        ("claude-haiku-4-5", "tools", tool("computer_20250124"), 200),
        ("claude-haiku-4-5", "tools", toolset("browser_toolset_20260801"), 400),
        (HAIKU, "tools", toolset("browser_toolset_20260801"), 200),
        (SONNET, "tools", advisor("claude-opus-5"), 200),
        (SONNET, "tools", advisor("claude-opus-4-8"), 400),
        (FABLE, "tools", advisor("claude-opus-5-5"), 400),
        (FABLE, "tools", advisor("claude-mythos-5-2"), 200),
        (OPUS, "fallbacks", fallback("claude-opus-4-8"), 200),
        (OPUS, "fallbacks", fallback("claude-sonnet-5"), 400),
        (SONNET, "fallbacks", fallback("claude-sonnet-5"), 200),
        (HAIKU, "fallbacks", fallback("claude-haiku-4-5"), 400),
        (HAIKU, "fallbacks", json!("default"), 200),
        (OPUS, "speed", json!("fast"), 200),
        ("claude-opus-4-8", "speed", json!("fast"), 200),
        (HAIKU, "speed", json!("fast"), 400),
        ("claude-haiku-4-5", "compaction", json!({ "type": "summarize" }), 400),
        (HAIKU, "compaction", json!({ "type": "summarize" }), 200),
        (HAIKU, "service_tier", json!("priority"), 400),
        (HAIKU, "thinking", json!({ "type": "adaptive", "display": "updates" }), 400),
        (HAIKU, "thinking", json!({ "type": "between_tools" }), 400),
    ];
    for (model, field, value, status) in cases {
        let answer = client.post("/v1/messages", &with(model, field, value.clone())).await;
        assert_eq!(answer.status, status, "{model} {field} {value} {}", answer.text());
    }
}

#[tokio::test]
async fn per_message_effort_needs_a_model_that_has_it_with_thinking_on() {
    let (_upstream, client) = start().await;
    let client = client.beta("2023-06-01", BETAS);
    for (model, thinking, status) in [
        (OPUS, "adaptive", 200),
        (HAIKU, "adaptive", 200),
        (HAIKU, "disabled", 400),
        ("claude-opus-4-8", "adaptive", 400),
    ] {
        let mut body = with(model, "thinking", json!({ "type": thinking }));
        body["messages"] = json!([{ "role": "user", "content": "hi" },
            { "role": "system", "content": "place", "output_config": { "effort": "low" } }]);
        assert_eq!(client.post("/v1/messages", &body).await.status, status, "{model} {thinking}");
    }
}

#[tokio::test]
async fn small_limits_stops_and_schemas_shape_the_answer() {
    let (_upstream, client) = start().await;
    let mut tiny = hello(HAIKU);
    tiny["max_tokens"] = json!(50);
    let answer = client.post("/v1/messages", &tiny).await.json();
    assert_eq!((&answer["stop_reason"], &answer["content"]), (&json!("max_tokens"), &json!([])));
    let answer = client.post("/v1/messages", &with("claude-haiku-4-5", "max_tokens", json!(0))).await.json();
    assert_eq!(answer["usage"]["output_tokens"], 0);
    let stopped =
        client.post("/v1/messages", &with("claude-haiku-4-5", "stop_sequences", json!(["ll"]))).await.json();
    assert_eq!((&stopped["stop_sequence"], &stopped["content"][0]["text"]), (&json!("ll"), &json!("he")));
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"] });
    let format = json!({ "format": { "type": "json_schema", "schema": schema } });
    let answer = client.post("/v1/messages", &with("claude-opus-4-6", "output_config", format)).await.json();
    let parsed: Value = serde_json::from_str(answer["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(parsed, json!({ "n": 1 }));
}

#[tokio::test]
async fn a_refusal_falls_back_and_both_calls_are_billed() {
    let (upstream, client) = start().await;
    let client = client.beta("2023-06-01", BETAS);
    upstream.script(Behaviour::Refusal { category: Some("cyber".into()) });
    let body = with(OPUS, "fallbacks", json!([{ "model": "claude-opus-5" }]));
    let answer = client.post("/v1/messages", &body).await.json();
    assert_eq!(answer["model"], "claude-opus-5");
    assert_eq!(answer["content"][0]["type"], "fallback");
    let models: Vec<String> = upstream.bill().into_iter().map(|call| call.model).collect();
    assert_eq!(models, ["claude-opus-5-5", "claude-opus-5"]);
    assert_eq!(answer["usage"]["iterations"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn every_price_is_the_listed_one() {
    let (upstream, client) = start().await;
    let prices = [
        (FABLE, 8_000, 40_000),
        ("claude-mythos-5-1", 10_000, 50_000),
        ("claude-fable-5", 10_000, 50_000),
        (OPUS, 4_000, 20_000),
        ("claude-opus-5", 5_000, 25_000),
        ("claude-opus-4-5", 5_000, 25_000),
        (SONNET, 2_000, 10_000),
        ("claude-sonnet-5", 2_000, 10_000),
        ("claude-sonnet-4-6", 3_000, 15_000),
        (HAIKU, 100, 500),
        ("claude-haiku-4-5", 1_000, 5_000),
    ];
    for (model, input, output) in prices {
        client.post("/v1/messages", &hello(model)).await.json();
        let call = upstream.bill().last().unwrap().clone();
        assert_eq!(
            call.nanousd,
            call.tokens.input_tokens * input + call.tokens.output_tokens * output,
            "{model}"
        );
    }
    let long = with(HAIKU, "system", json!("x".repeat(320_000)));
    client.post("/v1/messages", &long).await.json();
    let call = upstream.bill().last().unwrap().clone();
    assert!(call.tokens.input_tokens > 100_000);
    assert_eq!(call.nanousd, call.tokens.input_tokens * 500 + call.tokens.output_tokens * 2_500);
    client.post("/v1/messages", &with(OPUS, "inference_geo", json!("us"))).await.json();
    let call = upstream.bill().last().unwrap().clone();
    let list = call.tokens.input_tokens * 4_000 + call.tokens.output_tokens * 20_000;
    assert_eq!(call.nanousd, (list * 11).div_ceil(10));
}

#[tokio::test]
async fn answers_are_compressed_only_for_those_who_accept_it() {
    let (_upstream, client) = start().await;
    let zipped =
        client.raw(&[("x-api-key", "k"), ("anthropic-version", "2023-06-01"), ("accept-encoding", "gzip")]);
    let answer = zipped.post("/v1/messages", &hello(HAIKU)).await;
    assert_eq!(answer.header("content-encoding"), "gzip");
    let mut text = String::new();
    flate2::read::GzDecoder::new(answer.bytes()).read_to_string(&mut text).unwrap();
    assert!(text.contains("hello"));
    assert_eq!(client.post("/v1/messages", &hello(HAIKU)).await.header("content-encoding"), "");
}

#[tokio::test]
async fn who_goes_away_early_pays_for_what_was_made_until_then() {
    let (upstream, client) = start().await;
    let mut body = with("claude-haiku-4-5", "stream", json!(true));
    upstream.script(Behaviour::Pause { after_events: 4, ms: 3_600_000 });
    client.leave_after("/v1/messages", &body, "content_block_delta").await;
    let call = loop {
        match upstream.bill().first() {
            Some(call) => break call.clone(),
            None => tokio::task::yield_now().await,
        }
    };
    assert!(!call.complete);
    body["stream"] = json!(false);
    let whole = client.post("/v1/messages", &body).await.json();
    assert!(call.tokens.output_tokens < whole["usage"]["output_tokens"].as_u64().unwrap());
    assert_eq!(call.tokens.input_tokens, whole["usage"]["input_tokens"].as_u64().unwrap());
}

#[tokio::test]
async fn http_2_by_prior_knowledge_is_spoken_too() {
    let (upstream, client) = start().await;
    assert_eq!(client.http2().post("/v1/messages", &hello(HAIKU)).await.status, 200);
    assert_eq!(upstream.requests()[0].http, "HTTP/2.0");
}

#[tokio::test]
async fn the_control_surface_scripts_and_reports() {
    let (_upstream, client) = start().await;
    let script = json!([{ "kind": "say", "text": "scripted" },
        { "kind": "status", "status": 500, "error_type": "api_error", "message": "no", "path": "/v1/files" }]);
    assert_eq!(client.post("/_simulated/script", &script).await.json()["waiting"], 2);
    assert_eq!(
        client.post("/v1/messages", &hello("claude-haiku-4-5")).await.json()["content"][0]["text"],
        "scripted"
    );
    assert_eq!(client.get("/v1/files").await.status, 500);
    assert_eq!(client.get("/_simulated/requests").await.json().as_array().unwrap().len(), 2);
    assert_eq!(client.get("/_simulated/bill").await.json()[0]["model"], "claude-haiku-4-5-20251001");
    assert_eq!(client.post("/_simulated/script", &json!({ "kind": "nonsense" })).await.status, 400);
    let echoed = client.get("/v1/sessions/s_1?x=1").await.json();
    assert_eq!(echoed["path"], "/v1/sessions/s_1");
}
