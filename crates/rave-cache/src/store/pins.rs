//! Pins: names that keep a path and its closure.

use rave_core::time::Timestamp;
use rave_store::{Error, Row, Tx, params};

use crate::model::CacheId;

/// A pin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pin {
    pub(crate) name: String,
    /// The base name.
    pub(crate) store_path: String,
    pub(crate) created_by: String,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
}

/// Sets what a name keeps.
pub(crate) fn put(
    tx: &mut Tx<'_>,
    cache: CacheId,
    name: &str,
    store_path: &str,
    created_by: &str,
    expires_at: Option<Timestamp>,
) -> Result<(), Error> {
    let now = tx.now();
    tx.execute(
        "INSERT INTO cache_pin (cache_id, name, hash_part, store_path, created_by, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (cache_id, name) DO UPDATE SET hash_part = excluded.hash_part, store_path = excluded.store_path,
             created_by = excluded.created_by, created_at = excluded.created_at, expires_at = excluded.expires_at",
        params![
            cache.0,
            name,
            crate::model::hash_part(store_path),
            store_path,
            created_by,
            now,
            expires_at
        ],
    )?;
    Ok(())
}

/// Returns the pins that have not expired.
pub(crate) fn list(tx: &mut Tx<'_>, cache: CacheId) -> Result<Vec<Pin>, Error> {
    let now = tx.now();
    let rows = tx.query(
        "SELECT name, store_path, created_by, created_at, expires_at FROM cache_pin
         WHERE cache_id = $1 AND (expires_at IS NULL OR expires_at > $2) ORDER BY name",
        params![cache.0, now],
    )?;
    let read = |row: &Row| {
        Ok(Pin {
            name: row.text("name")?,
            store_path: row.text("store_path")?,
            created_by: row.text("created_by")?,
            created_at: row.time("created_at")?,
            expires_at: row.opt_time("expires_at")?,
        })
    };
    rows.iter().map(read).collect()
}

/// Removes a pin. Returns whether there was one.
pub(crate) fn remove(tx: &mut Tx<'_>, cache: CacheId, name: &str) -> Result<bool, Error> {
    let sql = "DELETE FROM cache_pin WHERE cache_id = $1 AND name = $2";
    Ok(tx.execute(sql, params![cache.0, name])? == 1)
}
