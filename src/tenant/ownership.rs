//! Which tenant owns an upstream object: a batch, a file, a container, a thread.
//!
//! With our credential every tenant's objects live in one upstream account, so an id is answered only to the
//! tenant that made it. The table is a view of the journal. It holds at most [`MAX_OBJECTS`] ids of each kind, so
//! that many threads push out no files; the oldest of a kind is forgotten first, which refuses access to it and
//! never grants any.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use crate::journal::ObjectType;

/// Object ids and their owners.
#[derive(Debug, Default)]
pub struct Ownership(Mutex<HashMap<ObjectType, Table>>);

/// The objects of one kind.
#[derive(Debug, Default)]
struct Table {
    /// By id: the owner, and the claim's number.
    owners: HashMap<Arc<str>, (Arc<str>, u64)>,
    /// Ids by number of the claim.
    oldest_first: BTreeMap<u64, Arc<str>>,
    claims: u64,
}

impl Ownership {
    /// Remembers who made an object; the first claim stands.
    pub fn claim(&self, kind: ObjectType, id: &str, tenant: &str) {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let table = tables.entry(kind).or_default();
        if table.owners.contains_key(id) {
            return;
        }
        if table.owners.len() >= MAX_OBJECTS
            && let Some((_, oldest)) = table.oldest_first.pop_first()
        {
            table.owners.remove(&oldest);
        }
        table.claims += 1;
        let id = Arc::<str>::from(id);
        table.oldest_first.insert(table.claims, Arc::clone(&id));
        table.owners.insert(id, (tenant.into(), table.claims));
    }

    /// Returns all claims that stand, those of a kind in the order in which they were made.
    #[must_use]
    pub fn claims(&self) -> Vec<(ObjectType, Box<str>, Box<str>)> {
        let tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kinds: Vec<_> = tables.iter().collect();
        kinds.sort_by_key(|(kind, _)| **kind as u8);
        let claims = kinds.into_iter().flat_map(|(kind, table)| {
            let ids = table.oldest_first.values();
            ids.filter_map(|id| Some((*kind, (**id).into(), (*table.owners.get(id)?.0).into())))
        });
        claims.collect()
    }

    /// Forgets an object that was deleted.
    pub fn forget(&self, kind: ObjectType, id: &str) {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = tables.get_mut(&kind)
            && let Some((_, claim)) = table.owners.remove(id)
        {
            table.oldest_first.remove(&claim);
        }
    }

    /// Tells whether `tenant` owns the object.
    #[must_use]
    pub fn owns(&self, tenant: &str, kind: ObjectType, id: &str) -> bool {
        let tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let owner = tables.get(&kind).and_then(|table| table.owners.get(id));
        owner.is_some_and(|(owner, _)| &**owner == tenant)
    }
}

/// Most object ids remembered of one kind, about 250 bytes each.
pub const MAX_OBJECTS: usize = 250_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_belongs_to_the_tenant_that_made_it_and_to_no_other() {
        let ownership = Ownership::default();
        ownership.claim(ObjectType::File, "file_1", "acme");
        ownership.claim(ObjectType::File, "file_1", "rival");
        assert!(ownership.owns("acme", ObjectType::File, "file_1"));
        assert!(!ownership.owns("rival", ObjectType::File, "file_1"));
        assert!(!ownership.owns("acme", ObjectType::Batch, "file_1"));
        assert!(!ownership.owns("acme", ObjectType::File, "file_2"));
    }

    #[test]
    fn past_the_bound_the_oldest_object_is_forgotten() {
        let ownership = Ownership::default();
        for number in 0..=MAX_OBJECTS {
            ownership.claim(ObjectType::Thread, &format!("msg_{number}"), "acme");
        }
        assert!(!ownership.owns("acme", ObjectType::Thread, "msg_0"));
        assert!(ownership.owns("acme", ObjectType::Thread, "msg_1"));
    }

    #[test]
    fn many_threads_push_out_nobody_s_files() {
        let ownership = Ownership::default();
        ownership.claim(ObjectType::File, "file_1", "acme");
        for number in 0..=MAX_OBJECTS {
            ownership.claim(ObjectType::Thread, &format!("msg_{number}"), "noisy");
        }
        assert!(ownership.owns("acme", ObjectType::File, "file_1"));
    }

    #[test]
    fn a_deleted_object_is_nobody_s_and_takes_no_room() {
        let ownership = Ownership::default();
        ownership.claim(ObjectType::File, "file_kept", "acme");
        for number in 0..=MAX_OBJECTS {
            let id = format!("file_{number}");
            ownership.claim(ObjectType::File, &id, "noisy");
            ownership.forget(ObjectType::File, &id);
        }
        assert!(!ownership.owns("noisy", ObjectType::File, "file_1"));
        assert!(ownership.owns("acme", ObjectType::File, "file_kept"));
    }
}
