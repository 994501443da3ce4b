//! One life of the gateway in a simulated world, from its start to its end.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::{rebuild, serve_to_the_end};
use super::client::Client;
use super::dice::Dice;
use super::plan::{Ends, Life, NAMES, Plan, When};
use super::upstream;
use super::wire::{ADDRESS, Harbour, Way};
use super::world::World;
use crate::clock::Clock;
use crate::config::Config;
use crate::journal::disk::{Disk, Trouble};
use crate::pipeline::Tercet;
use crate::server::{Listener, Workers};
use crate::store::{AccountId, Cell, Claim, Demand, Period, Standing, Unit};
use crate::upstream::played;
use crate::workload::Workloads;

/// How a life ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Ended {
    /// In good order, everything settled and on the disk.
    pub(super) in_order: bool,
    /// Money as the counters had it at the end, by tenant; where it ended in good order.
    pub(super) spent: Option<[u64; 3]>,
    /// The disk refused something.
    pub(super) disk_failed: bool,
    /// When it ended.
    pub(super) at: Duration,
}

/// Lives one life on a runtime and in a time of its own.
pub(super) fn live(world: &World, plan: &mut Plan, life: &Life, folder: &Path, known: &[u64; 3]) -> Ended {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let disk = world.disk();
    disk.revive();
    Disk::set(Some(disk));
    let played = world.clone();
    played::set_network(Some(Box::new(move |target| upstream::connect(&played, target.host().unwrap()))));
    let ended = runtime.block_on(run(world, plan, life, folder, known));
    world.end();
    // What is dropped now finds a dead disk, as it would none at all.
    world.disk().die();
    drop(runtime);
    played::set_network(None);
    Disk::set(None);
    ended
}

async fn run(world: &World, plan: &mut Plan, life: &Life, folder: &Path, known: &[u64; 3]) -> Ended {
    let mut dice = world.fork();
    let wall = world.begin(dice.millis(60_000));
    world.seen().weather = upstream::weather(&mut dice);
    let config = plan.config(folder);
    let begun = Box::pin(rebuild::tercet(config.clone(), Clock::of_runtime(wall), Workloads::default()));
    let tercet = match begun.await {
        Ok(tercet) => Arc::new(tercet),
        Err(problem) => {
            world.seen().broken.push(format!("it does not start: {problem}"));
            return Ended::default();
        }
    };
    world.note("gateway", format_args!("begins {life:?}"));
    let spent = spent(&tercet);
    if spent != *known {
        world
            .seen()
            .broken
            .push(format!("the journal says that {known:?} was spent, the counters {spent:?}"));
    }
    let disk = world.disk();
    disk.meet(life.trouble);
    watch_over(world, plan, &tercet);
    let (harbour, way) = Harbour::open();
    let (ending, is_ending) = watch::channel(false);
    let mut clients = clients(world, life, &mut dice, &way, &is_ending);
    drop(way);
    let changed = (0..life.reloads).map(|_| {
        plan.change(&mut dice);
        plan.config(folder)
    });
    clients.spawn(reload(world.clone(), Arc::clone(&tercet), changed.collect(), dice.fork()));
    let listener = Listener::over(harbour, ADDRESS, &config.server);
    let ended = tokio::select! {
        biased;
        () = disk.died() => None,
        ended = play_out(world, life, &tercet, listener, clients, ending) => ended,
    };
    let at = world.seen().now();
    world.note("gateway", format_args!("has ended: {ended:?}"));
    let in_order = ended == Some(true);
    if in_order {
        settled(world, &tercet);
    }
    let spent = in_order.then(|| self::spent(&tercet));
    Ended { in_order, spent, disk_failed: disk.has_failed(), at }
}

/// Serves clients until it is time to end, and ends; tells whether that was in order, and nothing where the process dies.
async fn play_out(
    world: &World,
    life: &Life,
    tercet: &Arc<Tercet>,
    listener: Listener<Harbour>,
    mut clients: JoinSet<()>,
    ending: watch::Sender<bool>,
) -> Option<bool> {
    let (stop, stopped) = oneshot::channel::<()>();
    let (served, disk) = (Arc::clone(tercet), world.disk());
    let drain = tercet.snapshot.load().config.server.drain_timeout;
    let stopped = async { drop(stopped.await) };
    let serving = tokio::spawn(async move {
        serve_to_the_end(listener, &served, &Workers::default(), drain, stopped).await
    });
    match life.ends {
        Ends::Told { after_ms: ms }
        | Ends::Killed(When::After { ms })
        | Ends::Powerless(When::After { ms }) => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        Ends::Killed(When::InWrite(writes)) | Ends::Powerless(When::InWrite(writes)) => {
            disk.die_after(writes);
            while clients.join_next().await.is_some() {}
        }
        Ends::Quiet => while clients.join_next().await.is_some() {},
    }
    if matches!(life.ends, Ends::Killed(_) | Ends::Powerless(_)) {
        disk.die();
        return None;
    }
    disk.meet(Trouble::default());
    if life.ends == Ends::Quiet {
        quiet(world, tercet).await;
    }
    world.note("gateway", "is told to end");
    let (told, began) = (stop.send(()).is_ok(), Instant::now());
    tokio::time::sleep(Duration::from_millis(1)).await;
    ending.send_replace(true);
    let ended = serving.await.unwrap();
    // What is still on its way here would end with the process.
    let is_at_rest = tercet.runtime.tasks.is_empty() && tercet.runtime.in_flight.load(Ordering::Relaxed) == 0;
    let in_order = ended.journal_whole && ended.connections.cut == 0 && is_at_rest;
    let lasted = began.elapsed();
    // What is read in the background may go on as long again, and all settles within two seconds.
    let most = drain + drain.min(Duration::from_secs(30)) + Duration::from_secs(3);
    if !told || lasted > most {
        world.seen().broken.push(format!("the end took {lasted:?}, of at most {most:?}"));
    }
    while clients.join_next().await.is_some() {}
    Some(in_order)
}

