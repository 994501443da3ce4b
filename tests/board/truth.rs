//! What the journal says was done, as the numbers that a query over the same time has to answer.

use std::collections::BTreeMap;

use serde_json::Value;

/// What happened while Prometheus watched.
pub struct Truth {
    /// Every exchange, and those of the time watched.
    pub all: Vec<Value>,
    pub measured: Vec<Value>,
    /// How long that was.
    pub window_s: f64,
    /// By how much `increase` stretches what it saw to the whole window, for every series alike.
    pub factor: f64,
    /// When it was asked, in seconds of Unix time.
    pub now_s: f64,
    /// The metrics as the gateway itself told them in the end.
    pub page: String,
}

/// Values by label values, joined with `/` in the order of the labels' names.
pub type Numbers = BTreeMap<String, f64>;

/// What a query has to answer.
#[derive(Debug)]
pub enum Expected {
    /// Exactly these; zero where nothing is said.
    Each(Numbers),
    /// Values between these two, for these and no others.
    Between(BTreeMap<String, (f64, f64)>),
    /// Any label sets, that sum to this.
    Sum(f64),
}

/// One number without labels.
pub fn one(value: f64) -> Expected {
    Expected::Each(BTreeMap::from([(String::new(), value)]))
}

pub fn nothing() -> Expected {
    Expected::Each(Numbers::new())
}

impl Truth {
    /// Sums over the exchanges watched, as `increase` tells it.
    pub fn grown<'a, K: Into<String>>(&'a self, each: impl Fn(&'a Value) -> Vec<(K, f64)>) -> Numbers {
        summed(&self.measured, each).into_iter().map(|(key, sum)| (key, sum * self.factor)).collect()
    }

    /// The same per second, as `rate` tells it.
    pub fn per_second<'a, K: Into<String>>(&'a self, each: impl Fn(&'a Value) -> Vec<(K, f64)>) -> Numbers {
        self.grown(each).into_iter().map(|(key, sum)| (key, sum / self.window_s)).collect()
    }

    /// One sum over the exchanges watched, as `increase` tells it.
    pub fn total(&self, each: impl Fn(&Value) -> f64) -> f64 {
        self.measured.iter().map(each).sum::<f64>() * self.factor
    }

    /// What every exchange ever of a tenant cost.
    pub fn spent(&self, tenant: &str) -> f64 {
        self.all.iter().filter(|record| record["tenant"] == tenant).map(cost).sum()
    }

    /// What the exchanges watched of a tenant cost a day, at that pace.
    pub fn burn_per_day(&self, tenant: &str) -> f64 {
        self.per_second(|record| vec![(text(record, "tenant"), cost(record))]).get(tenant).unwrap_or(&0.0)
            * 86_400.0
    }

    /// The bucket that a quantile of these lies in, in seconds: its bounds.
    pub fn bucket(&self, quantile: f64, bounds: &[f64], each: impl Fn(&Value) -> Option<f64>) -> Expected {
        let mut values: Vec<f64> = self.measured.iter().filter_map(each).collect();
        values.sort_by(f64::total_cmp);
        let rank = ((quantile * values.len() as f64).ceil() as usize).clamp(1, values.len()) - 1;
        // Whole milliseconds stand in the journal: a value near a bound may lie on either side of it.
        let place = |value: f64| bounds.iter().position(|bound| value <= *bound).unwrap_or(bounds.len());
        let (first, last) = (place((values[rank] - 0.001).max(0.0)), place(values[rank] + 0.001));
        let low = if first == 0 { 0.0 } else { bounds[first - 1] };
        // Beyond the last bound the bound is told.
        let high = bounds[last.min(bounds.len() - 1)];
        Expected::Between(BTreeMap::from([(String::new(), (low, high))]))
    }
}

pub fn scaled(numbers: Numbers, by: f64) -> Expected {
    Expected::Each(numbers.into_iter().map(|(key, value)| (key, value * by)).collect())
}

pub fn text<'a>(record: &'a Value, field: &str) -> &'a str {
    record[field].as_str().unwrap_or_default()
}

pub fn number(record: &Value, field: &str) -> f64 {
    record[field].as_f64().unwrap()
}

/// In dollars.
pub fn cost(record: &Value) -> f64 {
    number(record, "cost_nanousd") / 1e9
}

/// In dollars.
pub fn baseline(record: &Value, which: &str) -> f64 {
    record["baseline_nanousd"][which].as_f64().unwrap() / 1e9
}

/// Tokens by kind.
pub fn tokens(record: &Value) -> [(&'static str, f64); 5] {
    [
        ("input", "input_tokens"),
        ("output", "output_tokens"),
        ("cache_read", "cache_read_tokens"),
        ("cache_write_5m", "cache_write_5m_tokens"),
        ("cache_write_1h", "cache_write_1h_tokens"),
    ]
    .map(|(kind, field)| (kind, number(record, field)))
}

/// Where the request went, or in shadow mode would have gone; `None` where nothing was decided.
pub fn route(record: &Value) -> Option<(&str, &str)> {
    let decided = record["decision"]["tier"].as_str()?;
    let went = if record["mode"] == "shadow" { decided } else { text(record, "tier") };
    Some((tier_of(text(record, "requested_model")), went))
}

pub fn tier_of(model: &str) -> &'static str {
    ["haiku", "sonnet", "opus"].into_iter().find(|tier| model.contains(tier)).unwrap_or("other")
}

/// The model of the label: one of the catalog, or `_other`.
pub fn model(record: &Value) -> String {
    record["sent_model"].as_str().unwrap_or(text(record, "requested_model")).to_owned()
}

fn summed<'a, K: Into<String>>(records: &'a [Value], each: impl Fn(&'a Value) -> Vec<(K, f64)>) -> Numbers {
    let mut sums = Numbers::new();
    for (key, amount) in records.iter().flat_map(each) {
        *sums.entry(key.into()).or_default() += amount;
    }
    sums
}
