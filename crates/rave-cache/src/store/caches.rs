//! Caches and their keys.

use rave_core::time::Timestamp;
use rave_store::{Error, Row, Tx, params};

use super::{corrupt, json};
use crate::model::{Cache, CacheId, CacheName, Settings};

const COLUMNS: &str =
    "id, name, is_public, store_dir, priority, upstream_key_names, upstreams, trusted_keys,
    trusts_pushers, retention_secs, quota_bytes, created_by, creator_id, created_at";

/// A key of a cache, its secret half sealed.
#[derive(Clone, Debug)]
pub(crate) struct KeyRow {
    pub(crate) id: i64,
    pub(crate) public_key: String,
    pub(crate) sealed: Vec<u8>,
    pub(crate) is_primary: bool,
    pub(crate) created_at: Timestamp,
}

fn read(row: &Row) -> Result<Cache, Error> {
    Ok(Cache {
        id: CacheId(row.int("id")?),
        name: CacheName::parse(&row.text("name")?).map_err(|_| corrupt("a cache has no name"))?,
        settings: Settings {
            is_public: row.bool("is_public")?,
            store_dir: row.text("store_dir")?,
            priority: row.int("priority")?,
            upstream_key_names: json("upstream_key_names", &row.text("upstream_key_names")?)?,
            upstreams: json("upstreams", &row.text("upstreams")?)?,
            trusted_keys: json("trusted_keys", &row.text("trusted_keys")?)?,
            trusts_pushers: row.bool("trusts_pushers")?,
            retention_secs: row.opt_int("retention_secs")?,
            quota_bytes: row.opt_int("quota_bytes")?,
        },
        created_by: row.text("created_by")?,
        creator: row.opt_int("creator_id")?,
        created_at: row.time("created_at")?,
    })
}

/// Makes a cache. `None`: the name is taken.
pub(crate) fn insert(
    tx: &mut Tx<'_>,
    name: &CacheName,
    settings: &Settings,
    created_by: &str,
    creator: Option<i64>,
) -> Result<Option<CacheId>, Error> {
    let now = tx.now();
    let row = tx.query_opt(
        "INSERT INTO cache_cache (name, is_public, store_dir, priority, upstream_key_names, upstreams, trusted_keys,
             trusts_pushers, retention_secs, quota_bytes, version, created_by, creator_id, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, $11, $12, $13)
         ON CONFLICT (name) DO NOTHING RETURNING id",
        params![
            name.as_str(),
            settings.is_public,
            &settings.store_dir,
            settings.priority,
            list(&settings.upstream_key_names),
            list(&settings.upstreams),
            list(&settings.trusted_keys),
            settings.trusts_pushers,
            settings.retention_secs,
            settings.quota_bytes,
            created_by,
            creator,
            now,
        ],
    )?;
    row.map(|it| it.int("id").map(CacheId)).transpose()
}

fn list<T: serde::Serialize>(items: &[T]) -> String {
    serde_json::to_string(items).expect("texts and flags are JSON")
}

/// Stores settings. Returns whether the cache is still there.
pub(crate) fn update(tx: &mut Tx<'_>, id: CacheId, settings: &Settings) -> Result<bool, Error> {
    let done = tx.execute(
        "UPDATE cache_cache SET is_public = $2, store_dir = $3, priority = $4, upstream_key_names = $5, upstreams = $6,
             trusted_keys = $7, trusts_pushers = $8, retention_secs = $9, quota_bytes = $10, version = version + 1
         WHERE id = $1 AND deleted_at IS NULL",
        params![
            id.0,
            settings.is_public,
            &settings.store_dir,
            settings.priority,
            list(&settings.upstream_key_names),
            list(&settings.upstreams),
            list(&settings.trusted_keys),
            settings.trusts_pushers,
            settings.retention_secs,
            settings.quota_bytes,
        ],
    )?;
    Ok(done == 1)
}

/// Returns the cache with this name.
pub(crate) fn find(tx: &mut Tx<'_>, name: &str) -> Result<Option<Cache>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM cache_cache WHERE name = $1 AND deleted_at IS NULL");
    tx.query_opt(&sql, params![name])?
        .as_ref()
        .map(read)
        .transpose()
}

/// Returns all caches by name.
pub(crate) fn list_all(tx: &mut Tx<'_>) -> Result<Vec<Cache>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM cache_cache WHERE deleted_at IS NULL ORDER BY name");
    tx.query(&sql, &[])?.iter().map(read).collect()
}

/// Takes the cache for changes of its paths: whoever comes second waits. Returns whether it is still there.
///
/// Two pushes that complete each other's closures would otherwise both not see the other.
pub(crate) fn lock(tx: &mut Tx<'_>, id: CacheId) -> Result<bool, Error> {
    let done = tx.execute(
        "UPDATE cache_cache SET version = version + 1 WHERE id = $1 AND deleted_at IS NULL",
        params![id.0],
    )?;
    Ok(done == 1)
}

