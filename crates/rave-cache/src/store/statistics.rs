//! What was asked of caches and put into them, by day and by job.

use rave_core::time::Timestamp;
use rave_store::{Error, Row, Tx, params};

use crate::model::CacheId;

/// Figures that add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) hits: i64,
    pub(crate) misses: i64,
    pub(crate) bytes_served: i64,
    pub(crate) paths_added: i64,
    /// The NARs that were pushed, as large as they are.
    pub(crate) nar_bytes: i64,
    /// What of them had to be stored: not there yet, and compressed.
    pub(crate) stored_bytes: i64,
}

impl Figures {
    pub(crate) fn add(&mut self, other: &Self) {
        self.hits += other.hits;
        self.misses += other.misses;
        self.bytes_served += other.bytes_served;
        self.paths_added += other.paths_added;
        self.nar_bytes += other.nar_bytes;
        self.stored_bytes += other.stored_bytes;
    }
}

const COLUMNS: &str = "hits, misses, bytes_served, paths_added, nar_bytes, stored_bytes";

fn read(row: &Row) -> Result<Figures, Error> {
    Ok(Figures {
        hits: row.int("hits")?,
        misses: row.int("misses")?,
        bytes_served: row.int("bytes_served")?,
        paths_added: row.int("paths_added")?,
        nar_bytes: row.int("nar_bytes")?,
        stored_bytes: row.int("stored_bytes")?,
    })
}

fn sums(table: &str) -> String {
    let columns = COLUMNS.split(", ");
    let sums: Vec<String> = columns
        .map(|it| format!("{it} = {table}.{it} + excluded.{it}"))
        .collect();
    sums.join(", ")
}

/// Returns the number of the day, since 1970.
pub(crate) fn day_of(at: Timestamp) -> i64 {
    at.0.div_euclid(24 * 3_600_000)
}

/// Adds figures to the present day's.
pub(crate) fn add(tx: &mut Tx<'_>, cache: CacheId, it: &Figures) -> Result<(), Error> {
    let day = day_of(tx.now());
    let sql = format!(
        "INSERT INTO cache_stat (cache_id, day, {COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (cache_id, day) DO UPDATE SET {}",
        sums("cache_stat")
    );
    let values = params![
        cache.0,
        day,
        it.hits,
        it.misses,
        it.bytes_served,
        it.paths_added,
        it.nar_bytes,
        it.stored_bytes
    ];
    tx.execute(&sql, values).map(drop)
}

/// Adds figures to a job's.
pub(crate) fn add_to_job(
    tx: &mut Tx<'_>,
    job: i64,
    cache: CacheId,
    it: &Figures,
) -> Result<(), Error> {
    let now = tx.now();
    let sql = format!(
        "INSERT INTO cache_job_stat (job_id, cache_id, {COLUMNS}, noted_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (job_id, cache_id) DO UPDATE SET {}, noted_at = excluded.noted_at",
        sums("cache_job_stat")
    );
    let values = params![
        job,
        cache.0,
        it.hits,
        it.misses,
        it.bytes_served,
        it.paths_added,
        it.nar_bytes,
        it.stored_bytes,
        now
    ];
    tx.execute(&sql, values).map(drop)
}

/// Returns the figures of a cache's latest days, the oldest first.
pub(crate) fn days(
    tx: &mut Tx<'_>,
    cache: CacheId,
    count: i64,
) -> Result<Vec<(i64, Figures)>, Error> {
    let since = day_of(tx.now()) - count;
    let sql = format!(
        "SELECT day, {COLUMNS} FROM cache_stat WHERE cache_id = $1 AND day > $2 ORDER BY day"
    );
    let rows = tx.query(&sql, params![cache.0, since])?;
    rows.iter()
        .map(|it| Ok((it.int("day")?, read(it)?)))
        .collect()
}

/// Returns all figures of a cache together.
pub(crate) fn total(tx: &mut Tx<'_>, cache: CacheId) -> Result<Figures, Error> {
    let sums: Vec<String> = COLUMNS.split(", ").map(sum_of).collect();
    let sql = format!(
        "SELECT {} FROM cache_stat WHERE cache_id = $1",
        sums.join(", ")
    );
    read(&tx.query_one(&sql, params![cache.0])?)
}

fn sum_of(column: &str) -> String {
    // PostgreSQL's sums of whole numbers are decimal ones.
    format!("CAST(COALESCE(SUM({column}), 0) AS BIGINT) AS {column}")
}

/// Returns a job's figures with the names of the caches.
pub(crate) fn of_job(tx: &mut Tx<'_>, job: i64) -> Result<Vec<(String, Figures)>, Error> {
    let columns: Vec<String> = COLUMNS.split(", ").map(|it| format!("s.{it}")).collect();
    let sql = format!(
        "SELECT c.name AS name, {} FROM cache_job_stat s JOIN cache_cache c ON c.id = s.cache_id
         WHERE s.job_id = $1 AND c.deleted_at IS NULL ORDER BY c.name",
        columns.join(", ")
    );
    let rows = tx.query(&sql, params![job])?;
    rows.iter()
        .map(|it| Ok((it.text("name")?, read(it)?)))
        .collect()
}

/// What is in a cache now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holdings {
    pub(crate) paths: i64,
    pub(crate) held: i64,
    /// The NARs of all paths, each as large as it is.
    pub(crate) nar_bytes: i64,
}

/// Returns what is in a cache.
pub(crate) fn holdings(tx: &mut Tx<'_>, cache: CacheId) -> Result<Holdings, Error> {
    let row = tx.query_one(
        "SELECT COUNT(*) AS paths, CAST(COALESCE(SUM(1 - visible), 0) AS BIGINT) AS held,
             CAST(COALESCE(SUM(nar_size), 0) AS BIGINT) AS nar_bytes
         FROM cache_path WHERE cache_id = $1",
        params![cache.0],
    )?;
    Ok(Holdings {
        paths: row.int("paths")?,
        held: row.int("held")?,
        nar_bytes: row.int("nar_bytes")?,
    })
}

/// Forgets the figures of jobs that ended long ago.
pub(crate) fn forget_jobs(tx: &mut Tx<'_>, until: Timestamp) -> Result<u64, Error> {
    tx.execute(
        "DELETE FROM cache_job_stat WHERE noted_at <= $1",
        params![until],
    )
}
