//! NARs that came before the narinfo that names them, and which objects anything of this part refers to.

use std::collections::HashSet;

use rave_core::time::Timestamp;
use rave_store::{Error, Row, Tx, params};

use super::{AT_ONCE, places, with_list};
use crate::model::CacheId;

/// A NAR that was put under a file's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upload {
    pub(crate) file_name: String,
    /// In hexadecimal digits.
    pub(crate) nar_digest: String,
    pub(crate) nar_size: i64,
    /// The SHA-256 of the file as it came, in hexadecimal digits.
    pub(crate) file_hash: String,
    pub(crate) file_size: i64,
    pub(crate) uploaded_by: String,
    /// What of the NAR had to be stored.
    pub(crate) added_bytes: i64,
}

/// Notes an upload.
pub(crate) fn put(tx: &mut Tx<'_>, cache: CacheId, it: &Upload) -> Result<(), Error> {
    let now = tx.now();
    tx.execute(
        "INSERT INTO cache_upload (cache_id, file_name, nar_digest, nar_size, file_hash, file_size, added_bytes,
             uploaded_by, uploaded_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (cache_id, file_name) DO UPDATE SET nar_digest = excluded.nar_digest, nar_size = excluded.nar_size,
             file_hash = excluded.file_hash, file_size = excluded.file_size, added_bytes = excluded.added_bytes,
             uploaded_by = excluded.uploaded_by,
             uploaded_at = excluded.uploaded_at",
        params![
            cache.0,
            &it.file_name,
            &it.nar_digest,
            it.nar_size,
            &it.file_hash,
            it.file_size,
            it.added_bytes,
            &it.uploaded_by,
            now
        ],
    )?;
    Ok(())
}

/// Returns the upload with this name.
pub(crate) fn find(
    tx: &mut Tx<'_>,
    cache: CacheId,
    file_name: &str,
) -> Result<Option<Upload>, Error> {
    let row = tx.query_opt(
        "SELECT file_name, nar_digest, nar_size, file_hash, file_size, uploaded_by, added_bytes FROM cache_upload
         WHERE cache_id = $1 AND file_name = $2",
        params![cache.0, file_name],
    )?;
    let read = |row: &Row| {
        Ok(Upload {
            file_name: row.text("file_name")?,
            nar_digest: row.text("nar_digest")?,
            nar_size: row.int("nar_size")?,
            file_hash: row.text("file_hash")?,
            file_size: row.int("file_size")?,
            uploaded_by: row.text("uploaded_by")?,
            added_bytes: row.int("added_bytes")?,
        })
    };
    row.as_ref().map(read).transpose()
}

/// Forgets uploads that were made before an instant. Returns how many.
pub(crate) fn drop_old(tx: &mut Tx<'_>, until: Timestamp) -> Result<u64, Error> {
    tx.execute(
        "DELETE FROM cache_upload WHERE uploaded_at <= $1",
        params![until],
    )
}

/// Returns which of some objects this part refers to, by their hexadecimal digits.
pub(crate) fn referenced(tx: &mut Tx<'_>, digests: &[String]) -> Result<HashSet<String>, Error> {
    let mut found = HashSet::new();
    for some in digests.chunks(AT_ONCE) {
        let list = places(1, some.len());
        let sql = format!(
            "SELECT nar_digest AS digest FROM cache_path WHERE nar_digest IN ({list})
             UNION SELECT nar_digest AS digest FROM cache_upload WHERE nar_digest IN ({list})
             UNION SELECT digest FROM cache_log WHERE digest IN ({list})"
        );
        for row in tx.query(&sql, &with_list(&[], some))? {
            found.insert(row.text("digest")?);
        }
    }
    Ok(found)
}
