//! The table of claim links, kept as digests: each lets a person choose an account's password, once.

use rave_core::id::UserId;
use rave_core::secret::TokenDigest;
use rave_core::time::Timestamp;
use rave_store::{Error, Tx, params};

use super::users::{COLUMNS as USER_COLUMNS, User, user_of};

/// How many links to one account are open at most: each start of the server prints one until the first is used.
const OPEN: i64 = 5;

pub(crate) fn insert_claim(
    tx: &mut Tx<'_>,
    digest: &TokenDigest,
    user: UserId,
    expires_at: Option<Timestamp>,
) -> Result<(), Error> {
    let now = tx.now();
    let sql =
        "INSERT INTO auth_claim (digest, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4)";
    tx.execute(sql, params![digest.as_str(), user.0, now, expires_at])?;
    let sql = "DELETE FROM auth_claim WHERE user_id = $1 AND digest <> $2 AND digest NOT IN (
                   SELECT digest FROM auth_claim WHERE user_id = $1 ORDER BY created_at DESC, digest LIMIT $3)";
    tx.execute(sql, params![user.0, digest.as_str(), OPEN])
        .map(drop)
}

/// Returns the account that an open link is for.
pub(crate) fn find_claim(tx: &mut Tx<'_>, digest: &TokenDigest) -> Result<Option<User>, Error> {
    let now = tx.now();
    let sql = format!(
        "SELECT {USER_COLUMNS} FROM auth_claim c JOIN auth_user u ON u.id = c.user_id
         WHERE c.digest = $1 AND (c.expires_at IS NULL OR c.expires_at > $2) AND u.state = 'active'"
    );
    tx.query_opt(&sql, params![digest.as_str(), now])?
        .as_ref()
        .map(user_of)
        .transpose()
}

/// Uses a link up. Returns whether it was still there: of two who try, one succeeds.
pub(crate) fn take_claim(tx: &mut Tx<'_>, digest: &TokenDigest) -> Result<bool, Error> {
    let sql = "DELETE FROM auth_claim WHERE digest = $1";
    Ok(tx.execute(sql, params![digest.as_str()])? == 1)
}

/// Closes all links to an account.
pub(crate) fn delete_of_user(tx: &mut Tx<'_>, user: UserId) -> Result<(), Error> {
    tx.execute("DELETE FROM auth_claim WHERE user_id = $1", params![user.0])
        .map(drop)
}

pub(crate) fn delete_ended(tx: &mut Tx<'_>) -> Result<u64, Error> {
    let now = tx.now();
    tx.execute(
        "DELETE FROM auth_claim WHERE expires_at <= $1",
        params![now],
    )
}
