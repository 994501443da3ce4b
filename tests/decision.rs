//! What a decision costs in memory: as much for a long request as for a short one.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly anywhere")]

use std::alloc::System;

use serde_json::{Value, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tercet::catalog::Catalog;
use tercet::classify::{RequestHints, Weights, classify};
use tercet::clock::Clock;
use tercet::config;
use tercet::route::{Ahead, Asked, Basis, Facts, decide};
use tercet::wire::envelope::{self, Envelope};
use tercet::workload::{Fingerprints, Outcome, Workloads, weigh};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// A request of so many bytes.
type Shape = fn(usize) -> Value;

/// Where the bytes of a long request stand.
const SHAPES: [(&str, Shape); 4] =
    [("text", long_text), ("system", long_system), ("turns", many_turns), ("tool", long_tool)];

fn words(bytes: usize) -> String {
    "Compare the two designs with care, then plan the next step. ".repeat(bytes / 60)
}

fn long_text(bytes: usize) -> Value {
    json!({ "messages": [{ "role": "user", "content": words(bytes) }] })
}

fn long_system(bytes: usize) -> Value {
    json!({ "system": words(bytes), "messages": [{ "role": "user", "content": words(300) }] })
}

fn many_turns(bytes: usize) -> Value {
    let role = |at: usize| if at.is_multiple_of(2) { "user" } else { "assistant" };
    let turn = |at: usize| json!({ "role": role(at), "content": words(600) });
    json!({ "messages": (0..bytes / 600 / 2 * 2 + 1).map(turn).collect::<Vec<_>>() })
}

fn long_tool(bytes: usize) -> Value {
    json!({ "tools": [{ "name": "search", "description": words(bytes), "input_schema": { "type": "object" } }],
        "messages": [{ "role": "user", "content": words(300) }] })
}

/// What all steps from the scanned request to the decision and its basis work with.
struct Ground {
    weights: Weights,
    workloads: Workloads,
    config: config::Config,
    catalog: Catalog,
    ahead: Ahead,
}

impl Ground {
    fn learn(&self, envelope: &Envelope<'_>) {
        let judged = classify(envelope, &RequestHints::default(), &self.weights);
        for tier in [0, 1, 2].repeat(20) {
            let outcome = Outcome { tier, score: 1.0, weight: 1.0 };
            self.workloads.learn("acme", &Fingerprints::of(envelope, "client"), &judged.logits, outcome);
        }
    }

    /// Decides; returns the bytes that were allocated for it.
    fn decided(&self, envelope: &Envelope<'_>) -> usize {
        let facts = Facts {
            api_version: "2023-06-01",
            betas: &[],
            override_tier: None,
            route_off: false,
            past: None,
            ahead: &self.ahead,
            lot: "req_01",
            count_tokens: false,
            tight_pools: &[],
            budget_low: false,
            at: Clock::default().now(),
        };
        let asked = Asked::parse(&envelope.model);
        let region = Region::new(ALLOCATOR);
        let judged = classify(envelope, &RequestHints::default(), &self.weights);
        let fingerprints = Fingerprints::of(envelope, "client");
        let complexity = weigh(&judged, self.workloads.known("acme", &fingerprints).as_ref());
        let (tiers, routing) = (&self.config.tiers, &self.config.routing);
        let decision = decide(&asked, envelope, &complexity, &self.catalog, tiers, routing, &facts).unwrap();
        let basis = Basis::of(envelope, &complexity, &facts).record();
        let bytes = region.change().bytes_allocated;
        assert!(!decision.model().is_empty() && !basis.get().is_empty());
        bytes
    }
}

// The only test of this file: what another one allocates meanwhile would be counted.
#[test]
fn a_decision_allocates_as_much_for_a_request_of_three_megabytes_as_for_one_of_thirty_kilobytes() {
    let ground = Ground {
        weights: Weights::embedded().unwrap(),
        workloads: Workloads::default(),
        config: config::parse("[routing]\nmode = \"enforce\"\n", None, &|_| None).unwrap(),
        catalog: Catalog::embedded().unwrap(),
        ahead: Ahead::default(),
    };
    for (name, shape) in SHAPES {
        let allocated = [30_000, 3_000_000].map(|bytes| {
            let mut body = shape(bytes);
            (body["model"], body["max_tokens"]) = ("claude-opus-5-5".into(), 8_000.into());
            let body = body.to_string();
            assert!((bytes..bytes * 5 / 4).contains(&(body.len() + bytes / 10)), "{name}: {}", body.len());
            let envelope = envelope::read(body.as_bytes()).unwrap();
            ground.learn(&envelope);
            ground.decided(&envelope);
            ground.decided(&envelope)
        });
        let [short, long] = allocated;
        assert!(long <= short + SLACK_BYTES, "{name}: {short} and {long} bytes");
        assert!(long < MOST_BYTES, "{name}: {long} bytes");
    }
}

/// Numbers are longer in digits.
const SLACK_BYTES: usize = 256;
const MOST_BYTES: usize = 16 << 10;
