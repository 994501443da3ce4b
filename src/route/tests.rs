//! Requests built by hand; the table of models and the policy's promises stand beside.

mod conversation;
mod course;
mod measure;
mod policy;
mod table;

use std::borrow::Cow;
use std::sync::LazyLock;

use super::matter::is_preference;
use super::*;
use crate::config::{Adaptation, Ceiling};
use crate::tier::Reason;
use crate::wire::envelope::{History, Tool};

/// What a test does to a request.
type Change = fn(&mut Envelope<'static>);

static UNKNOWN: LazyLock<Ahead> = LazyLock::new(Ahead::default);

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| Catalog::embedded().unwrap());

/// A plain first turn: one short user message, nothing set.
fn envelope(model: &str) -> Envelope<'static> {
    Envelope {
        body: br#"{"model":"m","max_tokens":8000,"messages":[{"role":"user","content":"What is the capital of France?"}]}"#,
        model: Cow::Owned(model.to_owned()),
        model_span: 9..12,
        max_tokens: Some(8_000),
        history: History { spans: vec![0..1; 1], ..History::default() },
        ..Envelope::default()
    }
}

fn facts() -> Facts<'static> {
    Facts {
        api_version: "2023-06-01",
        betas: &[],
        override_tier: None,
        route_off: false,
        past: None,
        ahead: &UNKNOWN,
        lot: "tct_1",
        count_tokens: false,
        tight_pools: &[],
        budget_low: false,
        at: "2026-11-20T12:00:00Z".parse().unwrap(),
    }
}

fn tiers() -> Tiers {
    Tiers {
        haiku: "claude-haiku-5-5".into(),
        sonnet: "claude-sonnet-5-5".into(),
        opus: "claude-opus-5-5".into(),
    }
}

fn routing(mode: Mode) -> Routing {
    Routing {
        mode,
        quality_permille: 950,
        ceiling: Ceiling::Requested,
        adaptations: vec![Adaptation::ThinkingDefault],
        control_permille: 0,
        tiers: Tier::ROUTED.to_vec(),
        header_override: true,
        escalate: false,
        shadow_sample: crate::config::ShadowSample::default(),
        canary: None,
    }
}

/// A conversation that asked for one model and was sent to another.
fn past(asked: &str, model: &str) -> Past {
    Past { asked: asked.to_owned(), model: model.to_owned(), turn: 1, answered: true, ..Past::default() }
}

fn easy() -> Complexity {
    Complexity {
        sufficiency: [980, 990, 995],
        beside_sonnet: 980,
        score_permille: 50,
        reasons: vec![Reason::certain("form-title")],
    }
}

fn hard() -> Complexity {
    needing([200, 500, 955], 900)
}

fn middling() -> Complexity {
    needing([700, 900, 972], 450)
}

/// That haiku does as much beside sonnet as beside opus.
fn needing(sufficiency: [u16; 3], score_permille: u16) -> Complexity {
    Complexity { sufficiency, beside_sonnet: sufficiency[0], score_permille, reasons: Vec::new() }
}

/// The blockers that `target` has for a request that names `asked`, preferences aside, and its adaptations.
fn fit(envelope: &Envelope<'_>, facts: &Facts<'_>, target: &str) -> (Vec<&'static str>, usize) {
    let asked = Asked::Model(envelope.model.clone().into_owned());
    let tiers = Tiers { haiku: target.to_owned(), ..tiers() };
    let (routing, complexity) = (routing(Mode::Enforce), easy());
    let ask = Ask::of(envelope);
    let matter = Matter {
        asked: &asked,
        ask: &ask,
        complexity: &complexity,
        catalog: &CATALOG,
        tiers: &tiers,
        routing: &routing,
        facts,
    };
    let candidates = feasible::candidates(&matter);
    let found = candidates.iter().find(|candidate| candidate.model == target).unwrap();
    let blockers = found.blockers.iter().copied().filter(|code| !is_preference(code)).collect();
    (blockers, found.adaptations.len())
}

fn custom_tool(name: &str) -> Tool<'static> {
    Tool { kind: "custom".into(), name: Cow::Owned(name.to_owned()), model: "".into() }
}

fn decide_with(
    envelope: &Envelope<'_>,
    complexity: &Complexity,
    routing: &Routing,
    facts: &Facts<'_>,
) -> Result<RouteDecision, Unroutable> {
    decide(&Asked::parse(&envelope.model), envelope, complexity, &CATALOG, &tiers(), routing, facts)
}
