//! Rewriting the models of a batch while its body streams through: 256 MB are never held, only the name at hand.
//!
//! Found is the string at `requests[*].params.model`, by its exact place; every other byte passes as it came.
//! Refused: JSON that is broken or deeper than 128 levels, a body without `requests`, an item without a model,
//! and `requests`, `params`, `model` or `max_tokens` given twice or under an escape at those places. Whether the
//! text is UTF-8 is checked in model names only. A refusal may come when part of the body has been sent.

mod lexer;
mod named;
mod results;

use bytes::Bytes;
use lexer::{Lexer, Token};
use named::{Names, PARAMS_DEPTH};

pub use named::{Named, NamedKind};
pub use results::ResultReader;

use crate::wire::json::{Malformed, Text, quote};

/// Rewrites one body.
#[derive(Debug, Default)]
pub struct BatchRewriter {
    lexer: Lexer,
    offset: usize,
    /// How many of the open containers lead to a model: body, `requests`, item, `params`.
    on_path: usize,
    field: Field,
    /// Of body, item and params each: the fields seen, one bit each.
    seen: [u8; 3],
    capture: Capture,
    /// The raw text being captured, without quotes.
    held: Vec<u8>,
    item: Item,
    names: Names,
    summary: BatchSummary,
}

/// What a batch asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchSummary {
    /// How many requests it holds.
    pub items: u64,
    /// The same by the model sent; at most 64.
    pub models: Vec<BatchModel>,
}

/// What a batch asks of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchModel {
    /// The model as sent, after replacement.
    pub model: String,
    /// How many requests name it.
    pub items: u64,
    /// The sum of their `max_tokens`; an absent one adds nothing.
    pub max_tokens: u64,
    /// The sum of the sizes of their `params`, as received.
    pub params_bytes: u64,
}

#[derive(Debug, Default)]
struct Item {
    model: Option<String>,
    max_tokens: u64,
    begin: usize,
}

/// The field whose value is next, of a container on the path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Field {
    #[default]
    Other,
    Requests,
    Params,
    Model,
    MaxTokens,
}

/// What the bytes at hand are kept for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Capture {
    #[default]
    Nothing,
    Name,
    Model,
    MaxTokens,
    DeepName,
    NamedId,
}

impl BatchRewriter {
    /// Reads the next chunk and returns what to send for it. `replace` is asked with each model named, and
    /// answers with another one or with `None` to leave it.
    pub fn feed(
        &mut self,
        chunk: &Bytes,
        mut replace: impl FnMut(&str) -> Option<String>,
    ) -> Result<Vec<Bytes>, Malformed> {
        let mut output = Vec::new();
        let (mut at, mut unsent) = (0usize, 0usize);
        while at < chunk.len() {
            let position = self.offset.saturating_add(at);
            let (used, token) = self.lexer.next(chunk.get(at..).unwrap_or_default(), position)?;
            let part = at..at.saturating_add(used).min(chunk.len());
            at = part.end;
            let was_model = self.capture == Capture::Model;
            let ended = self.take(&token, chunk.get(part.clone()).unwrap_or_default(), position)?;
            if self.capture == Capture::Model && !was_model {
                push(&mut output, chunk.slice(unsent..part.start));
            }
            if ended {
                output.push(self.end_model(&mut replace, position)?);
            }
            if was_model {
                unsent = at;
            }
        }
        if self.capture != Capture::Model {
            push(&mut output, chunk.slice(unsent..));
        }
        self.offset = self.offset.saturating_add(chunk.len());
        Ok(output)
    }

    /// Returns the upstream objects named by what was fed since this was last asked.
    pub fn named(&mut self) -> Vec<Named> {
        self.names.found()
    }

    /// Checks that the body has ended and returns what it asked for.
    pub fn finish(self) -> Result<BatchSummary, Malformed> {
        self.lexer.end(self.offset)?;
        Ok(self.summary)
    }

