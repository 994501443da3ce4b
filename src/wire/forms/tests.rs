use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn text() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "",
        "words",
        "\"quoted\" and \\ \n\n",
        "event: message_stop\n\ndata: {}",
        "漢字 😀 \u{2028}\u{0}",
        "{\"a\":[1,",
    ])
    .prop_map(str::to_owned)
}

fn block() -> impl Strategy<Value = Value> {
    let citation = json!({"type": "char_location", "cited_text": "a\nb", "start_char_index": 0});
    let citations =
        prop::sample::select(vec![Value::Null, json!([citation.clone()]), json!([citation, {"type": "x"}])]);
    let input = prop::sample::select(vec![
        json!({}),
        json!({"city": "Paris", "n": [1, 2.5, -0.1, null, {"deep": {"\"k\"": "\u{e9}"}}]}),
        json!({"text": "line\nline\\"}),
    ]);
    prop_oneof![
        (text(), citations)
            .prop_map(|(text, cited)| json!({"type": "text", "text": text, "citations": cited})),
        text().prop_map(|text| json!({"type": "text", "text": text})),
        (text(), "[a-zA-Z0-9+/=]{0,40}").prop_map(
            |(text, signature)| json!({"type": "thinking", "thinking": text, "signature": signature})
        ),
        text().prop_map(|data| json!({"type": "redacted_thinking", "data": data})),
        input.prop_map(
            |input| json!({"type": "tool_use", "id": "toolu_1", "name": "weather", "input": input})
        ),
        text().prop_map(|text| json!({"type": "tomorrow", "holds": {"text": text}})),
    ]
}

fn message() -> impl Strategy<Value = Value> {
    let stop = prop::sample::select(vec!["end_turn", "tool_use", "stop_sequence", "max_tokens"]);
    (prop::collection::vec(block(), 0..5), stop, any::<u32>(), any::<bool>()).prop_map(
        |(content, stop, tokens, late)| {
            let mut message = json!({
                "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-5-5",
                "content": content, "stop_reason": stop, "stop_sequence": null, "stop_details": null, "container": null,
                "usage": {
                    "input_tokens": 3, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 0,
                    "cache_creation": {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 0},
                    "output_tokens": tokens, "output_tokens_details": {"thinking_tokens": 2},
                    "server_tool_use": null, "service_tier": "standard",
                },
            });
            if late {
                message["context_management"] = json!({"applied_edits": []});
            }
            message
        },
    )
}

fn built(events: &[u8]) -> Option<Value> {
    message_of_events(events).map(|message| serde_json::from_slice(&message).unwrap())
}

proptest! {
    #[test]
    fn the_events_of_a_message_build_it_again(message in message()) {
        let events = events_of_message(message.to_string().as_bytes()).unwrap();
        prop_assert_eq!(built(&events), Some(message));
    }

    #[test]
    fn a_stream_cut_anywhere_has_no_other_form(message in message(), cut in any::<prop::sample::Index>()) {
        let events = events_of_message(message.to_string().as_bytes()).unwrap();
        let cut = cut.index(events.len() - 1);
        prop_assert_eq!(built(&events[..cut]), None);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(message_of_events(&bytes));
        drop(events_of_message(&bytes));
    }
}

/// A stream as the API writes it, in pieces.
fn stream(deltas: &[(&str, Value)]) -> Vec<u8> {
    let mut events = vec![(
        "message_start",
        json!({"type": "message_start", "message": {
            "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
            "stop_reason": null, "stop_sequence": null,
            "usage": {"input_tokens": 9, "output_tokens": 1, "cache_creation": {"ephemeral_5m_input_tokens": 4}},
        }}),
    )];
    events.extend(deltas.iter().cloned());
    events.push((
        "message_delta",
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
            "usage": {"output_tokens": 17, "input_tokens": null}}),
    ));
    events.push(("message_stop", json!({"type": "message_stop"})));
    events
        .iter()
        .map(|(name, data)| format!("event: {name}\ndata: {data}\n\n"))
        .collect::<String>()
        .into_bytes()
}

