//! The simulated upstream is as strict as the real API: what each model refuses, how thinking, caching, threads and
//! streams behave, and what a call costs. Expectations are literals of this file, typed in from the documentation.

#[path = "simulated/client.rs"]
mod client;
#[path = "simulated/features.rs"]
mod features;

use std::time::Duration;

use client::start;
use serde_json::{Value, json};

use tercet::simulated::Behaviour;

fn hello(model: &str) -> Value {
    json!({ "model": model, "max_tokens": 1000, "messages": [{ "role": "user", "content": "say hello" }] })
}

fn with(model: &str, field: &str, value: Value) -> Value {
    let mut body = hello(model);
    body[field] = value;
    body
}

const FABLE: &str = "claude-fable-5-2";
const OPUS: &str = "claude-opus-5-5";
const SONNET: &str = "claude-sonnet-5-5";
const HAIKU: &str = "claude-haiku-5-5";

#[tokio::test]
async fn each_model_accepts_and_refuses_what_the_documentation_says() {
    let (_upstream, client) = start().await;
    // Columns: adaptive, enabled, disabled, between_tools, effort xhigh, temperature 0.5, prefill, forced tool choice,
    // system message, task budget.
    let table = [
        (FABLE, "y...y...", "yy"),
        ("claude-mythos-5-2", "y...y...", "yy"),
        ("claude-fable-5-1", "y...y...", "yy"),
        ("claude-fable-5", "y...y..y", "yy"),
        (OPUS, "y...y...", "yy"),
        ("claude-opus-5", "y.y.y..y", "yy"),
        ("claude-opus-4-8", "y.y.y..y", "yy"),
        ("claude-opus-4-7", "y.y.y..y", ".y"),
        ("claude-opus-4-6", "yyy..y.y", ".."),
        ("claude-opus-4-5", ".yy..yyy", ".."),
        (SONNET, "y..yy...", "yy"),
        ("claude-sonnet-5", "y.y.y..y", ".."),
        ("claude-sonnet-4-6", "yyy..y.y", ".."),
        ("claude-sonnet-4-5", ".yy..yyy", ".."),
        (HAIKU, "y.y.y..y", "yy"),
        ("claude-haiku-4-5", ".yy..yyy", ".."),
    ];
    let tool = json!([{ "name": "t", "input_schema": { "type": "object" } }]);
    let user = json!({ "role": "user", "content": "hi" });
    for (model, first, second) in table {
        let mut big = with(model, "thinking", json!({ "type": "enabled", "budget_tokens": 1024 }));
        big["max_tokens"] = json!(4000);
        let mut forced = with(model, "tools", tool.clone());
        forced["tool_choice"] = json!({ "type": "any" });
        let prefill = json!([user, { "role": "assistant", "content": "well" }]);
        let system = json!([user, { "role": "system", "content": "be brief" }]);
        let budget = json!({ "task_budget": { "type": "tokens", "total": 20000 } });
        let bodies = [
            with(model, "thinking", json!({ "type": "adaptive" })),
            big,
            with(model, "thinking", json!({ "type": "disabled" })),
            with(model, "thinking", json!({ "type": "between_tools" })),
            with(model, "output_config", json!({ "effort": "xhigh" })),
            with(model, "temperature", json!(0.5)),
            with(model, "messages", prefill),
            forced,
            with(model, "messages", system),
            with(model, "output_config", budget),
        ];
        let mut found = String::new();
        for body in &bodies {
            let answer =
                client.beta("2023-06-01", "task-budgets-2026-03-13").post("/v1/messages", body).await;
            assert!(matches!(answer.status, 200 | 400), "{model} {body} {}", answer.text());
            found.push(if answer.status == 200 { 'y' } else { '.' });
        }
        assert_eq!(found, format!("{first}{second}"), "{model}");
    }
}

