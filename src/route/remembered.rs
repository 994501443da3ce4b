//! The memory of conversations: what was used lately, in tables that hold it themselves.
//!
//! Two tables stand behind each other. What is used stands in the younger; the elder is let go of when the younger is full
//! or a day old, and what was used since has moved by then. Nothing is allocated for an entry: kept for a day among what is
//! freed within seconds, a few small pieces each held whole pages, 15 MB after 5,000 streams of which 2 were in use.

use std::array;
use std::collections::HashMap;
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use foldhash::quality::RandomState;

use super::past::{ANYONE, Ended, Past, WARM_MAX, WRITERS_MAX, Warm};
use crate::clock::Clock;

/// What conversations have been through, by prefix.
pub(super) struct Remembered {
    clock: Clock,
    /// By a digit of the prefix, which is a hash: who could choose it cannot choose where it falls.
    parts: [Mutex<Part>; PARTS],
}

type Prefix = [u8; 32];

#[derive(Default)]
struct Table {
    kept: HashMap<Prefix, Kept, RandomState>,
    names: Names,
}

struct Part {
    young: Table,
    old: Table,
    /// When the younger was begun.
    begun: Instant,
}

impl Remembered {
    pub(super) fn new(clock: Clock) -> Self {
        let begun = clock.instant();
        let part = || Mutex::new(Part { young: Table::default(), old: Table::default(), begun });
        Self { parts: array::from_fn(|_| part()), clock }
    }

    /// Returns what is kept under a prefix, which thereby was used.
    pub(super) fn get(&self, prefix: &Prefix) -> Option<Past> {
        self.part(prefix).used(prefix)
    }

    /// Keeps what `make` makes of what is kept under a prefix, and leaves that where it makes nothing; returns what was kept.
    ///
    /// Nobody else changes anything there meanwhile, so that of two requests alike the later one sees the first.
    pub(super) fn change(
        &self,
        prefix: &Prefix,
        make: impl FnOnce(Option<&Past>) -> Option<Past>,
    ) -> Option<Past> {
        let mut part = self.part(prefix);
        let held = part.used(prefix);
        if let Some(past) = make(held.as_ref()) {
            part.young.keep(*prefix, &past);
        }
        held
    }

    fn part(&self, prefix: &Prefix) -> MutexGuard<'_, Part> {
        let [digit, ..] = prefix;
        // There is one for every remainder.
        let mut part = self.parts[usize::from(*digit) % PARTS].lock().unwrap_or_else(PoisonError::into_inner);
        part.age(self.clock.instant());
        part
    }
}

impl Part {
    /// Lets go of the elder table where the younger is full or a day old, and of both after two days.
    fn age(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.begun);
        if age >= FORGOTTEN_AFTER * 2 {
            (self.old, self.young, self.begun) = (Table::default(), Table::default(), now);
        } else if age >= FORGOTTEN_AFTER {
            (self.old, self.begun) = (std::mem::take(&mut self.young), self.begun + FORGOTTEN_AFTER);
        } else if self.young.is_full() {
            (self.old, self.begun) = (std::mem::take(&mut self.young), now);
        }
    }

    /// Returns what is kept, and moves it to the younger table.
    fn used(&mut self, prefix: &Prefix) -> Option<Past> {
        if let Some(kept) = self.old.kept.remove(prefix) {
            let past = kept.past(&self.old.names);
            self.young.keep(*prefix, &past);
            return Some(past);
        }
        self.young.kept.get(prefix).map(|kept| kept.past(&self.young.names))
    }
}

impl Table {
    fn keep(&mut self, prefix: Prefix, past: &Past) {
        let kept = Kept::of(past, &mut self.names);
        self.kept.insert(prefix, kept);
    }

    fn is_full(&self) -> bool {
        self.kept.len() >= YOUNG_MAX || self.names.by_number.len() >= NAMES_MAX
    }
}

/// A conversation's state as it is kept, 176 bytes; see [`Past`].
struct Kept {
    by: By,
    asked: Name,
    model: Name,
    wrote: [Option<Name>; WRITERS_MAX + 1],
    warm: [Option<Name>; WARM_MAX],
    warmth: [Warmth; WARM_MAX],
    calls: u64,
    prompt_tokens: u64,
    answered_at_s: i64,
    turn: u32,
    failing: u32,
    repeats: u32,
    ended: Option<Ended>,
    parted: bool,
    answered: bool,
}

