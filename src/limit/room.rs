//! Room for what is in flight, shared by tenants so that one that floods leaves room for the others: requests, and the
//! bytes of their bodies.
//!
//! Up to a sixteenth below the bound everyone is let in. Beyond that only those are who have less than their share: all
//! but that sixteenth, divided by the tenants that have something in flight. So whoever is alone may use nearly all,
//! whoever comes finds room at once, and as requests end the room of those above their share goes to those below.
//! Nobody waits: what has no room is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use foldhash::quality::RandomState;

/// What is in flight, by tenant; safe to share. It remembers every tenant that was named once.
#[derive(Debug, Default)]
pub struct Room {
    whole: Arc<Whole>,
    parts: DashMap<Arc<str>, Arc<Part>, RandomState>,
}

#[derive(Debug, Default)]
struct Whole {
    requests: Space,
    bytes: Space,
}

/// What all tenants have of one kind.
#[derive(Debug, Default)]
struct Space {
    taken: AtomicU64,
    /// Tenants that have something of it.
    present: AtomicU64,
}

#[derive(Debug, Default)]
struct Part {
    requests: AtomicU64,
    bytes: AtomicU64,
}

/// A request's place, and the room of its body and of what is held of its answer; given back when dropped.
#[derive(Debug)]
pub struct Stay {
    whole: Arc<Whole>,
    part: Arc<Part>,
    requests: u64,
    bytes: u64,
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The tenant has its share, this much.
    Share(u64),
    /// All of it is taken.
    Whole,
}

impl Room {
    /// Takes a place among `bound` for a request of a tenant.
    ///
    /// # Errors
    /// Where there is none for it.
    pub fn enter(&self, tenant: &Arc<str>, bound: usize) -> Result<Stay, Full> {
        let known = self.parts.get(tenant).map(|part| Arc::clone(&part));
        let part = known.unwrap_or_else(|| Arc::clone(&self.parts.entry(Arc::clone(tenant)).or_default()));
        let whole = Arc::clone(&self.whole);
        let entered = whole.requests.take(&part.requests, 1, u64::try_from(bound).unwrap_or(u64::MAX));
        // What was counted of a refused one is given back with this as well.
        let stay = Stay { whole, part, requests: 1, bytes: 0 };
        entered.map(|()| stay)
    }
}

impl Stay {
    /// Returns room of the same tenant's for what outlives the request's own place.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self { whole: Arc::clone(&self.whole), part: Arc::clone(&self.part), requests: 0, bytes: 0 }
    }

    /// Takes room for so many more bytes, among `bound`.
    ///
    /// # Errors
    /// Where there is none for them; what was taken before is kept until the end of the stay.
    pub fn hold(&mut self, bytes: u64, bound: u64) -> Result<(), Full> {
        self.bytes += bytes;
        self.whole.bytes.take(&self.part.bytes, bytes, bound)
    }
}

impl Space {
    /// Counts an amount, and tells whether there was room for it.
    fn take(&self, part: &AtomicU64, amount: u64, bound: u64) -> Result<(), Full> {
        let before = part.fetch_add(amount, Ordering::AcqRel);
        if before == 0 && amount > 0 {
            self.present.fetch_add(1, Ordering::AcqRel);
        }
        let taken = self.taken.fetch_add(amount, Ordering::AcqRel) + amount;
        let calm = bound - bound / RESERVE;
        if taken <= calm {
            return Ok(());
        }
        let share = calm.div_ceil(self.present.load(Ordering::Acquire).max(1)).max(1);
        if before + amount > share {
            return Err(Full::Share(share));
        }
        if taken > bound { Err(Full::Whole) } else { Ok(()) }
    }

    fn give_back(&self, part: &AtomicU64, amount: u64) {
        if amount == 0 {
            return;
        }
        self.taken.fetch_sub(amount, Ordering::AcqRel);
        if part.fetch_sub(amount, Ordering::AcqRel) == amount {
            self.present.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.whole.requests.give_back(&self.part.requests, self.requests);
        self.whole.bytes.give_back(&self.part.bytes, self.bytes);
    }
}

/// Of how much one part is kept for those who have less than their share.
const RESERVE: u64 = 16;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    fn tenant(name: &str) -> Arc<str> {
        name.into()
    }

    /// Enters as long as there is room.
    fn flood(room: &Room, name: &str, bound: usize) -> VecDeque<Stay> {
        std::iter::from_fn(|| room.enter(&tenant(name), bound).ok()).collect()
    }

