//! Which request is whose: messages go through the pipeline, everything else through the passage.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;

use super::exchange::{Endpoint, Exchange};
use super::relay::Reply;
use super::runtime::Tercet;
use super::{finish, handle_message, passthrough};
use crate::id::RequestId;
use crate::upstream::{Route, route};
use crate::wire::error::{self, Refusal};

/// Answers any request on the data listener.
pub async fn handle(tercet: &Arc<Tercet>, request: Request<Incoming>) -> Response<Reply> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let asked = route(&head.method, &path);
    let endpoint = match asked {
        Route::Messages => Endpoint::Messages,
        Route::CountTokens => Endpoint::CountTokens,
        _ => Endpoint::Other,
    };
    // HTTP/1.1 with such a target is refused before it is parsed; HTTP/2 brings it here.
    let is_plain = head.uri.path_and_query().is_none_or(|target| target.as_str().is_ascii());
    let exchange = Exchange::begin(tercet, endpoint, head);
    if !is_plain {
        let refusal = Refusal::malformed("the path holds what a URI cannot (RFC 3986): encode it");
        return finish::refuse(exchange, &refusal).await;
    }
    match asked {
        Route::Messages | Route::CountTokens => handle_message(exchange, body).await,
        Route::Probe => probe(),
        Route::Unknown => {
            finish::refuse(exchange, &Refusal::not_found(format!("no such path: {path}"))).await
        }
        Route::MethodNotAllowed => {
            let allowed = passthrough::allowed_methods(&path);
            finish::refuse(exchange, &Refusal::method_not_allowed(allowed)).await
        }
        // Boxed, as what is rare would make the future of every request larger, which is moved several times.
        asked => Box::pin(passthrough::pass(exchange, asked, body)).await,
    }
}

/// Somebody is here; clients look before they send.
fn probe() -> Response<Reply> {
    let mut response = Response::new(Reply::whole(Bytes::new()));
    *response.status_mut() = StatusCode::OK;
    response
}

/// Why a request is answered before anything of ours heard it.
#[derive(Clone, Copy, Debug)]
pub enum Refused {
    /// Its handling panicked.
    Panicked,
    /// It has two readings.
    Malformed(&'static str),
    /// Its head is too long.
    HeadTooLarge,
}

/// Answers in place of [`handle`] where that could not, or must not, be asked.
pub fn refuse_unheard(tercet: &Tercet, refused: Refused) -> Response<Reply> {
    let refusal = match refused {
        Refused::Panicked => {
            tercet.runtime.metrics.record_panic();
            Refusal::internal("a bug in this gateway stopped the request; it has been counted")
        }
        Refused::Malformed(what) => Refusal::malformed(what),
        Refused::HeadTooLarge => Refusal::head_too_large(),
    };
    let id = RequestId::generate();
    let mut response = Response::new(Reply::whole(error::body(&refusal, id.as_str())));
    *response.status_mut() = refusal.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        headers.insert("request-id", id.clone());
        headers.insert("x-tercet-request-id", id);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the size of what an asynchronous function returns.
    fn size<A, B, F>(_: impl Fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_future_of_a_request_is_small_enough_to_be_moved() {
        let bytes = size(handle);
        assert!(bytes <= 1_536, "{bytes}");
    }
}
