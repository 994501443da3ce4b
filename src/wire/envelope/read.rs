//! Reading the top level of a request, and the small objects in it.

use std::borrow::Cow;

use super::fields::{Fields, Path, count, flag, given, list, member, null, object, optional_word, word};
use super::history::{self, read_block, read_mark, read_messages};
use super::{Envelope, History, Thinking, Thread, Tool, ToolChoice};
use crate::wire::json::{Cursor, Kind, Malformed, Text};

/// Reads a body of `/v1/messages` or `/v1/messages/count_tokens`.
///
/// One pass; what it allocates does not grow with the body, except one span for each message (at most 100,000).
/// The refusal says which field is wrong and how.
pub fn read(body: &[u8]) -> Result<Envelope<'_>, Malformed> {
    let mut cursor = Cursor::new(body)?;
    if cursor.kind()? != Kind::Object {
        let message = "the body should be a JSON object".to_owned();
        return Err(Malformed { message, offset: cursor.offset() });
    }
    let mut envelope = Envelope { body, ..Envelope::default() };
    let mut fields = Fields::of(TOP_LEVEL);
    let mut has_model = false;
    cursor.each_field(|cursor, name| match fields.recognise(name, &Path::Root)? {
        Some("model") => {
            has_model = true;
            read_model(cursor, &mut envelope)
        }
        Some("stream") => {
            cursor.kind()?;
            let value = cursor.offset();
            read_field(cursor, "stream", &mut envelope)?;
            envelope.formalities[0] = member(cursor, "stream", value);
            Ok(())
        }
        Some(known) => read_field(cursor, known, &mut envelope),
        None => read_other(cursor, name, &mut envelope),
    })?;
    cursor.end()?;
    envelope.numbered_escapes = cursor.numbered_escapes();
    envelope.formalities.sort_unstable_by_key(|span| span.start);
    if has_model {
        Ok(envelope)
    } else {
        Err(Path::Field(&Path::Root, "model").refuse("Field required", body.len()))
    }
}

fn read_model<'a>(cursor: &mut Cursor<'a>, envelope: &mut Envelope<'a>) -> Result<(), Malformed> {
    cursor.kind()?;
    let start = cursor.offset();
    let path = Path::Field(&Path::Root, "model");
    envelope.model = word(cursor, &path)?;
    // The name is kept in records, sums and a header; the API knows none near this long.
    if envelope.model.len() > MODEL_MAX_BYTES {
        return Err(path.refuse("String should have at most 256 characters", envelope.model_span.start));
    }
    envelope.model_span = start..cursor.offset();
    Ok(())
}

fn read_field<'a>(
    cursor: &mut Cursor<'a>,
    name: &'static str,
    envelope: &mut Envelope<'a>,
) -> Result<(), Malformed> {
    let path = &Path::Field(&Path::Root, name);
    if name == "max_tokens" {
        envelope.max_tokens = Some(count(cursor, path)?);
        return Ok(());
    }
    if null(cursor)? {
        envelope.thinking_null |= name == "thinking";
        return Ok(());
    }
    match name {
        "messages" => read_messages(cursor, path, &mut envelope.history)?,
        "stream" => envelope.stream = flag(cursor, path)?,
        "system" => read_system(cursor, path, envelope)?,
        "tools" => read_tools(cursor, path, envelope)?,
        "tool_choice" => envelope.tool_choice = Some(read_tool_choice(cursor, path)?),
        "thinking" => envelope.thinking = Some(read_thinking(cursor, path)?),
        "output_config" => read_output_config(cursor, path, envelope)?,
        "temperature" => envelope.sampling.temperature = Some(number(cursor, path)?),
        "top_p" => envelope.sampling.top_p = Some(number(cursor, path)?),
        "top_k" => envelope.sampling.top_k = Some(number(cursor, path)?),
        "stop_sequences" => {
            list(cursor, path, |cursor, _, _| {
                envelope.stop_sequences = true;
                cursor.skip().map(drop)
            })?;
        }
        "metadata" => {
            object(cursor, path, &["user_id"], |cursor, name, path| {
                cursor.kind()?;
                let value = cursor.offset();
                envelope.metadata_user = optional_word(cursor, path)?;
                envelope.formalities[1] = member(cursor, name, value);
                Ok(())
            })?;
        }
        "service_tier" => envelope.service_tier = Some(word(cursor, path)?),
        "speed" => envelope.speed = Some(word(cursor, path)?),
        "inference_geo" => envelope.inference_geo = Some(word(cursor, path)?),
        "container" => envelope.container = Some(read_container(cursor, path)?),
        "thread" => envelope.thread = Some(read_thread(cursor, path)?),
        "fallbacks" => {
            envelope.fallbacks = true;
            envelope.fallback_list = cursor.kind()? != Kind::String;
            cursor.skip()?;
        }
        "cache_control" => read_mark(cursor, &mut envelope.history)?,
        _ => {
            cursor.skip()?;
        }
    }
    Ok(())
}

fn read_other<'a>(
    cursor: &mut Cursor<'a>,
    name: &Text<'a>,
    envelope: &mut Envelope<'a>,
) -> Result<(), Malformed> {
    let others = &mut envelope.other_fields;
    if given(cursor)? && others.len() < MAX_OTHER_FIELDS {
        let name = name.unescape().unwrap_or(Cow::Borrowed(name.raw));
        if !others.contains(&name) {
            others.push(name);
        }
    }
    Ok(())
}

