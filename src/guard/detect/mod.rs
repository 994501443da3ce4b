//! Finding what guards look for in a text.
//!
//! Every known form is a regular expression and a test of what it found: a checksum, a range, a header that reads as
//! one. What stands within a longer word is never it. Expressions are matched in time linear in the text; what begins
//! at a find that failed its test is tried again only where the expression is short.

mod personal;
mod secrets;
mod suspicious;

use std::ops::Range;
use std::sync::LazyLock;

use regex::{Match, Regex};

use crate::config::{Detector, Guard};

/// Something found in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Where, in bytes of the text.
    pub(super) at: Range<usize>,
    /// What; `None` for a guard's own pattern.
    pub(super) what: Option<Detector>,
}

/// An expression of ours; `None` only if it did not compile, which a test rules out.
pub(super) type Form = LazyLock<Option<Regex>>;

/// Returns what a guard finds in a text, in order of place; of what overlaps the first detector's counts.
pub(super) fn find(guard: &Guard, text: &str) -> Vec<Found> {
    let mut found = Vec::new();
    for detector in &guard.detect {
        let mut add = |at: Range<usize>| found.push(Found { at, what: Some(*detector) });
        match detector {
            Detector::Email => personal::emails(text, &mut add),
            Detector::Iban => personal::ibans(text, &mut add),
            Detector::CreditCard => personal::cards(text, &mut add),
            Detector::Phone => personal::phones(text, &mut add),
            Detector::UsSsn => personal::ssns(text, &mut add),
            Detector::IpAddress => personal::addresses(text, &mut add),
            Detector::Injection => suspicious::injections(text, &mut add),
            Detector::HiddenText => suspicious::hidden(text, &mut add),
            secret => secrets::find(*secret, text, &mut add),
        }
    }
    for pattern in &guard.patterns {
        found.extend(pattern.find_iter(text).map(|hit| Found { at: hit.range(), what: None }));
    }
    without_overlaps(found)
}

/// Keeps of finds that overlap the one found first.
fn without_overlaps(found: Vec<Found>) -> Vec<Found> {
    let mut kept: Vec<Found> = Vec::with_capacity(found.len());
    let mut ordered: Vec<(usize, Found)> = found.into_iter().enumerate().collect();
    ordered.sort_by_key(|(rank, found)| (found.at.start, *rank));
    for (_, next) in ordered {
        match kept.last_mut() {
            Some(last) if next.at.start < last.at.end => {
                // The earlier detector speaks, for all that any of them found, so that no part is left over.
                last.what = last.what.min(next.what).or(last.what).or(next.what);
                last.at.end = last.at.end.max(next.at.end);
            }
            _ => kept.push(next),
        }
    }
    kept
}

/// What becomes of a search where a find failed its test.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// Goes on behind it.
    Behind,
    /// Goes on within it; for expressions that match some dozens of bytes at most.
    Within,
}

/// Calls `add` with what `test` makes of each match.
fn each(
    form: &Form,
    text: &str,
    then: Then,
    test: impl Fn(Match<'_>) -> Option<Range<usize>>,
    add: &mut impl FnMut(Range<usize>),
) {
    let Some(form) = &**form else { return };
    let mut at = 0;
    while let Some(hit) = form.find_at(text, at) {
        match test(hit).filter(|range| range.end > at) {
            Some(range) => {
                at = range.end;
                add(range);
            }
            None if then == Then::Behind => at = hit.end(),
            None => at = next_word(text, hit.start()),
        }
    }
}

/// Returns the next place behind `at` where a word may begin, so that a run of letters or digits is tried once.
fn next_word(text: &str, at: usize) -> usize {
    let Some((before, rest)) = text.split_at_checked(at) else { return text.len() };
    let word: usize = rest.chars().take_while(|next| is_word(*next)).map(char::len_utf8).sum();
    let first = rest.chars().next().map_or(1, char::len_utf8);
    // Behind a backslash the first letter may be an escape's, and the word begin behind it.
    at + if before.ends_with('\\') { first } else { word.max(first) }
}

/// Tells whether what stands there is no part of a longer word.
fn stands_alone(text: &str, at: &Range<usize>) -> bool {
    begins_word(text, at.start)
        && !text.get(at.end..).and_then(|rest| rest.chars().next()).is_some_and(is_word)
}

/// Tells whether a word may begin at `at`. The letter of an escape, as in JSON inside a string, is no part of one.
fn begins_word(text: &str, at: usize) -> bool {
    let Some((before, rest)) = text.split_at_checked(at) else { return false };
    let mut before = before.chars();
    match before.next_back() {
        Some('\\') => !rest.starts_with(ESCAPES),
        Some(letter) if ESCAPES.contains(&letter) && before.next_back() == Some('\\') => true,
        Some(character) => !is_word(character),
        None => true,
    }
}

/// Letters of escapes for white space.
const ESCAPES: [char; 3] = ['n', 'r', 't'];

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Compiles one of our own expressions.
macro_rules! form {
    ($text:expr) => {
        LazyLock::new(|| Regex::new($text).ok())
    };
}
use form;

#[cfg(test)]
mod tests;
