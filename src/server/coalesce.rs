//! Small frames of an answer that arrive together leave together.
//!
//! hyper writes each frame of a body to the socket by itself, and a body from upstream hands over what it holds in more
//! than one. This adapter gathers what is there before it passes anything on; it never waits.
//!
//! A body that hands over as much as there is by itself says so and is passed as it is: nothing is copied for each of a
//! thousand who read one answer.
//!
//! Bytes and their order, trailers, the end and errors are those of the body within; frames of 8 KiB and more
//! pass uncopied; gathered are at most 64 KiB or 64 frames.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::Response;
use http_body::{Body, Frame, SizeHint};

use super::pace::{self, InFlight};
use super::taking;
use crate::upstream::BodyProblem;

/// A body whose small frames are joined where they are ready together.
pub struct Coalesce<B> {
    inner: B,
    /// What came after the gathered bytes and must follow them.
    next: Option<Next>,
    /// Turns given to what was passed on, so that an error does not overtake it.
    held_back: u8,
    /// Ends with the answer.
    _in_flight: Option<InFlight>,
    /// What the body within hands over is all that is there, in as large pieces as it has.
    gathered_within: bool,
}

enum Next {
    Frame(Frame<Bytes>),
    Error(BodyProblem),
    End,
}

#[derive(Default)]
struct Gathered {
    first: Bytes,
    joined: BytesMut,
    frames: usize,
}

impl<B> Coalesce<B> {
    /// Wraps a body.
    pub fn new(inner: B) -> Self {
        Self { inner, next: None, held_back: 0, _in_flight: None, gathered_within: false }
    }

    /// Wraps the body of a response, which may be marked as [`Gathered`](crate::upstream::Gathered).
    pub(super) fn of(response: Response<B>, in_flight: InFlight) -> Response<Self> {
        let gathered_within = response.extensions().get::<crate::upstream::Gathered>().is_some();
        response.map(|inner| Self { _in_flight: Some(in_flight), gathered_within, ..Self::new(inner) })
    }
}

impl<B> Coalesce<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyProblem>,
{
    /// Returns what is there, joined.
    fn gather(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyProblem>>> {
        let mut gathered = Gathered::default();
        let mut over = self.next.is_some();
        while !over {
            match Pin::new(&mut self.inner).poll_frame(context) {
                Poll::Ready(frame) => over = self.take_in(frame, &mut gathered),
                Poll::Pending if gathered.frames == 0 => return Poll::Pending,
                Poll::Pending => over = true,
            }
        }
        if gathered.frames > 0 {
            return Poll::Ready(Some(Ok(Frame::data(gathered.join()))));
        }
        Poll::Ready(match self.next.take() {
            Some(Next::Frame(frame)) => Some(Ok(frame)),
            // hyper drops what it has not written yet when a body fails; it writes while the body is pending.
            Some(Next::Error(error)) if self.held_back < ERROR_TURNS => {
                self.held_back += 1;
                self.next = Some(Next::Error(error));
                pace::again_later(context);
                return Poll::Pending;
            }
            Some(Next::Error(error)) => Some(Err(error)),
            Some(Next::End) | None => None,
        })
    }

    /// Takes in what the body within gave; true when gathering is over.
    fn take_in(&mut self, frame: Option<Result<Frame<Bytes>, B::Error>>, gathered: &mut Gathered) -> bool {
        let next = match frame.map(|frame| frame.map(Frame::into_data)) {
            None => Next::End,
            Some(Err(error)) => Next::Error(error.into()),
            Some(Ok(Err(other))) => Next::Frame(other),
            Some(Ok(Ok(data))) if self.gathered_within || data.len() >= LARGE_BYTES => {
                Next::Frame(Frame::data(data))
            }
            Some(Ok(Ok(data))) => {
                gathered.push(data);
                return gathered.is_full() || self.inner.is_end_stream();
            }
        };
        self.next = Some(next);
        true
    }
}

impl<B> Body for Coalesce<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyProblem>,
{
    type Data = Bytes;
    type Error = BodyProblem;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyProblem>>> {
        taking::asked();
        let polled = self.get_mut().gather(context);
        if let Poll::Ready(Some(_)) = &polled {
            taking::handed();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.next {
            Some(next) => matches!(next, Next::End),
            None => self.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.inner.size_hint();
        let next = match &self.next {
            Some(Next::Frame(frame)) => frame.data_ref().map_or(0, Bytes::len),
            _ => 0,
        };
        let held = next as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(held));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(held));
        }
        hint
    }
}

impl<B> fmt::Debug for Coalesce<B> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Coalesce(…)")
    }
}

