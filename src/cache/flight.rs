//! An answer on its way, read by everyone who asked for it: written once, read from its beginning by each.
//!
//! Nobody leads the reading. Whoever has read what is there and wants more polls the upstream's body for all
//! (its waker wakes them all), so a reader that is slow or leaves holds up nobody: it reads what was written down
//! later, or not at all. When the last reader leaves, the body is dropped, and whoever made it sees to the rest.
//!
//! What is written down is released for reading apart from that: the last piece of an answer waits until its
//! exchange is recorded. An answer that outgrows its bound is written down no longer; nobody joins it any more,
//! and a reader that lags more than [`LAG_MAX_BYTES`] behind then is cut off.

mod written;

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body;
use serde::{Deserialize, Serialize};

use self::written::{LetGo, Written};
use super::{CachedAnswer, Payer};
use crate::upstream::UpstreamFailure;
use crate::usage::Billed;

/// Where an answer comes from; polled by one reader at a time.
pub type Source = Pin<Box<dyn Body<Data = Bytes, Error = UpstreamFailure> + Send>>;

/// One answer and those who read it; at most the bytes it was made for, and 64 bytes a piece and a reader.
pub struct Flight {
    state: Mutex<State>,
    source: Mutex<Option<Source>>,
    max_bytes: usize,
}

/// How far an answer has come before its first byte is read.
#[derive(Clone, Debug)]
pub enum Departure {
    /// Its head is there.
    Open(HeaderMap),
    /// It was answered from elsewhere.
    Kept(Arc<CachedAnswer>),
    /// There will be none.
    Failed,
}

/// What is known of an answer that came whole.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Facts {
    /// What the upstream billed for it, which whoever shares it saves.
    pub billed: Vec<Billed>,
    /// The model that answered.
    pub answered_model: Option<String>,
    /// The message's id.
    pub message_id: Option<String>,
    /// Why the answer ended.
    pub stop_reason: Option<String>,
    /// Who paid for it; read from the head of a shared value.
    #[serde(skip)]
    pub payer: Payer,
}

/// Reads an answer from its beginning.
pub struct Reader {
    flight: Arc<Flight>,
    /// The next byte, counted from the answer's beginning.
    next: usize,
    /// Where its waker is.
    place: usize,
    /// Reads for the client whose request was sent.
    first: bool,
}

#[derive(Default)]
struct State {
    departure: Option<Departure>,
    written: Written,
    facts: Option<Arc<Facts>>,
    /// Its last piece was not released when the facts came, so that whoever has read it knows that all was recorded.
    last_waits: bool,
    end: Option<Result<(), UpstreamFailure>>,
    seats: Vec<Seat>,
    readers: usize,
    /// The source was polled and will wake all.
    armed: bool,
    first_left: bool,
}

/// A reader's place.
enum Seat {
    Free,
    Taken(Option<Waker>),
}

