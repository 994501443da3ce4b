//! A string's meaning with the way back: which bytes of the document each part of it was written with.

use std::borrow::Cow;

use super::Text;
use super::text::escape;

/// A string as it is meant; whatever is found in it can be replaced where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plain<'a> {
    /// The meaning; half of a surrogate pair is read as U+FFFD.
    pub text: Cow<'a, str>,
    escapes: Vec<Escape>,
}

/// Where an escape stands, in the meaning and in what is written between the quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Escape {
    plain_end: usize,
    raw_start: usize,
    raw_end: usize,
    plain_start: usize,
}

impl<'a> Plain<'a> {
    /// Reads a string.
    #[must_use]
    pub fn of(text: &Text<'a>) -> Self {
        if !text.escaped {
            return Self { text: Cow::Borrowed(text.raw), escapes: Vec::new() };
        }
        let (raw, mut meaning, mut escapes) = (text.raw, String::with_capacity(text.raw.len()), Vec::new());
        let mut at = 0;
        while let Some(found) = raw.get(at..).and_then(|rest| memchr::memchr(b'\\', rest.as_bytes())) {
            let start = at + found;
            meaning.push_str(raw.get(at..start).unwrap_or_default());
            let (character, length) =
                raw.get(start..).and_then(escape).unwrap_or((char::REPLACEMENT_CHARACTER, LONE_BYTES));
            let plain_start = meaning.len();
            meaning.push(character);
            at = start.saturating_add(length).min(raw.len());
            escapes.push(Escape { plain_start, plain_end: meaning.len(), raw_start: start, raw_end: at });
        }
        meaning.push_str(raw.get(at..).unwrap_or_default());
        Self { text: Cow::Owned(meaning), escapes }
    }

    /// Returns where between the quotes that stands which begins at byte `at` of the meaning.
    #[must_use]
    pub fn raw(&self, at: usize) -> usize {
        let before = self.escapes.partition_point(|escape| escape.plain_end <= at);
        let passed = before.checked_sub(1).and_then(|index| self.escapes.get(index));
        let (plain, raw) = passed.map_or((0, 0), |escape| (escape.plain_end, escape.raw_end));
        match self.escapes.get(before) {
            // Within an escape only its beginning is a place.
            Some(escape) if escape.plain_start < at => escape.raw_start,
            _ => raw + (at - plain),
        }
    }
}

/// Bytes of an escape that means half of a pair.
const LONE_BYTES: usize = 6;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::json::Cursor;

    fn plain(document: &str) -> (String, Plain<'_>) {
        let text = Cursor::new(document.as_bytes()).unwrap().string().unwrap();
        (text.raw.to_owned(), Plain::of(&text))
    }

    proptest! {
        #[test]
        fn every_character_is_found_where_it_was_written(
            parts in prop::collection::vec(
                prop::sample::select(vec!["a", "é", "\\n", "\\u0041", "\\ud83d\\ude00", "\\ud800", "\\\"", "漢"]), 0..20)
        ) {
            let document = format!("\"{}\"", parts.concat());
            let (raw, plain) = plain(&document);
            let mut at = 0;
            for (index, (place, _)) in plain.text.char_indices().enumerate() {
                prop_assert_eq!(plain.raw(place), at);
                at += parts[index].len();
            }
            prop_assert_eq!(plain.raw(plain.text.len()), raw.len());
        }
    }

    #[test]
    fn escapes_mean_what_the_standard_says() {
        let (_, plain) = plain(r#""a\u0041\n\ud83d\ude00\ud800x""#);
        assert_eq!(plain.text, "aA\n😀\u{fffd}x");
    }
}
