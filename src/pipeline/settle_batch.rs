//! Settling batches: looking whether one has ended, reading its results, and charging each model's share once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use tokio::sync::watch;

use super::batch::{Held, Holding, OPEN_MAX, Refused, Share};
use super::bill::{Bill, Pricing};
use super::exchange::Exchange;
use super::runtime::{Snapshot, Tercet};
use super::{account, charge, warn};
use crate::catalog::Catalog;
use crate::config::Credential;
use crate::journal::{ExchangeRecord, Outcome, UsageSource};
use crate::money::NanoUsd;
use crate::store::Actual;
use crate::telemetry::CostParts;
use crate::upstream::{RequestBody, TimedBody};
use crate::usage::{Billed, Usage};
use crate::wire::batch::ResultReader;
use crate::wire::error::Refusal;
use crate::wire::headers;
use crate::wire::meter::Decoder;

/// Looks after open batches until `ended`.
pub async fn watch_batches(tercet: Arc<Tercet>, mut ended: watch::Receiver<bool>) {
    while tokio::time::timeout(LOOK_EVERY, ended.wait_for(|ended| *ended)).await.is_err() {
        let runtime = &tercet.runtime;
        for id in runtime.batches.forgotten(runtime.clock.now()) {
            charge_as_held(&tercet, runtime.batches.take(&id).unwrap_or_default().shares);
        }
        let Some(reader) = own_reader(&tercet.snapshot.load()) else { continue };
        for id in runtime.batches.due(runtime.clock.instant()) {
            look_behind(&tercet, &id, reader.clone());
        }
    }
}

/// Looks at a batch in the background because its owner did, who may read it.
pub(super) fn look_too(exchange: &Exchange, id: &str) {
    if exchange.tercet.runtime.batches.holds(id) {
        look_behind(&exchange.tercet, id, reader_of(exchange));
    }
}

fn look_behind(tercet: &Arc<Tercet>, id: &str, reader: HeaderMap) {
    if !tercet.runtime.batches.begin_look(id) {
        return;
    }
    let looking = Looking { tercet: Arc::clone(tercet), id: id.to_owned() };
    tercet.runtime.tasks.spawn(async move { look(&looking.tercet, &looking.id, &reader).await });
}

/// A look under way.
struct Looking {
    tercet: Arc<Tercet>,
    id: String,
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.tercet.runtime.batches.end_look(&self.id);
    }
}

/// Settles a batch that is about to be deleted, where it has ended.
pub(super) async fn look_first(exchange: &Exchange, id: &str) {
    look(&exchange.tercet, id, &reader_of(exchange)).await;
}

/// Settles a batch where it has ended and its results can be read; else leaves it for the next look.
async fn look(tercet: &Arc<Tercet>, id: &str, reader: &HeaderMap) {
    let batches = &tercet.runtime.batches;
    if !batches.holds(id) {
        return;
    }
    let snapshot = tercet.snapshot.load_full();
    let path = format!("/v1/messages/batches/{id}");
    let Some(answer) = get(&snapshot, &path, reader).await else { return };
    // With callers' credentials it says only that this caller may not see it.
    let all_seen = matches!(snapshot.config.upstream.credential, Credential::Ours(_));
    if answer.status() == StatusCode::NOT_FOUND && all_seen {
        return charge_as_held(tercet, batches.take(id).unwrap_or_default().shares);
    }
    if !has_ended(answer).await {
        return;
    }
    let Some(results) = get(&snapshot, &format!("{path}/results"), reader).await else { return };
    let Some(read) = read(results).await else { return };
    if let Some(held) = batches.take(id) {
        settle(tercet, &snapshot, id, held, read);
    }
}

/// Charges a batch of which nothing more can be learned at what was held for it.
pub(super) fn charge_as_held(tercet: &Tercet, shares: Vec<Share>) {
    for share in shares {
        let mut record = ExchangeRecord::lost(&share.record);
        record.outcome = Outcome::UpstreamError;
        end(tercet, share, record, CostParts::default(), false);
    }
}

