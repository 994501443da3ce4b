//! What the journal says of the past: the one view that a start builds everything else from, and keeps between starts.
//!
//! It knows nothing of the configuration, which may be another one at the next start: spending is kept by who it was
//! and when, and counted against levels, ceilings and zones once these are known. Quarters of an hour are fine enough,
//! as every zone's days begin with one. Only how prompt caches are treated is priced at once, by the catalog of the time.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::catalog::Catalog;
use crate::id::RequestId;
use crate::journal::{
    Entry, ExchangeRecord, KeptSums, ObjectType, Recent, ReservationRecord, Rollup, Summed, View,
};
use crate::money::NanoUsd;
use crate::tenant::ownership::Ownership;
use crate::workload::{Care, KeptCare};

/// What was recorded, summed up.
#[derive(Default)]
pub(super) struct Past {
    pub(super) rollup: Rollup,
    pub(super) recent: Recent,
    pub(super) ownership: Ownership,
    pub(super) spending: Spending,
    pub(super) care: Care,
    pub(super) batches: MadeBatches,
    /// What prices the treatment of prompt caches; none where nobody asks for it.
    catalog: Option<Catalog>,
}

/// Batches with shares that are not settled, by the exchange that made them.
#[derive(Default)]
pub(super) struct MadeBatches {
    made: HashMap<RequestId, MadeBatch>,
    /// Shares that are not settled, by the exchange that settles them.
    open: HashMap<RequestId, RequestId>,
}

/// A batch as the journal knows it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct MadeBatch {
    /// The upstream's id, once it was made.
    pub(super) id: Option<String>,
    /// The models that were held for.
    pub(super) models: Vec<String>,
}

/// What was spent, by quarter of an hour and by whom.
#[derive(Debug, Default)]
pub(super) struct Spending {
    numbers: HashMap<Spender, u32>,
    spenders: Vec<Spender>,
    /// By the quarter's first second and the spender's number.
    spent: BTreeMap<(i64, u32), Spent>,
}

/// Who spends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Spender {
    pub(super) tenant: String,
    pub(super) user: String,
    pub(super) key_id: Option<String>,
    /// Whether it is the shadow sample's spending, which no user and no key is charged for.
    pub(super) is_sample: bool,
}

/// A quarter, a spender's number, money and tokens.
type KeptSpent = (i64, u32, NanoUsd, u64);

/// Money and tokens of one spender in one quarter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spent {
    pub(super) cost: NanoUsd,
    pub(super) tokens: u64,
}

/// The view as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    version: u32,
    sums: KeptSums,
    recent: Vec<Box<RawValue>>,
    objects: Vec<(ObjectType, Box<str>, Box<str>)>,
    spenders: Vec<Spender>,
    spent: Vec<KeptSpent>,
    care: Vec<KeptCare>,
    batches: Vec<(RequestId, MadeBatch)>,
    shares: Vec<(RequestId, RequestId)>,
}

impl View for Past {
    fn add(&mut self, _: u64, entry: Entry) {
        match entry {
            Entry::Exchange(record) => self.settled(record),
            Entry::Object(record) => {
                self.ownership.claim(record.object_type, &record.object_id, &record.tenant);
                if let Some(batch) = self.batches.made.get_mut(&record.request_id) {
                    batch.id = Some(record.object_id);
                }
            }
            Entry::Reservation(held) => {
                if let Some(batch) = held.batch {
                    self.batches.open.insert(held.request_id, batch.clone());
                    self.batches.made.entry(batch).or_default().models.push(held.sent_model);
                }
            }
            Entry::Admin(_) | Entry::Open(_) | Entry::Checkpoint(_) => {}
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        // What cannot be put down is not kept; a start that finds nothing replays all.
        serde_json::to_vec(&self.kept()).unwrap_or_default()
    }

    fn restore(&mut self, bytes: &[u8]) -> bool {
        let restored = serde_json::from_slice(bytes).ok().and_then(Self::from_kept);
        let Some(past) = restored else { return false };
        *self = Self { catalog: self.catalog.take(), ..past };
        true
    }
}

impl Past {
    /// Returns one of nothing, which prices by a catalog.
    pub(super) fn priced_by(catalog: &Catalog) -> Self {
        Self { catalog: Some(catalog.clone()), ..Self::default() }
    }

    /// Takes a settled exchange.
    pub(super) fn settled(&mut self, record: Arc<ExchangeRecord>) {
        self.rollup.add(&Summed::of(&record));
        if let Some(catalog) = &self.catalog {
            self.care.add(&record, catalog);
        }
        self.spending.add(&record);
        self.batches.settled(&record.request_id);
        for object in &record.objects {
            self.ownership.claim(object.object_type, &object.object_id, &record.tenant);
        }
        self.recent.add(record);
    }

    /// Returns the batch for which this was held, where it was made.
    pub(super) fn batch_of(&self, held: &ReservationRecord) -> Option<(&str, &MadeBatch)> {
        let batch = self.batches.made.get(held.batch.as_ref()?)?;
        Some((batch.id.as_deref()?, batch))
    }

