//! Everything known about one request and its reply, in one place.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Uri};
use jiff::Timestamp;

use super::asked::{self, Asked};
use super::batch::Holding;
use super::content::Copying;
use super::decide::Course;
use super::escalate::Spoiled;
use super::finish;
use super::guarding::Guarded;
use super::prompt::Prompt;
use super::runtime::{InFlight, Snapshot, Tercet};
use super::sample::Sampling;
use super::twin::Precedent;
use crate::budget::Estimate;
use crate::cache::{CacheResult, Sent};
use crate::config::{self, Credential, Mode};
use crate::id::RequestId;
use crate::limit::{Full, Stay};
use crate::route::RouteDecision;
use crate::store::Reservation;
use crate::telemetry::{self, Mechanism, Phase};
use crate::tenant::Identity;
use crate::tier::Tier;
use crate::upstream::{Pieces, RequestBody, Upstream};
use crate::wire::envelope::Envelope;
use crate::wire::headers::{self, Ours};
use crate::wire::json::Json;
use crate::wire::splice::Splice;
use crate::workload::Belonging;

/// What a request is for, where it goes through the whole pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `POST /v1/messages`
    Messages,
    /// `POST /v1/messages/count_tokens`
    CountTokens,
    /// Anything else; recorded only where it is metered.
    Other,
}

/// One request and its reply.
pub struct Exchange {
    /// The gateway.
    pub tercet: Arc<Tercet>,
    /// The configuration this request is served under, from its first step to its last.
    pub snapshot: Arc<Snapshot>,
    /// Our id.
    pub id: RequestId,
    /// When it came, wall time.
    pub timestamp: Timestamp,
    /// When it came, monotonic.
    pub begun: Instant,
    /// What it is for.
    pub endpoint: Endpoint,
    /// Its method.
    pub method: Method,
    /// Where it was addressed.
    pub uri: Uri,
    /// Its headers, without ours.
    pub headers: HeaderMap,
    /// Our own request headers.
    pub ours: Ours,
    /// Who sent it, once known.
    pub identity: Option<Arc<Identity>>,
    /// What was read of its body.
    pub asked: Asked,
    /// The workload it belongs to, once classified.
    pub workload: Option<Belonging>,
    /// How difficult it is, 0 to 1,000, and what said so, once classified.
    pub difficulty: Option<(Mechanism, u16)>,
    /// What was made of its twin, where it is answered as that was.
    pub precedent: Option<Precedent>,
    /// Where it goes, once decided.
    pub decision: Option<Arc<RouteDecision>>,
    /// What it was sent as, where its twins may be told its answer.
    pub sent_as: Option<Box<Sent>>,
    /// What that was decided from, for the journal.
    pub basis: Option<Json>,
    /// Its place in its conversation, until its answer is known.
    pub course: Option<Box<Course>>,
    /// What of its prompt the upstream's prompt cache may hold, once it is sent.
    pub prompt: Option<Prompt>,
    /// What the cache did.
    pub cache: CacheResult,
    /// What is held for it.
    pub reservation: Option<Reservation>,
    /// What is held for the batch it makes.
    pub holding: Option<Arc<Holding>>,
    /// An attempt that failed unseen, to be settled with the one that is seen.
    pub spoiled: Option<Box<Spoiled>>,
    /// What is to be asked again elsewhere once it is answered.
    pub sampling: Option<Box<Sampling>>,
    /// What it says, where its tenant has that kept.
    pub content: Option<Box<Copying>>,
    /// What guards have to do with it, where there are any.
    pub guarded: Option<Box<Guarded>>,
    /// What it may come to, where that was reckoned.
    pub estimate: Option<Estimate>,
    /// Tries at the upstream.
    pub attempts: u32,
    /// The fallback it went to; `None` for the configured upstream.
    pub via: Option<usize>,
    /// The upstream's id of the request.
    pub upstream_request_id: Option<String>,
    /// When the first content of the answer passed.
    pub first_content: Option<Instant>,
    /// Our own time by part.
    pub phases: Vec<(Phase, Duration)>,
    /// When it was settled.
    pub settled_at: Timestamp,
    /// Another path, used with our credential.
    pub metered_path: bool,
    /// Its place among what may be in flight, once it was let in.
    pub stay: Option<Stay>,
    /// Counts it among the tenant's requests in flight.
    pub gauge: Option<telemetry::InFlight>,
    sent_at: Option<Instant>,
    _in_flight: InFlight,
}

