//! Which tenant owns an upstream object: a batch, a file, a container, a thread.
//!
//! With our credential every tenant's objects live in one upstream account, so an id is answered only to the
//! tenant that made it. The table is a view of the journal. It holds at most [`MAX_OBJECTS`] ids; the oldest
//! is forgotten first, which refuses access to it and never grants any.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use crate::journal::ObjectType;

/// Object ids and their owners.
#[derive(Debug, Default)]
pub struct Ownership(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    owners: HashMap<(ObjectType, Arc<str>), Arc<str>>,
    oldest_first: VecDeque<(ObjectType, Arc<str>)>,
}

impl Ownership {
    /// Remembers who made an object; the first claim stands.
    pub fn claim(&self, kind: ObjectType, id: &str, tenant: &str) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (kind, Arc::<str>::from(id));
        if table.owners.contains_key(&key) {
            return;
        }
        if table.oldest_first.len() >= MAX_OBJECTS
            && let Some(oldest) = table.oldest_first.pop_front()
        {
            table.owners.remove(&oldest);
        }
        table.oldest_first.push_back(key.clone());
        table.owners.insert(key, tenant.into());
    }

    /// Tells whether `tenant` owns the object.
    #[must_use]
    pub fn owns(&self, tenant: &str, kind: ObjectType, id: &str) -> bool {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.owners.get(&(kind, Arc::<str>::from(id))).is_some_and(|owner| &**owner == tenant)
    }
}

/// Most object ids remembered, about 200 bytes each.
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
}
