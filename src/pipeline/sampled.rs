//! A sampled request asked again, compared and judged, in the background: reserved, journaled and charged as one
//! exchange that no client waits for.
//!
//! It pays from the day's budget of the tenant's sample and, as all money is the tenant's, from the budgets of the
//! tenant and of the gateway; users and keys, who asked for one answer, pay for one. Its record has no baseline, so
//! that savings are net of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use http_body_util::BodyExt;
use jiff::Timestamp;

use super::bill::{Bill, Pricing};
use super::runtime::{Snapshot, Tercet};
use super::sample::{HEARD_MAX_BYTES, Sampling, read};
use super::watch::starts_with;
use super::{account, charge, forward};
use crate::budget::Estimate;
use crate::id::RequestId;
use crate::journal::{
    ExchangeRecord, Ground, Outcome, ReservationRecord, SampleRecord, UsageSource, Verdict,
};
use crate::money::NanoUsd;
use crate::route::Wanted;
use crate::sample::{self, Preference};
use crate::store::{Actual, Reservation};
use crate::telemetry::SampleResult;
use crate::tier::Tier;
use crate::upstream::{FailureKind, Phase, RequestBody, TimedBody};
use crate::usage::{Billed, Terms, Usage};
use crate::wire::envelope;
use crate::wire::meter::{Decoder, Meter, Metered};
use crate::wire::transcript::Transcript;
use crate::workload::Belonging;

/// All that is needed to ask a request again when its exchange has ended.
pub(super) struct Case {
    pub(super) tercet: Arc<Tercet>,
    pub(super) snapshot: Arc<Snapshot>,
    /// The client's exchange.
    pub(super) of: RequestId,
    pub(super) tenant: Box<str>,
    /// As the client's request went up.
    pub(super) headers: HeaderMap,
    /// The same credential and nothing else of the client's.
    pub(super) judge_headers: HeaderMap,
    pub(super) uri: Uri,
    pub(super) terms: Terms,
    pub(super) belonging: Belonging,
    pub(super) judge: Option<String>,
    /// What the client's exchange cost, and would have as asked.
    pub(super) cost: NanoUsd,
    pub(super) baseline: NanoUsd,
    pub(super) sampling: Sampling,
}

/// What came back.
struct Heard {
    status: u16,
    bill: Bill,
    /// What this answer alone cost.
    cost: NanoUsd,
    said: Option<Transcript>,
    request_id: Option<String>,
    model: Option<String>,
}

/// What was held for a sample, and under which id.
struct Stake {
    id: RequestId,
    at: Timestamp,
    reservation: Reservation,
}

/// Asks a request again, compares, records and learns.
pub(super) async fn run(case: Case) {
    let tercet = Arc::clone(&case.tercet);
    let Some(_turn) = tercet.runtime.samples.turn().await else { return };
    let Some(ours) = case.sampling.said().filter(|_| !tercet.runtime.draining.load(Ordering::Relaxed)) else {
        return;
    };
    let judging = case.judging(&ours);
    let Some(stake) = case.hold(&case.sampling.estimate.plus(judging.estimate.times(2))).await else {
        tercet.runtime.metrics.record_sample(&case.tenant, SampleResult::NoBudget);
        return;
    };
    let mut heard = case.ask_twin().await;
    let (verdict, ground) = match heard.said.take() {
        None => (None, None),
        Some(theirs) => {
            case.watch(&theirs);
            let (verdict, ground) = case.compare(&ours, &theirs, &judging, &mut heard.bill).await;
            (Some(verdict), Some(ground))
        }
    };
    case.learn(verdict);
    case.end(stake, heard, verdict, ground);
}

/// What a judge is asked with.
struct Judging {
    model: String,
    task: String,
    estimate: Estimate,
}

impl Case {
    fn is_twin_cheaper(&self) -> bool {
        self.sampling.twin.choice.tier == self.sampling.twin.cheaper
    }

