//! Chunks: which there are, where they lie, and for how long they are promised.

use std::sync::Arc;

use rave_core::time::Timestamp;
use rave_store::{Error, Row, Tx, Value, params};

use super::{MANY, Totals, int, padded, places, size};
use crate::chunk::ChunkDigest;
use crate::frame::Label;
use crate::shelf::Spot;

/// A chunk that is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) id: i64,
    pub(crate) digest: ChunkDigest,
    pub(crate) stored_bytes: u64,
    pub(crate) keep_until: Timestamp,
}

/// Finds those of the chunks that are stored and sound.
pub(crate) fn find(tx: &mut Tx<'_>, digests: &[ChunkDigest]) -> Result<Vec<Known>, Error> {
    let sql = format!(
        "SELECT id, digest, stored_bytes, keep_until FROM blob_chunk WHERE damaged = 0 AND digest IN ({})",
        places(1)
    );
    let mut found = Vec::new();
    for some in digests.chunks(MANY) {
        let values: Vec<Value> = padded(some)
            .map(|it| Value::from(it.0.as_slice()))
            .collect();
        for row in tx.query(&sql, &values)? {
            found.push(Known {
                id: row.int("id")?,
                digest: digest(&row)?,
                stored_bytes: size(&row, "stored_bytes")?,
                keep_until: row.time("keep_until")?,
            });
        }
    }
    Ok(found)
}

/// Promises chunks until `until`. Returns those that were still there to be promised.
pub(crate) fn promise(tx: &mut Tx<'_>, ids: &[i64], until: Timestamp) -> Result<Vec<i64>, Error> {
    let sql = format!(
        "UPDATE blob_chunk SET keep_until = CASE WHEN keep_until > $1 THEN keep_until ELSE $1 END
            WHERE damaged = 0 AND id IN ({}) RETURNING id",
        places(2)
    );
    let mut kept = Vec::new();
    for some in ids.chunks(MANY) {
        let values: Vec<Value> = std::iter::once(Value::from(until))
            .chain(padded(some).map(Value::from))
            .collect();
        for row in tx.query(&sql, &values)? {
            kept.push(row.int("id")?);
        }
    }
    Ok(kept)
}

/// Notes a chunk that lies at `spot`, and returns its number. One that another upload noted first stays where it is, unless
/// it is damaged there: then every object that it is part of is whole again.
pub(crate) fn insert(
    tx: &mut Tx<'_>,
    label: &Label,
    spot: Spot,
    until: Timestamp,
) -> Result<i64, Error> {
    let sql = "INSERT INTO blob_chunk (digest, pack_id, position, stored_bytes, size_bytes, checksum, keep_until)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (digest) DO UPDATE SET
            keep_until = CASE WHEN blob_chunk.keep_until > $7 THEN blob_chunk.keep_until ELSE $7 END,
            pack_id = CASE WHEN blob_chunk.damaged = 1 THEN $2 ELSE blob_chunk.pack_id END,
            position = CASE WHEN blob_chunk.damaged = 1 THEN $3 ELSE blob_chunk.position END,
            stored_bytes = CASE WHEN blob_chunk.damaged = 1 THEN $4 ELSE blob_chunk.stored_bytes END,
            checksum = CASE WHEN blob_chunk.damaged = 1 THEN $6 ELSE blob_chunk.checksum END,
            damaged = 0
        RETURNING id";
    let values = params![
        label.digest.0.as_slice(),
        spot.pack,
        int(spot.position),
        label.stored_bytes,
        label.size_bytes,
        label.checksum.cast_signed(),
        until
    ];
    tx.query_one(sql, values)?.int("id")
}

/// Where a chunk lies, and what it must be.
#[derive(Clone, Debug)]
pub(crate) struct Located {
    pub(crate) id: i64,
    pub(crate) pack_id: i64,
    pub(crate) pack: Arc<str>,
    pub(crate) position: u64,
    pub(crate) stored_bytes: u32,
    pub(crate) size_bytes: u32,
    pub(crate) digest: ChunkDigest,
    pub(crate) checksum: u64,
    pub(crate) damaged: bool,
}

/// Finds where chunks lie. The answer has no order, and leaves out those that are not there.
pub(crate) fn locate(tx: &mut Tx<'_>, ids: &[i64]) -> Result<Vec<Located>, Error> {
    let sql = format!(
        "SELECT c.id, c.digest, c.position, c.stored_bytes, c.size_bytes, c.checksum, c.damaged, c.pack_id, p.name
            FROM blob_chunk c JOIN blob_pack p ON p.id = c.pack_id WHERE c.id IN ({})",
        places(1)
    );
    let mut found: Vec<Located> = Vec::new();
    for some in ids.chunks(MANY) {
        let values: Vec<Value> = padded(some).map(Value::from).collect();
        for row in tx.query(&sql, &values)? {
            let name = row.text("name")?;
            // Most chunks of an object lie in one pack.
            let pack = match found.last() {
                Some(before) if *before.pack == *name => before.pack.clone(),
                _ => Arc::from(name),
            };
            found.push(located(&row, pack)?);
        }
    }
    Ok(found)
}

