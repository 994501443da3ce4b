//! An answer that others may share, from its sending to its end: written down while it passes, kept where it may be.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, header};

use super::exchange::Exchange;
use super::runtime::Tercet;
use super::share;
use crate::cache::{
    AnswerCache, CachedAnswer, Exact, Facts, Fetched, Flight, Identity, Payer, Reader, is_keepable_ending,
};
use crate::usage::Billed;
use crate::wire::headers;
use crate::wire::meter::Metered;

/// What becomes of an answer besides being relayed.
///
/// Dropped before it was whole, those who wait for it are told, and nobody joins it any more.
pub(super) struct Keeping {
    flight: Arc<Flight>,
    /// The reader for the client whose request is sent.
    seat: Option<Reader>,
    shelf: Option<Shelf>,
    exact: Option<Exact>,
    headers: HeaderMap,
    tercet: Arc<Tercet>,
    landed: Option<Arc<CachedAnswer>>,
}

/// Where an answer is kept, and for how long.
pub(super) struct Shelf {
    pub(super) cache: Arc<AnswerCache>,
    pub(super) identity: Identity,
    pub(super) ttl: Duration,
    /// How old an answer of another instance may be; `None` where none is wanted.
    pub(super) oldest: Option<Duration>,
}

impl Keeping {
    pub(super) fn new(
        exchange: &Exchange,
        flight: Arc<Flight>,
        shelf: Option<Shelf>,
        exact: Option<Exact>,
    ) -> Self {
        let seat = Some(flight.lead());
        let tercet = Arc::clone(&exchange.tercet);
        Self { flight, seat, shelf, exact, headers: HeaderMap::new(), tercet, landed: None }
    }

    /// Remembers the headers that describe the answer.
    pub(super) fn describe(mut self: Box<Self>, headers: &HeaderMap) -> Box<Self> {
        self.headers = headers::copied(headers, &KEPT_HEADERS);
        self
    }

    /// Returns the answer on its way, the headers that describe it, and the seat of the client it was sent for.
    pub(super) fn take_off(&mut self) -> (Arc<Flight>, HeaderMap, Option<Reader>) {
        (Arc::clone(&self.flight), self.headers.clone(), self.seat.take())
    }

    /// Returns the answer on its way.
    pub(super) const fn flight(&self) -> &Arc<Flight> {
        &self.flight
    }

    /// Writes a passing piece down.
    pub(super) fn write(&self, piece: &Bytes) {
        self.flight.write(piece);
    }

    /// Looks whether another instance keeps an answer; gives it to those who wait, and keeps it here.
    pub(super) async fn fetch(&mut self, exchange: &Exchange) -> Option<Arc<CachedAnswer>> {
        let shelf = self.shelf.as_ref()?;
        let Fetched { answer, ttl } = share::fetch(exchange, shelf).await?;
        shelf.cache.insert(&shelf.identity, Arc::clone(&answer), ttl);
        self.flight.answer(Arc::clone(&answer));
        self.landed = Some(Arc::clone(&answer));
        Some(answer)
    }

    /// Notes that the answer is whole, and keeps it where it may be given again.
    pub(super) fn land(mut self, exchange: &Exchange, metered: &Metered, billed: Vec<Billed>) {
        let key = exchange.identity.as_ref().and_then(|identity| identity.key_id.as_deref());
        let facts = Arc::new(Facts {
            payer: Payer::of(exchange.tenant(), exchange.user(), key.unwrap_or_default()),
            billed,
            answered_model: metered.answered_model.clone(),
            message_id: metered.message_id.clone(),
            stop_reason: metered.stop_reason.clone(),
        });
        self.flight.land(facts);
        let headers = std::mem::take(&mut self.headers);
        let Some(answer) = CachedAnswer::landed(&self.flight, headers, exchange.settled_at) else { return };
        if let Some(shelf) = &self.shelf
            && is_keepable_ending(metered.stop_reason.as_deref())
        {
            shelf.cache.insert(&shelf.identity, Arc::clone(&answer), shelf.ttl);
            share::share(exchange, shelf, Arc::clone(&answer));
        }
        self.landed = Some(answer);
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        self.flight.fail();
        if let Some(shelf) = &self.shelf {
            shelf.cache.retire(&shelf.identity, &self.flight);
        }
        if let Some(exact) = &self.exact {
            let runtime = &self.tercet.runtime;
            runtime.retries.end(exact, &self.flight, self.landed.take(), runtime.clock.instant());
        }
    }
}

/// Headers of an answer that are true of it whenever it is given.
const KEPT_HEADERS: [HeaderName; 3] = [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CACHE_CONTROL];