    /// Prepares what a judge would be asked, and estimates one such question.
    fn judging(&self, ours: &Transcript) -> Judging {
        let (snapshot, tiers) = (&self.snapshot, &self.snapshot.config.tiers);
        let model = self.judge.clone().unwrap_or_else(|| tiers.sonnet.clone());
        let task =
            envelope::read(&self.sampling.body).map(|envelope| sample::task(&envelope)).unwrap_or_default();
        let shown = sample::shown(ours).map_or(0, |shown| shown.len());
        let prompt_bytes =
            u64::try_from(task.len() + 2 * shown).unwrap_or(u64::MAX).saturating_add(RUBRIC_BYTES);
        let usage =
            Usage { input_tokens: prompt_bytes * 2 / 5, output_tokens: WORD_TOKENS, ..Usage::default() };
        let work = Billed { model: model.clone(), usage, terms: Terms::default() };
        let cost = snapshot.catalog.price(&work, self.tercet.runtime.clock.now()).cost;
        let estimate = Estimate {
            prompt_tokens: usage.input_tokens,
            max_prompt_tokens: usage.input_tokens,
            input_tokens: usage.input_tokens,
            output_tokens: WORD_TOKENS,
            max_output_tokens: WORD_TOKENS,
            cost,
            max_cost: cost,
        };
        Judging { model, task, estimate }
    }

    /// Holds what asking may come to and writes it down; `None` where there is no money, or no journal.
    async fn hold(&self, estimate: &Estimate) -> Option<Stake> {
        let runtime = &self.tercet.runtime;
        let levels = self.snapshot.directory.sample_levels(&self.tenant);
        let claims = charge::spending_claims(&levels, &runtime.accounts, estimate);
        let reservation = runtime.accounts.hold(claims).await.ok()?;
        let (estimate_nanousd, estimate_tokens) = charge::held(&levels, estimate);
        let (id, at) = (RequestId::generate(), runtime.clock.now());
        let record = ReservationRecord {
            timestamp: at,
            request_id: id.clone(),
            tenant: self.tenant.to_string(),
            user_id: None,
            key_id: None,
            sent_model: self.sampling.twin.choice.model.clone(),
            tier: self.sampling.twin.choice.tier,
            estimate_nanousd,
            estimate_tokens,
            batch: None,
            sample: Some(self.of.clone()),
        };
        let stake = Stake { id, at, reservation };
        if let Err(failure) = runtime.journal.note(&record.into()).await {
            tracing::error!(request_id = %stake.id, %failure, "reservation of a sample not written");
        }
        if runtime.journal.healthy() {
            return Some(stake);
        }
        stake.reservation.void();
        None
    }

    async fn ask_twin(&self) -> Heard {
        let twin = &self.sampling.twin.choice;
        self.ask(self.headers.clone(), self.sampling.request(), &twin.model, &self.sampling.estimate).await
    }

    /// Says whether the cheaper model's answer is as good; what judges cost is added to the bill.
    async fn compare(
        &self,
        ours: &Transcript,
        theirs: &Transcript,
        judging: &Judging,
        bill: &mut Bill,
    ) -> (Verdict, Ground) {
        let (cheaper, asked) = if self.is_twin_cheaper() { (theirs, ours) } else { (ours, theirs) };
        let wanted = Wanted::of(&self.sampling.body).unwrap_or_default();
        match (wanted.fault(cheaper).is_some(), wanted.fault(asked).is_some()) {
            (true, false) => return (Verdict::Lost, Ground::Fault),
            (false, true) => return (Verdict::Held, Ground::Fault),
            (true, true) => return (Verdict::Unclear, Ground::Fault),
            (false, false) => {}
        }
        if let Some(ground) = sample::alike(cheaper, asked) {
            return (Verdict::Held, ground);
        }
        let (Some(cheaper), Some(asked)) = (sample::shown(cheaper), sample::shown(asked)) else {
            return (Verdict::Unclear, Ground::Judge);
        };
        let before = self.prefer(judging, &cheaper, &asked, bill).await;
        if before.is_none() {
            return (Verdict::Unclear, Ground::Judge);
        }
        let behind = self.prefer(judging, &asked, &cheaper, bill).await;
        (sample::verdict(before, behind), Ground::Judge)
    }