/// Gives back what was held for a batch that was not made, and says so, or a restart would charge it.
pub(super) fn release(tercet: &Tercet, shares: Vec<Share>, status: u16) {
    for share in shares {
        let mut record = ExchangeRecord::lost(&share.record);
        record.set_usage(&Usage::default());
        record.cost_nanousd = NanoUsd::ZERO;
        record.baseline_nanousd = Default::default();
        record.usage_source = UsageSource::Upstream;
        record.status = status;
        let client = (400..500).contains(&status);
        record.outcome = if client { Outcome::ClientError } else { Outcome::UpstreamError };
        end(tercet, share, record, CostParts::default(), false);
    }
}

/// Ends what was held for a batch to which the upstream gave no answer, and says why where it was we who refused.
///
/// Where we gave up waiting it may have been made, and is charged as held: nobody knows its id.
pub(super) fn unmade(exchange: &Exchange, holding: &Holding, waited: bool) -> Option<Refusal> {
    let (shares, refused) = holding.outcome();
    if waited {
        charge_as_held(&exchange.tercet, shares);
    } else {
        release(&exchange.tercet, shares, 0);
    }
    Some(match refused? {
        Refused::Held(refused) => charge::refused(exchange, &refused),
        Refused::TooMany => {
            let message = format!("{OPEN_MAX} batches are open; try again when one has ended");
            Refusal::rate_limited(message, 60)
        }
    })
}

/// What a batch's results say.
struct Results {
    billed: Vec<Billed>,
    /// Lines that could not be read.
    unread: u64,
}

/// Charges each share what its model's requests are billed; never less than was held where some could not be read.
fn settle(tercet: &Tercet, snapshot: &Snapshot, id: &str, held: Held, read: Results) {
    let catalog = &snapshot.catalog;
    let mut places: HashMap<String, &str> = HashMap::new();
    let mut work: HashMap<&str, Vec<Billed>> = HashMap::new();
    for billed in read.billed {
        let place = match places.get(&billed.model) {
            Some(place) => *place,
            None => {
                *places.entry(billed.model.clone()).or_insert(place_of(catalog, &held.models, &billed.model))
            }
        };
        work.entry(place).or_default().push(billed);
    }
    for share in held.shares {
        let model = share.record.sent_model.clone();
        let work = work.remove(&*model).unwrap_or_default();
        let pricing = Pricing {
            catalog,
            opus: &snapshot.config.tiers.opus,
            requested: &model,
            sent: &model,
            at: share.record.timestamp,
            warm_tokens: 0,
        };
        let answered = work.first().map(|work| work.model.clone());
        let bill = Bill::of(work, UsageSource::Upstream).priced(&pricing);
        let mut record = ExchangeRecord::lost(&share.record);
        record.outcome = Outcome::Ok;
        record.status = 200;
        record.answered_model = answered;
        record.message_id = Some(id.to_owned());
        record.price_version = Some(catalog.version().to_owned());
        let known = read.unread == 0 || bill.cost >= record.cost_nanousd;
        if known {
            record.set_usage(&bill.usage);
            record.cost_nanousd = bill.cost;
            record.baseline_nanousd = bill.baselines;
            record.usage_source =
                if read.unread == 0 { UsageSource::Upstream } else { UsageSource::Estimate };
        }
        let parts = if known { bill.parts } else { CostParts::default() };
        end(tercet, share, record, parts, bill.unpriced);
    }
}

/// Returns to which of a batch's models a model's work belongs; what none of them is, is the first's.
fn place_of<'a>(catalog: &Catalog, models: &'a [String], model: &str) -> &'a str {
    let is = |sent: &&String| *sent == model || catalog.model(sent).is_some_and(|known| known.is(model));
    let exact = models.iter().find(is);
    let dated = || models.iter().find(|sent| model.starts_with(&***sent));
    exact.or_else(dated).or(models.first()).map_or("", String::as_str)
}

/// Posts a share with what its record says, and writes the record.
fn end(tercet: &Tercet, share: Share, mut record: ExchangeRecord, parts: CostParts, unpriced: bool) {
    let at = tercet.runtime.clock.now();
    record.settled_at = at;
    record.endpoint = Some("/v1/messages/batches".to_owned());
    share.reservation.post(&Actual::of(&record.usage(), record.cost_nanousd, at));
    let (user, key) = (record.user_id.as_deref().unwrap_or_default(), record.key_id.as_deref());
    warn::look(tercet, &tercet.snapshot.load().directory.levels_of(&record.tenant, user, key));
    account::publish_batch(tercet, record, parts, unpriced);
}

