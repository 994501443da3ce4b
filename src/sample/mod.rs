//! Two answers to one request held against each other: are they the same, and if not, is the cheaper model's worse?
//!
//! [`alike`] settles what needs no opinion; [`judge_request`] and [`verdict`] put the rest to a judge model, twice
//! with the answers' places exchanged, and believe only what it says both times. Nothing here asks anybody.

mod judge;

pub use judge::{Preference, judge_request, shown, task, verdict};

use serde_json::Value;

use crate::journal::Ground;
use crate::wire::transcript::Transcript;

/// Returns in what way two answers are the same; `None` where they are not.
#[must_use]
pub fn alike(one: &Transcript, other: &Transcript) -> Option<Ground> {
    if !one.calls.is_empty() || !other.calls.is_empty() {
        // What is said beside the same call changes nothing that happens next.
        return (one.calls == other.calls).then_some(Ground::Calls);
    }
    if words(&one.text).eq(words(&other.text)) {
        return Some(Ground::Text);
    }
    let value = |answer: &Transcript| serde_json::from_str::<Value>(unfenced(&answer.text)).ok();
    let same = value(one).is_some_and(|value_of_one| value(other).as_ref() == Some(&value_of_one));
    same.then_some(Ground::Json)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace()
}

/// The inside of an answer that is one fenced block and nothing else.
fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let inside = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    inside.map_or(text, |inside| inside.strip_prefix("json").unwrap_or(inside))
}

#[cfg(test)]
mod tests;
