//! What a held answer says, as far as it is judged: its texts, its tool calls, how it ended.

use serde_json::Value;

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transcript {
    /// Why the model stopped.
    pub stop_reason: Option<String>,
    /// All text.
    pub text: String,
    /// Tools called, with their input; none where it is not JSON.
    pub calls: Vec<(String, Option<Value>)>,
    /// It holds blocks of other kinds.
    pub other_blocks: bool,
    /// Tokens of the answer.
    pub output_tokens: u64,
}

impl Transcript {
    /// Reads a message; `None` where it is none.
    #[must_use]
    pub fn of_message(body: &[u8]) -> Option<Self> {
        let message: Value =
            serde_json::from_slice(body).ok().filter(|one: &Value| one["type"] == "message")?;
        let mut found = Self::default();
        for block in message["content"].as_array()? {
            found.begin(block);
            match found.calls.last_mut() {
                Some((_, input)) if block["type"] == "tool_use" => *input = Some(block["input"].clone()),
                _ => {}
            }
        }
        found.end(&message);
        Some(found)
    }

    /// Reads the events of a stream; `None` where it did not come to its end.
    #[must_use]
    pub fn of_events(stream: &[u8]) -> Option<Self> {
        let (mut found, mut input, mut ended) = (Self::default(), String::new(), false);
        for line in std::str::from_utf8(stream).ok()?.lines() {
            let Some(data) = line.strip_prefix("data:") else { continue };
            let event: Value = serde_json::from_str(data.trim_start()).ok()?;
            match event["type"].as_str() {
                Some("content_block_start") => {
                    input.clear();
                    found.begin(&event["content_block"]);
                }
                Some("content_block_delta") => {
                    found.text.push_str(event["delta"]["text"].as_str().unwrap_or_default());
                    input.push_str(event["delta"]["partial_json"].as_str().unwrap_or_default());
                }
                Some("content_block_stop") => {
                    // A call without arguments streams none.
                    let text = if input.is_empty() { "{}" } else { input.as_str() };
                    if let Some((_, kept @ None)) = found.calls.last_mut() {
                        *kept = serde_json::from_str(text).ok();
                    }
                }
                Some("message_delta") => {
                    found.end(&event["delta"]);
                    found.end(&event);
                }
                Some("message_stop") => ended = true,
                _ => {}
            }
        }
        ended.then_some(found)
    }

    fn begin(&mut self, block: &Value) {
        match block["type"].as_str() {
            Some("text") => self.text.push_str(block["text"].as_str().unwrap_or_default()),
            Some("tool_use") => {
                self.calls.push((block["name"].as_str().unwrap_or_default().to_owned(), None));
            }
            _ => self.other_blocks = true,
        }
    }

    fn end(&mut self, part: &Value) {
        if let Some(reason) = part["stop_reason"].as_str() {
            self.stop_reason = Some(reason.to_owned());
        }
        if let Some(tokens) = part["usage"]["output_tokens"].as_u64() {
            self.output_tokens = tokens;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_and_its_message_say_the_same() {
        let message =
            br#"{"type":"message","content":[{"type":"text","text":"ab"},{"type":"tool_use","name":"t",
            "input":{"x":1}}],"stop_reason":"tool_use","usage":{"output_tokens":9}}"#;
        let stream = b"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n\
            data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"ab\"}}\n\n\
            data: {\"type\":\"content_block_stop\"}\n\n\
            data: {\"type\":\"content_block_start\",\"content_block\":{\"type\":\"tool_use\",\"name\":\"t\",\"input\":{}}}\n\n\
            data: {\"type\":\"content_block_delta\",\"delta\":{\"partial_json\":\"{\\\"x\\\"\"}}\n\n\
            data: {\"type\":\"content_block_delta\",\"delta\":{\"partial_json\":\":1}\"}}\n\n\
            data: {\"type\":\"content_block_stop\"}\n\n\
            data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"},\"usage\":{\"output_tokens\":9}}\n\n\
            data: {\"type\":\"message_stop\"}\n\n";
        let told = Transcript::of_message(message).unwrap();
        assert_eq!(Transcript::of_events(stream), Some(told.clone()));
        assert_eq!(told.calls, [("t".to_owned(), Some(serde_json::json!({"x": 1})))]);
        assert_eq!(Transcript::of_events(&stream[..stream.len() - 32]), None, "it was cut");
    }
}
