//! How much model a request needs, with the evidence.
//!
//! First what is certain by form (`form`): the client's own hints, titles, summaries, probes, tiny answers,
//! forced extraction. Where no form fits, a guess from the last user turn's text and the request's shape
//! (`guess`). It does not know prices, models or conversations, and it decides nothing.
//!
//! All numbers are parts per thousand; no floats. At most the first and last 4 KiB of the last user turn are
//! read, so the time is bounded by 25 µs and nothing is allocated but the list of reasons.
//! A request that nothing speaks for or against lands in the middle, where routing leaves it as asked.

mod form;
mod guess;
mod words;

pub use crate::tier::{Complexity, Reason};
use crate::wire::envelope::Envelope;

/// What the request's headers say about it.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestHints<'a> {
    /// `x-claude-code-request-class`.
    pub request_class: Option<&'a str>,
    /// `x-claude-code-auxiliary-type`.
    pub auxiliary_type: Option<&'a str>,
    /// A session id was sent: an agent is at work.
    pub session: bool,
    /// A subagent's id was sent.
    pub agent: bool,
}

/// Returns how much model a request needs.
#[must_use]
pub fn classify(envelope: &Envelope<'_>, hints: &RequestHints<'_>) -> Complexity {
    let counts = words::count(&envelope.history.last_user_text);
    if let Some(reason) = form::certain(envelope, hints, counts) {
        return Complexity { sufficiency: CERTAIN, score_permille: CERTAIN_SCORE, reasons: vec![reason] };
    }
    let guess = guess::guess(envelope, hints, counts);
    Complexity {
        sufficiency: sufficiency(guess.score_permille),
        score_permille: guess.score_permille,
        reasons: guess.reasons,
    }
}

/// Three falling lines through the points where a tier stops reaching 950: 200, 400 and 800.
///
/// The points are chosen, not measured: they leave the middle, where nothing is known, to the asked model.
fn sufficiency(score: u16) -> [u16; 3] {
    let haiku = if score <= 200 { 1_000 - score / 4 } else { 950 - (score - 200) * 5 / 8 };
    let sonnet = if score <= 400 { 1_000 - score / 8 } else { 950 - (score - 400) / 2 };
    let opus = 1_000 - score / 16;
    [haiku, sonnet.max(haiku), opus.max(sonnet)]
}

/// Sufficiency of each tier where the form is certain; not 1,000, because forms can be misread.
const CERTAIN: [u16; 3] = [980, 990, 995];
const CERTAIN_SCORE: u16 = 50;

#[cfg(test)]
mod tests;
