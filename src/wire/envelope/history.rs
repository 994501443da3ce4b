//! Reading the messages: who spoke, what kinds of blocks there are, and the text of the first and last turn.
//!
//! A message's role may stand behind its content, so what a message holds is gathered first and weighed when
//! the message has ended. Blocks inside blocks (tool results, documents) are read three levels deep, which is
//! deeper than the API goes; what lies deeper is checked as JSON and otherwise passed over.

use std::borrow::Cow;

use super::fields::{Path, flag, given, list, object, text, word};
use super::{History, Role};
use crate::wire::json::{Cursor, Kind, Malformed};
use crate::wire::picture::Picture;

/// Where a block stands; what is made of it depends on that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In `system`.
    System,
    /// In a message.
    Message,
    /// Inside another block, so many levels deep.
    Inside(u8),
}

/// What a block is, where its message cares.
#[derive(Debug, Default)]
pub(super) struct Block<'a> {
    kind: Cow<'a, str>,
    text: Option<&'a str>,
    name: Cow<'a, str>,
    is_error: bool,
    source: Source<'a>,
}

/// Where an image or a document is from.
#[derive(Debug, Default)]
struct Source<'a> {
    kind: Cow<'a, str>,
    /// As it stands in the body.
    data: &'a [u8],
    escaped: bool,
}

/// What one message holds, until its role is known.
#[derive(Debug, Default)]
struct Message<'a> {
    role: Role,
    texts: Vec<&'a [u8]>,
    tool_calls: Vec<Cow<'a, str>>,
    tool_results: Vec<bool>,
    has_thinking: bool,
    has_document: bool,
}

/// Reads `messages` into `history`; refuses more than 100,000.
pub(super) fn read_messages<'a>(
    cursor: &mut Cursor<'a>,
    path: &Path<'_>,
    history: &mut History<'a>,
) -> Result<(), Malformed> {
    let mut message = Message::default();
    list(cursor, path, |cursor, index, item| {
        if index >= MAX_MESSAGES {
            return Err(path.refuse("List should have at most 100000 items", cursor.offset()));
        }
        message.clear();
        let span = object(cursor, item, MESSAGE_FIELDS, |cursor, name, path| {
            match name {
                "role" => message.role = role(&word(cursor, path)?),
                "content" => read_content(cursor, path, history, &mut message)?,
                _ => history.per_message_config |= given(cursor)?,
            }
            Ok(())
        })?;
        history.spans.push(span);
        weigh(&mut message, history);
        Ok(())
    })
    .map(drop)
}

fn read_content<'a>(
    cursor: &mut Cursor<'a>,
    path: &Path<'_>,
    history: &mut History<'a>,
    message: &mut Message<'a>,
) -> Result<(), Malformed> {
    if cursor.kind()? == Kind::String {
        message.texts.push(cursor.string()?.raw.as_bytes());
        return Ok(());
    }
    list(cursor, path, |cursor, _, path| {
        let block = read_block(cursor, path, history, Place::Message)?;
        message.add(block);
        Ok(())
    })
    .map(drop)
}

/// Reads one content block and what is inside it.
pub(super) fn read_block<'a>(
    cursor: &mut Cursor<'a>,
    path: &Path<'_>,
    history: &mut History<'a>,
    place: Place,
) -> Result<Block<'a>, Malformed> {
    let mut block = Block::default();
    // Fields that have a fixed type only in some kinds of block; checked once the kind is known.
    let (mut odd_text, mut odd_name, mut odd_error) = (None, None, None);
    object(cursor, path, BLOCK_FIELDS, |cursor, field, path| {
        let start = cursor.offset();
        match (field, cursor.kind()?) {
            ("type", kind) if kind == Kind::String || place == Place::Message => {
                block.kind = word(cursor, path)?;
            }
            ("text", Kind::String) => block.text = Some(text(cursor, path)?.raw),
            ("text", _) => odd_text = Some(cursor.skip().map(|_| start)?),
            ("name", Kind::String) => match cursor.string()?.unescape() {
                Some(name) => block.name = name,
                None => odd_name = Some(start),
            },
            ("name", _) => odd_name = Some(cursor.skip().map(|_| start)?),
            ("is_error", Kind::Bool | Kind::Null) => block.is_error = flag(cursor, path)?,
            ("is_error", _) => odd_error = Some(cursor.skip().map(|_| start)?),
            ("source", Kind::Object) => {
                block.source = read_source(cursor, path, history, place)?;
            }
            ("content", _) => read_inside(cursor, path, history, place)?,
            ("cache_control", _) => read_mark(cursor, history)?,
            _ => {
                cursor.skip()?;
            }
        }
        Ok(())
    })?;
    let odd = match &*block.kind {
        "text" => odd_text.map(|at| ("text", "Input should be a valid string", at)),
        "tool_use" => odd_name.map(|at| ("name", "Input should be a valid string", at)),
        "tool_result" => odd_error.map(|at| ("is_error", "Input should be a valid boolean", at)),
        _ => None,
    };
    if let Some((name, what, offset)) = odd {
        return Err(Path::Field(path, name).refuse(what, offset));
    }
    if place != Place::System {
        count_block(&block, history);
    }
    Ok(block)
}

