//! The tables of the database of sums, and what is read from and written to them.

use rusqlite::types::Value;
use rusqlite::{Connection, Params, Row, Statement, Transaction, params_from_iter};

use super::super::cells::Picked;
use super::SumsFailure;
use crate::journal::{Cell, Place, Query, SUM_COLUMNS, Sums};
use crate::tier::Tier;

/// Where the database stands: the row that is written with every change.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) place: Place,
    pub(super) rows: u64,
    pub(super) totals: Sums,
}

/// Makes the tables where the file is empty.
pub(super) fn make(writing: &Transaction<'_>) -> Result<(), SumsFailure> {
    let tables: i64 = writing.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 {
        return Ok(());
    }
    let columns = |constraint: &str| {
        let one = |name: &&str| format!("{name} INTEGER NOT NULL{constraint}");
        SUM_COLUMNS.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    writing.execute_batch(&format!(
        "PRAGMA application_id = {APPLICATION_ID};
         PRAGMA user_version = {VERSION};
         CREATE TABLE sums (
             hour INTEGER NOT NULL, tenant TEXT NOT NULL, user TEXT NOT NULL, model TEXT NOT NULL,
             tier TEXT NOT NULL, {columns},
             PRIMARY KEY (hour, tenant, user, model, tier)
         ) STRICT, WITHOUT ROWID;
         CREATE TABLE standing (
             one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL, hash TEXT NOT NULL,
             segment INTEGER NOT NULL, offset INTEGER NOT NULL, rows INTEGER NOT NULL, {columns}
         ) STRICT;
         CREATE VIEW usage AS SELECT
             strftime('%Y-%m-%dT%H:00:00Z', hour, 'unixepoch') AS hour, tenant, user, model, tier, requests,
             input_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, output_tokens,
             cost_nanousd / 1e9 AS cost_usd, (baseline_requested_nanousd - cost_nanousd) / 1e9 AS saved_usd
         FROM sums;",
        columns = columns("")
    ))?;
    empty(writing)
}

/// Takes all sums out; the place is the journal's beginning.
pub(super) fn empty(writing: &Transaction<'_>) -> Result<(), SumsFailure> {
    writing.execute_batch("DELETE FROM sums; DELETE FROM standing;")?;
    let beginning = Standing { place: Place::BEGINNING, rows: 0, totals: Sums::default() };
    stand(writing, &beginning)
}

/// Fails unless the database is one of ours, whole, and adds up.
pub(super) fn believe(reading: &Connection) -> Result<(), SumsFailure> {
    let pragma = |name: &str| reading.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    if pragma("application_id")? != APPLICATION_ID || pragma("user_version")? != VERSION {
        return Err(SumsFailure::Distrusted("it is of another version, or no database of sums"));
    }
    let sound: String = reading.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if sound != "ok" {
        return Err(SumsFailure::Distrusted("the file is damaged"));
    }
    let Standing { rows, totals, .. } = standing(reading)?;
    let added: Vec<String> = SUM_COLUMNS.iter().map(|name| format!("coalesce(sum({name}), 0)")).collect();
    let question = format!("SELECT count(*), {} FROM sums", added.join(", "));
    let (found, sums) = reading.query_row(&question, [], |row| Ok((row.get::<_, i64>(0)?, sums(row, 1)?)))?;
    if sums != totals || u64::try_from(found) != Ok(rows) {
        return Err(SumsFailure::Distrusted("its rows do not add up to its totals"));
    }
    Ok(())
}

pub(super) fn standing(reading: &Connection) -> Result<Standing, SumsFailure> {
    let question = format!(
        "SELECT hash, seq, segment, offset, rows, {} FROM standing WHERE one = 1",
        SUM_COLUMNS.join(", ")
    );
    let (hash, numbers, totals) = reading.query_row(&question, [], |row| {
        let numbers = [row.get(1)?, row.get(2)?, row.get(3)?, row.get::<_, i64>(4)?];
        Ok((row.get::<_, String>(0)?, numbers, sums(row, 5)?))
    })?;
    let [seq, segment, offset, rows] = numbers.map(|number| u64::try_from(number).unwrap_or(0));
    let hash = hash.parse().map_err(|_| SumsFailure::Distrusted("its place is none"))?;
    Ok(Standing { place: Place { seq, hash, segment, offset }, rows, totals })
}

pub(super) fn stand(writing: &Transaction<'_>, standing: &Standing) -> Result<(), SumsFailure> {
    let Standing { place, rows, totals } = standing;
    let numbers = [place.seq, place.segment, place.offset, *rows];
    let numbers = numbers.map(|number| Value::Integer(i64::try_from(number).unwrap_or(i64::MAX)));
    let sums = totals.columns().map(Value::Integer);
    let values = [Value::Text(place.hash.to_string())].into_iter().chain(numbers).chain(sums);
    let statement = format!(
        "INSERT OR REPLACE INTO standing (one, hash, seq, segment, offset, rows, {}) VALUES (1, ?, ?, ?, ?, ?{})",
        SUM_COLUMNS.join(", "),
        ", ?".repeat(SUM_COLUMNS.len())
    );
    writing.execute(&statement, params_from_iter(values))?;
    Ok(())
}

/// Answers a question about whole hours.
pub(super) fn pick(reading: &Connection, query: &Query) -> Result<Picked, SumsFailure> {
    let mut conditions = vec!["1"];
    let mut values = Vec::new();
    let texts = [("tenant = ?", &query.tenant), ("user = ?", &query.user), ("model = ?", &query.model)];
    for (condition, value) in texts {
        if let Some(value) = value {
            conditions.push(condition);
            values.push(Value::Text(value.clone()));
        }
    }
    for (condition, time) in [("hour >= ?", query.from), ("hour < ?", query.to)] {
        if let Some(time) = time {
            conditions.push(condition);
            values.push(Value::Integer(time.as_second()));
        }
    }
    let question = format!(
        "SELECT hour, tenant, user, model, tier, {} FROM sums WHERE {}",
        SUM_COLUMNS.join(", "),
        conditions.join(" AND ")
    );
    let mut statement = reading.prepare(&question)?;
    let mut picked = Picked::default();
    let mut rows = statement.query(params_from_iter(values))?;
    while let Some(row) = rows.next()? {
        let tier: String = row.get(4)?;
        let tier = tier.parse().unwrap_or(Tier::Other);
        let (tenant, user, model) = (row.get(1)?, row.get(2)?, row.get(3)?);
        let cell = Cell { start: row.get(0)?, tenant, user, model, tier };
        picked.add(&query.by, &cell, &sums(row, 5)?);
    }
    Ok(picked)
}

fn sums(row: &Row<'_>, first: usize) -> Result<Sums, rusqlite::Error> {
    let mut columns = [0; SUM_COLUMNS.len()];
    for (place, column) in columns.iter_mut().enumerate() {
        *column = row.get(first + place)?;
    }
    Ok(Sums::from_columns(columns))
}

/// The sums, open to be added to.
pub(super) struct Table<'a> {
    update: Statement<'a>,
    insert: Statement<'a>,
}

