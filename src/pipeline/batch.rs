//! Batches: held for all their requests when they are made, settled once from their results.
//!
//! What a batch asks for is known when the last byte of its body has passed, and the upstream cannot begin before that
//! byte: there, money and tokens are held at batch price, one reservation for each model, or the body breaks off.
//! A reservation is journaled with the exchange that made the batch, so that a restart holds it again. It is settled
//! from the results, read in the background: when a client asks for the batch or its results, and else by looking,
//! first after a second, then ever less often up to five minutes. What is held and can be known no more (the batch is
//! gone, or a month old) is charged as held.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::{Timestamp, ToSpan};
use tokio::task::JoinHandle;

use super::charge;
use super::estimate::tokenizer;
use super::exchange::Exchange;
use super::runtime::{Snapshot, Tercet};
use super::settle_batch;
use crate::budget::{self, Estimate, PromptSize, estimate_tokens};
use crate::config::{Budget, Quota};
use crate::id::RequestId;
use crate::journal::ReservationRecord;
use crate::store::{self, Accounts, Claim, Reservation};
use crate::tenant::{Identity, LevelOf};
use crate::tier::Tier;
use crate::upstream::BodyProblem;
use crate::usage::{Billed, Terms, Usage};
use crate::wire::batch::{BatchModel, BatchSummary};

/// What is held for one model's requests of a batch.
pub struct Share {
    /// As it stands in the journal.
    pub record: ReservationRecord,
    /// In the counters.
    pub reservation: Reservation,
}

/// What is held for a batch.
#[derive(Default)]
pub struct Held {
    /// What is still to be settled.
    pub shares: Vec<Share>,
    /// All models of the batch, settled or not, in the order in which they were held.
    pub models: Vec<String>,
}

impl From<Vec<Share>> for Held {
    fn from(shares: Vec<Share>) -> Self {
        let models = shares.iter().map(|share| share.record.sent_model.clone()).collect();
        Self { shares, models }
    }
}

/// Batches whose results are not known, by their upstream id; at most `OPEN_MAX`.
#[derive(Default)]
pub struct Batches {
    open: Mutex<HashMap<Arc<str>, Open>>,
    /// Those that are being looked at in the background.
    looking: Mutex<HashSet<Arc<str>>>,
}

struct Open {
    held: Held,
    /// When the last look was, and how long after it the next is due.
    looked: Instant,
    wait: Duration,
}

impl Share {
    /// Holds again what a record says was held, whatever the ceilings are now; `None` where the store is at odds.
    #[must_use]
    pub fn again(record: ReservationRecord, levels: &[LevelOf], accounts: &Accounts) -> Option<Self> {
        let (cost, tokens) = (record.estimate_nanousd, record.estimate_tokens);
        let claim = |level: &LevelOf| {
            let mut demands = Vec::with_capacity(5);
            budget::charges(&Budget::default(), &Quota::default(), cost, tokens, &mut demands);
            Claim { account: level.account(accounts), zone: level.ceilings.budget.zone.clone(), demands }
        };
        let reservation = accounts.reserve(levels.iter().map(claim).collect()).ok()?;
        Some(Self { record, reservation })
    }
}

impl Batches {
    /// Takes up a batch that was made, or that a restart found open.
    pub fn open(&self, id: &str, held: Held, now: Instant) {
        if !held.shares.is_empty() {
            self.lock().insert(Arc::from(id), Open { held, looked: now, wait: FIRST_LOOK });
        }
    }

    /// Returns what open batches of a tenant hold: nano-dollars and tokens.
    pub(super) fn held_by(&self, tenant: &str) -> (u64, u64) {
        let open = self.lock();
        let shares = open.values().flat_map(|one| &one.held.shares);
        let own = shares.map(|share| &share.record).filter(|record| record.tenant == tenant);
        own.fold((0, 0), |(money, tokens), record| {
            let nanousd = u64::try_from(record.estimate_nanousd.0).unwrap_or(0);
            (money.saturating_add(nanousd), tokens.saturating_add(record.estimate_tokens))
        })
    }

