//! The guess where no form is certain: points for and against, summed from a middle that means "as asked".
//!
//! A prompt's words say little about the model it needs, so the points are few, the middle is wide, and a lower
//! tier is reached only where several signs agree.

use super::words::Counts;
use super::{Reason, RequestHints};
use crate::wire::envelope::Envelope;

/// A difficulty and what made it.
pub(super) struct Guess {
    pub(super) score_permille: u16,
    pub(super) reasons: Vec<Reason>,
}

/// Returns the guess.
pub(super) fn guess(envelope: &Envelope<'_>, hints: &RequestHints<'_>, counts: Counts) -> Guess {
    let mut sum = Sum { score: MIDDLE, reasons: Vec::with_capacity(8) };
    text(envelope, counts, &mut sum);
    shape(envelope, hints, &mut sum);
    asked(envelope, &mut sum);
    Guess { score_permille: u16::try_from(sum.score.clamp(0, 1_000)).unwrap_or(1_000), reasons: sum.reasons }
}

struct Sum {
    score: i16,
    reasons: Vec<Reason>,
}

impl Sum {
    /// Scores stay far from the ends of `i16`: at most 16 weights of at most 300.
    fn add(&mut self, applies: bool, code: &'static str, weight: i16) {
        if applies {
            self.score = self.score.saturating_add(weight);
            self.reasons.push(Reason { code, weight });
        }
    }
}

fn text(envelope: &Envelope<'_>, counts: Counts, sum: &mut Sum) {
    let pieces = &envelope.history.last_user_text;
    let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
    let Counts { maths, code, steps, plain } = counts;
    match bytes {
        0 => {}
        1..=64 => sum.add(true, "text-very-short", -250),
        65..=280 => sum.add(true, "text-short", -130),
        281..=2_000 => {}
        2_001..=8_000 => sum.add(true, "text-long", 100),
        _ => sum.add(true, "text-very-long", 200),
    }
    sum.add((1..3).contains(&maths), "maths", 120);
    sum.add(maths >= 3, "maths-heavy", 250);
    sum.add((2..6).contains(&code), "code", 100);
    sum.add(code >= 6, "code-heavy", 180);
    sum.add((1..3).contains(&steps), "steps", 80);
    sum.add(steps >= 3, "steps-many", 180);
    sum.add(plain >= 1 && maths == 0 && code < 2 && steps == 0, "plain-task", -150);
}

fn shape(envelope: &Envelope<'_>, hints: &RequestHints<'_>, sum: &mut Sum) {
    let tools = envelope.tool_list.len();
    sum.add((1..=5).contains(&tools), "tools", 80);
    sum.add(tools > 5, "tools-many", 180);
    sum.add(envelope.history.images > 0, "images", 80);
    sum.add(envelope.history.documents > 0, "documents", 100);
    sum.add(envelope.history.assistant_messages > 0, "conversation", 60);
    sum.add(envelope.system.is_some_and(|system| system.len() > SYSTEM_BYTES), "system-long", 80);
    sum.add(hints.session || hints.agent, "agent", 80);
}

fn asked(envelope: &Envelope<'_>, sum: &mut Sum) {
    match envelope.effort.as_deref() {
        Some("low") => sum.add(true, "effort-low", -100),
        Some("high") => sum.add(true, "effort-high", 100),
        Some("xhigh" | "max") => sum.add(true, "effort-top", 250),
        _ => {}
    }
    let thinking = envelope.thinking.as_ref().is_some_and(|thinking| thinking.kind != "disabled");
    sum.add(thinking, "thinking-asked", 80);
    let short = envelope.max_tokens.is_some_and(|tokens| (1..=256).contains(&tokens));
    sum.add(short, "answer-short", -60);
}

/// Where nothing is known; above 400, so that no lower tier reaches the usual quality target by itself.
const MIDDLE: i16 = 450;
const SYSTEM_BYTES: usize = 8_192;
