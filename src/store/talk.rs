//! The one task that talks with Redis: tells what changed, asks for what is needed, and meets again after a loss.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use redis::{Cmd, Pipeline};
use tokio::sync::watch;

use super::account::{Account, AccountId, Accounts, Level};
use super::cell::{Cell, Period, Rate, Unit};
use super::link::{ANSWER_WITHIN, LinkFailure};
use super::share::{CellReply, CellReport};
use super::sharing::{Answer, Ask, Sharing};

/// What the task knows of the server it talks to.
#[derive(Default)]
struct Talk {
    /// Which connection the rest belongs to.
    generation: u64,
    sync: String,
    epoch: String,
    epochs: [String; PARTITIONS],
    /// Accounts that are told of again and again, with the last time, and whether something of them is held.
    watched: HashMap<AccountId, Watched>,
    told_at: Option<Instant>,
    looked_at: Option<Instant>,
}

struct Watched {
    account: Arc<Account>,
    told_at: Instant,
    holding: bool,
}

/// An account and what was said of it.
type Said = (Ask, Vec<CellReport>);

impl Accounts {
    /// Talks with the other instances until `ended`, then gives back what is unspent.
    pub async fn share(&self, mut ended: watch::Receiver<bool>) {
        let Some(sharing) = &self.ledger.sharing else { return };
        let mut talk = Talk::default();
        let mut again = false;
        loop {
            let end = async { drop(ended.wait_for(|ended| *ended).await) };
            let ending = tokio::select! {
                () = end => true,
                () = sharing.wake.notified() => false,
                () = tokio::time::sleep(if again { AGAIN_AFTER } else { TELL_EVERY }) => false,
            };
            if !sharing.link.is_up() {
                sharing.fail_all();
            } else {
                again = talk.round(self, sharing, ending).await.unwrap_or(false);
            }
            if ending {
                return;
            }
        }
    }
}

impl Talk {
    /// Says what there is to say; tells whether something waits for the other instances.
    async fn round(
        &mut self,
        accounts: &Accounts,
        sharing: &Sharing,
        leaving: bool,
    ) -> Result<bool, LinkFailure> {
        let now = accounts.ledger.now().instant;
        let due = |last: Option<Instant>, every| {
            last.is_none_or(|last| now.saturating_duration_since(last) >= every)
        };
        if self.generation != sharing.link.generation() {
            self.meet(accounts, sharing).await?;
        } else if due(self.looked_at, LOOK_EVERY) {
            self.looked_at = Some(now);
            let lost = self.lost_epochs(sharing).await?;
            self.rebuild(accounts, sharing, &lost).await?;
        }
        let changes_too = leaving || due(self.told_at, TELL_EVERY);
        if changes_too {
            self.told_at = Some(now);
            let stale = |one: &&Watched| leaving || due(Some(one.told_at), REMIND_EVERY);
            self.watched.values().filter(stale).for_each(|one| sharing.changed(&one.account));
        }
        let (mut again, mut changes) = (false, changes_too);
        loop {
            let asks = sharing.next(BATCH, changes);
            if asks.is_empty() {
                return Ok(again);
            }
            // What changes meanwhile is told the next time.
            changes &= asks.len() == BATCH;
            let (waiting, lost) = self.tell(accounts, sharing, asks, leaving).await?;
            again |= !waiting.is_empty();
            // What waits is left for the next round; what met another epoch is told again once that is joined.
            waiting.into_iter().for_each(|ask| sharing.put_back(ask));
            if !lost.is_empty() {
                let partitions: Vec<usize> = lost.iter().map(|ask| partition(ask.account.id())).collect();
                lost.into_iter().for_each(|ask| sharing.put_back(ask));
                self.rebuild(accounts, sharing, &partitions).await?;
            } else if again {
                return Ok(true);
            }
        }
    }

    /// Begins anew with a server, which may know less than the one before: tells it everything.
    async fn meet(&mut self, accounts: &Accounts, sharing: &Sharing) -> Result<(), LinkFailure> {
        let generation = sharing.link.generation();
        let mut pipe = redis::pipe();
        pipe.cmd("SCRIPT").arg("LOAD").arg(SYNC).cmd("SCRIPT").arg("LOAD").arg(EPOCH);
        (self.sync, self.epoch) = send(sharing, pipe).await?;
        self.rebuild(accounts, sharing, &(0..PARTITIONS).collect::<Vec<_>>()).await?;
        self.generation = generation;
        Ok(())
    }

