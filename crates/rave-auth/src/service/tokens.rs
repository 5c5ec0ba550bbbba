//! Personal access tokens: made, shown once, listed, revoked, exchanged.

use rave_core::id::{TokenId, UserId};
use rave_core::permission::Scope;
use rave_core::port::{Page, Slice};
use rave_core::secret::{Secret, TokenDigest, TokenKind, generate_token};
use rave_core::time::Timestamp;

use crate::store::tokens::{self, Token, TokenFilter, TokenRow};
use crate::{Auth, AuthError};

impl Auth {
    /// Makes a token for a user, by name: for scripts that set an instance up.
    ///
    /// # Errors
    /// When there is no such user, or the name or scopes are missing.
    pub async fn issue_token(
        &self,
        username: &str,
        name: &str,
        scopes: &[Scope],
        expires_at: Option<Timestamp>,
    ) -> Result<Secret, AuthError> {
        let user = self.find_by_username(username).await?;
        let row = TokenRow {
            user: user.id,
            name: name.to_owned(),
            description: String::new(),
            scopes: scopes.to_vec(),
            expires_at,
        };
        Ok(self.create_token(row).await?.1)
    }

    /// Makes a token. The secret is returned here and never again.
    pub(crate) async fn create_token(
        &self,
        mut row: TokenRow,
    ) -> Result<(Token, Secret), AuthError> {
        row.name = row.name.trim().to_owned();
        if row.name.is_empty() || row.name.chars().count() > 255 {
            return Err(AuthError::invalid(
                "name",
                "must have between 1 and 255 characters",
            ));
        }
        if row.scopes.is_empty() {
            return Err(AuthError::invalid("scopes", "can't be blank"));
        }
        row.scopes.sort();
        row.scopes.dedup();
        let secret = generate_token(TokenKind::Personal)?;
        let digest = TokenDigest::of(secret.expose());
        let token = self.db.write("create_token", move |tx| {
            if row.expires_at.is_some_and(|it| it <= tx.now()) {
                return Err(AuthError::invalid("expires_at", "must be in the future"));
            }
            Ok(tokens::insert_token(tx, &digest, &row)?)
        });
        Ok((token.await?, secret))
    }

    pub(crate) async fn find_token(&self, id: TokenId) -> Result<Option<Token>, AuthError> {
        let found = self
            .db
            .read("find_token_by_id", move |tx| tokens::find_token(tx, id));
        Ok(found.await?)
    }

    pub(crate) async fn list_tokens(
        &self,
        filter: TokenFilter,
        slice: Slice,
    ) -> Result<Page<Token>, AuthError> {
        let listed = self.db.read("list_tokens", move |tx| {
            tokens::list_tokens(tx, &filter, slice)
        });
        Ok(listed.await?)
    }

    /// Revokes a token. Returns whether it was not revoked before.
    pub(crate) async fn revoke_token(&self, id: TokenId) -> Result<bool, AuthError> {
        let revoked = self
            .db
            .write("revoke_token", move |tx| tokens::revoke_token(tx, id));
        Ok(revoked.await?)
    }

    /// Revokes a token and makes another with its name and scopes. Of two who try, one succeeds.
    pub(crate) async fn rotate_token(
        &self,
        id: TokenId,
        user: UserId,
        expires_at: Timestamp,
    ) -> Result<(Token, Secret), AuthError> {
        let secret = generate_token(TokenKind::Personal)?;
        let digest = TokenDigest::of(secret.expose());
        let token = self.db.write("rotate_token", move |tx| {
            let old = tokens::find_token(tx, id)?
                .filter(|it| it.user == user)
                .ok_or(AuthError::NotFound("Token"))?;
            let now = tx.now();
            if expires_at <= now {
                return Err(AuthError::invalid("expires_at", "must be in the future"));
            }
            if !old.is_active(now) || !tokens::revoke_token(tx, id)? {
                return Err(AuthError::invalid("token", "is already revoked"));
            }
            let row = TokenRow {
                user,
                name: old.name,
                description: old.description,
                scopes: old.scopes,
                expires_at: Some(expires_at),
            };
            Ok(tokens::insert_token(tx, &digest, &row)?)
        });
        Ok((token.await?, secret))
    }
}
