//! What an answer says, block by block: its texts and the inputs of its calls, as far as they came; no thinking.

use serde_json::Value;

/// Who a text is from, `assistant` or `tool_use`, and the text.
type Said = (&'static str, String);

/// Reads a whole message; nothing where it is none.
#[must_use]
pub fn of_message(body: &[u8]) -> Vec<Said> {
    let Ok(message) = serde_json::from_slice::<Value>(body) else { return Vec::new() };
    let blocks = message["content"].as_array().into_iter().flatten();
    blocks.filter_map(|block| begun(block).map(|(by, text)| (by, with_input(by, text, block)))).collect()
}

/// Reads the events of a stream, up to the first that is not whole.
#[must_use]
pub fn of_events(stream: &[u8]) -> Vec<Said> {
    let text = match std::str::from_utf8(stream) {
        Ok(text) => text,
        Err(error) => {
            std::str::from_utf8(stream.get(..error.valid_up_to()).unwrap_or_default()).unwrap_or_default()
        }
    };
    let mut all: Vec<(u64, Said)> = Vec::new();
    for line in text.lines() {
        let Some(data) = line.strip_prefix("data:") else { continue };
        let Ok(event) = serde_json::from_str::<Value>(data.trim_start()) else { break };
        let index = event["index"].as_u64().unwrap_or(0);
        match event["type"].as_str() {
            Some("content_block_start") => {
                all.extend(begun(&event["content_block"]).map(|said| (index, said)));
            }
            Some("content_block_delta") => {
                let pieces = ["text", "partial_json"].map(|name| event["delta"][name].as_str());
                let piece = pieces.into_iter().flatten().next().unwrap_or_default();
                if let Some((_, (_, text))) = all.iter_mut().rev().find(|(of, _)| *of == index) {
                    text.push_str(piece);
                }
            }
            _ => {}
        }
    }
    all.into_iter().map(|(_, said)| said).collect()
}

/// A block as it begins; none of those that hold no text of the model's.
fn begun(block: &Value) -> Option<Said> {
    match block["type"].as_str()? {
        "text" => Some(("assistant", block["text"].as_str().unwrap_or_default().to_owned())),
        kind if kind.ends_with("tool_use") => {
            Some(("tool_use", format!("{} ", block["name"].as_str().unwrap_or_default())))
        }
        _ => None,
    }
}

fn with_input(by: &str, text: String, block: &Value) -> String {
    if by == "tool_use" { text + &block["input"].to_string() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_says_what_its_message_says_and_a_cut_one_its_beginning() {
        let message =
            br#"{"type":"message","content":[{"type":"thinking","thinking":"hm"},{"type":"text","text":"ab"},
            {"type":"tool_use","name":"read","input":{"x":1}}]}"#;
        let expected = vec![("assistant", "ab".to_owned()), ("tool_use", r#"read {"x":1}"#.to_owned())];
        assert_eq!(of_message(message), expected);
        let events = [
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#,
            r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}"#,
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"a"}}"#,
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"b"}}"#,
            r#"{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","name":"read","input":{}}}"#,
            r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"x\""}}"#,
            r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":":1}"}}"#,
        ];
        let stream: String = events.iter().map(|data| format!("event: x\ndata: {data}\n\n")).collect();
        assert_eq!(of_events(stream.as_bytes()), expected);
        for cut in 0..stream.len() {
            let said = of_events(&stream.as_bytes()[..cut]);
            let is_beginning = |(number, (by, text)): (usize, &Said)| {
                expected.get(number).is_some_and(|(of, whole)| of == by && whole.starts_with(text.as_str()))
            };
            assert!(said.iter().enumerate().all(is_beginning), "{said:?}");
        }
        assert_eq!(of_message(b"no json"), []);
    }
}