    /// Joins the epochs of these partitions and tells all that was used and is held in them.
    async fn rebuild(
        &mut self,
        accounts: &Accounts,
        sharing: &Sharing,
        partitions: &[usize],
    ) -> Result<(), LinkFailure> {
        if partitions.is_empty() {
            return Ok(());
        }
        self.join(sharing, partitions, "rebuilding").await?;
        let mut all = accounts.all();
        all.retain(|account| partitions.contains(&partition(account.id())));
        for some in all.chunks(BATCH) {
            let asks = some.iter().map(|account| Ask::telling(Arc::clone(account))).collect();
            drop(self.tell(accounts, sharing, asks, false).await?);
        }
        self.join(sharing, partitions, "ready").await
    }

    async fn join(
        &mut self,
        sharing: &Sharing,
        partitions: &[usize],
        state: &str,
    ) -> Result<(), LinkFailure> {
        let mut pipe = redis::pipe();
        for partition in partitions {
            let fresh = uuid::Uuid::now_v7().simple().to_string();
            pipe.cmd("EVALSHA").arg(&self.epoch).arg(1).arg(epoch_key(*partition));
            pipe.arg(&sharing.instance).arg(&sharing.boot).arg(fresh).arg(state);
        }
        let joined: Vec<String> = send(sharing, pipe).await?;
        for (partition, id) in partitions.iter().zip(joined) {
            if let Some(known) = self.epochs.get_mut(*partition) {
                *known = id;
            }
        }
        Ok(())
    }

    /// Returns the partitions whose epoch is not the one that was joined: their data was lost.
    async fn lost_epochs(&self, sharing: &Sharing) -> Result<Vec<usize>, LinkFailure> {
        let mut pipe = redis::pipe();
        (0..PARTITIONS).for_each(|partition| {
            pipe.cmd("HGET").arg(epoch_key(partition)).arg("id");
        });
        let found: Vec<Option<String>> = send(sharing, pipe).await?;
        let ours = self.epochs.iter().zip(found).enumerate();
        Ok(ours.filter(|(_, (ours, found))| found.as_ref() != Some(*ours)).map(|(at, _)| at).collect())
    }

    /// Tells of some accounts at once; returns those whose requests must wait, and those that met another epoch.
    async fn tell(
        &mut self,
        accounts: &Accounts,
        sharing: &Sharing,
        asks: Vec<Ask>,
        leaving: bool,
    ) -> Result<(Vec<Ask>, Vec<Ask>), LinkFailure> {
        let now = accounts.ledger.now();
        let mut pipe = redis::pipe();
        let mut said: Vec<Said> = Vec::with_capacity(asks.len());
        for ask in asks {
            ask.account.changed.store(false, Ordering::Release);
            let reports = ask.account.lock().report(&ask.needs, now, leaving);
            if reports.is_empty() {
                self.watched.remove(ask.account.id());
                ask.answer(Answer::Granted);
                continue;
            }
            pipe.add_command(self.command(sharing, ask.account.id(), &reports));
            said.push((ask, reports));
        }
        if said.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let heard: Vec<Vec<i64>> = match send(sharing, pipe).await {
            Ok(heard) => heard,
            Err(failure) => {
                for (ask, _) in said {
                    sharing.changed(&ask.account);
                    ask.answer(Answer::Failed);
                }
                return Err(failure);
            }
        };
        Ok(self.hear(accounts, sharing, said, &heard, now.instant))
    }

    fn hear(
        &mut self,
        accounts: &Accounts,
        sharing: &Sharing,
        said: Vec<Said>,
        heard: &[Vec<i64>],
        sent: Instant,
    ) -> (Vec<Ask>, Vec<Ask>) {
        let (mut waiting, mut lost) = (Vec::new(), Vec::new());
        let now = accounts.ledger.now();
        for ((ask, reports), numbers) in said.into_iter().zip(heard) {
            let (state, cells) =
                numbers.split_first().map_or((-1, &[][..]), |(state, cells)| (*state, cells));
            if state < 0 {
                lost.push(ask);
                continue;
            }
            let replies: Vec<CellReply> = cells.chunks_exact(4).map(CellReply::read).collect();
            let (holding, watched) = {
                let mut own = ask.account.lock();
                own.learn(&reports, &replies, sent, now);
                (own.is_holding(), own.is_watched(now))
            };
            let id = ask.account.id().clone();
            if holding || watched {
                let account = Arc::clone(&ask.account);
                self.watched.insert(id, Watched { account, told_at: sent, holding });
            } else {
                self.watched.remove(&id);
            }
            let enough = |(report, reply): (&CellReport, &CellReply)| {
                reply.share >= report.keep.saturating_add(report.extra.unwrap_or(0))
            };
            let granted = reports.iter().zip(&replies).all(enough);
            match (granted, state) {
                (false, 0) if !ask.waiting.is_empty() => waiting.push(ask),
                (false, _) => ask.answer(Answer::Short),
                (true, _) => ask.answer(Answer::Granted),
            }
        }
        let holding = self.watched.values().filter(|one| one.holding).count();
        sharing.holding.store(holding as u64, Ordering::Relaxed);
        (waiting, lost)
    }

