//! Tokens by which runners register themselves. Each owner has one at most.

use rave_core::id::{NamespaceId, ProjectId};
use rave_store::{Error, Row, Tx, params};

use super::corrupt;
use crate::setting::Owner;

/// Gives an owner a registration token in place of the one it had.
pub(crate) fn put(tx: &mut Tx<'_>, owner: Owner, digest: &str) -> Result<(), Error> {
    let sql = "INSERT INTO ci_registration_token (owner_kind, owner_id, token_digest, created_at)
               VALUES ($1, $2, $3, $4)
               ON CONFLICT (owner_kind, owner_id) DO UPDATE SET token_digest = excluded.token_digest,
                   created_at = excluded.created_at";
    let ((kind, id), now) = (owner.stored(), tx.now());
    tx.execute(sql, params![kind, id, digest, now]).map(drop)
}

/// Returns whose token it is.
pub(crate) fn find_owner(tx: &mut Tx<'_>, digest: &str) -> Result<Option<Owner>, Error> {
    let sql = "SELECT owner_kind, owner_id FROM ci_registration_token WHERE token_digest = $1";
    tx.query_opt(sql, params![digest])?
        .as_ref()
        .map(owner_of)
        .transpose()
}

fn owner_of(row: &Row) -> Result<Owner, Error> {
    let id = row.int("owner_id")?;
    match row.text("owner_kind")?.as_str() {
        "instance" => Ok(Owner::Instance),
        "group" => Ok(Owner::Group(NamespaceId(id))),
        "project" => Ok(Owner::Project(ProjectId(id))),
        other => Err(corrupt(format!(
            "a registration token belongs to a `{other}`"
        ))),
    }
}

/// Forgets an owner's token.
pub(crate) fn delete(tx: &mut Tx<'_>, owner: Owner) -> Result<(), Error> {
    let sql = "DELETE FROM ci_registration_token WHERE owner_kind = $1 AND owner_id = $2";
    let (kind, id) = owner.stored();
    tx.execute(sql, params![kind, id]).map(drop)
}
