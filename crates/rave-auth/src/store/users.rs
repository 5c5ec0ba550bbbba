//! The table of users.

use rave_core::id::UserId;
use rave_core::port::{Page, Slice, UserSummary};
use rave_core::secret::Secret;
use rave_core::time::Timestamp;
use rave_store::{Engine, Error, Row, Tx, params};

use super::{Bind, anywhere};
use crate::AuthError;

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    pub username: String,
    pub name: String,
    pub email: String,
    pub admin: bool,
    /// Whether the account may sign in; otherwise an administrator blocked it.
    pub active: bool,
    pub created_at: Timestamp,
    pub last_sign_in_at: Option<Timestamp>,
    /// `None` when no password was ever chosen.
    pub(crate) password_hash: Option<Secret>,
}

/// A user that is to be stored.
pub(crate) struct UserRow<'a> {
    pub(crate) id: Option<UserId>,
    pub(crate) username: &'a str,
    pub(crate) name: &'a str,
    pub(crate) email: &'a str,
    pub(crate) password_hash: Option<&'a str>,
    pub(crate) admin: bool,
}

/// Which users a list shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct UserFilter {
    pub(crate) username: Option<String>,
    pub(crate) search: Option<String>,
    /// Whether the search finds e-mail addresses, which are not for everybody.
    pub(crate) by_email: bool,
    pub(crate) active: Option<bool>,
    pub(crate) admin: Option<bool>,
    pub(crate) oldest_first: bool,
}

pub(crate) const COLUMNS: &str = "u.id, u.username, u.name, u.email, u.admin, u.state, u.created_at, u.last_sign_in_at, u.password_hash";

pub(crate) fn user_of(row: &Row) -> Result<User, Error> {
    Ok(User {
        id: UserId(row.int("id")?),
        username: row.text("username")?,
        name: row.text("name")?,
        email: row.text("email")?,
        admin: row.bool("admin")?,
        active: row.text("state")? == "active",
        created_at: row.time("created_at")?,
        last_sign_in_at: row.opt_time("last_sign_in_at")?,
        password_hash: row.opt_text("password_hash")?.map(Secret::new),
    })
}

impl User {
    /// Returns the user as other parts see them.
    pub(crate) fn summary(self) -> UserSummary {
        UserSummary {
            id: self.id,
            username: self.username,
            name: self.name,
            email: self.email,
            active: self.active,
        }
    }
}

fn find(
    tx: &mut Tx<'_>,
    condition: &str,
    value: impl Into<rave_store::Value>,
) -> Result<Option<User>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM auth_user u WHERE {condition}");
    tx.query_opt(&sql, &[value.into()])?
        .as_ref()
        .map(user_of)
        .transpose()
}

pub(crate) fn find_user(tx: &mut Tx<'_>, id: UserId) -> Result<Option<User>, Error> {
    find(tx, "u.id = $1", id.0)
}

pub(crate) fn find_by_username(tx: &mut Tx<'_>, username: &str) -> Result<Option<User>, Error> {
    find(tx, "u.username_key = $1", username.to_lowercase())
}

/// Returns the user with this name or, failing that, e-mail address. No user name contains `@`.
pub(crate) fn find_by_login(tx: &mut Tx<'_>, login: &str) -> Result<Option<User>, Error> {
    if login.contains('@') {
        find(tx, "u.email_key = $1", login.to_lowercase())
    } else {
        find_by_username(tx, login)
    }
}

/// Stores a new user. The caller claims the path of its namespace in the same transaction.
pub(crate) fn insert_user(tx: &mut Tx<'_>, user: &UserRow<'_>) -> Result<UserId, AuthError> {
    let email_key = user.email.to_lowercase();
    let sql = "SELECT 1 AS found FROM auth_user WHERE email_key = $1";
    if tx.query_opt(sql, params![&email_key])?.is_some() {
        return Err(AuthError::Taken { field: "email" });
    }
    // The id is only given for the first administrator, who is number 1 on every instance.
    let (column, place) = user.id.map_or(("", ""), |_| ("id, ", "$9, "));
    let sql = format!(
        "INSERT INTO auth_user ({column}username, username_key, name, email, email_key, password_hash, admin, created_at, updated_at)
         VALUES ({place}$1, $2, $3, $4, $5, $6, $7, $8, $8) ON CONFLICT DO NOTHING RETURNING id"
    );
    let mut bind = Bind::default();
    bind.add(user.username);
    bind.add(user.username.to_lowercase());
    bind.add(user.name);
    bind.add(user.email);
    bind.add(email_key);
    bind.add(user.password_hash.map(str::to_owned));
    bind.add(user.admin);
    bind.add(tx.now());
    if let Some(id) = user.id {
        bind.add(id.0);
    }
    let row = tx.query_opt(&sql, &bind.0)?;
    let taken = AuthError::Taken { field: "username" };
    let id = row.ok_or(taken)?.int("id")?;
    if user.id.is_some() && tx.engine() == Engine::Postgres {
        // A number that was given does not count for the sequence, and the next user would collide with it.
        let sql = "SELECT setval(pg_get_serial_sequence('auth_user', 'id'), (SELECT MAX(id) FROM auth_user)) AS last";
        tx.query(sql, &[])?;
    }
    Ok(UserId(id))
}

