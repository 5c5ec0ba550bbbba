//! Objects: what each is made of.

use rave_core::time::Timestamp;
use rave_store::{Error, Row, Tx, Value, params};

use super::{Totals, int, size};
use crate::Digest;

/// An object's row.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) size_bytes: u64,
    pub(crate) stored_bytes: u64,
    pub(crate) manifest: Vec<u8>,
    pub(crate) damaged: bool,
}

/// Finds an object.
pub(crate) fn find(tx: &mut Tx<'_>, digest: &Digest) -> Result<Option<Object>, Error> {
    let sql =
        "SELECT size_bytes, stored_bytes, manifest, damaged FROM blob_object WHERE digest = $1";
    let found = tx.query_opt(sql, params![digest.as_bytes().as_slice()])?;
    found
        .map(|row| {
            Ok(Object {
                size_bytes: size(&row, "size_bytes")?,
                stored_bytes: size(&row, "stored_bytes")?,
                manifest: row.blob("manifest")?,
                damaged: row.bool("damaged")?,
            })
        })
        .transpose()
}

/// Notes an object, or makes one that is known young again. One that was damaged is what it is now made of.
/// Returns whether it is new.
pub(crate) fn insert(tx: &mut Tx<'_>, digest: &Digest, object: &Object) -> Result<bool, Error> {
    let now = tx.now();
    if touch(tx, digest)? {
        return Ok(false);
    }
    let sql = "INSERT INTO blob_object (digest, size_bytes, stored_bytes, manifest, put_at) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (digest) DO UPDATE SET stored_bytes = $3, manifest = $4, put_at = $5, damaged = 0";
    let values = params![
        digest.as_bytes().as_slice(),
        int(object.size_bytes),
        int(object.stored_bytes),
        object.manifest.clone(),
        now
    ];
    tx.execute(sql, values)?;
    Ok(true)
}

/// Makes a sound object young. Returns whether there is one.
pub(crate) fn touch(tx: &mut Tx<'_>, digest: &Digest) -> Result<bool, Error> {
    let now = tx.now();
    let sql = "UPDATE blob_object SET put_at = $2 WHERE digest = $1 AND damaged = 0";
    Ok(tx.execute(sql, params![digest.as_bytes().as_slice(), now])? > 0)
}

/// Deletes an object that was last put at `until` or before. Returns whether it did.
pub(crate) fn delete(tx: &mut Tx<'_>, digest: &Digest, until: Timestamp) -> Result<bool, Error> {
    let sql = "DELETE FROM blob_object WHERE digest = $1 AND put_at <= $2";
    Ok(tx.execute(sql, params![digest.as_bytes().as_slice(), until])? > 0)
}

/// An object as a walk through all of them sees it.
#[derive(Clone, Debug)]
pub(crate) struct Walked {
    pub(crate) digest: Digest,
    pub(crate) size_bytes: u64,
    pub(crate) manifest: Vec<u8>,
    pub(crate) put_at: Timestamp,
    pub(crate) damaged: bool,
}

/// Returns objects in the order of their digests, those after `after`.
pub(crate) fn walk(
    tx: &mut Tx<'_>,
    after: Option<&Digest>,
    limit: u32,
) -> Result<Vec<Walked>, Error> {
    let after = after.map_or_else(Vec::new, |it| it.as_bytes().to_vec());
    let sql = "SELECT digest, size_bytes, manifest, put_at, damaged FROM blob_object WHERE digest > $1 ORDER BY digest LIMIT $2";
    tx.query(sql, &[Value::Blob(after), Value::from(limit)])?
        .iter()
        .map(|row| {
            Ok(Walked {
                digest: digest(row)?,
                size_bytes: size(row, "size_bytes")?,
                manifest: row.blob("manifest")?,
                put_at: row.time("put_at")?,
                damaged: row.bool("damaged")?,
            })
        })
        .collect()
}

/// Notes that an object cannot be served whole.
pub(crate) fn mark_damaged(tx: &mut Tx<'_>, digest: &Digest) -> Result<(), Error> {
    let sql = "UPDATE blob_object SET damaged = 1 WHERE digest = $1";
    tx.execute(sql, params![digest.as_bytes().as_slice()])
        .map(drop)
}

/// Notes whether an object can be served whole, unless it was made of something else meanwhile.
pub(crate) fn mark_as(
    tx: &mut Tx<'_>,
    digest: &Digest,
    manifest: &[u8],
    damaged: bool,
) -> Result<(), Error> {
    let sql = "UPDATE blob_object SET damaged = $3 WHERE digest = $1 AND manifest = $2";
    let values = params![
        digest.as_bytes().as_slice(),
        manifest.to_vec(),
        i64::from(damaged)
    ];
    tx.execute(sql, values).map(drop)
}

/// Counts objects; their size is what they are long.
pub(crate) fn totals(tx: &mut Tx<'_>) -> Result<Totals, Error> {
    let sql = "SELECT COUNT(*) AS count, CAST(COALESCE(SUM(damaged), 0) AS BIGINT) AS damaged,
        CAST(COALESCE(SUM(size_bytes), 0) AS BIGINT) AS size_bytes,
        CAST(COALESCE(SUM(stored_bytes), 0) AS BIGINT) AS stored_bytes FROM blob_object";
    Totals::of(&tx.query_one(sql, &[])?)
}

fn digest(row: &Row) -> Result<Digest, Error> {
    let bytes = row.blob("digest")?.try_into().map_err(|_| Error::Column {
        column: "digest".into(),
        expected: "a digest of 32 bytes",
    })?;
    Ok(Digest::new(bytes))
}
