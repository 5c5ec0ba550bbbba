//! Browser sessions: begun by a password or claim link, ended by signing out or by not being used.

use rave_core::id::UserId;
use rave_core::secret::{Secret, TokenDigest, TokenKind, generate_token};
use rave_store::Error;

use crate::store::{sessions, users};
use crate::{Auth, AuthError};

impl Auth {
    /// Begins a session and returns the value of its cookie.
    pub(crate) async fn begin_session(&self, user: UserId) -> Result<Secret, AuthError> {
        let secret = generate_token(TokenKind::Session)?;
        let digest = TokenDigest::of(secret.expose());
        let idle_ms = self.idle_ms();
        let begun = self.db.write("begin_session", move |tx| {
            sessions::insert_session(tx, &digest, user, idle_ms)?;
            users::note_sign_in(tx, user)?;
            Ok::<_, Error>(())
        });
        begun.await?;
        Ok(secret)
    }

    /// Ends the session with this digest.
    pub(crate) async fn end_session(&self, digest: &str) -> Result<(), AuthError> {
        let digest = digest.to_owned();
        let ended = self.db.write("end_session", move |tx| {
            sessions::delete_session(tx, &digest)
        });
        Ok(ended.await?)
    }
}
