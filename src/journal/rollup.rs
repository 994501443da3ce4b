//! Sums of the exchanges in memory, for reports and the dashboard.
//!
//! A view: rebuilt from the journal at start, then fed each record as it is written, so that a report holds
//! what an answer that ended has cost. Cells are (hour, tenant, user, model, tier), at most [`MAX_CELLS`]:
//! hours older than two days fold to days; when room is short the oldest days fold to months, then users and
//! models of the oldest months to `_other`, then new ones too; only such sums go beyond the bound, at most one per
//! tenant, tier and kept hour or month. A folded cell counts whole wherever it overlaps the times
//! asked for. No money is ever left out.

mod exact;
mod kept;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use super::cell::{Cell, Summed, floor};
use super::report::{DAY_S, HOUR_S, Query, Row, Sums, UsageReport, month_of};
use crate::tier::Tier;

pub use kept::KeptSums;

/// The sums, shared.
#[derive(Debug)]
pub struct Rollup {
    cells: Mutex<Cells>,
    max_cells: usize,
}

/// A day at a glance.
#[derive(Clone, Debug, Default)]
pub struct DaySums {
    /// All of it.
    pub totals: Sums,
    /// By tier, cheapest first, only those used.
    pub tiers: Vec<(Tier, Sums)>,
    /// By tenant, the dearest first.
    pub tenants: Vec<(String, Sums)>,
}

#[derive(Debug, Default)]
struct Cells {
    hours: BTreeMap<Cell, Sums>,
    days: BTreeMap<Cell, Sums>,
    months: BTreeMap<Cell, Sums>,
    newest_hour: i64,
    /// Months before this second hold no users or models any more.
    named_from: i64,
}

impl Rollup {
    /// Returns empty sums.
    #[must_use]
    pub fn new() -> Self {
        Self::with_room(MAX_CELLS)
    }

    fn with_room(max_cells: usize) -> Self {
        Self { cells: Mutex::default(), max_cells }
    }

    /// Adds one exchange.
    pub fn add(&self, summed: &Summed) {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.add(&summed.cell, &summed.sums, self.max_cells);
    }

    /// Returns the report that `query` asks for.
    #[must_use]
    pub fn query(&self, query: &Query) -> UsageReport {
        let mut totals = Sums::default();
        let mut rows: BTreeMap<Vec<String>, Sums> = BTreeMap::new();
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        for (cell, end, sums) in cells.iter() {
            if !query.holds(cell, end) {
                continue;
            }
            totals.add(sums);
            if !query.by.is_empty() {
                let key = query.by.iter().map(|by| cell.part(*by)).collect();
                rows.entry(key).or_default().add(sums);
            }
        }
        drop(cells);
        let names = || query.by.iter().map(|by| by.name());
        let rows = rows.into_iter();
        UsageReport {
            totals,
            rows: rows.map(|(key, sums)| Row { key: names().zip(key).collect(), sums }).collect(),
        }
    }

    /// Returns the sums of the UTC day that `now` lies in.
    #[must_use]
    pub fn day(&self, now: Timestamp) -> DaySums {
        let start = floor(now.as_second(), DAY_S);
        let mut day = DaySums::default();
        let mut tiers: BTreeMap<Tier, Sums> = BTreeMap::new();
        let mut tenants: BTreeMap<Box<str>, Sums> = BTreeMap::new();
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let today = Cell::first(start)..Cell::first(start + DAY_S);
        for (cell, sums) in cells.hours.range(today.clone()).chain(cells.days.range(today)) {
            day.totals.add(sums);
            tiers.entry(cell.tier).or_default().add(sums);
            match tenants.get_mut(&cell.tenant) {
                Some(known) => known.add(sums),
                None => drop(tenants.insert(cell.tenant.clone(), *sums)),
            }
        }
        drop(cells);
        day.tiers = tiers.into_iter().collect();
        day.tenants = tenants.into_iter().map(|(tenant, sums)| (tenant.into(), sums)).collect();
        day.tenants.sort_by_key(|(_, sums)| std::cmp::Reverse(sums.cost));
        day
    }
}

impl Default for Rollup {
    fn default() -> Self {
        Self::new()
    }
}

impl Cells {
    fn add(&mut self, cell: &Cell, sums: &Sums, max_cells: usize) {
        if cell.start > self.newest_hour {
            self.newest_hour = cell.start;
            self.fold_hours();
        }
        let is_recent = cell.start >= self.horizon();
        let by_the_day = (!is_recent).then(|| Cell { start: floor(cell.start, DAY_S), ..cell.clone() });
        let cell = by_the_day.as_ref().unwrap_or(cell);
        if let Some(known) = self.period(is_recent).get_mut(cell) {
            known.add(sums);
            return;
        }
        if self.len() >= max_cells {
            let enough = max_cells - max_cells / 10;
            self.fold_days(enough);
            self.fold_months(enough);
        }
        let cell = if self.len() >= max_cells { cell.clone().without_names() } else { cell.clone() };
        self.period(is_recent).entry(cell).or_default().add(sums);
    }