fn read_system<'a>(
    cursor: &mut Cursor<'a>,
    path: &Path<'_>,
    envelope: &mut Envelope<'a>,
) -> Result<(), Malformed> {
    let span = match cursor.kind()? {
        Kind::String => cursor.skip()?,
        Kind::Array => list(cursor, path, |cursor, _, path| {
            read_block(cursor, path, &mut envelope.history, history::Place::System).map(drop)
        })?,
        _ => return Err(path.refuse("Input should be a valid string or list", cursor.offset())),
    };
    envelope.system = Some(cursor.slice(span));
    Ok(())
}

fn read_tools<'a>(
    cursor: &mut Cursor<'a>,
    path: &Path<'_>,
    envelope: &mut Envelope<'a>,
) -> Result<(), Malformed> {
    let (tools, history) = (&mut envelope.tool_list, &mut envelope.history);
    let span = list(cursor, path, |cursor, index, path| {
        let tool = read_tool(cursor, path, history)?;
        if index < MAX_TOOLS {
            tools.push(tool);
        }
        Ok(())
    })?;
    envelope.tools = Some(cursor.slice(span));
    Ok(())
}

fn read_tool<'a>(
    cursor: &mut Cursor<'a>,
    path: &Path<'_>,
    history: &mut History<'a>,
) -> Result<Tool<'a>, Malformed> {
    let mut tool = Tool { kind: Cow::Borrowed("custom"), name: Cow::default(), model: Cow::default() };
    object(cursor, path, &["type", "name", "model", "cache_control"], |cursor, name, path| {
        if name == "cache_control" {
            read_mark(cursor, history)?;
        } else if let Some(value) = optional_word(cursor, path)? {
            match name {
                "type" => tool.kind = value,
                "name" => tool.name = value,
                _ => tool.model = value,
            }
        }
        Ok(())
    })?;
    Ok(tool)
}

fn read_tool_choice<'a>(cursor: &mut Cursor<'a>, path: &Path<'_>) -> Result<ToolChoice<'a>, Malformed> {
    let mut choice = ToolChoice { kind: Cow::default(), name: None };
    object(cursor, path, &["type", "name"], |cursor, name, path| {
        match name {
            "type" => choice.kind = word(cursor, path)?,
            _ => choice.name = optional_word(cursor, path)?,
        }
        Ok(())
    })?;
    Ok(choice)
}

fn read_thinking<'a>(cursor: &mut Cursor<'a>, path: &Path<'_>) -> Result<Thinking<'a>, Malformed> {
    let mut thinking = Thinking { kind: Cow::default(), display: None, budget_tokens: None };
    object(cursor, path, &["type", "display", "budget_tokens"], |cursor, name, path| {
        match name {
            "type" => thinking.kind = word(cursor, path)?,
            "display" => thinking.display = optional_word(cursor, path)?,
            _ if null(cursor)? => {}
            _ => thinking.budget_tokens = Some(count(cursor, path)?),
        }
        Ok(())
    })?;
    Ok(thinking)
}

fn read_output_config<'a>(
    cursor: &mut Cursor<'a>,
    path: &Path<'_>,
    envelope: &mut Envelope<'a>,
) -> Result<(), Malformed> {
    object(cursor, path, &["effort", "format", "task_budget"], |cursor, name, path| {
        match name {
            "effort" => envelope.effort = optional_word(cursor, path)?,
            "format" => envelope.structured_output = given(cursor)?,
            _ => envelope.task_budget = given(cursor)?,
        }
        Ok(())
    })
    .map(drop)
}

fn read_container<'a>(cursor: &mut Cursor<'a>, path: &Path<'_>) -> Result<Cow<'a, str>, Malformed> {
    match cursor.kind()? {
        Kind::String => return word(cursor, path),
        Kind::Object => {}
        _ => return Err(path.refuse("Input should be a valid string or dictionary", cursor.offset())),
    }
    let mut id = Cow::default();
    object(cursor, path, &["id"], |cursor, _, path| {
        id = optional_word(cursor, path)?.unwrap_or_default();
        Ok(())
    })?;
    Ok(id)
}

fn read_thread<'a>(cursor: &mut Cursor<'a>, path: &Path<'_>) -> Result<Thread<'a>, Malformed> {
    let mut thread = Thread { kind: Cow::default(), previous_message_id: None };
    object(cursor, path, &["type", "previous_message_id"], |cursor, name, path| {
        match name {
            "type" => thread.kind = word(cursor, path)?,
            _ => thread.previous_message_id = optional_word(cursor, path)?,
        }
        Ok(())
    })?;
    Ok(thread)
}

fn number<'a>(cursor: &mut Cursor<'a>, path: &Path<'_>) -> Result<&'a [u8], Malformed> {
    if cursor.kind()? != Kind::Number {
        return Err(path.refuse("Input should be a valid number", cursor.offset()));
    }
    let span = cursor.skip()?;
    Ok(cursor.slice(span))
}

/// Every top-level field that is acted on; `model` and `messages` first, being in every request.
const TOP_LEVEL: &[&str] = &[
    "model",
    "messages",
    "max_tokens",
    "stream",
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "temperature",
    "top_p",
    "top_k",
    "stop_sequences",
    "metadata",
    "service_tier",
    "speed",
    "inference_geo",
    "container",
    "thread",
    "fallbacks",
    "cache_control",
];
const MAX_TOOLS: usize = 512;
const MAX_OTHER_FIELDS: usize = 64;

/// The longest model name that is read.
const MODEL_MAX_BYTES: usize = 256;
