//! One answer in its two forms: a message, and the stream of events that builds it.
//!
//! Made as the official clients put events together, from the text as it came: numbers, escapes and fields that
//! are not known keep their bytes, and the order of fields stays. What those clients would not understand (an
//! error amid the stream, a kind of delta that is not known, an end that never came) has no other form.

use std::fmt::Write as _;

use crate::wire::json::{Cursor, Kind, Text, quote};
use crate::wire::sse::SseReader;

/// Returns the message that a whole stream of events builds; `None` where it is none, or not whole.
#[must_use]
pub fn message_of_events(stream: &[u8]) -> Option<Vec<u8>> {
    let mut message = Building::default();
    let mut sound = Some(());
    SseReader::keeping_all().feed(stream, |name, data| {
        sound = sound.and_then(|()| message.take(name, data));
    });
    sound?;
    message.finish()
}

/// Returns the events that build a message; `None` where it is none.
#[must_use]
pub fn events_of_message(message: &[u8]) -> Option<Vec<u8>> {
    let message = Object::read(message)?;
    if message.get("type") != Some("\"message\"") {
        return None;
    }
    let content = items(message.get("content")?)?;
    let usage = Object::read(message.get("usage")?.as_bytes())?;
    let mut start = message.clone();
    start.set("content", "[]");
    for name in ["stop_reason", "stop_sequence", "stop_details"] {
        if start.get(name).is_some() {
            start.set(name, "null");
        }
    }
    let mut first = usage.clone();
    if first.get("output_tokens").is_some_and(|count| count != "0") {
        first.set("output_tokens", "1");
    }
    start.set("usage", first.write());
    let mut events = String::with_capacity(content.iter().map(String::len).sum::<usize>() + EVENTS_ROOM);
    event(&mut events, "message_start", &format!(r#","message":{}"#, start.write()));
    for (index, block) in content.iter().enumerate() {
        block_events(&mut events, index, Object::read(block.as_bytes())?)?;
    }
    let of = |from: &Object, names: &[&str]| {
        let given = from.0.iter().filter(|(name, _)| names.contains(&name.as_str()));
        Object(given.cloned().collect())
    };
    let delta = of(&message, &["stop_reason", "stop_sequence", "stop_details", "container"]).write();
    let counted = of(&usage, &FINAL_COUNTS).write();
    let mut last = format!(r#","delta":{delta},"usage":{counted}"#);
    for (name, value) in of(&message, &LATE_FIELDS).0 {
        let _ = write!(last, r#","{name}":{value}"#);
    }
    event(&mut events, "message_delta", &last);
    event(&mut events, "message_stop", "");
    Some(events.into_bytes())
}

/// Writes the events of one block; what is built up comes in one delta.
fn block_events(events: &mut String, index: usize, mut block: Object) -> Option<()> {
    let kind = block.get("type")?.to_owned();
    let mut deltas = Vec::new();
    let mut take = |name: &str, empty: &str, delta: &str| {
        let Some(value) = block.get(name).filter(|value| *value != empty && *value != "null") else { return };
        deltas.push(format!(r#"{{"type":"{delta}","{name}":{value}}}"#));
        block.set(name, empty);
    };
    match kind.as_str() {
        r#""text""# => {
            take("text", r#""""#, "text_delta");
            if let Some(given) = block.get("citations").filter(|given| *given != "null") {
                let citation = |given: &String| format!(r#"{{"type":"citations_delta","citation":{given}}}"#);
                deltas.extend(items(given)?.iter().map(citation));
                block.set("citations", "[]");
            }
        }
        r#""thinking""# => {
            take("thinking", r#""""#, "thinking_delta");
            take("signature", r#""""#, "signature_delta");
        }
        r#""tool_use""# => {
            let input = quote(block.get("input")?);
            deltas.push(format!(r#"{{"type":"input_json_delta","partial_json":{input}}}"#));
            block.set("input", "{}");
        }
        // Any other block is a whole at its start.
        _ => {}
    }
    let at = format!(r#","index":{index}"#);
    event(events, "content_block_start", &format!(r#"{at},"content_block":{}"#, block.write()));
    for delta in deltas {
        event(events, "content_block_delta", &format!(r#"{at},"delta":{delta}"#));
    }
    event(events, "content_block_stop", &at);
    Some(())
}

fn event(events: &mut String, name: &str, fields: &str) {
    let _ = write!(events, "event: {name}\ndata: {{\"type\":\"{name}\"{fields}}}\n\n");
}

/// A message being built.
#[derive(Default)]
struct Building {
    message: Option<Object>,
    blocks: Vec<Block>,
    stopped: bool,
}

/// A block being built; what is added up is JSON text, without the quotes around it.
struct Block {
    fields: Object,
    text: String,
    thinking: String,
    input: String,
    citations: Vec<String>,
}

impl Building {
    fn take(&mut self, name: &str, data: &[u8]) -> Option<()> {
        match name {
            "message_start" if self.message.is_none() => {
                let message = Object::read(Object::read(data)?.get("message")?.as_bytes())?;
                if !items(message.get("content")?)?.is_empty() {
                    return None;
                }
                self.message = Some(message);
            }
            "message_start" | "error" => return None,
            "content_block_start" => {
                let event = Object::read(data)?;
                if event.get("index")?.parse() != Ok(self.blocks.len()) {
                    return None;
                }
                self.blocks.push(Block::begin(Object::read(event.get("content_block")?.as_bytes())?)?);
            }
            "content_block_delta" => {
                let event = Object::read(data)?;
                let block = self.blocks.get_mut(event.get("index")?.parse::<usize>().ok()?)?;
                block.add(&Object::read(event.get("delta")?.as_bytes())?)?;
            }
            "message_delta" => self.amend(&Object::read(data)?)?,
            "message_stop" => self.stopped = true,
            _ => {}
        }
        Some(())
    }

    /// Takes what comes last: how it ended, and the final counts.
    fn amend(&mut self, event: &Object) -> Option<()> {
        let message = self.message.as_mut()?;
        for (name, value) in Object::read(event.get("delta")?.as_bytes())?.0 {
            if value != "null" || STOPS.contains(&name.as_str()) {
                message.set(&name, value);
            }
        }
        for name in LATE_FIELDS {
            if let Some(value) = event.get(name).filter(|value| *value != "null") {
                message.set(name, value);
            }
        }
        let mut usage = Object::read(message.get("usage")?.as_bytes())?;
        for (name, value) in Object::read(event.get("usage")?.as_bytes())?.0 {
            if value != "null" && FINAL_COUNTS.contains(&name.as_str()) {
                usage.set(&name, value);
            }
        }
        message.set("usage", usage.write());
        Some(())
    }

    fn finish(self) -> Option<Vec<u8>> {
        let mut message = self.message.filter(|_| self.stopped)?;
        let blocks: Option<Vec<String>> = self.blocks.into_iter().map(Block::finish).collect();
        message.set("content", format!("[{}]", blocks?.join(",")));
        Some(message.write().into_bytes())
    }
}

impl Block {
    fn begin(fields: Object) -> Option<Self> {
        let text = |name: &str| match fields.get(name) {
            None => Some(String::new()),
            Some(text) => text.strip_prefix('"')?.strip_suffix('"').map(str::to_owned),
        };
        let citations = match fields.get("citations") {
            None | Some("null") => Vec::new(),
            Some(given) => items(given)?,
        };
        let kind = fields.get("type")?;
        let text_of =
            |kind_of: &str, name: &str| if kind == kind_of { text(name) } else { Some(String::new()) };
        let (text, thinking) = (text_of("\"text\"", "text")?, text_of("\"thinking\"", "thinking")?);
        Some(Self { text, thinking, fields, input: String::new(), citations })
    }

    fn add(&mut self, delta: &Object) -> Option<()> {
        let inner = |name: &str| delta.get(name)?.strip_prefix('"')?.strip_suffix('"');
        match (delta.get("type")?, self.fields.get("type")?) {
            (r#""text_delta""#, r#""text""#) => self.text.push_str(inner("text")?),
            (r#""thinking_delta""#, r#""thinking""#) => self.thinking.push_str(inner("thinking")?),
            (r#""signature_delta""#, r#""thinking""#) => {
                self.fields.set("signature", delta.get("signature")?);
            }
            (r#""input_json_delta""#, r#""tool_use""#) => {
                let piece = Cursor::new(delta.get("partial_json")?.as_bytes()).ok()?.string().ok()?;
                self.input.push_str(&piece.unescape()?);
            }
            (r#""citations_delta""#, r#""text""#) => self.citations.push(delta.get("citation")?.to_owned()),
            _ => return None,
        }
        Some(())
    }

    fn finish(mut self) -> Option<String> {
        match self.fields.get("type")? {
            r#""text""# => {
                self.fields.set("text", format!("\"{}\"", self.text));
                if !self.citations.is_empty() {
                    self.fields.set("citations", format!("[{}]", self.citations.join(",")));
                }
            }
            r#""thinking""# => self.fields.set("thinking", format!("\"{}\"", self.thinking)),
            r#""tool_use""# if !self.input.is_empty() => {
                let mut cursor = Cursor::new(self.input.as_bytes()).ok()?;
                cursor.skip().ok()?;
                cursor.end().ok()?;
                self.fields.set("input", std::mem::take(&mut self.input));
            }
            _ => {}
        }
        Some(self.fields.write())
    }
}

/// An object's fields in order: names and values as the JSON text they stand in, names without their quotes.
#[derive(Clone)]
struct Object(Vec<(String, String)>);

impl Object {
    fn read(text: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(text).ok()?;
        if cursor.kind().ok()? != Kind::Object {
            return None;
        }
        let mut fields = Vec::new();
        let read = cursor.each_field(|cursor, name: &Text<'_>| {
            let value = cursor.skip()?;
            let value = std::str::from_utf8(cursor.slice(value)).unwrap_or_default();
            fields.push((name.raw.to_owned(), value.to_owned()));
            Ok(())
        });
        read.ok()?;
        cursor.end().ok()?;
        Some(Self(fields))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    fn set(&mut self, name: &str, value: impl Into<String>) {
        match self.0.iter_mut().find(|(field, _)| field == name) {
            Some((_, held)) => *held = value.into(),
            None => self.0.push((name.to_owned(), value.into())),
        }
    }

    fn write(&self) -> String {
        let fields: Vec<String> = self.0.iter().map(|(name, value)| format!(r#""{name}":{value}"#)).collect();
        format!("{{{}}}", fields.join(","))
    }
}

/// Returns an array's items as the text they stand in.
fn items(text: &str) -> Option<Vec<String>> {
    let mut cursor = Cursor::new(text.as_bytes()).ok()?;
    if cursor.kind().ok()? != Kind::Array {
        return None;
    }
    let mut items = Vec::new();
    let read = cursor.each_item(|cursor| {
        let item = cursor.skip()?;
        items.push(String::from_utf8_lossy(cursor.slice(item)).into_owned());
        Ok(())
    });
    read.ok().map(|_| items)
}

/// How a message ended; a null there is a value.
const STOPS: [&str; 3] = ["stop_reason", "stop_sequence", "stop_details"];
/// Fields of a message that a stream tells at its end, beside `delta` and `usage`.
const LATE_FIELDS: [&str; 2] = ["context_management", "input_transformations"];
/// Counts that the last report of a stream holds; the others are told at its start.
const FINAL_COUNTS: [&str; 8] = [
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "output_tokens",
    "server_tool_use",
    "output_tokens_details",
    "iterations",
    "fallback_credit",
];
/// Room for the frames of the events.
const EVENTS_ROOM: usize = 2_048;

#[cfg(test)]
mod tests;