impl Exchange {
    /// Begins an exchange: pins the snapshot, takes our headers off, notes the time.
    #[must_use]
    pub fn begin(tercet: &Arc<Tercet>, endpoint: Endpoint, head: Parts) -> Box<Self> {
        let mut headers = head.headers;
        let ours = headers::take_ours(&mut headers);
        Box::new(Self {
            snapshot: tercet.snapshot.load_full(),
            id: RequestId::generate(),
            timestamp: tercet.runtime.clock.now(),
            begun: tercet.runtime.clock.instant(),
            endpoint,
            method: head.method,
            uri: head.uri,
            headers,
            ours,
            identity: None,
            asked: Asked::default(),
            workload: None,
            difficulty: None,
            precedent: None,
            decision: None,
            sent_as: None,
            basis: None,
            course: None,
            prompt: None,
            cache: CacheResult::Bypass,
            reservation: None,
            holding: None,
            spoiled: None,
            sampling: None,
            content: None,
            guarded: None,
            estimate: None,
            attempts: 0,
            via: None,
            upstream_request_id: None,
            first_content: None,
            phases: Vec::new(),
            settled_at: tercet.runtime.clock.now(),
            metered_path: false,
            stay: None,
            gauge: None,
            sent_at: None,
            _in_flight: InFlight::enter(tercet),
            tercet: Arc::clone(tercet),
        })
    }

    /// Keeps what later steps need of the body.
    pub fn observe(&mut self, envelope: &Envelope<'_>) {
        self.asked = Asked::of(envelope);
        let has_fallbacks = !self.snapshot.fallbacks.is_empty();
        // Looked for only where it is asked for: it is one more search of the body.
        self.asked.names_files = (self.has_owners() || has_fallbacks) && asked::names_files(envelope);
        self.asked.bound = has_fallbacks && (self.asked.names_files || asked::is_bound(envelope));
    }

    /// Lets go of what sending alone needs, where nothing is sent any more. What a record tells of is copied: any part of a
    /// request that is kept keeps all that its connection read with it.
    pub fn keep_recorded(&mut self) {
        self.headers = headers::copied(&self.headers, &headers::RECORDED);
        if let Ok(path) = Uri::try_from(self.uri.path()) {
            self.uri = path;
        }
    }

    /// Takes room, among what all that is in flight may take in memory, for bytes of the answer that are held back.
    ///
    /// # Errors
    /// Where there is none for them; they must be held no longer then.
    pub fn hold_back(&mut self, bytes: usize) -> Result<(), Full> {
        let bound = self.snapshot.config.server.max_in_flight_bytes;
        self.stay.as_mut().map_or(Ok(()), |stay| stay.hold(bytes as u64, bound))
    }

    /// Notes that the request is about to go upstream.
    pub fn sent(&mut self) {
        let now = self.tercet.runtime.clock.instant();
        self.sent_at.get_or_insert(now);
    }

    /// Tells whether the request may have reached the upstream.
    #[must_use]
    pub const fn was_sent(&self) -> bool {
        self.sent_at.is_some()
    }

    /// Notes how long a part of our own work took since `begun`.
    pub fn spent_in(&mut self, phase: Phase, begun: Instant) {
        self.phases.push((phase, self.tercet.runtime.clock.instant().duration_since(begun)));
    }

    /// Returns our own time: from the request's head to its sending, or to now where it was not sent.
    #[must_use]
    pub fn overhead(&self) -> Duration {
        let until = self.sent_at.unwrap_or_else(|| self.tercet.runtime.clock.instant());
        until.duration_since(self.begun)
    }

    /// Returns the tenant's name.
    #[must_use]
    pub fn tenant(&self) -> &str {
        self.identity.as_ref().map_or("", |identity| &identity.tenant)
    }

    /// Returns the user's name.
    #[must_use]
    pub fn user(&self) -> &str {
        self.identity.as_ref().map_or("", |identity| &identity.user)
    }

    /// Tells whether callers are identified at all.
    #[must_use]
    pub fn has_tenants(&self) -> bool {
        !self.snapshot.config.tenants.is_empty()
    }

    /// Tells whether upstream objects belong to tenants: the upstream sees one account, ours.
    #[must_use]
    pub fn has_owners(&self) -> bool {
        self.has_tenants() && !matches!(self.snapshot.config.upstream.credential, Credential::Client)
    }

    /// Returns the tenant's configuration, where there are tenants.
    #[must_use]
    pub fn tenant_config(&self) -> Option<&config::Tenant> {
        self.snapshot.config.tenants.get(self.tenant())
    }

