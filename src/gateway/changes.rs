//! Changes by the admin API: checked as a whole, written down, then in force; and restored at the next start.
//!
//! A change is laid over the text in force, compiled like a reload, and journaled before it holds, so that what
//! an operator saw accepted survives a crash. The file is the base and never written; what was changed is laid
//! over it again after every reload.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::PoisonError;

use serde_json::value::to_raw_value;
use serde_json::{Map, Value, json};
use tokio::runtime::Handle;

use super::change_stream::ChangeStream;
use super::control::problems_json;
use super::{Control, StartProblem, plan};
use crate::admin::{Change, ChangeQuery, Changed, Problem};
use crate::config::{Amendments, Config};
use crate::id::change_id;
use crate::journal::{self, AdminRecord};
use crate::pipeline::Snapshot;

impl Control {
    /// Makes a change, or says what it would do; blocks until it is written down.
    ///
    /// # Errors
    /// What is wrong with it; then nothing was changed.
    pub fn change(&self, change: &Change) -> Result<Changed, Problem> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let runtime = &self.tercet.runtime;
        let now = runtime.clock.now();
        let before = self.tercet.snapshot.load_full();
        let planned = plan::plan(&change.asked, &before.config, now)?;
        let known = before.config.source.amendments();
        let amendments = known.with(&planned.change, now).map_err(Problem::Invalid)?;
        let amended = before
            .config
            .amended(&amendments)
            .map_err(|problems| Problem::Configuration(problems_json(&problems)))?;
        let snapshot = self.compile(amended, &before).map_err(Problem::Configuration)?;
        let (old, new) = planned.subject.compared(&before.config, &snapshot.config);
        let changed = Changed {
            subject: planned.subject.to_string(),
            policy_version: snapshot.config.version.clone(),
            is_applied: !change.dry_run && !known.same_as(&amendments),
            before: old,
            after: new,
        };
        if changed.is_applied {
            let record = AdminRecord {
                id: Some(change_id()),
                timestamp: now,
                action: planned.action.to_owned(),
                who: change.who.clone(),
                subject: Some(changed.subject.clone()),
                before: to_raw_value(&changed.before).ok(),
                after: to_raw_value(&changed.after).ok(),
                change: to_raw_value(&planned.change).ok(),
            };
            self.write_and_apply(snapshot, record, true)?;
        }
        Ok(changed)
    }

    /// Forgets what is known of a tenant's workloads on this instance, and writes that down.
    ///
    /// # Errors
    /// Where the journal cannot be written; then nothing is forgotten.
    pub fn forget_workloads(&self, who: String, tenant: &str) -> Result<Value, Problem> {
        let runtime = &self.tercet.runtime;
        let record = AdminRecord {
            id: None,
            timestamp: runtime.clock.now(),
            action: "workloads.reset".to_owned(),
            who,
            subject: Some(format!("tenant:{tenant}")),
            before: None,
            after: None,
            change: None,
        };
        if !runtime.journal.healthy() {
            return Err(Problem::Unavailable(
                "the journal cannot be written; nothing was forgotten".to_owned(),
            ));
        }
        let written = Handle::current().block_on(runtime.journal.append(&record.into()));
        written.map_err(|failure| Problem::Unavailable(failure.to_string()))?;
        Ok(json!({ "forgotten": runtime.workloads.reset(tenant) }))
    }

    /// Writes a change down and puts it in force; one that is new goes to the other instances.
    pub(super) fn write_and_apply(
        &self,
        snapshot: Snapshot,
        record: AdminRecord,
        is_new: bool,
    ) -> Result<(), Problem> {
        let journal = &self.tercet.runtime.journal;
        if !journal.healthy() {
            return Err(Problem::Unavailable(
                "the journal cannot be written; nothing was changed".to_owned(),
            ));
        }
        self.shared.note(&record, is_new);
        let (action, who, subject) = (record.action.clone(), record.who.clone(), record.subject.clone());
        let written = Handle::current().block_on(journal.append(&record.into()));
        // A record that failed is kept and tried again, so the change must hold; but a crash may lose it.
        self.put_in_force(snapshot);
        tracing::info!(action, who, subject, "changed by the admin API");
        written.map(drop).map_err(|failure| {
            Problem::Unavailable(format!(
                "in force, but not yet written down ({failure}); a crash would lose it"
            ))
        })
    }
}