    async fn prefer(
        &self,
        judging: &Judging,
        first: &str,
        second: &str,
        bill: &mut Bill,
    ) -> Option<Preference> {
        let model = self.snapshot.catalog.model(&judging.model)?;
        let body = sample::judge_request(model, &judging.task, first, second);
        let mut headers = self.judge_headers.clone();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let heard =
            self.ask(headers, bytes::Bytes::from(body).into(), &judging.model, &judging.estimate).await;
        let so_far = std::mem::replace(bill, Bill::nothing());
        *bill = so_far.with_spoiled(&heard.bill);
        Preference::read(&heard.said?.text)
    }

    /// Asks a model and reads its answer to the end; whatever is not known of its cost is charged at the estimate.
    async fn ask(&self, headers: HeaderMap, body: RequestBody, model: &str, estimate: &Estimate) -> Heard {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers;
        let asked = tokio::time::timeout(ASKED_WITHIN, self.exchange(request, model)).await;
        let heard = match asked {
            Ok(Ok(heard)) if heard.bill.source == UsageSource::Upstream => heard,
            Ok(Ok(heard)) => Heard { bill: self.at_estimate(model, estimate), ..heard },
            Ok(Err(false)) => Heard::nothing(0),
            Ok(Err(true)) | Err(_) => Heard { bill: self.at_estimate(model, estimate), ..Heard::nothing(0) },
        };
        Heard { cost: heard.bill.cost, ..heard }
    }

