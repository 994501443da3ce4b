//! Each step of a request by itself, over and over, to be counted and not timed: `make instructions` runs this under
//! callgrind and holds it against `benches/instructions.txt`. By itself it prints the allocations of each step.
//!
//! A step is a function of this file that is never inlined, so that the count can be read off its name.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement prints, and may fail loudly")]

mod traffic;

use std::alloc::System;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tercet::budget::{self, Estimate, Expected};
use tercet::cache::{AnswerCache, Identity, Parts};
use tercet::catalog::Catalog;
use tercet::classify::{RequestHints, Weights, classify};
use tercet::clock::Clock;
use tercet::config::{self, Config, Mode};
use tercet::id::RequestId;
use tercet::journal::{Entry, ExchangeRecord, Rollup, Summed};
use tercet::limit;
use tercet::money::NanoUsd;
use tercet::route::{Ahead, Asked, Facts, Prefixes, Speaker, decide};
use tercet::store::{Accounts, Actual, Claim};
use tercet::telemetry::{CostParts, ExchangeFacts, Metrics, Outcome};
use tercet::tenant::{Directory, LevelOf};
use tercet::tier::{Complexity, Tier};
use tercet::usage::Usage;
use tercet::wire::envelope::{self, Envelope};
use tercet::wire::meter::Meter;
use tercet::wire::splice::Splice;
use tercet::workload::{Fingerprints, Workloads, weigh};
use traffic::{body, message, stream};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What the steps work on; made once, not counted.
struct Ground {
    config: Config,
    catalog: Catalog,
    weights: Weights,
    workloads: Workloads,
    directory: Directory,
    accounts: Accounts,
    levels: Vec<LevelOf>,
    cache: AnswerCache,
    metrics: Metrics,
    rollup: Rollup,
    small: Bytes,
    medium: Bytes,
    large: Bytes,
    message: Bytes,
    stream: Vec<Bytes>,
    record: ExchangeRecord,
    clock: Clock,
}

impl Ground {
    fn new() -> Self {
        let clock = Clock::default();
        let key = |_: &str| Some(KEY.to_owned());
        let config = config::parse(CONFIGURATION, None, &key).unwrap();
        let directory = Directory::build(&config);
        let levels = directory.identify(Some(KEY.as_bytes()), None, clock.now()).unwrap().levels.clone();
        let made = |bytes| Bytes::from(body(bytes, 300, false));
        let request_id = RequestId::generate();
        let mut record =
            ExchangeRecord::begin(request_id, clock.now(), "acme".to_owned(), "claude-opus-5-5".to_owned());
        record.user_id = Some("ann".to_owned());
        record.key_id = Some("acme-1".to_owned());
        record.sent_model = Some("claude-haiku-5-5".to_owned());
        record.answered_model.clone_from(&record.sent_model);
        record.set_usage(&USAGE);
        Self {
            accounts: Accounts::new(clock.clone()),
            catalog: Catalog::embedded().unwrap(),
            weights: Weights::embedded().unwrap(),
            workloads: Workloads::default(),
            cache: AnswerCache::new(1 << 20),
            metrics: Metrics::new(20_000).unwrap(),
            rollup: Rollup::new(),
            small: made(1_200),
            medium: made(30_000),
            large: made(300_000),
            message: message(),
            stream: stream(),
            config,
            directory,
            levels,
            record,
            clock,
        }
    }

    fn estimate() -> Estimate {
        let expected = Expected { output_tokens: 1_024, fresh_permille: 1_000 };
        let price = |usage: &Usage| NanoUsd(usage.output_tokens.cast_signed());
        Estimate::new(1_000_u64, false, expected, 4_096, price)
    }

    fn claims(&self) -> Vec<Claim> {
        let estimate = Self::estimate();
        let claim = |level: &LevelOf| {
            let mut demands = Vec::with_capacity(9);
            let ceilings = &level.ceilings;
            limit::demands(&ceilings.limits, estimate.input_tokens, estimate.output_tokens, &mut demands);
            budget::demands(&ceilings.budget, &ceilings.quota, &estimate, &mut demands);
            Claim { account: level.account(&self.accounts), zone: ceilings.budget.zone.clone(), demands }
        };
        self.levels.iter().map(claim).collect()
    }

    fn judged(&self) -> (Envelope<'_>, Complexity) {
        let envelope = envelope::read(&self.small).unwrap();
        let judged = classify(&envelope, &RequestHints::default(), &self.weights);
        let fingerprints = Fingerprints::of(&envelope, "client");
        let complexity = weigh(&judged, self.workloads.known("acme", &fingerprints).as_ref());
        (envelope, complexity)
    }
}

type Step = fn(&Ground);

const STEPS: [(&str, Step); 16] = [
    ("identify", identify),
    ("scan_1k", scan_1k),
    ("scan_30k", scan_30k),
    ("scan_300k", scan_300k),
    ("classify_step", classify_step),
    ("decide_step", decide_step),
    ("conversation_1k", conversation_1k),
    ("recall_1k", recall_1k),
    ("recall_30k", recall_30k),
    ("reserve_and_settle", reserve_and_settle),
    ("splice", splice),
    ("meter_message", meter_message),
    ("meter_stream", meter_stream),
    ("record_line", record_line),
    ("sums", sums),
    ("metrics", metrics),
];

fn main() {
    let ground = Ground::new();
    for (name, step) in STEPS {
        // The first time makes what is kept: cells, accounts, buffers.
        step(&ground);
        let region = Region::new(ALLOCATOR);
        step(&ground);
        let change = region.change();
        println!("{name} {}", change.allocations + change.reallocations);
        (0..TIMES - 2).for_each(|_| step(&ground));
    }
}