pub(crate) fn set_password(tx: &mut Tx<'_>, user: UserId, hash: &str) -> Result<bool, Error> {
    let now = tx.now();
    let sql = "UPDATE auth_user SET password_hash = $2, updated_at = $3 WHERE id = $1";
    Ok(tx.execute(sql, params![user.0, hash, now])? == 1)
}

/// Blocks or unblocks a user. Returns whether that changed anything.
pub(crate) fn set_active(tx: &mut Tx<'_>, user: UserId, active: bool) -> Result<bool, Error> {
    let state = if active { "active" } else { "blocked" };
    let now = tx.now();
    let sql = "UPDATE auth_user SET state = $2, updated_at = $3 WHERE id = $1 AND state <> $2";
    Ok(tx.execute(sql, params![user.0, state, now])? == 1)
}

pub(crate) fn note_sign_in(tx: &mut Tx<'_>, user: UserId) -> Result<(), Error> {
    let now = tx.now();
    let sql = "UPDATE auth_user SET last_sign_in_at = $2 WHERE id = $1";
    tx.execute(sql, params![user.0, now]).map(drop)
}

/// Returns the id of the user's own namespace.
pub(crate) fn own_namespace(tx: &mut Tx<'_>, user: UserId) -> Result<Option<i64>, Error> {
    let sql = "SELECT id FROM auth_namespace WHERE owner_id = $1";
    tx.query_opt(sql, params![user.0])?
        .map(|row| row.int("id"))
        .transpose()
}

/// Returns those users of the ids that exist.
pub(crate) fn users_by_id(tx: &mut Tx<'_>, ids: &[UserId]) -> Result<Vec<User>, Error> {
    let mut users = Vec::new();
    // Statements have a limited number of parameters.
    for some in ids.chunks(500) {
        let mut bind = Bind::default();
        let places: Vec<String> = some.iter().map(|it| bind.add(it.0)).collect();
        let sql = format!(
            "SELECT {COLUMNS} FROM auth_user u WHERE u.id IN ({})",
            places.join(", ")
        );
        for row in tx.query(&sql, &bind.0)? {
            users.push(user_of(&row)?);
        }
    }
    Ok(users)
}

pub(crate) fn list_users(
    tx: &mut Tx<'_>,
    filter: &UserFilter,
    slice: Slice,
) -> Result<Page<User>, Error> {
    let mut bind = Bind::default();
    let mut conditions = vec!["1 = 1".to_owned()];
    if let Some(username) = &filter.username {
        conditions.push(format!(
            "u.username_key = {}",
            bind.add(username.to_lowercase())
        ));
    }
    if let Some(search) = &filter.search {
        let pattern = bind.add(anywhere(search));
        let mut columns = vec!["u.username_key", "lower(u.name)"];
        if filter.by_email {
            columns.push("u.email_key");
        }
        let fits = columns
            .iter()
            .map(|it| format!("{it} LIKE {pattern} ESCAPE '\\'"));
        conditions.push(format!("({})", fits.collect::<Vec<_>>().join(" OR ")));
    }
    if let Some(active) = filter.active {
        conditions.push(format!(
            "u.state {} 'active'",
            if active { "=" } else { "<>" }
        ));
    }
    if let Some(admin) = filter.admin {
        conditions.push(format!("u.admin = {}", i64::from(admin)));
    }
    let conditions = conditions.join(" AND ");
    let total = tx
        .query_one(
            &format!("SELECT COUNT(*) AS total FROM auth_user u WHERE {conditions}"),
            &bind.0,
        )?
        .int("total")?;
    let order = if filter.oldest_first { "" } else { " DESC" };
    let end = bind.slice(slice);
    let sql =
        format!("SELECT {COLUMNS} FROM auth_user u WHERE {conditions} ORDER BY u.id{order} {end}");
    let items: Result<Vec<User>, Error> = tx.query(&sql, &bind.0)?.iter().map(user_of).collect();
    Ok(Page {
        items: items?,
        total: total.unsigned_abs(),
    })
}
