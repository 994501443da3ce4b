//! What single parts of a request cost: reading the body, judging it, metering the answer, naming it for the
//! cache. What limits and budgets cost is in `reserve`.

#![allow(clippy::unwrap_used, reason = "a benchmark may fail loudly")]

mod traffic;

use std::hint::black_box;

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
use tercet::wire::envelope;
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

/// What a decision costs after the scan: features, weights, fingerprint, posterior, choice.
fn judge(criterion: &mut Criterion) {
    let weights = Weights::embedded().unwrap();
    let hints = RequestHints::default();
    let config = config::parse("[routing]\nmode = \"enforce\"\n", None, &|_| None).unwrap();
    let catalog = Catalog::embedded().unwrap();
    let facts = Facts {
        api_version: "2023-06-01",
        betas: &[],
        override_tier: None,
        route_off: false,
        past: None,
        ahead: &Ahead::default(),
        lot: "req_01",
        count_tokens: false,
        tight_pools: &[],
        budget_low: false,
        at: Clock::default().now(),
    };
    for (name, body) in [
        ("judge 4 KiB of user text", body(0, 4_096, true)),
        ("judge a body of 300 KB", body(300_000, 12_000, true)),
    ] {
        let envelope = envelope::read(body.as_bytes()).unwrap();
        let asked = Asked::parse(&envelope.model);
        let workloads = Workloads::default();
        let fingerprints = Fingerprints::of(&envelope, "client");
        let judged = classify(&envelope, &hints, &weights);
        for outcome in 0..60 {
            let outcome = Outcome { tier: outcome % 3, score: 1.0, weight: 1.0 };
            workloads.learn("acme", &fingerprints, &judged.logits, outcome);
        }
        let known = workloads.known("acme", &fingerprints);
        let complexity = weigh(&judged, known.as_ref());
        let mut group = criterion.benchmark_group(name);
        group.bench_function("classify", |bencher| {
            bencher.iter(|| classify(black_box(&envelope), black_box(&hints), &weights));
        });
        group.bench_function("fingerprint", |bencher| {
            bencher.iter(|| Fingerprints::of(black_box(&envelope), "client"));
        });
        group.bench_function("weigh", |bencher| {
            bencher.iter(|| weigh(&judged, workloads.known("acme", black_box(&fingerprints)).as_ref()));
        });
        group.bench_function("decide", |bencher| {
            bencher.iter(|| {
                let complexity = black_box(&complexity);
                decide(&asked, &envelope, complexity, &catalog, &config.tiers, &config.routing, &facts)
            });
        });
        group.bench_function("all of it", |bencher| {
            bencher.iter(|| {
                let judged = classify(black_box(&envelope), black_box(&hints), &weights);
                let fingerprints = Fingerprints::of(&envelope, "client");
                let complexity = weigh(&judged, workloads.known("acme", &fingerprints).as_ref());
                decide(&asked, &envelope, &complexity, &catalog, &config.tiers, &config.routing, &facts)
            });
        });
        group.finish();
    }
}

fn converse(criterion: &mut Criterion) {
    let long = body(300_000, 4_096, true);
    let envelope = envelope::read(long.as_bytes()).unwrap();
    let complexity = Complexity { sufficiency: [960, 980, 990], score_permille: 100, reasons: Vec::new() };
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