#[tokio::test]
async fn errors_that_clients_match_on_have_the_documented_text() {
    let (_upstream, client) = start().await;
    let cases = [
        (with(OPUS, "foo", json!(1)), "foo: Extra inputs are not permitted"),
        (
            with(OPUS, "thinking", json!({ "type": "enabled", "budget_tokens": 2048 })),
            "\"thinking.type.enabled\" is not supported for this model. Use \"thinking.type.adaptive\" and \"output_config.effort\" to control thinking behavior.",
        ),
        (
            with("claude-haiku-4-5", "thinking", json!({ "type": "adaptive" })),
            "adaptive thinking is not supported on this model",
        ),
        (
            with("claude-haiku-4-5", "output_config", json!({ "effort": "low" })),
            "This model does not support the effort parameter.",
        ),
        (with(SONNET, "temperature", json!(0.2)), "`temperature` is deprecated for this model."),
        (
            with(OPUS, "max_tokens", json!(128_001)),
            "max_tokens: 128001 > 128000, which is the maximum allowed number of output tokens for claude-opus-5-5",
        ),
        (
            with(
                OPUS,
                "messages",
                json!([{ "role": "user", "content": "a" }, { "role": "assistant", "content": "b" }]),
            ),
            "This model does not support assistant message prefill. The conversation must end with a user message.",
        ),
        (with(OPUS, "thread", json!({ "type": "create" })), "thread: Extra inputs are not permitted"),
        (hello("claude-3-5-haiku-20241022"), "model: claude-3-5-haiku-20241022"),
    ];
    for (body, text) in cases {
        let answer = client.post("/v1/messages", &body).await;
        assert_eq!(answer.json()["error"]["message"], text);
        assert_eq!(answer.status, if text.starts_with("model:") { 404 } else { 400 });
        assert_eq!(answer.json()["request_id"], answer.header("request-id"));
    }
    let mut forced = with(OPUS, "tools", json!([{ "name": "t", "input_schema": { "type": "object" } }]));
    forced["tool_choice"] = json!({ "type": "tool", "name": "t" });
    let answer = client.post("/v1/messages", &forced).await;
    let text = "tool_choice: type \"tool\" and \"any\" are not supported for this model.";
    assert_eq!(answer.json()["error"]["message"], text);
    let long = with("claude-haiku-4-5", "system", json!("word ".repeat(200_000)));
    let message = client.post("/v1/messages", &long).await.json()["error"]["message"].to_string();
    assert!(
        message.contains("prompt is too long: 250") && message.contains("tokens > 200000 maximum"),
        "{message}"
    );
}

#[tokio::test]
async fn a_call_needs_a_key_a_version_and_known_betas() {
    let (_upstream, client) = start().await;
    let body = hello(HAIKU);
    assert_eq!(client.raw(&[]).post("/v1/messages", &body).await.status, 401);
    assert_eq!(client.raw(&[("x-api-key", "k")]).post("/v1/messages", &body).await.status, 400);
    let bearer = [("authorization", "Bearer k"), ("anthropic-version", "2026-10-21")];
    assert_eq!(client.raw(&bearer).post("/v1/messages", &body).await.status, 200);
    let answer = client.beta("2023-06-01", "made-up-2026-01-01").post("/v1/messages", &body).await;
    let text = "Unexpected value(s) `made-up-2026-01-01` for the `anthropic-beta` header";
    assert_eq!(answer.json()["error"]["message"], text);
    let sampled = with("claude-haiku-4-5", "temperature", json!(1));
    assert_eq!(client.post("/v1/messages", &sampled).await.status, 200);
    assert_eq!(client.raw(&bearer).post("/v1/messages", &sampled).await.status, 400);
}

#[tokio::test]
async fn thinking_is_read_upwards_lost_downwards_and_bound_to_its_conversation() {
    let (upstream, client) = start().await;
    let content = client.post("/v1/messages", &hello(SONNET)).await.json()["content"].clone();
    assert_eq!(content[0]["type"], "thinking");
    assert_eq!(content[0]["thinking"], "");
    let next = |model: &str, asked: &str, content: &Value| {
        with(
            model,
            "messages",
            json!([{ "role": "user", "content": asked },
            { "role": "assistant", "content": content }, { "role": "user", "content": "go on" }]),
        )
    };
    for (model, reads) in
        [(SONNET, true), (OPUS, true), (FABLE, true), (HAIKU, false), ("claude-opus-5", false)]
    {
        let before = upstream.dropped_thinking().len();
        let answer = client.post("/v1/messages", &next(model, "say hello", &content)).await;
        assert_eq!(answer.status, 200, "{model} {}", answer.text());
        assert_eq!(upstream.dropped_thinking().len() == before, reads, "{model}");
    }
    let changed = client.post("/v1/messages", &next(SONNET, "say hallo", &content)).await;
    let message = changed.json()["error"]["message"].to_string();
    assert!(message.contains("messages.1.content.0: Invalid `signature` in `thinking` block. The block is bound to a different conversation."));
    let mut tampered = content.clone();
    tampered[0]["signature"] = json!("00");
    assert_eq!(client.post("/v1/messages", &next(SONNET, "say hello", &tampered)).await.status, 400);
    let other = client.raw(&[("x-api-key", "other"), ("anthropic-version", "2023-06-01")]);
    assert_eq!(other.post("/v1/messages", &next(SONNET, "say hello", &content)).await.status, 200);
    assert_eq!(upstream.dropped_thinking().last().unwrap().reason, "account");
}