fn clients(
    world: &World,
    life: &Life,
    dice: &mut Dice,
    way: &Way,
    is_ending: &watch::Receiver<bool>,
) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for number in 0..life.clients {
        let (world, dice, way, is_ending) = (world.clone(), dice.fork(), way.clone(), is_ending.clone());
        let tenant = number % 3;
        let client = Client { world, number, tenant, dice, way, requests: life.requests, is_ending };
        clients.spawn(client.live());
    }
    clients
}

/// Puts other configurations in force, one some time after the other.
async fn reload(world: World, tercet: Arc<Tercet>, changed: Vec<Config>, mut dice: Dice) {
    for config in changed {
        tokio::time::sleep(dice.millis(10_000)).await;
        let before = tercet.snapshot.load_full();
        tercet.snapshot.store(Arc::new(rebuild::snapshot(config, Some(&before)).unwrap()));
        world.note("operator", "reloads");
    }
}

/// Has the counters held against their ceilings whenever something happens.
fn watch_over(world: &World, plan: &Plan, tercet: &Arc<Tercet>) {
    let tercet = Arc::downgrade(tercet);
    let holds_most: Vec<bool> = plan.tenants.iter().map(|tenant| tenant.holds_most).collect();
    let look = move || {
        let tercet = tercet.upgrade()?;
        let config = &tercet.snapshot.load().config;
        for (index, name) in NAMES.iter().enumerate() {
            let ceilings = &config.tenants.get(*name)?.ceilings;
            let daily = ceilings.budget.daily.map(|daily| u64::try_from(daily.0).unwrap());
            let money = standing(&tercet, name, Cell::Window(Unit::Money, Period::Day), daily);
            let (in_flight, most) = (
                standing(&tercet, name, Cell::Concurrency, ceilings.limits.concurrent_requests),
                ceilings.limits.concurrent_requests.unwrap_or(u64::MAX),
            );
            if in_flight.used > most {
                return Some(format!("{name} has {} in flight, of {most}", in_flight.used));
            }
            if daily.is_some_and(|daily| holds_most[index] && money.used + money.reserved > daily) {
                return Some(format!("{name} has spent and holds more than {daily:?}: {money:?}"));
            }
        }
        None
    };
    world.seen().look = Some(Box::new(look));
}

fn standing(tercet: &Tercet, tenant: &str, cell: Cell, ceiling: Option<u64>) -> Standing {
    let accounts = &tercet.runtime.accounts;
    let account = accounts.configured(&AccountId::tenant(tenant.into()));
    let demand = Demand { cell, amount: 0, most: 0, ceiling };
    accounts.standing(&[Claim { account, zone: TimeZone::UTC, demands: vec![demand] }]).remove(0)
}

/// Returns what each tenant has spent today.
fn spent(tercet: &Tercet) -> [u64; 3] {
    NAMES.map(|name| standing(tercet, name, Cell::Window(Unit::Money, Period::Day), None).used)
}

/// Waits until nothing is in flight and nothing is read in the background.
async fn quiet(world: &World, tercet: &Tercet) {
    let began = Instant::now();
    let runtime = &tercet.runtime;
    while runtime.in_flight.load(Ordering::Relaxed) > 0 || !runtime.tasks.is_empty() {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if began.elapsed() > QUIET_WITHIN {
            let count = runtime.in_flight.load(Ordering::Relaxed);
            let tasks = runtime.tasks.len();
            world.seen().broken.push(format!("it never gets quiet: {count} in flight, {tasks} tasks"));
            return;
        }
    }
    settled(world, tercet);
}

/// Nothing is held, and nothing was lost.
fn settled(world: &World, tercet: &Tercet) {
    let runtime = &tercet.runtime;
    let held = runtime.accounts.reserved_total();
    if held != crate::store::Held::default() {
        world.seen().broken.push(format!("at rest there is still held {held:?}"));
    }
    let counted = [
        ("reservations leaked", runtime.accounts.leaked()),
        ("in flight", runtime.in_flight.load(Ordering::Relaxed) as u64),
        ("drained", runtime.drained.load(Ordering::Relaxed) as u64),
        ("nano-dollars drained", runtime.drained_nanousd.load(Ordering::Relaxed)),
    ];
    for (what, count) in counted.iter().filter(|(_, count)| *count > 0) {
        world.seen().broken.push(format!("at rest: {count} {what}"));
    }
}

/// Longer than all that may be waited for behind a client that has left.
const QUIET_WITHIN: Duration = Duration::from_secs(120);
