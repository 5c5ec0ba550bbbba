//! The paths of caches, and which of them may be seen.
//!
//! A path whose closure is not complete is there but not visible. What it waits for is in `cache_missing`: when the last
//! of that becomes visible, so does the path, in the same transaction.

use std::collections::{BTreeSet, HashMap, HashSet};

use rave_core::time::Timestamp;
use rave_nix::{PathInfo, StorePath};
use rave_store::{Error, Row, Tx, params};

use super::{AT_ONCE, corrupt, json, places, with_list};
use crate::model::{CacheId, NewPath, PathId, StoredPath};

const COLUMNS: &str =
    "id, store_path, nar_digest, nar_size, refs, deriver, ca, sigs, visible, fetch_from, pushed_by,
    downloads, created_at, last_access_at";

fn read(row: &Row) -> Result<StoredPath, Error> {
    let wrong = |_| corrupt("a path of a cache cannot be read");
    let refs = row.text("refs")?;
    let references = refs.split(' ').filter(|it| !it.is_empty()).map(str::parse);
    let deriver = row.opt_text("deriver")?;
    let ca = row.opt_text("ca")?;
    let sigs = row.text("sigs")?;
    let info = PathInfo {
        path: row.text("store_path")?.parse().map_err(wrong)?,
        nar_hash: format!("sha256:{}", row.text("nar_digest")?)
            .parse()
            .map_err(|_| corrupt("the NAR of a path has no hash"))?,
        nar_size: u64::try_from(row.int("nar_size")?).unwrap_or(0),
        references: references.collect::<Result<_, _>>().map_err(wrong)?,
        deriver: deriver.map(|it| it.parse()).transpose().map_err(wrong)?,
        signatures: sigs.split(' ').filter_map(|it| it.parse().ok()).collect(),
        content_address: ca.and_then(|it| it.parse().ok()),
    };
    let fetch_from = row.opt_text("fetch_from")?;
    Ok(StoredPath {
        id: PathId(row.int("id")?),
        path: NewPath {
            info,
            fetch_from: fetch_from.map(|it| json("fetch_from", &it)).transpose()?,
            pushed_by: row.text("pushed_by")?,
        },
        visible: row.bool("visible")?,
        downloads: row.int("downloads")?,
        created_at: row.time("created_at")?,
        last_access_at: row.time("last_access_at")?,
    })
}

/// Returns the path with this hash part, visible or not.
pub(crate) fn find(
    tx: &mut Tx<'_>,
    cache: CacheId,
    hash_part: &str,
) -> Result<Option<StoredPath>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM cache_path WHERE cache_id = $1 AND hash_part = $2");
    tx.query_opt(&sql, params![cache.0, hash_part])?
        .as_ref()
        .map(read)
        .transpose()
}

/// Returns a visible path of the cache that has this NAR.
pub(crate) fn find_by_nar(
    tx: &mut Tx<'_>,
    cache: CacheId,
    digest: &str,
) -> Result<Option<StoredPath>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM cache_path WHERE nar_digest = $2 AND cache_id = $1 AND visible = 1 ORDER BY id LIMIT 1"
    );
    tx.query_opt(&sql, params![cache.0, digest])?
        .as_ref()
        .map(read)
        .transpose()
}

/// Returns which of some hash parts the cache has, and whether each can be seen.
pub(crate) fn known(
    tx: &mut Tx<'_>,
    cache: CacheId,
    hashes: &[String],
) -> Result<HashMap<String, bool>, Error> {
    let mut known = HashMap::new();
    for some in hashes.chunks(AT_ONCE) {
        let sql = format!(
            "SELECT hash_part, visible FROM cache_path WHERE cache_id = $1 AND hash_part IN ({})",
            places(2, some.len())
        );
        for row in tx.query(&sql, &with_list(params![cache.0], some))? {
            known.insert(row.text("hash_part")?, row.bool("visible")?);
        }
    }
    Ok(known)
}

/// What becomes of references that are not in the cache.
#[derive(Clone, Debug, Default)]
pub(crate) struct Elsewhere {
    /// Hash parts that an upstream cache was found to have.
    pub(crate) found: HashSet<String>,
    /// Whether the rest is taken to be upstream unless somebody was told to push it.
    pub(crate) presumed: bool,
}

/// What became of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Added {
    Visible,
    /// It waits for references.
    Held,
    /// Another build of it is there, and stays.
    Kept,
}

