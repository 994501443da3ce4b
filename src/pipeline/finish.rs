//! Step finish, exactly once: settle, write the record, count, keep, tell.
//!
//! Everything that only touches memory happens at once when an answer ends; what is waited for is the record's
//! write. A record that is being waited for outlives the client that waited.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, Response, header};
use tokio::runtime::Handle;

use super::bill::Bill;
use super::exchange::Exchange;
use super::forward::Unanswered;
use super::relay::Reply;
use super::runtime::Tercet;
use super::watch::Watch;
use super::{
    account, content, decide, estimate, forward, guarding, reply, sample, settle_batch, signals, warn,
};
use crate::cache::Facts;
use crate::journal::{Line, ObjectName, ObjectType, Outcome, UsageSource};
use crate::store::Actual;
use crate::upstream::{FailureKind, Phase};
use crate::wire::error::{self, Refusal};
use crate::wire::meter::Metered;

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The client has all of it.
    Whole,
    /// The upstream broke off.
    Cut,
    /// The client left, and the rest was read without it.
    Drained,
    /// The client left, and the rest was not read.
    Abandoned,
}

/// How an answer ended that another paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// The client has all of it.
    Whole,
    /// It broke off.
    Cut,
    /// The client left.
    Left,
}

/// What passed to the client.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// The answer's status.
    pub(super) status: u16,
    /// Bytes of the answer.
    pub(super) passed_bytes: u64,
    /// Events that carried a piece of content.
    pub(super) deltas: u64,
    /// Any content.
    pub(super) content: bool,
    /// An `error` event.
    pub(super) error_event: bool,
}

/// Completes once the record of an exchange is written; an answer's last byte waits for it.
pub(super) struct Recorded {
    written: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    tercet: Arc<Tercet>,
}

/// Ends an exchange whose answer passed.
pub(super) fn finish(watch: Watch, ending: Ending) -> Recorded {
    let first_content = watch.first_content;
    let seen = Seen {
        status: watch.status,
        passed_bytes: watch.passed_bytes,
        deltas: watch.deltas,
        content: first_content.is_some(),
        error_event: watch.error_event,
    };
    let (mut exchange, metered, keeping) = watch.into_parts();
    exchange.first_content = first_content;
    guarding::conclude(&mut exchange);
    let withheld = exchange.guarded.as_ref().and_then(|guarded| guarded.withheld().cloned());
    if !exchange.is_recorded() {
        settle(&mut exchange, Bill::nothing());
        return Recorded::nothing(&exchange);
    }
    let bill = Bill::reckon(&exchange, &metered, &seen, ending);
    if (bill.source, bill.free) == (UsageSource::Upstream, false) {
        estimate::learn(&exchange, &bill);
    }
    let bill = settle(&mut exchange, bill);
    decide::learn(&mut exchange, &bill, &metered);
    let whole = matches!(ending, Ending::Whole | Ending::Drained) && metered.complete && !seen.error_event;
    let whole = whole && withheld.is_none();
    if whole && seen.status == 200 {
        signals::answered(&exchange, &metered);
        sample::begin(&mut exchange, &bill);
    }
    if let Some(keeping) = keeping.filter(|_| whole) {
        keeping.land(&exchange, &metered, bill.billed.clone());
    }
    let outcome = outcome_of(&seen, ending);
    let objects = claim_objects(&exchange, &metered, seen.status);
    let mut record = account::record(&exchange, &bill);
    record.status = seen.status;
    record.outcome = outcome;
    record.error_type.clone_from(&metered.error_type);
    record.stop_reason.clone_from(&metered.stop_reason);
    record.answered_model.clone_from(&metered.answered_model);
    record.message_id.clone_from(&metered.message_id);
    if let Some(refusal) = &withheld {
        // It was billed, but the client has a refusal.
        (record.status, record.outcome) = (refusal.status.as_u16(), outcome_of_refusal(refusal));
        record.error_type = Some(refusal.kind.to_owned());
    }
    record.tool_calls = account::tool_calls(&exchange, &metered);
    record.objects = objects;
    content::end(&mut exchange, &record, withheld.is_some());
    let line = account::publish(&exchange, &bill, record);
    Recorded::of(exchange, line)
}

