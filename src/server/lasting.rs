//! Answers that last: once such an answer's head is written, its body goes on without the parser.
//!
//! hyper keeps what it read with, what it writes from, and the room of the largest request for as long as an answer
//! lasts, some 30 KiB. A stream of events needs none of it: its request was read to its end, and what follows its head is
//! chunks. So hyper is given a body that never comes ([`Parked`]); when it has written the head and all before it, the
//! connection is taken from it, and the chunks are written here. A connection whose stream has ended well goes back to a
//! parser with the next request.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};

use super::coalesce::Coalesce;
use crate::upstream::{BodyProblem, Lasting};

/// How far a connection is on its way out of the parser.
#[derive(Clone, Debug, Default)]
pub(super) struct Parting(Arc<AtomicU8>);

/// Where the bodies of lasting answers wait for their connection.
pub(super) struct Waiting<B> {
    body: Mutex<Option<Coalesce<B>>>,
    parting: Parting,
    last: AtomicBool,
}

/// The body of an answer as the parser has it.
pub(super) enum Given<B> {
    /// All of it.
    Here(Coalesce<B>),
    /// A stand-in for one that waits.
    Parked(Parting),
}

impl Parting {
    /// Notes that everything before was written, a head whose body is parked included.
    pub(super) fn flushed(&self) {
        // Fails where nothing is parked.
        let _ = self.0.compare_exchange(PARKED, FLUSHED, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Tells, once, that the connection can be taken.
    pub(super) fn is_due(&self) -> bool {
        self.0.compare_exchange(FLUSHED, NOTHING, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl<B> Waiting<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyProblem>,
{
    pub(super) fn new(parting: Parting) -> Self {
        Self { body: Mutex::default(), parting, last: AtomicBool::new(false) }
    }

    /// Notes whether the client wants its connection closed behind the answer.
    pub(super) fn heard<R>(&self, request: &Request<R>) {
        let closes = |value: &HeaderValue| {
            let mut options = value.as_bytes().split(|byte| *byte == b',');
            options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
        };
        self.last.store(request.headers().get_all(header::CONNECTION).iter().any(closes), Ordering::Relaxed);
    }

    /// Tells whether the connection is to be closed behind the answer.
    pub(super) fn is_last(&self) -> bool {
        self.last.load(Ordering::Relaxed)
    }

    /// Keeps the body of an answer that lasts.
    pub(super) fn give(&self, response: Response<Coalesce<B>>) -> Response<Given<B>> {
        let headers = response.headers();
        let framed = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION];
        let lasts = response.extensions().get::<Lasting>().is_some()
            && response.status() == StatusCode::OK
            && !framed.iter().any(|name| headers.contains_key(name))
            && response.body().size_hint().exact().is_none()
            && !response.body().is_end_stream();
        if !lasts {
            return response.map(Given::Here);
        }
        response.map(|body| {
            *self.body.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
            Given::Parked(self.parting.clone())
        })
    }

    pub(super) fn take(&self) -> Option<Coalesce<B>> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<B> Body for Given<B>
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
        match self.get_mut() {
            Self::Here(body) => Pin::new(body).poll_frame(context),
            // Asked for only once the head is among what is to be written, and maybe again when it was.
            Self::Parked(parting) => {
                let _ = parting.0.compare_exchange(NOTHING, PARKED, Ordering::Relaxed, Ordering::Relaxed);
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Here(body) => body.is_end_stream(),
            Self::Parked(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Here(body) => body.size_hint(),
            Self::Parked(_) => SizeHint::default(),
        }
    }
}

const NOTHING: u8 = 0;
const PARKED: u8 = 1;
const FLUSHED: u8 = 2;