#[tokio::test]
async fn the_prompt_cache_is_written_read_and_forgotten_and_billed_accordingly() {
    let (upstream, client) = start().await;
    let system =
        json!([{ "type": "text", "text": "x".repeat(40_000), "cache_control": { "type": "ephemeral" } }]);
    let body = with("claude-opus-4-6", "system", system);
    let usage = client.post("/v1/messages", &body).await.json()["usage"].clone();
    let written = usage["cache_creation_input_tokens"].as_u64().unwrap();
    assert!(written > 10_000 && usage["cache_read_input_tokens"] == 0);
    assert_eq!(usage["cache_creation"]["ephemeral_5m_input_tokens"], written);
    let again = client.post("/v1/messages", &body).await.json()["usage"].clone();
    assert_eq!(again["cache_read_input_tokens"], written);
    upstream.advance(Duration::from_secs(301));
    let cold = client.post("/v1/messages", &body).await.json()["usage"].clone();
    assert_eq!(cold["cache_creation_input_tokens"], written);
    let bill = upstream.bill();
    let input = usage["input_tokens"].as_u64().unwrap();
    let output = usage["output_tokens"].as_u64().unwrap();
    assert_eq!(bill[0].nanousd, written * 6_250 + input * 5_000 + output * 25_000);
    assert_eq!(bill[1].nanousd, written * 500 + input * 5_000 + output * 25_000);
}