    const fn period(&mut self, is_recent: bool) -> &mut BTreeMap<Cell, Sums> {
        if is_recent { &mut self.hours } else { &mut self.days }
    }

    /// Where hours begin; what is older is kept by the day.
    const fn horizon(&self) -> i64 {
        floor(self.newest_hour - 2 * DAY_S, DAY_S)
    }

    fn len(&self) -> usize {
        self.hours.len() + self.days.len() + self.months.len()
    }

    /// Every cell with the second at which its period ends.
    fn iter(&self) -> impl Iterator<Item = (&Cell, i64, &Sums)> {
        let hours = self.hours.iter().map(|(cell, sums)| (cell, cell.start + HOUR_S, sums));
        let days = self.days.iter().map(|(cell, sums)| (cell, cell.start + DAY_S, sums));
        let months = self.months.iter().map(|(cell, sums)| (cell, month_of(cell.start).1, sums));
        months.chain(days).chain(hours)
    }

    /// Folds hours of days that ended more than two days before the newest hour.
    fn fold_hours(&mut self) {
        let horizon = self.horizon();
        if self.hours.first_key_value().is_none_or(|(cell, _)| cell.start >= horizon) {
            return;
        }
        let recent = self.hours.split_off(&Cell::first(horizon));
        for (cell, sums) in std::mem::replace(&mut self.hours, recent) {
            let start = floor(cell.start, DAY_S);
            self.days.entry(Cell { start, ..cell }).or_default().add(&sums);
        }
    }

    /// Folds the oldest days to months until no more than `enough` cells, or no days, are left.
    fn fold_days(&mut self, enough: usize) {
        while self.len() > enough {
            let Some((oldest, _)) = self.days.first_key_value() else { return };
            let (start, end) = month_of(oldest.start);
            let later = self.days.split_off(&Cell::first(end));
            self.named_from = self.named_from.min(start);
            for (cell, sums) in std::mem::replace(&mut self.days, later) {
                self.months.entry(Cell { start, ..cell }).or_default().add(&sums);
            }
        }
    }

    /// Sums users and models of the oldest months as `_other` until no more than `enough` cells are left.
    fn fold_months(&mut self, enough: usize) {
        while self.len() > enough {
            let Some((oldest, _)) = self.months.range(Cell::first(self.named_from)..).next() else { return };
            let start = oldest.start;
            let end = start + 1;
            let mut month = self.months.split_off(&Cell::first(start));
            let mut later = month.split_off(&Cell::first(end));
            self.months.append(&mut later);
            for (cell, sums) in month {
                self.months.entry(cell.without_names()).or_default().add(&sums);
            }
            self.named_from = end;
        }
    }
}

/// How many cells are kept, about 80 MB at most.
const MAX_CELLS: usize = 200_000;

#[cfg(test)]
mod tests {
    use super::super::record::ExchangeRecord;
    use super::super::report::{By, CacheSums, period};
    use super::*;
    use crate::id::RequestId;
    use crate::money::NanoUsd;
    use proptest::prelude::*;

    fn spent(time: &str, tenant: &str, user: &str, nanousd: i64) -> ExchangeRecord {
        spent_at(time.parse().unwrap(), tenant, user, nanousd)
    }

    fn spent_at(time: Timestamp, tenant: &str, user: &str, nanousd: i64) -> ExchangeRecord {
        let mut record = ExchangeRecord::begin(RequestId::generate(), time, tenant.into(), "asked".into());
        record.user_id = Some(user.into());
        record.sent_model = Some("claude-haiku-5-5".into());
        record.tier = Tier::Haiku;
        record.input_tokens = 3;
        record.cost_nanousd = NanoUsd(nanousd);
        record.baseline_nanousd.requested = NanoUsd(5 * nanousd);
        record.cache = Some("miss".into());
        record
    }

