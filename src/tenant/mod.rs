//! Who is asking: from a presented key to a tenant, a user and the ceilings that apply.
//!
//! A directory is built whole from a configuration and never changes. A key is hashed once and looked up, the
//! same work for any key, known or not; keys themselves are nowhere kept. Without tenants nobody is refused:
//! the caller's own credential goes upstream, and its hash tells callers apart.
//!
//! This module decides neither what a caller may spend (limits and budgets do) nor how a refusal looks.

pub mod ownership;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;

use crate::config::{Budget, Ceilings, Config, Key, Routing, Tenant};
use crate::secret::KeyHash;
use crate::store::{Account, AccountId, Accounts};

/// All keys of a configuration.
#[derive(Debug)]
pub struct Directory {
    keys: HashMap<KeyHash, Presented>,
    keys_by_id: HashMap<Arc<str>, Arc<Entry>>,
    tenants: HashMap<Arc<str>, Arc<TenantEntry>>,
    organisation: Arc<Ceilings>,
    /// Of the shadow sample where there are no tenants.
    sample: Arc<Ceilings>,
    /// Whether no tenants are configured, so that everyone passes.
    open: bool,
}

/// Who sent a request, and which ceilings apply to it.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The tenant; `default` where none are configured.
    pub tenant: Arc<str>,
    /// The user; where no tenants are configured, 12 hex digits of the credential's hash or `anonymous`.
    pub user: Arc<str>,
    /// The key's id; `None` where no tenants are configured.
    pub key_id: Option<Arc<str>>,
    /// Levels at which the request counts, from the organisation down.
    pub levels: Vec<LevelOf>,
}

/// One level at which a request counts.
#[derive(Clone, Debug)]
pub struct LevelOf {
    /// Whose counters.
    pub id: AccountId,
    /// The ceilings there.
    pub ceilings: Arc<Ceilings>,
    /// Whether the configuration names it; other users' accounts are bounded in number.
    pub configured: bool,
    /// The counters, once they were found; a request asks for them three times.
    found: OnceLock<Arc<Account>>,
}

/// Why a caller has no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unidentified {
    /// No key was presented.
    Missing,
    /// No tenant has this key.
    Unknown,
    /// The key has expired.
    Expired,
    /// The tenant is disabled.
    Disabled,
    /// The caller is known, but its key may not name a user with `x-tercet-user`.
    UserHeaderNotAllowed,
    /// `x-tercet-user` is empty, longer than 256 bytes, or holds control characters.
    UserHeaderInvalid,
}

/// What a hash stands for.
#[derive(Debug)]
struct Presented {
    key: Arc<Entry>,
    expires: Option<Timestamp>,
}

#[derive(Debug)]
struct Entry {
    tenant: Arc<TenantEntry>,
    id: Arc<str>,
    user: Arc<str>,
    allow_user_header: bool,
    ceilings: Arc<Ceilings>,
    /// Of the user it stands for, once it was asked for; the counters that were found are kept with it.
    identity: OnceLock<Arc<Identity>>,
}

#[derive(Debug)]
struct TenantEntry {
    name: Arc<str>,
    ceilings: Arc<Ceilings>,
    user_ceilings: Arc<Ceilings>,
    sample: Arc<Ceilings>,
    users: BTreeMap<Arc<str>, Arc<Ceilings>>,
    disabled: bool,
    /// Users that keys stand for, sorted.
    key_users: Vec<Arc<str>>,
}

impl Directory {
    /// Compiles a configuration's tenants; a key given twice (refused at load) belongs to the last.
    #[must_use]
    pub fn build(config: &Config) -> Self {
        let mut directory = Self {
            keys: HashMap::new(),
            keys_by_id: HashMap::new(),
            tenants: HashMap::new(),
            organisation: Arc::new(config.organisation.clone()),
            sample: Arc::new(ceilings_of_sample(&config.routing, &config.organisation)),
            open: config.tenants.is_empty(),
        };
        for (name, tenant) in &config.tenants {
            let entry = Arc::new(TenantEntry::of(name, tenant));
            directory.tenants.insert(Arc::clone(&entry.name), Arc::clone(&entry));
            for key in &tenant.keys {
                let of_key = Arc::new(Entry::of(key, &entry));
                directory.keys_by_id.insert(Arc::clone(&of_key.id), Arc::clone(&of_key));
                if let Some(previous) = key.previous {
                    let expires =
                        key.expires.map_or(previous.expires, |expires| expires.min(previous.expires));
                    let presented = Presented { key: Arc::clone(&of_key), expires: Some(expires) };
                    directory.keys.insert(previous.hash, presented);
                }
                directory.keys.insert(key.hash, Presented { key: of_key, expires: key.expires });
            }
        }
        directory
    }

    /// Tells who presents `credential` at `now`, with the value of `x-tercet-user` where it was given.
    ///
    /// Without tenants everyone passes and the header is ignored.
    ///
    /// # Errors
    /// Returns why there is no identity.
    pub fn identify(
        &self,
        credential: Option<&[u8]>,
        user_header: Option<&str>,
        now: Timestamp,
    ) -> Result<Arc<Identity>, Unidentified> {
        if self.open {
            return Ok(Arc::new(self.anonymous(credential)));
        }
        let presented = KeyHash::of(credential.ok_or(Unidentified::Missing)?);
        let Presented { key, expires } = self.keys.get(&presented).ok_or(Unidentified::Unknown)?;
        if expires.is_some_and(|expires| expires <= now) {
            return Err(Unidentified::Expired);
        }
        if key.tenant.disabled {
            return Err(Unidentified::Disabled);
        }
        let of = |user: Arc<str>| {
            let levels = self.levels(&key.tenant, &user, Some(key));
            let tenant = Arc::clone(&key.tenant.name);
            Arc::new(Identity { tenant, user, key_id: Some(Arc::clone(&key.id)), levels })
        };
        match user_header {
            None => Ok(Arc::clone(key.identity.get_or_init(|| of(Arc::clone(&key.user))))),
            Some(_) if !key.allow_user_header => Err(Unidentified::UserHeaderNotAllowed),
            Some(name) if !is_user_name(name) => Err(Unidentified::UserHeaderInvalid),
            Some(name) => Ok(of(Arc::from(name))),
        }
    }