    fn assert_empty(room: &Room) {
        for space in [&room.whole.requests, &room.whole.bytes] {
            let left = [&space.taken, &space.present].map(|left| left.load(Ordering::Relaxed));
            assert_eq!(left, [0, 0]);
        }
    }

    #[test]
    fn whoever_is_alone_has_all_but_what_is_kept_for_who_comes() {
        let room = Room::default();
        let alone = flood(&room, "a", 160);
        assert_eq!(alone.len(), 150);
        assert_eq!(room.enter(&tenant("a"), 160).unwrap_err(), Full::Share(150));
        let enter = |name: &str| room.enter(&tenant(name), 160);
        let mut others: Vec<_> = (0..10).map(|n| enter(&format!("t{n}")).unwrap()).collect();
        assert_eq!(enter("late").unwrap_err(), Full::Whole);
        others.pop();
        assert!(enter("late").is_ok());
    }

    #[test]
    fn a_share_may_be_taken_to_its_last_place() {
        let room = Room::default();
        // Of 32 the last two are kept for who has less than a share.
        let first = flood(&room, "a", 32);
        let second = flood(&room, "b", 32);
        assert_eq!((first.len(), second.len()), (30, 2));
        drop(first);
        let mut alone = room.enter(&tenant("c"), 32).unwrap();
        assert_eq!(alone.hold(1_600, 1_600), Err(Full::Share(1_500)));
        let mut other = room.enter(&tenant("d"), 32).unwrap();
        assert_eq!(other.hold(0, 1_600), Ok(()));
        drop(alone);
        assert_eq!(other.hold(1_500, 1_600), Ok(()));
        drop((second, other));
        assert_empty(&room);
    }

    #[test]
    fn what_a_flood_holds_passes_to_the_others_as_its_requests_end() {
        let (room, bound) = (Room::default(), 64);
        let (mut a, mut b) = (flood(&room, "a", bound), VecDeque::new());
        for _ in 0..200 {
            // Whichever ends, both ask at once, the flood ten times as often and first.
            drop(if a.len() > b.len() { a.pop_front() } else { b.pop_front() });
            a.extend((0..10).filter_map(|_| room.enter(&tenant("a"), bound).ok()));
            b.extend(room.enter(&tenant("b"), bound).ok());
        }
        assert!((30..=31).contains(&a.len()) && (30..=31).contains(&b.len()), "{} and {}", a.len(), b.len());
        drop((a, b));
        assert_empty(&room);
    }

    #[test]
    fn one_place_is_room_for_one() {
        let room = Room::default();
        let stay = room.enter(&tenant("a"), 1).unwrap();
        assert!(room.enter(&tenant("b"), 1).is_err());
        drop(stay);
        assert!(room.enter(&tenant("b"), 1).is_ok());
    }

    #[test]
    fn bodies_are_held_to_their_tenant_s_share_of_the_bytes() {
        let (room, bound) = (Room::default(), 1_600);
        let enter = |name: &str| room.enter(&tenant(name), 100).unwrap();
        let (mut large, mut small) = (enter("a"), enter("b"));
        large.hold(1_500, bound).unwrap();
        assert_eq!(enter("a").hold(1, bound), Err(Full::Share(1_500)));
        small.hold(100, bound).unwrap();
        assert_eq!(small.hold(1, bound), Err(Full::Whole));
        drop((large, small));
        assert_empty(&room);
    }

    proptest! {
        /// Never more than the bound; a tenant refused for its share has it; all is given back.
        #[test]
        fn no_order_of_coming_and_going_takes_more_than_there_is(
            bound in 1_usize..40,
            steps in prop::collection::vec((0_usize..5, prop::bool::ANY), 1..300),
        ) {
            let room = Room::default();
            let mut held: Vec<VecDeque<Stay>> = (0..5).map(|_| VecDeque::new()).collect();
            for (who, comes) in steps {
                if !comes {
                    held[who].pop_front();
                    continue;
                }
                let others = held.iter().enumerate().filter(|(n, stays)| *n != who && !stays.is_empty()).count();
                let total: usize = held.iter().map(VecDeque::len).sum();
                match room.enter(&tenant(&who.to_string()), bound) {
                    Ok(stay) => held[who].push_back(stay),
                    Err(Full::Share(share)) => {
                        let share = usize::try_from(share).unwrap();
                        prop_assert!(held[who].len() >= share);
                        prop_assert!(share * (others + 1) >= bound - bound / 16);
                    }
                    Err(Full::Whole) => prop_assert_eq!(total, bound),
                }
                prop_assert!(held.iter().map(VecDeque::len).sum::<usize>() <= bound);
            }
            drop(held);
            assert_empty(&room);
        }
    }
}
