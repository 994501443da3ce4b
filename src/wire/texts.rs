//! Every string of a request or an answer that somebody wrote, with its place in the bytes.
//!
//! Of a request: `system`, the texts of `tools`, and what messages hold: texts, inputs and results of tools, documents
//! given as text, citations. Names, ids, types, addresses and whatever is signed or encrypted are no text of anybody's.
//! Thinking is never among them. Of the model's own messages only texts, documents and calls of tools are; results of
//! tools that the upstream ran itself are its own, and bound to what it encrypted. What is base64, or somewhere else,
//! cannot be read, and is counted.

use std::borrow::Cow;
use std::ops::Range;

use super::json::{Cursor, Kind, Malformed, Text};

/// The strings of one body.
#[derive(Clone, Debug, Default)]
pub struct Texts<'a> {
    /// All of them, in order of place.
    pub all: Vec<Text<'a>>,
    /// Which of them stand in `system`.
    pub system: Range<usize>,
    /// Which of them stand in `tools`.
    pub tools: Range<usize>,
    /// The messages, in order.
    pub turns: Vec<Turn>,
    /// Kinds of blocks, each once; at most 256.
    pub blocks: Vec<Cow<'a, str>>,
    /// Media types of what blocks hold, each once; at most 256.
    pub media: Vec<Cow<'a, str>>,
    /// Pictures and documents that are not text, or not in the body.
    pub unseen: u64,
    /// Whether thinking is read like text; of answers, where it is looked at only.
    with_thinking: bool,
    thinks: bool,
}

/// One message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Whether the model wrote it.
    pub assistant: bool,
    /// Whether it holds thinking.
    pub thinks: bool,
    /// Which strings are its.
    pub texts: Range<usize>,
}

/// Whose blocks are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaker {
    Client,
    Model,
}

impl<'a> Texts<'a> {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// Where it is not JSON of a request's form.
    pub fn of_request(body: &'a [u8]) -> Result<Self, Malformed> {
        let (mut texts, mut cursor) = (Self::default(), Cursor::new(body)?);
        cursor.each_field(|cursor, name| {
            let begun = texts.all.len();
            match (name.raw, cursor.kind()?) {
                ("system", _) => {
                    texts.content(cursor, Speaker::Client)?;
                    texts.system = begun..texts.all.len();
                }
                ("tools", _) => {
                    texts.strings(cursor, TOOL_FIXED)?;
                    texts.tools = begun..texts.all.len();
                }
                ("messages", Kind::Array) => {
                    cursor.each_item(|cursor| texts.message(cursor)).map(drop)?;
                }
                _ => {
                    cursor.skip()?;
                }
            }
            Ok(())
        })?;
        Ok(texts)
    }

    /// Reads a message of the model's, or an error, as an answer holds it whole; `with_thinking` only to be looked at.
    ///
    /// # Errors
    /// Where it is not JSON.
    pub fn of_answer(body: &'a [u8], with_thinking: bool) -> Result<Self, Malformed> {
        let (mut texts, mut cursor) = (Self { with_thinking, ..Self::default() }, Cursor::new(body)?);
        if cursor.kind()? != Kind::Object {
            return Err(Malformed::grammar("expected an object", 0));
        }
        cursor.each_field(|cursor, name| match (name.raw, cursor.kind()?) {
            ("content", _) => texts.content(cursor, Speaker::Model),
            ("error", Kind::Object) => texts.strings(cursor, FIXED),
            _ => cursor.skip().map(drop),
        })?;
        Ok(texts)
    }

    /// Reads one block of the model's, or a citation.
    ///
    /// # Errors
    /// Where it is not JSON.
    pub fn of_block(cursor: &mut Cursor<'a>, with_thinking: bool) -> Result<Self, Malformed> {
        let mut texts = Self { with_thinking, ..Self::default() };
        texts.block(cursor, Speaker::Model)?;
        Ok(texts)
    }

    /// Reads every string of a value but names and ids.
    ///
    /// # Errors
    /// Where it is not JSON.
    pub fn of_value(cursor: &mut Cursor<'a>) -> Result<Self, Malformed> {
        let mut texts = Self::default();
        texts.strings(cursor, FIXED)?;
        Ok(texts)
    }

    fn message(&mut self, cursor: &mut Cursor<'a>) -> Result<(), Malformed> {
        if cursor.kind()? != Kind::Object {
            return cursor.skip().map(drop);
        }
        // Who speaks may stand behind what is said, and decides how that is read.
        let speaker = match role(cursor)? {
            true => Speaker::Model,
            false => Speaker::Client,
        };
        let begun = self.all.len();
        self.thinks = false;
        cursor.each_field(|cursor, name| match name.raw {
            "content" => self.content(cursor, speaker),
            _ => cursor.skip().map(drop),
        })?;
        let (assistant, thinks) = (speaker == Speaker::Model, self.thinks);
        self.turns.push(Turn { assistant, thinks, texts: begun..self.all.len() });
        Ok(())
    }

