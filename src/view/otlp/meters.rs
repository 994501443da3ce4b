//! The GenAI metrics of messages: how long they took and how many tokens they used, since the process began.

use std::collections::HashMap;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, number_data_point,
};

use super::{OLD_SYSTEM, Resource, is_message, scope, text};
use crate::journal::ExchangeRecord;

/// What was counted; at most 2,000 series, further models are counted as `_other`.
#[derive(Debug)]
pub struct Meters {
    began_ns: u64,
    latest: bool,
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
    // The newest names: sizes of requests, and counters, of which those of the cache are parts of the input's.
    FirstChunk,
    InputSize,
    OutputSize,
    Input,
    Output,
    CacheRead,
    CacheWrite,
}

#[derive(Clone, Debug, Default)]
struct Measured {
    count: u64,
    sum: f64,
    /// Of counters.
    total: u64,
    buckets: Vec<u64>,
}

impl Instrument {
    const DEFAULT: &[Self] = &[Self::Duration, Self::FirstToken, Self::Tokens];
    const LATEST: &[Self] = &[
        Self::Duration,
        Self::FirstChunk,
        Self::InputSize,
        Self::OutputSize,
        Self::Input,
        Self::Output,
        Self::CacheRead,
        Self::CacheWrite,
    ];

    const fn name_and_unit(self) -> (&'static str, &'static str) {
        match self {
            Self::Duration => ("gen_ai.client.operation.duration", "s"),
            Self::FirstToken => ("gen_ai.server.time_to_first_token", "s"),
            Self::Tokens => ("gen_ai.client.token.usage", "{token}"),
            Self::FirstChunk => ("gen_ai.client.operation.time_to_first_chunk", "s"),
            Self::InputSize => ("gen_ai.client.inference.operation.input_tokens", "{token}"),
            Self::OutputSize => ("gen_ai.client.inference.operation.output_tokens", "{token}"),
            Self::Input => ("gen_ai.client.inference.usage.input_tokens", "{token}"),
            Self::Output => ("gen_ai.client.inference.usage.output_tokens", "{token}"),
            Self::CacheRead => ("gen_ai.client.inference.usage.cache_read.input_tokens", "{token}"),
            Self::CacheWrite => ("gen_ai.client.inference.usage.cache_write.input_tokens", "{token}"),
        }
    }

    const fn is_counter(self) -> bool {
        matches!(self, Self::Input | Self::Output | Self::CacheRead | Self::CacheWrite)
    }

    /// The bounds that the conventions advise.
    const fn bounds(self) -> &'static [f64] {
        match self {
            Self::Duration => {
                &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
            }
            Self::FirstToken | Self::FirstChunk => {
                &[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0]
            }
            _ => &[
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
    /// Returns meters of nothing, which count from this nanosecond of Unix time on, by the newest names or the default ones.
    #[must_use]
    pub fn since(began_ns: u64, latest: bool) -> Self {
        Self { began_ns, latest, series: HashMap::new() }
    }

    /// Counts an exchange, where it is a message.
    pub fn add(&mut self, record: &ExchangeRecord) {
        if !is_message(record) {
            return;
        }
        let mut shared = vec![("gen_ai.operation.name", "chat".to_owned())];
        if !self.latest {
            shared.push((OLD_SYSTEM, "anthropic".to_owned()));
        }
        shared.push(("gen_ai.provider.name", "anthropic".to_owned()));
        shared.push(("gen_ai.request.model", record.requested_model.clone()));
        if let Some(model) = &record.answered_model {
            shared.push(("gen_ai.response.model", model.clone()));
        }
        self.add_tokens(record, &shared);
        if let Some(first) = record.ttft_ms {
            let instrument = if self.latest { Instrument::FirstChunk } else { Instrument::FirstToken };
            self.measure(instrument, shared.clone(), whole(first) / 1_000.0);
        }
        if let Some(error) = &record.error_type {
            shared.push(("error.type", error.clone()));
        }
        self.measure(Instrument::Duration, shared, whole(record.latency_ms) / 1_000.0);
    }

    fn add_tokens(&mut self, record: &ExchangeRecord, shared: &[(&'static str, String)]) {
        let usage = record.usage();
        let (input, output) = (usage.prompt_tokens(), usage.output_tokens);
        let written = usage.cache_write_5m_tokens.saturating_add(usage.cache_write_1h_tokens);
        let with = |name, value: &str| [shared, &[(name, value.to_owned())]].concat();
        if !self.latest {
            for (kind, tokens) in [("input", input), ("output", output)] {
                self.measure(Instrument::Tokens, with("gen_ai.token.type", kind), whole(tokens));
            }
            return;
        }
        for (instrument, tokens) in [
            (Instrument::InputSize, input),
            (Instrument::OutputSize, output),
            (Instrument::Input, input),
            (Instrument::Output, output),
            (Instrument::CacheRead, usage.cache_read_tokens),
            (Instrument::CacheWrite, written),
        ] {
            // The API does not split its counts by what they stand for.
            let series = self.measure(instrument, with("gen_ai.token.modality", "unknown"), whole(tokens));
            series.total = series.total.saturating_add(tokens);
        }
    }

    fn measure(
        &mut self,
        instrument: Instrument,
        attributes: Vec<(&'static str, String)>,
        value: f64,
    ) -> &mut Measured {
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
        measured
    }

    /// Returns all that was counted until this nanosecond of Unix time; `None` where that is nothing.
    #[must_use]
    pub fn told(&self, resource: &Resource, now_ns: u64) -> Option<ExportMetricsServiceRequest> {
        if self.series.is_empty() {
            return None;
        }
        let told = if self.latest { Instrument::LATEST } else { Instrument::DEFAULT };
        let metrics = told.iter().map(|instrument| self.metric(*instrument, now_ns));
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
        let named =
            |series: &Series| series.attributes.iter().map(|(name, value)| text(name, value)).collect();
        let aggregation_temporality = AggregationTemporality::Cumulative.into();
        let data = if instrument.is_counter() {
            let points = of_it.map(|(series, measured)| NumberDataPoint {
                attributes: named(series),
                start_time_unix_nano: self.began_ns,
                time_unix_nano: now_ns,
                value: Some(number_data_point::Value::AsInt(measured.total.cast_signed())),
                ..NumberDataPoint::default()
            });
            Data::Sum(Sum { data_points: points.collect(), aggregation_temporality, is_monotonic: true })
        } else {
            let points = of_it.map(|(series, measured)| HistogramDataPoint {
                attributes: named(series),
                start_time_unix_nano: self.began_ns,
                time_unix_nano: now_ns,
                count: measured.count,
                sum: Some(measured.sum),
                bucket_counts: measured.buckets.clone(),
                explicit_bounds: instrument.bounds().to_vec(),
                ..HistogramDataPoint::default()
            });
            Data::Histogram(Histogram { data_points: points.collect(), aggregation_temporality })
        };
        Metric { name: name.to_owned(), unit: unit.to_owned(), data: Some(data), ..Metric::default() }
    }
}

/// Counts are far below 2^53.
#[allow(clippy::cast_precision_loss, reason = "a histogram takes floats")]
const fn whole(count: u64) -> f64 {
    count as f64
}

const SERIES_MAX: usize = 2_000;
