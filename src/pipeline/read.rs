//! Step read: the body, whole and bounded.

use bytes::Bytes;
use http::header;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};

use super::exchange::Exchange;
use crate::telemetry::Phase;
use crate::wire::envelope::{self, Envelope};
use crate::wire::error::Refusal;

/// Collects the body within the size and time the configuration allows.
///
/// The bytes are kept as they came; several frames are joined once.
pub(super) async fn read(exchange: &Exchange, body: Incoming) -> Result<Bytes, Refusal> {
    let server = &exchange.snapshot.config.server;
    let encoding = exchange.headers.get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| encoding != "identity") {
        return Err(Refusal::unsupported_encoding());
    }
    let max_bytes = usize::try_from(server.max_body_bytes).unwrap_or(usize::MAX);
    if body.size_hint().lower() > server.max_body_bytes {
        return Err(Refusal::too_large(server.max_body_bytes));
    }
    let collecting = Limited::new(body, max_bytes).collect();
    match tokio::time::timeout(server.body_timeout, collecting).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::too_large(server.max_body_bytes)),
        Ok(Err(_)) => {
            Err(Refusal::malformed("the request's body ended too early, or its chunks are malformed"))
        }
        Err(_) => Err(Refusal::malformed("the request's body stopped coming")),
    }
}

/// Reads the fields that policies judge, in one scan.
pub(super) fn scan<'b>(exchange: &mut Exchange, body: &'b [u8]) -> Result<Envelope<'b>, Refusal> {
    let begun = exchange.tercet.runtime.clock.instant();
    let envelope = envelope::read(body)?;
    exchange.observe(&envelope);
    exchange.spent_in(Phase::Parse, begun);
    Ok(envelope)
}