/// Reads a mark for the prompt cache; what it may hold is the upstream's to say.
pub(super) fn read_mark(cursor: &mut Cursor<'_>, history: &mut History<'_>) -> Result<(), Malformed> {
    if cursor.kind()? != Kind::Object {
        history.cache_control |= given(cursor)?;
        return Ok(());
    }
    history.cache_control = true;
    cursor
        .each_field(|cursor, name| {
            let span = cursor.skip()?;
            history.cache_hour |= name.raw == "ttl" && cursor.slice(span) == br#""1h""#;
            Ok(())
        })
        .map(drop)
}

/// Reads the `content` of a block: text, one block, or a list of them.
fn read_inside<'a>(
    cursor: &mut Cursor<'a>,
    path: &Path<'_>,
    history: &mut History<'a>,
    place: Place,
) -> Result<(), Malformed> {
    let inner = match place {
        Place::System | Place::Message => Place::Inside(1),
        Place::Inside(level) if level < MAX_LEVELS => Place::Inside(level + 1),
        Place::Inside(_) => return cursor.skip().map(drop),
    };
    match cursor.kind()? {
        Kind::Object => read_block(cursor, path, history, inner).map(drop),
        Kind::Array => list(cursor, path, |cursor, _, path| match cursor.kind()? {
            Kind::Object => read_block(cursor, path, history, inner).map(drop),
            _ => cursor.skip().map(drop),
        })
        .map(drop),
        _ => cursor.skip().map(drop),
    }
}

/// Reads the `source` of an image or a document.
fn read_source<'a>(
    cursor: &mut Cursor<'a>,
    path: &Path<'_>,
    history: &mut History<'a>,
    place: Place,
) -> Result<Source<'a>, Malformed> {
    let mut source = Source::default();
    object(cursor, path, &["type", "data", "content"], |cursor, field, path| {
        match (field, cursor.kind()?) {
            ("type" | "data", Kind::Null) => {
                cursor.skip()?;
            }
            ("type", _) => source.kind = word(cursor, path)?,
            ("data", _) => {
                let data = text(cursor, path)?;
                (source.data, source.escaped) = (data.raw.as_bytes(), data.escaped);
            }
            _ => read_inside(cursor, path, history, place)?,
        }
        Ok(())
    })?;
    match &*source.kind {
        "base64" => history.payload_bytes = history.payload_bytes.saturating_add(source.data.len()),
        "url" | "file" => history.remote_sources = history.remote_sources.saturating_add(1),
        _ => {}
    }
    Ok(source)
}

fn count_block<'a>(block: &Block<'a>, history: &mut History<'a>) {
    let kind = &block.kind;
    match &**kind {
        "" | "text" | "thinking" | "redacted_thinking" | "tool_use" | "tool_result" => return,
        "image" => {
            history.images = history.images.saturating_add(1);
            let source = &block.source;
            // Escapes would shift what is looked for by its place.
            if source.kind == "base64" && !source.escaped && history.pictures.len() < MAX_PICTURES {
                let picture = Picture::of(source.data);
                history.pictures.extend(picture.map(|picture| (picture.width, picture.height)));
            }
            return;
        }
        "document" => {
            history.documents = history.documents.saturating_add(1);
            match &*block.source.kind {
                "base64" => {
                    history.document_bytes = history.document_bytes.saturating_add(block.source.data.len());
                }
                "url" | "file" => history.remote_documents = history.remote_documents.saturating_add(1),
                _ => {}
            }
        }
        _ => {}
    }
    if history.other_blocks.len() < MAX_OTHER_BLOCKS && !history.other_blocks.contains(kind) {
        history.other_blocks.push(kind.clone());
    }
}

