//! A metric with labels, and the cap on how many series there may be.
//!
//! A family hands out cells (a counter, a gauge, a histogram) by label values. A label set not seen before is
//! admitted while the process holds fewer series than three quarters of the cap; after that its open labels
//! fold to `_other`. Folded sets and sets without open labels are always admitted: they are few by nature.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use foldhash::fast::RandomState;
use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
};
use prometheus::{Registry, Result};

use super::exemplar::Timed;
use super::table::{FREE_LABELS, Kind, Row};

/// Counts the series of all families together.
#[derive(Debug)]
pub(super) struct SeriesCap {
    used: AtomicUsize,
    named_max: usize,
    series_max: usize,
    dropped: IntCounterVec,
}

/// Cells of one metric by label values.
pub(super) struct Family<M> {
    pub(super) row: &'static Row,
    cap: Arc<SeriesCap>,
    make: Make<M>,
    known: DashMap<Box<str>, M, RandomState>,
}

/// Makes the cell of a label set.
type Make<M> = Box<dyn Fn(&[&str]) -> Option<M> + Send + Sync>;

impl SeriesCap {
    pub(super) fn new(series_max: usize, dropped: IntCounterVec) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), named_max: series_max / 4 * 3, series_max, dropped })
    }

    /// Returns how many series there is room for beside those that are counted.
    pub(super) fn room(&self) -> usize {
        self.series_max.saturating_sub(self.used.load(Ordering::Relaxed))
    }

    /// Counts label sets of a metric that have no series of their own.
    pub(super) fn drop_sets(&self, row: &Row, sets: u64) {
        if let Ok(counter) = self.dropped.get_metric_with_label_values(&[row.name]) {
            counter.inc_by(sets);
        }
    }

    /// Takes `series` of the cap for a set with open labels, or says that there is no room.
    fn admit(&self, series: usize) -> bool {
        let taken = |used: usize| used.checked_add(series).filter(|next| *next <= self.named_max);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }
}

impl<M: Clone> Family<M> {
    fn new(
        row: &'static Row,
        cap: &Arc<SeriesCap>,
        make: impl Fn(&[&str]) -> Option<M> + Send + Sync + 'static,
    ) -> Self {
        Self { row, cap: Arc::clone(cap), make: Box::new(make), known: DashMap::default() }
    }

    /// Returns the cell of a label set, folded where there is no room.
    ///
    /// `None` only if `values` does not match the row's labels, which tests rule out.
    pub(super) fn cell(&self, values: &[&str]) -> Option<M> {
        if values.len() != self.row.labels.len() {
            return None;
        }
        let values: Vec<&str> = values.iter().map(|value| bounded(value)).collect();
        let key = values.join(SEPARATOR);
        if let Some(cell) = self.known.get(key.as_str()) {
            return Some(cell.clone());
        }
        let folded: Vec<&str> =
            self.row.labels.iter().zip(&values).map(|(label, value)| fold(label, value)).collect();
        if folded == values {
            self.cap.used.fetch_add(self.row.series(), Ordering::Relaxed);
            return self.insert(key, &values);
        }
        if self.cap.admit(self.row.series()) {
            return self.insert(key, &values);
        }
        self.cap.drop_sets(self.row, 1);
        let key = folded.join(SEPARATOR);
        match self.known.get(key.as_str()).map(|cell| cell.clone()) {
            Some(cell) => Some(cell),
            None => self.insert(key, &folded),
        }
    }

    /// Returns every label set with its cell, sorted by label values.
    pub(super) fn cells(&self) -> Vec<(Vec<String>, M)> {
        let mut cells: Vec<_> = self
            .known
            .iter()
            .map(|entry| {
                (entry.key().split(SEPARATOR).map(str::to_owned).collect::<Vec<_>>(), entry.value().clone())
            })
            .collect();
        cells.sort_by(|(left, _), (right, _)| left.cmp(right));
        cells
    }