/// See [`Warm`].
#[derive(Clone, Copy, Default)]
struct Warmth {
    tokens: u64,
    until_s: i64,
    ttl_s: i64,
}

/// Who recorded it: an id of ours, all of which are of one length, or whatever else it was.
enum By {
    Id([u8; ID_BYTES]),
    Other(Box<str>),
}

impl Kept {
    fn of(past: &Past, names: &mut Names) -> Self {
        let id = <[u8; ID_BYTES]>::try_from(past.by.as_bytes());
        let warmth = |warm: &Warm| Warmth { tokens: warm.tokens, until_s: warm.until_s, ttl_s: warm.ttl_s };
        Self {
            by: id.map_or_else(|_| By::Other(past.by.as_str().into()), By::Id),
            asked: names.number_of(&past.asked),
            model: names.number_of(&past.model),
            wrote: array::from_fn(|place| past.wrote.get(place).map(|name| names.number_of(name))),
            warm: array::from_fn(|place| past.warm.get(place).map(|warm| names.number_of(&warm.model))),
            warmth: array::from_fn(|place| past.warm.get(place).map(warmth).unwrap_or_default()),
            calls: past.calls,
            prompt_tokens: past.prompt_tokens,
            answered_at_s: past.answered_at_s,
            turn: past.turn,
            failing: past.failing,
            repeats: past.repeats,
            ended: past.ended,
            parted: past.parted,
            answered: past.answered,
        }
    }

    fn past(&self, names: &Names) -> Past {
        let by = match &self.by {
            By::Id(id) => String::from_utf8_lossy(id).into_owned(),
            By::Other(name) => name.to_string(),
        };
        let warm = |(model, warmth): (&Option<Name>, &Warmth)| {
            let &Warmth { tokens, until_s, ttl_s } = warmth;
            model.map(|model| Warm { model: names.name(model), tokens, until_s, ttl_s })
        };
        Past {
            by,
            asked: names.name(self.asked),
            model: names.name(self.model),
            parted: self.parted,
            turn: self.turn,
            answered: self.answered,
            wrote: self.wrote.iter().flatten().map(|name| names.name(*name)).collect(),
            warm: self.warm.iter().zip(&self.warmth).filter_map(warm).collect(),
            failing: self.failing,
            calls: self.calls,
            repeats: self.repeats,
            ended: self.ended,
            prompt_tokens: self.prompt_tokens,
            answered_at_s: self.answered_at_s,
        }
    }
}

/// Names of models, which a table's entries hold by number. They go with their table: whoever makes names up is let go of
/// no later than with as many conversations.
#[derive(Default)]
struct Names {
    by_number: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, Name, RandomState>,
}

/// The number of a name, from 1.
type Name = NonZeroU16;

impl Names {
    fn number_of(&mut self, name: &str) -> Name {
        let name = if name.len() <= NAME_BYTES_MAX { name } else { ANYONE };
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let name: Arc<str> = name.into();
        self.by_number.push(Arc::clone(&name));
        // A table has no room for more long before.
        let number = u16::try_from(self.by_number.len()).ok().and_then(Name::new).unwrap_or(Name::MAX);
        self.numbers.insert(name, number);
        number
    }

    fn name(&self, number: Name) -> String {
        self.by_number.get(usize::from(number.get()) - 1).map_or(ANYONE, |name| name).to_owned()
    }
}

