//! What single parts of a request cost: reading the body, judging it, metering the answer, naming it for the
//! cache. What limits and budgets cost is in `reserve`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark may fail loudly, and prints")]

mod traffic;

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue};
use serde_json::value::to_raw_value;
use tercet::cache::{Identity, Parts};
use tercet::catalog::Catalog;
use tercet::classify::{RequestHints, Weights, classify};
use tercet::clock::Clock;
use tercet::config;
use tercet::route::{Ahead, Asked, Basis, Facts, Past, Prefixes, Speaker, decide};
use tercet::tier::Complexity;
use tercet::wire::envelope::{self, Envelope};
use tercet::wire::meter::Meter;
use tercet::workload::{Fingerprints, Outcome, Workloads, weigh};
use traffic::{body, stream};

const SIZES: [(&str, usize); 3] = [("1.2 KB", 1_200), ("30 KB", 30_000), ("300 KB", 300_000)];

fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read the envelope");
    for (name, bytes) in SIZES {
        let body = body(bytes, 300, true);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| envelope::read(black_box(body.as_bytes())).is_ok());
        });
    }
    group.finish();
}

/// What the steps from the scanned request to the decision work with.
struct Judging {
    weights: Weights,
    config: config::Config,
    catalog: Catalog,
    workloads: Workloads,
    ahead: Ahead,
}

impl Judging {
    fn new() -> Self {
        Self {
            weights: Weights::embedded().unwrap(),
            config: config::parse("[routing]\nmode = \"enforce\"\n", None, &|_| None).unwrap(),
            catalog: Catalog::embedded().unwrap(),
            workloads: Workloads::default(),
            ahead: Ahead::default(),
        }
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
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
        }
    }

    /// Teaches the workload of a request and the wider ones.
    fn learn(&self, envelope: &Envelope<'_>) {
        let judged = classify(envelope, &RequestHints::default(), &self.weights);
        for outcome in 0..60 {
            let outcome = Outcome { tier: outcome % 3, score: 1.0, weight: 1.0 };
            self.workloads.learn("acme", &Fingerprints::of(envelope, "client"), &judged.logits, outcome);
        }
    }

    fn decide(&self, envelope: &Envelope<'_>, complexity: &Complexity) -> String {
        let asked = Asked::parse(&envelope.model);
        let (tiers, routing) = (&self.config.tiers, &self.config.routing);
        decide(&asked, envelope, complexity, &self.catalog, tiers, routing, &self.facts()).unwrap().sent.model
    }

    /// Features, weights, fingerprint, posterior, choice.
    fn all(&self, envelope: &Envelope<'_>) -> String {
        let judged = classify(envelope, &RequestHints::default(), &self.weights);
        let fingerprints = Fingerprints::of(envelope, "client");
        let complexity = weigh(&judged, self.workloads.known("acme", &fingerprints).as_ref());
        self.decide(envelope, &complexity)
    }

    /// Prints the median and the slowest hundredth of single decisions, in microseconds.
    #[allow(clippy::disallowed_methods, reason = "a benchmark times")]
    fn print_percentiles(&self, name: &str, envelope: &Envelope<'_>) {
        let time = |_| {
            let begun = Instant::now();
            black_box(self.all(black_box(envelope)));
            begun.elapsed()
        };
        for at in 0..TIMED / 10 {
            black_box(time(at));
        }
        let mut times: Vec<Duration> = (0..TIMED).map(time).collect();
        times.sort_unstable();
        let at = |percent: usize| times[TIMED * percent / 100].as_secs_f64() * 1e6;
        println!("{name}, {TIMED} decisions one by one: p50 {:.1} µs, p99 {:.1} µs", at(50), at(99));
    }
}

/// Single decisions that are timed.
const TIMED: usize = 50_000;