/// Marks a cache as deleted and frees its name. A worker deletes what is in it.
pub(crate) fn mark_deleted(tx: &mut Tx<'_>, id: CacheId) -> Result<bool, Error> {
    let (now, name) = (tx.now(), format!("~{}", id.0));
    let done = tx.execute(
        "UPDATE cache_cache SET deleted_at = $2, name = $3, version = version + 1 WHERE id = $1 AND deleted_at IS NULL",
        params![id.0, now, name],
    )?;
    Ok(done == 1)
}

/// Deletes up to `limit` paths of a deleted cache, and the cache itself when nothing is left. Returns whether there may be more.
pub(crate) fn clear_deleted(tx: &mut Tx<'_>, limit: i64) -> Result<bool, Error> {
    let sql = "SELECT id FROM cache_cache WHERE deleted_at IS NOT NULL ORDER BY id LIMIT 1";
    let Some(row) = tx.query_opt(sql, &[])? else {
        return Ok(false);
    };
    let id = row.int("id")?;
    let deleted = tx.execute(
        "DELETE FROM cache_path WHERE id IN (SELECT id FROM cache_path WHERE cache_id = $1 LIMIT $2)",
        params![id, limit],
    )?;
    if deleted == 0 {
        for table in [
            "announced",
            "upload",
            "pin",
            "realisation",
            "log",
            "stat",
            "attachment",
            "key",
        ] {
            let sql = format!("DELETE FROM cache_{table} WHERE cache_id = $1");
            tx.execute(&sql, params![id])?;
        }
        tx.execute("DELETE FROM cache_cache WHERE id = $1", params![id])?;
    }
    Ok(true)
}

/// Returns a cache's keys, the primary one first, then the newest.
pub(crate) fn keys(tx: &mut Tx<'_>, id: CacheId) -> Result<Vec<KeyRow>, Error> {
    let rows = tx.query(
        "SELECT id, public_key, sealed, is_primary, created_at FROM cache_key WHERE cache_id = $1
         ORDER BY is_primary DESC, id DESC",
        params![id.0],
    )?;
    let read = |row: &Row| {
        Ok(KeyRow {
            id: row.int("id")?,
            public_key: row.text("public_key")?,
            sealed: row.blob("sealed")?,
            is_primary: row.bool("is_primary")?,
            created_at: row.time("created_at")?,
        })
    };
    rows.iter().map(read).collect()
}

/// Adds a key and makes it the primary one. A key that is there already becomes it.
pub(crate) fn add_key(
    tx: &mut Tx<'_>,
    id: CacheId,
    public_key: &str,
    sealed: Vec<u8>,
) -> Result<(), Error> {
    let now = tx.now();
    tx.execute(
        "UPDATE cache_key SET is_primary = 0 WHERE cache_id = $1",
        params![id.0],
    )?;
    tx.execute(
        "INSERT INTO cache_key (cache_id, public_key, sealed, is_primary, created_at) VALUES ($1, $2, $3, 1, $4)
         ON CONFLICT (cache_id, public_key) DO UPDATE SET is_primary = 1",
        params![id.0, public_key, sealed, now],
    )?;
    Ok(())
}

/// Makes a key the primary one. Returns whether there is such a key.
pub(crate) fn choose_key(tx: &mut Tx<'_>, id: CacheId, key: i64) -> Result<bool, Error> {
    let sql = "SELECT id FROM cache_key WHERE id = $2 AND cache_id = $1";
    if tx.query_opt(sql, params![id.0, key])?.is_none() {
        return Ok(false);
    }
    tx.execute(
        "UPDATE cache_key SET is_primary = CASE WHEN id = $2 THEN 1 ELSE 0 END WHERE cache_id = $1",
        params![id.0, key],
    )?;
    Ok(true)
}

/// Removes a key that is not the primary one. Returns whether it did.
pub(crate) fn remove_key(tx: &mut Tx<'_>, id: CacheId, key: i64) -> Result<bool, Error> {
    let done = tx.execute(
        "DELETE FROM cache_key WHERE id = $2 AND cache_id = $1 AND is_primary = 0",
        params![id.0, key],
    )?;
    Ok(done == 1)
}

/// Returns a secret of the part, and stores the one given when there is none yet.
pub(crate) fn keep_secret(tx: &mut Tx<'_>, name: &str, sealed: Vec<u8>) -> Result<Vec<u8>, Error> {
    let now = tx.now();
    tx.execute(
        "INSERT INTO cache_secret (name, sealed, created_at) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING",
        params![name, sealed, now],
    )?;
    tx.query_one(
        "SELECT sealed FROM cache_secret WHERE name = $1",
        params![name],
    )?
    .blob("sealed")
}
