//! What a usage report asks for and what it looks like; the shape of the admin API's `usage`.
//!
//! Days, weeks and months are those of UTC. Money is in nano-dollars, and once more as a decimal text of
//! dollars. Saving is never reckoned here: both baselines stand beside the cost.

use std::collections::BTreeMap;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::Offset;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::record::ExchangeRecord;
use super::sample::SampleSums;
use crate::money::NanoUsd;
use crate::usage::Usage;

/// What a report is to cover and how it is to be split.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Of this tenant.
    pub tenant: Option<String>,
    /// Of this user.
    pub user: Option<String>,
    /// Sent to this model.
    pub model: Option<String>,
    /// From the hour this time lies in.
    pub from: Option<Timestamp>,
    /// Until before this time; its own hour counts whole unless it begins then.
    pub to: Option<Timestamp>,
    /// One row per combination of these; none gives no rows, only the totals.
    pub by: Vec<By>,
}

/// What a report can be split by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// `2026-11-20T13:00:00Z`.
    Hour,
    /// `2026-11-20`.
    Day,
    /// ISO 8601 week, `2026-W47`.
    Week,
    /// `2026-11`.
    Month,
    /// The tenant's name.
    Tenant,
    /// The user; empty where there is none.
    User,
    /// The model requests were sent to; where they were sent nowhere, the one asked for.
    Model,
    /// The tier.
    Tier,
}

/// A report: the sum of everything asked for, and its parts.
#[derive(Clone, Debug, Serialize)]
pub struct UsageReport {
    /// The sum.
    pub totals: Sums,
    /// The parts, in the order of their keys.
    pub rows: Vec<Row>,
}

/// One part of a report.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What the part is of: a text for each thing split by.
    pub key: BTreeMap<&'static str, String>,
    /// Its sums.
    #[serde(flatten)]
    pub sums: Sums,
}

/// Sums over exchanges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// How many exchanges; samples of them are none.
    pub requests: u64,
    /// Their tokens by kind.
    pub usage: Usage,
    /// What they cost.
    pub cost: NanoUsd,
    /// What they would have cost on the models asked for.
    pub baseline_requested: NanoUsd,
    /// What they would have cost on the model of the opus tier.
    pub baseline_all_opus: NanoUsd,
    /// What the response cache did with them.
    pub cache: CacheSums,
    /// What was learned by asking some of them again elsewhere; its cost is in `cost`.
    pub sample: SampleSums,
}

/// What the response cache did with exchanges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheSums {
    /// Answered with a kept answer.
    pub hits: u64,
    /// Shared the answer to an identical request on its way.
    pub joined: u64,
    /// Looked up and sent.
    pub misses: u64,
    /// Not looked up.
    pub bypassed: u64,
    /// What those that were answered would have cost.
    pub saved: NanoUsd,
}

impl CacheSums {
    /// Returns what the cache did with one exchange: the journal's word for it, and what that saved.
    #[must_use]
    pub fn of(word: Option<&str>, saved: NanoUsd) -> Self {
        let is = |name: &str| u64::from(word == Some(name));
        Self { hits: is("hit"), joined: is("joined"), misses: is("miss"), bypassed: is("bypass"), saved }
    }

    /// Returns how many were answered without being sent.
    #[must_use]
    pub const fn answered(&self) -> u64 {
        self.hits.saturating_add(self.joined)
    }

    fn add(&mut self, other: &Self) {
        self.hits = self.hits.saturating_add(other.hits);
        self.joined = self.joined.saturating_add(other.joined);
        self.misses = self.misses.saturating_add(other.misses);
        self.bypassed = self.bypassed.saturating_add(other.bypassed);
        self.saved += other.saved;
    }
}

impl Sums {
    /// Returns those of one exchange.
    #[must_use]
    pub fn of(record: &ExchangeRecord) -> Self {
        let sample = record.sample.as_ref().map(|sample| sample.sums(record.cost_nanousd));
        Self {
            requests: u64::from(sample.is_none()),
            usage: record.usage(),
            cost: record.cost_nanousd,
            baseline_requested: record.baseline_nanousd.requested,
            baseline_all_opus: record.baseline_nanousd.all_opus,
            cache: CacheSums::of(record.cache.as_deref(), record.cache_saved_nanousd),
            sample: sample.unwrap_or_default(),
        }
    }

    /// Adds other sums.
    pub fn add(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.usage.add(&other.usage);
        self.cost += other.cost;
        self.baseline_requested += other.baseline_requested;
        self.baseline_all_opus += other.baseline_all_opus;
        self.cache.add(&other.cache);
        self.sample.add(&other.sample);
    }

    /// Returns what was saved against the models asked for; negative where routing cost more.
    #[must_use]
    pub fn saved_on_requested(&self) -> NanoUsd {
        self.baseline_requested - self.cost
    }
}

