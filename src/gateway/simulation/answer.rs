//! What an upstream answers: messages and streams of known size, and where they may break.

use serde_json::{Value, json};

use super::dice::Dice;

/// An answer as it goes over the wire, head included.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) bytes: Vec<u8>,
    /// The body without its framing.
    pub(super) body: Vec<u8>,
    pub(super) input_tokens: u64,
    /// How many tokens are written with the first so many bytes.
    pub(super) marks: Vec<(usize, u64)>,
    /// With so many bytes a client has all it needs.
    pub(super) enough: usize,
    pub(super) failed: bool,
    pub(super) status: u16,
    /// The connection lasts.
    pub(super) lasts: bool,
}

/// What is answered to.
pub(super) struct Question<'a> {
    pub(super) number: usize,
    pub(super) model: &'a str,
    pub(super) max_tokens: u64,
    pub(super) input_tokens: u64,
}

/// An error in place of an answer.
pub(super) fn refusal(number: usize, status: u16, kind: &str, retry_after: Option<u64>) -> Answer {
    let body = error(kind).to_string().into_bytes();
    let retry = retry_after.map(|seconds| format!("retry-after: {seconds}\r\n")).unwrap_or_default();
    let mut bytes = head(number, status, "application/json");
    bytes.extend(format!("{retry}content-length: {}\r\n\r\n", body.len()).into_bytes());
    bytes.extend(&body);
    let enough = bytes.len();
    Answer { bytes, body, enough, failed: true, status, lasts: true, ..Answer::default() }
}

/// A whole message at once, made before its first byte is written.
pub(super) fn message(question: &Question<'_>, dice: &mut Dice) -> Answer {
    let tokens = 1 + dice.below(question.max_tokens);
    let body = json!({
        "id": format!("msg_{}", question.number), "type": "message", "role": "assistant",
        "model": question.model, "content": [{ "type": "text", "text": words(tokens) }],
        "stop_reason": "end_turn", "stop_sequence": null,
        "usage": { "input_tokens": question.input_tokens, "output_tokens": tokens },
    });
    let body = body.to_string().into_bytes();
    let mut bytes = head(question.number, 200, "application/json");
    let begin = bytes.len();
    if dice.one_in(2) {
        bytes.extend(format!("content-length: {}\r\n\r\n", body.len()).into_bytes());
        bytes.extend(&body);
    } else {
        bytes.extend(b"transfer-encoding: chunked\r\n\r\n");
        chunked(&mut bytes, &body, dice);
        bytes.extend(b"0\r\n\r\n");
    }
    let enough = bytes.len();
    let marks = vec![(begin, tokens)];
    let input_tokens = question.input_tokens;
    Answer { bytes, body, input_tokens, marks, enough, failed: false, status: 200, lasts: true }
}

/// A stream of events; with `error` one that fails after so many pieces of content.
pub(super) fn stream(question: &Question<'_>, error_after: Option<u64>, dice: &mut Dice) -> Answer {
    let mut bytes = head(question.number, 200, "text/event-stream");
    let lasts = !dice.one_in(8);
    bytes.extend(if lasts {
        &b"transfer-encoding: chunked\r\n\r\n"[..]
    } else {
        b"connection: close\r\n\r\n"
    });
    let (mut body, mut marks, mut tokens) = (Vec::new(), Vec::new(), 0);
    let mut tell = |name: &str, data: &Value, bytes: &mut Vec<u8>, dice: &mut Dice| {
        let event = format!("event: {name}\ndata: {data}\n\n").into_bytes();
        if lasts {
            chunked(bytes, &event, dice);
        } else {
            bytes.extend(&event);
        }
        body.extend(event);
    };
    let usage = json!({ "input_tokens": question.input_tokens, "output_tokens": 1 });
    let begun = json!({ "type": "message_start", "message": {
        "id": format!("msg_{}", question.number), "type": "message", "role": "assistant", "content": [],
        "model": question.model, "stop_reason": null, "stop_sequence": null, "usage": usage } });
    tell("message_start", &begun, &mut bytes, dice);
    let block =
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } });
    tell("content_block_start", &block, &mut bytes, dice);
    let most = 1 + dice.below(question.max_tokens);
    let mut pieces = 0;
    while tokens < most && error_after.is_none_or(|after| pieces < after) {
        if dice.one_in(6) {
            tell("ping", &json!({ "type": "ping" }), &mut bytes, dice);
        }
        let more = (1 + dice.below(60)).min(most - tokens);
        let delta = json!({ "type": "text_delta", "text": words(more) });
        let delta = json!({ "type": "content_block_delta", "index": 0, "delta": delta });
        tell("content_block_delta", &delta, &mut bytes, dice);
        tokens += more;
        pieces += 1;
        marks.push((bytes.len(), tokens));
    }
    if error_after.is_some() {
        tell("error", &error("overloaded_error"), &mut bytes, dice);
    } else {
        tell("content_block_stop", &json!({ "type": "content_block_stop", "index": 0 }), &mut bytes, dice);
        let delta = json!({ "stop_reason": "end_turn", "stop_sequence": null });
        let ended = json!({ "type": "message_delta", "delta": delta, "usage": { "output_tokens": tokens } });
        tell("message_delta", &ended, &mut bytes, dice);
        tell("message_stop", &json!({ "type": "message_stop" }), &mut bytes, dice);
    }
    let enough = bytes.len() - if lasts { 2 } else { 0 };
    if lasts {
        bytes.extend(b"0\r\n\r\n");
    }
    let (failed, input_tokens) = (error_after.is_some(), question.input_tokens);
    Answer { bytes, body, input_tokens, marks, enough, failed, status: 200, lasts }
}

impl Answer {
    /// Returns how many tokens were written with so many bytes.
    pub(super) fn tokens_in(&self, written: usize) -> u64 {
        let passed = self.marks.iter().take_while(|(bytes, _)| *bytes <= written);
        passed.last().map_or(0, |(_, tokens)| *tokens)
    }
}

fn head(number: usize, status: u16, kind: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Simulated\r\ncontent-type: {kind}\r\nrequest-id: req_{number}\r\n")
        .into_bytes()
}

fn error(kind: &str) -> Value {
    json!({ "type": "error", "error": { "type": kind, "message": "by chance" } })
}

/// So many words, of which none is shorter than the shortest token is taken for.
fn words(tokens: u64) -> String {
    "token ".repeat(usize::try_from(tokens).unwrap())
}

fn chunked(bytes: &mut Vec<u8>, data: &[u8], dice: &mut Dice) {
    let mut rest = data;
    while !rest.is_empty() {
        let some = if dice.one_in(3) { 1 + dice.index(rest.len()) } else { rest.len() };
        let (now, later) = rest.split_at(some);
        bytes.extend(format!("{some:x}\r\n").into_bytes());
        bytes.extend(now);
        bytes.extend(b"\r\n");
        rest = later;
    }
}
