//! The copy of the exchanges in ClickHouse: batches of rows, each of which counts once however often it is sent.
//!
//! What waits is the journal; only the place up to which it was taken is kept (`spool`). A batch is the same records
//! under the same token whenever it is sent again, by which the server drops it, from the sums of its view as well. Rows
//! of a day go in one insert, as parts of a table are by the day.

mod row;
mod spool;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clickhouse::{Client, Compression};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::aside::aside;
use crate::config;
use crate::journal::{Entry, ExchangeRecord, Pause, Place, ReadFailure, Reader};
use crate::upstream;
use row::Request;
use spool::Spool;

/// The way of the exchanges to one server.
pub struct Sink {
    client: Client,
    spool: Spool,
    journal: PathBuf,
    origin: String,
    /// Statements that make the tables; none where they are there.
    to_make: Vec<&'static str>,
}

/// What a round came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Rows that were taken.
    pub rows: usize,
    /// Whether more records wait.
    pub pause: Pause,
    /// The last record that was taken, or passed over.
    pub seq: u64,
}

/// Why a batch was not sent, or may not have been.
#[derive(Debug, thiserror::Error)]
pub enum SinkFailure {
    /// The server did not take it, or did not answer.
    #[error("{0}")]
    Server(String),
    /// What was sent cannot be written down, or read.
    #[error("{}: {source}", file.display())]
    Spool {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] ReadFailure),
}

/// Records that go together.
struct Batch {
    records: Vec<(Place, Arc<ExchangeRecord>)>,
    end: Place,
    pause: Pause,
}

/// Connects to the server, trusting the roots that are configured for it.
fn connecting(settings: &config::ClickHouse) -> Result<Client, SinkFailure> {
    let tls = upstream::tls(settings.ca.as_deref());
    let tls = tls.map_err(|problem| SinkFailure::Server(problem.to_string()))?;
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_keepalive(Some(TCP_KEEPALIVE));
    let mut client = legacy::Client::builder(TokioExecutor::new());
    // The server closes what is idle after 3 s by default.
    client.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_TIMEOUT);
    Ok(Client::with_http_client(client.build(HttpsConnector::from((connector, tls)))))
}

impl Sink {
    /// Begins where the journal at `journal`, whose chain has this origin, was last sent to this server.
    ///
    /// Fails where what was sent cannot be read.
    pub fn new(settings: &config::ClickHouse, journal: &Path, origin: &str) -> Result<Self, SinkFailure> {
        let mut client = connecting(settings)?
            .with_url(settings.origin())
            .with_database(&settings.database)
            .with_user(&settings.user)
            .with_compression(Compression::None)
            .with_product_info("tercet", env!("CARGO_PKG_VERSION"))
            .with_setting("async_insert", "0")
            .with_setting("insert_deduplicate", "1")
            .with_setting("deduplicate_blocks_in_dependent_materialized_views", "1");
        if let Some(password) = &settings.password {
            client = client.with_password(password.expose());
        }
        let target = format!("{}/{}", settings.origin(), settings.database);
        let spool = Spool::read(journal, &target)
            .map_err(|source| SinkFailure::Spool { file: journal.to_owned(), source })?;
        let to_make = if settings.create_tables { statements() } else { Vec::new() };
        Ok(Self { client, spool, journal: journal.to_owned(), origin: origin.to_owned(), to_make })
    }

    /// Sends the next batch of records, up to number `until`; what failed is sent again by the next call.
    ///
    /// Reads and writes files, and waits for the server two minutes at most.
    pub async fn send(&mut self, until: u64) -> Result<Sent, SinkFailure> {
        self.make_tables().await?;
        let (journal, from, sending) = (self.journal.clone(), self.spool.sent, self.spool.sending);
        let batch = blocking(move || next(&journal, from, sending, until)).await??;
        if batch.end == self.spool.sent {
            return Ok(Sent { rows: 0, pause: Pause::End, seq: batch.end.seq });
        }
        if self.spool.sending != Some(batch.end.seq) && !batch.records.is_empty() {
            let seq = batch.end.seq;
            self.write(move |spool| spool.begin(seq)).await?;
        }
        let mut days: BTreeMap<i64, Vec<Request<'_>>> = BTreeMap::new();
        for (place, record) in &batch.records {
            let day = record.timestamp.as_second().div_euclid(DAY_S);
            days.entry(day).or_default().push(Request::of(place, record, &self.origin));
        }
        let first = self.spool.sent.seq + 1;
        for (day, rows) in &days {
            let token = format!("{}:{first}-{}:{day}", self.origin, batch.end.seq);
            let inserted = tokio::time::timeout(INSERT_TIMEOUT, self.insert(rows, token)).await;
            inserted.map_err(|_| SinkFailure::Server("no answer in time".to_owned()))??;
        }
        let end = batch.end;
        self.write(move |spool| spool.end(end)).await?;
        Ok(Sent { rows: batch.records.len(), pause: batch.pause, seq: end.seq })
    }

