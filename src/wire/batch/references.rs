//! Which files, containers and threads the items of a batch name, found while its body streams through.
//!
//! Reads the same bytes as the rewriter with a lexer of its own. A name or an id is held only while it is being
//! read, and given up past [`HELD_MAX_BYTES`], longer than any id.

use bytes::Bytes;

use super::lexer::{Lexer, Token};
use crate::wire::file_ids::is_opaque;
use crate::wire::json::{Malformed, Text};

/// An upstream object that a batch names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A `file_id`.
    File(String),
    /// A `container`, or its `id`.
    Container(String),
    /// The message that a `thread` continues.
    Thread(String),
}

/// Reads one body.
#[derive(Debug, Default)]
pub struct References {
    lexer: Lexer,
    offset: usize,
    /// Depth of the container below which nothing is a reference.
    opaque: Option<usize>,
    /// Depth of the open `container` object of an item.
    container: Option<usize>,
    /// Depth of the open `thread` object of an item.
    thread: Option<usize>,
    field: Field,
    held: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Field {
    #[default]
    Other,
    Opaque,
    File,
    Container,
    ContainerId,
    Thread,
    PreviousMessage,
}

impl References {
    /// Reads the next chunk and returns what it names.
    pub fn feed(&mut self, chunk: &Bytes) -> Result<Vec<Reference>, Malformed> {
        let mut found = Vec::new();
        let mut at = 0_usize;
        while at < chunk.len() {
            let rest = chunk.get(at..).unwrap_or_default();
            let (used, token) = self.lexer.next(rest, self.offset.saturating_add(at))?;
            self.take(&token, rest.get(..used).unwrap_or_default(), &mut found);
            at = at.saturating_add(used);
        }
        self.offset = self.offset.saturating_add(chunk.len());
        Ok(found)
    }

    fn take(&mut self, token: &Token, bytes: &[u8], found: &mut Vec<Reference>) {
        let depth = self.lexer.depth();
        match token {
            Token::Open { .. } => {
                match self.field {
                    Field::Opaque => self.opaque = self.opaque.or(Some(depth)),
                    Field::Container => self.container = Some(depth),
                    Field::Thread => self.thread = Some(depth),
                    _ => {}
                }
                self.field = Field::Other;
            }
            Token::Close => {
                self.opaque = self.opaque.filter(|opened| depth >= *opened);
                self.container = self.container.filter(|opened| depth >= *opened);
                self.thread = self.thread.filter(|opened| depth >= *opened);
            }
            Token::StringBegin { name } if self.opaque.is_none() => {
                let wanted = *name || !matches!(self.field, Field::Other | Field::Opaque);
                self.held = wanted.then(Vec::new);
            }
            Token::Part => {
                let fits = |held: &Vec<u8>| held.len().saturating_add(bytes.len()) <= HELD_MAX_BYTES;
                self.held = self.held.take().filter(fits);
                if let Some(held) = &mut self.held {
                    held.extend_from_slice(bytes);
                }
            }
            Token::StringEnd { .. } => self.end_string(depth, found),
            Token::ScalarEnd => self.field = Field::Other,
            Token::StringBegin { .. } | Token::ScalarBegin | Token::Between => {}
        }
    }

    fn end_string(&mut self, depth: usize, found: &mut Vec<Reference>) {
        let Some(held) = self.held.take() else {
            self.field = Field::Other;
            return;
        };
        let raw = std::str::from_utf8(&held).unwrap_or_default();
        let text = Text { raw, span: 0..0, escaped: true }.unescape().unwrap_or_default();
        self.field = match std::mem::take(&mut self.field) {
            Field::File => {
                found.push(Reference::File(text.into_owned()));
                Field::Other
            }
            Field::Container | Field::ContainerId => {
                found.push(Reference::Container(text.into_owned()));
                Field::Other
            }
            Field::PreviousMessage => {
                found.push(Reference::Thread(text.into_owned()));
                Field::Other
            }
            Field::Thread => Field::Other,
            Field::Other | Field::Opaque => match &*text {
                "file_id" => Field::File,
                "container" if depth == PARAMS_DEPTH => Field::Container,
                "thread" if depth == PARAMS_DEPTH => Field::Thread,
                "previous_message_id" if self.thread == Some(depth) => Field::PreviousMessage,
                "id" if self.container == Some(depth) => Field::ContainerId,
                name if is_opaque(name) => Field::Opaque,
                _ => Field::Other,
            },
        };
    }
}

/// Body, `requests`, item, `params`.
const PARAMS_DEPTH: usize = 4;
const HELD_MAX_BYTES: usize = 2_048;

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH: &str = r#"{"requests":[{"custom_id":"a","params":{"model":"m","container":"c1","messages":[
        {"role":"user","content":[{"type":"document","source":{"type":"file","file\u005fid":"f1"}},
        {"type":"tool_use","input":{"file_id":"no","container":"no"}}]}],"tools":[{"file_id":"no"}]}},
        {"params":{"container":{"skills":[{"id":"no"}],"id":"c2"},"system":"\"file_id\":\"no\"","x":{"file_id":"f2"}}}]}"#;

    #[test]
    fn the_message_that_an_item_s_thread_continues_is_found() {
        let batch = br#"{"requests":[{"params":{"previous_message_id":"no","thread":{"type":"continue",
            "x":{"previous_message_id":"no"},"previous\u005fmessage_id":"m1"}}},{"params":{"thread":"no",
            "messages":[{"thread":{"previous_message_id":"no"}}],"y":{"previous_message_id":"no"}}}]}"#;
        for size in 1..batch.len() {
            let mut references = References::default();
            let found: Vec<_> = batch
                .chunks(size)
                .flat_map(|chunk| references.feed(&Bytes::copy_from_slice(chunk)).unwrap())
                .collect();
            assert_eq!(found, [Reference::Thread("m1".into())], "cut every {size} bytes");
        }
    }

    #[test]
    fn whatever_the_cut_every_file_and_container_of_a_batch_is_found_and_nothing_else() {
        let expected = [
            Reference::Container("c1".into()),
            Reference::File("f1".into()),
            Reference::Container("c2".into()),
            Reference::File("f2".into()),
        ];
        for size in 1..BATCH.len() {
            let mut references = References::default();
            let found: Vec<_> = BATCH
                .as_bytes()
                .chunks(size)
                .flat_map(|chunk| references.feed(&Bytes::copy_from_slice(chunk)).unwrap())
                .collect();
            assert_eq!(found, expected, "cut every {size} bytes");
        }
    }
}