/// Adds a path, and makes visible what waited for it. Returns the hash parts of those. The cache is locked.
pub(crate) fn add(
    tx: &mut Tx<'_>,
    cache: CacheId,
    new: &NewPath,
    elsewhere: &Elsewhere,
    replaces: bool,
) -> Result<(Added, Vec<String>), Error> {
    let hash = new.info.path.hash_part().to_string();
    let mut signatures: BTreeSet<String> = new
        .info
        .signatures
        .iter()
        .map(ToString::to_string)
        .collect();
    if let Some(old) = find(tx, cache, &hash)? {
        let same = old.path.info.nar_hash == new.info.nar_hash;
        if !same && !replaces && old.visible {
            return Ok((Added::Kept, Vec::new()));
        }
        if same {
            signatures.extend(old.path.info.signatures.iter().map(ToString::to_string));
        }
    }
    let missing = missing(tx, cache, new, elsewhere)?;
    let id = upsert(tx, cache, &hash, new, &signatures, missing.is_empty())?;
    tx.execute("DELETE FROM cache_missing WHERE path_id = $1", params![id])?;
    for target in &missing {
        tx.execute(
            "INSERT INTO cache_missing (path_id, cache_id, target) VALUES ($1, $2, $3)",
            params![id, cache.0, target],
        )?;
    }
    let sql = "DELETE FROM cache_announced WHERE cache_id = $1 AND hash_part = $2";
    tx.execute(sql, params![cache.0, &hash])?;
    if !missing.is_empty() {
        return Ok((Added::Held, Vec::new()));
    }
    Ok((Added::Visible, uncover(tx, cache, hash)?))
}

/// Returns the references that the path has to wait for.
fn missing(
    tx: &mut Tx<'_>,
    cache: CacheId,
    new: &NewPath,
    elsewhere: &Elsewhere,
) -> Result<Vec<String>, Error> {
    let own = new.info.path.hash_part();
    let references: BTreeSet<String> = new
        .info
        .references
        .iter()
        .map(StorePath::hash_part)
        .filter(|it| *it != own)
        .map(|it| it.to_string())
        .collect();
    let references: Vec<String> = references.into_iter().collect();
    let known = known(tx, cache, &references)?;
    let announced = if elsewhere.presumed {
        announced(tx, cache, &references)?
    } else {
        HashSet::new()
    };
    let waits = |it: &String| match known.get(it) {
        Some(visible) => !visible,
        None if elsewhere.found.contains(it) => false,
        None => !elsewhere.presumed || announced.contains(it),
    };
    Ok(references.into_iter().filter(waits).collect())
}

fn upsert(
    tx: &mut Tx<'_>,
    cache: CacheId,
    hash: &str,
    new: &NewPath,
    signatures: &BTreeSet<String>,
    visible: bool,
) -> Result<i64, Error> {
    let (info, now) = (&new.info, tx.now());
    let joined = |it: &[StorePath]| {
        it.iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let signatures: Vec<&str> = signatures.iter().map(String::as_str).collect();
    let fetch_from = new.fetch_from.as_ref();
    let row = tx.query_one(
        "INSERT INTO cache_path (cache_id, hash_part, store_path, nar_digest, nar_size, refs, deriver, ca, sigs, visible,
             fetch_from, pushed_by, downloads, created_at, last_access_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 0, $13, $13)
         ON CONFLICT (cache_id, hash_part) DO UPDATE SET store_path = excluded.store_path, nar_digest = excluded.nar_digest,
             nar_size = excluded.nar_size, refs = excluded.refs, deriver = excluded.deriver, ca = excluded.ca,
             sigs = excluded.sigs, visible = excluded.visible, fetch_from = excluded.fetch_from,
             last_access_at = excluded.last_access_at
         RETURNING id",
        params![
            cache.0,
            hash,
            info.path.to_string(),
            info.nar_hash.to_base16(),
            i64::try_from(info.nar_size).unwrap_or(i64::MAX),
            joined(&info.references),
            info.deriver.as_ref().map(ToString::to_string),
            info.content_address.map(|it| it.to_string()),
            signatures.join(" "),
            visible,
            fetch_from.map(|it| serde_json::to_string(it).expect("texts are JSON")),
            &new.pushed_by,
            now,
        ],
    )?;
    row.int("id")
}

