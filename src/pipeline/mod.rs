//! One request, one function: [`handle_message`] is the whole path, step by step.
//!
//! A step borrows what it needs of the [`Exchange`] and returns facts or a refusal; it is `async` only if it
//! waits. Policies meet here and nowhere else. Everything that is not a message (batches, files, models, other
//! paths) goes through [`passthrough`], with the same identification, credential and ownership rules.

mod exchange;
mod finish;
mod forward;
mod listing;
pub mod passthrough;
mod policy;
mod read;
mod recall;
mod relay;
mod reply;
mod reserve;
mod runtime;

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;

use crate::wire::envelope;
use crate::wire::error::Refusal;

pub use exchange::{Endpoint, Exchange};
pub use relay::Reply;
pub use runtime::{Counts, Parts, Runtime, Snapshot, Tercet};

/// Answers `POST /v1/messages` and `POST /v1/messages/count_tokens`.
///
/// Returns the upstream's answer byte for byte, a cached one, or a refusal in the API's shape; never an error.
pub async fn handle_message(
    tercet: &Arc<Tercet>,
    request: Request<Incoming>,
    endpoint: Endpoint,
) -> Response<Reply> {
    let (head, body) = request.into_parts();
    let mut exchange = Exchange::begin(tercet, endpoint, head);
    match message(&mut exchange, body).await {
        Ok(Ready::Upstream(answer)) => relay::relay(exchange, answer),
        Ok(Ready::Cached(answer)) => recall::replay(exchange, &answer).await,
        Err(refusal) => finish::refuse(exchange, &refusal).await,
    }
}

enum Ready {
    Upstream(forward::Forwarded),
    Cached(Arc<crate::cache::CachedAnswer>),
}

async fn message(exchange: &mut Exchange, body: Incoming) -> Result<Ready, Refusal> {
    policy::identify(exchange)?;
    policy::admit(exchange)?;
    let body = read::read(exchange, body).await?;
    let envelope = envelope::read(&body)?;
    exchange.observe(&envelope);
    policy::own(exchange, &envelope)?;
    policy::guard(exchange, &envelope)?;
    let complexity = policy::classify(exchange, &envelope);
    policy::decide(exchange, &envelope, &complexity)?;
    let recording = match recall::recall(exchange, &envelope) {
        recall::Recalled::Hit(answer) => {
            reserve::hold_request(exchange)?;
            return Ok(Ready::Cached(answer));
        }
        recall::Recalled::Miss(recording) => Some(recording),
        recall::Recalled::Bypass => None,
    };
    reserve::hold(exchange, &envelope)?;
    reserve::record(exchange).await?;
    let splice = exchange.splice(&envelope);
    let answer = forward::forward(exchange, splice.apply(&body), recording).await?;
    Ok(Ready::Upstream(answer))
}
