//! Step read: the body, whole and bounded.

use bytes::{Bytes, BytesMut};
use http::header;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};

use super::exchange::Exchange;
use super::policy;
use crate::limit::{Full, Stay};
use crate::telemetry::Phase;
use crate::upstream::BodyProblem;
use crate::wire::envelope::{self, Envelope};
use crate::wire::error::Refusal;

/// Collects the body within the size and time the configuration allows.
///
/// The bytes are kept as they came; several frames are joined once.
pub(super) async fn read(exchange: &mut Exchange, body: Incoming) -> Result<Bytes, Refusal> {
    let server = &exchange.snapshot.config.server;
    let encoding = exchange.headers.get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| encoding != "identity") {
        return Err(Refusal::unsupported_encoding());
    }
    let max_bytes = usize::try_from(server.max_body_bytes).unwrap_or(usize::MAX);
    if body.size_hint().lower() > server.max_body_bytes {
        return Err(Refusal::too_large(server.max_body_bytes));
    }
    let mut stay = exchange.stay.take();
    let collecting = collect(Limited::new(body, max_bytes), &mut stay, server.max_in_flight_bytes);
    let collected = tokio::time::timeout(server.body_timeout, collecting).await;
    exchange.stay = stay;
    let max_bytes = exchange.snapshot.config.server.max_body_bytes;
    collected.map_err(|_late| Refusal::malformed("the request's body stopped coming"))?.map_err(|unread| {
        match unread {
            Unread::NoRoom(full) => policy::no_room(exchange, full, "bytes of requests"),
            Unread::Broken(error) if error.is::<LengthLimitError>() => Refusal::too_large(max_bytes),
            Unread::Broken(_) => {
                Refusal::malformed("the request's body ended too early, or its chunks are malformed")
            }
        }
    })
}

/// Why a body was not read.
enum Unread {
    NoRoom(Full),
    Broken(BodyProblem),
}

/// Gathers a body within the room there is. A first frame that is all of it is not copied; small ones are joined as they
/// come, so that a body in many pieces takes no more memory than its bytes.
async fn collect(
    mut body: Limited<Incoming>,
    stay: &mut Option<Stay>,
    room_bytes: u64,
) -> Result<Bytes, Unread> {
    let (mut first, mut rest) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Unread::Broken)?.into_data() else { continue };
        if let Some(stay) = stay {
            stay.hold(data.len() as u64, room_bytes).map_err(Unread::NoRoom)?;
        }
        if first.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                let announced = usize::try_from(body.size_hint().lower()).unwrap_or(0).min(ANNOUNCED_MAX);
                rest.reserve(first.len() + data.len() + announced);
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&data);
        }
    }
    let unused = rest.capacity() - rest.len();
    Ok(match rest.is_empty() {
        true => first,
        false if unused > rest.len() / 4 => Bytes::copy_from_slice(&rest),
        false => rest.freeze(),
    })
}

/// Bytes of a body for which memory is taken on its word.
const ANNOUNCED_MAX: usize = 1 << 20;

/// Reads the fields that policies judge, in one scan.
pub(super) fn scan<'b>(exchange: &mut Exchange, body: &'b [u8]) -> Result<Envelope<'b>, Refusal> {
    let begun = exchange.tercet.runtime.clock.instant();
    let envelope = envelope::read(body)?;
    exchange.observe(&envelope);
    exchange.spent_in(Phase::Parse, begun);
    Ok(envelope)
}
