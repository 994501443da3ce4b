//! What a request's text and form say about the model it needs.
//!
//! First what is certain by form (`form`): the client's own hints, titles, summaries, probes, tiny answers, forced
//! extraction, a plain short question. Then the trained model (`weights`), which reads integers counted over the text
//! and tools (`features`) and returns how well each tier would answer. It does not know workloads, prices or
//! conversations, and it decides nothing: words say little about requests of a kind never seen, so what comes of them
//! is the workload's to weigh.
//!
//! At most the first and last 4 KiB of the last user turn and the first 4 KiB of the tools are read, on the stack.

mod features;
mod form;
mod text;
mod traits;
mod weights;

pub use crate::tier::{Judged, Logits, Reason};
pub use weights::{Weights, WeightsProblem};

use crate::wire::envelope::Envelope;
use features::Features;

/// What the request's headers say about it.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestHints<'a> {
    /// `x-claude-code-request-class`.
    pub request_class: Option<&'a str>,
    /// `x-claude-code-auxiliary-type`.
    pub auxiliary_type: Option<&'a str>,
}

/// Returns what a request's text and form say.
#[must_use]
pub fn classify(envelope: &Envelope<'_>, hints: &RequestHints<'_>, weights: &Weights) -> Judged {
    let features = Features::of(envelope, &weights.lexicon);
    Judged {
        hinted: form::hinted(hints),
        formed: form::certain(envelope, &features),
        logits: weights.logits(&features),
    }
}

#[cfg(test)]
mod tests;