    /// Returns the number of the last record that was taken, or passed over.
    #[must_use]
    pub const fn sent_seq(&self) -> u64 {
        self.spool.sent.seq
    }

    /// Goes back to what was sent before, where the journal does not hold any more what was sent last.
    ///
    /// Returns false where there is nothing left to go back to.
    ///
    /// Fails where that cannot be written down.
    pub async fn go_back(&mut self) -> Result<bool, SinkFailure> {
        self.write(Spool::go_back).await
    }

    async fn make_tables(&mut self) -> Result<(), SinkFailure> {
        while let Some(statement) = self.to_make.first() {
            let made = tokio::time::timeout(INSERT_TIMEOUT, self.client.query_raw(statement).execute()).await;
            made.map_err(|_| SinkFailure::Server("no answer in time".to_owned()))?
                .map_err(|error| refused(&error))?;
            self.to_make.remove(0);
        }
        Ok(())
    }

    async fn insert(&self, rows: &[Request<'_>], token: String) -> Result<(), SinkFailure> {
        let insert = self.client.insert::<Request<'static>>(TABLE).await.map_err(|error| refused(&error))?;
        let mut insert = insert.with_setting("insert_deduplication_token", token);
        for row in rows {
            insert.write(row).await.map_err(|error| refused(&error))?;
        }
        insert.end().await.map_err(|error| refused(&error))
    }

    /// Changes what is kept of what was sent.
    async fn write<T: Send + 'static>(
        &mut self,
        change: impl FnOnce(&mut Spool) -> io::Result<T> + Send + 'static,
    ) -> Result<T, SinkFailure> {
        let mut spool = self.spool.clone();
        let changed = blocking(move || change(&mut spool).map(|told| (spool, told))).await?;
        let unwritten = |source| SinkFailure::Spool { file: self.journal.clone(), source };
        let (spool, told) = changed.map_err(unwritten)?;
        self.spool = spool;
        Ok(told)
    }
}

/// Reads the next batch behind `from`: that which is on its way, or another up to number `until`.
fn next(journal: &Path, from: Place, sending: Option<u64>, until: u64) -> Result<Batch, ReadFailure> {
    let wanted = usize::try_from(sending.unwrap_or(until).saturating_sub(from.seq)).unwrap_or(usize::MAX);
    let count = if sending.is_some() { wanted } else { wanted.min(BATCH_RECORDS) };
    let mut reader = Reader::at(journal, from);
    let mut records = Vec::new();
    let pause = reader.read(count, |place, entry| {
        if let Some(Entry::Exchange(record)) = entry {
            records.push((place, Arc::clone(record)));
        }
    })?;
    let end = reader.place();
    let pause = if end.seq < until { pause } else { Pause::End };
    Ok(Batch { records, end, pause })
}

/// Does what waits for the disk where that holds up nobody.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, SinkFailure> {
    aside(work).await.map_err(|_| SinkFailure::Server("a batch could not be read or written down".to_owned()))
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sink").field("spool", &self.spool).finish_non_exhaustive()
    }
}

/// What the server said, in one line that a log can take.
fn refused(error: &clickhouse::error::Error) -> SinkFailure {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    let line: String =
        text.chars().map(|one| if one.is_control() { ' ' } else { one }).take(SAID_MAX).collect();
    SinkFailure::Server(line)
}

/// The statements of the schema, without what it says to people.
fn statements() -> Vec<&'static str> {
    let parts = SCHEMA.split(";\n").map(|part| {
        let mut rest = part.trim_start();
        while rest.starts_with("--") {
            rest = rest.split_once('\n').map_or("", |(_, rest)| rest.trim_start());
        }
        rest.trim_end()
    });
    parts.filter(|statement| !statement.is_empty()).collect()
}

const SCHEMA: &str = include_str!("../../deploy/clickhouse/schema.sql");
const TABLE: &str = "requests";
const DAY_S: i64 = 86_400;
/// Records of a batch, about two kilobytes each.
const BATCH_RECORDS: usize = 5_000;
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
const IDLE_TIMEOUT: Duration = Duration::from_secs(2);
const INSERT_TIMEOUT: Duration = Duration::from_secs(120);
const SAID_MAX: usize = 400;