/// Ends an exchange whose answer another paid for; `facts` where that came whole.
pub(super) fn finish_shared(
    mut exchange: Box<Exchange>,
    facts: Option<&Facts>,
    sharing: Sharing,
) -> Recorded {
    if let Some(reservation) = exchange.reservation.take() {
        reservation.void();
    }
    exchange.settled_at = exchange.tercet.runtime.clock.now();
    let mut bill = Bill::nothing();
    let saved = facts.map(|facts| Bill::saved(&exchange, &facts.billed));
    bill.baselines = saved.as_ref().map(|saved| saved.baselines).unwrap_or_default();
    let mut record = account::record(&exchange, &bill);
    record.status = 200;
    record.outcome = match sharing {
        Sharing::Whole => Outcome::Ok,
        Sharing::Cut => Outcome::UpstreamError,
        Sharing::Left => Outcome::ClientAborted,
    };
    if let Some(facts) = facts {
        record.stop_reason.clone_from(&facts.stop_reason);
        record.answered_model.clone_from(&facts.answered_model);
        record.message_id.clone_from(&facts.message_id);
    }
    record.cache_saved_nanousd = saved.map(|saved| saved.cost).unwrap_or_default();
    content::end(&mut exchange, &record, false);
    let line = account::publish(&exchange, &bill, record);
    Recorded::of(exchange, line)
}

/// Ends an exchange that is refused, by us or because the upstream gave no answer.
pub(super) async fn refuse(exchange: Box<Exchange>, refusal: &Refusal) -> Response<Reply> {
    // Boxed, so that what is rare does not make the future of every request larger.
    Box::pin(refuse_at(exchange, refusal, Bill::nothing())).await
}

/// Ends an exchange to which the upstream gave no answer.
///
/// Where our own deadline passed the upstream may have done the work: that is charged at the estimate. Where it
/// was never reached, or closed the connection without a byte, nothing is.
pub(super) async fn unanswered(unanswered: Unanswered) -> Response<Reply> {
    let Unanswered { mut exchange, failure, keeping } = unanswered;
    drop(keeping);
    let waited = failure.phase == Phase::Wait && failure.kind == FailureKind::Timeout;
    let bill =
        if waited && exchange.endpoint.is_message() { Bill::at_estimate(&exchange) } else { Bill::nothing() };
    let refusal = match exchange.holding.take() {
        Some(holding) => settle_batch::unmade(&exchange, &holding, waited),
        None => None,
    };
    let refusal = refusal.unwrap_or_else(|| forward::refusal(&failure));
    Box::pin(refuse_at(exchange, &refusal, bill)).await
}

async fn refuse_at(mut exchange: Box<Exchange>, refusal: &Refusal, bill: Bill) -> Response<Reply> {
    let bill = settle(&mut exchange, bill);
    let response = refusal_response(&exchange, refusal);
    // A stranger's refusals and the shedding of load are counted, but fill no disk.
    let recorded = exchange.identity.is_some() && refusal.status.as_u16() != 529;
    if recorded && exchange.is_recorded() {
        let mut record = account::record(&exchange, &bill);
        record.status = refusal.status.as_u16();
        record.outcome = outcome_of_refusal(refusal);
        record.error_type = Some(refusal.kind.to_owned());
        let line = account::publish(&exchange, &bill, record);
        Recorded::of(exchange, line).await;
    } else {
        account::log_refusal(&exchange, refusal);
    }
    response
}

/// Returns the answer that a refusal is.
pub(super) fn refusal_response(exchange: &Exchange, refusal: &Refusal) -> Response<Reply> {
    let mut response = Response::new(Reply::whole(error::body(refusal, exchange.id.as_str())));
    *response.status_mut() = refusal.status;
    *response.headers_mut() = refusal_headers(exchange, refusal);
    response
}

fn refusal_headers(exchange: &Exchange, refusal: &Refusal) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &refusal.headers {
        headers.insert(name, value.clone());
    }
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    reply::ours(exchange, &mut headers);
    headers
}

/// Ends an exchange that was dropped on the way, as it is when its client leaves before anything was sent.
///
/// After that only a bug drops one, and the upstream may have done the work: it is charged at the estimate.
pub(super) fn abandon(exchange: &mut Exchange) {
    let sent = exchange.was_sent() && exchange.endpoint.is_message();
    let bill = if sent { Bill::at_estimate(exchange) } else { Bill::nothing() };
    let bill = settle(exchange, bill);
    if !exchange.is_recorded() {
        return;
    }
    let mut record = account::record(exchange, &bill);
    record.outcome = if sent { Outcome::ProxyError } else { Outcome::ClientAborted };
    let line = account::publish(exchange, &bill, record);
    let appended = exchange.tercet.runtime.journal.append_line(line);
    // Queued already unless the queue is full; only then does somebody have to wait for room.
    if let Ok(runtime) = Handle::try_current() {
        exchange.tercet.runtime.tasks.spawn_on(appended, &runtime);
    }
}