impl Flight {
    /// Returns an answer that has not begun, of which at most `max_bytes` are written down.
    #[must_use]
    pub fn new(max_bytes: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), source: Mutex::default(), max_bytes })
    }

    /// Returns a reader for the client whose request is sent.
    #[must_use]
    pub fn lead(self: &Arc<Self>) -> Reader {
        self.seat(true)
    }

    /// Returns a reader for another; `None` where the beginning is gone, or the answer failed.
    #[must_use]
    pub fn join(self: &Arc<Self>) -> Option<Reader> {
        let state = self.lock();
        let failed = matches!(state.departure, Some(Departure::Failed)) || matches!(state.end, Some(Err(_)));
        let open = !failed && state.written.end() <= self.max_bytes;
        drop(state);
        open.then(|| self.seat(false))
    }

    fn seat(self: &Arc<Self>, first: bool) -> Reader {
        let mut state = self.lock();
        let all_taken = state.readers == state.seats.len();
        let free =
            (!all_taken).then(|| state.seats.iter().position(|seat| matches!(seat, Seat::Free))).flatten();
        let place = free.unwrap_or(state.seats.len());
        match state.seats.get_mut(place) {
            Some(seat) => *seat = Seat::Taken(None),
            None => state.seats.push(Seat::Taken(None)),
        }
        state.readers += 1;
        drop(state);
        Reader { flight: Arc::clone(self), next: 0, place, first }
    }

    /// Opens the answer: its head, and where its body comes from.
    pub fn open(&self, headers: HeaderMap, source: Source) {
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = Some(source);
        self.depart(Departure::Open(headers));
        self.leave_if_deserted();
    }

    /// Answers those who wait with a kept answer.
    pub fn answer(&self, kept: Arc<CachedAnswer>) {
        self.depart(Departure::Kept(kept));
    }

    /// Gives up an answer that has not begun: whoever waits for it sees to itself.
    pub fn fail(&self) {
        let mut state = self.lock();
        state.departure.get_or_insert(Departure::Failed);
        self.wake_all(state);
    }

    fn depart(&self, departure: Departure) {
        let mut state = self.lock();
        state.departure = Some(departure);
        self.wake_all(state);
    }

    /// Writes a piece down, not to be read yet.
    pub fn write(&self, piece: &Bytes) {
        let mut state = self.lock();
        state.written.push(piece);
        if state.written.end() > self.max_bytes {
            state.written.let_go(LAG_MAX_BYTES);
        }
    }

    /// Returns the whole of what was written in memory of its own, or `None` where it was too large.
    ///
    /// Pieces are slices of read buffers; copying them once keeps those from being held for as long as the answer.
    #[must_use]
    pub fn written(&self) -> Option<Bytes> {
        let state = self.lock();
        (state.written.end() <= self.max_bytes).then(|| state.written.whole())
    }

    /// Tells what is known of the answer, which is whole but for the release of its last piece.
    pub fn land(&self, facts: Arc<Facts>) {
        let mut state = self.lock();
        state.last_waits = state.written.waits();
        state.facts = Some(facts);
    }

    /// Returns what is known of the answer once it is whole.
    #[must_use]
    pub fn facts(&self) -> Option<Arc<Facts>> {
        self.lock().facts.clone()
    }

    /// Releases one more piece.
    pub fn release(&self) {
        let mut state = self.lock();
        state.written.release();
        self.wake_all(state);
    }

    /// Ends the answer: all of it is released, or it broke off.
    pub fn end(&self, ending: Result<(), UpstreamFailure>) {
        let mut state = self.lock();
        state.written.release_all();
        state.end.get_or_insert(ending);
        self.wake_all(state);
    }

    /// Tells whether the client whose request was sent has left.
    #[must_use]
    pub fn first_left(&self) -> bool {
        self.lock().first_left
    }

    /// Tells whether anybody reads it.
    #[must_use]
    pub fn has_readers(&self) -> bool {
        self.lock().readers > 0
    }

    fn leave_if_deserted(&self) {
        if self.has_readers() {
            return;
        }
        // Dropped outside of every lock: what it does then is its own.
        let source = self.source.lock().unwrap_or_else(PoisonError::into_inner).take();
        if source.is_some() && self.facts().is_some() {
            // Read to its last piece, and nobody asked whether more comes.
            self.end(Ok(()));
        }
        drop(source);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes everyone who waits, with no lock held.
    fn wake_all(&self, mut state: MutexGuard<'_, State>) {
        state.armed = false;
        let waiting = state.seats.iter_mut().filter_map(|seat| match seat {
            Seat::Taken(waker) => waker.take(),
            Seat::Free => None,
        });
        let waiting: Vec<Waker> = waiting.collect();
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Polls the source for all, unless somebody else is at it.
    fn drive(self: &Arc<Self>) -> Poll<()> {
        let Ok(mut held) = self.source.try_lock() else { return Poll::Pending };
        let Some(source) = held.as_mut() else { return Poll::Pending };
        // Before the poll, so that a wake amid it is not lost.
        self.lock().armed = true;
        let waker = Waker::from(Arc::clone(self));
        let Poll::Ready(frame) = source.as_mut().poll_frame(&mut Context::from_waker(&waker)) else {
            return Poll::Pending;
        };
        let spent = if matches!(frame, Some(Ok(_))) { None } else { held.take() };
        // Let go first, so that whoever is woken finds it free.
        drop(held);
        drop(spent);
        match frame {
            Some(Ok(frame)) if frame.is_data() => self.release(),
            Some(Ok(_)) => self.wake_all(self.lock()),
            Some(Err(failure)) => self.end(Err(failure)),
            None => self.end(Ok(())),
        }
        Poll::Ready(())
    }
}

impl Wake for Flight {
    fn wake(self: Arc<Self>) {
        self.wake_all(self.lock());
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_all(self.lock());
    }
}

impl Reader {
    /// Returns how the answer began, once it has.
    pub fn poll_departure(&mut self, context: &Context<'_>) -> Poll<Departure> {
        let mut state = self.flight.lock();
        match &state.departure {
            Some(departure) => Poll::Ready(departure.clone()),
            None => {
                state.wait(self.place, context);
                Poll::Pending
            }
        }
    }

    /// Returns the next piece, or `None` at the end.
    pub fn poll_piece(&mut self, context: &Context<'_>) -> Poll<Option<Result<Bytes, UpstreamFailure>>> {
        loop {
            let mut state = self.flight.lock();
            match state.written.read(self.next) {
                Err(LetGo) => return Poll::Ready(Some(Err(UpstreamFailure::too_slow()))),
                Ok(Some(piece)) => {
                    self.next += piece.len();
                    return Poll::Ready(Some(Ok(piece)));
                }
                Ok(None) => {}
            }
            if let Some(ending) = state.end.as_ref().filter(|_| self.next >= state.written.end()) {
                return Poll::Ready(ending.clone().err().map(Err));
            }
            state.wait(self.place, context);
            let armed = state.armed;
            drop(state);
            if armed || self.flight.drive().is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Tells whether the last piece of a whole answer was read.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        let state = self.flight.lock();
        state.facts.is_some() && self.next == state.written.end()
    }

    /// Tells whether there is nothing more to read.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let state = self.flight.lock();
        let read_out = self.next == state.written.end();
        read_out && (matches!(state.end, Some(Ok(()))) || state.facts.is_some() && state.last_waits)
    }

    /// Returns the answer that is read.
    #[must_use]
    pub const fn flight(&self) -> &Arc<Flight> {
        &self.flight
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.flight.lock();
        if let Some(seat) = state.seats.get_mut(self.place) {
            *seat = Seat::Free;
        }
        state.readers = state.readers.saturating_sub(1);
        state.first_left |= self.first;
        drop(state);
        self.flight.leave_if_deserted();
    }
}

impl State {
    fn wait(&mut self, place: usize, context: &Context<'_>) {
        if let Some(seat) = self.seats.get_mut(place) {
            match seat {
                Seat::Taken(Some(waker)) => waker.clone_from(context.waker()),
                seat => *seat = Seat::Taken(Some(context.waker().clone())),
            }
        }
    }
}

/// What a reader may lag behind in an answer that is written down no longer.
const LAG_MAX_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests;
