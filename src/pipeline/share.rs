//! Kept answers shared with other instances: asked for after a miss here, told of in the background.
//!
//! Whatever is wrong with the Redis they are shared through, it is a miss, after [`FETCH_WITHIN`] at most.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;

use super::exchange::Exchange;
use super::keeping::Shelf;
use crate::cache::{
    CachedAnswer, Fetched, SHARED_HEAD_MAX_BYTES, SHARED_MAX_BYTES, pack, shared_name, unpack,
};
use crate::store::ANSWER_WITHIN;
use crate::telemetry::CacheResult;

/// Returns the answer that another instance keeps for the request, young enough.
pub(super) async fn fetch(exchange: &Exchange, shelf: &Shelf) -> Option<Fetched> {
    let (runtime, oldest) = (&exchange.tercet.runtime, shelf.oldest?);
    let link = runtime.answers.as_ref().filter(|link| link.is_up())?;
    let name = shared_name(&shelf.identity);
    // A part of it, so that a value somebody else wrote is not read whole, whatever its size.
    let call = |mut connection: MultiplexedConnection| async move {
        let mut command = redis::cmd("GETRANGE");
        command.arg(name).arg(0).arg(SHARED_MAX_BYTES + SHARED_HEAD_MAX_BYTES);
        command.query_async::<Vec<u8>>(&mut connection).await
    };
    let value = link.ask(FETCH_WITHIN, call).await.ok().filter(|value| !value.is_empty())?;
    let now = runtime.clock.now();
    let Some(fetched) = unpack(&shelf.identity, &value, now) else {
        runtime.metrics.record_cache(exchange.tenant(), CacheResult::Error);
        return None;
    };
    (fetched.answer.age(now) <= oldest).then_some(fetched)
}

/// Tells the other instances of an answer; a failure is counted by the link.
pub(super) fn share(exchange: &Exchange, shelf: &Shelf, answer: Arc<CachedAnswer>) {
    let runtime = &exchange.tercet.runtime;
    let Some(link) = runtime.answers.clone().filter(|link| link.is_up()) else { return };
    let Ok(place) = shelf.cache.place_to_share() else { return };
    let (identity, ttl) = (shelf.identity.clone(), shelf.ttl);
    runtime.tasks.spawn(async move {
        let name = shared_name(&identity);
        let packing = tokio::task::spawn_blocking(move || pack(&identity, &answer, ttl));
        if let Ok(Some(value)) = packing.await {
            let kept_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX >> 1).max(1);
            let call = |mut connection: MultiplexedConnection| async move {
                let mut command = redis::cmd("SET");
                command.arg(name).arg(value).arg("PX").arg(kept_ms);
                command.query_async::<()>(&mut connection).await
            };
            let _ = link.ask(ANSWER_WITHIN, call).await;
        }
        drop(place);
    });
}

/// How long another instance's answer is waited for.
const FETCH_WITHIN: Duration = Duration::from_millis(50);
