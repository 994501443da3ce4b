//! Accounts by level and name, and how many there may be.
//!
//! Accounts outlive a reload of the configuration. Those that a configuration names are always kept apart;
//! users that only requests name get accounts of their own up to a bound, and share one per tenant after it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use dashmap::{DashMap, Entry};
use foldhash::quality::RandomState;

use super::cell::{Cells, Claim, Moment};
use super::lease::Leases;
use super::locks::{Mutex, MutexGuard, PoisonError};
use super::sharing::Sharing;
use crate::clock::Clock;

/// Where in the organisation an account counts; the order is the order in which levels are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The whole gateway.
    Organisation,
    /// A tenant.
    Tenant,
    /// A user of a tenant.
    User,
    /// A key of a tenant.
    Key,
    /// What a tenant's shadow sample may cost.
    Sample,
}

impl Level {
    /// Returns the name used in metrics, headers and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Organisation => "gateway",
            Self::Tenant => "tenant",
            Self::User => "user",
            Self::Key => "key",
            Self::Sample => "sample",
        }
    }
}

/// Names one account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId {
    /// Its level.
    pub level: Level,
    /// The tenant it belongs to; empty for the organisation.
    pub tenant: Arc<str>,
    /// Its name within the tenant; the tenant's own name for a tenant, empty for the organisation.
    pub name: Arc<str>,
}

/// The counters of one organisation, tenant, user or key.
#[derive(Debug)]
pub struct Account {
    id: AccountId,
    cells: Mutex<Cells>,
    /// Whether the other instances are to be told of a change already.
    pub(super) changed: AtomicBool,
}

/// What is held and not yet settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Requests in flight.
    pub requests: u64,
    /// Nano-dollars.
    pub nanousd: u64,
    /// Tokens.
    pub tokens: u64,
}

/// All accounts: those configured, and at most [`Accounts::DYNAMIC_MAX`] that requests brought.
#[derive(Debug)]
pub struct Accounts {
    by_id: DashMap<AccountId, Arc<Account>, RandomState>,
    dynamic: AtomicUsize,
    pub(super) ledger: Arc<Ledger>,
}

/// What reservations need of the store when they end.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) clock: Clock,
    pub(super) leaked: AtomicU64,
    pub(super) leases: Leases,
    /// How the counters are shared with other instances, where they are.
    pub(super) sharing: Option<Arc<Sharing>>,
}

impl AccountId {
    /// Names the organisation's account.
    #[must_use]
    pub fn organisation() -> Self {
        Self { level: Level::Organisation, tenant: Arc::from(""), name: Arc::from("") }
    }

    /// Names a tenant's account.
    #[must_use]
    pub fn tenant(tenant: Arc<str>) -> Self {
        Self { level: Level::Tenant, name: Arc::clone(&tenant), tenant }
    }

    /// Names a user's account.
    #[must_use]
    pub const fn user(tenant: Arc<str>, user: Arc<str>) -> Self {
        Self { level: Level::User, tenant, name: user }
    }

    /// Names the account of a tenant's shadow sample.
    #[must_use]
    pub fn sample(tenant: Arc<str>) -> Self {
        Self { level: Level::Sample, name: Arc::clone(&tenant), tenant }
    }

    /// Names a key's account.
    #[must_use]
    pub const fn key(tenant: Arc<str>, key_id: Arc<str>) -> Self {
        Self { level: Level::Key, tenant, name: key_id }
    }
}

/// As in messages: ``tenant `acme` ``.
impl fmt::Display for AccountId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.level {
            Level::Organisation => formatter.write_str("the organisation"),
            Level::Tenant => write!(formatter, "tenant `{}`", self.name),
            Level::User => write!(formatter, "user `{}`", self.name),
            Level::Key => write!(formatter, "key `{}`", self.name),
            Level::Sample => write!(formatter, "the shadow sample of `{}`", self.name),
        }
    }
}

