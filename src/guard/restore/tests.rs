use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const MAIL: &str = "REDACTED_EMAIL_0123456789ab";
const KEY: &str = "REDACTED_AWS_KEY_ba9876543210";
/// What they stand for: both have to be escaped.
const TEXTS: [(&str, &str); 2] = [(MAIL, "\"ada\"@acme.io"), (KEY, "line\nwith \\ é")];

fn restoration() -> Restoration {
    let pairs = TEXTS.iter().map(|(placeholder, text)| ((*placeholder).to_owned(), (*text).to_owned()));
    Restoration::of(pairs.collect()).unwrap()
}

fn put_back(text: &str) -> String {
    TEXTS.iter().fold(text.to_owned(), |text, (placeholder, original)| text.replace(placeholder, original))
}

fn streamed<'c>(chunks: impl IntoIterator<Item = &'c [u8]>) -> Vec<u8> {
    let (mut stream, mut output) = (Stream::new(Arc::new(restoration())), Vec::new());
    for chunk in chunks {
        stream.feed(chunk, &mut output);
    }
    stream.end(&mut output);
    output
}

fn event(name: &str, data: &Value, end: &str) -> String {
    format!("event: {name}{end}data: {data}{end}{end}")
}

/// A stream with a text and the input of a tool, each in pieces.
fn stream(text: &[String], input: &[String], end: &str) -> String {
    let mut events = event("message_start", &json!({"type":"message_start","message":{"content":[]}}), end);
    for (index, (kind, field, pieces)) in
        [("text_delta", "text", text), ("input_json_delta", "partial_json", input)].iter().enumerate()
    {
        events += &event(
            "content_block_start",
            &json!({"type":"content_block_start","index":index,"content_block":{"type":"text","text":""}}),
            end,
        );
        for piece in *pieces {
            let delta = json!({ "type": kind, *field: piece });
            events += &event(
                "content_block_delta",
                &json!({"type":"content_block_delta","index":index,"delta":delta}),
                end,
            );
        }
        events += &event("content_block_stop", &json!({"type":"content_block_stop","index":index}), end);
    }
    events + &event("message_stop", &json!({"type":"message_stop"}), end)
}

/// What a client makes of it: the text, and the input read as JSON.
fn read(stream: &[u8], end: &str) -> (String, String) {
    let mut joined = [String::new(), String::new()];
    for line in std::str::from_utf8(stream).unwrap().split(end) {
        let Some(data) = line.strip_prefix("data: ") else { continue };
        let data: Value = serde_json::from_str(data).unwrap();
        let index = data["index"].as_u64().unwrap_or(0) as usize;
        let delta = &data["delta"];
        joined[index] += delta["text"].as_str().or_else(|| delta["partial_json"].as_str()).unwrap_or("");
    }
    let [text, input] = joined;
    (text, input)
}

fn cut(text: &str, at: &[prop::sample::Index]) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let mut cuts: Vec<usize> = at.iter().map(|at| at.index(characters.len() + 1)).collect();
    cuts.extend([0, characters.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| characters[pair[0]..pair[1]].iter().collect()).collect()
}

proptest! {
    #[test]
    fn however_a_stream_is_cut_the_client_reads_the_same(
        words in prop::collection::vec(prop::sample::select(vec![MAIL, KEY, "REDACTED_", "REDACTED_EMAIL_0123", "R", " ", "é\"\n", "\u{1f600}", "x"]), 0..8),
        pieces in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        end in prop::sample::select(vec!["\n", "\r\n", "\r"]),
    ) {
        let text = words.concat();
        let input = json!({ "a": text }).to_string();
        let bytes = stream(&cut(&text, &pieces), &cut(&input, &pieces), end).into_bytes();
        let whole = streamed([&bytes[..]]);
        let (seen, seen_input) = read(&whole, end);
        prop_assert_eq!(seen, put_back(&text));
        let seen_input: Value = serde_json::from_str(&seen_input).unwrap();
        prop_assert_eq!(&seen_input["a"], &json!(put_back(&text)));
        prop_assert_eq!(&streamed(bytes.chunks(1)), &whole);
        for at in (0..bytes.len()).step_by(7) {
            prop_assert_eq!(&streamed([&bytes[..at], &bytes[at..]]), &whole);
        }
    }

    #[test]
    fn a_stream_without_placeholders_is_the_same_bytes(
        stream in prop::collection::vec(prop::sample::select(vec![
            "event: ping\ndata: {\"type\": \"ping\"}\n\n", "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"caf\\u00e9 REDACTION\"}}\r\n\r\n",
            ": comment\n\n", "data: {broken\n\n", "data: a\ndata: b\n\n", "\r", "\n", "event: x", "data:{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"REDACTED_EMAIL_0123456789ab\"}}\n\n",
        ]), 0..8),
        size in 1usize..40,
    ) {
        let bytes = stream.concat().into_bytes();
        prop_assert_eq!(streamed(bytes.chunks(size)), bytes);
    }
}

#[test]
fn citations_starts_of_blocks_and_errors_are_given_their_texts_back() {
    let start = json!({"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":MAIL,"input":{"to":MAIL}}});
    let cited = json!({"type":"content_block_delta","index":0,"delta":{"type":"citations_delta","citation":{"cited_text":MAIL,"url":MAIL}}});
    let error = json!({"type":"error","error":{"type":"x","message":MAIL}});
    for (data, left) in [(start, 1), (cited, 1), (error, 0)] {
        let output = String::from_utf8(streamed([event("x", &data, "\n").as_bytes()])).unwrap();
        assert_eq!((output.matches(MAIL).count(), output.matches("@acme.io").count()), (left, 1), "{output}");
    }
    // What the upstream ran itself is bound to what it encrypted.
    let result = event(
        "x",
        &json!({"type":"content_block_start","index":0,"content_block":{"type":"code_execution_tool_result","content":{"stdout":MAIL}}}),
        "\n",
    );
    assert_eq!(streamed([result.as_bytes()]), result.as_bytes());
}

#[test]
fn a_beginning_without_an_end_is_let_go_when_its_block_or_the_stream_ends() {
    let text = vec!["see REDACTED_EM".to_owned()];
    let bytes = stream(&text, &[], "\n").into_bytes();
    assert_eq!(read(&streamed([&bytes[..]]), "\n").0, "see REDACTED_EM");
    let stop = bytes.windows(18).position(|part| part == b"content_block_stop").unwrap() - 7;
    assert_eq!(read(&streamed([&bytes[..stop]]), "\n").0, "see REDACTED_EM");
}

#[test]
fn an_event_without_an_end_is_not_held_for_ever() {
    let (mut stream, mut output) = (Stream::new(Arc::new(restoration())), Vec::new());
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..6 {
        stream.feed(&piece, &mut output);
    }
    assert!(output.len() >= 5 << 20);
    stream.end(&mut output);
    assert_eq!(output.len(), 6 << 20);
}