    fn command(&self, sharing: &Sharing, id: &AccountId, reports: &[CellReport]) -> Cmd {
        let at = partition(id);
        let epoch = self.epochs.get(at).map_or("", String::as_str);
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.sync).arg(2).arg(account_key(at, id)).arg(epoch_key(at));
        command.arg(&sharing.instance).arg(&sharing.boot).arg(epoch);
        for report in reports {
            let (name, kind) = name(report.cell);
            command.arg(name).arg(kind).arg(report.ends.as_second());
            command.arg(report.ceiling.map_or(-1, whole)).arg(whole(report.used)).arg(whole(report.held));
            command
                .arg(whole(report.keep))
                .arg(report.extra.map_or(-1, whole))
                .arg(whole(report.need))
                .arg(whole(report.debt));
        }
        command
    }
}

impl CellReply {
    fn read(numbers: &[i64]) -> Self {
        let at = |place: usize| numbers.get(place).map_or(0, |number| u64::try_from(*number).unwrap_or(0));
        Self { share: at(0), elsewhere_used: at(1), elsewhere_held: at(2), scarce: at(3) != 0 }
    }
}

async fn send<T: redis::FromRedisValue>(sharing: &Sharing, pipe: Pipeline) -> Result<T, LinkFailure> {
    sharing
        .link
        .ask(ANSWER_WITHIN, |mut connection| async move { pipe.query_async(&mut connection).await })
        .await
}

/// A tenant's accounts are in one partition, and that in one slot of a cluster; the organisation's in its own.
fn partition(id: &AccountId) -> usize {
    let digest = blake3::hash(id.tenant.as_bytes());
    usize::from(digest.as_bytes()[0]) % PARTITIONS
}

/// Names may hold any character, so the tenant's length is written before it.
fn account_key(partition: usize, id: &AccountId) -> String {
    let level = match id.level {
        Level::Organisation => "organisation",
        Level::Tenant => "tenant",
        Level::User => "user",
        Level::Key => "key",
        Level::Sample => "sample",
    };
    let mut key = format!("tercet:1:{{{partition}}}:{level}");
    let _ = write!(key, ":{}:{}:{}", id.tenant.len(), id.tenant, id.name);
    key
}

fn epoch_key(partition: usize) -> String {
    format!("tercet:1:{{{partition}}}:epoch")
}

const fn name(cell: Cell) -> (&'static str, &'static str) {
    match cell {
        Cell::Rate(Rate::Requests) => ("rr", "r"),
        Cell::Rate(Rate::InputTokens) => ("ri", "r"),
        Cell::Rate(Rate::OutputTokens) => ("ro", "r"),
        Cell::Concurrency => ("cc", "c"),
        Cell::Window(Unit::Money, Period::Day) => ("md", "w"),
        Cell::Window(Unit::Money, Period::Week) => ("mw", "w"),
        Cell::Window(Unit::Money, Period::Month) => ("mm", "w"),
        Cell::Window(Unit::Tokens, Period::Day) => ("td", "w"),
        Cell::Window(Unit::Tokens, Period::Week) => ("tw", "w"),
        Cell::Window(Unit::Tokens, Period::Month) => ("tm", "w"),
    }
}

/// Numbers of a script are doubles: exact up to nine million dollars a period, and that is where they end.
fn whole(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX).min(1 << 53)
}

const SYNC: &str = include_str!("sync.lua");
const EPOCH: &str = include_str!("epoch.lua");

/// Slots of a cluster that accounts are spread over.
const PARTITIONS: usize = 16;
/// Accounts told of in one round trip.
const BATCH: usize = 128;
/// How often the others are told of what changed.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// How often they are told that something is still held.
const REMIND_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether Redis has lost its data.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How soon is asked again while the others tell their part.
const AGAIN_AFTER: Duration = Duration::from_millis(25);
