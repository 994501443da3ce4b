//! Sharing counters with other instances through Redis: who is asked, what is said, and what holds in between.
//!
//! Each instance is the authority on what it has used itself, which its journal proves, and tells it as absolute
//! amounts under an id that lies with that journal. So a call that is repeated, lost or answered late changes
//! nothing, and after a loss of Redis's data every instance tells its part again, once, before anyone is granted
//! more (`epoch.lua`). What an instance holds lapses with its row; what it used and held stays counted until it
//! comes back with its journal. The shares themselves are in `share`, the division of a ceiling in `sync.lua`.
//!
//! One task talks, one batch at a time; requests that lack something wait for it together. Each account is one
//! key, and the keys of a tenant share a hash tag with their epoch, so every call stays within one slot of a cluster.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::timeout_at;

use super::account::{Account, AccountId, Accounts};
use super::cell::{Cell, Claim, Moment, Reach};
use super::link::Link;
use super::reservation::{Exhausted, Reservation};
use super::share::Needs;
use crate::config::{FailurePolicy, OnFailure};

/// What an instance shares its counters through, and under which name.
#[derive(Debug)]
pub struct Sharing {
    pub(super) link: Arc<Link>,
    pub(super) instance: String,
    pub(super) boot: String,
    on_failure: OnFailure,
    pending: Mutex<Pending>,
    pub(super) wake: Notify,
    pub(super) holding: AtomicU64,
    unasked: AtomicU64,
    asked: AtomicU64,
}

#[derive(Debug, Default)]
struct Pending {
    asks: HashMap<AccountId, Ask>,
    changed: Vec<Arc<Account>>,
}

/// What is to be said of one account, and who waits for the answer.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) account: Arc<Account>,
    pub(super) needs: Needs,
    pub(super) waiting: Vec<oneshot::Sender<Answer>>,
}

/// What came of asking; of several the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Answer {
    /// Everything that was needed.
    Granted,
    /// Less: that much there is not.
    Short,
    /// None.
    Failed,
}

/// Why nothing was held.
#[derive(Debug)]
pub enum Refused {
    /// A ceiling was reached.
    Exhausted(Box<Exhausted>),
    /// The other instances could not be asked, and what was asked for is closed without them.
    Unreachable,
}

/// Sharing as its metrics see it.
#[derive(Clone, Copy, Debug, Default)]
pub struct SharingReading {
    /// Accounts of which something is held or set aside.
    pub holding: u64,
    /// Reservations that asked nobody.
    pub unasked: u64,
    /// Reservations that waited for Redis.
    pub asked: u64,
}

impl Sharing {
    /// Returns a way to share through `link`, under an id that lies with the journal of this instance.
    #[must_use]
    pub fn new(link: Arc<Link>, instance: String, on_failure: OnFailure) -> Arc<Self> {
        Arc::new(Self {
            link,
            instance,
            boot: uuid::Uuid::now_v7().simple().to_string(),
            on_failure,
            pending: Mutex::default(),
            wake: Notify::new(),
            holding: AtomicU64::new(0),
            unasked: AtomicU64::new(0),
            asked: AtomicU64::new(0),
        })
    }

    /// Returns what metrics show.
    #[must_use]
    pub fn reading(&self) -> SharingReading {
        SharingReading {
            holding: self.holding.load(Ordering::Relaxed),
            unasked: self.unasked.load(Ordering::Relaxed),
            asked: self.asked.load(Ordering::Relaxed),
        }
    }

    /// Notes that the others are to be told of an account, soon.
    pub(super) fn changed(&self, account: &Arc<Account>) {
        if !account.changed.swap(true, Ordering::AcqRel) {
            self.pending().changed.push(Arc::clone(account));
        }
    }

    /// Takes what requests wait for, then, where it is time for that, what has changed; `most` accounts.
    pub(super) fn next(&self, most: usize, changes_too: bool) -> Vec<Ask> {
        let mut pending = self.pending();
        let ids: Vec<AccountId> = pending.asks.keys().take(most).cloned().collect();
        let mut asks: Vec<Ask> = ids.iter().filter_map(|id| pending.asks.remove(id)).collect();
        if changes_too {
            let from = pending.changed.len().saturating_sub(most.saturating_sub(asks.len()));
            asks.extend(pending.changed.drain(from..).map(Ask::telling));
        }
        asks
    }

    /// Puts back what could not be answered yet.
    pub(super) fn put_back(&self, ask: Ask) {
        if ask.waiting.is_empty() {
            self.changed(&ask.account);
        } else {
            let mut pending = self.pending();
            let place = pending.asks.entry(ask.account.id().clone());
            place.or_insert_with(|| Ask::telling(Arc::clone(&ask.account))).merge(ask.needs, ask.waiting);
        }
    }

    /// Lets everyone who waits go on without an answer.
    pub(super) fn fail_all(&self) {
        let asks: Vec<Ask> = self.pending().asks.drain().map(|(_, ask)| ask).collect();
        asks.into_iter().for_each(|ask| ask.answer(Answer::Failed));
    }

