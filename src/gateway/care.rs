//! How workloads treat the upstream's prompt cache, today and yesterday, as the admin API and the metrics show it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::money::NanoUsd;
use crate::pipeline::Tercet;
use crate::telemetry::AtStakeReading;
use crate::workload::Treatment;

fn treatments(tercet: &Tercet, tenant: Option<&str>) -> Vec<Treatment> {
    let yesterday = tercet.runtime.clock.now().checked_sub(Duration::from_secs(86_400));
    tercet.runtime.care.treatments(tenant, yesterday.ok())
}

/// Returns every workload, of one tenant or of all.
pub(super) fn told(tercet: &Tercet, tenant: Option<&str>) -> Value {
    let all = treatments(tercet, tenant);
    let at_stake: NanoUsd = all.iter().map(Treatment::at_stake).sum();
    let workloads: Vec<Value> = all.iter().map(Treatment::to_json).collect();
    json!({ "workloads": workloads, "at_stake_nanousd": at_stake, "at_stake_usd": at_stake.to_string() })
}

/// Returns what all of them lose.
pub(super) fn at_stake(tercet: &Tercet) -> NanoUsd {
    treatments(tercet, None).iter().map(Treatment::at_stake).sum()
}

/// Returns what each tenant loses by each cause.
pub(super) fn readings(tercet: &Tercet) -> Vec<AtStakeReading> {
    let mut sums: BTreeMap<(String, &'static str), NanoUsd> = BTreeMap::new();
    for treatment in treatments(tercet, None) {
        for found in treatment.breaks {
            *sums.entry((treatment.tenant.clone(), found.cause.name())).or_default() += found.at_stake;
        }
    }
    let one = |((tenant, cause), amount)| AtStakeReading { tenant, cause, amount };
    sums.into_iter().map(one).collect()
}
