use std::io::Write;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::usage::Terms;

fn event(name: &str, data: &Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

fn start(usage: &Value) -> String {
    let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-5-5",
        "content": [], "stop_reason": null, "usage": usage});
    event("message_start", &json!({"type": "message_start", "message": message}))
}

fn delta(usage: &Value) -> String {
    let delta = json!({"stop_reason": "tool_use", "stop_sequence": null, "container": {"id": "container_1"}});
    event("message_delta", &json!({"type": "message_delta", "delta": delta, "usage": usage}))
}

fn stop() -> String {
    event("message_stop", &json!({"type": "message_stop"}))
}

fn metered(stream: &str) -> Metered {
    let mut meter = Meter::stream();
    meter.feed(stream.as_bytes());
    meter.finish()
}

fn usage(kinds: [u64; 5]) -> Usage {
    let [input_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, output_tokens] =
        kinds;
    Usage { input_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, output_tokens }
}

fn whole_stream() -> String {
    let split = json!({"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 70});
    let block = json!({"type": "tool_use", "id": "t", "name": "läs", "input": {}});
    [
        start(&json!({"input_tokens": 10, "cache_creation_input_tokens": 100, "cache_read_input_tokens": 5,
            "cache_creation": split, "output_tokens": 1, "service_tier": "standard", "speed": "fast", "inference_geo": "us"})),
        event("ping", &json!({"type": "ping"})),
        event("content_block_start", &json!({"index": 0, "content_block": {"type": "thinking"}})),
        event("content_block_start", &json!({"index": 1, "content_block": block})),
        event("content_block_delta", &json!({"delta": {"text": "\n\nevent: message_delta\ndata: {\"usage\":{\"output_tokens\":9}}\n\n"}})),
        delta(&json!({"input_tokens": 12, "cache_creation_input_tokens": 104, "cache_read_input_tokens": 6,
            "output_tokens": 40, "server_tool_use": {"web_search_requests": 2}})),
        stop(),
    ]
    .concat()
}

#[test]
fn cumulative_counts_replace_the_first_ones_and_keep_their_split() {
    let metered = metered(&whole_stream());
    let terms = Terms { fast: true, batch: false, us_only: true, web_searches: 2 };
    let expected = usage([12, 6, 34, 70, 40]);
    assert_eq!(metered.usage, Some(expected));
    assert_eq!(metered.billed, [Billed { model: "claude-opus-5-5".to_owned(), usage: expected, terms }]);
    assert_eq!(metered.message_id.as_deref(), Some("msg_1"));
    assert_eq!(metered.stop_reason.as_deref(), Some("tool_use"));
    assert_eq!(metered.container.as_deref(), Some("container_1"));
    assert_eq!(metered.service_tier.as_deref(), Some("standard"));
    assert_eq!(metered.tool_calls, ["läs"]);
    assert!(metered.has_thinking && metered.complete && metered.error_type.is_none());
}

#[test]
fn a_total_without_a_split_was_written_for_five_minutes() {
    for (reported, expected) in [
        (json!({"cache_creation_input_tokens": 9, "output_tokens": 0}), [0, 0, 9, 0, 0]),
        (
            json!({"cache_creation": {"ephemeral_1h_input_tokens": 4, "ephemeral_5m_input_tokens": 3}}),
            [0, 0, 3, 4, 0],
        ),
        (
            json!({"cache_creation_input_tokens": 2, "cache_creation": {"ephemeral_1h_input_tokens": 4}}),
            [0, 0, 0, 2, 0],
        ),
        (json!({"input_tokens": 0}), [0; 5]),
    ] {
        assert_eq!(metered(&start(&reported)).usage, Some(usage(expected)));
    }
}

#[test]
fn iterations_are_what_is_billed() {
    let iterations = json!([
        {"type": "message", "input_tokens": 1, "output_tokens": 2, "cache_creation_input_tokens": 8,
         "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 5}},
        {"type": "advisor_message", "model": "claude-fable-5-2", "input_tokens": 10, "output_tokens": 20,
         "cache_creation_input_tokens": 0, "cache_read_input_tokens": 7},
    ]);
    let report =
        json!({"output_tokens": 2, "iterations": iterations, "server_tool_use": {"web_search_requests": 1}});
    let metered =
        metered(&[start(&json!({"input_tokens": 1, "iterations": []})), delta(&report), stop()].concat());
    let models: Vec<&str> = metered.billed.iter().map(|billed| &*billed.model).collect();
    assert_eq!(models, ["claude-opus-5-5", "claude-fable-5-2"]);
    assert_eq!(metered.billed[0].usage, usage([1, 0, 3, 5, 2]));
    assert_eq!(metered.billed[1].usage, usage([10, 7, 0, 0, 20]));
    assert_eq!(metered.usage, Some(usage([11, 7, 3, 5, 22])));
    assert_eq!([metered.billed[0].terms.web_searches, metered.billed[1].terms.web_searches], [1, 0]);
}

#[test]
fn usage_that_cannot_be_is_unknown_rather_than_low() {
    let huge = "1".repeat(100_000);
    for count in ["-1", "1.5", "1e400", "\"12\"", "[]", "{}", "true", "18446744073709551615", &huge] {
        let report = format!("event: message_delta\ndata: {{\"usage\":{{\"output_tokens\":{count}}}}}\n\n");
        let metered = metered(&[start(&json!({"input_tokens": 5})), report, stop()].concat());
        assert_eq!((metered.usage, metered.billed.len()), (None, 0), "{count:.20}");
        assert!(metered.complete);
    }
    for report in [
        json!("x"),
        json!([1]),
        json!({"output_tokens": 1, "iterations": ["x"]}),
        json!({"output_tokens": 1, "iterations": [{"type": "message", "output_tokens": 1}, {"type": "advisor_message"}]}),
    ] {
        assert_eq!(metered(&delta(&report)).usage, None);
    }
    for absent in [json!(null), json!({}), json!({"input_tokens": null})] {
        assert_eq!(metered(&start(&absent)).usage, None);
    }
    let nulls =
        [start(&json!({"input_tokens": 5})), delta(&json!({"input_tokens": null, "output_tokens": 3}))];
    assert_eq!(metered(&nulls.concat()).usage, Some(usage([5, 0, 0, 0, 3])));
}

#[test]
fn a_cut_stream_and_an_error_event_are_not_complete() {
    let cut = metered(&start(&json!({"input_tokens": 5, "output_tokens": 1})));
    assert!(!cut.complete);
    assert_eq!(cut.usage, Some(usage([5, 0, 0, 0, 1])));
    let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "m"}});
    let mut meter = Meter::stream();
    assert!(meter.feed(event("error", &error).as_bytes()).error);
    let metered = meter.finish();
    assert_eq!(metered.error_type.as_deref(), Some("overloaded_error"));
    assert!(!metered.complete && metered.usage.is_none());
}

