//! What an answer and the turn after it say against the model that gave it; told to the workload.

use super::exchange::Exchange;
use crate::route::Past;
use crate::tier::Tier;
use crate::wire::envelope::Envelope;
use crate::wire::meter::Metered;
use crate::workload::{Sign, Watched};

/// Notes how a whole answer ended.
pub(super) fn answered(exchange: &Exchange, metered: &Metered) {
    let Some(reason) = metered.stop_reason.as_deref() else { return };
    let written = metered.usage.map_or(u64::MAX, |usage| usage.output_tokens);
    let far_below = exchange.asked.max_tokens.is_some_and(|asked| written < asked / 2);
    let troubled = match reason {
        "refusal" => true,
        "max_tokens" | "model_context_window_exceeded" => far_below,
        _ => false,
    };
    watch(exchange, exchange.tier(), Sign::Ended, troubled);
}

/// Notes what became of the tools that the answer before called; `past` as it stands with their results.
pub(super) fn returned(exchange: &Exchange, envelope: &Envelope<'_>, past: &Past) {
    if !envelope.in_tool_loop() || past.parted || exchange.endpoint.is_count() {
        return;
    }
    let tier = exchange.snapshot.catalog.model(&past.model).map_or(Tier::Other, |model| model.tier);
    let failed = envelope.history.last_tool_results.contains(&true);
    watch(exchange, tier, Sign::Tools, failed || past.repeats > 1);
}

fn watch(exchange: &Exchange, tier: Tier, sign: Sign, troubled: bool) {
    let tier = Tier::ROUTED.iter().position(|routed| *routed == tier);
    if let (Some(tier), Some(workload)) = (tier, &exchange.workload) {
        let watched = Watched { sign, tier, troubled };
        exchange.tercet.runtime.workloads.watch(exchange.tenant(), &workload.fingerprints, watched);
    }
}
