//! Step guard: what the guards say of a prompt, of its answer, and what is done about it.
//!
//! Without guards none of this is more than the look at an empty list. A prompt is looked at before anything is decided,
//! so that everything behind (routing, the cache, what is learned, sampled and recorded) sees what is sent and nothing
//! else. An answer gets its texts back last of all, on its way out of here: what is kept and shared has placeholders.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::sync::oneshot;

use super::dispatch::{self, refuse_unheard};
use super::exchange::Exchange;
use super::finish::{self, Ending};
use super::read;
use super::relay::{Prelude, Reply};
use super::watch::{Watch, starts_with};
use crate::config::Guard;
use crate::guard::{self, Finds, Look, Policy, Prompt, Refused, Restoration, Status, Stream};
use crate::limit::Stay;
use crate::upstream::{TimedBody, UpstreamFailure};
use crate::wire::envelope;
use crate::wire::error::Refusal;

/// What guards have to do with an exchange; there only where it has any.
#[derive(Debug, Default)]
pub struct Guarded {
    /// What was found so far.
    pub(super) finds: Finds,
    restoration: Option<Arc<Restoration>>,
    look: Option<Box<Look>>,
    withholds: bool,
    /// What is said in place of an answer that is withheld.
    withheld: Option<Refusal>,
}

/// Returns the guards in force, in order.
fn guards(exchange: &Exchange) -> &Arc<[Guard]> {
    exchange.tenant_config().map_or(&exchange.snapshot.config.guards, |tenant| &tenant.guards)
}

/// Asks the guards about a prompt; returns the body to go on with, the same where nothing in it is redacted.
pub(super) async fn guard(exchange: &mut Exchange, body: Bytes) -> Result<Bytes, Refusal> {
    if guards(exchange).is_empty() {
        return Ok(body);
    }
    // Boxed, so that what is off for most does not make the future of every request larger.
    Box::pin(ask(exchange, body)).await
}

async fn ask(exchange: &mut Exchange, body: Bytes) -> Result<Bytes, Refusal> {
    drop(read::scan(exchange, &body)?);
    let guards = Arc::clone(guards(exchange));
    let prompt = if body.len() > INLINE_BYTES_MAX {
        let (snapshot, body, guards) = (Arc::clone(&exchange.snapshot), body.clone(), Arc::clone(&guards));
        let scope = scope(exchange);
        let looking = tokio::task::spawn_blocking(move || {
            look(&guards, snapshot.config.redaction_key.as_ref(), &scope, &body)
        });
        looking.await.map_err(|_| Refusal::internal("the guards could not be asked"))?
    } else {
        look(&guards, exchange.snapshot.config.redaction_key.as_ref(), &scope(exchange), &body)
    };
    let Prompt { finds, refused, body: changed, restoration } = prompt?;
    count(exchange, &finds);
    let answered = exchange.endpoint.is_message();
    exchange.guarded = Some(Box::new(Guarded {
        finds,
        restoration: restoration.map(Arc::new),
        look: Look::of(&guards).filter(|_| answered).map(Box::new),
        withholds: answered && Look::withholds(&guards),
        withheld: None,
    }));
    match refused {
        Some(refused) => Err(refusal(refused)),
        None => Ok(changed.map_or(body, Bytes::from)),
    }
}

fn look(
    guards: &[Guard],
    key: Option<&crate::secret::Secret>,
    scope: &str,
    body: &Bytes,
) -> Result<Prompt, Refusal> {
    Ok(guard::look(Policy { guards, key, scope }, &envelope::read(body)?))
}

/// Who owns the texts: the tenant, or without tenants whose credential it is.
fn scope(exchange: &Exchange) -> String {
    if exchange.has_tenants() { exchange.tenant().to_owned() } else { exchange.user().to_owned() }
}

fn refusal(refused: Refused) -> Refusal {
    match refused.status {
        Status::Invalid => Refusal::malformed(refused.message),
        Status::Forbidden => Refusal::forbidden(refused.message),
        Status::TooLarge(most) => Refusal::too_large(most),
    }
}

