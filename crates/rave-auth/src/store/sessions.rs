//! The table of browser sessions, kept as digests of their cookies.

use rave_core::id::UserId;
use rave_core::secret::TokenDigest;
use rave_core::time::Timestamp;
use rave_store::{Error, Tx, params};

use super::users::{COLUMNS as USER_COLUMNS, User, user_of};

pub(crate) fn insert_session(
    tx: &mut Tx<'_>,
    digest: &TokenDigest,
    user: UserId,
    idle_ms: i64,
) -> Result<(), Error> {
    let now = tx.now();
    let sql = "INSERT INTO auth_session (digest, user_id, created_at, seen_at, expires_at) VALUES ($1, $2, $3, $3, $4)";
    let expires_at = now.plus_millis(idle_ms);
    tx.execute(sql, params![digest.as_str(), user.0, now, expires_at])
        .map(drop)
}

/// Returns the user of a session that has not ended, and when it was last seen.
pub(crate) fn find_session(
    tx: &mut Tx<'_>,
    digest: &TokenDigest,
) -> Result<Option<(User, Timestamp)>, Error> {
    let now = tx.now();
    let sql = format!(
        "SELECT s.seen_at, {USER_COLUMNS} FROM auth_session s JOIN auth_user u ON u.id = s.user_id
         WHERE s.digest = $1 AND s.expires_at > $2"
    );
    let row = tx.query_opt(&sql, params![digest.as_str(), now])?;
    row.map(|row| Ok((user_of(&row)?, row.time("seen_at")?)))
        .transpose()
}

/// Notes that a session was used, which moves its end.
pub(crate) fn note_use(tx: &mut Tx<'_>, digest: &str, idle_ms: i64) -> Result<(), Error> {
    let now = tx.now();
    let sql = "UPDATE auth_session SET seen_at = $2, expires_at = $3 WHERE digest = $1";
    tx.execute(sql, params![digest, now, now.plus_millis(idle_ms)])
        .map(drop)
}

pub(crate) fn delete_session(tx: &mut Tx<'_>, digest: &str) -> Result<(), Error> {
    tx.execute(
        "DELETE FROM auth_session WHERE digest = $1",
        params![digest],
    )
    .map(drop)
}

/// Ends a user's sessions, except the one with the digest `but`.
pub(crate) fn delete_of_user(
    tx: &mut Tx<'_>,
    user: UserId,
    but: Option<&str>,
) -> Result<(), Error> {
    let sql = "DELETE FROM auth_session WHERE user_id = $1 AND digest <> $2";
    tx.execute(sql, params![user.0, but.unwrap_or_default()])
        .map(drop)
}

pub(crate) fn delete_ended(tx: &mut Tx<'_>) -> Result<u64, Error> {
    let now = tx.now();
    tx.execute(
        "DELETE FROM auth_session WHERE expires_at <= $1",
        params![now],
    )
}
