//! Requests and answers as clients and the upstream write them, for the benchmarks.

#![allow(dead_code, unreachable_pub, reason = "each benchmark uses a part of it")]

use bytes::Bytes;

/// Stands in bodies where a number may make each unlike the others; eight characters.
pub const NUMBER: &str = "#number#";

/// A conversation of about `bytes` whose last turn has `asked_bytes` or a little more.
///
/// `model` and `stream` come last, as the official clients write them.
pub fn body(bytes: usize, asked_bytes: usize, stream: bool) -> String {
    let long = TURN.repeat(if bytes > 2_000 { 8 } else { 1 });
    let mut messages = String::new();
    while messages.len() + asked_bytes + 150 < bytes {
        messages += &format!(r#"{{"role":"user","content":"{long}"}},"#);
        messages += &format!(r#"{{"role":"assistant","content":[{{"type":"text","text":"{long}"}}]}},"#);
    }
    let asked = TURN.repeat(asked_bytes.div_ceil(TURN.len()));
    let asked = format!(r#"{{"role":"user","content":"{NUMBER} {asked}"}}"#);
    let last = format!(r#""model":"claude-opus-5-5","stream":{stream}"#);
    format!(r#"{{"max_tokens":1024,"messages":[{messages}{asked}],{last}}}"#)
}

/// A message of 0.6 KB.
pub fn message() -> Bytes {
    let text = "The field is renamed and the tests pass. ".repeat(8);
    Bytes::from(format!(
        r#"{{{HEAD},"content":[{{"type":"text","text":"{text}"}}],"stop_reason":"end_turn","stop_sequence":null,{USAGE},"output_tokens":88}}}}"#
    ))
}

/// The same as 50 events.
pub fn stream() -> Vec<Bytes> {
    let event = |name: &str, fields: &str| {
        Bytes::from(format!("event: {name}\ndata: {{\"type\":\"{name}\"{fields}}}\n\n"))
    };
    let head = format!(
        r#","message":{{{HEAD},"content":[],"stop_reason":null,"stop_sequence":null,{USAGE},"output_tokens":1}}}}"#
    );
    let delta = r#","index":0,"delta":{"type":"text_delta","text":" and the tests pass again"}"#;
    let usage = r#","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":264}"#;
    let mut events = vec![
        event("message_start", &head),
        event("content_block_start", r#","index":0,"content_block":{"type":"text","text":""}"#),
        event("ping", ""),
    ];
    events.extend((0..44).map(|_| event("content_block_delta", delta)));
    events.push(event("content_block_stop", r#","index":0"#));
    events.push(event("message_delta", usage));
    events.push(event("message_stop", ""));
    events
}

const TURN: &str =
    r#"Rename the \"old\" field, then run the tests again.\n  let x = fields[\"old\"]; // {not json}\n"#;
const HEAD: &str =
    r#""model":"claude-opus-5-5","id":"msg_01XFDUDYJgAACzvnptvVoYEL","type":"message","role":"assistant""#;
const USAGE: &str =
    r#""usage":{"input_tokens":312,"cache_creation_input_tokens":0,"cache_read_input_tokens":0"#;
