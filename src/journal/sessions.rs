//! What the last sessions of clients have used, for a line that is asked for again and again.
//!
//! A view, like the sums by hour: fed each record as it is written. The [`SESSIONS_MAX`] sessions used last are kept;
//! what a session used before it was forgotten is not in its sums. Every session of the journal is in `tercet usage --by session`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use super::record::ExchangeRecord;
use super::report::Sums;

/// Sums by session and tenant, shared.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<BTreeMap<Key, SessionSums>>);

/// The session, then the tenant: who knows a session's name in another tenant is another session.
type Key = (Box<str>, Box<str>);

/// What one session has used.
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionSums {
    /// The sums.
    pub sums: Sums,
    /// When its last request came.
    pub last: Timestamp,
}

impl Sessions {
    pub(super) fn add(&self, record: &ExchangeRecord) {
        let Some(session) = record.session_id.as_deref() else { return };
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.len() >= SESSIONS_MAX + SESSIONS_MAX / 10 {
            forget(&mut sessions);
        }
        let known = sessions.entry((session.into(), record.tenant.as_str().into())).or_default();
        known.sums.add(&Sums::of(record));
        known.last = known.last.max(record.timestamp);
    }

    /// Returns what a session has used, by tenant; nothing where it is not known.
    pub(super) fn get(&self, session: &str) -> Vec<(String, SessionSums)> {
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let from: Key = (session.into(), "".into());
        let named = sessions.range(from..).take_while(|((name, _), _)| &**name == session);
        named.map(|((_, tenant), sums)| (tenant.to_string(), *sums)).collect()
    }
}

/// Keeps the [`SESSIONS_MAX`] used last.
fn forget(sessions: &mut BTreeMap<Key, SessionSums>) {
    let mut times: Vec<Timestamp> = sessions.values().map(|sums| sums.last).collect();
    let over = times.len().saturating_sub(SESSIONS_MAX);
    if over > 0 {
        let (_, oldest_kept, _) = times.select_nth_unstable(over);
        let oldest_kept = *oldest_kept;
        sessions.retain(|_, sums| sums.last >= oldest_kept);
    }
}

/// How many sessions are kept, about 3 MB; a tenth more before the oldest are forgotten.
const SESSIONS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::RequestId;
    use crate::money::NanoUsd;

    fn used(second: i64, session: &str, tenant: &str) -> ExchangeRecord {
        let time = Timestamp::from_second(second).unwrap();
        let mut record = ExchangeRecord::begin(RequestId::generate(), time, tenant.into(), "asked".into());
        record.session_id = Some(session.into());
        record.cost_nanousd = NanoUsd(2);
        record.baseline_nanousd.requested = NanoUsd(5);
        record
    }

    #[test]
    fn a_session_is_summed_for_each_tenant_that_names_it() {
        let sessions = Sessions::default();
        for (second, session, tenant) in
            [(3, "s", "acme"), (1, "s", "acme"), (2, "s", "rival"), (2, "t", "acme")]
        {
            sessions.add(&used(second, session, tenant));
        }
        let found = sessions.get("s");
        let of = |(tenant, sums): &(String, SessionSums)| {
            (tenant.clone(), sums.sums.requests, sums.sums.saved_on_requested(), sums.last.as_second())
        };
        let found: Vec<_> = found.iter().map(of).collect();
        assert_eq!(found, [("acme".to_owned(), 2, NanoUsd(6), 3), ("rival".to_owned(), 1, NanoUsd(3), 2)]);
        assert!(sessions.get("").is_empty());
    }

    #[test]
    fn the_sessions_used_last_are_kept() {
        let sessions = Sessions::default();
        for second in 0..30_000 {
            sessions.add(&used(second, &format!("session-{second}"), "acme"));
        }
        let kept = sessions.0.lock().unwrap().len();
        assert!((SESSIONS_MAX..=SESSIONS_MAX + SESSIONS_MAX / 10).contains(&kept), "{kept}");
        assert_eq!(sessions.get("session-29999").len(), 1);
        assert_eq!(sessions.get("session-20000").len(), 1);
        assert!(sessions.get("session-10000").is_empty());
    }
}
