//! Rows of trigger tokens.

use rave_core::id::{ProjectId, UserId};
use rave_core::port::{Page, Slice};
use rave_core::time::Timestamp;
use rave_store::{Error, Row, Tx, params};

use super::{count, limits};

/// A token by which another program starts pipelines.
#[derive(Clone, Debug)]
pub(crate) struct Trigger {
    pub(crate) id: i64,
    pub(crate) project: ProjectId,
    pub(crate) owner: UserId,
    pub(crate) description: String,
    /// The first letters of the token.
    pub(crate) short_token: String,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) used_at: Option<Timestamp>,
}

const COLUMNS: &str =
    "id, project_id, owner_id, description, short_token, created_at, updated_at, used_at";

fn of_row(row: &Row) -> Result<Trigger, Error> {
    Ok(Trigger {
        id: row.int("id")?,
        project: ProjectId(row.int("project_id")?),
        owner: UserId(row.int("owner_id")?),
        description: row.text("description")?,
        short_token: row.text("short_token")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        used_at: row.opt_time("used_at")?,
    })
}

/// Stores another token.
pub(crate) fn insert(
    tx: &mut Tx<'_>,
    project: ProjectId,
    owner: UserId,
    description: &str,
    digest: &str,
    short_token: &str,
) -> Result<Trigger, Error> {
    let sql = format!(
        "INSERT INTO ci_trigger (project_id, owner_id, description, token_digest, short_token, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $6) RETURNING {COLUMNS}"
    );
    let now = tx.now();
    let params = params![project.0, owner.0, description, digest, short_token, now];
    of_row(&tx.query_one(&sql, params)?)
}

/// Lists the tokens of a project.
pub(crate) fn list(
    tx: &mut Tx<'_>,
    project: ProjectId,
    slice: Slice,
) -> Result<Page<Trigger>, Error> {
    let total = total(tx, project)?;
    let sql = format!(
        "SELECT {COLUMNS} FROM ci_trigger WHERE project_id = $1 ORDER BY id LIMIT $2 OFFSET $3"
    );
    let (limit, offset) = limits(slice);
    let rows = tx.query(&sql, params![project.0, limit, offset])?;
    let items = rows.iter().map(of_row).collect::<Result<_, _>>()?;
    Ok(Page { items, total })
}

/// Returns how many tokens a project has.
pub(crate) fn total(tx: &mut Tx<'_>, project: ProjectId) -> Result<u64, Error> {
    let sql = "SELECT COUNT(*) AS total FROM ci_trigger WHERE project_id = $1";
    count(&tx.query_one(sql, params![project.0])?, "total")
}

/// Returns a token of a project.
pub(crate) fn find(tx: &mut Tx<'_>, project: ProjectId, id: i64) -> Result<Option<Trigger>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM ci_trigger WHERE id = $1 AND project_id = $2");
    let row = tx.query_opt(&sql, params![id, project.0])?;
    row.as_ref().map(of_row).transpose()
}

/// Returns the token that is presented, and notes its use.
pub(crate) fn find_used(tx: &mut Tx<'_>, digest: &str) -> Result<Option<Trigger>, Error> {
    let sql =
        format!("UPDATE ci_trigger SET used_at = $2 WHERE token_digest = $1 RETURNING {COLUMNS}");
    let now = tx.now();
    let row = tx.query_opt(&sql, params![digest, now])?;
    row.as_ref().map(of_row).transpose()
}

/// Changes what a token is said to be for.
pub(crate) fn put_description(tx: &mut Tx<'_>, id: i64, description: &str) -> Result<(), Error> {
    let sql = "UPDATE ci_trigger SET description = $2, updated_at = $3 WHERE id = $1";
    let now = tx.now();
    tx.execute(sql, params![id, description, now]).map(drop)
}

/// Deletes a token.
pub(crate) fn delete(tx: &mut Tx<'_>, id: i64) -> Result<(), Error> {
    let sql = "DELETE FROM ci_trigger WHERE id = $1";
    tx.execute(sql, params![id]).map(drop)
}

/// Deletes the tokens of a project that is gone.
pub(crate) fn delete_all(tx: &mut Tx<'_>, project: ProjectId) -> Result<(), Error> {
    let sql = "DELETE FROM ci_trigger WHERE project_id = $1";
    tx.execute(sql, params![project.0]).map(drop)
}
