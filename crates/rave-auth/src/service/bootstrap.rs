//! The first administrator: made at the first start, entered by a claim link or with a password given to the server.

use rave_core::id::UserId;
use rave_core::secret::{Secret, TokenDigest, TokenKind, generate_token};
use rave_store::Tx;

use super::users::{NewUser, insert_user};
use crate::password::check_strength;
use crate::store::{claims, users};
use crate::{Auth, AuthError};

/// The first administrator's id on every instance.
pub(crate) const ROOT: UserId = UserId(1);

/// What starting came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bootstrap {
    /// The first administrator has a password; it was set just now if `password_set`.
    Ready { password_set: bool },
    /// Nobody has entered yet. Whoever opens `/-/claim/TOKEN` chooses the password.
    Claim(Secret),
}

impl Auth {
    /// Makes the user `root` unless it exists, and sees to it that someone can enter.
    ///
    /// A password that is given is set when `root` has none yet, and is ignored later. Without one the result is a
    /// claim token until `root` has a password. Only digests are kept, so each start returns another token; those of
    /// the last starts stay valid until one is used.
    ///
    /// # Errors
    /// When the password is too weak, or the store fails.
    pub async fn bootstrap(&self, admin_password: Option<&Secret>) -> Result<Bootstrap, AuthError> {
        if self.has_password(ROOT).await? {
            return Ok(Bootstrap::Ready {
                password_set: false,
            });
        }
        if let Some(password) = admin_password {
            check_strength(password)?;
            let hash = self.passwords.hash(password).await?;
            let set = self.db.write("bootstrap_password", move |tx| {
                ensure_root(tx)?;
                claims::delete_of_user(tx, ROOT)?;
                users::set_password(tx, ROOT, &hash)?;
                Ok::<_, AuthError>(())
            });
            set.await?;
            return Ok(Bootstrap::Ready { password_set: true });
        }
        let secret = generate_token(TokenKind::Claim)?;
        let digest = TokenDigest::of(secret.expose());
        let made = self.db.write("bootstrap_claim", move |tx| {
            ensure_root(tx)?;
            claims::insert_claim(tx, &digest, ROOT, None)?;
            Ok::<_, AuthError>(())
        });
        made.await?;
        Ok(Bootstrap::Claim(secret))
    }
}

fn ensure_root(tx: &mut Tx<'_>) -> Result<(), AuthError> {
    if users::find_user(tx, ROOT)?.is_some() {
        return Ok(());
    }
    let root = NewUser {
        username: "root".into(),
        name: "Administrator".into(),
        email: "root@localhost".into(),
        password: None,
        admin: true,
    };
    insert_user(tx, Some(ROOT), &root, None).map(drop)
}