    /// Follows one token; tells whether it ended a model's name.
    fn take(&mut self, token: &Token, bytes: &[u8], position: usize) -> Result<bool, Malformed> {
        let here = self.on_path == self.lexer.depth();
        if matches!(token, Token::Open { .. } | Token::ScalarBegin) {
            self.names.pass();
        }
        match token {
            Token::Between => {}
            Token::StringBegin { name: false } if self.names.expects() => self.begin(Capture::NamedId),
            Token::StringBegin { name: true } if !here && self.on_path == PARAMS_DEPTH => {
                self.begin(Capture::DeepName);
            }
            Token::Open { object } => self.open(*object, position)?,
            Token::Close => self.close(position)?,
            Token::StringBegin { name: true } if here => self.begin(Capture::Name),
            Token::StringBegin { name: false } if here => self.begin_value(true, position)?,
            Token::ScalarBegin if here => self.begin_value(false, position)?,
            Token::StringBegin { .. } | Token::ScalarBegin => {}
            Token::Part => self.keep(bytes, position)?,
            Token::StringEnd { escaped } => match self.capture {
                Capture::Name => self.end_name(*escaped, position)?,
                Capture::Model => return Ok(true),
                Capture::DeepName => {
                    self.capture = Capture::Nothing;
                    self.names.deep_field(&self.held, *escaped, self.lexer.depth());
                }
                Capture::NamedId => {
                    self.capture = Capture::Nothing;
                    self.names.take(&self.held, *escaped, self.summary.items);
                }
                Capture::Nothing | Capture::MaxTokens => {}
            },
            Token::ScalarEnd => {
                if std::mem::take(&mut self.capture) == Capture::MaxTokens {
                    let digits = std::str::from_utf8(&self.held).ok();
                    let number = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
                    self.item.max_tokens = number
                        .and_then(|digits| digits.parse().ok())
                        .ok_or_else(|| self.refuse("Input should be a valid integer", position))?;
                }
            }
        }
        Ok(false)
    }

    fn open(&mut self, object: bool, position: usize) -> Result<(), Malformed> {
        let depth = self.lexer.depth();
        if self.on_path + 1 != depth {
            return Ok(());
        }
        let (leads, wants_object) = match (depth, self.field) {
            (1 | 3, _) | (4, Field::Params) => (true, true),
            (2, Field::Requests) => (true, false),
            (5, Field::Model) => return Err(self.refuse("Input should be a valid string", position)),
            (5, Field::MaxTokens) => return Err(self.refuse("Input should be a valid integer", position)),
            _ => (false, object),
        };
        if object != wants_object {
            return Err(self.wrong_kind(position));
        }
        if leads {
            self.on_path = depth;
            self.field = Field::Other;
            if depth >= 3 {
                self.set_seen(depth, 0);
            }
            if depth == 4 {
                self.item = Item { begin: position, ..Item::default() };
            }
        }
        Ok(())
    }

    fn close(&mut self, position: usize) -> Result<(), Malformed> {
        let depth = self.lexer.depth() + 1;
        if self.on_path != depth {
            return Ok(());
        }
        self.on_path = depth - 1;
        let missing = |field| if self.seen_at(depth) & bit(field) == 0 { Some(field) } else { None };
        let missing = match depth {
            1 => missing(Field::Requests),
            3 => missing(Field::Params),
            4 => missing(Field::Model),
            _ => None,
        };
        if let Some(field) = missing {
            self.field = field;
            return Err(self.refuse("Field required", position));
        }
        match depth {
            3 => self.summary.items = self.summary.items.saturating_add(1),
            4 => self.add_item(position)?,
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, capture: Capture) {
        self.capture = capture;
        self.held.clear();
    }

    fn begin_value(&mut self, string: bool, position: usize) -> Result<(), Malformed> {
        match (self.lexer.depth(), self.field) {
            (0 | 2, _) | (1, Field::Requests) | (3, Field::Params) => return Err(self.wrong_kind(position)),
            (4, Field::Model) if string => self.begin(Capture::Model),
            (4, Field::Model) => return Err(self.refuse("Input should be a valid string", position)),
            (4, Field::MaxTokens) if string => {
                return Err(self.refuse("Input should be a valid integer", position));
            }
            (4, Field::MaxTokens) => self.begin(Capture::MaxTokens),
            _ => {}
        }
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8], position: usize) -> Result<(), Malformed> {
        if self.capture == Capture::Nothing {
            return Ok(());
        }
        if self.held.len().saturating_add(bytes.len()) <= MAX_HELD_BYTES {
            self.held.extend_from_slice(bytes);
            return Ok(());
        }
        match self.capture {
            Capture::Model => Err(self.refuse("String should have at most 1024 characters", position)),
            Capture::MaxTokens => Err(self.refuse("Input should be a valid integer", position)),
            Capture::NamedId => Err(self.refuse("an id should have at most 1024 characters", position)),
            Capture::Name | Capture::DeepName | Capture::Nothing => {
                // Longer than any name that matters, even if every letter of it were escaped.
                if self.capture == Capture::Name {
                    self.field = Field::Other;
                    self.names.field(None);
                }
                self.capture = Capture::Nothing;
                Ok(())
            }
        }
    }