/// Makes visible what waited for a path alone, and what waited for that.
fn uncover(tx: &mut Tx<'_>, cache: CacheId, hash: String) -> Result<Vec<String>, Error> {
    let (mut visible, mut all) = (vec![hash], Vec::new());
    while let Some(hash) = visible.pop() {
        let waited = tx.query(
            "DELETE FROM cache_missing WHERE cache_id = $1 AND target = $2 RETURNING path_id",
            params![cache.0, hash],
        )?;
        for row in waited {
            let id = row.int("path_id")?;
            let uncovered = tx.query_opt(
                "UPDATE cache_path SET visible = 1 WHERE id = $1 AND visible = 0
                     AND NOT EXISTS (SELECT 1 FROM cache_missing WHERE path_id = $1)
                 RETURNING hash_part",
                params![id],
            )?;
            if let Some(row) = uncovered {
                let hash = row.text("hash_part")?;
                all.push(hash.clone());
                visible.push(hash);
            }
        }
    }
    Ok(all)
}

/// Notes that somebody was told to push these.
pub(crate) fn announce(tx: &mut Tx<'_>, cache: CacheId, hashes: &[String]) -> Result<(), Error> {
    let now = tx.now();
    for some in hashes.chunks(AT_ONCE) {
        let rows: Vec<String> = (0..some.len())
            .map(|it| format!("($1, ${}, $2)", it + 3))
            .collect();
        let sql = format!(
            "INSERT INTO cache_announced (cache_id, hash_part, announced_at) VALUES {}
             ON CONFLICT (cache_id, hash_part) DO UPDATE SET announced_at = excluded.announced_at",
            rows.join(", ")
        );
        tx.execute(&sql, &with_list(params![cache.0, now], some))?;
    }
    Ok(())
}

fn announced(tx: &mut Tx<'_>, cache: CacheId, hashes: &[String]) -> Result<HashSet<String>, Error> {
    let mut found = HashSet::new();
    for some in hashes.chunks(AT_ONCE) {
        let sql = format!(
            "SELECT hash_part FROM cache_announced WHERE cache_id = $1 AND hash_part IN ({})",
            places(2, some.len())
        );
        for row in tx.query(&sql, &with_list(params![cache.0], some))? {
            found.insert(row.text("hash_part")?);
        }
    }
    Ok(found)
}

/// Which paths a list shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct PathFilter {
    /// Part of the base name, without regard to case.
    pub(crate) search: Option<String>,
    pub(crate) order: PathOrder,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum PathOrder {
    #[default]
    Newest,
    MostDownloaded,
    Largest,
    LeastRecentlyUsed,
}

impl PathOrder {
    fn sql(self) -> &'static str {
        match self {
            Self::Newest => "created_at DESC, id DESC",
            Self::MostDownloaded => "downloads DESC, id DESC",
            Self::Largest => "nar_size DESC, id DESC",
            Self::LeastRecentlyUsed => "last_access_at, id",
        }
    }
}

/// Returns a part of a cache's paths, and how many there are.
pub(crate) fn list(
    tx: &mut Tx<'_>,
    cache: CacheId,
    filter: &PathFilter,
    offset: i64,
    limit: i64,
) -> Result<(Vec<StoredPath>, i64), Error> {
    let pattern = filter.search.as_ref().map(|it| {
        let escaped = it
            .to_lowercase()
            .replace('\\', "\\\\")
            .replace('%', "\\%")
            .replace('_', "\\_");
        format!("%{escaped}%")
    });
    let condition = "cache_id = $1 AND ($2 IS NULL OR lower(store_path) LIKE $2 ESCAPE '\\')";
    let condition = match pattern {
        Some(_) => condition.replace("$2 IS NULL OR ", ""),
        None => "cache_id = $1".to_owned(),
    };
    let found = pattern.map_or_else(Vec::new, |it| vec![it]);
    let (n, order) = (found.len() + 2, filter.order.sql());
    let sql = format!(
        "SELECT {COLUMNS} FROM cache_path WHERE {condition} ORDER BY {order} LIMIT ${n} OFFSET ${}",
        n + 1
    );
    let counting = with_list(params![cache.0], &found);
    let rows = tx.query(&sql, &with_list(&counting, &[limit, offset]))?;
    let total = tx
        .query_one(
            &format!("SELECT COUNT(*) AS n FROM cache_path WHERE {condition}"),
            &counting,
        )?
        .int("n")?;
    Ok((rows.iter().map(read).collect::<Result<_, _>>()?, total))
}

/// A path as the collector sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bare {
    pub(crate) id: PathId,
    pub(crate) path: String,
    pub(crate) references: String,
    pub(crate) nar_digest: String,
    pub(crate) nar_size: i64,
    pub(crate) visible: bool,
    pub(crate) created_at: Timestamp,
    pub(crate) last_access_at: Timestamp,
}