    /// # Errors
    /// Where no answer came; true where the upstream may have worked all the same.
    async fn exchange(&self, request: Request<RequestBody>, model: &str) -> Result<Heard, bool> {
        let metrics = &self.tercet.runtime.metrics;
        let tier = self.snapshot.catalog.model(model).map_or(Tier::Other, |model| model.tier);
        let answer = match self.snapshot.upstream.send(request).await {
            Ok(answer) => answer.response,
            Err(failure) => {
                metrics.record_attempt(tier, forward::result_of_failure(&failure));
                return Err(failure.phase == Phase::Wait && failure.kind == FailureKind::Timeout);
            }
        };
        let status = answer.status().as_u16();
        metrics.record_attempt(tier, forward::result_of(status));
        if status != 200 {
            return Ok(Heard::nothing(status));
        }
        let (head, body) = answer.into_parts();
        let streamed = starts_with(&head.headers, &header::CONTENT_TYPE, "text/event-stream");
        let encoding = head.headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok());
        let (metered, bytes) = hear(body, streamed, Decoder::for_encoding(encoding)).await;
        let bill = match (metered.complete, metered.usage) {
            (true, Some(_)) => self.priced(metered.billed, UsageSource::Upstream, model),
            _ => Bill::of(Vec::new(), UsageSource::Estimate),
        };
        let request_id = head.headers.get("request-id").and_then(|value| value.to_str().ok());
        Ok(Heard {
            status,
            cost: bill.cost,
            bill,
            said: bytes.filter(|_| metered.complete).and_then(|bytes| read(&bytes, streamed)),
            request_id: request_id.map(ToOwned::to_owned),
            model: metered.answered_model,
        })
    }

    fn at_estimate(&self, model: &str, estimate: &Estimate) -> Bill {
        let usage = Usage {
            input_tokens: estimate.prompt_tokens,
            output_tokens: estimate.output_tokens,
            ..Usage::default()
        };
        let work = Billed { model: model.to_owned(), usage, terms: self.terms };
        self.priced(vec![work], UsageSource::Estimate, model)
    }

    /// What was spent on a sample would not have been without it: it has no baseline.
    fn priced(&self, billed: Vec<Billed>, source: UsageSource, model: &str) -> Bill {
        let pricing = Pricing {
            catalog: &self.snapshot.catalog,
            opus: model,
            requested: model,
            sent: model,
            at: self.tercet.runtime.clock.now(),
            warm_tokens: 0,
        };
        let mut bill = Bill::of(billed, source).priced(&pricing);
        (bill.baselines, bill.rewrite) = Default::default();
        bill
    }

    /// Settles, counts and records.
    fn end(&self, stake: Stake, heard: Heard, verdict: Option<Verdict>, ground: Option<Ground>) {
        let runtime = &self.tercet.runtime;
        let Stake { id, at, reservation } = stake;
        let (twin, settled_at) = (&self.sampling.twin.choice, runtime.clock.now());
        let (asked_nanousd, cheaper_nanousd) =
            if self.is_twin_cheaper() { (self.cost, heard.cost) } else { (self.baseline, self.cost) };
        let mut record = ExchangeRecord::begin(id, at, self.tenant.to_string(), twin.model.clone());
        record.sent_model = Some(twin.model.clone());
        record.answered_model = heard.model;
        record.upstream_request_id = heard.request_id;
        record.tier = twin.tier;
        record.set_usage(&heard.bill.usage);
        record.usage_source = heard.bill.source;
        record.cost_nanousd = heard.bill.cost;
        record.price_version = Some(self.snapshot.catalog.version().to_owned());
        record.status = heard.status;
        record.outcome = match heard.status {
            200 => Outcome::Ok,
            429 => Outcome::RateLimited,
            400..=499 => Outcome::ClientError,
            _ => Outcome::UpstreamError,
        };
        record.settled_at = settled_at;
        record.endpoint = Some(self.uri.path().to_owned());
        record.attempts = 1;
        record.sample = Some(Box::new(SampleRecord {
            of: self.of.clone(),
            tier: self.sampling.twin.cheaper,
            routed: self.sampling.twin.routed,
            workload: self.belonging.name(),
            verdict,
            ground,
            asked_nanousd,
            cheaper_nanousd,
        }));
        match heard.bill.free {
            true => reservation.void(),
            false => reservation.post(&Actual::of(&heard.bill.usage, heard.bill.cost, settled_at)),
        }
        runtime.metrics.record_sample(&self.tenant, result_of(verdict));
        account::publish_sample(&self.tercet, record, heard.bill.parts, heard.bill.unpriced);
    }
}

impl Heard {
    fn nothing(status: u16) -> Self {
        Self { status, bill: Bill::nothing(), cost: NanoUsd::ZERO, said: None, request_id: None, model: None }
    }
}

/// Reads an answer to its end; its bytes where they are not too many.
async fn hear(mut body: TimedBody, streamed: bool, mut decoder: Decoder) -> (Metered, Option<Vec<u8>>) {
    let mut meter = if streamed { Meter::stream() } else { Meter::message() };
    let mut bytes = Some(Vec::new());
    while let Some(Ok(frame)) = body.frame().await {
        let Some(data) = frame.data_ref() else { continue };
        decoder.decode(data, |plain| {
            meter.feed(plain);
            bytes = bytes.take().filter(|bytes| bytes.len() + plain.len() <= HEARD_MAX_BYTES);
            if let Some(bytes) = &mut bytes {
                bytes.extend_from_slice(plain);
            }
        });
    }
    (meter.finish(), bytes)
}

const fn result_of(verdict: Option<Verdict>) -> SampleResult {
    match verdict {
        Some(Verdict::Held) => SampleResult::Held,
        Some(Verdict::Lost) => SampleResult::Lost,
        Some(Verdict::Unclear) => SampleResult::Unclear,
        None => SampleResult::Failed,
    }
}

/// How long an answer that nobody waits for may take.
const ASKED_WITHIN: Duration = Duration::from_secs(300);
/// What a judge's question holds besides the request and the answers, and its answer, for the estimate.
const RUBRIC_BYTES: u64 = 1_200;
const WORD_TOKENS: u64 = 8;