    /// Keeps a cell; where two threads race for one set, the first stays and the cap counts one too many.
    fn insert(&self, key: String, values: &[&str]) -> Option<M> {
        let cell = (self.make)(values)?;
        Some(self.known.entry(key.into_boxed_str()).or_insert(cell).clone())
    }
}

impl Family<IntCounter> {
    pub(super) fn counter(row: &'static Row, cap: &Arc<SeriesCap>, registry: &Registry) -> Result<Self> {
        let vec = registered(IntCounterVec::new(options(row), row.labels)?, registry)?;
        Ok(Self::new(row, cap, move |values| vec.get_metric_with_label_values(values).ok()))
    }

    /// A counter of nano-dollars; not registered, because it is written by hand.
    pub(super) fn money(row: &'static Row, cap: &Arc<SeriesCap>) -> Self {
        Self::new(row, cap, |_| IntCounter::new(row.name, row.help).ok())
    }
}

impl Family<IntGauge> {
    pub(super) fn gauge(row: &'static Row, cap: &Arc<SeriesCap>, registry: &Registry) -> Result<Self> {
        let vec = registered(IntGaugeVec::new(options(row), row.labels)?, registry)?;
        Ok(Self::new(row, cap, move |values| vec.get_metric_with_label_values(values).ok()))
    }
}

impl Family<Histogram> {
    pub(super) fn histogram(row: &'static Row, cap: &Arc<SeriesCap>, registry: &Registry) -> Result<Self> {
        let bounds = if let Kind::Histogram(bounds) = row.kind { bounds } else { &[] };
        let options = HistogramOpts::from(options(row)).buckets(bounds.to_vec());
        let vec = registered(HistogramVec::new(options, row.labels)?, registry)?;
        Ok(Self::new(row, cap, move |values| vec.get_metric_with_label_values(values).ok()))
    }
}

impl Family<Timed> {
    pub(super) fn timed(row: &'static Row, cap: &Arc<SeriesCap>, registry: &Registry) -> Result<Self> {
        let Family { cap, make, .. } = Family::<Histogram>::histogram(row, cap, registry)?;
        Ok(Self::new(row, &cap, move |values| make(values).map(|histogram| Timed::new(row, histogram))))
    }
}

pub(super) fn options(row: &Row) -> Opts {
    Opts::new(row.name, row.help)
}

/// Registers a collector and returns it.
pub(super) fn registered<C: Collector + Clone + 'static>(collector: C, registry: &Registry) -> Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

/// Adds to a counter, where there is one.
pub(super) fn count(cell: Option<&IntCounter>, by: u64) {
    if let Some(cell) = cell {
        cell.inc_by(by);
    }
}

/// Adds to each counter its amount.
pub(super) fn count_all(cells: &[Option<IntCounter>], amounts: &[u64]) {
    for (cell, amount) in cells.iter().zip(amounts).filter(|(_, amount)| **amount > 0) {
        count(cell.as_ref(), *amount);
    }
}

/// Counts a time, where there is a histogram.
pub(super) fn observe(histogram: Option<&Histogram>, time: Duration) {
    if let Some(histogram) = histogram {
        histogram.observe(time.as_secs_f64());
    }
}

/// Returns a value fit for a label: at most 128 bytes and free of control characters, or `_other`.
fn bounded(value: &str) -> &str {
    if value.len() <= VALUE_MAX_BYTES && !value.contains(char::is_control) { value } else { OTHER }
}

fn fold<'a>(label: &str, value: &'a str) -> &'a str {
    if FREE_LABELS.contains(&label) { OTHER } else { value }
}

/// Stands for every value that has no series of its own.
pub(super) const OTHER: &str = "_other";

/// Between label values in a key; a control character, which no value holds.
const SEPARATOR: &str = "\u{1f}";

const VALUE_MAX_BYTES: usize = 128;