fn count(exchange: &Exchange, finds: &Finds) {
    for find in finds.iter() {
        let (action, side) = (find.action.name(), find.side.name());
        exchange.tercet.runtime.metrics.record_find(exchange.tenant(), &find.what, action, side, find.count);
    }
}

/// Refuses what would carry prompts past the guards: a batch or a file is not looked at.
pub(super) fn refuse_unseen(exchange: &Exchange, what: &str) -> Result<(), Refusal> {
    if guards(exchange).iter().any(Guard::hides) {
        return Err(Refusal::forbidden(format!(
            "this tenant's prompts are guarded, and {what} would not be looked at; send messages one by one"
        )));
    }
    Ok(())
}

impl Guarded {
    /// Tells the look what form the answer has.
    pub(super) fn of_stream(&mut self, streamed: bool) {
        if let Some(look) = &mut self.look {
            look.of_stream(streamed);
        }
    }

    /// Lets the look hear a piece of the answer, decoded.
    pub(super) fn hear(&mut self, plain: &[u8]) {
        if let Some(look) = &mut self.look {
            look.hear(plain);
        }
    }

    /// Tells whether the answer must not be begun before it has ended; it is then neither kept nor shared.
    pub(super) const fn withholds(&self) -> bool {
        self.withholds
    }

    /// Returns what is said in place of the answer, where it is withheld.
    pub(super) const fn withheld(&self) -> Option<&Refusal> {
        self.withheld.as_ref()
    }
}

/// Ends the look at an answer, if it was looked at.
pub(super) fn conclude(exchange: &mut Exchange) {
    let Some(look) = exchange.guarded.as_mut().and_then(|guarded| guarded.look.take()) else { return };
    let (finds, refused) = look.end();
    count(exchange, &finds);
    if let Some(guarded) = &mut exchange.guarded {
        for find in finds.iter() {
            guarded.finds.add(&find.what, find.side, find.action, find.count);
        }
        guarded.withheld = refused.filter(|_| guarded.withholds).map(Refusal::malformed);
    }
}

/// Holds an answer until it has ended, and gives it whole or not at all.
///
/// In a task of its own, so that it is settled whoever leaves meanwhile.
pub(super) async fn hold(
    watch: Watch,
    head: http::response::Parts,
    read: Prelude,
    body: TimedBody,
) -> Response<Reply> {
    let tercet = watch.tercet();
    let (tell, told) = oneshot::channel();
    tercet.runtime.tasks.spawn(async move { drop(tell.send(held(watch, head, read, body).await)) });
    told.await.unwrap_or_else(|_| refuse_unheard(&tercet, dispatch::Refused::Panicked))
}

async fn held(
    mut watch: Watch,
    mut head: http::response::Parts,
    mut read: Prelude,
    mut body: TimedBody,
) -> Response<Reply> {
    let (mut held, mut cut, mut room) = (Vec::new(), false, Ok(()));
    loop {
        let next = match read.pop_front() {
            Some(frame) => Some(frame),
            None => body.frame().await,
        };
        match next {
            Some(Ok(frame)) => {
                watch.observe(&frame);
                if let (Some(data), true, Ok(())) = (frame.data_ref(), held.len() <= HELD_BYTES_MAX, room) {
                    room = watch.exchange.hold_back(data.len());
                    held.extend_from_slice(data);
                }
            }
            Some(Err(_)) => {
                cut = true;
                break;
            }
            None => break,
        }
    }
    conclude(&mut watch.exchange);
    let refusal = match watch.exchange.guarded.as_mut() {
        _ if cut => {
            Some(Refusal::bad_gateway("the upstream's answer broke off before it could be looked at"))
        }
        Some(guarded) => {
            if room.is_err() {
                guarded.withheld = Some(Refusal::overloaded(
                    "this answer is withheld: this gateway is full, and has no room to look at it",
                ));
            } else if held.len() > HELD_BYTES_MAX {
                guarded.withheld =
                    Some(Refusal::malformed("this answer is withheld: it is too large to be looked at"));
            }
            guarded.withheld.clone()
        }
        None => None,
    };
    let response = match refusal {
        Some(refusal) => finish::refusal_response(&watch.exchange, &refusal),
        None => {
            head.headers.remove(header::TRANSFER_ENCODING);
            Response::from_parts(head, Reply::whole(held.into()))
        }
    };
    finish::finish(watch, if cut { Ending::Cut } else { Ending::Whole }).await;
    response
}

