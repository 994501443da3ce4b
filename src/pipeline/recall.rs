//! Step recall: the response cache, asked with the decided model; and requests that are made again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response, StatusCode, header};

use super::exchange::Exchange;
use super::keeping::{Keeping, Shelf};
use super::relay::Reply;
use super::{content, escalate, finish, reply, twin};
use crate::cache::{
    Boarding, CacheResult, CachedAnswer, Exact, Flight, Found, Identity, Parts, bypass_reason,
};
use crate::config::{Credential, Scope};
use crate::secret::KeyHash;
use crate::wire::envelope::Envelope;
use crate::wire::error::Refusal;
use crate::wire::headers;

/// How a request is answered.
pub(super) enum Recalled {
    /// With an answer that there is, in the form that is asked for.
    Found(Found<Kept>),
    /// By the upstream; the answer may be kept or shared.
    Send(Option<Box<Keeping>>),
}

/// A kept answer as it is given.
pub(super) struct Kept {
    answer: Arc<CachedAnswer>,
    headers: HeaderMap,
    body: Bytes,
}

/// What `x-tercet-cache` asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Wish {
    off: bool,
    refresh: bool,
    max_age: Option<Duration>,
}

/// Looks for an answer that is there or on its way: of the request this one is a retry of, or of an identical one
/// where the tenant's cache is on and the request can be answered again.
///
/// `alone` asks for an answer of its own, after others it waited for did not come.
pub(super) fn recall(
    exchange: &mut Exchange,
    envelope: &Envelope<'_>,
    body: &Bytes,
    alone: bool,
) -> Result<Recalled, Refusal> {
    exchange.cache = CacheResult::Bypass;
    let wish = Wish::of(exchange)?;
    let withholds = exchange.guarded.as_ref().is_some_and(|guarded| guarded.withholds());
    if exchange.endpoint.is_count() || withholds || escalate::way_up(exchange).is_some() {
        return Ok(Recalled::Send(None));
    }
    let exact = exact(exchange, body);
    if let Some(exact) = exact.as_ref().filter(|_| !alone && is_retry(&exchange.headers)) {
        let now = exchange.tercet.runtime.clock.instant();
        let found = match exchange.tercet.runtime.retries.claim(exact, now) {
            Some(Found::Kept(answer)) => Kept::of(answer, envelope.stream).map(Found::Kept),
            Some(Found::Join(reader)) => Some(Found::Join(reader)),
            None => None,
        };
        if let Some(found) = found {
            exchange.cache = found.result();
            return Ok(Recalled::Found(found));
        }
    }
    let boarded = board(exchange, envelope, body, wish, alone);
    if let Some((_, shelf)) = &boarded {
        twin::set_precedent(exchange, &shelf.identity, body);
    }
    let (flight, shelf) = match boarded {
        Some((Boarding::Found(found), _)) => {
            exchange.cache = found.result();
            return Ok(Recalled::Found(found));
        }
        Some((Boarding::Lead(flight), shelf)) => {
            exchange.cache = CacheResult::Miss;
            (flight, Some(shelf))
        }
        None if exact.is_none() => return Ok(Recalled::Send(None)),
        None => (Flight::new(RETRY_ANSWER_MAX_BYTES), None),
    };
    if let Some(exact) = exact.clone() {
        exchange.tercet.runtime.retries.begin(exact, &flight);
    }
    Ok(Recalled::Send(Some(Box::new(Keeping::new(exchange, flight, shelf, exact)))))
}

/// Asks the cache; `None` where it has nothing to do with the request.
fn board(
    exchange: &Exchange,
    envelope: &Envelope<'_>,
    body: &Bytes,
    wish: Wish,
    alone: bool,
) -> Option<(Boarding<Kept>, Shelf)> {
    let settings = exchange.cache_settings();
    if !settings.enabled || wish.off || bypass_reason(envelope).is_some() {
        return None;
    }
    let identity = identify(exchange, envelope, body, settings.scope)?;
    let now = exchange.tercet.runtime.clock.now();
    let max_age = wish.max_age.unwrap_or(Duration::MAX);
    let accept = |answer: Arc<CachedAnswer>| {
        let fresh = !wish.refresh && answer.age(now) <= max_age;
        if fresh { Kept::of(answer, envelope.stream) } else { None }
    };
    let room = usize::try_from(settings.max_bytes / 8).unwrap_or(usize::MAX);
    let room = room.saturating_sub(identity.weight_bytes()).min(ANSWER_MAX_BYTES);
    let cache = &exchange.snapshot.cache;
    let boarding = cache.board(&identity, room, !alone && !wish.refresh, accept);
    let ttl = settings.ttl.min(max_age);
    Some((
        boarding,
        Shelf { cache: Arc::clone(cache), identity, ttl, oldest: (!wish.refresh).then_some(max_age) },
    ))
}

