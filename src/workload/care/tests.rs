use super::*;
use crate::id::RequestId;
use proptest::prelude::*;

const MODEL: &str = "claude-haiku-5-5";
/// 2026-11-20T00:00:00Z.
const MIDNIGHT_S: i64 = 1_795_132_800;

fn catalog() -> Catalog {
    Catalog::embedded().unwrap()
}

fn prompt(head: u64, head_tokens: u64, marks: Marks) -> PromptRecord {
    let (workload, head) = (Some("w".to_owned()), Some(format!("{head:016x}")));
    PromptRecord { workload, head, head_tokens, marks, ..PromptRecord::default() }
}

fn record(at_s: i64, prompt: PromptRecord, usage: Usage) -> ExchangeRecord {
    let time = Timestamp::from_second(MIDNIGHT_S + at_s).unwrap();
    let mut record = ExchangeRecord::begin(RequestId::generate(), time, "acme".into(), MODEL.into());
    record.sent_model = Some(MODEL.into());
    record.usage_source = UsageSource::Upstream;
    record.set_usage(&usage);
    record.prompt_cache = Some(Box::new(prompt));
    record
}

fn used(input: u64, read: u64, written: u64) -> Usage {
    Usage {
        input_tokens: input,
        cache_read_tokens: read,
        cache_write_5m_tokens: written,
        output_tokens: 100,
        ..Usage::default()
    }
}

/// Returns what is told of exchanges of one workload.
fn told(records: impl IntoIterator<Item = ExchangeRecord>) -> Vec<Break> {
    let care = Care::keeping(2);
    let catalog = catalog();
    records.into_iter().for_each(|record| care.add(&record, &catalog));
    let kept = serde_json::to_string(&care.kept()).unwrap();
    assert_eq!(Care::from_kept(serde_json::from_str(&kept).unwrap()).kept(), care.kept());
    let mut all = care.treatments(None, None);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0).breaks
}

/// Returns the price of `tokens` at a rate of the model's card.
fn at(rate: impl Fn(&crate::catalog::Card) -> crate::money::Rate, tokens: u64) -> i64 {
    let time = Timestamp::from_second(MIDNIGHT_S).unwrap();
    let (card, known) = catalog().card(MODEL, 1_000, false, time);
    assert!(known);
    rate(&card).cost(tokens, crate::money::Factor::ONE).0
}

#[test]
fn a_system_prompt_that_is_never_the_same_twice_is_told_with_what_reading_would_have_saved() {
    let each = |number: u64| {
        record(10 * number as i64, prompt(number, 10_000, Marks::FiveMinutes), used(50, 0, 10_000))
    };
    let found = told((0..6).map(each));
    // The first has nothing to read.
    let lost = 5 * (at(|card| card.cache_write_5m, 10_000) - at(|card| card.cache_read, 10_000));
    let expected = Break { cause: Cause::SystemPromptChanges, occasions: 5, at_stake: NanoUsd(lost) };
    assert_eq!(found, [expected]);
}

#[test]
fn sessions_with_a_system_prompt_each_that_read_their_own_are_quiet() {
    let turn = |number: u64| {
        let (session, turn) = (number % 4, number / 4);
        let usage = if turn == 0 { used(50, 0, 10_000) } else { used(50, 10_000 + 300 * (turn - 1), 300) };
        record(10 * number as i64, prompt(session, 10_000, Marks::FiveMinutes), usage)
    };
    assert_eq!(told((0..40).map(turn)), []);
}

#[test]
fn what_came_too_late_to_read_changes_nothing_by_changing() {
    let each = |number: u64| {
        record(400 * number as i64, prompt(number, 10_000, Marks::FiveMinutes), used(50, 0, 10_000))
    };
    assert_eq!(told((0..6).map(each)), []);
    let small =
        |number: u64| record(10 * number as i64, prompt(number, 100, Marks::FiveMinutes), used(5_000, 0, 0));
    assert_eq!(told((0..6).map(small)), [], "too small to be kept");
}

#[test]
fn a_large_head_that_is_never_marked_is_told_net_of_its_first_writing() {
    let each = |number: i64| record(10 * number, prompt(7, 10_000, Marks::None), used(10_050, 0, 0));
    let found = told((0..6).map(each));
    let read = at(|card| card.input, 10_050) - at(|card| card.input, 50) - at(|card| card.cache_read, 10_000);
    let wrote =
        at(|card| card.input, 50) + at(|card| card.cache_write_5m, 10_000) - at(|card| card.input, 10_050);
    let at_stake = NanoUsd(5 * read - wrote);
    assert_eq!(found, [Break { cause: Cause::BreakpointsMissing, occasions: 5, at_stake }]);
}

#[test]
fn an_unmarked_head_is_quiet_where_marking_would_not_pay() {
    let apart = |number: i64| record(400 * number, prompt(7, 10_000, Marks::None), used(10_050, 0, 0));
    assert_eq!(told((0..6).map(apart)), [], "cold each time");
    let changing =
        |number: i64| record(10 * number, prompt(number as u64, 10_000, Marks::None), used(10_050, 0, 0));
    assert_eq!(told((0..6).map(changing)), [], "never the same");
    let small = |number: i64| record(10 * number, prompt(7, 100, Marks::None), used(10_050, 0, 0));
    assert_eq!(told((0..6).map(small)), [], "too small to be kept");
    let marked = |number: i64| {
        let usage = if number == 0 { used(50, 0, 10_000) } else { used(50, 10_000, 0) };
        record(10 * number, prompt(7, 10_000, Marks::FiveMinutes), usage)
    };
    assert_eq!(told((0..6).map(marked)), [], "as it should be");
}

