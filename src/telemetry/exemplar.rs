//! Exemplars: of each bucket of a series the last trace that fell into it, and the form of `/metrics` that can say so.
//!
//! Only OpenMetrics text has a place for them (OpenMetrics 1.0, "Exemplars"). A series keeps one for each bucket, of 80
//! bytes, and none until its first: the cap on series bounds them.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus::Histogram;
use prometheus::proto::MetricFamily;

use super::family::Family;
use super::table::{Kind, Row};

/// The place of an exchange in a trace.
#[derive(Clone, Copy, Debug)]
pub struct TraceFacts {
    /// The trace.
    pub trace_id: [u8; 16],
    /// When the exchange ended.
    pub at: Timestamp,
}

/// A histogram of times and the exemplars of its buckets.
#[derive(Clone, Debug)]
pub(super) struct Timed {
    histogram: Histogram,
    bounds: &'static [f64],
    kept: Arc<OnceLock<Box<[Slot]>>>,
}

type Slot = Mutex<Option<(f64, TraceFacts)>>;

impl Timed {
    pub(super) fn new(row: &'static Row, histogram: Histogram) -> Self {
        let bounds = if let Kind::Histogram(bounds) = row.kind { bounds } else { &[] };
        Self { histogram, bounds, kept: Arc::default() }
    }

    /// Counts a time, and keeps the trace it was in.
    pub(super) fn observe(&self, time: Duration, trace: Option<TraceFacts>) {
        let seconds = time.as_secs_f64();
        self.histogram.observe(seconds);
        let Some(trace) = trace else { return };
        let slots = self.kept.get_or_init(|| (0..=self.bounds.len()).map(|_| Slot::default()).collect());
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        if let Some(slot) = slots.get(bucket) {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some((seconds, trace));
        }
    }

    /// Returns what stands behind the line of each bucket, in their order, `+Inf` last.
    fn told(&self) -> impl Iterator<Item = String> {
        let told = |bucket: usize| {
            let slot = self.kept.get()?.get(bucket)?.lock().unwrap_or_else(PoisonError::into_inner);
            let (seconds, trace) = (*slot)?;
            let mut text = String::from(" # {trace_id=\"");
            for byte in trace.trace_id {
                let _ = write!(text, "{byte:02x}");
            }
            let (at, millis) = (trace.at.as_second(), trace.at.subsec_millisecond());
            let _ = write!(text, "\"}} {seconds} {at}.{millis:03}");
            Some(text)
        };
        (0..=self.bounds.len()).map(move |bucket| told(bucket).unwrap_or_default())
    }
}

/// Puts the exemplars of a histogram's series behind the lines of their buckets; `text` is the encoded `gathered`.
pub(super) fn put_behind(text: &str, gathered: &MetricFamily, family: &Family<Timed>) -> String {
    let cells = family.cells();
    let mut exemplars = gathered.get_metric().iter().flat_map(|metric| {
        let value = |label: &&str| {
            let pair = metric.get_label().iter().find(|pair| pair.name() == *label);
            pair.map_or("", |pair| pair.value())
        };
        let values: Vec<&str> = family.row.labels.iter().map(value).collect();
        let found =
            cells.binary_search_by(|(known, _)| known.iter().map(String::as_str).cmp(values.iter().copied()));
        found.ok().and_then(|at| cells.get(at)).into_iter().flat_map(|(_, timed)| timed.told())
    });
    let mut page = String::with_capacity(text.len() * 2);
    for line in text.lines() {
        page.push_str(line);
        if !line.starts_with('#') && line.contains("_bucket{") {
            page.push_str(&exemplars.next().unwrap_or_default());
        }
        page.push('\n');
    }
    page
}

/// Turns the text format, version 0.0.4, into OpenMetrics 1.0: there a counter's family is named without `_total`.
pub(super) fn to_openmetrics(page: &str) -> String {
    let mut told = String::with_capacity(page.len() + 8);
    for line in page.lines() {
        let announced = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE "));
        match announced
            .and_then(|rest| rest.split_once(' '))
            .and_then(|(name, _)| name.strip_suffix("_total"))
        {
            Some(name) => {
                let (before, after) = line.split_at(7 + name.len());
                told.push_str(before);
                told.push_str(after.strip_prefix("_total").unwrap_or(after));
            }
            None => told.push_str(line),
        }
        told.push('\n');
    }
    told.push_str("# EOF\n");
    told
}