/// Lays over a configuration what earlier changes left in the journal; also returns the number of its last record.
pub(super) fn restore(config: Config, shared: &ChangeStream) -> Result<(Config, u64), StartProblem> {
    let (amendments, seq) = amendments(&config.journal.path, shared)?;
    if amendments.is_empty() {
        return Ok((config, seq));
    }
    config.amended(&amendments).map(|config| (config, seq)).map_err(StartProblem::Changes)
}

fn amendments(journal: &Path, shared: &ChangeStream) -> Result<(Amendments, u64), StartProblem> {
    let mut amendments = Ok(Amendments::default());
    let seq = journal::changes(journal, |seq, record| {
        shared.note(&record, false);
        let Some(change) = &record.change else { return };
        let said: Value = serde_json::from_str(change.get()).unwrap_or_default();
        if let Ok(before) = &amendments {
            amendments = before.with(&said, record.timestamp).map_err(|what| (seq, what));
        }
    })?;
    let amendments = amendments.map_err(|(seq, what)| StartProblem::Change { seq, what })?;
    Ok((amendments, seq))
}

/// Lists the changes in the journal, newest first: `{"data": [records], "next_page": seq or null}`.
pub(super) fn list(journal: &Path, asked: &ChangeQuery) -> Result<Value, Problem> {
    let mut newest: VecDeque<Value> = VecDeque::new();
    let read = journal::changes(journal, |seq, record| {
        let is_wanted = asked.before.is_none_or(|before| seq < before)
            && asked.subject.as_deref().is_none_or(|subject| record.subject.as_deref() == Some(subject))
            && asked.kind.is_none_or(|kind| record.subject.as_deref().unwrap_or_default().starts_with(kind));
        if !is_wanted {
            return;
        }
        // One more than fits tells that there is another page.
        if newest.len() > asked.limit {
            newest.pop_front();
        }
        newest.push_back(json!({
            "seq": seq, "timestamp": record.timestamp.to_string(), "who": record.who, "action": record.action,
            "subject": record.subject, "before": record.before, "after": record.after,
        }));
    });
    read.map_err(|failure| Problem::Internal(failure.to_string()))?;
    let has_more = newest.len() > asked.limit;
    let data: Vec<Value> = newest.into_iter().rev().take(asked.limit).collect();
    let next_page = data.last().filter(|_| has_more).and_then(|last| last.get("seq")).cloned();
    Ok(json!({ "data": data, "next_page": next_page }))
}

/// Returns the members of two descriptions that differ, `null` where one has none of them.
pub(super) fn differing(before: &Value, after: &Value) -> (Value, Value) {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        return (before.clone(), after.clone());
    };
    let (mut was, mut is) = (Map::new(), Map::new());
    for name in old.keys().chain(new.keys().filter(|name| !old.contains_key(*name))) {
        let (one, other) = (old.get(name).unwrap_or(&Value::Null), new.get(name).unwrap_or(&Value::Null));
        if one != other {
            let (one, other) = differing(one, other);
            was.insert(name.clone(), one);
            is.insert(name.clone(), other);
        }
    }
    (Value::Object(was), Value::Object(is))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_told() {
        let before = json!({"budget": {"daily": "1.00 USD", "zone": "UTC"}, "users": {}, "keys": [1]});
        let after =
            json!({"budget": {"daily": null, "zone": "UTC"}, "users": {"ann": {"quota": 1}}, "keys": [1]});
        let (was, is) = differing(&before, &after);
        assert_eq!(was, json!({"budget": {"daily": "1.00 USD"}, "users": {"ann": null}}));
        assert_eq!(is, json!({"budget": {"daily": null}, "users": {"ann": {"quota": 1}}}));
    }
}
