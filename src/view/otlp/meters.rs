//! The GenAI metrics of messages: how long they took and how many tokens they used, since the process began.

use std::collections::HashMap;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Histogram, HistogramDataPoint, Metric, ResourceMetrics, ScopeMetrics,
};

use super::{Resource, is_message, scope, text};
use crate::journal::ExchangeRecord;

/// What was counted; at most 2,000 series, further models are counted as `_other`.
#[derive(Debug)]
pub struct Meters {
    began_ns: u64,
    series: HashMap<Series, Measured>,
}

/// A metric and its attributes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Series {
    instrument: Instrument,
    attributes: Vec<(&'static str, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Instrument {
    Duration,
    FirstToken,
    Tokens,
}

#[derive(Clone, Debug, Default)]
struct Measured {
    count: u64,
    sum: f64,
    buckets: Vec<u64>,
}

impl Instrument {
    const ALL: [Self; 3] = [Self::Duration, Self::FirstToken, Self::Tokens];

    const fn name_and_unit(self) -> (&'static str, &'static str) {
        match self {
            Self::Duration => ("gen_ai.client.operation.duration", "s"),
            Self::FirstToken => ("gen_ai.server.time_to_first_token", "s"),
            Self::Tokens => ("gen_ai.client.token.usage", "{token}"),
        }
    }

    /// The bounds that the conventions advise.
    const fn bounds(self) -> &'static [f64] {
        match self {
            Self::Duration => {
                &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
            }
            Self::FirstToken => {
                &[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0]
            }
            Self::Tokens => &[
                1.0,
                4.0,
                16.0,
                64.0,
                256.0,
                1_024.0,
                4_096.0,
                16_384.0,
                65_536.0,
                262_144.0,
                1_048_576.0,
                4_194_304.0,
                16_777_216.0,
                67_108_864.0,
            ],
        }
    }
}

impl Meters {
    /// Returns meters of nothing, which count from this nanosecond of Unix time on.
    #[must_use]
    pub fn since(began_ns: u64) -> Self {
        Self { began_ns, series: HashMap::new() }
    }

    /// Counts an exchange, where it is a message.
    pub fn add(&mut self, record: &ExchangeRecord) {
        if !is_message(record) {
            return;
        }
        let mut shared = vec![
            ("gen_ai.operation.name", "chat".to_owned()),
            ("gen_ai.system", "anthropic".to_owned()),
            ("gen_ai.provider.name", "anthropic".to_owned()),
            ("gen_ai.request.model", record.requested_model.clone()),
        ];
        if let Some(model) = &record.answered_model {
            shared.push(("gen_ai.response.model", model.clone()));
        }
        let usage = record.usage();
        for (kind, tokens) in [("input", usage.prompt_tokens()), ("output", usage.output_tokens)] {
            let mut attributes = shared.clone();
            attributes.push(("gen_ai.token.type", kind.to_owned()));
            self.measure(Instrument::Tokens, attributes, whole(tokens));
        }
        if let Some(first) = record.ttft_ms {
            self.measure(Instrument::FirstToken, shared.clone(), whole(first) / 1_000.0);
        }
        if let Some(error) = &record.error_type {
            shared.push(("error.type", error.clone()));
        }
        self.measure(Instrument::Duration, shared, whole(record.latency_ms) / 1_000.0);
    }

    fn measure(&mut self, instrument: Instrument, attributes: Vec<(&'static str, String)>, value: f64) {
        let mut series = Series { instrument, attributes };
        if self.series.len() >= SERIES_MAX && !self.series.contains_key(&series) {
            for (name, value) in &mut series.attributes {
                if matches!(*name, "gen_ai.request.model" | "gen_ai.response.model" | "error.type") {
                    "_other".clone_into(value);
                }
            }
        }
        let bounds = instrument.bounds();
        let measured = self.series.entry(series).or_default();
        measured.count += 1;
        measured.sum += value;
        measured.buckets.resize(bounds.len() + 1, 0);
        let place = bounds.iter().position(|bound| value <= *bound).unwrap_or(bounds.len());
        if let Some(bucket) = measured.buckets.get_mut(place) {
            *bucket += 1;
        }
    }

    /// Returns all that was counted until this nanosecond of Unix time; `None` where that is nothing.
    #[must_use]
    pub fn told(&self, resource: &Resource, now_ns: u64) -> Option<ExportMetricsServiceRequest> {
        if self.series.is_empty() {
            return None;
        }
        let metrics = Instrument::ALL.into_iter().map(|instrument| self.metric(instrument, now_ns));
        let scope_metrics = vec![ScopeMetrics {
            scope: Some(scope()),
            metrics: metrics.collect(),
            ..ScopeMetrics::default()
        }];
        let resource = Some(resource.to_wire());
        Some(ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }],
        })
    }

    fn metric(&self, instrument: Instrument, now_ns: u64) -> Metric {
        let (name, unit) = instrument.name_and_unit();
        let of_it = self.series.iter().filter(|(series, _)| series.instrument == instrument);
        let points = of_it.map(|(series, measured)| HistogramDataPoint {
            attributes: series.attributes.iter().map(|(name, value)| text(name, value)).collect(),
            start_time_unix_nano: self.began_ns,
            time_unix_nano: now_ns,
            count: measured.count,
            sum: Some(measured.sum),
            bucket_counts: measured.buckets.clone(),
            explicit_bounds: instrument.bounds().to_vec(),
            ..HistogramDataPoint::default()
        });
        Metric {
            name: name.to_owned(),
            unit: unit.to_owned(),
            data: Some(Data::Histogram(Histogram {
                data_points: points.collect(),
                aggregation_temporality: AggregationTemporality::Cumulative.into(),
            })),
            ..Metric::default()
        }
    }
}

/// Counts are far below 2^53.
#[allow(clippy::cast_precision_loss, reason = "a histogram takes floats")]
const fn whole(count: u64) -> f64 {
    count as f64
}

const SERIES_MAX: usize = 2_000;