fn start(index: usize, block: &Value) -> (&'static str, Value) {
    ("content_block_start", json!({"type": "content_block_start", "index": index, "content_block": block}))
}

fn delta(index: usize, delta: &Value) -> (&'static str, Value) {
    ("content_block_delta", json!({"type": "content_block_delta", "index": index, "delta": delta}))
}

#[test]
fn pieces_are_put_together_as_the_official_clients_do() {
    let events = [
        start(0, &json!({"type": "thinking", "thinking": "", "signature": ""})),
        ("ping", json!({"type": "ping"})),
        delta(0, &json!({"type": "thinking_delta", "thinking": "so \""})),
        delta(0, &json!({"type": "thinking_delta", "thinking": "\" on"})),
        delta(0, &json!({"type": "signature_delta", "signature": "c2ln"})),
        ("content_block_stop", json!({"type": "content_block_stop", "index": 0})),
        start(1, &json!({"type": "tool_use", "id": "t", "name": "n", "input": {}})),
        delta(1, &json!({"type": "input_json_delta", "partial_json": ""})),
        delta(1, &json!({"type": "input_json_delta", "partial_json": "{\"big\":123456789012345678901"})),
        delta(1, &json!({"type": "input_json_delta", "partial_json": "2345.50}"})),
        ("tomorrow", json!({"type": "tomorrow"})),
    ];
    let message = String::from_utf8(message_of_events(&stream(&events)).unwrap()).unwrap();
    assert!(
        message.contains(r#""input":{"big":1234567890123456789012345.50}"#),
        "numbers keep their bytes: {message}"
    );
    let message: Value = serde_json::from_str(&message).unwrap();
    assert_eq!(
        message["content"][0],
        json!({"type": "thinking", "thinking": "so \"\" on", "signature": "c2ln"})
    );
    assert_eq!(message["stop_reason"], "end_turn");
    let usage =
        json!({"input_tokens": 9, "output_tokens": 17, "cache_creation": {"ephemeral_5m_input_tokens": 4}});
    assert_eq!(message["usage"], usage, "the split is told at the start only, a null says nothing");
}

#[test]
fn half_a_character_in_one_piece_is_whole_in_the_message() {
    let mut events = stream(&[start(0, &json!({"type": "text", "text": ""})), delta(0, &json!("#"))]);
    let pieces = [r#"{"type":"text_delta","text":"\ud83d"}"#, r#"{"type":"text_delta","text":"\ude00"}"#];
    let two: String = pieces
        .iter()
        .map(|piece| format!("event: content_block_delta\ndata: {{\"index\":0,\"delta\":{piece}}}\n\n"))
        .collect();
    let text = String::from_utf8(events).unwrap();
    let at = text.find("event: content_block_delta").unwrap();
    let end = at + text[at..].find("\n\n").unwrap() + 2;
    events = format!("{}{two}{}", &text[..at], &text[end..]).into_bytes();
    assert_eq!(built(&events).unwrap()["content"][0]["text"], "😀");
}

#[test]
fn what_the_clients_would_not_understand_has_no_other_form() {
    let text = || start(0, &json!({"type": "text", "text": ""}));
    let table = [
        vec![("error", json!({"type": "error", "error": {"type": "overloaded_error"}}))],
        vec![text(), delta(0, &json!({"type": "tomorrow_delta", "more": 1}))],
        vec![text(), delta(1, &json!({"type": "text_delta", "text": "a"}))],
        vec![start(1, &json!({"type": "text", "text": ""}))],
        vec![text(), delta(0, &json!({"type": "input_json_delta", "partial_json": "{}"}))],
        vec![
            start(0, &json!({"type": "tool_use", "id": "t", "name": "n", "input": {}})),
            delta(0, &json!({"type": "input_json_delta", "partial_json": "{\"a\":"})),
        ],
    ];
    for events in table {
        assert_eq!(built(&stream(&events)), None, "{events:?}");
    }
    for message in
        ["{}", "[]", r#"{"type":"error","error":{}}"#, r#"{"type":"message","content":1,"usage":{}}"#]
    {
        assert_eq!(events_of_message(message.as_bytes()), None, "{message}");
    }
}
