//! Escalation before commit: an answer of a lower tier that surely failed is asked again one tier up, once, before
//! the client has seen any of it.
//!
//! Off unless the tenant's routing says `escalate = true`. A whole answer is held, a stream as long as its beginning
//! is small and soon over. An answer that holds thinking is never asked again, as its history could not tell. Both
//! attempts are billed and recorded in the one exchange; where the second fails, the first answer stands.
//! A request that may be asked again is neither joined nor answered from the cache, nor is its answer kept: which of
//! the two models it will come from is not known when others would have to be told.
//!
//! The work is done in a task of its own, so that a client that leaves meanwhile leaves both attempts settled: what
//! is then handed to nobody is read to its end like any answer whose client has gone.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::response::Parts;
use http::{Response, header};
use http_body::Frame;
use http_body_util::BodyExt;
use memchr::memmem;
use tokio::sync::oneshot;

use super::bill::Bill;
use super::dispatch::{Refused, refuse_unheard};
use super::exchange::Exchange;
use super::forward::{self, Forwarded};
use super::relay::{self, Prelude, Reply};
use super::reserve;
use super::{decide, signals};
use crate::route::{Choice, Wanted};
use crate::store::Reservation;
use crate::upstream::{FailureKind, Phase, TimedBody};
use crate::wire::envelope;
use crate::wire::meter::{Meter, Metered};
use crate::wire::transcript::Transcript;

/// Where a request goes if its first answer fails, and its body.
pub(super) struct Spare {
    next: Choice,
    body: Bytes,
}

/// An attempt whose answer nobody sees; settled and recorded with the one that is seen.
pub struct Spoiled {
    pub(super) reservation: Option<Reservation>,
    pub(super) bill: Bill,
}

/// Returns the way up for a request that was routed down, where the tenant wants it.
pub(super) fn spare(exchange: &Exchange, body: &Bytes) -> Option<Spare> {
    Some(Spare { next: way_up(exchange)?, body: body.clone() })
}

/// Returns where the request goes if its answer fails; such a request shares no answer, kept or on its way.
pub(super) fn way_up(exchange: &Exchange) -> Option<Choice> {
    if !exchange.routing().escalate || !exchange.endpoint.is_message() {
        return None;
    }
    exchange.decision.as_ref().and_then(|decision| decision.above())
}

/// Hands an answer on, or the better one it was asked again for.
pub(super) async fn answer(forwarded: Forwarded, spare: Spare) -> Response<Reply> {
    if !can_hold(&forwarded.response) {
        return relay::relay(forwarded).await;
    }
    let tercet = forwarded.exchange.tercet.clone();
    let (tell, told) = oneshot::channel();
    tercet.runtime.tasks.spawn(async move {
        let answer = judge(forwarded, spare, &tell).await;
        // An answer that nobody waits for is dropped, which has it read to its end and settled.
        drop(tell.send(answer));
    });
    told.await.unwrap_or_else(|_| refuse_unheard(&tercet, Refused::Panicked))
}

fn can_hold(response: &Response<TimedBody>) -> bool {
    response.status() == http::StatusCode::OK && !response.headers().contains_key(header::CONTENT_ENCODING)
}

async fn judge(
    forwarded: Forwarded,
    spare: Spare,
    client: &oneshot::Sender<Response<Reply>>,
) -> Response<Reply> {
    let Forwarded { mut exchange, response, keeping, prelude, .. } = forwarded;
    let (head, mut body) = response.into_parts();
    let held = Held::read(&head, prelude, &mut body, &mut exchange).await;
    let as_it_is = |exchange, held: Held, body| {
        let response = Response::from_parts(head.clone(), body);
        relay::relay(Forwarded { exchange, response, keeping, prelude: held.frames, failed: false })
    };
    let fault = held.fault(&spare.body).filter(|_| !client.is_closed());
    let Some((code, metered)) = fault else { return as_it_is(exchange, held, body).await };
    match again(exchange, &spare, code, &metered).await {
        Ok(better) => relay::relay(better).await,
        Err(exchange) => as_it_is(exchange, held, body).await,
    }
}

