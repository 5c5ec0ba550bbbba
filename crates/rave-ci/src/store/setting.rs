//! Rows of variables that people set. Values are sealed by the caller; keys, scopes and flags are not.

use rave_core::port::{Page, Slice};
use rave_store::{Error, Row, Tx, params};

use super::{count, limits};
use crate::setting::Owner;

/// A row, its value still sealed.
#[derive(Clone, Debug)]
pub(crate) struct SettingRow {
    pub(crate) id: i64,
    pub(crate) key: String,
    pub(crate) sealed: Vec<u8>,
    pub(crate) file: bool,
    pub(crate) masked: bool,
    pub(crate) hidden: bool,
    pub(crate) protected: bool,
    pub(crate) raw: bool,
    pub(crate) scope: String,
    pub(crate) description: Option<String>,
}

const COLUMNS: &str =
    "id, key, value, variable_type, masked, hidden, protected, raw, environment_scope, description";

fn of_row(row: &Row) -> Result<SettingRow, Error> {
    Ok(SettingRow {
        id: row.int("id")?,
        key: row.text("key")?,
        sealed: row.blob("value")?,
        file: row.text("variable_type")? == "file",
        masked: row.bool("masked")?,
        hidden: row.bool("hidden")?,
        protected: row.bool("protected")?,
        raw: row.bool("raw")?,
        scope: row.text("environment_scope")?,
        description: row.opt_text("description")?,
    })
}

fn variable_type(file: bool) -> &'static str {
    if file { "file" } else { "env_var" }
}

/// Lists a part of an owner's variables by key and scope.
pub(crate) fn list(tx: &mut Tx<'_>, owner: Owner, slice: Slice) -> Result<Page<SettingRow>, Error> {
    let (kind, id) = owner.stored();
    let total = total(tx, owner)?;
    let sql = format!(
        "SELECT {COLUMNS} FROM ci_variable WHERE owner_kind = $1 AND owner_id = $2
         ORDER BY key, environment_scope LIMIT $3 OFFSET $4"
    );
    let (limit, offset) = limits(slice);
    let rows = tx.query(&sql, params![kind, id, limit, offset])?;
    let items = rows.iter().map(of_row).collect::<Result<_, _>>()?;
    Ok(Page { items, total })
}

/// Returns how many variables an owner has.
pub(crate) fn total(tx: &mut Tx<'_>, owner: Owner) -> Result<u64, Error> {
    let (kind, id) = owner.stored();
    let sql = "SELECT COUNT(*) AS total FROM ci_variable WHERE owner_kind = $1 AND owner_id = $2";
    count(&tx.query_one(sql, params![kind, id])?, "total")
}

/// Returns all variables of some owners, each owner's in its place.
pub(crate) fn of_owners(tx: &mut Tx<'_>, owners: &[Owner]) -> Result<Vec<Vec<SettingRow>>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM ci_variable WHERE owner_kind = $1 AND owner_id = $2 ORDER BY id"
    );
    let mut all = Vec::with_capacity(owners.len());
    for owner in owners {
        let (kind, id) = owner.stored();
        let rows = tx.query(&sql, params![kind, id])?;
        all.push(rows.iter().map(of_row).collect::<Result<_, _>>()?);
    }
    Ok(all)
}

/// Returns an owner's variables with a key, of all scopes.
pub(crate) fn with_key(tx: &mut Tx<'_>, owner: Owner, key: &str) -> Result<Vec<SettingRow>, Error> {
    let (kind, id) = owner.stored();
    let sql = format!(
        "SELECT {COLUMNS} FROM ci_variable WHERE owner_kind = $1 AND owner_id = $2 AND key = $3
         ORDER BY environment_scope"
    );
    let rows = tx.query(&sql, params![kind, id, key])?;
    rows.iter().map(of_row).collect()
}

/// Stores another variable. Returns its id, `None` when the owner has one with this key and scope.
pub(crate) fn insert(
    tx: &mut Tx<'_>,
    owner: Owner,
    new: &SettingRow,
) -> Result<Option<i64>, Error> {
    let (kind, id) = owner.stored();
    let sql = "INSERT INTO ci_variable (owner_kind, owner_id, key, value, variable_type, masked, hidden, protected, raw,
                   environment_scope, description, created_at, updated_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12)
               ON CONFLICT (owner_kind, owner_id, key, environment_scope) DO NOTHING RETURNING id";
    let now = tx.now();
    let params = params![
        kind,
        id,
        &new.key,
        new.sealed.as_slice(),
        variable_type(new.file),
        new.masked,
        new.hidden,
        new.protected,
        new.raw,
        &new.scope,
        new.description.clone(),
        now,
    ];
    let row = tx.query_opt(sql, params)?;
    row.map(|it| it.int("id")).transpose()
}

/// Changes a variable. Returns whether it did: not when the owner has another one with this key and scope.
pub(crate) fn update(tx: &mut Tx<'_>, owner: Owner, new: &SettingRow) -> Result<bool, Error> {
    let taken = with_key(tx, owner, &new.key)?;
    if taken
        .iter()
        .any(|it| it.scope == new.scope && it.id != new.id)
    {
        return Ok(false);
    }
    let sql = "UPDATE ci_variable SET value = $2, variable_type = $3, masked = $4, protected = $5, raw = $6,
                   environment_scope = $7, description = $8, updated_at = $9 WHERE id = $1";
    let now = tx.now();
    let params = params![
        new.id,
        new.sealed.as_slice(),
        variable_type(new.file),
        new.masked,
        new.protected,
        new.raw,
        &new.scope,
        new.description.clone(),
        now,
    ];
    Ok(tx.execute(sql, params)? == 1)
}

/// Deletes a variable.
pub(crate) fn delete(tx: &mut Tx<'_>, id: i64) -> Result<(), Error> {
    let sql = "DELETE FROM ci_variable WHERE id = $1";
    tx.execute(sql, params![id]).map(drop)
}

/// Deletes all variables of an owner that is gone.
pub(crate) fn delete_all(tx: &mut Tx<'_>, owner: Owner) -> Result<(), Error> {
    let (kind, id) = owner.stored();
    let sql = "DELETE FROM ci_variable WHERE owner_kind = $1 AND owner_id = $2";
    tx.execute(sql, params![kind, id]).map(drop)
}
