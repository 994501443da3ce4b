//! The line of a file that a problem is shown with, with everything hidden that could be a secret.
//!
//! A string is shown only where it is itself the matter and belongs to a key that holds no secret; comments
//! are cut off. Where the text could not be parsed, long words are hidden as well. Lines of more than 240
//! bytes are not shown.

use std::iter;
use std::ops::Range;

/// A source line and the columns of the carets under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Excerpt {
    /// The line, secrets and control characters replaced.
    pub(super) line: String,
    /// In characters, from 0.
    pub(super) caret_column: usize,
    /// In characters, at least 1.
    pub(super) caret_width: usize,
}

/// How much of the value in question may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secrecy {
    /// The value is what it is all about.
    Plain,
    /// The value may be a secret.
    Secret,
    /// Nobody knows what belongs to what.
    Unparsed,
}

impl Excerpt {
    /// Cuts out the line in which `span` (bytes of `text`) begins.
    pub(super) fn of(text: &str, span: &Range<usize>, secrecy: Secrecy) -> Option<Self> {
        let line_start = text.get(..span.start)?.rfind('\n').map_or(0, |at| at + 1);
        let line = text.get(line_start..)?.lines().next().unwrap_or_default();
        if line.len() > LINE_BYTES_MAX {
            return None;
        }
        let start = span.start - line_start;
        let end = (span.end - line_start).min(line.len()).max(start);
        let (shown, hidden) = hide(line, &(start..end), secrecy);
        Some(draw(shown, &hidden, &(start..end)))
    }
}

/// Returns the line without its comment, and the byte ranges to hide, in order.
fn hide<'a>(line: &'a str, span: &Range<usize>, secrecy: Secrecy) -> (&'a str, Vec<Range<usize>>) {
    let (strings, comment) = strings_of(line);
    let shown = comment.and_then(|at| line.get(..at.max(span.end))).unwrap_or(line).trim_end();
    let touches = |string: &Range<usize>| string.start <= span.end && span.start <= string.end;
    let after = line.find('=').map_or(0, |at| at + 1);
    let value_start = line.len() - line.get(after..).unwrap_or_default().trim_start().len();
    let suspicious = line.get(..value_start).is_some_and(|key| {
        let key = key.to_lowercase();
        SECRET_WORDS.iter().any(|word| key.contains(word))
    });
    let hidden = match secrecy {
        // An address with an `@` may hold a password.
        Secrecy::Plain => {
            let hides = |string: &Range<usize>| {
                !touches(string) || line.get(string.clone()).is_some_and(|inside| inside.contains('@'))
            };
            strings.into_iter().filter(hides).collect()
        }
        Secrecy::Secret if line.as_bytes().get(span.start).is_some_and(u8::is_ascii_alphanumeric) => {
            iter::once(value_start..line.len()).collect()
        }
        Secrecy::Secret => strings,
        Secrecy::Unparsed if suspicious => iter::once(value_start..line.len()).collect(),
        Secrecy::Unparsed => long_words(line, value_start),
    };
    (shown, hidden)
}

/// Finds the insides of the quoted strings of a line, and where a comment begins.
fn strings_of(line: &str) -> (Vec<Range<usize>>, Option<usize>) {
    let mut strings = Vec::new();
    let mut open: Option<(u8, usize)> = None;
    let mut escaped = false;
    for (at, byte) in line.bytes().enumerate() {
        match open {
            Some((quote, start)) if byte == quote && !escaped => {
                strings.push(start..at);
                open = None;
            }
            Some((quote, _)) => escaped = quote == b'"' && byte == b'\\' && !escaped,
            None if byte == b'"' || byte == b'\'' => open = Some((byte, at + 1)),
            None if byte == b'#' => return (strings, Some(at)),
            None => {}
        }
    }
    if let Some((_, start)) = open {
        strings.push(start..line.len());
    }
    (strings, None)
}

fn long_words(line: &str, from: usize) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start = from;
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    for (at, byte) in line.bytes().chain([b' ']).enumerate().skip(from) {
        if !is_part(byte) {
            if at - start >= WORD_BYTES_MAX {
                words.push(start..at);
            }
            start = at + 1;
        }
    }
    words
}

fn draw(line: &str, hidden: &[Range<usize>], span: &Range<usize>) -> Excerpt {
    let mut drawn = String::new();
    let mut columns = 0;
    let (mut first, mut last) = (None, 0);
    for (at, letter) in line.char_indices() {
        let inside = hidden.iter().find(|range| range.contains(&at));
        let width = match inside {
            Some(range) if range.start == at => {
                drawn.push_str(MASK);
                MASK.len()
            }
            Some(_) => 0,
            None => {
                drawn.push(if letter.is_control() { ' ' } else { letter });
                1
            }
        };
        if span.contains(&at) || at == span.start {
            let masked = if inside.is_some() && width == 0 { MASK.len() } else { 0 };
            first.get_or_insert(columns - masked);
            last = columns + width;
        }
        columns += width;
    }
    let caret_column = first.unwrap_or(columns);
    Excerpt { line: drawn, caret_column, caret_width: last.saturating_sub(caret_column).max(1) }
}

const LINE_BYTES_MAX: usize = 240;
const WORD_BYTES_MAX: usize = 16;
const MASK: &str = "***";

/// What a key's name holds where its value is likely a secret.
const SECRET_WORDS: [&str; 8] = ["secret", "token", "cred", "key", "hash", "pass", "auth", "env"];
