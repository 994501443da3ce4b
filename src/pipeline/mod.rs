//! One request, one function: [`handle_message`] is the whole path, step by step.
//!
//! A step borrows what it needs of the [`Exchange`] and returns facts or a refusal; it is `async` only if it
//! waits. Policies meet here and nowhere else. Everything that is not a message (batches, files, models, other
//! paths) goes through `passthrough`, with the same identification, credential and ownership rules.

mod account;
mod bill;
mod charge;
mod decide;
mod dispatch;
mod exchange;
mod explain;
mod finish;
mod forward;
mod headroom;
mod listing;
mod passthrough;
mod policy;
mod read;
mod recall;
mod redact;
mod relay;
mod reply;
mod reserve;
mod runtime;
mod upload;
mod visitor;
mod watch;

use http::Response;
use hyper::body::Incoming;

use crate::upstream::RequestBody;
use crate::wire::error::Refusal;
use recall::{Keeping, Kept, Recalled};

pub use dispatch::{Refused, handle, refuse_unheard};
pub use exchange::{Endpoint, Exchange};
pub use explain::{explain_body, explain_record};
pub use relay::{DRAIN_TIMEOUT, Reply};
pub use runtime::{Runtime, Snapshot, Tercet};

/// Answers `POST /v1/messages` and `POST /v1/messages/count_tokens`.
///
/// Returns the upstream's answer byte for byte, a kept one, or a refusal in the API's shape; never an error.
pub async fn handle_message(mut exchange: Box<Exchange>, body: Incoming) -> Response<Reply> {
    let ready = match prepare(&mut exchange, body).await {
        Ok(ready) => ready,
        Err(refusal) => return finish::refuse(exchange, &refusal).await,
    };
    let (body, keeping) = match ready {
        Ready::Kept(kept) => return Box::pin(recall::replay(exchange, kept)).await,
        Ready::Send(body, keeping) => (body, keeping),
    };
    match forward::cross(exchange, body, keeping).await {
        Ok(forwarded) => relay::relay(forwarded).await,
        Err(refused) => refused,
    }
}

/// How a request that was let through is answered.
enum Ready {
    /// From the cache.
    Kept(Kept),
    /// By the upstream, with this body; the answer may be kept.
    Send(RequestBody, Option<Box<Keeping>>),
}

/// Every step before the request leaves us.
async fn prepare(exchange: &mut Exchange, body: Incoming) -> Result<Ready, Refusal> {
    policy::identify(exchange)?;
    policy::admit(exchange).await?;
    let body = read::read(exchange, body).await?;
    let envelope = read::scan(exchange, &body)?;
    policy::own(exchange, &envelope)?;
    policy::guard(exchange, &envelope)?;
    let complexity = policy::classify(exchange, &envelope);
    decide::decide(exchange, &envelope, &complexity)?;
    let keeping = match recall::recall(exchange, &envelope, &body) {
        Recalled::Hit(kept) => {
            reserve::hold_request(exchange).await?;
            return Ok(Ready::Kept(kept));
        }
        Recalled::Miss(keeping) => Some(keeping),
        Recalled::Bypass => None,
    };
    reserve::hold(exchange, &envelope).await?;
    reserve::record(exchange).await?;
    Ok(Ready::Send(exchange.splice(&envelope, &body), keeping))
}
