//! The table of workloads: evidence by tenant and fingerprint, bounded, with the least recently taught forgotten first.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::quality::RandomState;

use super::fingerprint::{Fingerprints, Level, name};
use super::posterior::{Posterior, Tally};
use super::trouble::{Sign, Troubles};
use super::written::Written;
use crate::tier::Logits;

/// What was learned of every tenant's workloads; tenants share nothing.
#[derive(Debug, Default)]
pub struct Workloads {
    tenants: Mutex<Tenants>,
    unsaved: AtomicBool,
}

type Tenants = HashMap<Box<str>, Tenant, RandomState>;

#[derive(Debug, Default)]
struct Tenant {
    workloads: HashMap<u64, Entry, RandomState>,
    /// Counts outcomes, to tell which workload was taught last.
    lessons: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    level: Level,
    tally: Tally,
    troubles: Troubles,
    taught: u64,
}

/// What is known of the workload of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    /// The narrowest level of which enough is known to judge by.
    pub level: Level,
    /// Its fingerprint.
    pub fingerprint: u64,
    /// What is believed.
    pub posterior: Posterior,
    /// Share of haiku's and sonnet's answers that was trouble out of the usual.
    pub lost: [f64; 2],
}

/// The workloads a request belongs to, and which of them spoke.
#[derive(Clone, Copy, Debug)]
pub struct Belonging {
    /// All of them.
    pub fingerprints: Fingerprints,
    /// The one of which enough was known.
    pub spoke: Option<u64>,
    /// What the model trained on texts makes of the request, in ten-thousandths.
    pub logits: Logits,
}

/// An outcome: what the answer of a tier was worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// 0 to 2 for haiku, sonnet and opus.
    pub tier: usize,
    /// 0 to 1.
    pub score: f64,
    /// How much it counts; 1 for an answer that was judged.
    pub weight: f64,
}

/// What was seen of an answer that nobody judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watched {
    /// What was looked at.
    pub sign: Sign,
    /// 0 to 2 for haiku, sonnet and opus.
    pub tier: usize,
    /// Whether it was trouble.
    pub troubled: bool,
}

impl Belonging {
    /// Returns the workload that spoke, or the narrowest; the client alone names none.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        self.spoke.map(name).or_else(|| self.fingerprints.name())
    }
}

impl Workloads {
    /// Adds an outcome to every workload a request belongs to.
    pub fn learn(&self, tenant: &str, fingerprints: &Fingerprints, logits: &Logits, outcome: Outcome) {
        self.teach(tenant, |tenant| {
            for (level, fingerprint) in fingerprints.levels() {
                let entry = tenant.entry(level, fingerprint);
                entry.tally.learn(outcome.tier, outcome.score, outcome.weight, logits);
            }
        });
    }

    /// Notes in every workload a request belongs to whether an answer was trouble.
    ///
    /// A workload of which nothing is known is entered with its first trouble only, or passing ones would crowd out
    /// what was taught; the client, against which the others are held, always.
    pub fn watch(&self, tenant: &str, fingerprints: &Fingerprints, watched: Watched) {
        self.teach(tenant, |tenant| {
            for (level, fingerprint) in fingerprints.levels() {
                let is_known = tenant.workloads.contains_key(&fingerprint);
                if is_known || watched.troubled || level == Level::Client {
                    let entry = tenant.entry(level, fingerprint);
                    entry.troubles.note(watched.sign, watched.tier, watched.troubled);
                }
            }
        });
    }

    /// Changes what is known of a tenant, where there is room for it.
    fn teach(&self, tenant: &str, lesson: impl FnOnce(&mut Tenant)) {
        let mut tenants = self.tenants();
        if !tenants.contains_key(tenant) {
            if tenants.len() >= TENANTS_MAX {
                return;
            }
            tenants.insert(tenant.into(), Tenant::default());
        }
        let Some(tenant) = tenants.get_mut(tenant) else { return };
        tenant.lessons += 1;
        lesson(tenant);
        self.note_unsaved();
    }

    fn tenants(&self) -> MutexGuard<'_, Tenants> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that something is known that is not written down.
    pub fn note_unsaved(&self) {
        self.unsaved.store(true, Ordering::Relaxed);
    }

    /// Tells whether something is not written down, to one who is about to write it.
    pub fn take_unsaved(&self) -> bool {
        self.unsaved.swap(false, Ordering::Relaxed)
    }

    /// Returns what is known of the narrowest workload with enough outcomes; the wider ones are where it starts from.
    #[must_use]
    pub fn known(&self, tenant: &str, fingerprints: &Fingerprints) -> Option<Known> {
        let found = self.found(tenant, fingerprints)?;
        let mut wider: Option<Posterior> = None;
        let (mut known, mut client): (Option<(Known, Box<Tally>)>, _) = (None, Troubles::default());
        for (level, fingerprint, tally, troubles) in found.into_iter().flatten().rev() {
            if level == Level::Client {
                client = troubles;
            }
            let Some(tally) = tally else { continue };
            let posterior = tally.posterior(wider.as_ref());
            // A narrow workload of a handful of outcomes knows less than the wider one it is part of.
            let speaks = tally.weight() >= NARROW_MIN
                || known.as_ref().is_none_or(|(known, _)| known.level == Level::Template);
            if level != Level::Client && speaks {
                let lost = troubles.lost(&client);
                known = Some((Known { level, fingerprint, posterior, lost }, tally));
            }
            wider = Some(posterior);
        }
        known.map(|(known, tally)| Known { posterior: tally.with_trend(known.posterior), ..known })
    }

