//! The shadow sample: which requests are asked again elsewhere, and what is kept of them until they are answered.
//!
//! A request is drawn by lot when it is sent, and only where answering does nothing but answer. Where routing sent it
//! to a cheaper model it will be asked again at the one asked for; where it did not, at a cheaper one that could have
//! answered it, which is how a workload of which nothing is known is learned at no risk to its client. Its client
//! sees and waits for nothing of this: the copy of the answer is made as it passes, and `sampled` does the rest in
//! a task of its own. Too many at once, and the request is not asked again.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::bill::Bill;
use super::exchange::Exchange;
use super::runtime::Tercet;
use super::sampled::{self, Case};
use super::{estimate, forward, settle_batch};
use crate::budget::Estimate;
use crate::config::{self, Mode};
use crate::route::{Ask, Choice, RouteDecision};
use crate::telemetry::SampleResult;
use crate::tier::Tier;
use crate::upstream::{Pieces, RequestBody};
use crate::wire::envelope::Envelope;
use crate::wire::splice::Splice;
use crate::wire::transcript::Transcript;

/// Bounds what is asked again at once.
pub struct Samples {
    drawn: AtomicUsize,
    turns: Semaphore,
}

/// A request drawn for the sample, while its answer is on the way.
pub struct Sampling {
    pub(super) body: Bytes,
    model_span: Range<usize>,
    pub(super) twin: Twin,
    /// What asking again may come to.
    pub(super) estimate: Estimate,
    heard: Vec<u8>,
    streamed: bool,
    is_whole: bool,
    /// Held until it is compared.
    _place: Place,
}

/// Where a request is asked again, and which two tiers that compares.
pub(super) struct Twin {
    pub(super) choice: Choice,
    /// Whether routing decided on the cheaper of the two models.
    pub(super) routed: bool,
    pub(super) cheaper: Tier,
    /// The tier asked for.
    pub(super) asked: Tier,
}

/// One of the places of those drawn; given back when dropped.
struct Place(Arc<Tercet>);

/// Draws a request that is about to be sent; `None` for nearly all.
pub(super) fn draw(exchange: &Exchange, envelope: &Envelope<'_>, body: &Bytes) -> Option<Box<Sampling>> {
    let settings = &exchange.routing().shadow_sample;
    if settings.share_permille == 0 || !exchange.endpoint.is_message() {
        return None;
    }
    if !config::is_drawn(&format!("sample {}", exchange.id), settings.share_permille) {
        return None;
    }
    if !Ask::of(envelope).only_answers() {
        return None;
    }
    let twin = twin(exchange, envelope)?;
    let count = |result| exchange.tercet.runtime.metrics.record_sample(exchange.tenant(), result);
    if body.len() > BODY_MAX_BYTES {
        count(SampleResult::TooLarge);
        return None;
    }
    let Some(place) = Place::take(&exchange.tercet).filter(|_| !is_tight(exchange, &twin.choice.model))
    else {
        count(SampleResult::Busy);
        return None;
    };
    Some(Box::new(Sampling {
        body: body.clone(),
        model_span: envelope.model_span.clone(),
        estimate: estimate::estimate(exchange, envelope, &twin.choice.model),
        twin,
        heard: Vec::new(),
        streamed: false,
        is_whole: true,
        _place: place,
    }))
}

/// Finds where a request is asked again.
///
/// Whoever steered a request by header or by the name of a tier wants it there, which is no decision to be measured.
fn twin(exchange: &Exchange, envelope: &Envelope<'_>) -> Option<Twin> {
    let decision = exchange.decision.as_ref()?;
    let steered = exchange.ours.tier.is_some() || exchange.ours.route.is_some();
    if exchange.mode() == Mode::Off || steered || decision.conversation == Some("thread") {
        return None;
    }
    let catalog = &exchange.snapshot.catalog;
    let reference = decision.candidates.iter().find(|candidate| candidate.model == decision.reference)?;
    let sent = &decision.sent;
    if reference.tier == Tier::Other || sent.tier > reference.tier {
        return None;
    }
    if sent.model == decision.reference {
        let (choice, routed) = match decision.would_be.as_ref().filter(|choice| choice.tier < reference.tier)
        {
            Some(decided) => (decided.clone(), true),
            None => (untried(decision, reference.tier, exchange.id.as_str())?, false),
        };
        return Some(Twin { cheaper: choice.tier, asked: reference.tier, choice, routed });
    }
    // The model asked for must be able to read what the cheaper one thought.
    if sent.tier == reference.tier
        || envelope.history.has_thinking && !catalog.reads(&decision.reference, &sent.model)
    {
        return None;
    }
    let adaptations = reference.adaptations.clone();
    let choice = Choice { tier: reference.tier, model: reference.model.clone(), adaptations };
    Some(Twin { choice, routed: true, cheaper: sent.tier, asked: reference.tier })
}

