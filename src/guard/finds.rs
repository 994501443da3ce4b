//! What was found, by kind and count: all that is ever told of it.

use crate::config::{Action, Side};

/// One kind of find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Find {
    /// The detector, the bound, or the name of a guard with patterns.
    pub what: Box<str>,
    /// Where.
    pub side: Side,
    /// What was done.
    pub action: Action,
    /// How often.
    pub count: u64,
}

/// The finds of one exchange; as many as there are kinds at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finds(Vec<Find>);

impl Finds {
    /// Counts so many more.
    pub fn add(&mut self, what: &str, side: Side, action: Action, count: u64) {
        let same = |find: &&mut Find| &*find.what == what && find.side == side && find.action == action;
        match self.0.iter_mut().find(same) {
            Some(find) => find.count = find.count.saturating_add(count),
            None => self.0.push(Find { what: what.into(), side, action, count }),
        }
    }

    /// Returns them, in the order in which they were found first.
    pub fn iter(&self) -> impl Iterator<Item = &Find> {
        self.0.iter()
    }

    /// Tells whether nothing was found.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns what the header says of them, such as `redact:email=2, flag:jwt=1`.
    #[must_use]
    pub fn header(&self) -> String {
        let told = self.0.iter().map(|find| format!("{}:{}={}", find.action.name(), find.what, find.count));
        told.collect::<Vec<_>>().join(", ")
    }
}
