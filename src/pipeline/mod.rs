//! One request, one function: [`handle_message`] is the whole path, step by step.
//!
//! A step borrows what it needs of the [`Exchange`] and returns facts or a refusal; it is `async` only if it
//! waits. Policies meet here and nowhere else. Everything that is not a message (batches, files, models, other
//! paths) goes through `passthrough`, with the same identification, credential and ownership rules.

mod account;
mod asked;
mod batch;
mod bill;
mod charge;
mod content;
mod converse;
mod decide;
mod dispatch;
mod escalate;
mod estimate;
mod exchange;
mod explain;
mod fall_back;
mod finish;
mod forward;
mod guarding;
mod headroom;
mod join;
mod keeping;
mod lesson;
mod listing;
mod opening;
mod own_limits;
mod passthrough;
mod policy;
mod prompt;
mod read;
mod recall;
mod redact;
mod relay;
mod replay;
mod reply;
mod reserve;
mod runtime;
mod sample;
mod sampled;
mod settle_batch;
mod share;
mod signals;
mod twin;
mod upload;
mod visitor;
mod warn;
mod watch;

use bytes::Bytes;
use http::Response;
use hyper::body::Incoming;

use crate::cache::Found;
use crate::upstream::RequestBody;
use crate::wire::envelope::Envelope;
use crate::wire::error::Refusal;
use escalate::Spare;
use keeping::Keeping;
use recall::{Kept, Recalled};

pub use batch::{Batches, Held, Share};
pub use content::Heard;
pub use converse::Telling;
pub use dispatch::{Refused, handle, refuse_unheard};
pub use exchange::{Endpoint, Exchange};
pub use explain::{explain_body, explain_record, judge};
pub use relay::{DRAIN_TIMEOUT, Reply};
pub use replay::{Change, Replay, Replayed};
pub use runtime::{Runtime, Snapshot, Tercet};
pub use sample::Samples;
pub use settle_batch::watch_batches;
pub use twin::Precedent;
pub use warn::take_for_told;

/// Answers `POST /v1/messages` and `POST /v1/messages/count_tokens`.
///
/// Returns the upstream's answer byte for byte, a kept or shared one, or a refusal in the API's shape; never an error.
pub async fn handle_message(mut exchange: Box<Exchange>, body: Incoming) -> Response<Reply> {
    // Boxed, as is each long wait below: this future is moved several times, and a thousand of it may wait in a join.
    let (body, mut ready) = match Box::pin(prepare(&mut exchange, body)).await {
        Ok(prepared) => prepared,
        Err(refusal) => return finish::refuse(exchange, &refusal).await,
    };
    let restoring = guarding::restoring(&exchange);
    let mut waited_for = 0;
    let response = loop {
        exchange = match ready {
            Ready::Found(Found::Kept(kept)) => break Box::pin(recall::replay(exchange, kept)).await,
            Ready::Found(Found::Join(reader)) => match Box::pin(join::join(exchange, reader)).await {
                Ok(response) => break response,
                Err(unanswered) => unanswered,
            },
            Ready::Send(body, keeping, spare) => break Box::pin(send(exchange, body, keeping, spare)).await,
        };
        waited_for += 1;
        ready = match Box::pin(again(&mut exchange, &body, waited_for >= JOINED_MAX)).await {
            Ok(ready) => ready,
            Err(refusal) => break finish::refuse(exchange, &refusal).await,
        };
    };
    guarding::restored(restoring, response)
}

/// Asks the upstream, and hands its answer on.
async fn send(
    exchange: Box<Exchange>,
    body: RequestBody,
    keeping: Option<Box<Keeping>>,
    spare: Option<Box<Spare>>,
) -> Response<Reply> {
    match forward::cross(exchange, body, keeping).await {
        Ok(forwarded) => match spare {
            Some(spare) => Box::pin(escalate::answer(forwarded, *spare)).await,
            None => relay::relay(forwarded).await,
        },
        Err(refused) => refused,
    }
}

/// How a request that was let through is answered.
enum Ready {
    /// From the cache, or with the answer to an identical request.
    Found(Found<Kept>),
    /// By the upstream, with this body; the answer may be kept or shared, or else asked for again elsewhere.
    Send(RequestBody, Option<Box<Keeping>>, Option<Box<Spare>>),
}

/// Every step before the request leaves us.
async fn prepare(exchange: &mut Exchange, body: Incoming) -> Result<(Bytes, Ready), Refusal> {
    policy::identify(exchange)?;
    policy::admit(exchange).await?;
    let body = read::read(exchange, body).await?;
    let body = guarding::guard(exchange, body).await?;
    content::begin(exchange, &body);
    if let Some(ready) = twin::recognise(exchange, &body) {
        reserve::hold_request(exchange).await?;
        return Ok((body, ready));
    }
    let envelope = read::scan(exchange, &body)?;
    place(exchange, &envelope).await?;
    let ready = arrange(exchange, &envelope, &body, false).await?;
    Ok((body, ready))
}

/// Finds out where the request may and should go.
async fn place(exchange: &mut Exchange, envelope: &Envelope<'_>) -> Result<(), Refusal> {
    policy::own(exchange, envelope)?;
    if converse::is_shared(&exchange.tercet.runtime) {
        Box::pin(converse::look(exchange, envelope)).await;
    }
    let complexity = policy::classify(exchange, envelope);
    decide::decide(exchange, envelope, &complexity)
}

/// The last steps again, where the answer that was waited for did not come; all of them for the twin of another.
async fn again(exchange: &mut Exchange, body: &Bytes, alone: bool) -> Result<Ready, Refusal> {
    let envelope = read::scan(exchange, body)?;
    if exchange.precedent.take().is_some() {
        place(exchange, &envelope).await?;
    }
    arrange(exchange, &envelope, body, alone).await
}

async fn arrange(
    exchange: &mut Exchange,
    envelope: &Envelope<'_>,
    body: &Bytes,
    alone: bool,
) -> Result<Ready, Refusal> {
    let ready = match recall::recall(exchange, envelope, body, alone)? {
        Recalled::Found(found) => Ready::Found(found),
        Recalled::Send(mut keeping) => {
            let fetched = match &mut keeping {
                Some(keeping) => recall::fetch(exchange, keeping).await,
                None => None,
            };
            let Some(kept) = fetched else {
                reserve::hold(exchange, envelope).await?;
                reserve::record(exchange).await?;
                prompt::note(exchange, envelope);
                decide::tell(exchange);
                let spare = escalate::spare(exchange, body).map(Box::new);
                exchange.sampling = sample::draw(exchange, envelope, body);
                return Ok(Ready::Send(exchange.splice(envelope, body), keeping, spare));
            };
            Ready::Found(Found::Kept(kept))
        }
    };
    reserve::hold_request(exchange).await?;
    decide::tell(exchange);
    Ok(ready)
}

/// Answers of others that are waited for in vain before a request is sent for itself alone.
const JOINED_MAX: u32 = 3;
