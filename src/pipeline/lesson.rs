//! What a sampled request teaches of its workload when it was asked again.

use super::sampled::Case;
use super::signals::ended_badly;
use crate::journal::Verdict;
use crate::route::Ask;
use crate::tier::Tier;
use crate::wire::envelope;
use crate::wire::transcript::Transcript;
use crate::workload::{Belonging, Outcome, Sign, Watched, quality};

impl Case {
    /// Tells the workload what was found: the model asked for is the measure, and the cheaper one holds it or does not.
    ///
    /// Outcomes of all tiers are on one scale, on which opus has 1; so where sonnet is the measure it has what is believed
    /// of it, or a workload that asks sonnet would teach that sonnet is as good as opus.
    pub(super) fn learn(&self, verdict: Option<Verdict>) {
        let held = match verdict {
            Some(Verdict::Held) => 1.0,
            Some(Verdict::Lost) => 0.0,
            Some(Verdict::Unclear) | None => return,
        };
        let Belonging { fingerprints, logits, .. } = &self.belonging;
        let workloads = &self.tercet.runtime.workloads;
        let [_, sonnet, opus] = quality(logits, workloads.known(&self.tenant, fingerprints).as_ref());
        let measure = match self.sampling.twin.asked {
            Tier::Sonnet => (sonnet / opus).clamp(MEASURE_MIN, 1.0),
            _ => 1.0,
        };
        for (tier, score) in
            [(self.sampling.twin.cheaper, held * measure), (self.sampling.twin.asked, measure)]
        {
            if let Some(tier) = place(tier) {
                workloads.learn(&self.tenant, fingerprints, logits, Outcome { tier, score, weight: 1.0 });
            }
        }
    }

    /// Notes whether the answer of the model asked again was trouble by itself: what the model asked for refuses as well is
    /// usual for the workload, and not held against the cheaper one.
    pub(super) fn watch(&self, answer: &Transcript) {
        let Some(tier) = place(self.sampling.twin.choice.tier) else { return };
        let Ok(envelope) = envelope::read(&self.sampling.body) else { return };
        let Some(reason) = answer.stop_reason.as_deref() else { return };
        let troubled = ended_badly(reason, answer.output_tokens, Ask::of(&envelope).max_tokens);
        let watched = Watched { sign: Sign::Ended, tier, troubled };
        self.tercet.runtime.workloads.watch(&self.tenant, &self.belonging.fingerprints, watched);
    }
}

fn place(tier: Tier) -> Option<usize> {
    Tier::ROUTED.iter().position(|routed| *routed == tier)
}

/// Least that sonnet is taken to be worth beside opus: below, haiku's answers could no longer be told apart.
const MEASURE_MIN: f64 = 0.25;
