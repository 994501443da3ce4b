//! Kept answers as an operator handles them: looked at and expired, here, in Redis, and on the other instances.
//!
//! What is shared is found by its names, a part at a time, and of each value its head is read. The others are told in
//! a stream of the same Redis, or of the one for counters where answers are not shared, at which every instance looks
//! each second; what was said while an instance was away it does when it is back. The stream keeps the last 1,000
//! expiries; its key is `tercet:{expired}`.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use redis::aio::MultiplexedConnection;
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::Control;
use crate::admin::{Expiry, KeptQuery, Problem};
use crate::cache::{Chosen, SHARED_HEAD_MAX_BYTES, SHARED_NAMES, Stock, read_head};
use crate::id::change_id;
use crate::journal::AdminRecord;
use crate::pipeline::{Runtime, Tercet};
use crate::store::{ANSWER_WITHIN, Link, LinkFailure};

/// What is shared, as far as it was gone through.
struct Shared {
    stock: Stock,
    is_whole: bool,
}

/// An expiry as the other instances are told of it.
#[derive(Serialize, Deserialize)]
struct Told {
    tenant: Option<String>,
    user: Option<String>,
    key: Option<String>,
    who: String,
    /// The process that says so, which has done it already.
    from: String,
}

/// Looks at what is kept here and in Redis.
pub(super) fn look(tercet: &Tercet, asked: &KeptQuery) -> Value {
    let (chosen, now) = (chosen(asked), tercet.runtime.clock.now());
    let local = tercet.snapshot.load().cache.stock(&chosen, now, false);
    let shared = Handle::current().block_on(go_through(&tercet.runtime, &chosen, false));
    json!({ "local": local, "shared": shared_json(&shared) })
}

impl Control {
    /// Expires kept answers, or says which would be; blocks until that is written down.
    ///
    /// # Errors
    /// When the journal takes nothing, and then nothing was done; or when those that are shared stay.
    pub(super) fn expire(&self, asked: &Expiry) -> Result<Value, Problem> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let runtime = &self.tercet.runtime;
        if !runtime.journal.healthy() {
            return Err(Problem::Unavailable("the journal cannot be written; nothing is expired".to_owned()));
        }
        let chosen = chosen(&asked.which);
        let subject = subject(&asked.which);
        let expire = !asked.dry_run;
        // First what is shared, or it would be fetched again by those who ask meanwhile.
        let shared = Handle::current().block_on(go_through(runtime, &chosen, expire));
        let local = self.tercet.snapshot.load().cache.stock(&chosen, runtime.clock.now(), expire);
        let found = json!({ "local": local, "shared": shared_json(&shared) });
        if expire {
            let told = Handle::current().block_on(tell(runtime, asked, &self.process));
            let record = AdminRecord {
                id: Some(change_id()),
                timestamp: runtime.clock.now(),
                action: "cache.expire".to_owned(),
                who: asked.who.clone(),
                subject: Some(subject.clone()),
                before: to_raw_value(&found).ok(),
                after: None,
                change: None,
            };
            let written = Handle::current().block_on(runtime.journal.append(&record.into()));
            written.map_err(|failure| {
                Problem::Unavailable(format!("expired, but not yet written down ({failure})"))
            })?;
            tracing::info!(who = asked.who, subject, entries = local.entries, "kept answers are expired");
            whole(&shared, told)?;
        }
        Ok(json!({ "subject": subject, "applied": expire, "expired": found }))
    }
}

/// Tells an operator what stays, where not all was done.
fn whole(shared: &Option<Result<Shared, LinkFailure>>, told: Result<(), LinkFailure>) -> Result<(), Problem> {
    let what = match (shared, told) {
        (Some(Err(failure)), _) => format!("those shared through redis are not ({failure})"),
        (Some(Ok(Shared { is_whole: false, .. })), _) => {
            format!("redis holds more names than could be gone through in {} s", GO_THROUGH_WITHIN.as_secs())
        }
        (_, Err(failure)) => format!("the other instances could not be told ({failure})"),
        _ => return Ok(()),
    };
    Err(Problem::Unavailable(format!("the answers kept here are expired, but {what}; ask again")))
}

fn chosen(asked: &KeptQuery) -> Chosen {
    Chosen::of(asked.tenant.as_deref(), asked.user.as_deref(), asked.key.as_deref())
}

/// As in the journal: `cache`, or `cache:tenant=acme,user=ann`.
fn subject(asked: &KeptQuery) -> String {
    let given = [("tenant", &asked.tenant), ("user", &asked.user), ("key", &asked.key)];
    let named = given.into_iter().filter_map(|(what, name)| Some(format!("{what}={}", name.as_ref()?)));
    let named = named.collect::<Vec<_>>().join(",");
    if named.is_empty() { "cache".to_owned() } else { format!("cache:{named}") }
}

fn shared_json(shared: &Option<Result<Shared, LinkFailure>>) -> Value {
    match shared {
        None => Value::Null,
        Some(Err(failure)) => json!({ "failure": failure.to_string() }),
        Some(Ok(Shared { stock, is_whole })) => {
            let mut told = serde_json::to_value(stock).unwrap_or_default();
            told["complete"] = Value::from(*is_whole);
            told
        }
    }
}

/// Looks at the shared answers and drops the chosen ones; `None` where answers are not shared.
async fn go_through(runtime: &Runtime, chosen: &Chosen, expire: bool) -> Option<Result<Shared, LinkFailure>> {
    let link = runtime.answers.as_ref()?;
    let begun = runtime.clock.instant();
    let (mut stock, mut cursor) = (Stock::default(), 0);
    loop {
        let part = look_at_part(link, cursor, chosen, expire, runtime.clock.now(), &mut stock).await;
        cursor = match part {
            Ok(next) => next,
            Err(failure) => return Some(Err(failure)),
        };
        if cursor == 0 || runtime.clock.instant().duration_since(begun) > GO_THROUGH_WITHIN {
            return Some(Ok(Shared { stock, is_whole: cursor == 0 }));
        }
    }
}