/// Has an answer given its texts back as it passes.
pub(super) fn restored(restoring: Option<Restoring>, response: Response<Reply>) -> Response<Reply> {
    let Some(Restoring { restoration, room, bound }) = restoring else { return response };
    // What is compressed all the same cannot be read here; its placeholders stay.
    if response.headers().contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    let streamed = starts_with(response.headers(), &header::CONTENT_TYPE, "text/event-stream")
        && response.status() == StatusCode::OK;
    let (mut head, inner) = response.into_parts();
    head.headers.remove(header::CONTENT_LENGTH);
    let form = match streamed {
        true => Form::Stream(Stream::new(restoration)),
        false => Form::Whole(Held { restoration, bytes: Vec::new(), room, bound }),
    };
    Response::from_parts(head, Reply::restored(Restored { inner, form, ended: false, failure: None }))
}

/// How an answer gets its texts back, and the room for it while it is held.
pub(super) struct Restoring {
    restoration: Arc<Restoration>,
    room: Option<Stay>,
    bound: u64,
}

/// Returns how the answer of an exchange gets its texts back.
pub(super) fn restoring(exchange: &Exchange) -> Option<Restoring> {
    let restoration = exchange.guarded.as_ref()?.restoration.clone()?;
    let room = exchange.stay.as_ref().map(Stay::beside);
    Some(Restoring { restoration, room, bound: exchange.snapshot.config.server.max_in_flight_bytes })
}

/// The body of an answer that is given its texts back.
pub(super) struct Restored {
    inner: Reply,
    form: Form,
    ended: bool,
    failure: Option<UpstreamFailure>,
}

enum Form {
    Stream(Stream),
    /// What came of an answer that is no stream; past its bound, or where there is no room, it passes as it is.
    Whole(Held),
    Passing,
}

struct Held {
    restoration: Arc<Restoration>,
    bytes: Vec<u8>,
    room: Option<Stay>,
    bound: u64,
}

impl Restored {
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamFailure>>> {
        while !self.ended {
            let next = ready!(Pin::new(&mut self.inner).poll_frame(context));
            let mut output = Vec::new();
            match next {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.take(&data, &mut output),
                    // Trailers: nothing an upstream's answer has.
                    Err(_) => continue,
                },
                Some(Err(failure)) => {
                    (self.ended, self.failure) = (true, Some(failure));
                    self.end(&mut output);
                }
                None => {
                    self.ended = true;
                    self.end(&mut output);
                }
            }
            if !output.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(output.into()))));
            }
        }
        Poll::Ready(self.failure.take().map(Err))
    }

    pub(super) const fn is_over(&self) -> bool {
        self.ended && self.failure.is_none()
    }

    fn take(&mut self, data: &[u8], output: &mut Vec<u8>) {
        match &mut self.form {
            Form::Stream(stream) => stream.feed(data, output),
            Form::Whole(Held { bytes, room, bound, .. }) => {
                bytes.extend_from_slice(data);
                let has_room = room.as_mut().is_none_or(|room| room.hold(data.len() as u64, *bound).is_ok());
                if bytes.len() > WHOLE_BYTES_MAX || !has_room {
                    output.append(bytes);
                    self.form = Form::Passing;
                }
            }
            Form::Passing => output.extend_from_slice(data),
        }
    }

    fn end(&mut self, output: &mut Vec<u8>) {
        match &mut self.form {
            Form::Stream(stream) => stream.end(output),
            Form::Whole(Held { restoration, bytes, .. }) => match restoration.whole(bytes) {
                Some(restored) => *output = restored,
                None => output.append(bytes),
            },
            Form::Passing => {}
        }
    }
}

/// Larger bodies are looked at on a thread that others do not wait for.
const INLINE_BYTES_MAX: usize = 64 << 10;
/// Largest answer that is held to be given whole or not at all.
const HELD_BYTES_MAX: usize = 16 << 20;
/// Largest answer that is no stream and is given its texts back.
const WHOLE_BYTES_MAX: usize = 32 << 20;