    /// Tells whether a batch is still to be settled.
    pub(super) fn holds(&self, id: &str) -> bool {
        self.lock().contains_key(id)
    }

    /// Hands out what is held for a batch; to whoever asks first, and never again.
    pub(super) fn take(&self, id: &str) -> Option<Held> {
        self.lock().remove(id).map(|open| open.held)
    }

    /// Returns the batches that are to be looked at, at most [`LOOKS_MAX`]; their next look is further off.
    pub(super) fn due(&self, now: Instant) -> Vec<Arc<str>> {
        let mut open = self.lock();
        let due = open.iter_mut().filter(|(_, one)| now.saturating_duration_since(one.looked) >= one.wait);
        due.take(LOOKS_MAX)
            .map(|(id, one)| {
                one.looked = now;
                one.wait = (one.wait * 2).min(LOOK_WAIT_MAX);
                Arc::clone(id)
            })
            .collect()
    }

    /// Returns the batches made so long ago that their results are gone.
    pub(super) fn forgotten(&self, now: Timestamp) -> Vec<Arc<str>> {
        let oldest = now.checked_sub((24 * RESULTS_DAYS).hours()).unwrap_or(Timestamp::MIN);
        let made = |open: &Open| open.held.shares.first().map(|share| share.record.timestamp);
        let open = self.lock();
        open.iter()
            .filter(|(_, one)| made(one).is_some_and(|made| made < oldest))
            .map(|(id, _)| Arc::clone(id))
            .collect()
    }

    /// Tells that what is held for batches is not lost: their results may take days.
    pub fn touch(&self) {
        let open = self.lock();
        open.values().flat_map(|one| &one.held.shares).for_each(|share| share.reservation.touch());
    }

    /// Tells whether a look at a batch may begin: one at a time, at most [`LOOKING_MAX`] of all.
    pub(super) fn begin_look(&self, id: &str) -> bool {
        let mut looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        self.holds(id) && looking.len() < LOOKING_MAX && looking.insert(Arc::from(id))
    }

