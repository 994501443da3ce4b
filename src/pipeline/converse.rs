//! Conversations shared with other instances: what they know is asked for before a request is decided, and what we
//! know is told in the background.
//!
//! Whatever is wrong with the Redis they are shared through, what is known here holds, after [`FETCH_WITHIN`] at
//! most. Where another instance saw a request alike go elsewhere, the conversation is nobody's, as it is here.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tokio::sync::Semaphore;

use super::decide;
use super::exchange::Exchange;
use super::runtime::Runtime;
use crate::route::{Past, Prefixes, SHARED_BYTES_MAX, pack, shared_name, unpack};
use crate::store::{ANSWER_WITHIN, Link};
use crate::wire::envelope::Envelope;

/// Bounds what is told at once.
pub struct Telling(Arc<Semaphore>);

/// Tells whether conversations are shared at all, just now.
pub(super) fn is_shared(runtime: &Runtime) -> bool {
    link(runtime).is_some()
}

/// Takes over what other instances know of the conversation that a request extends.
pub(super) async fn look(exchange: &Exchange, envelope: &Envelope<'_>) {
    let runtime = &exchange.tercet.runtime;
    let Some((link, _)) = link(runtime) else { return };
    let extended = decide::prefixes(exchange, envelope).and_then(|prefixes| prefixes.extended);
    let Some(extended) = extended else { return };
    let name = shared_name(&extended);
    // A part of it, so that a value somebody else wrote is not read whole, whatever its size.
    let call = |mut connection: MultiplexedConnection| async move {
        let mut command = redis::cmd("GETRANGE");
        command.arg(name).arg(0).arg(SHARED_BYTES_MAX + SEAL_BYTES);
        command.query_async::<Vec<u8>>(&mut connection).await
    };
    let Ok(value) = link.ask(FETCH_WITHIN, call).await else { return };
    if let Some(past) = unpack(&extended, &value) {
        runtime.conversations.adopt(extended, past);
    }
}

/// Tells the other instances what is known of a request's conversation; a failure is counted by the link.
pub(super) fn tell(exchange: &Exchange, prefixes: &Prefixes) {
    let runtime = &exchange.tercet.runtime;
    let Some((link, kept_ms)) = link(runtime).map(|(link, kept_ms)| (Arc::clone(link), kept_ms)) else {
        return;
    };
    let (Some(past), Ok(place)) =
        (runtime.conversations.same(prefixes), Arc::clone(&runtime.telling.0).try_acquire_owned())
    else {
        return;
    };
    let (tercet, prefixes) = (Arc::clone(&exchange.tercet), *prefixes);
    runtime.tasks.spawn(async move {
        // Two that are told at once may arrive in either order, and others may have told of a request alike.
        if let Some(before) = put(&link, &prefixes.whole, &past, kept_ms).await {
            let mut merged = past.clone();
            merged.follow(&before);
            if merged != past {
                let conversations = &tercet.runtime.conversations;
                conversations.record(&prefixes, merged);
                if let Some(merged) = conversations.same(&prefixes) {
                    put(&link, &prefixes.whole, &merged, kept_ms).await;
                }
            }
        }
        drop(place);
    });
}

/// Writes what is known of a conversation; returns what was written there before.
async fn put(link: &Arc<Link>, prefix: &[u8; 32], past: &Past, kept_ms: u64) -> Option<Past> {
    let (name, value) = (shared_name(prefix), pack(prefix, past)?);
    let call = |mut connection: MultiplexedConnection| async move {
        let mut command = redis::cmd("SET");
        command.arg(name).arg(value).arg("PX").arg(kept_ms).arg("GET");
        command.query_async::<Option<Vec<u8>>>(&mut connection).await
    };
    let before = link.ask(ANSWER_WITHIN, call).await.ok()??;
    unpack(prefix, &before)
}

/// The Redis that conversations are shared through, and for how long: that of kept answers, which may forget, else that
/// of counters, which must not be filled.
fn link(runtime: &Runtime) -> Option<(&Arc<Link>, u64)> {
    let answers = runtime.answers.as_ref().map(|link| (link, KEPT_MS));
    answers
        .or(runtime.counters.as_ref().map(|link| (link, KEPT_BESIDE_COUNTERS_MS)))
        .filter(|(link, _)| link.is_up())
}

impl Default for Telling {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(TOLD_MAX)))
    }
}

/// How long another instance's knowledge is waited for.
const FETCH_WITHIN: Duration = Duration::from_millis(50);
/// As long as conversations are remembered here, from their last turn.
const KEPT_MS: u64 = 24 * 60 * 60 * 1_000;
const KEPT_BESIDE_COUNTERS_MS: u64 = 60 * 60 * 1_000;
/// Conversations told of at once.
const TOLD_MAX: usize = 64;
/// What stands before the state.
const SEAL_BYTES: usize = 32;
