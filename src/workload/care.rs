//! How the clients of a tenant treat the upstream's prompt cache, by workload, and what it costs where they break it.
//!
//! A view of the journal. Of each workload it is summed how much of its prompts was read from the cache, and three
//! breaks are looked for, each by what the same requests would have cost without it:
//!
//! - **system-prompt-changes**: the client marks breakpoints, but tools or system prompt are never twice the same, so
//!   that what another request wrote a moment ago is written again.
//! - **breakpoints-missing**: tools and system prompt are the same again and again and large enough to be kept, and
//!   nothing is marked. What the first writing would cost more is taken off.
//! - **ttl-too-short**: prefixes kept for five minutes are written again within the hour. What writing for an hour costs
//!   more, on every write, is taken off.
//!
//! Sums are by day of UTC. A break is told only where it came often enough and costs more than mending it would.

mod treatment;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::catalog::Catalog;
use crate::journal::{ExchangeRecord, Marks, PromptRecord, UsageSource};
use crate::money::NanoUsd;
use crate::usage::{Billed, Terms, Usage};

pub use treatment::{Break, Cause, Treatment};

/// What is known of all workloads; at most 4,096, the one longest silent forgotten first.
#[derive(Debug)]
pub struct Care {
    table: Mutex<Table>,
    days: usize,
}

type Table = HashMap<(Box<str>, Box<str>), Watched>;

#[derive(Debug, Default)]
struct Watched {
    /// The last tools and system prompts, the latest first.
    heads: VecDeque<Seen>,
    days: BTreeMap<i64, Day>,
    last_s: i64,
}

/// Tools and system prompt as they were sent to a model; both by hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    head: u64,
    model: u64,
    at_s: i64,
}

/// Sums of one day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Day {
    requests: u64,
    marked: u64,
    prompt_tokens: u64,
    read_tokens: u64,
    written_tokens: u64,
    /// By cause: occasions, and the net difference in nano-dollars.
    breaks: [(u64, i64); 3],
}

/// A workload as it is kept between two starts.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptCare {
    tenant: Box<str>,
    workload: Box<str>,
    heads: VecDeque<Seen>,
    days: Vec<(i64, Day)>,
    last_s: i64,
}

/// Of today and yesterday.
impl Default for Care {
    fn default() -> Self {
        Self::keeping(2)
    }
}

impl Care {
    /// Returns all that is known, to be kept.
    #[must_use]
    pub fn kept(&self) -> Vec<KeptCare> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let one = |((tenant, workload), watched): (&(Box<str>, Box<str>), &Watched)| KeptCare {
            tenant: tenant.clone(),
            workload: workload.clone(),
            heads: watched.heads.clone(),
            days: watched.days.clone().into_iter().collect(),
            last_s: watched.last_s,
        };
        let mut all: Vec<KeptCare> = table.iter().map(one).collect();
        drop(table);
        all.sort_by(|one, other| (&one.tenant, &one.workload).cmp(&(&other.tenant, &other.workload)));
        all
    }

    /// Returns what was kept, of today and yesterday.
    #[must_use]
    pub fn from_kept(kept: Vec<KeptCare>) -> Self {
        let one = |KeptCare { tenant, workload, heads, days, last_s }: KeptCare| {
            ((tenant, workload), Watched { heads, days: days.into_iter().collect(), last_s })
        };
        let table = Mutex::new(kept.into_iter().map(one).collect());
        Self { table, ..Self::default() }
    }

    /// Returns an empty view that keeps the sums of so many days.
    #[must_use]
    pub fn keeping(days: usize) -> Self {
        Self { table: Mutex::default(), days: days.max(1) }
    }

    /// Adds an exchange, priced by `catalog`.
    pub fn add(&self, record: &ExchangeRecord, catalog: &Catalog) {
        let Some(prompt) = &record.prompt_cache else { return };
        if record.usage_source != UsageSource::Upstream || record.usage().prompt_tokens() == 0 {
            return;
        }
        let key = (record.tenant.as_str().into(), prompt.workload.as_deref().unwrap_or_default().into());
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.len() >= WORKLOADS_MAX && !table.contains_key(&key) {
            make_room(&mut table);
        }
        let watched = table.entry(key).or_default();
        watched.add(record, prompt, catalog);
        while watched.days.len() > self.days {
            watched.days.pop_first();
        }
    }

    /// Returns every workload, of one tenant or of all, since the day of `since`: the dearest breaks first, then the
    /// largest prompts.
    #[must_use]
    pub fn treatments(&self, tenant: Option<&str>, since: Option<Timestamp>) -> Vec<Treatment> {
        let since = since.map_or(i64::MIN, |since| day_of(since.as_second()));
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let chosen = table.iter().filter(|((name, _), _)| tenant.is_none_or(|tenant| tenant == &**name));
        let mut all: Vec<Treatment> = chosen
            .filter_map(|((tenant, workload), watched)| {
                let day = watched.days.range(since..).map(|(_, day)| day).fold(Day::default(), Day::plus);
                (day.requests > 0).then(|| day.treatment(tenant, workload))
            })
            .collect();
        drop(table);
        let weight = |one: &Treatment| (one.at_stake(), one.prompt_tokens);
        all.sort_by(|one, other| {
            let names = |one: &Treatment| (one.tenant.clone(), one.workload.clone());
            weight(other).cmp(&weight(one)).then_with(|| names(one).cmp(&names(other)))
        });
        all
    }
}

