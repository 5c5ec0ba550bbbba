//! Packs: files that grow, are sealed, and go when nothing in them is alive.

use rave_core::time::Timestamp;
use rave_store::{Error, Tx, Value, params};

use super::{int, size};
use crate::frame::LABEL_BYTES;

/// Notes a pack that is about to be.
pub(crate) fn begin(tx: &mut Tx<'_>, name: &str) -> Result<i64, Error> {
    let now = tx.now();
    let sql = "INSERT INTO blob_pack (name, state, created_at, changed_at) VALUES ($1, 'open', $2, $2) RETURNING id";
    tx.query_one(sql, params![name, now])?.int("id")
}

/// Notes that a pack grows no more.
pub(crate) fn seal(tx: &mut Tx<'_>, pack: i64, size_bytes: u64) -> Result<(), Error> {
    let now = tx.now();
    let sql = "UPDATE blob_pack SET state = 'sealed', size_bytes = $2, changed_at = $3 WHERE id = $1 AND state = 'open'";
    tx.execute(sql, params![pack, int(size_bytes), now])
        .map(drop)
}

/// Whether all of these packs are still there to be referred to.
pub(crate) fn are_kept(tx: &mut Tx<'_>, packs: &[i64]) -> Result<bool, Error> {
    for pack in packs {
        let sql = "SELECT id FROM blob_pack WHERE id = $1 AND state <> 'doomed'";
        if tx.query_opt(sql, &[Value::from(*pack)])?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A pack that a process left open when it ended.
pub(crate) struct Left {
    pub(crate) id: i64,
    pub(crate) name: String,
    /// Where the last chunk in it ends, without its label.
    pub(crate) end: Option<i64>,
}

/// Returns the packs that are open.
pub(crate) fn open(tx: &mut Tx<'_>) -> Result<Vec<Left>, Error> {
    let sql = "SELECT id, name, (SELECT MAX(position + stored_bytes) FROM blob_chunk WHERE pack_id = blob_pack.id) AS last
        FROM blob_pack WHERE state = 'open' ORDER BY id";
    tx.query(sql, &[])?
        .iter()
        .map(|row| {
            Ok(Left {
                id: row.int("id")?,
                name: row.text("name")?,
                end: row.opt_int("last")?,
            })
        })
        .collect()
}

/// A pack that grows no more.
pub(crate) struct Sealed {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) size_bytes: u64,
    /// What chunks take in it, with their labels: a pack of the smallest chunks is not half dead.
    pub(crate) live_bytes: u64,
}

/// Returns the packs that were sealed before `before`: no upload records what it wrote there any more.
pub(crate) fn settled(tx: &mut Tx<'_>, before: Timestamp) -> Result<Vec<Sealed>, Error> {
    let sql = "SELECT p.id, p.name, p.size_bytes,
            COALESCE((SELECT CAST(SUM(c.stored_bytes + $2) AS BIGINT) FROM blob_chunk c WHERE c.pack_id = p.id), 0) AS live_bytes
        FROM blob_pack p WHERE p.state = 'sealed' AND p.changed_at < $1 ORDER BY p.id";
    tx.query(sql, params![before, LABEL_BYTES as i64])?
        .iter()
        .map(sealed)
        .collect()
}

/// Gives up the packs that hold no chunk and were sealed before `before`.
pub(crate) fn doom_empty(tx: &mut Tx<'_>, before: Timestamp) -> Result<u64, Error> {
    let now = tx.now();
    let sql = "UPDATE blob_pack SET state = 'doomed', changed_at = $2 WHERE state = 'sealed' AND changed_at < $1
        AND NOT EXISTS (SELECT 1 FROM blob_chunk WHERE pack_id = blob_pack.id)";
    tx.execute(sql, params![before, now])
}

/// Returns the packs that were given up before `before`.
pub(crate) fn doomed(tx: &mut Tx<'_>, before: Timestamp) -> Result<Vec<Sealed>, Error> {
    let sql = "SELECT id, name, size_bytes, 0 AS live_bytes FROM blob_pack WHERE state = 'doomed' AND changed_at < $1 ORDER BY id";
    tx.query(sql, params![before])?.iter().map(sealed).collect()
}

fn sealed(row: &rave_store::Row) -> Result<Sealed, Error> {
    Ok(Sealed {
        id: row.int("id")?,
        name: row.text("name")?,
        size_bytes: size(row, "size_bytes")?,
        live_bytes: size(row, "live_bytes")?,
    })
}

/// Returns the pack after another.
pub(crate) fn next(tx: &mut Tx<'_>, after: i64) -> Result<Option<i64>, Error> {
    let sql = "SELECT id FROM blob_pack WHERE id > $1 ORDER BY id LIMIT 1";
    tx.query_opt(sql, params![after])?
        .map(|row| row.int("id"))
        .transpose()
}

/// Returns the names of all packs, and whether each holds a chunk.
pub(crate) fn names(tx: &mut Tx<'_>) -> Result<Vec<(String, bool)>, Error> {
    let sql = "SELECT name, CASE WHEN EXISTS (SELECT 1 FROM blob_chunk WHERE pack_id = blob_pack.id) THEN 1 ELSE 0 END AS holds
        FROM blob_pack ORDER BY id";
    tx.query(sql, &[])?
        .iter()
        .map(|row| Ok((row.text("name")?, row.int("holds")? == 1)))
        .collect()
}

/// How many packs are in each state.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) open: u64,
    pub(crate) sealed: u64,
    pub(crate) doomed: u64,
}

/// Counts packs.
pub(crate) fn totals(tx: &mut Tx<'_>) -> Result<Totals, Error> {
    let mut totals = Totals::default();
    for row in tx.query(
        "SELECT state, COUNT(*) AS count FROM blob_pack GROUP BY state",
        &[],
    )? {
        let count = size(&row, "count")?;
        match row.text("state")?.as_str() {
            "open" => totals.open = count,
            "sealed" => totals.sealed = count,
            _ => totals.doomed += count,
        }
    }
    Ok(totals)
}

/// Returns the packs that were begun before `before`, never sealed, and hold nothing.
pub(crate) fn abandoned(tx: &mut Tx<'_>, before: Timestamp) -> Result<Vec<Sealed>, Error> {
    let sql = "SELECT id, name, size_bytes, 0 AS live_bytes FROM blob_pack WHERE state = 'open' AND changed_at < $1
        AND NOT EXISTS (SELECT 1 FROM blob_chunk WHERE pack_id = blob_pack.id) ORDER BY id";
    tx.query(sql, params![before])?.iter().map(sealed).collect()
}

/// Forgets a pack that holds nothing.
pub(crate) fn forget(tx: &mut Tx<'_>, pack: i64) -> Result<(), Error> {
    let sql = "DELETE FROM blob_pack WHERE id = $1";
    tx.execute(sql, params![pack]).map(drop)
}