    /// Returns the routing in force for the tenant, or for the share of its traffic that this request is drawn into.
    #[must_use]
    pub fn routing(&self) -> &config::Routing {
        self.tenant_config()
            .map_or(&self.snapshot.config.routing, |tenant| &tenant.routing)
            .drawn(|| self.lot())
    }

    /// Returns what decides the request's lot where a share of the traffic is drawn: its session, or itself.
    #[must_use]
    pub fn lot(&self) -> &str {
        headers::session_id(&self.headers).unwrap_or_else(|| self.id.as_str())
    }

    /// Returns the cache settings in force for the tenant.
    #[must_use]
    pub fn cache_settings(&self) -> &config::Cache {
        self.tenant_config().map_or(&self.snapshot.config.cache, |tenant| &tenant.cache)
    }

    /// Returns the model the request goes to.
    #[must_use]
    pub fn sent_model(&self) -> &str {
        self.decision.as_ref().map_or(&self.asked.model, |decision| decision.model())
    }

    /// Returns the tier the request goes to.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.decision.as_ref().map_or(Tier::Other, |decision| decision.tier())
    }

    /// Returns the text that adaptations add to the body.
    #[must_use]
    pub fn adaptation(&self) -> &str {
        self.decision.as_ref().and_then(|decision| decision.insertion()).unwrap_or("")
    }

    /// Tells whether the exchange gets a record: a message, or another path used with our credential.
    #[must_use]
    pub const fn is_recorded(&self) -> bool {
        self.endpoint.is_message() || self.metered_path
    }

    /// Returns the query string, empty for none.
    #[must_use]
    pub fn query(&self) -> &str {
        self.uri.query().unwrap_or("")
    }

    /// Returns the routing mode in force.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.routing().mode
    }

    /// Returns the upstream the request goes to.
    #[must_use]
    pub fn upstream(&self) -> &Arc<Upstream> {
        self.fallback().map_or(&self.snapshot.upstream, |(_, upstream)| upstream)
    }

    /// Returns whose credential goes there.
    #[must_use]
    pub fn credential(&self) -> &Credential {
        self.fallback()
            .map_or(&self.snapshot.config.upstream.credential, |(fallback, _)| &fallback.credential)
    }

    /// Returns the name of the fallback the request went to.
    #[must_use]
    pub fn via_name(&self) -> Option<&str> {
        self.fallback().map(|(fallback, _)| fallback.name.as_str())
    }

    fn fallback(&self) -> Option<&(config::Fallback, Arc<Upstream>)> {
        self.via.and_then(|via| self.snapshot.fallbacks.get(via))
    }

    /// Returns the body with the decided model in it; byte for byte the client's where nothing changes.
    #[must_use]
    pub fn splice(&self, envelope: &Envelope<'_>, body: &Bytes) -> RequestBody {
        let adapted = self.adaptation();
        if adapted.is_empty() && self.sent_model() == envelope.model {
            return body.clone().into();
        }
        let splice = Splice {
            model_span: envelope.model_span.clone(),
            model: self.sent_model().to_owned(),
            insert: (!adapted.is_empty()).then(|| adapted.to_owned()),
        };
        Pieces::new(splice.apply(body)).into()
    }

    /// Returns the model that would answer without routing: the asked one, or what an alias stands for.
    #[must_use]
    pub fn requested_model(&self) -> &str {
        self.decision.as_ref().map_or(&self.asked.model, |decision| &decision.reference)
    }

    /// Returns the client's tags, at most 16 of 64 characters.
    #[must_use]
    pub fn tags(&self) -> Vec<String> {
        let tags = self.ours.tags.as_deref().unwrap_or("").split(',').map(str::trim);
        tags.filter(|tag| !tag.is_empty())
            .take(TAGS_MAX)
            .map(|tag| tag.chars().take(TAG_CHARACTERS_MAX).collect())
            .collect()
    }
}

/// An exchange that is dropped while something is held for it has not been finished: its client left before
/// anything was sent. What is held is given back, and said so in the journal, or a restart would take the
/// reservation for a request that a crash cut short.
impl Drop for Exchange {
    fn drop(&mut self) {
        if self.reservation.is_some() || self.spoiled.is_some() {
            finish::abandon(self);
        }
    }
}

impl Endpoint {
    /// Tells whether this is count_tokens, which is free and never blocked by a budget.
    #[must_use]
    pub const fn is_count(self) -> bool {
        matches!(self, Self::CountTokens)
    }

    /// Tells whether it is a message, which costs money.
    #[must_use]
    pub const fn is_message(self) -> bool {
        matches!(self, Self::Messages)
    }
}

const TAGS_MAX: usize = 16;
const TAG_CHARACTERS_MAX: usize = 64;