impl Account {
    /// Returns the account's name.
    #[must_use]
    pub const fn id(&self) -> &AccountId {
        &self.id
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Cells> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Accounts {
    /// Most accounts of users that no configuration names; later ones share `_other` of their tenant.
    pub const DYNAMIC_MAX: usize = 100_000;

    /// Returns a store without accounts, of this instance alone.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self::shared(clock, None)
    }

    /// Returns a store without accounts, shared with other instances while [`Accounts::share`] runs.
    #[must_use]
    pub fn shared(clock: Clock, sharing: Option<Arc<Sharing>>) -> Self {
        let ledger =
            Arc::new(Ledger { clock, leaked: AtomicU64::new(0), leases: Leases::default(), sharing });
        Self { by_id: DashMap::default(), dynamic: AtomicUsize::new(0), ledger }
    }

    /// Returns the account of something the configuration names.
    ///
    /// Bounded by the configuration; what a reload removes keeps its counters until the process ends.
    #[must_use]
    pub fn configured(&self, id: &AccountId) -> Arc<Account> {
        if let Some(found) = self.by_id.get(id) {
            return Arc::clone(&found);
        }
        Arc::clone(&self.by_id.entry(id.clone()).or_insert_with(|| self.open(id)))
    }

    /// Returns the account of a user that a request named, or the tenant's `_other` beyond the bound.
    #[must_use]
    pub fn dynamic(&self, id: &AccountId) -> Arc<Account> {
        if let Some(found) = self.by_id.get(id) {
            return Arc::clone(&found);
        }
        let opened = match self.by_id.entry(id.clone()) {
            Entry::Occupied(found) => Some(Arc::clone(found.get())),
            Entry::Vacant(place) => {
                let bounded = |count: usize| (count < Self::DYNAMIC_MAX).then_some(count + 1);
                self.dynamic
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, bounded)
                    .is_ok()
                    .then(|| Arc::clone(&place.insert(self.open(id))))
            }
        };
        opened.unwrap_or_else(|| self.configured(&AccountId { name: Arc::from(OVERFLOW), ..id.clone() }))
    }

    /// Returns every account there is, in no order; for reports, not for the path of a request.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Account>> {
        self.by_id.iter().map(|entry| Arc::clone(entry.value())).collect()
    }

    /// Returns what is held, summed over all accounts (a request is held at each of its levels).
    ///
    /// All zero when no request is in flight.
    #[must_use]
    pub fn reserved_total(&self) -> Held {
        let mut total = Held::default();
        for account in self.all() {
            let (requests, nanousd, tokens) = account.lock().held();
            total.requests = total.requests.saturating_add(requests);
            total.nanousd = total.nanousd.saturating_add(nanousd);
            total.tokens = total.tokens.saturating_add(tokens);
        }
        total
    }

    /// Returns how the counters are shared with other instances, where they are.
    #[must_use]
    pub fn sharing(&self) -> Option<&Arc<Sharing>> {
        self.ledger.sharing.as_ref()
    }

    fn open(&self, id: &AccountId) -> Arc<Account> {
        let cells = if self.ledger.sharing.is_some() { Cells::shared() } else { Cells::default() };
        Arc::new(Account { id: id.clone(), cells: Mutex::new(cells), changed: AtomicBool::new(false) })
    }

    /// Returns how many reservations were dropped without an end, or lost and found by a sweep; each one is a bug.
    #[must_use]
    pub fn leaked(&self) -> u64 {
        self.ledger.leaked.load(Ordering::Relaxed)
    }
}

impl Ledger {
    /// Has the other instances told of what changed in these accounts.
    pub(super) fn changed(&self, claims: &[Claim]) {
        if let Some(sharing) = &self.sharing {
            claims.iter().for_each(|claim| sharing.changed(&claim.account));
        }
    }

    pub(super) fn now(&self) -> Moment {
        Moment { wall: self.clock.now(), instant: self.clock.instant() }
    }
}

/// The user that stands for those beyond the bound.
const OVERFLOW: &str = "_other";
