use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Role, Thinking, read};

const CALL: &str =
    r#"{"model":"claude-opus-5-5","max_tokens":16,"messages":[{"role":"user","content":"hi"}]"#;

fn with(fields: &str) -> String {
    format!("{CALL}{fields}}}")
}

fn refusal(body: &str) -> String {
    read(body.as_bytes()).expect_err(body).message
}

#[test]
fn the_fields_that_policies_read_are_found() {
    let body = with(
        r#","stream":true,"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}],
        "tools":[{"name":"get","input_schema":{"type":1,"type":2}},{"type":"web_search_20260318","name":"web_search"}],
        "tool_choice":{"type":"tool","name":"get"},"thinking":{"type":"enabled","budget_tokens":1024},
        "output_config":{"effort":"low","format":{"type":"json_schema"},"task_budget":null},
        "temperature":1.0,"top_k":null,"stop_sequences":["x"],"metadata":{"user_id":"u\u00e9"},
        "service_tier":"auto","speed":"fast","inference_geo":"us","container":{"skills":[]},
        "thread":{"type":"continue","previous_message_id":"msg_1"},"fallbacks":[],"safeguards":{},"diagnostics":null"#,
    );
    let envelope = read(body.as_bytes()).unwrap();
    assert_eq!(envelope.model, "claude-opus-5-5");
    assert_eq!(&body[envelope.model_span.clone()], "\"claude-opus-5-5\"");
    assert_eq!(envelope.max_tokens, Some(16));
    assert!(
        envelope.stream && envelope.stop_sequences && envelope.structured_output && envelope.fallback_list
    );
    assert!(!envelope.task_budget && envelope.history.cache_control && envelope.has_server_tools());
    assert!(envelope.system.unwrap().starts_with(b"[{") && envelope.tools.unwrap().ends_with(b"}]"));
    let tools: Vec<(&str, &str)> = envelope.tool_list.iter().map(|tool| (&*tool.kind, &*tool.name)).collect();
    assert_eq!(tools, [("custom", "get"), ("web_search_20260318", "web_search")]);
    assert_eq!(envelope.tool_choice.unwrap().name.unwrap(), "get");
    let thinking = Thinking { kind: "enabled".into(), display: None, budget_tokens: Some(1024) };
    assert_eq!(envelope.thinking.unwrap(), thinking);
    assert_eq!(envelope.effort.unwrap(), "low");
    assert_eq!((envelope.sampling.temperature, envelope.sampling.top_k), (Some(&b"1.0"[..]), None));
    assert_eq!(envelope.metadata_user.unwrap(), "ué");
    assert_eq!(envelope.container.unwrap(), "");
    assert_eq!(envelope.thread.unwrap().previous_message_id.unwrap(), "msg_1");
    assert_eq!(envelope.other_fields, ["safeguards"]);
    assert_eq!(envelope.history.last_role, Role::User);
}

#[test]
fn the_history_tells_turns_tools_and_payloads() {
    let body = json!({"model": "m", "messages": [
        {"role": "user", "content": [
            {"type": "text", "text": "first"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}},
            {"type": "document", "source": {"type": "url", "url": "https://example.com"}}]},
        {"role": "system", "content": "env", "output_config": {"effort": "low"}},
        {"content": [{"type": "thinking", "thinking": "t", "signature": "s"},
            {"type": "tool_use", "id": "1", "name": "ls", "input": {"type": "x"}},
            {"type": "server_tool_use", "name": "web_search", "input": {}}], "role": "assistant"},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "1", "is_error": true,
             "content": [{"type": "text", "text": "no"},
                         {"type": "image", "source": {"type": "base64", "data": "QQ=="}}]},
            {"type": "tool_result", "tool_use_id": "2", "content": "ok"}]},
    ]})
    .to_string();
    let envelope = read(body.as_bytes()).unwrap();
    let history = &envelope.history;
    assert_eq!(history.spans.len(), 4);
    assert!(history.spans.iter().all(|span| serde_json::from_str::<Value>(&body[span.clone()]).is_ok()));
    assert_eq!((history.assistant_messages, history.system_messages), (1, 1));
    assert_eq!(history.last_assistant, Some(2));
    assert!(history.has_thinking && history.per_message_config && !history.assistant_document);
    assert_eq!(history.first_user_text, [b"first"]);
    assert_eq!(history.last_user_text, [b"first"]);
    assert_eq!(history.last_tool_calls, ["ls"]);
    assert_eq!(history.last_tool_results, [true, false]);
    assert_eq!((history.images, history.documents, history.payload_bytes), (2, 1, 8));
    assert_eq!(history.remote_sources, 1);
    assert_eq!((history.document_bytes, history.remote_documents, history.pictures.len()), (0, 1, 0));
    assert_eq!(history.other_blocks, ["document", "server_tool_use"]);
    assert!(envelope.in_tool_loop() && !envelope.ends_with_assistant() && !envelope.has_server_tools());
}

