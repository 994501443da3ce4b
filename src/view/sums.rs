//! The database of sums beside the journal, `PATH/sums.sqlite`: by hour, tenant, user, model and tier.
//!
//! Each transaction adds what some records come to and moves the place on behind them, so each record counts exactly
//! once, however often and by whomever that is tried. The file is believed only as long as it is sound, of this version,
//! adds up to the totals written with it, and its place is one of the journal's; else it is made anew from the journal.
//! It keeps hours that the journal no longer holds. Beyond [`MAX_ROWS`] rows, users and models that are not in it yet
//! are summed as `_other`, one row for each tenant, tier and hour. One writer at a time; the others wait 10 s for it.

mod schema;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use super::cells::{HOUR_S, Picked, by_the_hour, is_by_the_hour};
use crate::journal::{
    self, Cell, Entry, ExchangeRecord, Gathered, Journal, Pause, Place, Query, ReadFailure, Reader, Summed,
};

/// The database, open.
#[derive(Debug)]
pub struct Sums {
    connection: Connection,
    path: PathBuf,
    inode: u64,
    max_rows: u64,
    /// Up to where they are read, record by record; what comes behind that the journal gathers in memory.
    meets_at: Option<u64>,
}

/// Where it stands after records were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stood {
    /// Whether more records wait.
    pub pause: Pause,
    /// The place in the journal up to which it goes.
    pub place: Place,
    /// The rows it holds.
    pub rows: u64,
    /// The exchanges that were added.
    pub exchanges: u64,
}

/// Why sums could not be kept or told.
#[derive(Debug, thiserror::Error)]
pub enum SumsFailure {
    /// The database cannot be read or written now.
    #[error("the database of sums: {0}")]
    Database(#[from] rusqlite::Error),
    /// The database is not what was written; it has to be made anew.
    #[error("the database of sums cannot be trusted: {0}")]
    Distrusted(&'static str),
    /// The file cannot be made or removed.
    #[error("{}: {source}", file.display())]
    Unusable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The journal does not go on where the sums end, or cannot be read.
    #[error(transparent)]
    Journal(#[from] ReadFailure),
}

impl SumsFailure {
    /// Says whether the database itself is at fault, so that making it anew mends it.
    #[must_use]
    pub fn is_mended_by_rebuild(&self) -> bool {
        match self {
            Self::Distrusted(_) | Self::Journal(ReadFailure::Elsewhere { .. }) => true,
            Self::Database(error) => matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::ConstraintViolation)
            ),
            Self::Unusable { .. } | Self::Journal(_) => false,
        }
    }
}

impl Sums {
    /// Returns where the database of the journal at `journal` is.
    #[must_use]
    pub fn file(journal: &Path) -> PathBuf {
        journal.join(FILE)
    }

