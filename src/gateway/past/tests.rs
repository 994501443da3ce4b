//! What is kept and what is replayed behind it make one past.

use proptest::prelude::*;

use jiff::SignedDuration;
use jiff::tz::TimeZone;

use super::super::rebuild;
use super::*;
use crate::clock::Clock;
use crate::journal::{ObjectName, ObjectRecord, SampleRecord, Verdict};
use crate::store::{AccountId, Accounts, Cell, Claim, Demand, Period, Unit};
use crate::tenant::Directory;
use crate::tier::Tier;

/// One thing that happens: what, who, when, how much.
type Event = (u8, u8, i64, i64);

fn entries(events: &[Event]) -> Vec<Entry> {
    let begin = Timestamp::UNIX_EPOCH.as_second() + 1_700_000_000;
    let mut made = Vec::new();
    let mut open: Vec<ReservationRecord> = Vec::new();
    for (index, &(kind, who, minutes, cost)) in events.iter().enumerate() {
        let at = Timestamp::from_second(begin + minutes * 60).unwrap();
        let id: RequestId = serde_json::from_value(format!("tct_{index}").into()).unwrap();
        let tenant = format!("tenant-{}", who % 3);
        let user = (who % 5 > 0).then(|| format!("user-{who}"));
        let key = (who % 2 > 0).then(|| format!("key-{}", who % 3));
        let batch = made.iter().rev().find_map(|entry: &Entry| match entry {
            Entry::Exchange(record) if kind % 2 > 0 => Some(record.request_id.clone()),
            _ => None,
        });
        match kind {
            0 | 1 => {
                let held = ReservationRecord {
                    timestamp: at,
                    request_id: id,
                    tenant,
                    user_id: user,
                    key_id: key,
                    sent_model: format!("model-{}", who % 4),
                    tier: Tier::Sonnet,
                    estimate_nanousd: NanoUsd(cost),
                    estimate_tokens: 9,
                    batch,
                    sample: None,
                };
                open.push(held.clone());
                made.push(held.into());
            }
            2 | 3 => {
                let request_id = batch.unwrap_or(id);
                let object_id = format!("object-{}", who % 7);
                let object_type = if kind == 2 { ObjectType::File } else { ObjectType::Batch };
                made.push(
                    ObjectRecord { timestamp: at, object_type, object_id, tenant, user_id: user, request_id }
                        .into(),
                );
            }
            _ => {
                // Most settle what was held, the oldest first.
                let request_id = if open.is_empty() || kind == 4 { id } else { open.remove(0).request_id };
                let mut record = ExchangeRecord::begin(request_id, at, tenant, "asked".into());
                (record.user_id, record.key_id, record.cost_nanousd) = (user, key, NanoUsd(cost));
                record.settled_at = at;
                record.tokens_used = who.into();
                if kind == 7 {
                    let mut sample = SampleRecord::unknown(RequestId::generate(), Tier::Haiku);
                    sample.verdict = [Some(Verdict::Lost), Some(Verdict::Held), None][usize::from(who % 3)];
                    (sample.asked_nanousd, sample.routed) = (NanoUsd(cost * 2), who % 2 > 0);
                    record.sample = Some(Box::new(sample));
                }
                record.objects =
                    vec![ObjectName { object_type: ObjectType::Thread, object_id: format!("t{}", who % 9) }];
                made.push(record.into());
            }
        }
    }
    made
}

fn replay(past: &mut Past, entries: &[Entry]) {
    entries.iter().for_each(|entry| past.add(0, entry.clone()));
}

/// All that is kept, in an order of its own; spending by names, as numbers are given anew.
fn told(past: &Past) -> (serde_json::Value, Vec<(Timestamp, Spender, Spent)>) {
    let mut kept = past.kept();
    let mut spending = Vec::new();
    let spending_kept =
        Spending::from_kept(std::mem::take(&mut kept.spenders), std::mem::take(&mut kept.spent)).unwrap();
    spending_kept.for_each(|at, who, spent| spending.push((at, who.clone(), spent)));
    spending.sort_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
    (serde_json::to_value(kept).unwrap(), spending)
}

proptest! {
    #[test]
    fn a_past_that_was_kept_goes_on_as_one_that_was_replayed(
        events in prop::collection::vec((0u8..8, 0u8..12, 0i64..300_000, 0i64..1_000), 1..120),
        cuts in prop::collection::vec(0usize..120, 0..4),
    ) {
        let entries = entries(&events);
        let mut whole = Past::default();
        replay(&mut whole, &entries);
        let (mut pieced, mut from) = (Past::default(), 0);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(entries.len())).collect();
        cuts.sort_unstable();
        for cut in cuts {
            replay(&mut pieced, &entries[from..cut]);
            from = cut;
            let mut restored = Past::default();
            prop_assert!(restored.restore(&pieced.to_bytes()));
            pieced = restored;
        }
        replay(&mut pieced, &entries[from..]);
        prop_assert_eq!(told(&pieced), told(&whole));
    }
}

