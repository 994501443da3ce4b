//! Which tenant owns an upstream object: a batch, a file, a container, a thread.
//!
//! With our credential every tenant's objects live in one upstream account, so an id is answered only to the
//! tenant that made it. The table is a view of the journal. It holds at most [`MAX_OBJECTS`] ids; the oldest
//! is forgotten first, which refuses access to it and never grants any.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// A kind of upstream object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectType {
    /// A message batch.
    Batch,
    /// An uploaded file.
    File,
    /// A code execution container.
    Container,
    /// A message thread, named by the id of any of its answers.
    Thread,
}

/// What a thread was started with; its later turns must go the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The tenant that made the object.
    pub tenant: Arc<str>,
    /// The model that serves it, for threads and containers.
    pub model: Option<Arc<str>>,
}

/// Object ids and their owners.
#[derive(Debug, Default)]
pub struct Ownership(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    owners: HashMap<(ObjectType, Arc<str>), Owner>,
    oldest_first: VecDeque<(ObjectType, Arc<str>)>,
}

impl ObjectType {
    /// Returns the name used in the journal.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::File => "file",
            Self::Container => "container",
            Self::Thread => "thread",
        }
    }

    /// Reads a name from the journal.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Batch, Self::File, Self::Container, Self::Thread].into_iter().find(|kind| kind.name() == name)
    }
}

impl Ownership {
    /// Remembers who made an object; the first claim stands.
    pub fn claim(&self, kind: ObjectType, id: &str, owner: Owner) {
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
        table.owners.insert(key, owner);
    }

    /// Returns the owner of an object, if it is known.
    #[must_use]
    pub fn owner(&self, kind: ObjectType, id: &str) -> Option<Owner> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.owners.get(&(kind, Arc::<str>::from(id))).cloned()
    }

    /// Tells whether `tenant` owns the object.
    #[must_use]
    pub fn owns(&self, tenant: &str, kind: ObjectType, id: &str) -> bool {
        self.owner(kind, id).is_some_and(|owner| &*owner.tenant == tenant)
    }
}

/// Most object ids remembered, about 200 bytes each.
pub const MAX_OBJECTS: usize = 250_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(tenant: &str) -> Owner {
        Owner { tenant: tenant.into(), model: None }
    }

    #[test]
    fn an_object_belongs_to_the_tenant_that_made_it_and_to_no_other() {
        let ownership = Ownership::default();
        ownership.claim(ObjectType::File, "file_1", owner("acme"));
        ownership.claim(ObjectType::File, "file_1", owner("rival"));
        assert!(ownership.owns("acme", ObjectType::File, "file_1"));
        assert!(!ownership.owns("rival", ObjectType::File, "file_1"));
        assert!(!ownership.owns("acme", ObjectType::Batch, "file_1"));
        assert!(!ownership.owns("acme", ObjectType::File, "file_2"));
    }

    #[test]
    fn past_the_bound_the_oldest_object_is_forgotten() {
        let ownership = Ownership::default();
        for number in 0..=MAX_OBJECTS {
            ownership.claim(ObjectType::Thread, &format!("msg_{number}"), owner("acme"));
        }
        assert!(!ownership.owns("acme", ObjectType::Thread, "msg_0"));
        assert!(ownership.owns("acme", ObjectType::Thread, "msg_1"));
    }
}
