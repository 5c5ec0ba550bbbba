//! What caches hold beside paths: realisations and build logs.

use rave_store::{Error, Tx, params};

use crate::model::CacheId;

/// Stores a realisation, or a part of a build trace, under its file's name.
pub(crate) fn put_realisation(
    tx: &mut Tx<'_>,
    cache: CacheId,
    name: &str,
    body: &str,
) -> Result<(), Error> {
    let now = tx.now();
    tx.execute(
        "INSERT INTO cache_realisation (cache_id, name, body, created_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (cache_id, name) DO UPDATE SET body = excluded.body",
        params![cache.0, name, body, now],
    )?;
    Ok(())
}

/// Returns what is stored under a file's name.
pub(crate) fn find_realisation(
    tx: &mut Tx<'_>,
    cache: CacheId,
    name: &str,
) -> Result<Option<String>, Error> {
    let sql = "SELECT body FROM cache_realisation WHERE cache_id = $1 AND name = $2";
    let row = tx.query_opt(sql, params![cache.0, name])?;
    row.map(|it| it.text("body")).transpose()
}

/// A build log's object, by its hexadecimal digits, and how it is encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogRow {
    pub(crate) digest: String,
    pub(crate) encoding: Option<String>,
}

/// Stores where a derivation's log is.
pub(crate) fn put_log(
    tx: &mut Tx<'_>,
    cache: CacheId,
    drv: &str,
    log: &LogRow,
) -> Result<(), Error> {
    let now = tx.now();
    tx.execute(
        "INSERT INTO cache_log (cache_id, drv, digest, encoding, created_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (cache_id, drv) DO UPDATE SET digest = excluded.digest, encoding = excluded.encoding",
        params![cache.0, drv, &log.digest, log.encoding.clone(), now],
    )?;
    Ok(())
}

/// Returns where a derivation's log is.
pub(crate) fn find_log(
    tx: &mut Tx<'_>,
    cache: CacheId,
    drv: &str,
) -> Result<Option<LogRow>, Error> {
    let sql = "SELECT digest, encoding FROM cache_log WHERE cache_id = $1 AND drv = $2";
    let row = tx.query_opt(sql, params![cache.0, drv])?;
    row.map(|it| {
        Ok(LogRow {
            digest: it.text("digest")?,
            encoding: it.opt_text("encoding")?,
        })
    })
    .transpose()
}