/// A conversation of rounds; each calls tools by name, and says of each whether it failed.
fn rounds(rounds: &[&[(&str, bool)]]) -> String {
    let mut messages = vec![json!({"role": "user", "content": "go"})];
    for round in rounds {
        let calls: Vec<Value> =
            round.iter().map(|(name, _)| json!({"type": "tool_use", "name": name, "input": {}})).collect();
        let results: Vec<Value> =
            round.iter().map(|(_, failed)| json!({"type": "tool_result", "is_error": failed})).collect();
        messages.push(json!({"role": "assistant", "content": calls}));
        messages.push(json!({"role": "user", "content": results}));
    }
    json!({"model": "m", "messages": messages}).to_string()
}

#[test]
fn a_tool_that_fails_three_times_in_a_row_is_told_once() {
    let (bash, fine, edit) = (("Bash", true), ("Bash", false), ("Edit", true));
    for (played, told) in [
        (&[&[bash][..], &[bash]][..], &[][..]),
        (&[&[bash], &[bash], &[bash]], &["Bash"]),
        (&[&[bash, bash, bash]], &["Bash"]),
        (&[&[bash], &[bash], &[fine], &[bash]], &[]),
        (&[&[bash], &[edit], &[bash], &[edit], &[bash]], &["Bash"]),
        (&[&[bash, edit], &[bash, edit], &[bash, edit]], &["Bash", "Edit"]),
        (&[&[bash], &[bash], &[bash], &[bash]], &[]),
        (&[&[bash], &[bash], &[bash], &[edit]], &[]),
        (&[&[bash], &[bash], &[bash], &[fine], &[bash], &[bash], &[bash]], &["Bash"]),
    ] {
        let body = rounds(played);
        let envelope = read(body.as_bytes()).unwrap();
        assert_eq!(envelope.history.failed_thrice, told, "{played:?}");
    }
}

#[test]
fn a_user_who_speaks_ends_what_the_last_results_told() {
    let mut body: Value = serde_json::from_str(&rounds(&[&[("Bash", true)][..]; 3])).unwrap();
    body["messages"].as_array_mut().unwrap().push(json!({"role": "user", "content": "stop"}));
    let body = body.to_string();
    assert!(read(body.as_bytes()).unwrap().history.failed_thrice.is_empty());
}