#[inline(never)]
fn identify(ground: &Ground) {
    let identity = ground.directory.identify(Some(KEY.as_bytes()), None, ground.clock.now());
    black_box(identity.is_ok());
}

#[inline(never)]
fn scan_1k(ground: &Ground) {
    black_box(envelope::read(&ground.small).is_ok());
}

#[inline(never)]
fn scan_30k(ground: &Ground) {
    black_box(envelope::read(&ground.medium).is_ok());
}

#[inline(never)]
fn scan_300k(ground: &Ground) {
    black_box(envelope::read(&ground.large).is_ok());
}

/// With the scan it needs; [`scan_1k`] is to be taken off.
#[inline(never)]
fn classify_step(ground: &Ground) {
    black_box(ground.judged());
}

/// With the scan and the classifying it needs; [`classify_step`] is to be taken off.
#[inline(never)]
fn decide_step(ground: &Ground) {
    let (envelope, complexity) = ground.judged();
    let asked = Asked::parse(&envelope.model);
    let facts = Facts {
        api_version: "2023-06-01",
        betas: &[],
        override_tier: None,
        route_off: false,
        past: None,
        ahead: &Ahead::default(),
        lot: "tct_01",
        count_tokens: false,
        tight_pools: &[],
        budget_low: false,
        at: ground.clock.now(),
    };
    let (tiers, routing) = (&ground.config.tiers, &ground.config.routing);
    black_box(decide(&asked, &envelope, &complexity, &ground.catalog, tiers, routing, &facts).is_ok());
}

/// With the scan it needs.
#[inline(never)]
fn conversation_1k(ground: &Ground) {
    let envelope = envelope::read(&ground.small).unwrap();
    let speaker = Speaker { tenant: "acme", user: "ann", ..Speaker::default() };
    black_box(Prefixes::of(&speaker, &envelope));
}

fn recall(ground: &Ground, body: &Bytes) {
    let parts = Parts {
        scope: &[b"acme"],
        upstream: "https://api.anthropic.com/",
        credential: &[],
        model: "claude-opus-5-5",
        adaptation: "",
        query: "",
        headers: &HeaderMap::new(),
        body,
        left_out: &[0..0, 0..0],
    };
    black_box(ground.cache.get(&Identity::of(&parts)).is_none());
}

#[inline(never)]
fn recall_1k(ground: &Ground) {
    recall(ground, &ground.small);
}

#[inline(never)]
fn recall_30k(ground: &Ground) {
    recall(ground, &ground.medium);
}

#[inline(never)]
fn reserve_and_settle(ground: &Ground) {
    let held = ground.accounts.reserve(ground.claims()).unwrap();
    held.post(&Actual::of(&USAGE, NanoUsd(700), ground.clock.now()));
}

#[inline(never)]
fn splice(ground: &Ground) {
    let splice = Splice { model_span: 10..27, model: "claude-haiku-5-5".to_owned(), insert: None };
    black_box(splice.apply(&ground.large));
}

#[inline(never)]
fn meter_message(ground: &Ground) {
    let mut meter = Meter::message();
    black_box(meter.feed(&ground.message));
    black_box(meter.finish());
}

#[inline(never)]
fn meter_stream(ground: &Ground) {
    let mut meter = Meter::stream();
    for event in &ground.stream {
        black_box(meter.feed(event));
    }
    black_box(meter.finish());
}

#[inline(never)]
fn record_line(ground: &Ground) {
    black_box(Entry::Exchange(Arc::new(ground.record.clone())).to_line());
}

#[inline(never)]
fn sums(ground: &Ground) {
    ground.rollup.add(&Summed::of(&ground.record));
}

#[inline(never)]
fn metrics(ground: &Ground) {
    ground.metrics.record_exchange(&ExchangeFacts {
        trace: None,
        tenant: "acme",
        model: "claude-haiku-5-5",
        requested_tier: Tier::Opus,
        tier: Tier::Haiku,
        decided_tier: Tier::Haiku,
        outcome: Outcome::Ok,
        stream: false,
        duration: Some(Duration::from_millis(900)),
        time_to_first_token: Some(Duration::from_millis(300)),
        usage: USAGE,
        cost: NanoUsd(700),
        cost_parts: CostParts { input: NanoUsd(300), output: NanoUsd(400), ..CostParts::default() },
        baseline_requested: NanoUsd(3_500),
        baseline_all_opus: NanoUsd(3_500),
        rewrite: NanoUsd::ZERO,
        cache_saved: NanoUsd::ZERO,
        cache: None,
        reason: Some("suffices"),
        mode: Mode::Enforce,
        unpriced: false,
        tools: &[],
        failed_thrice: &[],
        difficulty: None,
    });
}

const TIMES: usize = 100;
const KEY: &str = "tct-bench-0123456789abcdef";
const USAGE: Usage = Usage {
    input_tokens: 312,
    cache_read_tokens: 0,
    cache_write_5m_tokens: 0,
    cache_write_1h_tokens: 0,
    output_tokens: 88,
};
const CONFIGURATION: &str = r#"
[routing]
mode = "enforce"
[upstream]
credential = { env = "KEY" }
[limits]
requests_per_minute = 1_000_000_000
[budget]
daily = "1000000.00 USD"
[tenants.acme.limits]
requests_per_minute = 1_000_000_000
input_tokens_per_minute = 1_000_000_000_000
output_tokens_per_minute = 1_000_000_000_000
concurrent_requests = 1000
[tenants.acme.budget]
daily = "1000000.00 USD"
monthly = "1000000.00 USD"
[[tenants.acme.keys]]
id = "acme-1"
user = "ann"
secret = { env = "KEY" }
"#;