    #[test]
    fn a_report_has_the_shape_of_the_admin_api() {
        let rollup = Rollup::new();
        rollup.add(&Summed::of(&spent("2026-11-20T13:59:59Z", "acme", "ann", 1_234_567_890)));
        rollup.add(&Summed::of(&spent("2026-11-20T14:00:00Z", "acme", "bob", 10)));
        let by = vec![By::Day, By::User];
        let report = rollup.query(&Query { tenant: Some("acme".into()), by, ..Query::default() });
        let value = serde_json::to_value(&report).unwrap();
        assert_eq!(value["totals"]["requests"], 2);
        assert_eq!(value["totals"]["cost_usd"], "1.234567900");
        let row = serde_json::json!({
            "key": {"day": "2026-11-20", "user": "ann"}, "requests": 1, "input_tokens": 3, "output_tokens": 0,
            "cache_read_tokens": 0, "cache_write_5m_tokens": 0, "cache_write_1h_tokens": 0,
            "cost_nanousd": 1_234_567_890, "cost_usd": "1.234567890",
            "baseline_requested_nanousd": 6_172_839_450_i64, "baseline_all_opus_nanousd": 0, "cache_hits": 0,
            "cache_joined": 0, "cache_misses": 1, "cache_bypassed": 0, "cache_saved_nanousd": 0
        });
        assert_eq!(value["rows"][0], row);
        assert_eq!(value["rows"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn what_the_response_cache_did_is_summed_by_tenant() {
        let rollup = Rollup::new();
        for (tenant, word, saved) in
            [("acme", "miss", 0), ("acme", "hit", 7), ("acme", "joined", 8), ("rival", "bypass", 0)]
        {
            let mut record = spent("2026-11-20T13:00:00Z", tenant, "ann", 0);
            (record.cache, record.cache_saved_nanousd) = (Some(word.into()), NanoUsd(saved));
            rollup.add(&Summed::of(&record));
        }
        let report = rollup.query(&Query { by: vec![By::Tenant], ..Query::default() });
        let [acme, rival] = report.rows.as_slice() else { panic!("{report:?}") };
        let (hits, joined, misses, saved) = (1, 1, 1, NanoUsd(15));
        assert_eq!(acme.sums.cache, CacheSums { hits, joined, misses, bypassed: 0, saved });
        assert_eq!((acme.sums.cache.answered(), rival.sums.cache.bypassed), (2, 1));
        assert_eq!(serde_json::to_value(report.totals).unwrap()["cache_saved_nanousd"], 15);
    }

    #[test]
    fn times_select_whole_hours_and_the_end_is_open() {
        let rollup = Rollup::new();
        for hour in 10..14 {
            rollup.add(&Summed::of(&spent(&format!("2026-11-20T{hour}:30:00Z"), "acme", "ann", 1)));
        }
        for (from, to, requests) in
            [("11:45", "13:00", 2), ("11:00", "13:01", 3), ("14:00", "15:00", 0), ("00:00", "23:00", 4)]
        {
            let time = |text| format!("2026-11-20T{text}:00Z").parse().ok();
            let report = rollup.query(&Query { from: time(from), to: time(to), ..Query::default() });
            assert_eq!(report.totals.requests, requests, "{from} to {to}");
        }
    }

    #[test]
    fn periods_are_named_in_utc() {
        let second = "2027-01-03T23:59:59Z".parse::<Timestamp>().unwrap().as_second();
        let names = [By::Hour, By::Day, By::Week, By::Month].map(|by| period(by, floor(second, HOUR_S)));
        assert_eq!(names, ["2027-01-03T23:00:00Z", "2027-01-03", "2026-W53", "2027-01"]);
        let (start, end) = month_of(second);
        assert_eq!([period(By::Day, start), period(By::Day, end)], ["2027-01-01", "2027-02-01"]);
    }

    #[test]
    fn a_day_shows_its_mix_and_what_routing_saved() {
        let rollup = Rollup::new();
        rollup.add(&Summed::of(&spent("2026-11-19T23:59:59Z", "acme", "ann", 7)));
        rollup.add(&Summed::of(&spent("2026-11-20T00:00:00Z", "acme", "ann", 1)));
        rollup.add(&Summed::of(&spent("2026-11-20T01:00:00Z", "initech", "bob", 2)));
        let day = rollup.day("2026-11-20T12:00:00Z".parse().unwrap());
        assert_eq!((day.totals.cost, day.totals.saved_on_requested()), (NanoUsd(3), NanoUsd(12)));
        assert_eq!(day.tiers.len(), 1);
        assert_eq!(day.tenants.first().map(|(tenant, _)| tenant.as_str()), Some("initech"));
    }

    proptest! {
        #[test]
        fn folding_loses_no_money_and_keeps_the_bound(
            spends in prop::collection::vec((0i64..4000, 0usize..9, 0i64..1000), 1..400),
        ) {
            let rollup = Rollup::with_room(50);
            let begin = "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap().as_second();
            for (hour, user, cost) in &spends {
                let time = Timestamp::from_second(begin + hour * HOUR_S).unwrap();
                rollup.add(&Summed::of(&spent_at(time, "acme", &user.to_string(), *cost)));
            }
            let report = rollup.query(&Query { by: vec![By::Month, By::User], ..Query::default() });
            let total: i64 = spends.iter().map(|(_, _, cost)| cost).sum();
            prop_assert_eq!(report.totals.cost, NanoUsd(total));
            prop_assert_eq!(report.rows.iter().map(|row| row.sums.cost).sum::<NanoUsd>(), NanoUsd(total));
            // Beyond the bound, one cell per hour kept and, until the next one comes, per day.
            prop_assert!(rollup.cells.lock().unwrap().len() <= 50 + 72 + 1);
        }
    }
}