    /// Returns the levels at which a record of the journal counts: those that still exist.
    #[must_use]
    pub fn levels_of(&self, tenant: &str, user: &str, key_id: Option<&str>) -> Vec<LevelOf> {
        let Some(tenant) = self.tenants.get(tenant) else {
            return vec![self.whole()];
        };
        let key = key_id.and_then(|id| self.keys_by_id.get(id));
        let own = key.filter(|key| Arc::ptr_eq(&key.tenant, tenant));
        self.levels(tenant, &Arc::from(user), own.map(|key| &**key))
    }

    /// Returns the levels that a tenant's shadow sample counts at: the organisation, the tenant and the sample's own.
    ///
    /// Not its users and keys, who asked for one answer.
    #[must_use]
    pub fn sample_levels(&self, tenant: &str) -> Vec<LevelOf> {
        let name = || Arc::from(tenant);
        let mut levels = vec![self.whole()];
        match self.tenants.get(tenant) {
            Some(entry) => {
                levels.push(LevelOf::of(AccountId::tenant(name()), &entry.ceilings, true));
                levels.push(LevelOf::of(AccountId::sample(name()), &entry.sample, true));
            }
            None if self.open => levels.push(LevelOf::of(AccountId::sample(name()), &self.sample, true)),
            None => {}
        }
        levels
    }

    fn levels(&self, tenant: &TenantEntry, user: &Arc<str>, key: Option<&Entry>) -> Vec<LevelOf> {
        let name = || Arc::clone(&tenant.name);
        let own = tenant.users.get(user);
        let configured = own.is_some() || tenant.key_users.binary_search(user).is_ok();
        let user_id = AccountId::user(name(), Arc::clone(user));
        let mut levels = Vec::with_capacity(4);
        levels.push(self.whole());
        levels.push(LevelOf::of(AccountId::tenant(name()), &tenant.ceilings, true));
        levels.push(LevelOf::of(user_id, own.unwrap_or(&tenant.user_ceilings), configured));
        let of_key =
            |key: &Entry| LevelOf::of(AccountId::key(name(), Arc::clone(&key.id)), &key.ceilings, true);
        levels.extend(key.map(of_key));
        levels
    }

    /// Where there are no tenants only the organisation has ceilings, so nothing else is counted.
    fn anonymous(&self, credential: Option<&[u8]>) -> Identity {
        let user = credential.map_or_else(
            || Arc::from("anonymous"),
            |credential| Arc::from(&blake3::hash(credential).to_hex()[..12]),
        );
        Identity { tenant: Arc::from("default"), user, key_id: None, levels: vec![self.whole()] }
    }

    fn whole(&self) -> LevelOf {
        LevelOf::of(AccountId::organisation(), &self.organisation, true)
    }
}

impl LevelOf {
    fn of(id: AccountId, ceilings: &Arc<Ceilings>, configured: bool) -> Self {
        Self { id, ceilings: Arc::clone(ceilings), configured, found: OnceLock::new() }
    }

    /// Finds the level's counters.
    #[must_use]
    pub fn account(&self, accounts: &Accounts) -> Arc<Account> {
        let find =
            || if self.configured { accounts.configured(&self.id) } else { accounts.dynamic(&self.id) };
        Arc::clone(self.found.get_or_init(find))
    }
}

impl TenantEntry {
    fn of(name: &str, tenant: &Tenant) -> Self {
        let shared = |ceilings: &Ceilings| Arc::new(ceilings.clone());
        let users = tenant.users.iter().map(|(user, own)| (Arc::from(user.as_str()), shared(own)));
        let mut key_users: Vec<_> = tenant.keys.iter().map(|key| Arc::from(key.user.as_str())).collect();
        key_users.sort();
        key_users.dedup();
        Self {
            name: Arc::from(name),
            ceilings: shared(&tenant.ceilings),
            user_ceilings: shared(&tenant.user_ceilings),
            sample: Arc::new(ceilings_of_sample(&tenant.routing, &tenant.ceilings)),
            users: users.collect(),
            disabled: tenant.disabled,
            key_users,
        }
    }
}

impl Entry {
    fn of(key: &Key, tenant: &Arc<TenantEntry>) -> Self {
        Self {
            tenant: Arc::clone(tenant),
            id: Arc::from(key.id.as_str()),
            user: Arc::from(key.user.as_str()),
            allow_user_header: key.allow_user_header,
            ceilings: Arc::new(key.ceilings.clone()),
            identity: OnceLock::new(),
        }
    }
}

/// The day of a sample's budget turns with the other budgets of its owner.
fn ceilings_of_sample(routing: &Routing, owner: &Ceilings) -> Ceilings {
    let daily = routing.shadow_sample.daily;
    let budget = Budget { daily, zone: owner.budget.zone.clone(), ..Budget::default() };
    Ceilings { budget, ..Ceilings::default() }
}

fn is_user_name(name: &str) -> bool {
    (1..=256).contains(&name.len()) && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests;