/// Ends an exchange that leaves no record.
pub(super) fn close(mut exchange: Box<Exchange>) {
    settle(&mut exchange, Bill::nothing());
}

/// Posts the reservation with what the exchange cost, or gives it back; once, and at the time the record names.
///
/// Returns the whole bill: with an attempt that failed unseen, which is posted at the same time.
fn settle(exchange: &mut Exchange, bill: Bill) -> Bill {
    let at = exchange.tercet.runtime.clock.now();
    exchange.settled_at = at;
    match exchange.reservation.take() {
        Some(reservation) if bill.free => reservation.void(),
        Some(reservation) => reservation.post(&Actual::of(&bill.usage, bill.cost, at)),
        None => {}
    }
    let bill = match exchange.spoiled.take() {
        None => bill,
        Some(spoiled) => {
            if let Some(reservation) = spoiled.reservation {
                reservation.post(&Actual::of(&spoiled.bill.usage, spoiled.bill.cost, at));
            }
            bill.with_spoiled(&spoiled.bill)
        }
    };
    if let (false, Some(identity)) = (bill.free, &exchange.identity) {
        warn::look(&exchange.tercet, &identity.levels);
    }
    bill
}

/// Remembers whose container, thread and files an answer made.
fn claim_objects(exchange: &Exchange, metered: &Metered, status: u16) -> Vec<ObjectName> {
    let mut made = Vec::new();
    if status != 200 || !exchange.has_tenants() {
        return made;
    }
    if let Some(container) = &metered.container {
        made.push(ObjectName { object_type: ObjectType::Container, object_id: container.clone() });
    }
    if let (Some(_), Some(message)) = (&exchange.asked.thread, &metered.message_id) {
        made.push(ObjectName { object_type: ObjectType::Thread, object_id: message.clone() });
    }
    made.extend(
        metered
            .file_ids
            .iter()
            .map(|file| ObjectName { object_type: ObjectType::File, object_id: file.clone() }),
    );
    for object in &made {
        let ownership = &exchange.tercet.runtime.ownership;
        ownership.claim(object.object_type, &object.object_id, exchange.tenant());
    }
    made
}

fn outcome_of(seen: &Seen, ending: Ending) -> Outcome {
    match (seen.status, ending) {
        (_, Ending::Drained | Ending::Abandoned) => Outcome::ClientAborted,
        (_, Ending::Cut) => Outcome::UpstreamError,
        (429, _) => Outcome::RateLimited,
        (400..=499, _) => Outcome::ClientError,
        // A redirect is not followed, so nobody was served.
        (300..=399 | 500.., _) => Outcome::UpstreamError,
        _ if seen.error_event => Outcome::UpstreamError,
        _ => Outcome::Ok,
    }
}

fn outcome_of_refusal(refusal: &Refusal) -> Outcome {
    match (refusal.status.as_u16(), refusal.kind) {
        (429, "billing_error") => Outcome::QuotaRejected,
        (429, _) => Outcome::RateLimited,
        (400..=499, _) => Outcome::ClientError,
        (502..=504, _) => Outcome::UpstreamError,
        _ => Outcome::ProxyError,
    }
}

impl Recorded {
    fn of(exchange: Box<Exchange>, line: Option<Line>) -> Self {
        let tercet = Arc::clone(&exchange.tercet);
        // Written or queued here and now; what may be waited for is the write.
        let appended = tercet.runtime.journal.append_line(line);
        let written = Box::pin(async move {
            if let Err(failure) = appended.await {
                tracing::error!(request_id = %exchange.id, %failure, "journal record not written yet");
            }
        });
        Self { written: Some(written), tercet }
    }

    fn nothing(exchange: &Exchange) -> Self {
        Self { written: None, tercet: Arc::clone(&exchange.tercet) }
    }
}

impl Future for Recorded {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(written) = &mut self.written else { return Poll::Ready(()) };
        ready!(written.as_mut().poll(context));
        self.written = None;
        Poll::Ready(())
    }
}

/// Whoever waited has left; the record is written all the same.
impl Drop for Recorded {
    fn drop(&mut self) {
        if let (Some(written), Ok(runtime)) = (self.written.take(), Handle::try_current()) {
            self.tercet.runtime.tasks.spawn_on(written, &runtime);
        }
    }
}