    /// Asks for what the shares lack of these claims.
    async fn ask(&self, claims: &[Claim], now: Moment) -> Answer {
        let mut answers = Vec::new();
        for claim in claims {
            let mut needs = Needs::default();
            if !claim.account.lock().add_needs(&claim.demands, &claim.zone, now, &mut needs) {
                continue;
            }
            let (waiting, answer) = oneshot::channel();
            let mut pending = self.pending();
            let place = pending.asks.entry(claim.account.id().clone());
            place.or_insert_with(|| Ask::telling(Arc::clone(&claim.account))).merge(needs, vec![waiting]);
            answers.push(answer);
        }
        self.wake.notify_one();
        let mut worst = Answer::Granted;
        for answer in answers {
            worst = worst.max(answer.await.unwrap_or(Answer::Failed));
        }
        worst
    }

    /// Tells whether requests with these claims are refused while the others cannot be asked.
    fn closed(&self, claims: &[Claim]) -> bool {
        let limited =
            claims.iter().flat_map(|claim| &claim.demands).filter(|demand| demand.ceiling.is_some());
        limited.map(|demand| demand.cell).any(|cell| {
            let policy = match cell {
                Cell::Window(..) => self.on_failure.budgets,
                Cell::Rate(_) | Cell::Concurrency => self.on_failure.limits,
            };
            policy == FailurePolicy::Closed
        })
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ask {
    pub(super) fn telling(account: Arc<Account>) -> Self {
        Self { account, needs: Needs::default(), waiting: Vec::new() }
    }

    fn merge(&mut self, needs: Needs, waiting: Vec<oneshot::Sender<Answer>>) {
        for (held, need) in self.needs.iter_mut().zip(needs) {
            held.amount = held.amount.saturating_add(need.amount);
            held.single = held.single.max(need.single);
            held.ceiling = need.ceiling.or(held.ceiling);
        }
        self.waiting.extend(waiting);
    }

    /// Tells everyone who still waits.
    pub(super) fn answer(self, answer: Answer) {
        self.waiting.into_iter().for_each(|waiting| {
            waiting.send(answer).ok();
        });
    }
}

impl Accounts {
    /// Takes every demand of every claim, or nothing; together with other instances where counters are shared.
    ///
    /// Waits only where the shares do not suffice, [`DECIDE_WITHIN`] at most.
    ///
    /// # Errors
    /// Returns the ceiling that takes longest to give way; or that the others cannot be asked, where such
    /// requests are refused without them.
    pub async fn hold(&self, claims: Vec<Claim>) -> Result<Reservation, Refused> {
        match &self.ledger.sharing {
            None => self.reserve(claims).map_err(Refused::Exhausted),
            // Boxed: whoever shares nothing does not carry what asking others takes.
            Some(sharing) => Box::pin(self.hold_with(sharing, claims)).await,
        }
    }

    async fn hold_with(&self, sharing: &Sharing, claims: Vec<Claim>) -> Result<Reservation, Refused> {
        let deadline = tokio::time::Instant::now() + DECIDE_WITHIN;
        let mut answer = None;
        for _ in 0..TRIES {
            if !sharing.link.up_soon().await {
                break;
            }
            match self.take(claims.clone(), Reach::Shared) {
                Ok(reservation) => {
                    let counter = if answer.is_some() { &sharing.asked } else { &sharing.unasked };
                    counter.fetch_add(1, Ordering::Relaxed);
                    return Ok(reservation);
                }
                Err(exhausted) if answer == Some(Answer::Short) => return Err(Refused::Exhausted(exhausted)),
                Err(_) => {}
            }
            let Ok(heard) = timeout_at(deadline, sharing.ask(&claims, self.ledger.now())).await else {
                break;
            };
            answer = Some(heard);
        }
        if sharing.closed(&claims) {
            return Err(Refused::Unreachable);
        }
        self.take(claims, Reach::Alone).map_err(Refused::Exhausted)
    }

    /// Tells whether each demand would fit on its own, taking nothing; asks the others only where one would not.
    ///
    /// # Errors
    /// As [`Accounts::hold`].
    pub async fn look_around(&self, claims: &[Claim]) -> Result<(), Refused> {
        match &self.ledger.sharing {
            None => self.look(claims).map_err(Refused::Exhausted),
            Some(sharing) => Box::pin(self.look_with(sharing, claims)).await,
        }
    }

    async fn look_with(&self, sharing: &Sharing, claims: &[Claim]) -> Result<(), Refused> {
        if !sharing.link.up_soon().await && sharing.closed(claims) {
            return Err(Refused::Unreachable);
        }
        let Err(exhausted) = self.look(claims) else { return Ok(()) };
        let deadline = tokio::time::Instant::now() + DECIDE_WITHIN;
        match timeout_at(deadline, sharing.ask(claims, self.ledger.now())).await {
            Ok(Answer::Granted | Answer::Short) => self.look(claims).map_err(Refused::Exhausted),
            _ if sharing.closed(claims) => Err(Refused::Unreachable),
            _ => Err(Refused::Exhausted(exhausted)),
        }
    }
}

/// How long a request waits for what its instance lacks; then the policy for failures decides.
pub const DECIDE_WITHIN: Duration = Duration::from_millis(1_200);

/// How often a request tries again that others were quicker than.
const TRIES: usize = 5;