fn role(name: &str) -> Role {
    match name {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        _ => Role::Unknown,
    }
}

/// Moves what a finished message holds to where its role puts it.
fn weigh<'a>(message: &mut Message<'a>, history: &mut History<'a>) {
    history.last_role = message.role;
    match message.role {
        Role::User => {
            if !message.texts.is_empty() {
                if history.first_user_text.is_empty() {
                    history.first_user_text.clone_from(&message.texts);
                }
                std::mem::swap(&mut history.last_user_text, &mut message.texts);
            }
            std::mem::swap(&mut history.last_tool_results, &mut message.tool_results);
            count_failures(history);
        }
        Role::Assistant => {
            history.assistant_messages = history.assistant_messages.saturating_add(1);
            // The message's span was just noted.
            history.last_assistant = history.spans.len().checked_sub(1);
            history.has_thinking |= message.has_thinking;
            history.assistant_document |= message.has_document;
            std::mem::swap(&mut history.last_tool_calls, &mut message.tool_calls);
        }
        Role::System => history.system_messages = history.system_messages.saturating_add(1),
        Role::Unknown => {}
    }
}

/// Counts each tool's failures in a row, by the results of the user message that was just read.
fn count_failures(history: &mut History<'_>) {
    history.failed_thrice.clear();
    for (name, failed) in history.last_tool_calls.iter().zip(&history.last_tool_results) {
        let known = history.failing_tools.iter().position(|(tool, _)| tool == name);
        match (known, failed) {
            (Some(place), false) => drop(history.failing_tools.swap_remove(place)),
            (Some(place), true) => {
                if let Some((_, times)) = history.failing_tools.get_mut(place) {
                    *times = times.saturating_add(1);
                    if *times == STREAK {
                        history.failed_thrice.push(name.clone());
                    }
                }
            }
            (None, true) if history.failing_tools.len() < MAX_FAILING_TOOLS => {
                history.failing_tools.push((name.clone(), 1));
            }
            (None, _) => {}
        }
    }
}

impl<'a> Message<'a> {
    fn clear(&mut self) {
        self.role = Role::Unknown;
        self.texts.clear();
        self.tool_calls.clear();
        self.tool_results.clear();
        self.has_thinking = false;
        self.has_document = false;
    }

    fn add(&mut self, block: Block<'a>) {
        match &*block.kind {
            "text" if self.texts.len() < MAX_TEXTS => {
                self.texts.extend(block.text.map(str::as_bytes));
            }
            "tool_use" if self.tool_calls.len() < MAX_TOOL_CALLS => self.tool_calls.push(block.name),
            "tool_result" if self.tool_results.len() < MAX_TOOL_CALLS => {
                self.tool_results.push(block.is_error);
            }
            "thinking" | "redacted_thinking" => self.has_thinking = true,
            "document" => self.has_document = true,
            _ => {}
        }
    }
}

const MESSAGE_FIELDS: &[&str] = &["role", "content", "output_config", "clear_at"];
const BLOCK_FIELDS: &[&str] = &["type", "text", "content", "name", "is_error", "source", "cache_control"];
const MAX_MESSAGES: usize = 100_000;
/// Text blocks kept of one message.
const MAX_TEXTS: usize = 10_000;
const MAX_TOOL_CALLS: usize = 512;
const MAX_OTHER_BLOCKS: usize = 64;
/// Failures of one tool in a row that are told.
const STREAK: u32 = 3;
const MAX_FAILING_TOOLS: usize = 64;
const MAX_LEVELS: u8 = 3;
/// The API takes no more images in a request.
const MAX_PICTURES: usize = 600;
