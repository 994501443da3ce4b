//! A deterministic simulation: the gateway from its port to its journal, over time, network and disk that are played.
//!
//! A seed draws a configuration, clients, what upstreams, connections and the disk do, and how the gateway's lives end.
//! Everything runs on one thread, and time goes on when nobody has anything to do. What is real is the gateway: server,
//! pipeline, counters, cache, journal, fallbacks, drain, and the rebuild after a crash. What is held against it are the
//! promises of `ARCHITECTURE.md` ([`checks`]).

mod answer;
mod checks;
mod client;
mod dice;
mod life;
mod plan;
mod upstream;
mod wire;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use dice::Dice;
use plan::{Ends, Plan};
use world::World;

/// Plays one seed; returns the hash of all that happened, or what was broken and how it came to it.
fn play(seed: u64) -> Result<blake3::Hash, String> {
    let mut dice = Dice::new(seed);
    let mut plan = Plan::draw(&mut dice);
    let world = World::new(dice.fork());
    let folder = tempfile::tempdir().unwrap();
    let mut known = [0; 3];
    for life in plan.lives.clone() {
        let ended = life::live(&world, &mut plan, &life, folder.path(), &known);
        if matches!(life.ends, Ends::Powerless(_)) && !ended.in_order {
            world.disk().cut_power(&folder.path().join("exchanges"));
        }
        if world.seen().broken.is_empty() {
            known = checks::check(&world, &plan, &life, &ended, folder.path());
        }
        let seen = world.seen();
        if let Some(broken) = seen.broken.first() {
            return Err(format!("{broken}\n{plan:#?}\nthe last events:\n{}", seen.last(60)));
        }
    }
    let hash = world.seen().hash();
    Ok(hash)
}

fn number_of(variable: &str) -> Option<u64> {
    #[allow(clippy::disallowed_methods, reason = "which seeds are played is the caller's choice")]
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap())
}

/// Plays a seed, now and then twice; returns what is to be said where it fails.
fn failure(seed: u64, twice: bool) -> Option<String> {
    let told = |what: &str| {
        format!(
            "seed {seed}: {what}\nto play it alone: TERCET_SEED={seed} cargo test --lib simulation::seeds"
        )
    };
    match play(seed) {
        Err(broken) => Some(told(&broken)),
        Ok(hash) if twice && play(seed) != Ok(hash) => Some(told("it does not come out alike twice")),
        Ok(_) => None,
    }
}

#[test]
fn seeds_break_no_promise() {
    let only = number_of("TERCET_SEED");
    let count = number_of("TERCET_SEEDS").unwrap_or(SEEDS);
    let (first, behind) = only.map_or((0, count), |seed| (seed, seed + 1));
    let (next, played) = (AtomicU64::new(first), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let play_on = || {
        let mut failures = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= behind || failures.len() >= 3 {
                return failures;
            }
            failures.extend(failure(seed, only.is_some() || seed % TWICE_EACH == 0));
            played.fetch_add(1, Ordering::Relaxed);
        }
    };
    let failures: Vec<String> = std::thread::scope(|scope| {
        let playing: Vec<_> = (0..threads).map(|_| scope.spawn(play_on)).collect();
        playing.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    println!("{} seeds played", played.load(Ordering::Relaxed));
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// How many are played with all other tests; `make simulate` plays more.
const SEEDS: u64 = 60;
/// How many of them are played twice, to see that they come out alike.
const TWICE_EACH: u64 = 10;