    /// Ends a look.
    pub(super) fn end_look(&self, id: &str) {
        self.looking.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    fn is_full(&self) -> bool {
        self.lock().len() >= OPEN_MAX
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is held for a batch that is being sent, until the upstream has said what became of it.
pub struct Holding {
    tercet: Arc<Tercet>,
    snapshot: Arc<Snapshot>,
    identity: Arc<Identity>,
    request_id: RequestId,
    timestamp: Timestamp,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    shares: Vec<Share>,
    refused: Option<Refused>,
    /// The upstream has answered: what is held from now on is for nothing.
    over: bool,
}

/// Why a batch is not sent.
pub(super) enum Refused {
    /// A ceiling would be passed, or nobody can tell.
    Held(store::Refused),
    /// As many batches are open as are looked after.
    TooMany,
}

impl Holding {
    /// Prepares to hold what the body of `exchange` will have asked for.
    pub(super) fn of(exchange: &Exchange) -> Option<Arc<Self>> {
        let identity = Arc::clone(exchange.identity.as_ref()?);
        Some(Arc::new(Self {
            tercet: Arc::clone(&exchange.tercet),
            snapshot: Arc::clone(&exchange.snapshot),
            identity,
            request_id: exchange.id.clone(),
            timestamp: exchange.timestamp,
            taken: Mutex::default(),
        }))
    }

    /// Begins to hold what a batch asks for.
    pub(super) fn begin(self: Arc<Self>, summary: BatchSummary) -> JoinHandle<Result<(), BodyProblem>> {
        let tasks = self.tercet.runtime.tasks.clone();
        tasks.spawn(self.take(summary))
    }

    /// Holds what a batch asks for, at all levels and for all its models or for none, and writes it down.
    ///
    /// # Errors
    /// The body then ends without its end, so that the upstream takes nothing of it.
    async fn take(self: Arc<Self>, summary: BatchSummary) -> Result<(), BodyProblem> {
        let shares = self.reserve(&summary).await.map_err(|refused| {
            self.lock().refused = Some(refused);
            BodyProblem::from("the batch is held to a budget")
        })?;
        for share in &shares {
            if let Err(failure) = self.tercet.runtime.journal.note(&share.record.clone().into()).await {
                tracing::error!(request_id = %self.request_id, %failure, "reservation of a batch not written");
            }
        }
        if let Some(late) = self.keep(shares) {
            settle_batch::release(&self.tercet, late, 0);
        }
        Ok(())
    }

    /// Returns what was held, and why nothing was.
    pub(super) fn outcome(&self) -> (Vec<Share>, Option<Refused>) {
        let mut taken = self.lock();
        taken.over = true;
        (std::mem::take(&mut taken.shares), taken.refused.take())
    }

    /// Keeps what was held for the answer, or returns it where that came first.
    fn keep(&self, shares: Vec<Share>) -> Option<Vec<Share>> {
        let mut taken = self.lock();
        if taken.over {
            return Some(shares);
        }
        taken.shares = shares;
        None
    }

    async fn reserve(&self, summary: &BatchSummary) -> Result<Vec<Share>, Refused> {
        let runtime = &self.tercet.runtime;
        if runtime.batches.is_full() {
            return Err(Refused::TooMany);
        }
        let mut shares: Vec<Share> = Vec::with_capacity(summary.models.len());
        for asked in &summary.models {
            let estimate = self.estimate(asked);
            let claims = charge::spending_claims(&self.identity.levels, &runtime.accounts, &estimate);
            match runtime.accounts.hold(claims).await {
                Ok(reservation) => shares.push(Share { record: self.record(asked, &estimate), reservation }),
                Err(refused) => {
                    shares.into_iter().for_each(|share| share.reservation.void());
                    return Err(Refused::Held(refused));
                }
            }
        }
        Ok(shares)
    }

    /// Requests of one model are taken for equally long: only their sum is known.
    fn estimate(&self, asked: &BatchModel) -> Estimate {
        let runtime = &self.tercet.runtime;
        let (items, tenant) = (asked.items.max(1), &self.identity.tenant);
        let body_bytes = usize::try_from(asked.params_bytes.div_ceil(items)).unwrap_or(usize::MAX);
        let tokenizer = tokenizer(&self.snapshot.catalog, &asked.model);
        let size = PromptSize { body_bytes, ..PromptSize::default() };
        let prompt = estimate_tokens(&size, tokenizer, None, None, u64::MAX);
        let expected = runtime.forecast.expected(tenant, &asked.model.as_str().into());
        let max_tokens = asked.max_tokens.div_ceil(items);
        let terms = Terms { batch: true, ..Terms::default() };
        let each = Estimate::new(prompt, false, expected, max_tokens, |usage: &Usage| {
            let work = Billed { model: asked.model.clone(), usage: *usage, terms };
            self.snapshot.catalog.price(&work, self.timestamp).cost
        });
        each.times(items)
    }

    fn record(&self, asked: &BatchModel, estimate: &Estimate) -> ReservationRecord {
        let (cost, tokens) = charge::held(&self.identity.levels, estimate);
        ReservationRecord {
            timestamp: self.timestamp,
            request_id: RequestId::generate(),
            tenant: self.identity.tenant.to_string(),
            user_id: Some(self.identity.user.to_string()),
            key_id: self.identity.key_id.as_ref().map(ToString::to_string),
            sent_model: asked.model.clone(),
            tier: self.snapshot.catalog.model(&asked.model).map_or(Tier::Other, |model| model.tier),
            estimate_nanousd: cost,
            estimate_tokens: tokens,
            batch: Some(self.request_id.clone()),
            sample: None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Most batches that are open at once.
pub(super) const OPEN_MAX: usize = 10_000;
/// Most batches looked at in a second.
const LOOKS_MAX: usize = 8;
/// Most looks under way in the background.
const LOOKING_MAX: usize = 64;
const FIRST_LOOK: Duration = Duration::from_secs(1);
const LOOK_WAIT_MAX: Duration = Duration::from_secs(300);
/// The upstream keeps results for 29 days.
const RESULTS_DAYS: i64 = 30;
