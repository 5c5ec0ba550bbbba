//! Claim links: how the first administrator and every user whom an administrator makes choose their own password.

use rave_core::id::UserId;
use rave_core::secret::{Secret, TokenDigest, TokenKind, generate_token};
use rave_store::Error;

use crate::password::check_strength;
use crate::store::users::User;
use crate::store::{claims, sessions, users};
use crate::{Auth, AuthError};

impl Auth {
    /// Makes a link by which a user chooses a new password.
    pub(crate) async fn invite(&self, user: UserId) -> Result<Secret, AuthError> {
        let secret = generate_token(TokenKind::Claim)?;
        let digest = TokenDigest::of(secret.expose());
        let valid_ms = self.config.invitation_secs.saturating_mul(1000);
        let made = self.db.write("invite", move |tx| {
            let expires_at = tx.now().plus_millis(valid_ms);
            claims::insert_claim(tx, &digest, user, Some(expires_at))
        });
        made.await?;
        Ok(secret)
    }

    /// Returns the account that an open link is for.
    pub(crate) async fn find_claim(&self, token: &str) -> Result<Option<User>, AuthError> {
        let digest = TokenDigest::of(token);
        let found = self
            .db
            .read("find_claim", move |tx| claims::find_claim(tx, &digest));
        Ok(found.await?)
    }

    /// Uses a link up: sets the account's password and ends its sessions.
    ///
    /// # Errors
    /// [`AuthError::NotFound`] when the link does not exist, has ended or was used.
    pub(crate) async fn claim(&self, token: &str, password: &Secret) -> Result<User, AuthError> {
        const CLOSED: AuthError = AuthError::NotFound("Link");
        check_strength(password)?;
        // Looked at first, so that hashing is not something that anybody can make the server do.
        if self.find_claim(token).await?.is_none() {
            return Err(CLOSED);
        }
        let hash = self.passwords.hash(password).await?;
        let digest = TokenDigest::of(token);
        self.db
            .write("claim", move |tx| {
                let user = claims::find_claim(tx, &digest)?.ok_or(CLOSED)?;
                // The user's row comes first: whoever else uses a link to this account waits here, and finds none.
                users::set_password(tx, user.id, &hash)?;
                if !claims::take_claim(tx, &digest)? {
                    return Err(CLOSED);
                }
                claims::delete_of_user(tx, user.id)?;
                sessions::delete_of_user(tx, user.id, None)?;
                Ok(user)
            })
            .await
    }

    /// Returns whether the account was ever entered: it has a password.
    pub(crate) async fn has_password(&self, user: UserId) -> Result<bool, AuthError> {
        let found = self
            .db
            .read("has_password", move |tx| {
                let user = users::find_user(tx, user)?;
                Ok::<_, Error>(user.is_some_and(|it| it.password_hash.is_some()))
            })
            .await;
        Ok(found?)
    }
}
