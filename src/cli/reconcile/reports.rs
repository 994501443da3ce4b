//! Anthropic's usage and cost reports: asked for with an admin key, page by page.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Limited};
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Pairs;
use crate::cli::ending::{Exit, Failure, plain};
use crate::config;
use crate::money::NanoUsd;
use crate::secret::Secret;
use crate::upstream::{RequestBody, Upstream};

/// Where the reports come from.
pub(super) struct Reports {
    upstream: Upstream,
    base: String,
    key: Secret,
}

#[derive(Deserialize)]
struct Page<R> {
    data: Vec<Bucket<R>>,
    has_more: bool,
    next_page: Option<String>,
}

#[derive(Deserialize)]
struct Bucket<R> {
    starting_at: String,
    results: Vec<R>,
}

#[derive(Deserialize)]
struct UsageResult {
    model: Option<String>,
    uncached_input_tokens: u64,
    cache_read_input_tokens: u64,
    cache_creation: CacheCreation,
    output_tokens: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CacheCreation {
    ephemeral_5m_input_tokens: u64,
    ephemeral_1h_input_tokens: u64,
}

#[derive(Deserialize)]
struct CostResult {
    model: Option<String>,
    currency: String,
    amount: String,
}

impl Reports {
    pub(super) fn new(upstream: &config::Upstream, key: Secret) -> Result<Self, Failure> {
        let base = upstream.base_url.to_string();
        Ok(Self { upstream: Upstream::new(upstream).map_err(Failure::run)?, base, key })
    }

    /// Adds what both reports say of whole days from `from` until before `to`.
    pub(super) async fn add_to(
        &self,
        pairs: &mut Pairs,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<(), Failure> {
        let usage = self.pages::<UsageResult>("usage_report/messages", "model", from, to).await?;
        for (day, result) in usage {
            let side = &mut pairs.entry((day, result.model.unwrap_or_default())).or_default().theirs;
            side.usage.input_tokens += result.uncached_input_tokens;
            side.usage.cache_read_tokens += result.cache_read_input_tokens;
            side.usage.cache_write_5m_tokens += result.cache_creation.ephemeral_5m_input_tokens;
            side.usage.cache_write_1h_tokens += result.cache_creation.ephemeral_1h_input_tokens;
            side.usage.output_tokens += result.output_tokens;
        }
        for (day, result) in self.pages::<CostResult>("cost_report", "description", from, to).await? {
            let amount = nanousd(&result.amount).filter(|_| result.currency == "USD");
            let amount = amount.ok_or_else(|| {
                let told = plain(&format!("{} {}", result.amount, result.currency));
                Failure::run(format_args!(
                    "the cost report has an amount that is none in cents of USD: {told}"
                ))
            })?;
            pairs.entry((day, result.model.unwrap_or_default())).or_default().theirs.cost += amount;
        }
        Ok(())
    }

    /// Goes through every page of a report.
    async fn pages<R: DeserializeOwned>(
        &self,
        report: &str,
        group_by: &str,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<(String, R)>, Failure> {
        let (mut found, mut page) = (Vec::new(), None::<String>);
        for _ in 0..PAGES_MAX {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("starting_at", &from.to_string()).append_pair("ending_at", &to.to_string());
            query
                .append_pair("bucket_width", "1d")
                .append_pair("limit", "31")
                .append_pair("group_by[]", group_by);
            if let Some(page) = &page {
                query.append_pair("page", page);
            }
            let told: Page<R> = self.ask(&format!("/v1/organizations/{report}?{}", query.finish())).await?;
            for bucket in told.data {
                let day = bucket.starting_at.parse().map(super::day_of).map_err(|_| {
                    let told = plain(&bucket.starting_at);
                    Failure::run(format_args!("the {report} has a time that is none: {told}"))
                })?;
                found.extend(bucket.results.into_iter().map(|result| (day.clone(), result)));
            }
            match told.next_page.filter(|_| told.has_more) {
                Some(next) => page = Some(next),
                None => return Ok(found),
            }
        }
        Err(Failure::run(format_args!("the {report} has more than {PAGES_MAX} pages: name fewer days")))
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let request = Request::builder()
            .method(Method::GET)
            .uri(path)
            .header("x-api-key", self.key.expose())
            .header("anthropic-version", "2023-06-01")
            .body(RequestBody::empty())
            .map_err(|_| Failure::usage("the admin key holds what no header can"))?;
        let unreachable = |told: String| Failure {
            exit: Exit::Unreachable,
            text: format!("{} does not answer: {told}", self.base),
        };
        let answer = self.upstream.send(request).await.map_err(|failure| unreachable(failure.to_string()))?;
        let (head, body) = answer.response.into_parts();
        let body = Limited::new(body, PAGE_BYTES_MAX).collect().await;
        let body: Bytes = body.map_err(|error| unreachable(error.to_string()))?.to_bytes();
        if !head.status.is_success() {
            let told: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let message = told.pointer("/error/message").and_then(serde_json::Value::as_str);
            let message = plain(message.unwrap_or("no reason given"));
            return Err(Failure::run(format_args!(
                "{} refused ({}): {message}",
                self.base,
                head.status.as_u16()
            )));
        }
        serde_json::from_slice(&body)
            .map_err(|error| Failure::run(format_args!("{} answered what is no report: {error}", self.base)))
    }
}

/// Reads cents as a decimal text, such as `123.45`; digits beyond a nano-dollar are rounded down.
fn nanousd(cents: &str) -> Option<NanoUsd> {
    let (whole, fraction) = cents.split_once('.').unwrap_or((cents, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let fraction: String = fraction.chars().chain(std::iter::repeat('0')).take(CENT_DIGITS).collect();
    let whole: i64 = whole.parse().ok()?;
    whole.checked_mul(10_000_000)?.checked_add(fraction.parse().ok()?).map(NanoUsd)
}

/// A cent is ten million nano-dollars.
const CENT_DIGITS: usize = 7;
const PAGES_MAX: usize = 100;
const PAGE_BYTES_MAX: usize = 32 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cents_are_read_exactly_or_not_at_all() {
        for (text, amount) in [
            ("123.45", Some(1_234_500_000)),
            ("0", Some(0)),
            ("7", Some(70_000_000)),
            ("0.00000019", Some(1)),
            ("", None),
            (".5", None),
            ("-1", None),
            ("1e3", None),
            ("1.2.3", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(nanousd(text), amount.map(NanoUsd), "{text}");
        }
    }
}