impl Serialize for Sums {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let sampled = self.sample != SampleSums::default();
        let mut fields = serializer.serialize_struct("Sums", if sampled { 16 } else { 15 })?;
        fields.serialize_field("requests", &self.requests)?;
        fields.serialize_field("input_tokens", &self.usage.input_tokens)?;
        fields.serialize_field("output_tokens", &self.usage.output_tokens)?;
        fields.serialize_field("cache_read_tokens", &self.usage.cache_read_tokens)?;
        fields.serialize_field("cache_write_5m_tokens", &self.usage.cache_write_5m_tokens)?;
        fields.serialize_field("cache_write_1h_tokens", &self.usage.cache_write_1h_tokens)?;
        fields.serialize_field("cost_nanousd", &self.cost)?;
        fields.serialize_field("cost_usd", &self.cost.to_string())?;
        fields.serialize_field("baseline_requested_nanousd", &self.baseline_requested)?;
        fields.serialize_field("baseline_all_opus_nanousd", &self.baseline_all_opus)?;
        fields.serialize_field("cache_hits", &self.cache.hits)?;
        fields.serialize_field("cache_joined", &self.cache.joined)?;
        fields.serialize_field("cache_misses", &self.cache.misses)?;
        fields.serialize_field("cache_bypassed", &self.cache.bypassed)?;
        fields.serialize_field("cache_saved_nanousd", &self.cache.saved)?;
        if sampled {
            fields.serialize_field("shadow_sample", &self.sample)?;
        }
        fields.end()
    }
}

/// `quality` is the share of the asked models' quality held, between `quality_low` and `quality_high` with 95 %.
impl Serialize for SampleSums {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let quality = self.quality();
        let mut fields = serializer.serialize_struct("SampleSums", 9)?;
        fields.serialize_field("compared", &self.compared)?;
        fields.serialize_field("unclear", &self.unclear)?;
        fields.serialize_field("quality", &quality.map(|quality| quality.held))?;
        fields.serialize_field("quality_low", &quality.map(|quality| quality.low))?;
        fields.serialize_field("quality_high", &quality.map(|quality| quality.high))?;
        fields.serialize_field("spent_nanousd", &self.spent)?;
        fields.serialize_field("as_asked_nanousd", &self.as_asked)?;
        fields.serialize_field("routed_nanousd", &self.routed)?;
        fields.serialize_field("coin_nanousd", &self.coin())?;
        fields.end()
    }
}

impl By {
    /// Returns what an exchange is of.
    #[must_use]
    pub fn of(self, record: &ExchangeRecord) -> String {
        match self {
            Self::Hour | Self::Day | Self::Week | Self::Month => {
                let second = record.timestamp.as_second();
                period(self, second.div_euclid(HOUR_S) * HOUR_S)
            }
            Self::Tenant => record.tenant.clone(),
            Self::User => record.user_id.clone().unwrap_or_default(),
            Self::Model => record.sent_model.as_ref().unwrap_or(&record.requested_model).clone(),
            Self::Tier => record.tier.to_string(),
        }
    }

    /// Returns the text of the period that begins at `second` of Unix time; empty for what is no period.
    #[must_use]
    pub fn period(self, second: i64) -> String {
        period(self, second)
    }

    /// Returns the name used in queries and keys.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Tenant => "tenant",
            Self::User => "user",
            Self::Model => "model",
            Self::Tier => "tier",
        }
    }
}

impl FromStr for By {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        const ALL: [By; 8] =
            [By::Hour, By::Day, By::Week, By::Month, By::Tenant, By::User, By::Model, By::Tier];
        ALL.into_iter().find(|by| by.name() == text).ok_or(())
    }
}

/// Returns the text of a period that begins at `second` of Unix time; empty for what is no period.
pub(super) fn period(by: By, second: i64) -> String {
    let date = date_of(second);
    match by {
        By::Hour => Timestamp::from_second(second).map(|time| time.to_string()).unwrap_or_default(),
        By::Day => date.to_string(),
        By::Week => {
            let week = date.iso_week_date();
            format!("{:04}-W{:02}", week.year(), week.week())
        }
        By::Month => format!("{:04}-{:02}", date.year(), date.month()),
        By::Tenant | By::User | By::Model | By::Tier => String::new(),
    }
}

/// Returns the second at which the month of `second` begins, and that at which the next does.
pub(super) fn month_of(second: i64) -> (i64, i64) {
    let first = date_of(second).first_of_month();
    let days = i64::from(first.days_in_month());
    let start = second - (i64::from(date_of(second).day()) - 1) * DAY_S;
    let start = start.div_euclid(DAY_S) * DAY_S;
    (start, start + days * DAY_S)
}

fn date_of(second: i64) -> jiff::civil::Date {
    let time = Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH);
    Offset::UTC.to_datetime(time).date()
}

pub(super) const HOUR_S: i64 = 3600;
pub(super) const DAY_S: i64 = 86_400;