/// What a decision costs after the scan.
fn judge(criterion: &mut Criterion) {
    let (judging, hints) = (Judging::new(), RequestHints::default());
    for (name, body) in [
        ("judge 4 KiB of user text", body(0, 4_096, true)),
        ("judge a body of 300 KB", body(300_000, 12_000, true)),
    ] {
        let envelope = envelope::read(body.as_bytes()).unwrap();
        judging.learn(&envelope);
        let fingerprints = Fingerprints::of(&envelope, "client");
        let judged = classify(&envelope, &hints, &judging.weights);
        let complexity = weigh(&judged, judging.workloads.known("acme", &fingerprints).as_ref());
        let mut group = criterion.benchmark_group(name);
        group.bench_function("classify", |bencher| {
            bencher.iter(|| classify(black_box(&envelope), black_box(&hints), &judging.weights));
        });
        group.bench_function("fingerprint", |bencher| {
            bencher.iter(|| Fingerprints::of(black_box(&envelope), "client"));
        });
        group.bench_function("weigh", |bencher| {
            let known = || judging.workloads.known("acme", black_box(&fingerprints));
            bencher.iter(|| weigh(&judged, known().as_ref()));
        });
        group.bench_function("decide", |bencher| {
            bencher.iter(|| judging.decide(&envelope, black_box(&complexity)));
        });
        group.bench_function("all of it", |bencher| bencher.iter(|| judging.all(black_box(&envelope))));
        group.finish();
        judging.print_percentiles(name, &envelope);
    }
}

fn converse(criterion: &mut Criterion) {
    let long = body(300_000, 4_096, true);
    let envelope = envelope::read(long.as_bytes()).unwrap();
    let complexity = Complexity {
        sufficiency: [960, 980, 990],
        beside_sonnet: 960,
        score_permille: 100,
        reasons: Vec::new(),
    };
    let config = config::parse("[routing]\nmode = \"enforce\"\n", None, &|_| None).unwrap();
    let catalog = Catalog::embedded().unwrap();
    let asked = Asked::parse(&envelope.model);
    let past = Past {
        asked: "claude-opus-5-5".to_owned(),
        model: "claude-haiku-5-5".to_owned(),
        turn: 7,
        answered: true,
        wrote: vec!["claude-haiku-5-5".to_owned()],
        ..Past::default()
    };
    let ahead = Ahead { turns_permille: 16_000, growth_tokens: 900, output_tokens: 400, shared: Vec::new() };
    let facts = Facts {
        api_version: "2023-06-01",
        betas: &[],
        override_tier: None,
        route_off: false,
        past: Some(&past),
        ahead: &ahead,
        lot: "req_01",
        count_tokens: false,
        at: Clock::default().now(),
        tight_pools: &[],
        budget_low: false,
    };
    let mut group = criterion.benchmark_group("a known conversation of 300 KB");
    group.bench_function("decide, sixteen turns ahead", |bencher| {
        bencher.iter(|| {
            let complexity = black_box(&complexity);
            decide(&asked, &envelope, complexity, &catalog, &config.tiers, &config.routing, &facts)
        });
    });
    group.bench_function("gather and write the basis", |bencher| {
        bencher.iter(|| to_raw_value(&Basis::of(&envelope, &complexity, &facts)));
    });
    group.bench_function("name it", |bencher| {
        let speaker = Speaker { tenant: "t", user: "u", session: Some("s"), agent: None };
        bencher.iter(|| Prefixes::of(&speaker, black_box(&envelope)));
    });
    group.finish();
}

fn meter(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("meter a stream of 50 events");
    let events = stream();
    let whole = events.concat();
    group.bench_function("event by event", |bencher| {
        bencher.iter(|| {
            let mut meter = Meter::stream();
            for event in &events {
                black_box(meter.feed(black_box(event)));
            }
            meter.finish()
        });
    });
    group.bench_function("at once", |bencher| {
        bencher.iter(|| {
            let mut meter = Meter::stream();
            black_box(meter.feed(black_box(&whole)));
            meter.finish()
        });
    });
    group.finish();
}

fn name(criterion: &mut Criterion) {
    let mut headers = HeaderMap::new();
    headers.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
    let mut group = criterion.benchmark_group("cache key");
    for (name, bytes) in SIZES {
        let body = Bytes::from(body(bytes, 300, true));
        let left_out = envelope::read(&body).unwrap().formalities;
        group.throughput(Throughput::Bytes(body.len() as u64));
        let parts = Parts {
            scope: &[b"acme"],
            upstream: "https://api.anthropic.com/",
            credential: &[],
            model: "claude-opus-5-5",
            adaptation: "",
            query: "",
            headers: &headers,
            body: &body,
            left_out: &left_out,
        };
        group.bench_function(name, |bencher| bencher.iter(|| Identity::of(black_box(&parts))));
    }
    group.finish();
}

criterion_group!(benches, read, judge, converse, meter, name);
criterion_main!(benches);