#[test]
fn prefixes_written_again_within_the_hour_are_told_net_of_what_an_hour_costs() {
    let each = |number: i64| record(600 * number, prompt(7, 10_000, Marks::FiveMinutes), used(50, 0, 10_000));
    let found = told((0..6).map(each));
    let lost = 5 * (at(|card| card.cache_write_5m, 10_000) - at(|card| card.cache_read, 10_000));
    let more = at(|card| card.cache_write_1h, 10_000) - at(|card| card.cache_write_5m, 10_000);
    let at_stake = NanoUsd(lost - more);
    assert_eq!(found, [Break { cause: Cause::TtlTooShort, occasions: 5, at_stake }]);
}

#[test]
fn a_conversation_that_comes_back_late_loses_what_it_had_although_others_keep_the_head_warm() {
    let mut records = Vec::new();
    for number in 0..8 {
        let at_s = 600 * number;
        records.push(record(at_s, prompt(7, 5_000, Marks::FiveMinutes), used(50, 5_000, 0)));
        let mut late = prompt(7, 5_000, Marks::FiveMinutes);
        (late.before_tokens, late.idle_s) = (40_000, (number > 0).then_some(600));
        records.push(record(at_s + 5, late, used(50, 5_000, 35_000)));
        records.push(record(at_s + 290, prompt(7, 5_000, Marks::FiveMinutes), used(50, 5_000, 0)));
    }
    let found = told(records);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].cause, found[0].occasions), (Cause::TtlTooShort, 7));
}

#[test]
fn a_rhythm_within_five_minutes_or_beyond_the_hour_is_quiet() {
    let warm = |number: i64| {
        let usage = if number == 0 { used(50, 0, 10_000) } else { used(50, 10_000, 0) };
        record(200 * number, prompt(7, 10_000, Marks::FiveMinutes), usage)
    };
    assert_eq!(told((0..6).map(warm)), []);
    let rare =
        |number: i64| record(4_000 * number, prompt(7, 10_000, Marks::FiveMinutes), used(50, 0, 10_000));
    assert_eq!(told((0..6).map(rare)), []);
    let hourly = |number: i64| {
        let mut usage = used(50, 0, 0);
        if number == 0 {
            usage.cache_write_1h_tokens = 10_000;
        } else {
            usage.cache_read_tokens = 10_000;
        }
        record(600 * number, prompt(7, 10_000, Marks::Hour), usage)
    };
    assert_eq!(told((0..6).map(hourly)), []);
}

#[test]
fn days_and_workloads_are_bounded_and_chosen_by_tenant_and_day() {
    let (care, catalog) = (Care::keeping(2), catalog());
    for day in 0..4 {
        care.add(&record(day * 86_400, prompt(7, 10_000, Marks::None), used(10_050, 0, 0)), &catalog);
    }
    let since = |day: i64| Timestamp::from_second(MIDNIGHT_S + day * 86_400 + 5).ok();
    let requests = |since| care.treatments(Some("acme"), since).first().map(|one| one.requests);
    assert_eq!((requests(None), requests(since(3)), requests(since(4))), (Some(2), Some(1), None));
    assert_eq!(care.treatments(Some("rival"), None), []);
    for number in 0..5_000 {
        let mut other = prompt(7, 10_000, Marks::None);
        other.workload = Some(number.to_string());
        care.add(&record(4 * 86_400 + number, other, used(10_050, 0, 0)), &catalog);
    }
    let all = care.treatments(None, None);
    assert!(all.len() <= WORKLOADS_MAX, "{}", all.len());
    assert!(all.iter().any(|one| one.workload == "4999") && all.iter().all(|one| one.workload != "w"));
}

proptest! {
    /// Whatever traffic comes, what is at stake is never more than was paid for prompts.
    #[test]
    fn nothing_is_at_stake_that_was_not_paid(
        traffic in prop::collection::vec((0i64..1_000, 0u64..4, 0u8..3, 0u64..20_000, 0u64..20_000, 0u64..20_000), 1..60),
    ) {
        let (care, catalog) = (Care::keeping(2), catalog());
        let (mut at_s, mut paid) = (0, NanoUsd::ZERO);
        for (gap_s, head, marks, input, read, write) in traffic {
            at_s += gap_s;
            let marks = [Marks::None, Marks::FiveMinutes, Marks::Hour][usize::from(marks)];
            let usage = used(input, read, write);
            let record = record(at_s, prompt(head, (input + read + write).min(12_000), marks), usage);
            paid += price(&catalog, &record, usage);
            care.add(&record, &catalog);
        }
        for one in care.treatments(None, None) {
            for found in one.breaks {
                prop_assert!(found.at_stake > NanoUsd::ZERO && found.at_stake <= paid, "{:?} of {}", found, paid);
            }
        }
    }
}