    fn end_name(&mut self, escaped: bool, position: usize) -> Result<(), Malformed> {
        self.capture = Capture::Nothing;
        let depth = self.lexer.depth();
        let raw = std::str::from_utf8(&self.held).unwrap_or_default();
        let name = Text { raw, span: 0..0, escaped }.unescape();
        self.field = match (depth, name.as_deref()) {
            (1, Some("requests")) => Field::Requests,
            (3, Some("params")) => Field::Params,
            (4, Some("model")) => Field::Model,
            (4, Some("max_tokens")) => Field::MaxTokens,
            _ => Field::Other,
        };
        if depth == PARAMS_DEPTH {
            self.names.field(name.as_deref());
        }
        if self.field == Field::Other {
            return Ok(());
        }
        if escaped {
            return Err(self.refuse("written with an escape in its name", position));
        }
        let seen = self.seen_at(depth);
        if seen & bit(self.field) != 0 {
            return Err(self.refuse("given twice", position));
        }
        self.set_seen(depth, seen | bit(self.field));
        Ok(())
    }

    fn end_model(
        &mut self,
        replace: &mut impl FnMut(&str) -> Option<String>,
        position: usize,
    ) -> Result<Bytes, Malformed> {
        self.capture = Capture::Nothing;
        let invalid = |_| self.refuse("Input should be a valid string", position);
        let raw = std::str::from_utf8(&self.held).map_err(|_| invalid(()))?;
        let asked = Text { raw, span: 0..0, escaped: true }.unescape().ok_or(()).map_err(invalid)?;
        let (sent, bytes) = match replace(&asked) {
            Some(model) => (model.clone(), quote(&model)),
            None => (asked.into_owned(), format!("\"{raw}\"")),
        };
        self.item.model = Some(sent);
        Ok(Bytes::from(bytes))
    }

    fn add_item(&mut self, position: usize) -> Result<(), Malformed> {
        let Item { model, max_tokens, begin } = std::mem::take(&mut self.item);
        let model = model.unwrap_or_default();
        let models = &mut self.summary.models;
        let index = models.iter().position(|known| known.model == model).unwrap_or(models.len());
        if index == models.len() {
            if index >= MAX_MODELS {
                let message = "requests: a batch may name at most 64 models".to_owned();
                return Err(Malformed { message, offset: position });
            }
            models.push(BatchModel { model, items: 0, max_tokens: 0, params_bytes: 0 });
        }
        if let Some(entry) = models.get_mut(index) {
            entry.items = entry.items.saturating_add(1);
            entry.max_tokens = entry.max_tokens.saturating_add(max_tokens);
            let bytes = position.saturating_add(1).saturating_sub(begin);
            entry.params_bytes = entry.params_bytes.saturating_add(bytes as u64);
        }
        Ok(())
    }

    fn seen_at(&self, depth: usize) -> u8 {
        self.seen.get(level(depth)).copied().unwrap_or(0)
    }

    fn set_seen(&mut self, depth: usize, bits: u8) {
        if let Some(seen) = self.seen.get_mut(level(depth)) {
            *seen = bits;
        }
    }

    fn wrong_kind(&self, position: usize) -> Malformed {
        let (depth, field) = (self.on_path, self.field);
        let item = self.summary.items;
        let message = match (depth, field) {
            (1, Field::Requests) => "requests: Input should be a valid list".to_owned(),
            (2, _) => format!("requests.{item}: Input should be a valid dictionary"),
            (3, _) => format!("requests.{item}.params: Input should be a valid dictionary"),
            _ => "the body should be a JSON object".to_owned(),
        };
        Malformed { message, offset: position }
    }

    fn refuse(&self, what: &str, position: usize) -> Malformed {
        let item = self.summary.items;
        let path = match self.field {
            Field::Requests | Field::Other => "requests".to_owned(),
            Field::Params => format!("requests.{item}.params"),
            Field::Model => format!("requests.{item}.params.model"),
            Field::MaxTokens => format!("requests.{item}.params.max_tokens"),
        };
        Malformed { message: format!("{path}: {what}"), offset: position }
    }
}

/// The place in `seen` of the object at a depth: body, item, params.
const fn level(depth: usize) -> usize {
    depth.saturating_sub(2)
}

const fn bit(field: Field) -> u8 {
    1 << field as u8
}

fn push(output: &mut Vec<Bytes>, part: Bytes) {
    if !part.is_empty() {
        output.push(part);
    }
}

const MAX_HELD_BYTES: usize = 1_024;
const MAX_MODELS: usize = 64;

#[cfg(test)]
mod tests;