const PARTS: usize = 32;
/// Most that is kept, in both tables of all parts.
const CONVERSATIONS_MAX: usize = 100_000;
/// Of each part's younger table.
const YOUNG_MAX: usize = CONVERSATIONS_MAX / PARTS / 2;
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// `tct_` and a UUID's digits.
const ID_BYTES: usize = 36;
/// Of a table, and what one entry more may add.
const NAMES_MAX: usize = 1_024;
/// Longer names are no models.
pub(super) const NAME_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn memory() -> (Clock, Remembered) {
        let clock = Clock::manual(jiff::Timestamp::UNIX_EPOCH);
        (clock.clone(), Remembered::new(clock))
    }

    fn prefix(number: u32) -> Prefix {
        *blake3::hash(&number.to_le_bytes()).as_bytes()
    }

    fn turn(number: u32) -> Past {
        Past { turn: number, ..Past::default() }
    }

    prop_compose! {
        fn any_past()(
            by in "tct_[0-9a-f]{32}|[a-z]{0,40}", names in proptest::collection::vec("[a-z*]{0,9}|[é]{128}", 2 + WRITERS_MAX + 1 + WARM_MAX),
            writers in 0..=WRITERS_MAX + 1, warms in 0..=WARM_MAX, numbers: [u32; 3], wide: [u64; 3], at: [i64; 3],
            flags: [bool; 2], ended in prop_oneof![Just(None), Just(Some(Ended::Refused)), Just(Some(Ended::Truncated))],
        ) -> Past {
            let warm = names[2..2 + warms].iter().map(|model| Warm { model: model.clone(), tokens: wide[0], until_s: at[0], ttl_s: at[1] });
            Past {
                by, asked: names[0].clone(), model: names[1].clone(), parted: flags[0], turn: numbers[0], answered: flags[1],
                wrote: names[2 + WARM_MAX..][..writers].to_vec(), warm: warm.collect(), failing: numbers[1], calls: wide[1],
                repeats: numbers[2], ended, prompt_tokens: wide[2], answered_at_s: at[2],
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_kept_is_told_as_it_was(past in any_past()) {
            let (_, memory) = memory();
            prop_assert_eq!(memory.change(&[7; 32], |_| Some(past.clone())), None);
            prop_assert_eq!(memory.get(&[7; 32]), Some(past));
        }
    }

    #[test]
    fn an_entry_takes_208_bytes_with_its_prefix() {
        assert_eq!(size_of::<(Prefix, Kept)>(), 208);
    }

    #[test]
    fn what_is_used_within_a_day_is_kept_and_what_is_not_is_forgotten_within_two() {
        let (clock, memory) = memory();
        for number in [1, 2] {
            memory.change(&prefix(number), |_| Some(turn(number)));
        }
        for _ in 0..5 {
            clock.advance(FORGOTTEN_AFTER - Duration::from_secs(1));
            assert_eq!(memory.get(&prefix(1)), Some(turn(1)));
        }
        clock.advance(FORGOTTEN_AFTER);
        // Each part ages when it is asked.
        assert_eq!(memory.get(&prefix(2)), None);
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for_and_the_latest_stays() {
        let (_, memory) = memory();
        let most = u32::try_from(CONVERSATIONS_MAX).unwrap();
        for number in 0..3 * most {
            memory.change(&prefix(number), |_| Some(turn(number)));
            memory.get(&prefix(0));
        }
        let kept = (0..3 * most).filter(|number| memory.get(&prefix(*number)).is_some()).count();
        assert!(kept <= most as usize && kept >= most as usize / 3, "{kept}");
        assert_eq!(memory.get(&prefix(3 * most - 1)), Some(turn(3 * most - 1)));
    }

    #[test]
    fn a_name_that_is_no_model_takes_no_room_and_many_do_not_mix() {
        let (_, memory) = memory();
        let long = "m".repeat(NAME_BYTES_MAX + 1);
        memory.change(&prefix(0), |_| Some(Past { asked: long, ..turn(0) }));
        assert_eq!(memory.get(&prefix(0)).unwrap().asked, ANYONE);
        let named = |number: u32| Past { model: format!("model-{number}"), ..Past::default() };
        for number in 0..192_u8 {
            memory.change(&[number; 32], |_| Some(named(number.into())));
        }
        for number in 0..192_u8 {
            assert_eq!(memory.get(&[number; 32]), Some(named(number.into())));
        }
    }

    #[test]
    fn made_up_names_turn_a_table_over_and_do_not_mix() {
        let (_, memory) = memory();
        let named = |number: u32| Past { model: format!("model-{number}"), ..Past::default() };
        let one_part = |number: u32| {
            let mut prefix = [0; 32];
            prefix[28..].copy_from_slice(&number.to_le_bytes());
            prefix
        };
        let all = 0..3 * u32::try_from(NAMES_MAX).unwrap();
        for number in all.clone() {
            memory.change(&one_part(number), |_| Some(named(number)));
            assert!(memory.part(&[0; 32]).young.names.by_number.len() <= NAMES_MAX);
        }
        let kept: Vec<_> =
            all.clone().filter_map(|number| Some((number, memory.get(&one_part(number))?))).collect();
        assert!(kept.len() > NAMES_MAX / 2, "{} of {} are left", kept.len(), all.len());
        for (number, past) in kept {
            assert_eq!(past, named(number));
        }
    }
}
