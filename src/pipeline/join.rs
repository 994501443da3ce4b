//! Sharing the answer to an identical request that is on its way: everything so far at once, then as it comes.
//!
//! Who shares pays nothing; it counts as a request and is recorded with what it saved. Where the answer fails before
//! it begins, one of those who waited sends its own request, and the others wait for that.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body::Frame;

use super::exchange::Exchange;
use super::finish::{self, Recorded, Sharing};
use super::recall::{self, Kept};
use super::relay::Reply;
use super::watch::starts_with;
use super::{content, reply};
use crate::cache::{CachedAnswer, Departure, Reader};
use crate::upstream::{Gathered, Lasting, UpstreamFailure};

/// The body of a shared answer; the last piece waits until the exchange is recorded.
pub(super) struct Shared {
    reader: Reader,
    exchange: Option<Box<Exchange>>,
    finishing: Option<Recorded>,
    held: Option<Result<Bytes, UpstreamFailure>>,
    ended: bool,
    /// How the answer is read again where what it says is kept; empty elsewhere.
    content_headers: HeaderMap,
}

/// Waits for an answer on its way and shares it; gives the exchange back where there will be none to share.
pub(super) async fn join(
    mut exchange: Box<Exchange>,
    mut reader: Reader,
) -> Result<Response<Reply>, Box<Exchange>> {
    // Copied, a map has the size of what is in it; the connection's own has room for the largest answer's headers.
    exchange.headers = exchange.headers.clone();
    let headers = match poll_fn(|context| reader.poll_departure(context)).await {
        Departure::Open(headers) => headers,
        // Boxed, as below: a thousand may wait here, and few of them for this.
        Departure::Kept(answer) => return Box::pin(replay(exchange, Some(answer))).await,
        Departure::Failed => return Err(unhold(exchange)),
    };
    let streamed = starts_with(&headers, &http::header::CONTENT_TYPE, "text/event-stream");
    if streamed != exchange.asked.stream {
        return Box::pin(in_other_form(exchange, reader, headers)).await;
    }
    exchange.keep_recorded();
    let content_headers = if exchange.content.is_some() { headers.clone() } else { HeaderMap::new() };
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::OK;
    *response.headers_mut() = headers;
    let (mut head, ()) = response.into_parts();
    reply::dress(&exchange, &mut head);
    head.extensions.insert(Gathered);
    if streamed {
        head.extensions.insert(Lasting);
    }
    let shared = Shared {
        reader,
        exchange: Some(exchange),
        finishing: None,
        held: None,
        ended: false,
        content_headers,
    };
    Ok(Response::from_parts(head, Reply::shared(shared)))
}

/// Answers in the form that was not sent, which can only be made of the whole.
async fn in_other_form(
    exchange: Box<Exchange>,
    mut reader: Reader,
    headers: HeaderMap,
) -> Result<Response<Reply>, Box<Exchange>> {
    let answer = match read_out(&mut reader).await {
        Ok(()) => CachedAnswer::landed(reader.flight(), headers, exchange.tercet.runtime.clock.now()),
        Err(_cut) => None,
    };
    replay(exchange, answer).await
}

async fn replay(
    exchange: Box<Exchange>,
    answer: Option<Arc<CachedAnswer>>,
) -> Result<Response<Reply>, Box<Exchange>> {
    match answer.and_then(|answer| Kept::of(answer, exchange.asked.stream)) {
        Some(kept) => Ok(recall::replay(exchange, kept).await),
        None => Err(unhold(exchange)),
    }
}

/// Gives back what sharing held, the request too: it is about to be held as one that is sent.
fn unhold(mut exchange: Box<Exchange>) -> Box<Exchange> {
    if let Some(reservation) = exchange.reservation.take() {
        reservation.void_request();
    }
    exchange
}

/// Reads an answer to its end.
async fn read_out(reader: &mut Reader) -> Result<(), UpstreamFailure> {
    while let Some(piece) = poll_fn(|context| reader.poll_piece(context)).await {
        piece?;
    }
    Ok(())
}

impl Shared {
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamFailure>>> {
        loop {
            if let Some(recorded) = &mut self.finishing {
                ready!(Pin::new(recorded).poll(context));
                self.finishing = None;
            }
            if let Some(held) = self.held.take() {
                return Poll::Ready(Some(held.map(Frame::data)));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            match ready!(self.reader.poll_piece(context)) {
                Some(Ok(piece)) if !self.reader.is_at_end() => {
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                Some(Ok(last)) => self.finish(Sharing::Whole, Some(Ok(last))),
                Some(Err(failure)) => self.finish(Sharing::Cut, Some(Err(failure))),
                None => self.finish(Sharing::Whole, None),
            }
        }
    }

    pub(super) const fn is_over(&self) -> bool {
        self.ended && self.finishing.is_none() && self.held.is_none()
    }

    fn finish(&mut self, sharing: Sharing, held: Option<Result<Bytes, UpstreamFailure>>) {
        (self.ended, self.held) = (true, held);
        if let Some(mut exchange) = self.exchange.take() {
            let facts = self.reader.flight().facts();
            let flight = self.reader.flight();
            content::hear_whole(&mut exchange, &self.content_headers, || flight.written());
            self.finishing = Some(finish::finish_shared(exchange, facts.as_deref(), sharing));
        }
    }
}

/// The client left; it owes nothing.
impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            drop(finish::finish_shared(exchange, None, Sharing::Left));
        }
    }
}