    fn kept(&self) -> Kept {
        let (spenders, spent) = self.spending.kept();
        let line = |record: Arc<ExchangeRecord>| {
            RawValue::from_string(Entry::Exchange(record).to_line()?.as_str().to_owned()).ok()
        };
        let mut shares: Vec<_> = self.batches.open.clone().into_iter().collect();
        shares.sort();
        let mut batches: Vec<_> = self.batches.made.clone().into_iter().collect();
        batches.sort_by(|one, other| one.0.cmp(&other.0));
        Kept {
            version: VERSION,
            sums: self.rollup.kept(),
            recent: self.recent.last(usize::MAX).into_iter().rev().filter_map(line).collect(),
            objects: self.ownership.claims(),
            spenders,
            spent,
            care: self.care.kept(),
            batches,
            shares,
        }
    }

    fn from_kept(kept: Kept) -> Option<Self> {
        if kept.version != VERSION {
            return None;
        }
        let past = Self {
            rollup: Rollup::from_kept(kept.sums),
            recent: Recent::default(),
            ownership: Ownership::default(),
            spending: Spending::from_kept(kept.spenders, kept.spent)?,
            care: Care::from_kept(kept.care),
            batches: MadeBatches {
                made: kept.batches.into_iter().collect(),
                open: kept.shares.into_iter().collect(),
            },
            catalog: None,
        };
        for line in kept.recent {
            past.recent.add(Arc::new(serde_json::from_str(line.get()).ok()?));
        }
        kept.objects.iter().for_each(|(kind, id, tenant)| past.ownership.claim(*kind, id, tenant));
        Some(past)
    }
}

impl MadeBatches {
    /// Forgets a batch with the last of its shares.
    fn settled(&mut self, share: &RequestId) {
        if let Some(batch) = self.open.remove(share)
            && !self.open.values().any(|other| *other == batch)
        {
            self.made.remove(&batch);
        }
    }
}

impl Spending {
    /// Adds an exchange; one that says it ended before another did counts when the other ended, as it did in the
    /// counters that ran.
    fn add(&mut self, record: &ExchangeRecord) {
        if record.cost_nanousd.0 == 0 && record.tokens_used == 0 {
            return;
        }
        let newest = self.spent.last_key_value().map_or(i64::MIN, |((quarter, _), _)| *quarter);
        let quarter = record.settled_at.as_second().div_euclid(QUARTER_S) * QUARTER_S;
        let number = self.number(Spender {
            tenant: record.tenant.clone(),
            user: record.user_id.clone().unwrap_or_default(),
            key_id: record.key_id.clone(),
            is_sample: record.sample.is_some(),
        });
        let spent = self.spent.entry((quarter.max(newest), number)).or_default();
        spent.cost += record.cost_nanousd;
        spent.tokens = spent.tokens.saturating_add(record.tokens_used);
    }

    /// Gives `each` what was spent, in order of time: the quarter's beginning, by whom, how much.
    pub(super) fn for_each<'a>(&'a self, mut each: impl FnMut(Timestamp, &'a Spender, Spent)) {
        for ((quarter, number), spent) in &self.spent {
            let at = Timestamp::from_second(*quarter).unwrap_or(Timestamp::MIN);
            if let Some(spender) = self.spenders.get(*number as usize) {
                each(at, spender, *spent);
            }
        }
    }

    fn number(&mut self, spender: Spender) -> u32 {
        let next = u32::try_from(self.spenders.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(spender.clone()).or_insert(next);
        if number == next {
            self.spenders.push(spender);
        }
        number
    }

    /// Returns what may count in a period that runs, numbered anew.
    ///
    /// Days are counted, not reckoned from the newest one: a clock that once stood a year ahead forgets nothing.
    fn kept(&self) -> (Vec<Spender>, Vec<KeptSpent>) {
        let mut days: Vec<i64> = self.spent.keys().map(|(quarter, _)| quarter.div_euclid(DAY_S)).collect();
        days.dedup();
        let first = days.len().checked_sub(DAYS_KEPT).and_then(|place| days.get(place)).copied();
        let from = (first.unwrap_or(i64::MIN / DAY_S) * DAY_S, 0);
        let mut kept = Self::default();
        let mut spent = Vec::new();
        for ((quarter, number), sum) in self.spent.range(from..) {
            if let Some(spender) = self.spenders.get(*number as usize) {
                spent.push((*quarter, kept.number(spender.clone()), sum.cost, sum.tokens));
            }
        }
        (kept.spenders, spent)
    }

    /// `None` where a number names nobody.
    fn from_kept(spenders: Vec<Spender>, spent: Vec<KeptSpent>) -> Option<Self> {
        let numbers = (0..).zip(&spenders).map(|(number, spender)| (spender.clone(), number)).collect();
        let known = spenders.len();
        let one = |(quarter, number, cost, tokens): KeptSpent| {
            ((number as usize) < known).then_some(((quarter, number), Spent { cost, tokens }))
        };
        let spent = spent.into_iter().map(one).collect::<Option<_>>()?;
        Some(Self { numbers, spenders, spent })
    }
}

const QUARTER_S: i64 = 900;
const DAY_S: i64 = 86_400;
/// Days with spending that are kept; a running month, its zone's edges included, has 33 at most.
const DAYS_KEPT: usize = 64;
/// Of what is kept; another one has everything replayed. To be raised when an entry means more than it did.
const VERSION: u32 = 2;

#[cfg(test)]
mod tests;