impl<'a> Table<'a> {
    pub(super) fn of(writing: &'a Transaction<'_>) -> Result<Self, rusqlite::Error> {
        let added: Vec<String> = SUM_COLUMNS.iter().map(|name| format!("{name} = {name} + ?")).collect();
        let update = format!(
            "UPDATE sums SET {} WHERE hour = ? AND tenant = ? AND user = ? AND model = ? AND tier = ?",
            added.join(", ")
        );
        let insert = format!(
            "INSERT INTO sums ({}, hour, tenant, user, model, tier) VALUES (?{})",
            SUM_COLUMNS.join(", "),
            ", ?".repeat(SUM_COLUMNS.len() + 4)
        );
        Ok(Self { update: writing.prepare(&update)?, insert: writing.prepare(&insert)? })
    }

    /// Adds to a row; false where there is none.
    pub(super) fn add(&mut self, cell: &Cell, sums: &Sums) -> Result<bool, rusqlite::Error> {
        Ok(self.update.execute(values(cell, sums))? > 0)
    }

    pub(super) fn insert(&mut self, cell: &Cell, sums: &Sums) -> Result<(), rusqlite::Error> {
        self.insert.execute(values(cell, sums)).map(drop)
    }
}

fn values(cell: &Cell, sums: &Sums) -> impl Params {
    let Cell { start, tenant, user, model, tier } = cell;
    let names = [tenant, user, model].map(|text| Value::Text(text.to_string()));
    let numbers = sums.columns().into_iter().chain([*start]).map(Value::Integer);
    let all = numbers.chain(names).chain([Value::Text(tier.to_string())]);
    params_from_iter(all)
}

/// `TrSu`.
const APPLICATION_ID: i64 = 0x5472_5375;
const VERSION: i64 = 1;