/// Looks at one part, and returns where the next begins; 0 after the last.
async fn look_at_part(
    link: &Link,
    cursor: u64,
    chosen: &Chosen,
    expire: bool,
    now: Timestamp,
    stock: &mut Stock,
) -> Result<u64, LinkFailure> {
    let scan = |mut connection: MultiplexedConnection| async move {
        let mut command = redis::cmd("SCAN");
        command.arg(cursor).arg("MATCH").arg(format!("{SHARED_NAMES}*")).arg("COUNT").arg(PART);
        // Whatever else somebody keeps under such a name has no beginning that could be read.
        command.arg("TYPE").arg("string").query_async::<(u64, Vec<String>)>(&mut connection).await
    };
    let (next, names) = link.ask(ANSWER_WITHIN, scan).await?;
    if names.is_empty() {
        return Ok(next);
    }
    let mut heads = redis::pipe();
    for name in &names {
        heads.cmd("GETRANGE").arg(name).arg(0).arg(SHARED_HEAD_MAX_BYTES);
        heads.cmd("STRLEN").arg(name);
    }
    let read = |mut connection: MultiplexedConnection| async move {
        heads.query_async::<Vec<redis::Value>>(&mut connection).await
    };
    let told = link.ask(ANSWER_WITHIN, read).await?;
    let mut unlink = redis::cmd("UNLINK");
    let mut is_any = false;
    for (name, pair) in names.iter().zip(told.chunks_exact(2)) {
        let [redis::Value::BulkString(head), redis::Value::Int(bytes)] = pair else { continue };
        let Some(head) = read_head(head).filter(|head| chosen.takes(&head.payer)) else { continue };
        let age = now.duration_since(head.made_at).try_into().unwrap_or_default();
        stock.count(head.model, u64::try_from(*bytes).unwrap_or_default(), age);
        unlink.arg(name);
        is_any = true;
    }
    if expire && is_any {
        let drop_them = |mut connection: MultiplexedConnection| async move {
            unlink.query_async::<u64>(&mut connection).await
        };
        link.ask(ANSWER_WITHIN, drop_them).await?;
    }
    Ok(next)
}

/// The link by which the other instances are told.
fn herald(runtime: &Runtime) -> Option<&Arc<Link>> {
    runtime.answers.as_ref().or(runtime.counters.as_ref())
}

async fn tell(runtime: &Runtime, asked: &Expiry, process: &str) -> Result<(), LinkFailure> {
    let Some(link) = herald(runtime) else { return Ok(()) };
    let KeptQuery { tenant, user, key } = asked.which.clone();
    let told = Told { tenant, user, key, who: asked.who.clone(), from: process.to_owned() };
    let text = serde_json::to_string(&told).unwrap_or_default();
    let add = |mut connection: MultiplexedConnection| async move {
        let mut command = redis::cmd("XADD");
        command.arg(STREAM).arg("MAXLEN").arg("~").arg(TOLD_MAX).arg("*").arg("expiry").arg(text);
        command.query_async::<String>(&mut connection).await
    };
    link.ask(ANSWER_WITHIN, add).await.map(drop)
}

/// Expires what other instances were asked to expire, until the end.
pub(super) async fn listen(control: Arc<Control>, mut ended: watch::Receiver<bool>) {
    let Some(link) = herald(&control.tercet.runtime).map(Arc::clone) else { return };
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    let mut last = BEGINNING.to_owned();
    loop {
        tokio::select! {
            _ = ended.wait_for(|ended| *ended) => return,
            _ = ticks.tick() => {}
        }
        if let Err(failure) = hear(&control, &link, &mut last).await {
            tracing::debug!(%failure, "expiries of other instances are not heard at the moment");
        }
    }
}

async fn hear(control: &Arc<Control>, link: &Link, last: &mut String) -> Result<(), LinkFailure> {
    if !link.is_up() {
        return Ok(());
    }
    let after = format!("({last}");
    let read = |mut connection: MultiplexedConnection| async move {
        let mut command = redis::cmd("XRANGE");
        command.arg(STREAM).arg(after).arg("+").arg("COUNT").arg(TOLD_MAX);
        command.query_async::<Vec<(String, Vec<String>)>>(&mut connection).await
    };
    let entries = link.ask(ANSWER_WITHIN, read).await?;
    let Some((newest, _)) = entries.last() else { return Ok(()) };
    last.clone_from(newest);
    let told = entries.iter().filter_map(|(_, fields)| serde_json::from_str::<Told>(fields.get(1)?).ok());
    let told: Vec<Told> = told.filter(|told| told.from != control.process).collect();
    let tercet = Arc::clone(&control.tercet);
    let expiring = tokio::task::spawn_blocking(move || {
        for Told { tenant, user, key, who, from: _ } in told {
            let asked = KeptQuery { tenant, user, key };
            let now = tercet.runtime.clock.now();
            let found = tercet.snapshot.load().cache.stock(&chosen(&asked), now, true);
            let subject = subject(&asked);
            tracing::info!(
                who,
                subject,
                entries = found.entries,
                "kept answers are expired by another instance"
            );
        }
    });
    drop(expiring.await);
    Ok(())
}

const STREAM: &str = "tercet:{expired}";
/// Before every entry of a stream.
const BEGINNING: &str = "0-0";
const TOLD_MAX: u64 = 1_000;
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Names that are looked at in one round trip, and how long going through all of them may take.
const PART: u64 = 1_000;
const GO_THROUGH_WITHIN: Duration = Duration::from_secs(20);