fn located(row: &Row, pack: Arc<str>) -> Result<Located, Error> {
    let short = |column| {
        let value = row.int(column)?;
        u32::try_from(value).map_err(|_| Error::Column {
            column: column.into(),
            expected: "a size",
        })
    };
    Ok(Located {
        id: row.int("id")?,
        pack_id: row.int("pack_id")?,
        pack,
        position: size(row, "position")?,
        stored_bytes: short("stored_bytes")?,
        size_bytes: short("size_bytes")?,
        digest: digest(row)?,
        checksum: row.int("checksum")?.cast_unsigned(),
        damaged: row.bool("damaged")?,
    })
}

/// Returns the chunks of a pack behind a position, in the order in which they lie.
pub(crate) fn of_pack(
    tx: &mut Tx<'_>,
    pack: i64,
    after: i64,
    limit: u32,
) -> Result<Vec<Located>, Error> {
    let sql = "SELECT c.id, c.digest, c.position, c.stored_bytes, c.size_bytes, c.checksum, c.damaged, c.pack_id, p.name
        FROM blob_chunk c JOIN blob_pack p ON p.id = c.pack_id
        WHERE c.pack_id = $1 AND c.position > $2 ORDER BY c.position LIMIT $3";
    tx.query(sql, params![pack, after, limit])?
        .iter()
        .map(|row| located(row, Arc::from(row.text("name")?)))
        .collect()
}

/// Notes that a chunk was moved out of a pack, unless it left it meanwhile.
pub(crate) fn relocate(tx: &mut Tx<'_>, id: i64, from_pack: i64, to: Spot) -> Result<(), Error> {
    let sql = "UPDATE blob_chunk SET pack_id = $3, position = $4 WHERE id = $1 AND pack_id = $2";
    tx.execute(sql, params![id, from_pack, to.pack, int(to.position)])
        .map(drop)
}

/// Returns the numbers of chunks after `after` that have not been promised since `before`.
pub(crate) fn unpromised(
    tx: &mut Tx<'_>,
    after: i64,
    before: Timestamp,
    limit: u32,
) -> Result<Vec<i64>, Error> {
    let sql = "SELECT id FROM blob_chunk WHERE id > $1 AND keep_until < $2 ORDER BY id LIMIT $3";
    tx.query(sql, params![after, before, limit])?
        .iter()
        .map(|row| row.int("id"))
        .collect()
}

/// Deletes chunks that have not been promised since `before`. Returns how many, and what they took in their packs.
pub(crate) fn delete(tx: &mut Tx<'_>, ids: &[i64], before: Timestamp) -> Result<(u64, u64), Error> {
    let sql = format!(
        "DELETE FROM blob_chunk WHERE keep_until < $1 AND id IN ({}) RETURNING stored_bytes",
        places(2)
    );
    let (mut count, mut bytes) = (0, 0);
    for some in ids.chunks(MANY) {
        let values: Vec<Value> = std::iter::once(Value::from(before))
            .chain(padded(some).map(Value::from))
            .collect();
        for row in tx.query(&sql, &values)? {
            count += 1;
            bytes += size(&row, "stored_bytes")?;
        }
    }
    Ok((count, bytes))
}

/// Notes that a chunk is not what it was. It is not given to uploads any more.
pub(crate) fn mark_damaged(tx: &mut Tx<'_>, id: i64) -> Result<(), Error> {
    let sql = "UPDATE blob_chunk SET damaged = 1 WHERE id = $1";
    tx.execute(sql, params![id]).map(drop)
}

/// Notes whether a chunk is what it was, unless it lies elsewhere by now.
pub(crate) fn mark_at(
    tx: &mut Tx<'_>,
    id: i64,
    (pack, position): (i64, u64),
    damaged: bool,
) -> Result<(), Error> {
    let sql = "UPDATE blob_chunk SET damaged = $4 WHERE id = $1 AND pack_id = $2 AND position = $3";
    tx.execute(sql, params![id, pack, int(position), i64::from(damaged)])
        .map(drop)
}

/// Counts chunks.
pub(crate) fn totals(tx: &mut Tx<'_>) -> Result<Totals, Error> {
    let sql = "SELECT COUNT(*) AS count, CAST(COALESCE(SUM(damaged), 0) AS BIGINT) AS damaged,
        CAST(COALESCE(SUM(size_bytes), 0) AS BIGINT) AS size_bytes,
        CAST(COALESCE(SUM(stored_bytes), 0) AS BIGINT) AS stored_bytes FROM blob_chunk";
    Totals::of(&tx.query_one(sql, &[])?)
}

fn digest(row: &Row) -> Result<ChunkDigest, Error> {
    ChunkDigest::from_slice(&row.blob("digest")?).ok_or_else(|| Error::Column {
        column: "digest".into(),
        expected: "a digest of 32 bytes",
    })
}