impl Gathered {
    /// Adds a frame; the first is not copied unless another follows.
    fn push(&mut self, data: Bytes) {
        if data.is_empty() {
            return;
        }
        if self.frames == 0 {
            self.first = data;
        } else {
            self.joined.extend_from_slice(&std::mem::take(&mut self.first));
            self.joined.extend_from_slice(&data);
        }
        self.frames += 1;
    }

    fn len(&self) -> usize {
        self.first.len() + self.joined.len()
    }

    fn is_full(&self) -> bool {
        self.frames >= FRAMES_MAX || self.len() >= GATHERED_MAX_BYTES - LARGE_BYTES
    }

    fn join(self) -> Bytes {
        if self.joined.is_empty() { self.first } else { self.joined.freeze() }
    }
}

/// A frame of this size is worth a write of its own.
const LARGE_BYTES: usize = 8 * 1024;
/// Most bytes gathered.
const GATHERED_MAX_BYTES: usize = 64 * 1024;
/// Most frames gathered.
const FRAMES_MAX: usize = 64;
/// Turns of its connection between the last bytes and an error; HTTP/2 takes more than one.
const ERROR_TURNS: u8 = 4;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::task::Waker;

    use http::HeaderMap;
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    enum Step {
        Data(Vec<u8>),
        Pending,
        Trailers,
        Error,
    }

    struct Played(VecDeque<Step>);

    impl Body for Played {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
            match self.0.pop_front() {
                None => Poll::Ready(None),
                Some(Step::Pending) => Poll::Pending,
                Some(Step::Error) => Poll::Ready(Some(Err("cut"))),
                Some(Step::Trailers) => Poll::Ready(Some(Ok(Frame::trailers(HeaderMap::new())))),
                Some(Step::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data.into())))),
            }
        }
    }

    type Polled = Poll<Option<Result<Frame<Bytes>, BodyProblem>>>;

    fn poll(body: &mut Coalesce<Played>) -> Polled {
        Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
    }

    fn data(polled: Polled) -> Option<Bytes> {
        let Poll::Ready(Some(Ok(frame))) = polled else { return None };
        frame.into_data().ok()
    }

    fn body(steps: &[Step]) -> Coalesce<Played> {
        Coalesce::new(Played(steps.iter().cloned().collect()))
    }

    fn small(text: &str) -> Step {
        Step::Data(text.as_bytes().to_vec())
    }

    #[test]
    fn frames_that_are_ready_together_leave_together() {
        let mut body = body(&[small("a"), small("b"), Step::Pending, small("c"), Step::Error]);
        assert_eq!(data(poll(&mut body)).unwrap(), "ab", "what is not there yet is not waited for");
        assert_eq!(data(poll(&mut body)).unwrap(), "c");
        for _ in 0..ERROR_TURNS {
            assert!(poll(&mut body).is_pending(), "what was passed on is written first");
        }
        assert!(matches!(poll(&mut body), Poll::Ready(Some(Err(_)))));
    }

    #[test]
    fn a_large_frame_is_not_copied() {
        let large = Bytes::from(vec![1; LARGE_BYTES]);
        let mut body = Coalesce::new(http_body_util::Full::new(large.clone()));
        let context = &mut Context::from_waker(Waker::noop());
        let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(context) else { panic!() };
        assert_eq!(frame.data_ref().unwrap().as_ptr(), large.as_ptr());
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(Step::Data),
            1 => (LARGE_BYTES - 1..LARGE_BYTES + 2).prop_map(|len| Step::Data(vec![7; len])),
            3 => Just(Step::Pending),
        ];
        let last = prop_oneof![Just(None), Just(Some(Step::Error)), Just(Some(Step::Trailers))];
        (proptest::collection::vec(step, 0..200), last).prop_map(|(mut steps, last)| {
            steps.extend(last);
            steps
        })
    }

    proptest! {
        #[test]
        fn bytes_order_and_end_are_kept(steps in steps()) {
            let mut expected = Vec::new();
            for step in &steps {
                if let Step::Data(data) = step { expected.extend_from_slice(data) }
            }
            let (mut seen, mut last, mut ended) = (Vec::new(), None, false);
            let mut body = body(&steps);
            for _ in 0..steps.len() * 3 + 3 {
                match poll(&mut body) {
                    Poll::Pending => {}
                    Poll::Ready(None) => { ended = true; break }
                    Poll::Ready(Some(Err(_))) => last = Some(Step::Error),
                    Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) => {
                            prop_assert!(last.is_none() && !data.is_empty() && data.len() <= GATHERED_MAX_BYTES);
                            seen.extend_from_slice(&data);
                        }
                        Err(_) => last = Some(Step::Trailers),
                    },
                }
            }
            prop_assert!(ended);
            prop_assert_eq!(seen, expected);
            let marked = steps.last().filter(|step| matches!(step, Step::Error | Step::Trailers));
            prop_assert_eq!(last.as_ref(), marked);
        }
    }
}
