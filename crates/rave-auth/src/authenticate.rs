//! Credentials become principals.

use async_trait::async_trait;
use rave_core::permission::{Principal, UserPrincipal, Via};
use rave_core::port::{AuthenticateError, Authenticator, Credentials};
use rave_core::secret::{Secret, TokenDigest, TokenKind};
use rave_core::time::Timestamp;
use rave_store::Error;

use crate::Auth;
use crate::error::port_error;
use crate::store::users::User;
use crate::store::{sessions, tokens, users};

/// How old "last used" may be: every use would otherwise be a write.
const USE_NOTED_MS: i64 = 60_000;
/// Longest user name or e-mail address that is looked at.
const LONGEST_LOGIN: usize = 255;

#[async_trait]
impl Authenticator for Auth {
    async fn authenticate(
        &self,
        credentials: &Credentials,
        peer: &str,
    ) -> Result<Principal, AuthenticateError> {
        match credentials {
            Credentials::Token(token) => self.by_token(token).await,
            Credentials::Session(cookie) => self.by_session(cookie).await,
            // Any user name goes with a token: `oauth2`, `gitlab-ci-token`, the user's own.
            Credentials::Basic { password, .. } if is_token(password) => {
                self.by_token_throttled(password, peer).await
            }
            Credentials::Basic { username, password } => {
                let user = self.check_password(username, password, peer).await?;
                Ok(principal(user, Via::Password))
            }
        }
    }
}

impl Auth {
    async fn by_token(&self, token: &Secret) -> Result<Principal, AuthenticateError> {
        let digest = TokenDigest::of(token.expose());
        if token.expose().starts_with(TokenKind::Job.prefix()) {
            return self.by_job_token(&digest).await;
        }
        let found = self.db.read("find_token", move |tx| {
            Ok::<_, Error>((tokens::find_by_digest(tx, &digest)?, tx.now()))
        });
        let (found, now) = found.await.map_err(failed("looking a token up"))?;
        let (token, user) = found
            .filter(|(token, user)| token.is_active(now) && user.active)
            .ok_or(AuthenticateError::Invalid)?;
        if is_stale(token.last_used_at, now) {
            let id = token.id;
            self.note_use("note_token", move |tx| tokens::note_use(tx, id))
                .await;
        }
        let (id, scopes) = (token.id, token.scopes);
        Ok(principal(user, Via::Token { id, scopes }))
    }

    async fn by_job_token(&self, digest: &TokenDigest) -> Result<Principal, AuthenticateError> {
        let job = self.jobs.find_job(digest).await?;
        let job = job.ok_or(AuthenticateError::Invalid)?;
        if let Some(id) = job.user {
            let user = self
                .db
                .read("find_job_user", move |tx| users::find_user(tx, id));
            let user = user.await.map_err(failed("looking a job's user up"))?;
            if !user.is_some_and(|it| it.active) {
                return Err(AuthenticateError::Invalid);
            }
        }
        Ok(Principal::Job {
            job: job.job,
            project: job.project,
            user: job.user,
        })
    }

    /// Right tokens always pass, so that one broken script does not lock out all that share its address.
    async fn by_token_throttled(
        &self,
        token: &Secret,
        peer: &str,
    ) -> Result<Principal, AuthenticateError> {
        let result = self.by_token(token).await;
        if matches!(result, Err(AuthenticateError::Invalid)) {
            let (key, now) = (format!("token:{peer}"), self.now().await?);
            if let Some(retry_after_secs) = self.throttle.wait_secs(&[&key], now) {
                return Err(AuthenticateError::Throttled { retry_after_secs });
            }
            self.throttle.note_failure(&[&key], now);
        }
        result
    }