fn spent(past: &mut Past, time: &str, cost: i64) {
    let at: Timestamp = time.parse().unwrap();
    let mut record = ExchangeRecord::begin(RequestId::generate(), at, "acme".into(), "asked".into());
    record.cost_nanousd = NanoUsd(cost);
    past.settled(Arc::new(record));
}

fn days(past: &Past) -> Vec<(String, i64)> {
    let mut days = Vec::new();
    past.spending.for_each(|at, _, spent| days.push((at.to_string(), spent.cost.0)));
    days
}

#[test]
fn a_clock_that_once_stood_a_year_ahead_forgets_no_spending() {
    let mut past = Past::default();
    spent(&mut past, "2026-11-03T10:14:59Z", 5);
    spent(&mut past, "2027-11-20T10:00:00Z", 1);
    spent(&mut past, "2026-11-20T10:00:00Z", 3);
    let mut restored = Past::default();
    assert!(restored.restore(&past.to_bytes()));
    // What came after the jump counts no earlier than it, as it did in the counters that ran.
    let expected = [("2026-11-03T10:00:00Z".to_owned(), 5), ("2027-11-20T10:00:00Z".to_owned(), 4)];
    assert_eq!((days(&restored), days(&past)), (expected.to_vec(), expected.to_vec()));
}

#[test]
fn days_that_no_period_reaches_are_not_kept() {
    let mut past = Past::default();
    for day in 0..100 {
        let at = Timestamp::from_second(1_790_000_000 + day * DAY_S).unwrap();
        spent(&mut past, &at.to_string(), 1 + day);
    }
    let mut restored = Past::default();
    assert!(restored.restore(&past.to_bytes()));
    assert_eq!(days(&restored), days(&past)[100 - DAYS_KEPT..]);
}

#[test]
fn what_is_no_past_of_this_version_is_not_taken_up() {
    let mut past = Past::default();
    spent(&mut past, "2026-11-20T10:00:00Z", 3);
    let text = String::from_utf8(past.to_bytes()).unwrap();
    let mut restored = Past::default();
    assert!(!restored.restore(text.replace(&format!("\"version\":{VERSION}"), "\"version\":0").as_bytes()));
    assert!(!restored.restore(&text.as_bytes()[..text.len() - 1]));
    assert!(
        !restored.restore(text.replace(",0,3,0]]", ",1,3,0]]").as_bytes()),
        "a spender that is not there"
    );
    assert!(days(&restored).is_empty());
    assert!(restored.restore(text.as_bytes()));
}

/// Zones whose days begin at every quarter of an hour, most by clocks that change in these weeks.
const ZONES: [&str; 6] =
    ["UTC", "Europe/Berlin", "America/Santiago", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Chatham"];

/// Counters of tenant `acme` with a budget in this zone, and what a level of it claims.
fn acme(zone: &str) -> (Directory, impl Fn(&Accounts, i64) -> Vec<Claim>) {
    let hash = "0".repeat(64);
    let text = format!(
        "[tenants.acme.budget]\nmonthly = \"100.00 USD\"\nzone = \"{zone}\"\n\
         [[tenants.acme.keys]]\nid = \"k\"\nuser = \"u\"\nhash = \"blake3:{hash}\""
    );
    let config = crate::config::parse(&text, None, &|_| None).unwrap();
    let zone = TimeZone::get(zone).unwrap();
    let claims = move |accounts: &Accounts, amount: i64| {
        let periods = [Period::Day, Period::Week, Period::Month];
        let demand = |period| {
            let amount = amount.unsigned_abs();
            Demand { cell: Cell::Window(Unit::Money, period), amount, most: amount, ceiling: Some(1 << 40) }
        };
        let account = accounts.configured(&AccountId::tenant("acme".into()));
        vec![Claim { account, zone: zone.clone(), demands: periods.map(demand).into() }]
    };
    (Directory::build(&config), claims)
}

proptest! {
    #[test]
    fn what_was_spent_counts_by_quarters_as_it_does_one_by_one(
        zone in 0..ZONES.len(),
        mut spends in prop::collection::vec((0i64..75 * DAY_S, 1i64..1_000), 1..80),
        now_s in -2 * 3_600..40 * DAY_S,
    ) {
        let begin = "2026-09-01T00:00:00Z".parse::<Timestamp>().unwrap();
        spends.sort_unstable();
        let now = begin + SignedDuration::from_secs(spends[spends.len() - 1].0 + now_s);
        let (directory, claims) = acme(ZONES[zone]);
        let [counted, one_by_one] = [(); 2].map(|()| Accounts::new(Clock::manual(now)));
        let mut past = Past::default();
        for (second, cost) in &spends {
            let at = begin + SignedDuration::from_secs(*second);
            spent(&mut past, &at.to_string(), *cost);
            one_by_one.charge(&claims(&one_by_one, *cost), at.min(now));
        }
        rebuild::charge(&counted, &directory, &past.spending, now);
        let used = |accounts: &Accounts| {
            accounts.standing(&claims(accounts, 0)).iter().map(|standing| standing.used).collect::<Vec<_>>()
        };
        prop_assert_eq!(used(&counted), used(&one_by_one));
    }
}
