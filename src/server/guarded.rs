//! The handler behind its guards: form first, and a panic costs one request.
//!
//! Only the handler's own work is guarded. A body that panics later ends its connection, so that the client
//! sees the answer cut.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use http::header::{CONNECTION, HeaderValue};
use http::{Method, Request, Response, Version};
use hyper::body::Incoming;

use super::{Peer, Refusal};

/// A handler and the answers given in its place.
pub(super) struct Guarded<H, R> {
    handler: H,
    refuse: R,
}

impl<H, R> Guarded<H, R> {
    pub(super) fn new(handler: H, refuse: R) -> Self {
        Self { handler, refuse }
    }

    /// Answers one request, or what stands for one that was refused by its framing.
    pub(super) async fn answer<F, B>(
        &self,
        request: Request<Incoming>,
        peer: Peer,
        refused: Option<Refusal>,
    ) -> Response<B>
    where
        H: Fn(Request<Incoming>, Peer) -> F,
        F: Future<Output = Response<B>>,
        R: Fn(Refusal) -> Response<B>,
    {
        let version = request.version();
        if let Some(refusal) = refused.or_else(|| fault(&request)) {
            return closing((self.refuse)(refusal), version);
        }
        let begun = catch_unwind(AssertUnwindSafe(|| (self.handler)(request, peer)));
        let answered = match begun {
            Ok(work) => Caught(pin!(work)).await,
            Err(_panic) => None,
        };
        // The panic hook has logged it; the payload may quote a request and goes no further.
        answered.unwrap_or_else(|| closing((self.refuse)(Refusal::Panicked), version))
    }
}

/// Names what is wrong with a request that is well framed, if anything is.
fn fault<B>(request: &Request<B>) -> Option<Refusal> {
    if request.method() == Method::CONNECT {
        return Some(Refusal::Malformed("this is not a tunnel: CONNECT is not supported"));
    }
    let uri = request.uri();
    let elsewhere = uri.scheme().is_some() || uri.authority().is_some();
    // Over HTTP/2 every target has both.
    (elsewhere && request.version() <= Version::HTTP_11)
        .then_some(Refusal::Malformed("the request target must be a path: this is not a forward proxy"))
}

/// Work that ends with `None` where it panics.
struct Caught<'w, F>(Pin<&'w mut F>);

impl<F: Future> Future for Caught<'_, F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context))) {
            Ok(polled) => polled.map(Some),
            Err(_panic) => Poll::Ready(None),
        }
    }
}

/// What follows a refused request on its connection is not to be trusted.
fn closing<B>(mut response: Response<B>, version: Version) -> Response<B> {
    if version <= Version::HTTP_11 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_tunnelled_or_sent_on_to_a_host_of_the_request_s_choice() {
        let table = [
            (Request::post("/v1/messages"), true),
            (Request::post("http://a/v1/messages"), false),
            (Request::connect("a:1"), false),
            (Request::post("http://a/v1/messages").version(Version::HTTP_2), true),
            (Request::connect("http://a/").version(Version::HTTP_2), false),
        ];
        for (request, sound) in table {
            let request = request.body(()).unwrap();
            assert_eq!(fault(&request).is_none(), sound, "{request:?}");
        }
    }
}