    async fn by_session(&self, cookie: &Secret) -> Result<Principal, AuthenticateError> {
        let digest = TokenDigest::of(cookie.expose());
        let text = digest.as_str().to_owned();
        let found = self.db.read("find_session", move |tx| {
            Ok::<_, Error>((sessions::find_session(tx, &digest)?, tx.now()))
        });
        let (found, now) = found.await.map_err(failed("looking a session up"))?;
        let (user, seen_at) = found
            .filter(|(user, _)| user.active)
            .ok_or(AuthenticateError::Invalid)?;
        if is_stale(Some(seen_at), now) {
            let (digest, idle_ms) = (text.clone(), self.idle_ms());
            self.note_use("note_session", move |tx| {
                sessions::note_use(tx, &digest, idle_ms)
            })
            .await;
        }
        Ok(principal(user, Via::Session(text)))
    }

    /// Returns the user with this name or e-mail address if the password is theirs.
    ///
    /// # Errors
    /// The same after the same time, whether the user does not exist, is blocked, or the password is wrong.
    pub(crate) async fn check_password(
        &self,
        login: &str,
        password: &Secret,
        peer: &str,
    ) -> Result<User, AuthenticateError> {
        if login.len() > LONGEST_LOGIN {
            return Err(AuthenticateError::Invalid);
        }
        let wanted = login.to_owned();
        let found = self.db.read("find_login", move |tx| {
            Ok::<_, Error>((users::find_by_login(tx, &wanted)?, tx.now()))
        });
        let (found, now) = found.await.map_err(failed("looking a user up"))?;
        let user = found.filter(|it| it.active);
        let hash = user.as_ref().and_then(|it| it.password_hash.clone());
        let is_remembered = || {
            hash.as_ref()
                .is_some_and(|it| self.passwords.is_remembered(it, password, now))
        };
        if !is_remembered() {
            let turn = self.passwords.turn().await?;
            // While this one waited, another request of the same clone may have been let in.
            if !is_remembered() {
                self.verify(turn, login, password, hash.as_ref(), (peer, now))
                    .await?;
            }
        }
        user.ok_or(AuthenticateError::Invalid)
    }

    async fn verify(
        &self,
        turn: crate::password::Turn,
        login: &str,
        password: &Secret,
        hash: Option<&Secret>,
        (peer, now): (&str, Timestamp),
    ) -> Result<(), AuthenticateError> {
        // Both spellings of a login count for themselves: one cannot tell from outside that they are one account.
        let keys = [
            format!("password:{peer}"),
            format!("login:{}", login.to_lowercase()),
        ];
        let keys = [keys[0].as_str(), keys[1].as_str()];
        if let Some(retry_after_secs) = self.throttle.wait_secs(&keys, now) {
            return Err(AuthenticateError::Throttled { retry_after_secs });
        }
        if turn.verify(password, hash.cloned()).await? {
            if let Some(hash) = hash {
                self.passwords.remember(hash, password, now);
            }
            return Ok(());
        }
        self.throttle.note_failure(&keys, now);
        Err(AuthenticateError::Invalid)
    }

    /// Notes a use. That it cannot be noted is no reason to refuse it.
    async fn note_use<F>(&self, name: &'static str, f: F)
    where
        F: FnOnce(&mut rave_store::Tx<'_>) -> Result<(), Error> + Send + 'static,
    {
        if let Err(error) = self.db.write(name, f).await {
            tracing::warn!(error = %rave_http::error::chain(&error), "cannot note when credentials were last used");
        }
    }

    /// Returns the store's time.
    pub(crate) async fn now(&self) -> Result<Timestamp, AuthenticateError> {
        let now = self.db.read("now", |tx| Ok::<_, Error>(tx.now())).await;
        now.map_err(failed("reading the time"))
    }
}

fn failed(doing: &'static str) -> impl FnOnce(Error) -> AuthenticateError {
    move |error| AuthenticateError::Port(port_error(doing, error))
}

fn is_token(password: &Secret) -> bool {
    [TokenKind::Personal, TokenKind::Job]
        .iter()
        .any(|it| password.expose().starts_with(it.prefix()))
}

fn is_stale(noted: Option<Timestamp>, now: Timestamp) -> bool {
    noted.is_none_or(|it| now.since(it) >= USE_NOTED_MS)
}

fn principal(user: User, via: Via) -> Principal {
    Principal::User(UserPrincipal {
        id: user.id,
        username: user.username,
        name: user.name,
        admin: user.admin,
        via,
    })
}