    /// Reads a text, a block, or a list of them.
    fn content(&mut self, cursor: &mut Cursor<'a>, speaker: Speaker) -> Result<(), Malformed> {
        match cursor.kind()? {
            Kind::String => {
                self.all.push(cursor.string()?);
                note(&mut self.blocks, Cow::Borrowed("text"));
                Ok(())
            }
            Kind::Array => cursor.each_item(|cursor| self.content(cursor, speaker)).map(drop),
            Kind::Object => self.block(cursor, speaker),
            _ => cursor.skip().map(drop),
        }
    }

    fn block(&mut self, cursor: &mut Cursor<'a>, speaker: Speaker) -> Result<(), Malformed> {
        if cursor.kind()? != Kind::Object {
            return cursor.skip().map(drop);
        }
        let (begun, unseen) = (self.all.len(), self.unseen);
        let mut kind = Cow::Borrowed("");
        cursor.each_field(|cursor, name| {
            let name = name.unescape().unwrap_or_default();
            match (&*name, cursor.kind()?) {
                ("type", Kind::String) => kind = cursor.string()?.unescape().unwrap_or_default(),
                ("input", _) => self.strings(cursor, &[])?,
                ("source", Kind::Object) => self.source(cursor, speaker)?,
                ("content", _) => self.content(cursor, speaker)?,
                (fixed, _) if FIXED.contains(&fixed) => {
                    cursor.skip()?;
                }
                _ => self.strings(cursor, FIXED)?,
            }
            Ok(())
        })?;
        let thinking = matches!(&*kind, "thinking" | "redacted_thinking");
        self.thinks |= thinking && speaker == Speaker::Model;
        let left = match speaker {
            Speaker::Client => true,
            Speaker::Model if thinking => self.with_thinking,
            Speaker::Model => matches!(&*kind, "" | "text" | "document") || kind.ends_with("tool_use"),
        };
        if !left {
            self.all.truncate(begun);
            self.unseen = unseen;
        }
        note(&mut self.blocks, kind);
        Ok(())
    }

    fn source(&mut self, cursor: &mut Cursor<'a>, speaker: Speaker) -> Result<(), Malformed> {
        let begun = self.all.len();
        let mut kind = Cow::Borrowed("");
        cursor.each_field(|cursor, name| {
            let name = name.unescape().unwrap_or_default();
            match (&*name, cursor.kind()?) {
                ("type", Kind::String) => kind = cursor.string()?.unescape().unwrap_or_default(),
                ("media_type", Kind::String) => {
                    note(&mut self.media, cursor.string()?.unescape().unwrap_or_default());
                }
                ("data", Kind::String) => self.all.push(cursor.string()?),
                ("content", _) => self.content(cursor, speaker)?,
                _ => {
                    cursor.skip()?;
                }
            }
            Ok(())
        })?;
        if !matches!(&*kind, "text" | "content") {
            self.all.truncate(begun);
            self.unseen = self.unseen.saturating_add(1);
        }
        Ok(())
    }

    /// Reads every string of a value, but those under `fixed` names.
    fn strings(&mut self, cursor: &mut Cursor<'a>, fixed: &[&str]) -> Result<(), Malformed> {
        match cursor.kind()? {
            Kind::String => self.all.push(cursor.string()?),
            Kind::Array => {
                cursor.each_item(|cursor| self.strings(cursor, fixed))?;
            }
            Kind::Object => {
                cursor.each_field(|cursor, name| {
                    let name = name.unescape().unwrap_or_default();
                    if fixed.contains(&&*name) {
                        cursor.skip().map(drop)
                    } else {
                        self.strings(cursor, fixed)
                    }
                })?;
            }
            _ => {
                cursor.skip()?;
            }
        }
        Ok(())
    }
}

/// Tells whether the message at a cursor is the model's; the cursor stays where it is.
fn role(cursor: &Cursor<'_>) -> Result<bool, Malformed> {
    let mut assistant = false;
    cursor.ahead().each_field(|cursor, name| {
        let is_role = name.raw == "role" && cursor.kind()? == Kind::String;
        if is_role {
            assistant = cursor.string()?.unescape().is_some_and(|role| role == "assistant");
            return Ok(());
        }
        cursor.skip().map(drop)
    })?;
    Ok(assistant)
}

fn note<'a>(seen: &mut Vec<Cow<'a, str>>, kind: Cow<'a, str>) {
    if !kind.is_empty() && seen.len() < KINDS_MAX && !seen.contains(&kind) {
        seen.push(kind);
    }
}

/// What is no text: names and ids that are looked up, addresses that are fetched, and what only the upstream can read.
const FIXED: &[&str] = &[
    "type",
    "id",
    "tool_use_id",
    "name",
    "tool_name",
    "server_name",
    "toolset_name",
    "role",
    "signature",
    "thinking_signature",
    "media_type",
    "cache_control",
    "data",
    "file_id",
    "container_id",
    "url",
    "caller",
    "encrypted_content",
    "encrypted_index",
    "encrypted_stdout",
];
/// Of a definition of a tool besides: what its schema refers to or is checked by.
const TOOL_FIXED: &[&str] = &[
    "type",
    "name",
    "model",
    "cache_control",
    "url",
    "$ref",
    "$id",
    "$schema",
    "required",
    "pattern",
    "format",
    "allowed_callers",
    "allowed_domains",
    "blocked_domains",
];
const KINDS_MAX: usize = 256;

#[cfg(test)]
mod tests;