    /// Copies out what was learned at each level, narrowest first, so that nothing is reckoned under the lock.
    fn found(&self, tenant: &str, fingerprints: &Fingerprints) -> Option<[Option<Found>; 4]> {
        let tenants = self.tenants();
        let tenant = tenants.get(tenant)?;
        let mut levels = fingerprints.levels();
        Some(std::array::from_fn(|_| {
            let (level, fingerprint) = levels.next()?;
            let entry = tenant.workloads.get(&fingerprint)?;
            // Most workloads were never told an outcome; a tally is large to carry for nothing.
            let tally = (entry.tally.weight() >= OUTCOMES_MIN).then(|| Box::new(entry.tally.clone()));
            Some((level, fingerprint, tally, entry.troubles))
        }))
    }

    /// Forgets what was learned of a tenant; returns how many workloads that were.
    pub fn reset(&self, tenant: &str) -> usize {
        let forgotten = self.tenants().remove(tenant);
        self.note_unsaved();
        forgotten.map_or(0, |tenant| tenant.workloads.len())
    }

    /// Returns all that was learned, of one tenant or of all, as it is written down.
    #[must_use]
    pub fn written(&self, only: Option<&str>) -> Vec<Written> {
        let tenants: Vec<Box<str>> = self.tenants().keys().cloned().collect();
        let chosen = tenants.iter().filter(|name| only.is_none_or(|only| only == &***name));
        // Requests wait while the table is locked, so it is copied by tenant.
        let mut written: Vec<Written> = chosen
            .flat_map(|name| self.tenants().get(name).map(|tenant| tenant.written(name)).unwrap_or_default())
            .collect();
        written.sort_by(|one, other| {
            (&one.tenant, other.taught, one.fingerprint).cmp(&(&other.tenant, one.taught, other.fingerprint))
        });
        written
    }

    /// Takes over what was written down, in place of all that is known.
    pub fn replace(&self, written: Vec<Written>) {
        let read = Self::default();
        read.take(written);
        *self.tenants() = read.tenants.into_inner().unwrap_or_else(PoisonError::into_inner);
    }

    /// Takes over what was written down, in place of what is known of the same workloads; the bounds hold.
    pub fn take(&self, written: Vec<Written>) {
        let mut tenants = self.tenants();
        for Written { tenant, fingerprint, level, tally, troubles, taught } in written {
            if !tenants.contains_key(&*tenant) && tenants.len() >= TENANTS_MAX {
                continue;
            }
            let tenant = tenants.entry(tenant.into_boxed_str()).or_default();
            tenant.lessons = tenant.lessons.max(taught);
            tenant.make_room();
            tenant.workloads.insert(fingerprint, Entry { level, tally, troubles, taught });
        }
    }
}

/// A workload as it is copied out, with its fingerprint.
type Found = (Level, u64, Option<Box<Tally>>, Troubles);

impl Tenant {
    fn written(&self, name: &str) -> Vec<Written> {
        let one = |(fingerprint, entry): (&u64, &Entry)| Written {
            tenant: name.to_owned(),
            fingerprint: *fingerprint,
            level: entry.level,
            tally: entry.tally.clone(),
            troubles: entry.troubles,
            taught: entry.taught,
        };
        self.workloads.iter().map(one).collect()
    }

    fn entry(&mut self, level: Level, fingerprint: u64) -> &mut Entry {
        if !self.workloads.contains_key(&fingerprint) {
            self.make_room();
        }
        let fresh = || Entry { level, tally: Tally::default(), troubles: Troubles::default(), taught: 0 };
        let entry = self.workloads.entry(fingerprint).or_insert_with(fresh);
        entry.taught = self.lessons;
        entry
    }

    /// Forgets an eighth where the table is full: what was taught longest ago, and of that first what has too few outcomes to
    /// speak, or turns that came but once would crowd out what many outcomes taught.
    fn make_room(&mut self) {
        if self.workloads.len() < WORKLOADS_MAX {
            return;
        }
        let worth = |entry: &Entry| (entry.tally.weight() >= OUTCOMES_MIN, entry.taught);
        let mut worths: Vec<(bool, u64)> = self.workloads.values().map(worth).collect();
        let (_, bound, _) = worths.select_nth_unstable(WORKLOADS_MAX / 8);
        let bound = *bound;
        self.workloads.retain(|_, entry| worth(entry) > bound);
    }
}

/// Weight of outcomes from which on a workload is spoken of.
const OUTCOMES_MIN: f64 = 5.0;
/// Weight from which on a narrower workload speaks in place of a wider one.
const NARROW_MIN: f64 = 45.0;
/// Tenants, and workloads of each; about 900 bytes a workload.
const TENANTS_MAX: usize = 1_024;
const WORKLOADS_MAX: usize = 4_096;