impl Watched {
    fn add(&mut self, record: &ExchangeRecord, prompt: &PromptRecord, catalog: &Catalog) {
        let (usage, at_s) = (record.usage(), record.timestamp.as_second());
        let model = record.sent_model.as_deref().unwrap_or_default();
        let head = prompt.head.as_deref().and_then(|head| u64::from_str_radix(head, 16).ok());
        let ages = self.note(head, model, at_s);
        let least = catalog.model(model).and_then(|model| model.accepts.as_ref());
        let least = least.map_or(LEAST_TOKENS, |accepts| accepts.min_cache_tokens);
        let paid = price(catalog, record, usage);
        let day = self.days.entry(day_of(at_s)).or_default();
        day.requests += 1;
        day.marked += u64::from(prompt.marks != Marks::None);
        day.prompt_tokens += usage.prompt_tokens();
        day.read_tokens += usage.cache_read_tokens;
        day.written_tokens += written(&usage);
        for (cause, (occasions, at_stake)) in Cause::ALL.into_iter().zip(&mut day.breaks) {
            if let Some((shows, mended)) = mended(cause, prompt, &usage, &ages, least) {
                *occasions += u64::from(shows);
                *at_stake += (paid - price(catalog, record, mended)).0;
            }
        }
        self.last_s = self.last_s.max(at_s);
    }

    /// Notes that tools and system prompt were sent; returns how long ago they were before.
    fn note(&mut self, head: Option<u64>, model: &str, at_s: i64) -> Ages {
        let mut hasher = DefaultHasher::new();
        model.hash(&mut hasher);
        let model = hasher.finish();
        let since = |seen: &Seen| at_s.saturating_sub(seen.at_s).max(0);
        let any = self.heads.iter().find(|seen| seen.model == model);
        let mut ages = Ages { same_s: None, any_s: any.map(since) };
        let Some(head) = head else { return ages };
        let place = self.heads.iter().position(|seen| seen.head == head && seen.model == model);
        ages.same_s = place.and_then(|place| self.heads.remove(place)).as_ref().map(since);
        self.heads.push_front(Seen { head, model, at_s });
        self.heads.truncate(HEADS_MAX);
        ages
    }
}

/// Seconds since tools and system prompt were last seen: the same ones, and any.
struct Ages {
    same_s: Option<i64>,
    any_s: Option<i64>,
}