#[test]
fn a_wrong_type_is_refused_by_the_name_of_its_field() {
    assert_eq!(refusal(r#"{"max_tokens":1}"#), "model: Field required");
    assert_eq!(refusal("[]"), "the body should be a JSON object");
    for model in ["null", "1", "[]", r#""\ud800""#] {
        assert_eq!(refusal(&format!("{{\"model\":{model}}}")), "model: Input should be a valid string");
    }
    for number in ["16.0", "1e2", "\"16\"", "-1", "-0", "18446744073709551632", "null", "1e400", "true"] {
        let body = format!(r#"{{"model":"m","max_tokens":{number}}}"#);
        assert_eq!(refusal(&body), "max_tokens: Input should be a valid integer");
    }
    for (fields, message) in [
        (r#","stream":"true""#, "stream: Input should be a valid boolean"),
        (r#","stream":1"#, "stream: Input should be a valid boolean"),
        (r#","system":{}"#, "system: Input should be a valid string or list"),
        (r#","system":["x"]"#, "system.0: Input should be a valid dictionary"),
        (r#","tools":{}"#, "tools: Input should be a valid list"),
        (r#","tools":[{"type":1}]"#, "tools.0.type: Input should be a valid string"),
        (r#","tool_choice":"auto""#, "tool_choice: Input should be a valid dictionary"),
        (
            r#","thinking":{"type":"a","budget_tokens":1.5}"#,
            "thinking.budget_tokens: Input should be a valid integer",
        ),
        (r#","temperature":"1""#, "temperature: Input should be a valid number"),
        (r#","container":1"#, "container: Input should be a valid string or dictionary"),
    ] {
        assert_eq!(refusal(&with(fields)), message);
    }
    for (message, refused) in [
        (r#""x""#, "messages.0: Input should be a valid dictionary"),
        (r#"{"role":1}"#, "messages.0.role: Input should be a valid string"),
        (r#"{"content":null}"#, "messages.0.content: Input should be a valid list"),
        (
            r#"{"content":[{"text":1,"type":"text"}]}"#,
            "messages.0.content.0.text: Input should be a valid string",
        ),
        (r#"{"content":[{"type":[]}]}"#, "messages.0.content.0.type: Input should be a valid string"),
        (
            r#"{"content":[{"is_error":1,"type":"tool_result"}]}"#,
            "messages.0.content.0.is_error: Input should be a valid boolean",
        ),
    ] {
        assert_eq!(refusal(&format!(r#"{{"model":"m","messages":[{message}]}}"#)), refused);
    }
}

#[test]
fn a_field_with_two_readings_is_refused() {
    for (fields, name) in [
        (r#","model":"x""#, "model"),
        (r#","max_tokens":16"#, "max_tokens"),
        (r#","stream":true,"stream":true"#, "stream"),
        (r#","thinking":{"type":"a","type":"b"}"#, "thinking.type"),
        (r#","output_config":{"effort":"a","effort":"a"}"#, "output_config.effort"),
        (r#","thread":{"type":"a","type":"a"}"#, "thread.type"),
        (r#","container":{"id":"a","id":"b"}"#, "container.id"),
        (r#","metadata":{"user_id":"a","user_id":"b"}"#, "metadata.user_id"),
        (r#","tools":[{"name":"a","name":"b"}]"#, "tools.0.name"),
    ] {
        assert_eq!(refusal(&with(fields)), format!("{name}: given twice"));
    }
    for (message, name) in [
        (r#"{"role":"user","role":"system"}"#, "role"),
        (r#"{"content":"a","content":"b"}"#, "content"),
        (
            r#"{"content":[{"type":"image","source":{"type":"url","type":"base64"}}]}"#,
            "content.0.source.type",
        ),
    ] {
        let body = format!(r#"{{"model":"m","messages":[{message}]}}"#);
        assert_eq!(refusal(&body), format!("messages.0.{name}: given twice"));
    }
    assert_eq!(refusal(r#"{"\u006dodel":"m"}"#), "model: written with an escape in its name");
    let nested = with(r#","thinking":{"t\u0079pe":"disabled"}"#);
    assert_eq!(refusal(&nested), "thinking.type: written with an escape in its name");
}

#[test]
fn what_is_not_read_passes_repeated_escaped_or_odd() {
    let body = with(
        r#","future":1,"future":2,"\u0066uture2":1e400,"x\ud800":[],"Model":"y","stream":null,"system":null,
        "tools":null,"thinking":null,"fallbacks":"default","messages2":"\ud800""#,
    );
    let envelope = read(body.as_bytes()).unwrap();
    assert_eq!(envelope.other_fields, ["future", "future2", "x\\ud800", "Model", "messages2"]);
    assert!(!envelope.fallback_list && !envelope.stream && envelope.thinking.is_none());
    let block = r#"{"model":"m","messages":[{"role":"user","content":[{"type":"new","name":1,"text":{},"is_error":2}]}]}"#;
    assert_eq!(read(block.as_bytes()).unwrap().history.other_blocks, ["new"]);
    let inside =
        r#"{"model":"m","messages":[{"content":[{"type":"new","name":"\ud800","content":{"type":[1]}}]}]}"#;
    assert!(read(inside.as_bytes()).is_ok());
}

#[test]
fn the_number_of_messages_is_bounded() {
    let body = |count: usize| format!(r#"{{"model":"m","messages":[{}]}}"#, vec!["{}"; count].join(","));
    assert_eq!(read(body(100_000).as_bytes()).unwrap().history.spans.len(), 100_000);
    assert_eq!(refusal(&body(100_001)), "messages: List should have at most 100000 items");
}

fn field() -> impl Strategy<Value = String> {
    let name =
        prop::sample::select(vec!["model", "max_tokens", "stream", "x", "\\u006dodel", "str\\u0065am"]);
    let value = prop::sample::select(vec![
        "\"m\"",
        "\"n\"",
        "1",
        "16",
        "2.0",
        "true",
        "false",
        "null",
        "[]",
        "{\"model\":1}",
    ]);
    (name, value).prop_map(|(name, value)| format!("\"{name}\":{value}"))
}

proptest! {
    #[test]
    fn every_accepted_body_has_one_reading(fields in prop::collection::vec(field(), 0..5)) {
        let body = format!("{{{}}}", fields.join(","));
        if let Ok(envelope) = read(body.as_bytes()) {
            let last: Value = serde_json::from_str(&body).unwrap();
            let reversed: Vec<String> = fields.into_iter().rev().collect();
            let first: Value = serde_json::from_str(&format!("{{{}}}", reversed.join(","))).unwrap();
            for reading in [first, last] {
                prop_assert_eq!(reading["model"].as_str(), Some(&*envelope.model));
                prop_assert_eq!(reading["max_tokens"].as_u64(), envelope.max_tokens);
                prop_assert_eq!(reading["stream"].as_bool().unwrap_or(false), envelope.stream);
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(tail in prop::collection::vec(any::<u8>(), 0..80)) {
        drop(read(&tail));
        drop(read(&[br#"{"model":"m","messages":[{"content":["#, &tail[..]].concat()));
    }
}
