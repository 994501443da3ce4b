//! What outcomes have taught about each kind of work, and what follows for one request.
//!
//! Which workload a request belongs to (`fingerprint`) says more about the model it needs than its words do. For each
//! workload and tier there is a posterior (`posterior`) of how good the answers are, kept in a bounded table by tenant
//! (`table`) and written down between runs (`written`). [`weigh`] puts together what the text says and what is known.

mod care;
mod fingerprint;
mod posterior;
mod table;
mod trend;
mod trouble;
mod written;

pub use care::{Break, Care, Cause, KeptCare, Treatment};
pub use fingerprint::{Fingerprints, Level, name};
pub use posterior::{Pair, Posterior, Tally};
pub use table::{Belonging, Known, Outcome, Watched, Workloads};
pub use trouble::{Sign, Troubles};
pub use written::{WorkloadsProblem, Written, load, read, save, write};

use crate::tier::{Complexity, Judged, Logits, Reason};
use posterior::{natural, sigmoid};

/// Name of the file beside the journal.
pub const FILE: &str = "workloads.jsonl";

/// Returns how hard a request is, -1 to 1: how much more quality opus is expected to give than haiku.
#[must_use]
pub fn difficulty(judged: &Judged, known: Option<&Known>) -> f64 {
    let [haiku, _, opus] = quality(&judged.logits, known);
    opus - haiku
}

/// Returns how much model a request needs, by its client's hint, by its workload's outcomes, by its form, or by its
/// text, whichever of them speaks first.
///
/// Text alone never reaches the usual quality: of a kind of task it was not trained on it knows nothing, and it cannot
/// tell that it does not.
#[must_use]
pub fn weigh(judged: &Judged, known: Option<&Known>) -> Complexity {
    if let Some(reason) = judged.hinted {
        return certain(reason);
    }
    let taught = known.and_then(|known| {
        let [haiku, sonnet] = known.lost.map(|lost| 1.0 - lost);
        // What sonnet has trouble with as well is not held against haiku beside it.
        let kept = [haiku, sonnet, (haiku / sonnet.max(f64::MIN_POSITIVE)).min(1.0)];
        let mut shares = Pair::ALL.map(|pair| known.posterior.sufficiency(pair, &judged.logits));
        for (share, kept) in shares.iter_mut().zip(kept) {
            *share = share.map(|share| share * kept);
        }
        shares.iter().any(Option::is_some).then(|| shares.map(Option::unwrap_or_default))
    });
    let by_text = score(difficulty(judged, None));
    if let (Some(known), Some(shares)) = (known, taught) {
        let now = score(difficulty(judged, Some(known)));
        let reasons = vec![
            Reason { code: "text", weight: by_text - MIDDLE },
            Reason { code: known.level.code(), weight: now - by_text },
        ];
        return complexity(shares, now, reasons);
    }
    if let Some(reason) = judged.formed {
        return certain(reason);
    }
    let [haiku, sonnet, opus] = quality(&judged.logits, None);
    let shares = [haiku / opus, sonnet / opus, haiku / sonnet].map(|share| share.min(TEXT_ALONE_MAX));
    complexity(shares, by_text, vec![Reason { code: "text", weight: by_text - MIDDLE }])
}

/// Returns the share of full marks that is expected of haiku's, sonnet's and opus's answer.
#[must_use]
pub fn quality(logits: &Logits, known: Option<&Known>) -> [f64; 3] {
    match known {
        Some(known) => known.posterior.quality(logits),
        None => logits.quality.map(|logit| sigmoid(natural(logit))),
    }
}

fn certain(reason: Reason) -> Complexity {
    Complexity {
        sufficiency: CERTAIN,
        beside_sonnet: CERTAIN[0],
        score_permille: CERTAIN_SCORE,
        reasons: vec![reason],
    }
}

/// Of the shares that haiku and sonnet hold beside opus, and haiku beside sonnet.
fn complexity(shares: [f64; 3], score: i16, reasons: Vec<Reason>) -> Complexity {
    let [haiku, sonnet, beside_sonnet] = shares.map(permille);
    Complexity {
        sufficiency: [haiku, sonnet.max(haiku), 1_000],
        beside_sonnet: beside_sonnet.max(haiku),
        score_permille: score.unsigned_abs(),
        reasons,
    }
}

/// 0 to 1,000; 500 where haiku and opus are expected to do alike.
fn score(difficulty: f64) -> i16 {
    i16::try_from(permille(0.5 + difficulty / 2.0)).unwrap_or(MIDDLE)
}

fn permille(share: f64) -> u16 {
    (share * 1_000.0).round().clamp(0.0, 1_000.0) as u16
}

/// Sufficiency of each tier where the form is certain; not 1,000, because forms can be misread.
const CERTAIN: [u16; 3] = [980, 990, 995];
const CERTAIN_SCORE: u16 = 50;
/// Most that text alone can say for a tier.
const TEXT_ALONE_MAX: f64 = 0.9;
const MIDDLE: i16 = 500;

#[cfg(test)]
mod tests;
