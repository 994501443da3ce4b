//! `tercet usage --prompt-cache`: how clients treat the upstream's prompt cache, from the journal.

use std::path::Path;

use serde_json::json;

use super::ending::{Ending, Exit, print, print_json};
use super::table::{Column, Table, dollars, grouped};
use super::{configured, records};
use crate::journal::Selection;
use crate::money::NanoUsd;
use crate::workload::{Care, Treatment};

/// Shows each workload, the one with the most at stake first.
pub(super) fn show(path: &Path, selection: &Selection, config: Option<&Path>, as_json: bool) -> Ending {
    let catalog = configured::catalog(&configured::load(config)?.config)?;
    let care = Care::keeping(DAYS_MAX);
    records::each(path, selection, |record| care.add(record, &catalog))?;
    let all = care.treatments(None, None);
    let at_stake: NanoUsd = all.iter().map(Treatment::at_stake).sum();
    if as_json {
        let workloads: Vec<_> = all.iter().map(Treatment::to_json).collect();
        let told = json!({ "workloads": workloads, "at_stake_nanousd": at_stake, "at_stake_usd": at_stake.to_string() });
        return print_json(&told).map(|()| Exit::Ok);
    }
    let mut table = Table::new(vec![
        Column::Words("Tenant"),
        Column::Words("Workload"),
        Column::Numbers("Requests"),
        Column::Numbers("Prompt tokens"),
        Column::Numbers("Read"),
        Column::Numbers("Written"),
        Column::Numbers("At stake"),
        Column::Words("Because"),
    ]);
    for one in &all {
        let share = |tokens: u64| {
            let permille = u128::from(tokens) * 1_000 / u128::from(one.prompt_tokens.max(1));
            format!("{}.{} %", permille / 10, permille % 10)
        };
        let because = one.breaks.iter().map(|found| {
            format!("{} ({} times): {}", found.cause.name(), grouped(found.occasions), found.cause.advice())
        });
        table.row(vec![
            one.tenant.clone(),
            if one.workload.is_empty() { "-".to_owned() } else { one.workload.clone() },
            grouped(one.requests),
            grouped(one.prompt_tokens),
            share(one.read_tokens),
            share(one.written_tokens),
            dollars(one.at_stake()),
            because.collect::<Vec<_>>().join("; "),
        ]);
    }
    let counts =
        [grouped(all.iter().map(|one| one.requests).sum()), String::new(), String::new(), String::new()];
    let total = ["Total".to_owned(), String::new()].into_iter().chain(counts);
    table.total(total.chain([dollars(at_stake), String::new()]).collect());
    print(&table.render()).map(|()| Exit::Ok)
}

/// Days whose sums are kept of a workload, the latest of those asked for.
const DAYS_MAX: usize = 400;
