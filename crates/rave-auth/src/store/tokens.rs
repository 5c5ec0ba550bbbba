//! The table of personal access tokens, kept as digests.

use rave_core::id::{TokenId, UserId};
use rave_core::permission::Scope;
use rave_core::port::{Page, Slice};
use rave_core::secret::TokenDigest;
use rave_core::time::Timestamp;
use rave_store::{Error, Row, Tx, params};

use super::users::{COLUMNS as USER_COLUMNS, User, user_of};
use super::{Bind, anywhere};

/// A personal access token, without the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) id: TokenId,
    pub(crate) user: UserId,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) scopes: Vec<Scope>,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) revoked_at: Option<Timestamp>,
    pub(crate) last_used_at: Option<Timestamp>,
}

impl Token {
    /// Whether the token proves anything at this instant.
    pub(crate) fn is_active(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|it| it > now)
    }
}

/// Which tokens a list shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct TokenFilter {
    pub(crate) user: Option<UserId>,
    pub(crate) active: Option<bool>,
    pub(crate) revoked: Option<bool>,
    pub(crate) search: Option<String>,
}

const COLUMNS: &str = "t.id AS token_id, t.user_id, t.name AS token_name, t.description, t.scopes, t.created_at AS token_created_at,
    t.expires_at, t.revoked_at, t.last_used_at";

fn token_of(row: &Row) -> Result<Token, Error> {
    let scopes = row.text("scopes")?;
    Ok(Token {
        id: TokenId(row.int("token_id")?),
        user: UserId(row.int("user_id")?),
        name: row.text("token_name")?,
        description: row.text("description")?,
        // A scope that only a newer program knows gives nothing.
        scopes: scopes.split(' ').filter_map(Scope::from_label).collect(),
        created_at: row.time("token_created_at")?,
        expires_at: row.opt_time("expires_at")?,
        revoked_at: row.opt_time("revoked_at")?,
        last_used_at: row.opt_time("last_used_at")?,
    })
}

/// Returns the token with this digest and its user, whatever their state.
pub(crate) fn find_by_digest(
    tx: &mut Tx<'_>,
    digest: &TokenDigest,
) -> Result<Option<(Token, User)>, Error> {
    let sql = format!(
        "SELECT {COLUMNS}, {USER_COLUMNS} FROM auth_token t JOIN auth_user u ON u.id = t.user_id WHERE t.digest = $1"
    );
    let row = tx.query_opt(&sql, params![digest.as_str()])?;
    row.map(|row| Ok((token_of(&row)?, user_of(&row)?)))
        .transpose()
}

pub(crate) fn find_token(tx: &mut Tx<'_>, id: TokenId) -> Result<Option<Token>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM auth_token t WHERE t.id = $1");
    tx.query_opt(&sql, params![id.0])?
        .as_ref()
        .map(token_of)
        .transpose()
}

/// A token that is to be stored.
#[derive(Clone, Debug)]
pub(crate) struct TokenRow {
    pub(crate) user: UserId,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) scopes: Vec<Scope>,
    pub(crate) expires_at: Option<Timestamp>,
}

pub(crate) fn insert_token(
    tx: &mut Tx<'_>,
    digest: &TokenDigest,
    row: &TokenRow,
) -> Result<Token, Error> {
    let now = tx.now();
    let scopes = row.scopes.iter().map(|it| it.label());
    let sql = format!(
        "INSERT INTO auth_token (digest, user_id, name, description, scopes, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING {}",
        // SQLite knows no table alias in RETURNING.
        COLUMNS.replace("t.", "")
    );
    let params = params![
        digest.as_str(),
        row.user.0,
        &row.name,
        &row.description,
        scopes.collect::<Vec<_>>().join(" "),
        now,
        row.expires_at,
    ];
    token_of(&tx.query_one(&sql, params)?)
}

/// Revokes a token. Returns whether it was not revoked before.
pub(crate) fn revoke_token(tx: &mut Tx<'_>, id: TokenId) -> Result<bool, Error> {
    let now = tx.now();
    let sql = "UPDATE auth_token SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
    Ok(tx.execute(sql, params![id.0, now])? == 1)
}

pub(crate) fn note_use(tx: &mut Tx<'_>, id: TokenId) -> Result<(), Error> {
    let now = tx.now();
    let sql = "UPDATE auth_token SET last_used_at = $2 WHERE id = $1";
    tx.execute(sql, params![id.0, now]).map(drop)
}

pub(crate) fn list_tokens(
    tx: &mut Tx<'_>,
    filter: &TokenFilter,
    slice: Slice,
) -> Result<Page<Token>, Error> {
    let mut bind = Bind::default();
    let now = bind.add(tx.now());
    let active =
        format!("(t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > {now}))");
    let mut conditions = vec![match filter.active {
        Some(true) => active,
        Some(false) => format!("NOT {active}"),
        None => format!("t.created_at <= {now}"),
    }];
    if let Some(user) = filter.user {
        conditions.push(format!("t.user_id = {}", bind.add(user.0)));
    }
    if let Some(revoked) = filter.revoked {
        let not = if revoked { "NOT " } else { "" };
        conditions.push(format!("t.revoked_at IS {not}NULL"));
    }
    if let Some(search) = &filter.search {
        let pattern = bind.add(anywhere(search));
        conditions.push(format!("lower(t.name) LIKE {pattern} ESCAPE '\\'"));
    }
    let conditions = conditions.join(" AND ");
    let sql = format!("SELECT COUNT(*) AS total FROM auth_token t WHERE {conditions}");
    let total = tx.query_one(&sql, &bind.0)?.int("total")?;
    let end = bind.slice(slice);
    let sql =
        format!("SELECT {COLUMNS} FROM auth_token t WHERE {conditions} ORDER BY t.id DESC {end}");
    let items: Result<Vec<Token>, Error> = tx.query(&sql, &bind.0)?.iter().map(token_of).collect();
    Ok(Page {
        items: items?,
        total: total.unsigned_abs(),
    })
}

/// Forgets tokens that ended before `before`: nobody looks for them any more.
pub(crate) fn delete_ended(tx: &mut Tx<'_>, before: Timestamp) -> Result<u64, Error> {
    tx.execute(
        "DELETE FROM auth_token WHERE revoked_at < $1 OR expires_at < $1",
        params![before],
    )
}
