//! What is learned of an answer while it passes: usage, its first content, its end, and a copy for the cache.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, header};
use http_body::Frame;

use super::exchange::Exchange;
use super::keeping::Keeping;
use super::runtime::Tercet;
use crate::upstream::UpstreamFailure;
use crate::wire::meter::{Decoder, Meter, Metered, Progress};

/// An exchange whose answer is passing.
pub(super) struct Watch {
    /// The exchange, to be finished with what was learned.
    pub(super) exchange: Box<Exchange>,
    /// The status the client sees.
    pub(super) status: u16,
    /// When the first content passed.
    pub(super) first_content: Option<Instant>,
    /// Bytes that passed, as the upstream sent them.
    pub(super) passed_bytes: u64,
    /// Events with a piece of content that passed.
    pub(super) deltas: u64,
    /// An `error` event passed.
    pub(super) error_event: bool,
    meter: Meter,
    decoder: Decoder,
    keeping: Option<Box<Keeping>>,
    ended: bool,
    close_delimited: bool,
}

impl Watch {
    pub(super) fn new(mut exchange: Box<Exchange>, head: &Parts, keeping: Option<Box<Keeping>>) -> Self {
        let streamed = starts_with(&head.headers, &header::CONTENT_TYPE, "text/event-stream");
        let encoding = head.headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok());
        let success = head.status.is_success();
        if let Some(sampling) = exchange.sampling.take().filter(|_| success) {
            exchange.sampling = Some(sampling.of_stream(streamed));
        }
        if let Some(guarded) = &mut exchange.guarded {
            guarded.of_stream(streamed);
        }
        if let Some(content) = &mut exchange.content {
            content.of_stream(streamed);
        }
        Self {
            status: head.status.as_u16(),
            first_content: None,
            passed_bytes: 0,
            deltas: 0,
            error_event: false,
            meter: if streamed { Meter::stream() } else { Meter::message() },
            decoder: Decoder::for_encoding(encoding),
            keeping: keeping.filter(|_| success).map(|keeping| keeping.describe(&head.headers)),
            ended: false,
            close_delimited: is_close_delimited(&head.headers) && streamed,
            exchange,
        }
    }

    pub(super) fn tercet(&self) -> Arc<Tercet> {
        Arc::clone(&self.exchange.tercet)
    }

    /// Returns the nano-dollars the answer may come to at most.
    pub(super) fn may_still_cost(&self) -> u64 {
        let estimate = self.exchange.estimate.map_or(0, |estimate| estimate.max_cost.0);
        u64::try_from(estimate).unwrap_or(0)
    }

    /// Returns what becomes of the answer besides.
    pub(super) fn keeping(&self) -> Option<&Keeping> {
        self.keeping.as_deref()
    }

    /// Returns the same, to be changed.
    pub(super) fn keeping_mut(&mut self) -> Option<&mut Keeping> {
        self.keeping.as_deref_mut()
    }

    /// Reads a passing frame; returns whether it holds the answer's end.
    pub(super) fn observe(&mut self, frame: &Frame<Bytes>) -> bool {
        let Some(bytes) = frame.data_ref() else { return false };
        self.passed_bytes += bytes.len() as u64;
        if let Some(reservation) = &self.exchange.reservation {
            reservation.touch();
        }
        if let Some(keeping) = &self.keeping {
            keeping.write(bytes);
        }
        let kept_before = self.meter.kept_bytes();
        let (meter, mut progress) = (&mut self.meter, Progress::default());
        let mut sampling = self.exchange.sampling.as_deref_mut();
        let mut guarded = self.exchange.guarded.as_deref_mut();
        let mut content = self.exchange.content.as_deref_mut();
        self.decoder.decode(bytes, |plain| {
            progress.add(meter.feed(plain));
            if let Some(sampling) = &mut sampling {
                sampling.hear(plain);
            }
            if let Some(guarded) = &mut guarded {
                guarded.hear(plain);
            }
            if let Some(content) = &mut content {
                content.hear(plain);
            }
        });
        self.find_room(kept_before);
        if progress.first_content && self.first_content.is_none() {
            self.first_content = Some(self.exchange.tercet.runtime.clock.instant());
        }
        self.deltas += u64::from(progress.deltas);
        self.error_event |= progress.error;
        self.ended |= progress.ended || progress.error;
        progress.ended
    }

    /// Takes room for what more is kept of the answer to be metered; where there is none it is kept no longer, and charged
    /// at its estimate.
    fn find_room(&mut self, kept_before: usize) {
        let more = self.meter.kept_bytes().saturating_sub(kept_before.max(KEPT_ANYWAY_BYTES));
        if more > 0 && self.exchange.hold_back(more).is_err() {
            self.meter.give_up();
        }
    }

    /// Returns a failure where the stream stopped without its last event and nothing but a closed connection
    /// says so: passed on as a clean end, the cut would be invisible.
    pub(super) fn cut_unseen(&self) -> Option<UpstreamFailure> {
        (self.close_delimited && !self.ended).then(UpstreamFailure::cut_without_end)
    }

    /// Returns what was learned, and the copy for the cache where the answer is complete.
    pub(super) fn into_parts(self) -> (Box<Exchange>, Metered, Option<Box<Keeping>>) {
        (self.exchange, self.meter.finish(), self.keeping)
    }
}

/// How much of an answer that is no stream is kept whether there is room or not: most are smaller.
const KEPT_ANYWAY_BYTES: usize = 64 << 10;

/// Tells whether nothing but the connection's end marks the end of an answer with these headers.
fn is_close_delimited(answer: &HeaderMap) -> bool {
    !answer.contains_key(header::CONTENT_LENGTH) && !answer.contains_key(header::TRANSFER_ENCODING)
}

/// Tells whether a header's value starts so.
pub(super) fn starts_with(headers: &HeaderMap, name: &header::HeaderName, start: &str) -> bool {
    headers.get(name).and_then(|value| value.to_str().ok()).is_some_and(|value| value.starts_with(start))
}
