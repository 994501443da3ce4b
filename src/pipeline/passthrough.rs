//! Everything that is not a message: batches, files, models and other paths.
//!
//! Bytes pass as they are, but for three splices: aliases in a batch, `results_url` of a batch, and lists, from
//! which other tenants' objects are left out. With our credential an object is answered to its owner alone.

use std::sync::Arc;

use bytes::Bytes;
use http::response::Parts;
use http::{Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Incoming};

use super::batch::Holding;
use super::dispatch::{Refused, refuse_unheard};
use super::exchange::Exchange;
use super::forward::{self, Forwarded};
use super::relay::{self, Reply};
use super::upload::Upload;
use super::{finish, guarding, listing, policy, reply, reserve, settle_batch};
use crate::config::{Credential, is_kept_apart};
use crate::journal::{ObjectRecord, ObjectType};
use crate::upstream::{RequestBody, Route};
use crate::wire::error::Refusal;
use crate::wire::objects;

/// Answers a request that is not a message.
pub(super) async fn pass(mut exchange: Box<Exchange>, route: Route<'_>, body: Incoming) -> Response<Reply> {
    if let Err(refusal) = allow(&mut exchange, route).await {
        return finish::refuse(exchange, &refusal).await;
    }
    match route {
        Route::Models | Route::Model { .. } => listing::models(exchange, route).await,
        Route::BatchList | Route::FileList if exchange.has_owners() => listing::owned(exchange, route).await,
        _ => send(exchange, route, body).await,
    }
}

/// Checks who asks and for whose object, and counts the request.
async fn allow(exchange: &mut Exchange, route: Route<'_>) -> Result<(), Refusal> {
    policy::identify(exchange)?;
    policy::admit(exchange).await?;
    if let (true, Some((kind, id))) = (exchange.has_owners(), object_of(route)) {
        policy::owns(exchange, kind, id)?;
    }
    match route {
        Route::BatchCreate => guarding::refuse_unseen(exchange, "a batch")?,
        Route::FileCreate => guarding::refuse_unseen(exchange, "a file")?,
        _ => {}
    }
    if matches!(route, Route::BatchCreate) {
        policy::may_spend(exchange).await?;
    }
    if matches!(route, Route::Other) && with_our_credential(exchange) {
        if !path_is_allowed(exchange) {
            return Err(Refusal::not_found(format!("no such path: {}", exchange.uri.path())));
        }
        policy::may_spend(exchange).await?;
        exchange.metered_path = true;
        return reserve::hold_nothing_yet(exchange).await;
    }
    reserve::hold_request(exchange).await
}

fn with_our_credential(exchange: &Exchange) -> bool {
    matches!(exchange.snapshot.config.upstream.credential, Credential::Ours(_))
}

fn path_is_allowed(exchange: &Exchange) -> bool {
    let path = exchange.uri.path();
    if is_kept_apart(path) {
        return false;
    }
    let named = exchange.tenant_config().map(|tenant| tenant.allow_paths.as_slice()).unwrap_or_default();
    named.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => path == pattern,
    })
}

async fn send(mut exchange: Box<Exchange>, route: Route<'_>, body: Incoming) -> Response<Reply> {
    if matches!(route, Route::BatchCreate) {
        exchange.holding = Holding::of(&exchange);
    }
    let body = match route {
        // Without a body there is nothing that could not be sent again where a kept connection has gone stale.
        _ if body.is_end_stream() && !matches!(route, Route::BatchCreate) => RequestBody::empty(),
        Route::BatchCreate => RequestBody::stream(Upload::batch(body, &exchange)),
        _ => RequestBody::stream(Upload::plain(body, &exchange)),
    };
    let kind = object_of(route).map(|(kind, _)| kind);
    if let Some(made) = made_by(route) {
        return create(exchange, body, made).await;
    }
    match route {
        // Its results go with it. Boxed, so that what is rare does not make the future of every request larger.
        Route::BatchDelete { id } => Box::pin(settle_batch::look_first(&exchange, id)).await,
        Route::Batch { id } | Route::BatchCancel { id } | Route::BatchResults { id } => {
            settle_batch::look_too(&exchange, id);
        }
        _ => {}
    }
    match forward::cross(exchange, body, None).await {
        Err(refused) => refused,
        Ok(forwarded) if kind == Some(ObjectType::Batch) && !matches!(route, Route::BatchResults { .. }) => {
            if matches!(route, Route::BatchDelete { .. }) {
                forget_deleted(&forwarded, route);
            }
            described(forwarded, None).await
        }
        Ok(forwarded) => {
            if matches!(route, Route::FileDelete { .. }) {
                forget_deleted(&forwarded, route);
            }
            relay::relay(forwarded).await
        }
    }
}

/// Makes an object, to the end: a client that leaves must not leave one behind that nobody owns.
async fn create(exchange: Box<Exchange>, body: RequestBody, made: ObjectType) -> Response<Reply> {
    let tercet = Arc::clone(&exchange.tercet);
    let making = tercet.runtime.tasks.spawn(async move {
        match forward::cross(exchange, body, None).await {
            Err(refused) => refused,
            Ok(forwarded) => described(forwarded, Some(made)).await,
        }
    });
    making.await.unwrap_or_else(|_| refuse_unheard(&tercet, Refused::Panicked))
}