/// Returns whether a break shows in a request, and what it would have used without it; `None` where it has no part.
fn mended(
    cause: Cause,
    prompt: &PromptRecord,
    usage: &Usage,
    ages: &Ages,
    least_tokens: u64,
) -> Option<(bool, Usage)> {
    let head_tokens = prompt.head_tokens;
    match cause {
        Cause::SystemPromptChanges => {
            let ttl_s = if prompt.marks == Marks::Hour { HOUR_S } else { FIVE_MINUTES_S };
            let is_new = prompt.head.is_some() && ages.same_s.is_none();
            let was_warm = ages.any_s.is_some_and(|age_s| age_s <= ttl_s);
            let shows = prompt.marks != Marks::None && is_new && was_warm && head_tokens >= least_tokens;
            let read = usage.warmed(head_tokens);
            // One that we have forgotten may still be warm upstream.
            (shows && read != *usage).then_some((true, read))
        }
        Cause::BreakpointsMissing => {
            let is_meant =
                prompt.marks == Marks::None && prompt.head.is_some() && head_tokens >= least_tokens;
            let tokens = head_tokens.min(usage.input_tokens);
            if !is_meant || written(usage) + usage.cache_read_tokens > 0 {
                return None;
            }
            let is_warm = ages.same_s.is_some_and(|age_s| age_s <= FIVE_MINUTES_S);
            let mut marked = Usage { input_tokens: usage.input_tokens - tokens, ..*usage };
            if is_warm {
                marked.cache_read_tokens = tokens;
            } else {
                marked.cache_write_5m_tokens = tokens;
            }
            Some((is_warm, marked))
        }
        Cause::TtlTooShort => {
            if prompt.marks != Marks::FiveMinutes || usage.cache_write_5m_tokens == 0 {
                return None;
            }
            let too_late = |age_s: i64| age_s > FIVE_MINUTES_S && age_s <= HOUR_S;
            let lost = match prompt.idle_s.and_then(|idle_s| i64::try_from(idle_s).ok()) {
                Some(idle_s) if too_late(idle_s) => prompt.before_tokens,
                Some(_) => 0,
                None if ages.same_s.is_some_and(too_late) => head_tokens,
                None => 0,
            };
            let lost = lost.saturating_sub(usage.cache_read_tokens).min(usage.cache_write_5m_tokens);
            let kept = Usage {
                cache_read_tokens: usage.cache_read_tokens + lost,
                cache_write_5m_tokens: 0,
                cache_write_1h_tokens: usage.cache_write_1h_tokens + usage.cache_write_5m_tokens - lost,
                ..*usage
            };
            Some((lost > 0, kept))
        }
    }
}

impl Day {
    fn plus(mut self, other: &Self) -> Self {
        self.requests += other.requests;
        self.marked += other.marked;
        self.prompt_tokens += other.prompt_tokens;
        self.read_tokens += other.read_tokens;
        self.written_tokens += other.written_tokens;
        for (mine, theirs) in self.breaks.iter_mut().zip(other.breaks) {
            *mine = (mine.0 + theirs.0, mine.1 + theirs.1);
        }
        self
    }

    fn treatment(&self, tenant: &str, workload: &str) -> Treatment {
        let causes = Cause::ALL.into_iter().zip(self.breaks);
        let mut breaks: Vec<Break> = causes
            .filter(|(cause, (occasions, at_stake))| {
                // A session has a system prompt of its own and yet reads its own many times.
                let of = if *cause == Cause::SystemPromptChanges { self.marked } else { 0 };
                *occasions >= OCCASIONS_MIN && occasions.saturating_mul(2) >= of && *at_stake > 0
            })
            .map(|(cause, (occasions, at_stake))| Break { cause, occasions, at_stake: NanoUsd(at_stake) })
            .collect();
        breaks.sort_by_key(|one| std::cmp::Reverse(one.at_stake));
        Treatment {
            tenant: tenant.to_owned(),
            workload: workload.to_owned(),
            requests: self.requests,
            prompt_tokens: self.prompt_tokens,
            read_tokens: self.read_tokens,
            written_tokens: self.written_tokens,
            breaks,
        }
    }
}

/// Prices as the journal's records are; terms that are not in them (fast mode, geography) are left out.
fn price(catalog: &Catalog, record: &ExchangeRecord, usage: Usage) -> NanoUsd {
    let model = record.sent_model.clone().unwrap_or_default();
    catalog.price(&Billed { model, usage, terms: Terms::default() }, record.timestamp).cost
}

const fn written(usage: &Usage) -> u64 {
    usage.cache_write_5m_tokens.saturating_add(usage.cache_write_1h_tokens)
}

/// Forgets the eighth that is silent longest.
fn make_room(table: &mut Table) {
    let mut last: Vec<i64> = table.values().map(|watched| watched.last_s).collect();
    let (_, bound, _) = last.select_nth_unstable(WORKLOADS_MAX / 8);
    let bound = *bound;
    let mut room = WORKLOADS_MAX / 8;
    table.retain(|_, watched| {
        let goes = watched.last_s <= bound && room > 0;
        room -= usize::from(goes);
        !goes
    });
}

const fn day_of(second: i64) -> i64 {
    second.div_euclid(86_400)
}

const FIVE_MINUTES_S: i64 = 300;
const HOUR_S: i64 = 3_600;
/// Requests in which a break shows before it is told.
const OCCASIONS_MIN: u64 = 3;
/// Kept by every model; of one that the catalog does not know.
const LEAST_TOKENS: u64 = 4_096;
const WORKLOADS_MAX: usize = 4_096;
/// Tools and system prompts remembered of a workload.
const HEADS_MAX: usize = 256;

#[cfg(test)]
mod tests;
