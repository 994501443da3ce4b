//! Giving an answer the texts back that were replaced in its prompt.
//!
//! Placeholders are looked for in what the model wrote: texts, calls of tools, citations. Thinking passes as it came,
//! as it is signed. An answer without a placeholder is the same bytes as before.

mod stream;

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use aho_corasick::AhoCorasick;

use super::placeholder::PREFIX;
use crate::wire::json::{Plain, Text, quote};
use crate::wire::texts::Texts;

pub use stream::Stream;

/// What placeholders of one request stand for.
pub struct Restoration {
    finder: AhoCorasick,
    placeholders: Vec<String>,
    /// As they are written in a string, in the order of `placeholders`.
    written: Vec<String>,
    /// As they are written in JSON inside a string.
    written_twice: Vec<String>,
    longest: usize,
}

/// How deep in JSON a text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    /// In a string.
    Once,
    /// In JSON inside a string.
    Twice,
}

impl Restoration {
    /// Returns how what these placeholders stand for is put back; `None` for none.
    pub(super) fn of(originals: HashMap<String, String>) -> Option<Self> {
        if originals.is_empty() {
            return None;
        }
        let (placeholders, texts): (Vec<String>, Vec<String>) = originals.into_iter().unzip();
        let finder = AhoCorasick::new(&placeholders).ok()?;
        let longest = placeholders.iter().map(String::len).max().unwrap_or(0);
        let written: Vec<String> = texts.iter().map(|text| inside(text)).collect();
        let written_twice = written.iter().map(|text| inside(text)).collect();
        Some(Self { finder, placeholders, written, written_twice, longest })
    }

    /// Puts everything back in an answer that is whole; `None` where nothing in it changes.
    #[must_use]
    pub fn whole(&self, body: &[u8]) -> Option<Vec<u8>> {
        let texts = Texts::of_answer(body, false).ok()?;
        self.strings(body, 0, &texts.all)
    }

    /// Puts everything back in strings of a document that stands at `begin` of `body`.
    fn strings(&self, body: &[u8], begin: usize, texts: &[Text<'_>]) -> Option<Vec<u8>> {
        let mut edits: Vec<(Range<usize>, &str)> = Vec::new();
        for text in texts {
            let plain = Plain::of(text);
            let start = begin + text.span.start + 1;
            edits.extend(self.finder.find_iter(&*plain.text).map(|hit| {
                let at = start + plain.raw(hit.start())..start + plain.raw(hit.end());
                (at, self.replacement(hit.pattern().as_usize(), Depth::Once))
            }));
        }
        if edits.is_empty() {
            return None;
        }
        edits.sort_by_key(|(at, _)| at.start);
        let mut output = Vec::with_capacity(body.len());
        let mut passed = 0;
        for (at, text) in edits {
            output.extend_from_slice(body.get(passed..at.start).unwrap_or_default());
            output.extend_from_slice(text.as_bytes());
            passed = at.end;
        }
        output.extend_from_slice(body.get(passed..).unwrap_or_default());
        Some(output)
    }

    fn replacement(&self, index: usize, depth: Depth) -> &str {
        let written = if depth == Depth::Once { &self.written } else { &self.written_twice };
        written.get(index).map_or("", String::as_str)
    }

    /// Returns from where on a text may be the beginning of a placeholder that goes on behind it.
    fn held_from(&self, text: &str) -> usize {
        let window = text.len().saturating_sub(self.longest.saturating_sub(1));
        let bytes = text.as_bytes();
        let first = PREFIX.as_bytes().first().copied().unwrap_or_default();
        let mut starts =
            memchr::memchr_iter(first, bytes.get(window..).unwrap_or_default()).map(|at| window + at);
        let begins = |at: &usize| {
            let tail = bytes.get(*at..).unwrap_or_default();
            self.placeholders
                .iter()
                .any(|whole| whole.len() > tail.len() && whole.as_bytes().starts_with(tail))
        };
        starts.find(begins).unwrap_or(text.len())
    }
}

/// No text is shown.
impl fmt::Debug for Restoration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Restoration")
            .field("placeholders", &self.placeholders.len())
            .finish_non_exhaustive()
    }
}

/// Returns a text as it is written between the quotes of a string.
fn inside(text: &str) -> String {
    let quoted = quote(text);
    quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
