//! Making, finding, blocking users, and their passwords.

use rave_core::event::{EventKind, NewEvent};
use rave_core::id::UserId;
use rave_core::name::{FullPath, PathSegment};
use rave_core::permission::Visibility;
use rave_core::port::{Page, Slice};
use rave_core::secret::Secret;
use rave_store::{Error, Tx};
use serde_json::json;

use crate::password::check_strength;
use crate::store::members::{Membership, memberships};
use crate::store::namespaces::{NamespaceRow, insert_namespace};
use crate::store::users::{User, UserFilter, UserRow};
use crate::store::{claims, sessions, users};
use crate::{Auth, AuthError};

/// A user that is to be made.
#[derive(Clone, Debug)]
pub struct NewUser {
    pub username: String,
    pub name: String,
    pub email: String,
    /// `None` makes an account that is entered by a claim link.
    pub password: Option<Secret>,
    pub admin: bool,
}

impl Auth {
    /// Makes a user with their own namespace. Whoever calls has checked that the caller may.
    ///
    /// # Errors
    /// When a value breaks a rule, or the name or e-mail address is taken.
    pub async fn create_user(&self, new: NewUser) -> Result<User, AuthError> {
        let hash = match &new.password {
            Some(password) => {
                check_strength(password)?;
                Some(self.passwords.hash(password).await?)
            }
            None => None,
        };
        self.db
            .write("create_user", move |tx| {
                insert_user(tx, None, &new, hash.as_deref())
            })
            .await
    }

    pub(crate) async fn find_user(&self, id: UserId) -> Result<User, AuthError> {
        let found = self
            .db
            .read("find_user", move |tx| users::find_user(tx, id));
        found.await?.ok_or(AuthError::NotFound("User"))
    }

    pub(crate) async fn find_by_username(&self, username: &str) -> Result<User, AuthError> {
        let username = username.to_owned();
        let found = self.db.read("find_by_username", move |tx| {
            users::find_by_username(tx, &username)
        });
        found.await?.ok_or(AuthError::NotFound("User"))
    }

    /// Returns the id of a user's own namespace.
    pub(crate) async fn own_namespace(&self, id: UserId) -> Result<Option<i64>, AuthError> {
        let found = self
            .db
            .read("own_namespace", move |tx| users::own_namespace(tx, id));
        Ok(found.await?)
    }

    pub(crate) async fn list_users(
        &self,
        filter: UserFilter,
        slice: Slice,
    ) -> Result<Page<User>, AuthError> {
        let listed = self.db.read("list_users", move |tx| {
            users::list_users(tx, &filter, slice)
        });
        Ok(listed.await?)
    }

    pub(crate) async fn memberships(&self, user: UserId) -> Result<Vec<Membership>, AuthError> {
        let listed = self
            .db
            .read("memberships", move |tx| memberships(tx, user))
            .await;
        Ok(listed?)
    }

    /// Blocks or unblocks a user; blocking ends their sessions and closes their links. Returns whether that changed
    /// anything.
    pub(crate) async fn set_active(
        &self,
        by: UserId,
        user: UserId,
        active: bool,
    ) -> Result<bool, AuthError> {
        if by == user && !active {
            return Err(AuthError::Forbidden("you cannot block yourself"));
        }
        self.db
            .write("set_active", move |tx| {
                if users::find_user(tx, user)?.is_none() {
                    return Err(AuthError::NotFound("User"));
                }
                if !active {
                    sessions::delete_of_user(tx, user, None)?;
                    claims::delete_of_user(tx, user)?;
                }
                Ok(users::set_active(tx, user, active)?)
            })
            .await
    }

    /// Changes a user's own password; their other sessions end. The caller has checked the present one.
    pub(crate) async fn change_password(
        &self,
        user: UserId,
        password: &Secret,
        session: Option<String>,
    ) -> Result<(), AuthError> {
        check_strength(password)?;
        let hash = self.passwords.hash(password).await?;
        self.db
            .write("change_password", move |tx| {
                users::set_password(tx, user, &hash)?;
                claims::delete_of_user(tx, user)?;
                sessions::delete_of_user(tx, user, session.as_deref())?;
                Ok::<_, Error>(())
            })
            .await?;
        Ok(())
    }
}

/// Stores a user with their namespace and tells of it.
pub(crate) fn insert_user(
    tx: &mut Tx<'_>,
    id: Option<UserId>,
    new: &NewUser,
    password_hash: Option<&str>,
) -> Result<User, AuthError> {
    let username = checked_username(&new.username)?;
    let email = checked_email(&new.email)?;
    let name = checked_name(&new.name)?;
    let row = UserRow {
        id,
        username: username.as_str(),
        name,
        email,
        password_hash,
        admin: new.admin,
    };
    let id = users::insert_user(tx, &row)?;
    let namespace = NamespaceRow {
        parent: None,
        owner: Some(id),
        path: &username,
        name,
        description: "",
        visibility: Visibility::Public,
    };
    insert_namespace(tx, &namespace, "username")?;
    let payload = json!({"username": username.as_str(), "admin": new.admin});
    tx.append(NewEvent::new(EventKind::UserCreated, format!("user/{id}")).payload(payload))?;
    users::find_user(tx, id)?.ok_or(AuthError::NotFound("User"))
}

fn checked_username(text: &str) -> Result<FullPath, AuthError> {
    PathSegment::parse(text)
        .and_then(|it| FullPath::parse(it.as_str()))
        .map_err(|error| {
            let why = error.to_string();
            AuthError::invalid("username", why.strip_prefix("path ").unwrap_or(&why))
        })
}

/// A name of a person or group: shown, never an address.
pub(crate) fn checked_name(text: &str) -> Result<&str, AuthError> {
    let name = text.trim();
    if name.is_empty() {
        return Err(AuthError::invalid("name", "can't be blank"));
    }
    if name.chars().count() > 255 {
        return Err(AuthError::invalid(
            "name",
            "is too long (maximum is 255 characters)",
        ));
    }
    if name.chars().any(char::is_control) {
        return Err(AuthError::invalid("name", "contains a control character"));
    }
    Ok(name)
}

/// Only a message shows whether an address works; this refuses what cannot be one.
fn checked_email(text: &str) -> Result<&str, AuthError> {
    let email = text.trim();
    let plausible = email
        .split_once('@')
        .is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !host.contains('@'));
    let clean = !email
        .chars()
        .any(|it| it.is_control() || it.is_whitespace() || "<>,\"".contains(it));
    if plausible && clean && email.len() <= 255 {
        Ok(email)
    } else {
        Err(AuthError::invalid("email", "is invalid"))
    }
}