/// Asks again one tier up; gives the exchange back, as it was, where no better answer came.
async fn again(
    mut exchange: Box<Exchange>,
    spare: &Spare,
    code: &'static str,
    metered: &Metered,
) -> Result<Forwarded, Box<Exchange>> {
    let (Some(before), Ok(envelope)) = (exchange.decision.clone(), envelope::read(&spare.body)) else {
        return Err(exchange);
    };
    let bill = Bill::of_attempt(&exchange, metered);
    let (first, estimate) = (exchange.reservation.take(), exchange.estimate);
    let escalated = before.escalated(spare.next.clone(), code);
    exchange.decision = Some(Arc::new(escalated));
    if reserve::hold_again(&mut exchange, &envelope).await.is_err() {
        (exchange.reservation, exchange.estimate, exchange.decision) = (first, estimate, Some(before));
        return Err(exchange);
    }
    let spent = bill.cost;
    exchange.spoiled = Some(Box::new(Spoiled { reservation: first, bill }));
    reserve::note(&exchange, spent).await;
    let body = exchange.splice(&envelope, &spare.body);
    let tercet = exchange.tercet.clone();
    let (mut exchange, late) = match forward::send(exchange, body, None).await {
        Ok(mut better) if better.response.status().is_success() => {
            decide::moved(&mut better.exchange);
            let (from, to) = (before.tier(), better.exchange.tier());
            signals::escalated(&better.exchange, from);
            tercet.runtime.metrics.record_escalation(better.exchange.tenant(), from, to, code);
            return Ok(better);
        }
        Ok(refused) => (refused.exchange, false),
        Err(unanswered) => {
            let failure = &unanswered.failure;
            let late = failure.phase == Phase::Wait && failure.kind == FailureKind::Timeout;
            (unanswered.exchange, late)
        }
    };
    // The first answer stands after all; only where our own deadline passed may the second have cost anything.
    let second = exchange.reservation.take();
    let wasted = late.then(|| Bill::at_estimate(&exchange));
    let first = exchange.spoiled.take().and_then(|spoiled| spoiled.reservation);
    match (wasted, second) {
        (Some(bill), reservation) => exchange.spoiled = Some(Box::new(Spoiled { reservation, bill })),
        (None, Some(second)) => second.void(),
        (None, None) => {}
    }
    (exchange.reservation, exchange.estimate, exchange.decision) = (first, estimate, Some(before));
    Err(exchange)
}

/// The beginning of an answer, or all of it.
struct Held {
    frames: Prelude,
    streamed: bool,
    whole: bool,
}

impl Held {
    /// Reads on behind the frames that were read already, as long as there is room for what is held.
    async fn read(head: &Parts, frames: Prelude, body: &mut TimedBody, exchange: &mut Exchange) -> Self {
        let kind = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let streamed = kind.is_some_and(|kind| kind.starts_with("text/event-stream"));
        let mut held = Self { frames, streamed, whole: false };
        let (bytes_max, time_max) = if streamed { STREAM } else { MESSAGE };
        // The bound is one of time, too: whatever has not ended by then is let out.
        drop(tokio::time::timeout(time_max, held.fill(body, bytes_max, exchange)).await);
        held
    }

    async fn fill(&mut self, body: &mut TimedBody, bytes_max: usize, exchange: &mut Exchange) {
        let (mut bytes, mut looked_at) = (0, 0);
        loop {
            while let Some(frame) = self.frames.get(looked_at) {
                let data = frame.as_ref().ok().and_then(Frame::data_ref);
                let more = data.map_or(0, Bytes::len);
                bytes += more;
                looked_at += 1;
                let has_room = exchange.hold_back(more).is_ok();
                if frame.is_err()
                    || !has_room
                    || data.is_some_and(|data| memmem::find(data, THINKING).is_some())
                {
                    return;
                }
            }
            if bytes > bytes_max {
                return;
            }
            let Some(frame) = body.frame().await else {
                self.whole = true;
                return;
            };
            self.frames.push_back(frame);
        }
    }

    /// Returns what is wrong with the answer, and what it used.
    fn fault(&self, request: &[u8]) -> Option<(&'static str, Metered)> {
        if !self.whole {
            return None;
        }
        let data = self.frames.iter().filter_map(|frame| frame.as_ref().ok().and_then(Frame::data_ref));
        let bytes: Vec<u8> = data.flat_map(|data| data.iter().copied()).collect();
        let mut meter = if self.streamed { Meter::stream() } else { Meter::message() };
        meter.feed(&bytes);
        let metered = meter.finish();
        if metered.has_thinking || !metered.complete || metered.usage.is_none() {
            return None;
        }
        let read = if self.streamed { Transcript::of_events } else { Transcript::of_message };
        let code = Wanted::of(request)?.fault(&read(&bytes)?)?;
        Some((code, metered))
    }
}

/// What a block of thinking says of itself.
const THINKING: &[u8] = br#""thinking""#;
/// Bytes and time for which an answer that is no stream is held.
const MESSAGE: (usize, Duration) = (1 << 20, Duration::from_secs(10));
/// Likewise for the beginning of a stream, whose reader waits.
const STREAM: (usize, Duration) = (32 << 10, Duration::from_secs(3));