/// Answers with an object whose owner or results have to be known: read whole, remembered, spliced.
async fn described(forwarded: Forwarded, made: Option<ObjectType>) -> Response<Reply> {
    let mut forwarded = forwarded;
    let tercet = Arc::clone(&forwarded.exchange.tercet);
    let mut held = forwarded.exchange.holding.take().map(|holding| holding.outcome().0).unwrap_or_default();
    let status = forwarded.response.status();
    if !status.is_success() {
        settle_batch::release(&tercet, held, status.as_u16());
        held = Vec::new();
    }
    let (exchange, mut head, body) = match whole(forwarded).await {
        Ok(answer) => answer,
        Err(refused) => {
            settle_batch::charge_as_held(&tercet, held);
            return refused;
        }
    };
    match (made, objects::object_id(&body)) {
        (Some(kind), Some((_, id))) if head.status.is_success() => {
            claim(&exchange, kind, &id).await;
            tercet.runtime.batches.open(&id, held.into(), tercet.runtime.clock.instant());
        }
        _ => settle_batch::charge_as_held(&tercet, held),
    }
    let body = results_through_us(&exchange, body);
    dress_whole(&exchange, &mut head);
    finish::close(exchange);
    Response::from_parts(head, Reply::whole(body))
}

/// Reads an answer whole; at most [`OBJECT_MAX_BYTES`].
pub(super) async fn whole(forwarded: Forwarded) -> Result<(Box<Exchange>, Parts, Bytes), Response<Reply>> {
    let Forwarded { exchange, response, .. } = forwarded;
    let (head, body) = response.into_parts();
    match Limited::new(body, OBJECT_MAX_BYTES).collect().await {
        Ok(collected) => Ok((exchange, head, collected.to_bytes())),
        Err(_) => {
            let refusal =
                Refusal::bad_gateway("the upstream's answer broke off or was too large to be read whole");
            Err(finish::refuse(exchange, &refusal).await)
        }
    }
}

/// Points the results of a batch at us, or leaves the body as it is.
pub(super) fn results_through_us(exchange: &Exchange, body: Bytes) -> Bytes {
    let config = &exchange.snapshot.config;
    let upstream = config.upstream.base_url.to_string();
    objects::rewrite_results_url(&body, &config.server.public_url, &upstream).map_or(body, Bytes::from)
}

/// Prepares the head of an answer whose body is in memory.
pub(super) fn dress_whole(exchange: &Exchange, head: &mut Parts) {
    head.headers.remove(header::CONTENT_LENGTH);
    reply::dress(exchange, head);
}

/// Remembers that the caller's tenant made an object, in memory and in the journal.
async fn claim(exchange: &Exchange, kind: ObjectType, id: &str) {
    // A batch is written down whoever's credential made it, for what is held for it.
    if !exchange.has_owners() && kind != ObjectType::Batch {
        return;
    }
    let runtime = &exchange.tercet.runtime;
    if exchange.has_owners() {
        runtime.ownership.claim(kind, id, exchange.tenant());
    }
    let record = ObjectRecord {
        timestamp: exchange.timestamp,
        object_type: kind,
        object_id: id.to_owned(),
        tenant: exchange.tenant().to_owned(),
        user_id: Some(exchange.user().to_owned()),
        request_id: exchange.id.clone(),
    };
    // Written before the id is told, so that a crash cannot leave the owner without its object.
    if let Err(failure) = runtime.journal.append(&record.into()).await {
        tracing::error!(request_id = %exchange.id, %failure, "owner of an object not written yet");
    }
}

/// Makes room for another object where the upstream deleted one.
fn forget_deleted(forwarded: &Forwarded, route: Route<'_>) {
    if let Some((kind, id)) = object_of(route)
        && forwarded.response.status().is_success()
    {
        forwarded.exchange.tercet.runtime.ownership.forget(kind, id);
    }
}

const fn object_of(route: Route<'_>) -> Option<(ObjectType, &str)> {
    match route {
        Route::Batch { id }
        | Route::BatchCancel { id }
        | Route::BatchResults { id }
        | Route::BatchDelete { id } => Some((ObjectType::Batch, id)),
        Route::File { id } | Route::FileContent { id } | Route::FileDelete { id } => {
            Some((ObjectType::File, id))
        }
        _ => None,
    }
}

const fn made_by(route: Route<'_>) -> Option<ObjectType> {
    match route {
        Route::BatchCreate => Some(ObjectType::Batch),
        Route::FileCreate => Some(ObjectType::File),
        _ => None,
    }
}

/// Returns the methods a known path takes, for the `allow` header.
pub(super) fn allowed_methods(path: &str) -> &'static str {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    match segments.as_slice() {
        [""] => "HEAD",
        ["v1", "messages"]
        | ["v1", "messages", "count_tokens"]
        | ["v1", "messages", "batches", _, "cancel"] => "POST",
        ["v1", "messages", "batches"] | ["v1", "files"] => "GET, POST",
        ["v1", "messages", "batches", _] | ["v1", "files", _] => "GET, DELETE",
        _ => "GET",
    }
}

/// Returns an answer of our own in JSON.
pub(super) fn json(exchange: &Exchange, status: StatusCode, body: Bytes) -> Response<Reply> {
    let mut response = Response::new(Reply::whole(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    reply::ours(exchange, response.headers_mut());
    response
}

/// Largest description of an object or page of a list that is read whole.
const OBJECT_MAX_BYTES: usize = 32 << 20;