/// Gathers what makes the request what it is; `None` where nobody can be told apart who may share its answer.
fn identify(exchange: &Exchange, envelope: &Envelope<'_>, body: &Bytes, scope: Scope) -> Option<Identity> {
    let tenant = exchange.tenant().as_bytes();
    let user = exchange.user().as_bytes();
    let upstream = &exchange.snapshot.config.upstream;
    // Thinking is bound to the account that pays for it, so whose credential goes upstream always counts.
    let account = match &upstream.credential {
        Credential::Client => caller(exchange)?,
        Credential::Ours(secret) => KeyHash::of(secret.expose().as_bytes()).0,
    };
    let stranger;
    let shared: &[&[u8]] = if !exchange.has_tenants() {
        // Strangers are told apart by the whole hash of their credential; its first digits are but a name.
        stranger = caller(exchange)?;
        &[b"credential", &stranger]
    } else if scope == Scope::Tenant {
        &[b"tenant", tenant]
    } else {
        &[b"user", tenant, user]
    };
    Some(Identity::of(&Parts {
        scope: shared,
        upstream: &upstream.base_url.to_string(),
        credential: &account,
        model: exchange.sent_model(),
        adaptation: exchange.adaptation(),
        query: exchange.query(),
        headers: &exchange.headers,
        body,
        left_out: &envelope.formalities,
    }))
}

/// Gathers what a retry repeats; `None` where the client does not mark its retries, or nobody can be told apart.
fn exact(exchange: &Exchange, body: &Bytes) -> Option<Exact> {
    let sent = &exchange.headers;
    if !sent.contains_key(IDEMPOTENCY_KEY) && !sent.contains_key(RETRY_COUNT) {
        return None;
    }
    let caller = caller(exchange)?;
    let mut terms: Vec<&[u8]> = Vec::with_capacity(8);
    terms.extend([&caller, exchange.user().as_bytes(), exchange.query().as_bytes()]);
    for name in &REPEATED {
        terms.push(name.as_str().as_bytes());
        terms.extend(sent.get_all(name).iter().map(http::HeaderValue::as_bytes));
    }
    Some(Exact::of(&terms, body))
}

/// Tells whether the client says that it has sent the request before, or names it so that it may.
pub(super) fn is_retry(headers: &HeaderMap) -> bool {
    let count = headers.get(RETRY_COUNT).and_then(|count| count.to_str().ok()?.parse::<u32>().ok());
    count.is_some_and(|count| count > 0) || headers.contains_key(IDEMPOTENCY_KEY)
}

fn caller(exchange: &Exchange) -> Option<[u8; 32]> {
    Some(KeyHash::of(headers::presented_key(&exchange.headers).ok().flatten()?).0)
}

/// Asks the other instances for an answer, where they share theirs; within 50 ms.
pub(super) async fn fetch(exchange: &mut Exchange, keeping: &mut Keeping) -> Option<Kept> {
    let answer = keeping.fetch(exchange).await?;
    let kept = Kept::of(answer, exchange.asked.stream)?;
    exchange.cache = CacheResult::Hit;
    Some(kept)
}

/// Gives a kept answer again; the exchange ends here.
pub(super) async fn replay(mut exchange: Box<Exchange>, kept: Kept) -> Response<Reply> {
    content::hear_whole(&mut exchange, &kept.headers, || Some(kept.body.clone()));
    let age = kept.answer.age(exchange.tercet.runtime.clock.now());
    let mut response = Response::new(Reply::whole(kept.body));
    *response.status_mut() = StatusCode::OK;
    *response.headers_mut() = kept.headers;
    response.headers_mut().insert(header::AGE, age.as_secs().into());
    let (mut head, body) = response.into_parts();
    reply::dress(&exchange, &mut head);
    finish::finish_shared(exchange, Some(&kept.answer.facts), finish::Sharing::Whole).await;
    Response::from_parts(head, body)
}

impl Kept {
    /// Returns an answer in a form, where it has that.
    pub(super) fn of(answer: Arc<CachedAnswer>, streamed: bool) -> Option<Self> {
        let (headers, body) = answer.in_form(streamed)?;
        Some(Self { answer, headers, body })
    }
}

impl Wish {
    fn of(exchange: &Exchange) -> Result<Self, Refusal> {
        let mut wish = Self::default();
        for word in exchange.ours.cache.as_deref().unwrap_or_default().split(',').map(str::trim) {
            match (word, word.strip_prefix("max-age=").map(str::parse)) {
                ("", _) => {}
                ("off", _) => wish.off = true,
                ("refresh", _) => wish.refresh = true,
                (_, Some(Ok(seconds))) => wish.max_age = Some(Duration::from_secs(seconds)),
                _ => {
                    let what = "is none of off, refresh, max-age=SECONDS; several are separated by commas";
                    return Err(Refusal::malformed(format!("x-tercet-cache: {word:?} {what}")));
                }
            }
        }
        Ok(wish)
    }
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const RETRY_COUNT: HeaderName = HeaderName::from_static("x-stainless-retry-count");
/// Headers that a retry repeats, of those that may change an answer.
static REPEATED: [HeaderName; 5] = [
    IDEMPOTENCY_KEY,
    headers::API_VERSION,
    headers::BETA,
    HeaderName::from_static("anthropic-workspace-id"),
    HeaderName::from_static("anthropic-user-profile-id"),
];
/// Largest answer that is kept; with its request also at most an eighth of the cache.
const ANSWER_MAX_BYTES: usize = 16 << 20;
/// Largest answer that is shared with retries alone.
const RETRY_ANSWER_MAX_BYTES: usize = 4 << 20;