/// Headers for reading with our own credential; `None` where callers bring theirs.
fn own_reader(snapshot: &Snapshot) -> Option<HeaderMap> {
    let Credential::Ours(secret) = &snapshot.config.upstream.credential else { return None };
    let mut reader = HeaderMap::new();
    headers::replace_credential(&mut reader, secret.expose()).ok()?;
    Some(plain(reader))
}

/// Headers for reading what the caller may read: ours, or the caller's credential and nothing else of it, for a
/// range or a condition would make results incomplete.
pub(super) fn reader_of(exchange: &Exchange) -> HeaderMap {
    own_reader(&exchange.snapshot).unwrap_or_else(|| {
        let given = |name: &'static str| {
            Some((header::HeaderName::from_static(name), exchange.headers.get(name)?.clone()))
        };
        plain(CREDENTIALS.into_iter().filter_map(given).collect())
    })
}

fn plain(mut reader: HeaderMap) -> HeaderMap {
    reader.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
    reader.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    reader
}

async fn get(snapshot: &Snapshot, path: &str, reader: &HeaderMap) -> Option<Response<TimedBody>> {
    let mut request = Request::new(RequestBody::empty());
    *request.uri_mut() = path.parse().ok()?;
    *request.headers_mut() = reader.clone();
    snapshot.upstream.send(request).await.ok().map(|answer| answer.response)
}

async fn has_ended(answer: Response<TimedBody>) -> bool {
    #[derive(Deserialize)]
    struct Batch {
        processing_status: String,
    }
    let found = answer.status() == StatusCode::OK;
    let Ok(body) = Limited::new(answer.into_body(), DESCRIPTION_MAX_BYTES).collect().await else {
        return false;
    };
    let batch = serde_json::from_slice::<Batch>(&body.to_bytes());
    found && batch.is_ok_and(|batch| batch.processing_status == "ended")
}

/// Reads results to their end; `None` where they break off.
async fn read(answer: Response<TimedBody>) -> Option<Results> {
    if answer.status() != StatusCode::OK {
        return None;
    }
    let encoding = answer.headers().get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok());
    let mut decoder = Decoder::for_encoding(encoding);
    let mut body = answer.into_body();
    let (mut reader, mut billed, mut beyond) = (ResultReader::default(), Vec::new(), 0);
    let mut add = |work: Vec<Billed>| match billed.len() < WORK_MAX {
        true => billed.extend(work),
        false => beyond += 1,
    };
    while let Some(frame) = body.frame().await {
        if let Some(bytes) = frame.ok()?.data_ref() {
            decoder.decode(bytes, |plain| reader.feed(plain, &mut add));
        }
    }
    let unread = reader.finish(&mut add);
    Some(Results { billed, unread: unread + beyond })
}

/// How often batches that are due are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Most pieces of work read of one batch; a batch has 100,000 requests at most.
const WORK_MAX: usize = 1_000_000;
const DESCRIPTION_MAX_BYTES: usize = 1 << 20;
const CREDENTIALS: [&str; 4] = ["x-api-key", "authorization", "anthropic-workspace-id", "anthropic-beta"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_belongs_to_the_model_it_was_held_for_and_to_the_first_where_none_was() {
        let catalog = Catalog::embedded().unwrap();
        let models = ["claude-haiku-5-5", "claude-opus-5-5"].map(ToOwned::to_owned);
        for (answered, place) in [
            ("claude-opus-5-5", "claude-opus-5-5"),
            ("claude-opus-5-5-20261101", "claude-opus-5-5"),
            ("claude-haiku-5-5", "claude-haiku-5-5"),
            ("claude-sonnet-5-5", "claude-haiku-5-5"),
            ("", "claude-haiku-5-5"),
        ] {
            assert_eq!(place_of(&catalog, &models, answered), place, "{answered}");
        }
    }
}