#[test]
fn progress_tells_the_first_content_once_and_the_end_in_its_chunk() {
    let mut meter = Meter::stream();
    let delta = Progress { deltas: 1, ..Progress::default() };
    let first = Progress { first_content: true, ..delta };
    assert_eq!(meter.feed(start(&json!({})).as_bytes()), Progress::default());
    assert_eq!(meter.feed(event("ping", &json!({})).as_bytes()), Progress::default());
    assert_eq!(meter.feed(event("content_block_delta", &json!({})).as_bytes()), first);
    assert_eq!(meter.feed(event("content_block_delta", &json!({})).as_bytes()), delta);
    assert_eq!(meter.feed(b"event: message_stop\nda"), Progress::default());
    assert!(meter.feed(b"ta: {}\n\n").ended);
    let mut meter = Meter::message();
    assert_eq!(
        [meter.feed(b""), meter.feed(b"{"), meter.feed(b"}")],
        [Progress::default(), Progress { deltas: 0, ..first }, Progress::default()]
    );
}

#[test]
fn a_whole_message_is_metered_and_a_broken_one_is_not_complete() {
    let message = json!({"type": "message", "id": "msg_2", "model": "m", "stop_reason": "end_turn", "future": [{}],
        "content": [{"type": "text", "text": "{\"usage\":1}"}, {"type": "tool_use", "name": "a", "input": {"type": "thinking"}}],
        "usage": {"input_tokens": 3, "output_tokens": 4, "service_tier": "batch"}, "container": null});
    let text = message.to_string();
    let mut meter = Meter::message();
    for chunk in text.as_bytes().chunks(7) {
        meter.feed(chunk);
    }
    let metered = meter.finish();
    assert_eq!(metered, meter_message_json(text.as_bytes()));
    assert_eq!(metered.usage, Some(usage([3, 0, 0, 0, 4])));
    assert!(metered.complete && metered.billed[0].terms.batch && !metered.has_thinking);
    assert_eq!(metered.tool_calls, ["a"]);
    assert!(!meter_message_json(&text.as_bytes()[..text.len() - 1]).complete);
    let error = meter_message_json(br#"{"type":"error","error":{"type":"api_error"}}"#);
    assert_eq!((error.complete, error.error_type.as_deref()), (false, Some("api_error")));
}

#[test]
fn an_answer_too_long_to_keep_is_given_up() {
    let mut meter = Meter::message();
    for _ in 0..65 {
        meter.feed(&vec![b' '; 1 << 20]);
    }
    assert_eq!(meter.finish(), Metered::default());
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn gzip_is_decoded_and_a_bomb_or_rubbish_ends_metering_only() {
    let stream = whole_stream();
    for size in [1, 3, 10_000] {
        let (mut decoder, mut meter) = (Decoder::for_encoding(Some(" GZIP")), Meter::stream());
        let mut progress = Progress::default();
        for chunk in gzip(stream.as_bytes()).chunks(size) {
            decoder.decode(chunk, |plain| progress.add(meter.feed(plain)));
        }
        assert!(progress.first_content && progress.ended);
        assert_eq!(meter.finish(), metered(&stream));
        assert!(decoder.is_metering());
    }
    let bomb = gzip(&vec![0; 300 << 20]);
    let (mut decoder, mut largest) = (Decoder::for_encoding(Some("gzip")), 0);
    decoder.decode(&bomb, |plain| largest = largest.max(plain.len()));
    assert!(!decoder.is_metering() && largest <= 2 << 20, "{largest}");
    let mut decoder = Decoder::for_encoding(Some("gzip"));
    decoder.decode(b"rubbish that is no gzip", |plain| assert!(plain.is_empty()));
    assert!(!decoder.is_metering() && !Decoder::for_encoding(Some("br")).is_metering());
    let mut seen = Vec::new();
    Decoder::for_encoding(None).decode(b"plain", |plain| seen.extend_from_slice(plain));
    assert_eq!(seen, b"plain");
}

proptest! {
    #[test]
    fn the_bill_is_the_same_however_the_stream_is_cut(cut in any::<prop::sample::Index>(), size in 1usize..40) {
        let stream = whole_stream();
        let mut meter = Meter::stream();
        let (before, after) = stream.as_bytes().split_at(cut.index(stream.len()));
        for chunk in before.chunks(size).chain(after.chunks(size)) {
            meter.feed(chunk);
        }
        prop_assert_eq!(meter.finish(), metered(&stream));
    }

    #[test]
    fn no_bytes_make_it_panic(data in prop::collection::vec(any::<u8>(), 0..60)) {
        for (head, tail) in [("event: message_delta\ndata: {\"usage\":{\"iterations\":[{", "\n\n"), ("", "")] {
            let mut meter = Meter::stream();
            for part in [head.as_bytes(), &data, tail.as_bytes()] {
                meter.feed(part);
            }
            drop(meter.finish());
        }
        drop(meter_message_json(&data));
    }
}

#[test]
fn files_that_code_execution_made_are_told_and_no_others() {
    let result = json!({"type": "bash_code_execution_tool_result", "tool_use_id": "srvtoolu_1", "content": {
        "type": "bash_code_execution_result", "stdout": "\"file_id\":\"no\"",
        "content": [{"type": "bash_code_execution_output", "file_id": "file_1"},
            {"type": "bash_code_execution_output", "file_id": "x".repeat(257)}]}});
    let upload = json!({"file_id": "file_2", "type": "container_upload"});
    let call = json!({"type": "tool_use", "name": "t", "input": {"file_id": "no"}});
    let text = json!({"type": "text", "text": "", "citations": [{"file_id": "no"}]});
    let foreign = json!({"type": "mcp_tool_result", "content": [{"file_id": "no"}]});
    let blocks = [result, upload, call, text, foreign];
    let events =
        blocks.iter().map(|block| event("content_block_start", &json!({"index": 0, "content_block": block})));
    let stream = [start(&json!({"input_tokens": 5})), events.collect(), stop()].concat();
    assert_eq!(metered(&stream).file_ids, ["file_1", "file_2"]);
    let message = json!({"type": "message", "content": blocks}).to_string();
    assert_eq!(meter_message_json(message.as_bytes()).file_ids, ["file_1", "file_2"]);

    let many: Vec<Value> = (0..70).map(|_| blocks[1].clone()).collect();
    let message = json!({"type": "message", "content": many}).to_string();
    assert_eq!(meter_message_json(message.as_bytes()).file_ids.len(), 64);
}
