//! Step recognise: a request that was sent before, byte for byte and by the same caller under the same configuration,
//! is answered from the cache, or joins, as that one was decided; it is neither read nor decided again.
//!
//! What the first one was decided from is in its record; the records of its twins name the decision alone.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::asked::Asked;
use super::exchange::Exchange;
use super::recall::{Kept, is_retry};
use super::{Ready, account};
use crate::cache::{CachedAnswer, Identity};
use crate::route::RouteDecision;
use crate::telemetry::Mechanism;
use crate::wire::json::Json;
use crate::workload::Belonging;

/// What was made of a request, which holds for its twins too.
#[derive(Clone)]
pub struct Precedent(Arc<Made>);

struct Made {
    asked: Asked,
    workload: Option<Belonging>,
    difficulty: Option<(Mechanism, u16)>,
    decision: Option<Arc<RouteDecision>>,
    /// As it stands in the records of twins, once there is one.
    written: OnceLock<Json>,
}

impl Precedent {
    /// Returns the decision as it stands in the records of twins, of which `exchange` is one.
    pub(super) fn written(&self, exchange: &Exchange, decision: &RouteDecision) -> Json {
        self.0.written.get_or_init(|| account::written(exchange, decision, None)).clone()
    }
}

/// Looks for a kept answer, or one on its way, to a twin of the request; names the request, to be known by its twins.
///
/// Only where the cache is on and nothing but the request decides: no wish of its own, no mark of a retry, no lot.
pub(super) fn recognise(exchange: &mut Exchange, body: &Bytes) -> Option<Ready> {
    if !may_have_twins(exchange) {
        return None;
    }
    let snapshot = Arc::clone(&exchange.snapshot);
    let sent = snapshot.twins.name(head(exchange), body)?;
    let found = snapshot.twins.find(&sent, body);
    exchange.sent_as = Some(Box::new(sent));
    let (identity, precedent) = found?;
    let streamed = precedent.0.asked.stream;
    let accept = |answer: Arc<CachedAnswer>| Kept::of(answer, streamed);
    let found = snapshot.cache.find(&identity, accept)?;
    // It is known already.
    exchange.sent_as = None;
    exchange.cache = found.result();
    exchange.asked.clone_from(&precedent.0.asked);
    exchange.workload = precedent.0.workload;
    exchange.difficulty = precedent.0.difficulty;
    exchange.decision.clone_from(&precedent.0.decision);
    exchange.precedent = Some(precedent);
    Some(Ready::Found(found))
}

/// Makes known what was made of a request, once it was looked for in the cache by its identity.
///
/// Whose files are named may change, so a request that names any is read each time.
pub(super) fn set_precedent(exchange: &mut Exchange, identity: &Identity, body: &Bytes) {
    let Some(sent) = exchange.sent_as.take().filter(|_| !exchange.asked.names_files) else { return };
    let made = Made {
        asked: exchange.asked.clone(),
        workload: exchange.workload,
        difficulty: exchange.difficulty,
        decision: exchange.decision.clone(),
        written: OnceLock::new(),
    };
    exchange.snapshot.twins.remember(*sent, identity, body, Precedent(Arc::new(made)));
}

fn may_have_twins(exchange: &Exchange) -> bool {
    let routing =
        exchange.tenant_config().map_or(&exchange.snapshot.config.routing, |tenant| &tenant.routing);
    exchange.endpoint.is_message()
        && exchange.cache_settings().enabled
        && exchange.ours.cache.is_none()
        && routing.control_permille == 0
        && routing.canary.is_none()
        && !is_retry(&exchange.headers)
}

/// Everything besides the body that a request is decided and kept by: who sent it, and every header, ours too.
fn head(exchange: &Exchange) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    let mut add = |field: &[u8]| {
        head.extend_from_slice(&(field.len() as u64).to_le_bytes());
        head.extend_from_slice(field);
    };
    let key = exchange.identity.as_ref().and_then(|identity| identity.key_id.as_deref());
    for name in [exchange.tenant(), exchange.user(), key.unwrap_or(""), exchange.query()] {
        add(name.as_bytes());
    }
    for asked in [&exchange.ours.tier, &exchange.ours.route] {
        add(asked.as_deref().unwrap_or("").as_bytes());
    }
    for (name, value) in &exchange.headers {
        add(name.as_str().as_bytes());
        add(value.as_bytes());
    }
    head
}

/// Room for the heads of most requests.
const HEAD_BYTES: usize = 1_024;