/// One of the cheaper models that could have answered, by lot.
fn untried(decision: &RouteDecision, below: Tier, lot: &str) -> Option<Choice> {
    let cheaper = decision.candidates.iter().filter(|candidate| candidate.feasible && candidate.tier < below);
    let mut cheaper: Vec<_> = cheaper.collect();
    if cheaper.len() > 1 && config::is_drawn(&format!("twin {lot}"), 500) {
        cheaper.remove(0);
    }
    let chosen = cheaper.first()?;
    let adaptations = chosen.adaptations.clone();
    Some(Choice { tier: chosen.tier, model: chosen.model.clone(), adaptations })
}

/// A sample must not take what is left of the upstream's limits from clients.
fn is_tight(exchange: &Exchange, model: &str) -> bool {
    let tight = exchange.tercet.runtime.headroom.tight(exchange.timestamp);
    exchange.snapshot.catalog.model(model).is_some_and(|model| tight.iter().any(|pool| **pool == *model.pool))
}

/// Has a request asked again whose answer came whole.
pub(super) fn begin(exchange: &mut Exchange, bill: &Bill) {
    let Some(sampling) = exchange.sampling.take() else { return };
    if exchange.via.is_some() {
        // It went up with a fallback's credential, which is for no other host; samples go to the configured upstream.
        return;
    }
    if exchange.decision.as_ref().is_none_or(|decision| decision.escalated_from.is_some()) {
        // It was asked at the model above already, and what it came to is known.
        return;
    }
    if !sampling.is_whole {
        let metrics = &exchange.tercet.runtime.metrics;
        return metrics.record_sample(exchange.tenant(), SampleResult::TooLarge);
    }
    let (Some(belonging), Ok(headers)) = (exchange.workload, forward::outgoing(exchange)) else { return };
    let case = Case {
        tercet: Arc::clone(&exchange.tercet),
        snapshot: Arc::clone(&exchange.snapshot),
        of: exchange.id.clone(),
        tenant: exchange.tenant().into(),
        headers,
        judge_headers: settle_batch::reader_of(exchange),
        uri: exchange.uri.clone(),
        terms: exchange.asked.terms,
        belonging,
        judge: exchange.routing().shadow_sample.judge.clone(),
        cost: bill.cost,
        baseline: bill.baselines.requested,
        sampling: *sampling,
    };
    exchange.tercet.runtime.tasks.spawn(sampled::run(case));
}

impl Sampling {
    /// Notes whether the answer comes as events.
    pub(super) fn of_stream(mut self: Box<Self>, streamed: bool) -> Box<Self> {
        self.streamed = streamed;
        self
    }

    /// Keeps a copy of what passes, up to [`HEARD_MAX_BYTES`].
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        if self.heard.len() + bytes.len() > HEARD_MAX_BYTES {
            (self.heard, self.is_whole) = (Vec::new(), false);
        }
        if self.is_whole {
            self.heard.extend_from_slice(bytes);
        }
    }

    /// Returns the answer that the client got.
    pub(super) fn said(&self) -> Option<Transcript> {
        read(&self.heard, self.streamed)
    }

    /// Returns the request as the other model gets it: the client's, but for the model's name.
    pub(super) fn request(&self) -> RequestBody {
        let splice = Splice {
            model_span: self.model_span.clone(),
            model: self.twin.choice.model.clone(),
            insert: self.twin.choice.insertion().map(ToOwned::to_owned),
        };
        Pieces::new(splice.apply(&self.body)).into()
    }
}

/// Reads a whole answer; `None` where it is none.
pub(super) fn read(bytes: &[u8], streamed: bool) -> Option<Transcript> {
    if streamed { Transcript::of_events(bytes) } else { Transcript::of_message(bytes) }
}

impl Samples {
    /// Waits until one more may be asked.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turns.acquire().await.ok()
    }
}

impl Default for Samples {
    fn default() -> Self {
        Self { drawn: AtomicUsize::new(0), turns: Semaphore::new(ASKED_MAX) }
    }
}

impl Place {
    fn take(tercet: &Arc<Tercet>) -> Option<Self> {
        let taken = tercet.runtime.samples.drawn.fetch_add(1, Ordering::Relaxed);
        let place = Self(Arc::clone(tercet));
        (taken < DRAWN_MAX).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.runtime.samples.drawn.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Requests drawn and not yet compared; those of them that are being asked again.
const DRAWN_MAX: usize = 64;
const ASKED_MAX: usize = 8;
/// Largest request that is asked again, and largest answer that is compared.
const BODY_MAX_BYTES: usize = 1 << 20;
pub(super) const HEARD_MAX_BYTES: usize = 256 << 10;