/// Returns up to `limit` of a cache's paths behind the one with this id.
pub(crate) fn bare(
    tx: &mut Tx<'_>,
    cache: CacheId,
    after: i64,
    limit: i64,
) -> Result<Vec<Bare>, Error> {
    let rows = tx.query(
        "SELECT id, store_path, refs, nar_digest, nar_size, visible, created_at, last_access_at
         FROM cache_path WHERE cache_id = $1 AND id > $2 ORDER BY id LIMIT $3",
        params![cache.0, after, limit],
    )?;
    let read = |row: &Row| {
        Ok(Bare {
            id: PathId(row.int("id")?),
            path: row.text("store_path")?,
            references: row.text("refs")?,
            nar_digest: row.text("nar_digest")?,
            nar_size: row.int("nar_size")?,
            visible: row.bool("visible")?,
            created_at: row.time("created_at")?,
            last_access_at: row.time("last_access_at")?,
        })
    };
    rows.iter().map(read).collect()
}

/// Returns the base names of up to `limit` other paths that refer to one.
pub(crate) fn referrers(
    tx: &mut Tx<'_>,
    cache: CacheId,
    hash: &str,
    limit: i64,
) -> Result<Vec<String>, Error> {
    let rows = tx.query(
        "SELECT store_path FROM cache_path WHERE cache_id = $1 AND refs LIKE $2 AND hash_part <> $3 ORDER BY id LIMIT $4",
        params![cache.0, format!("%{hash}-%"), hash, limit],
    )?;
    rows.iter().map(|it| it.text("store_path")).collect()
}

/// Deletes paths of a cache that were not used after an instant. Returns how many it deleted.
pub(crate) fn delete(
    tx: &mut Tx<'_>,
    cache: CacheId,
    paths: &[(PathId, Timestamp)],
) -> Result<u64, Error> {
    let mut deleted = 0;
    for (id, seen) in paths {
        deleted += tx.execute(
            "DELETE FROM cache_path WHERE id = $1 AND cache_id = $2 AND last_access_at <= $3",
            params![id.0, cache.0, *seen],
        )?;
    }
    Ok(deleted)
}

/// Forgets the paths of all caches that have a NAR which is gone or damaged. Returns the caches with their hash parts.
pub(crate) fn delete_by_nar(tx: &mut Tx<'_>, digest: &str) -> Result<Vec<String>, Error> {
    let rows = tx.query(
        "DELETE FROM cache_path WHERE nar_digest = $1 RETURNING store_path",
        params![digest],
    )?;
    rows.iter().map(|it| it.text("store_path")).collect()
}

/// Notes that a NAR is stored now, in all caches that knew only where to fetch it.
pub(crate) fn note_fetched(tx: &mut Tx<'_>, cache: CacheId, digest: &str) -> Result<(), Error> {
    tx.execute(
        "UPDATE cache_path SET fetch_from = NULL WHERE nar_digest = $2 AND cache_id = $1",
        params![cache.0, digest],
    )?;
    Ok(())
}

/// Notes uses: when each path was last asked for, and how often its NAR was served.
pub(crate) fn note_uses(tx: &mut Tx<'_>, uses: &[(PathId, Timestamp, i64)]) -> Result<(), Error> {
    for (id, at, downloads) in uses {
        tx.execute(
            "UPDATE cache_path SET downloads = downloads + $3,
                 last_access_at = CASE WHEN last_access_at < $2 THEN $2 ELSE last_access_at END
             WHERE id = $1",
            params![id.0, *at, *downloads],
        )?;
    }
    Ok(())
}

/// Forgets what was promised or begun before an instant: held paths, announcements. Returns how many paths it deleted.
pub(crate) fn drop_held(tx: &mut Tx<'_>, until: Timestamp) -> Result<u64, Error> {
    tx.execute(
        "DELETE FROM cache_announced WHERE announced_at <= $1",
        params![until],
    )?;
    tx.execute(
        "DELETE FROM cache_path WHERE visible = 0 AND last_access_at <= $1",
        params![until],
    )
}

/// Returns base names and references of the paths that were pushed or asked for at an instant or later.
pub(crate) fn used_since(
    tx: &mut Tx<'_>,
    cache: CacheId,
    since: Timestamp,
) -> Result<Vec<String>, Error> {
    let rows = tx.query(
        "SELECT store_path, refs FROM cache_path WHERE cache_id = $1 AND last_access_at >= $2",
        params![cache.0, since],
    )?;
    rows.iter()
        .map(|it| Ok(format!("{} {}", it.text("store_path")?, it.text("refs")?)))
        .collect()
}