    /// Opens the database of the journal at `journal`, empty where there is none; reads all of it to believe it.
    ///
    /// Fails as distrusted where it is not what was written.
    pub fn open(journal: &Path) -> Result<Self, SumsFailure> {
        let path = Self::file(journal);
        let unusable = |source| SumsFailure::Unusable { file: path.clone(), source };
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).mode(0o600).open(&path).map_err(unusable)?;
        let inode = file.metadata().map_err(unusable)?.ino();
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "normal")?;
        let mut sums = Self { connection, path, inode, max_rows: MAX_ROWS, meets_at: None };
        let writing = sums.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        schema::make(&writing)?;
        schema::believe(&writing)?;
        writing.commit()?;
        Ok(sums)
    }

    /// Opens it, and where it cannot be trusted removes it and begins anew; tells why it did.
    ///
    /// Fails where there is no room, or no permission, for a database.
    pub fn open_or_begin(journal: &Path) -> Result<(Self, Option<SumsFailure>), SumsFailure> {
        match Self::open(journal) {
            Ok(sums) => Ok((sums, None)),
            Err(failure) if failure.is_mended_by_rebuild() => {
                remove(&Self::file(journal))?;
                Ok((Self::open(journal)?, Some(failure)))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Returns the place in the journal up to which it goes.
    ///
    /// Fails where the database cannot be read.
    pub fn place(&self) -> Result<Place, SumsFailure> {
        Ok(schema::standing(&self.connection)?.place)
    }

    /// Adds the next records of the journal at `journal`, `count` at most, in one transaction.
    ///
    /// Fails without having changed anything, except where the journal fails behind records that were added.
    pub fn add(&mut self, journal: &Path, count: usize) -> Result<Stood, SumsFailure> {
        let writing = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut standing = schema::standing(&writing)?;
        let mut reader = Reader::at(journal, standing.place);
        let mut cells = Cells::default();
        let mut exchanges = 0;
        let read = reader.read(count, |_, entry| {
            if let Some(Entry::Exchange(record)) = entry {
                exchanges += 1;
                cells.add(record, &mut standing.totals);
            }
        });
        if reader.place() != standing.place {
            standing.place = reader.place();
            put(&writing, cells.0, &mut standing.rows, self.max_rows)?;
            schema::stand(&writing, &standing)?;
            writing.commit()?;
        }
        Ok(Stood { pause: read?, place: standing.place, rows: standing.rows, exchanges })
    }

    /// Adds, in one transaction, what the exchanges come to that `journal` wrote since, from its memory.
    ///
    /// `None` where that is not gathered from where the sums end; then [`Self::read_on`] reads up to where it is. Fails
    /// without having changed anything, and without it being in memory any longer.
    pub fn add_gathered(&mut self, journal: &Journal) -> Result<Option<Stood>, SumsFailure> {
        let Some(meets_at) = self.meets_at else { return Ok(None) };
        let writing = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut standing = schema::standing(&writing)?;
        if standing.place.seq < meets_at {
            return Ok(None);
        }
        let Some(gathered) = journal.take_gathered(standing.place.seq) else { return Ok(None) };
        gathered.cells.values().for_each(|sums| standing.totals.add(sums));
        standing.place = gathered.until;
        put(&writing, gathered.cells, &mut standing.rows, self.max_rows)?;
        schema::stand(&writing, &standing)?;
        writing.commit()?;
        let Gathered { until: place, exchanges, .. } = gathered;
        Ok(Some(Stood { pause: Pause::End, place, rows: standing.rows, exchanges }))
    }

    /// Reads on in what `journal` wrote, `count` records at most, up to where it gathers in memory.
    ///
    /// Fails as [`Self::add`] does.
    pub fn read_on(&mut self, journal: &Journal, count: usize) -> Result<Stood, SumsFailure> {
        let seq = self.place()?.seq;
        let meets_at = match self.meets_at.filter(|meets_at| *meets_at > seq) {
            Some(meets_at) => meets_at,
            None => journal.gather_anew(),
        };
        self.meets_at = Some(meets_at);
        let ahead = usize::try_from(meets_at.saturating_sub(seq)).unwrap_or(usize::MAX);
        self.add(journal.path(), count.min(ahead))
    }

    /// Forgets all sums, so that the next ones are added from the journal's beginning.
    ///
    /// Fails where another process writes for more than 10 s, or the database cannot be written.
    pub fn begin_anew(&mut self) -> Result<(), SumsFailure> {
        let writing = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        schema::empty(&writing)?;
        Ok(writing.commit()?)
    }

    /// Sums the whole journal at `journal` anew in one transaction; readers see the old sums until it is through.
    ///
    /// `progress` is told every 10,000 records how many bytes of the journal were read, of how many. Fails as
    /// [`Self::add`] does, and then leaves all as it was.
    pub fn rebuild(
        &mut self,
        journal: &Path,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Stood, SumsFailure> {
        let writing = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        schema::empty(&writing)?;
        let mut standing = schema::standing(&writing)?;
        let mut reader = Reader::at(journal, Place::BEGINNING);
        let (total, mut done, mut exchanges) = (reader.total_bytes()?, 0, 0);
        let mut before = Place::BEGINNING;
        loop {
            let mut cells = Cells::default();
            let pause = reader.read(REBUILD_STEP, |place, entry| {
                let from = if place.segment == before.segment { before.offset } else { 0 };
                done += place.offset.saturating_sub(from);
                before = place;
                if let Some(Entry::Exchange(record)) = entry {
                    exchanges += 1;
                    cells.add(record, &mut standing.totals);
                }
            })?;
            put(&writing, cells.0, &mut standing.rows, self.max_rows)?;
            progress(done.min(total), total);
            if pause == Pause::End {
                standing.place = reader.place();
                schema::stand(&writing, &standing)?;
                writing.commit()?;
                return Ok(Stood { pause, place: standing.place, rows: standing.rows, exchanges });
            }
        }
    }

    /// Says whether the file is another by now, as after someone removed it.
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        self.path.metadata().map_or(true, |found| found.ino() != self.inode)
    }

    /// Returns the inode of the file, which was read whole and believed when it was opened.
    #[must_use]
    pub const fn inode(&self) -> u64 {
        self.inode
    }

    /// Likewise, for the whole hours that the times asked for lie in.
    #[must_use]
    pub fn answer_hours(journal: &Path, query: &Query, believed: Option<u64>) -> Option<Picked> {
        Self::answer(journal, &by_the_hour(query), believed)
    }

    /// Answers `query` from the sums and the journal's records behind them; `None` where these do not tell.
    ///
    /// That is where there are no sums, where they cannot be trusted, or do not belong to the journal at `journal`, and
    /// where the times asked for are not whole hours. Nothing is written. All of it is read to believe it, which takes
    /// a second or two where it is full, but where its inode is the `believed` one: that of [`Self::inode`] of a writer
    /// that is still at it.
    #[must_use]
    pub fn answer(journal: &Path, query: &Query, believed: Option<u64>) -> Option<Picked> {
        if !is_by_the_hour(query) {
            return None;
        }
        let path = Self::file(journal);
        if !path.exists() {
            return None;
        }
        let is_believed = believed.is_some() && path.metadata().ok().map(|found| found.ino()) == believed;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let told = Connection::open_with_flags(&path, flags).map_err(SumsFailure::from);
        let told = told.and_then(|mut connection| {
            connection.busy_timeout(BUSY_TIMEOUT)?;
            let reading = connection.transaction()?;
            if !is_believed {
                schema::believe(&reading)?;
            }
            let standing = schema::standing(&reading)?;
            let mut picked = schema::pick(&reading, query)?;
            let mut reader = Reader::at(journal, standing.place);
            reader.read(usize::MAX, |_, entry| {
                if let Some(Entry::Exchange(record)) = entry {
                    let Summed { cell, sums } = Summed::of(record);
                    if query.holds(&cell, cell.start + HOUR_S) {
                        picked.add(&query.by, &cell, &sums);
                    }
                }
            })?;
            Ok(picked)
        });
        told.inspect_err(|failure| tracing::debug!(%failure, "sums are taken from the journal")).ok()
    }
}

/// What the records of one transaction come to.
#[derive(Default)]
struct Cells(BTreeMap<Cell, journal::Sums>);

impl Cells {
    fn add(&mut self, record: &ExchangeRecord, totals: &mut journal::Sums) {
        let Summed { cell, sums } = Summed::of(record);
        totals.add(&sums);
        self.0.entry(cell).or_default().add(&sums);
    }
}

/// Adds cells to the table; `rows` counts those there are.
fn put(
    writing: &Transaction<'_>,
    cells: BTreeMap<Cell, journal::Sums>,
    rows: &mut u64,
    max_rows: u64,
) -> Result<(), rusqlite::Error> {
    let mut table = schema::Table::of(writing)?;
    for (cell, sums) in cells {
        if table.add(&cell, &sums)? {
            continue;
        }
        let cell = if *rows < max_rows { cell } else { cell.without_names() };
        if *rows < max_rows || !table.add(&cell, &sums)? {
            table.insert(&cell, &sums)?;
            *rows += 1;
        }
    }
    Ok(())
}

/// Removes the database and what SQLite keeps beside it.
fn remove(path: &Path) -> Result<(), SumsFailure> {
    for end in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        match std::fs::remove_file(&name) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(SumsFailure::Unusable { file: name.into(), source });
            }
            _ => {}
        }
    }
    Ok(())
}

const FILE: &str = "sums.sqlite";
/// About 500 MB.
const MAX_ROWS: u64 = 2_000_000;
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
const REBUILD_STEP: usize = 10_000;

#[cfg(test)]
mod tests;