#[tokio::test]
async fn tool_calls_satisfy_their_schema_and_must_be_answered() {
    let (_upstream, client) = start().await;
    let schema = json!({ "type": "object", "required": ["city", "days"],
        "properties": { "city": { "type": "string" }, "days": { "type": "integer", "minimum": 2 } } });
    let mut body = with(OPUS, "tools", json!([{ "name": "get_weather", "input_schema": schema }]));
    body["messages"] = json!([{ "role": "user", "content": "What is the weather in Bern?" }]);
    let answer = client.post("/v1/messages", &body).await.json();
    assert_eq!(answer["stop_reason"], "tool_use");
    let call = answer["content"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(call["input"]["days"], 2);
    let mut follow = |last: Value| {
        body["messages"] = json!([{ "role": "user", "content": "What is the weather in Bern?" },
            { "role": "assistant", "content": answer["content"] }, { "role": "user", "content": last }]);
        body.clone()
    };
    let unanswered = follow(json!("never mind"));
    assert_eq!(client.post("/v1/messages", &unanswered).await.status, 400);
    let foreign = follow(json!([{ "type": "tool_result", "tool_use_id": "toolu_x", "content": "rain" }]));
    assert_eq!(client.post("/v1/messages", &foreign).await.status, 400);
    let answered = follow(json!([{ "type": "tool_result", "tool_use_id": call["id"], "content": "rain" }]));
    assert_eq!(client.post("/v1/messages", &answered).await.json()["stop_reason"], "end_turn");
}

#[tokio::test]
async fn a_thread_is_continued_once_and_only_as_it_was_begun() {
    let (_upstream, client) = start().await;
    let client = client.beta("2026-10-21", "message-threads-2026-08-12");
    let created =
        client.post("/v1/messages", &with(OPUS, "thread", json!({ "type": "create" }))).await.json();
    let next = |model: &str, id: &Value| {
        with(model, "thread", json!({ "type": "continue", "previous_message_id": id }))
    };
    let code = |answer: Value| answer["error"]["details"]["error_code"].clone();
    let other = client.post("/v1/messages", &next(HAIKU, &created["id"])).await;
    assert_eq!((other.status, code(other.json())), (400, json!("thread_fingerprint_mismatch")));
    let unknown = client.post("/v1/messages", &next(OPUS, &json!("msg_x"))).await;
    assert_eq!((unknown.status, code(unknown.json())), (404, json!("thread_not_found")));
    let turn = client.post("/v1/messages", &next(OPUS, &created["id"])).await;
    assert_eq!(turn.status, 200);
    assert!(turn.json()["usage"]["input_tokens"].as_u64() > created["usage"]["input_tokens"].as_u64());
    let twice = client.post("/v1/messages", &next(OPUS, &created["id"])).await;
    assert_eq!(code(twice.json()), "thread_already_continued");
}

#[tokio::test]
async fn a_stream_says_what_the_whole_answer_says() {
    let (upstream, client) = start().await;
    let mut body = hello(OPUS);
    let whole = client.post("/v1/messages", &body).await.json();
    body["stream"] = json!(true);
    let answer = client.post("/v1/messages", &body).await;
    let names: Vec<String> = answer.events().into_iter().map(|(name, _)| name).collect();
    let expected = "message_start ping content_block_start content_block_delta content_block_stop \
                    content_block_start content_block_delta content_block_stop message_delta message_stop";
    assert_eq!(names.join(" "), expected);
    let delta = answer.events().into_iter().find(|(name, _)| name == "message_delta").unwrap().1;
    assert_eq!(delta["usage"]["output_tokens"], whole["usage"]["output_tokens"]);
    let bill = upstream.bill();
    assert_eq!(bill[0].nanousd, bill[1].nanousd);
}

#[tokio::test]
async fn scripted_faults_happen_once_in_order() {
    let (upstream, client) = start().await;
    let mut body = hello(HAIKU);
    body["stream"] = json!(true);
    upstream.script(Behaviour::Status {
        status: 529,
        error_type: "overloaded_error".into(),
        message: "Overloaded".into(),
        code: None,
        headers: [("retry-after".to_owned(), "3".to_owned())].into(),
    });
    upstream.script(Behaviour::CutAfter { events: Some(4), bytes: None });
    upstream.script(Behaviour::Reset { after_bytes: 100 });
    upstream.script(Behaviour::CloseBeforeAnswer);
    upstream.script(Behaviour::DuplicateContentLength);
    upstream.script(Behaviour::OddChunks { sizes: vec![1] });
    let overloaded = client.post("/v1/messages", &body).await;
    assert_eq!((overloaded.status, overloaded.header("retry-after").as_str()), (529, "3"));
    let cut = client.exchange("/v1/messages", &body).await;
    assert_eq!(cut.matches("event: ").count(), 4);
    assert!(!cut.ends_with("0\r\n\r\n"), "a cut must not look like an end");
    let reset = client.exchange("/v1/messages", &body).await;
    assert!(!reset.contains("message_stop"));
    assert_eq!(client.exchange("/v1/messages", &body).await, "");
    assert_eq!(client.exchange("/v1/messages", &body).await.matches("content-length").count(), 2);
    let odd = client.post("/v1/messages", &body).await;
    assert_eq!(odd.events().last().unwrap().0, "message_stop");
    let complete: Vec<bool> = upstream.bill().iter().map(|call| call.complete).collect();
    assert_eq!(complete.iter().filter(|complete| !**complete).count(), 2, "{complete:?}");
    assert_eq!(upstream.requests().len(), 6);
}

#[tokio::test]
async fn batches_bill_half_and_report_each_item() {
    let (upstream, client) = start().await;
    let requests = json!({ "requests": [{ "custom_id": "a", "params": hello(HAIKU) }, { "custom_id": "b", "params": hello("x") }] });
    upstream.script(Behaviour::BatchDelay { ms: 5_000 });
    let batch = client.post("/v1/messages/batches", &requests).await.json();
    assert_eq!(batch["processing_status"], "in_progress");
    upstream.advance(Duration::from_secs(6));
    let path = format!("/v1/messages/batches/{}", batch["id"].as_str().unwrap());
    let ended = client.get(&path).await.json();
    assert_eq!(ended["results_url"], format!("{}{path}/results", upstream.url()));
    assert_eq!(ended["request_counts"]["errored"], 1);
    assert_eq!(client.get(&format!("{path}/results")).await.text().lines().count(), 2);
    let call = upstream.bill()[0].clone();
    assert_eq!(call.nanousd, (call.tokens.input_tokens * 100 + call.tokens.output_tokens * 500).div_ceil(2));
    let stranger = client.raw(&[("x-api-key", "other"), ("anthropic-version", "2023-06-01")]);
    assert_eq!(stranger.get(&path).await.status, 404);
}
