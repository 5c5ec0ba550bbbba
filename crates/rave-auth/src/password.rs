//! Passwords: argon2id at a bounded rate, off the threads that serve requests, and a short memory of what was right so
//! that the several requests of one `git clone` pay once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use rave_core::port::PortError;
use rave_core::secret::Secret;
use rave_core::time::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::AuthError;

/// Shortest password that may be chosen, in characters.
pub(crate) const SHORTEST: usize = 12;
/// Longest password in bytes: hashing megabytes would be a way to keep the server busy.
const LONGEST: usize = 1024;
/// Hashes computed at a time. Each takes 19 MiB.
const AT_ONCE: usize = 2;
/// How long a check waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a right password is remembered, and how many.
const REMEMBERED_MS: i64 = 60_000;
const REMEMBERED: usize = 256;
/// What the password of a user who does not exist is compared with, so that it takes as long. Nobody's password: the
/// digest was not computed from one.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$cmF2ZS1ub2JvZHktcmF2ZQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Hashes and checks passwords.
pub(crate) struct Passwords {
    permits: Arc<Semaphore>,
    /// Makes what is remembered useless to anyone who reads the memory of a process that has ended.
    key: [u8; 32],
    remembered: Mutex<HashMap<[u8; 32], Timestamp>>,
}

/// Leave to compute one hash.
pub(crate) struct Turn(OwnedSemaphorePermit);

/// Checks a password that someone chooses.
///
/// # Errors
/// When it is too short or too long.
pub(crate) fn check_strength(password: &Secret) -> Result<(), AuthError> {
    if password.expose().chars().count() < SHORTEST {
        let why = format!("is too short (minimum is {SHORTEST} characters)");
        return Err(AuthError::invalid("password", why));
    }
    if password.expose().len() > LONGEST {
        let why = format!("is too long (maximum is {LONGEST} bytes)");
        return Err(AuthError::invalid("password", why));
    }
    Ok(())
}

impl Passwords {
    pub(crate) fn new() -> Self {
        let mut key = [0_u8; 32];
        // Without randomness the memory is only as well protected as the process: what it holds are digests anyway.
        let _ = getrandom::fill(&mut key);
        Self {
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            key,
            remembered: Mutex::default(),
        }
    }

    /// Waits for leave to compute a hash; gives up when too many others wait.
    pub(crate) async fn turn(&self) -> Result<Turn, PortError> {
        let turn = tokio::time::timeout(PATIENCE, self.permits.clone().acquire_owned()).await;
        match turn {
            Ok(Ok(permit)) => Ok(Turn(permit)),
            Ok(Err(closed)) => Err(PortError::new("waiting to check a password", closed)),
            Err(late) => Err(PortError::transient("waiting to check a password", late)),
        }
    }

    /// Hashes a password that someone chose.
    pub(crate) async fn hash(&self, password: &Secret) -> Result<String, PortError> {
        let turn = self.turn().await?;
        let password = password.clone();
        let hash = blocking(turn, move || {
            Argon2::default()
                .hash_password(password.expose().as_bytes())
                .map(|it| it.to_string())
        });
        hash.await?
            .map_err(|error| PortError::new("hashing a password", error.to_string()))
    }

    /// Returns whether the password with this hash was right a moment ago. A changed password has another hash.
    pub(crate) fn is_remembered(&self, hash: &Secret, password: &Secret, now: Timestamp) -> bool {
        let key = self.key_of(hash, password);
        let remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        remembered
            .get(&key)
            .is_some_and(|at| (0..REMEMBERED_MS).contains(&now.since(*at)))
    }

    /// Remembers that the password was right.
    pub(crate) fn remember(&self, hash: &Secret, password: &Secret, now: Timestamp) {
        let key = self.key_of(hash, password);
        let mut remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED {
            remembered.retain(|_, at| now.since(*at) < REMEMBERED_MS);
        }
        if remembered.len() < REMEMBERED {
            remembered.insert(key, now);
        }
    }

    fn key_of(&self, hash: &Secret, password: &Secret) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update(self.key);
        digest.update(Sha256::digest(hash.expose()));
        digest.update(Sha256::digest(password.expose()));
        digest.finalize().into()
    }
}

impl Turn {
    /// Returns whether a password is right. Takes as long when there is no hash to compare it with.
    pub(crate) async fn verify(
        self,
        password: &Secret,
        hash: Option<Secret>,
    ) -> Result<bool, PortError> {
        if password.expose().len() > LONGEST {
            return Ok(false);
        }
        let (password, exists) = (password.clone(), hash.is_some());
        let hash = hash.unwrap_or_else(|| Secret::new(NOBODY));
        let right = blocking(self, move || {
            let hash = PasswordHash::new(hash.expose()).ok()?;
            Some(
                Argon2::default()
                    .verify_password(password.expose().as_bytes(), &hash)
                    .is_ok(),
            )
        });
        let unreadable = || PortError::new("reading a password's hash", "it is damaged");
        Ok(right.await?.ok_or_else(unreadable)? && exists)
    }
}

/// Computes on a thread for that. The turn ends with the computation, even when nobody waits for it any more.
async fn blocking<T: Send + 'static>(
    turn: Turn,
    compute: impl FnOnce() -> T + Send + 'static,
) -> Result<T, PortError> {
    let task = tokio::task::spawn_blocking(move || {
        let result = compute();
        drop(turn.0);
        result
    });
    task.await
        .map_err(|error| PortError::new("computing a password's hash", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_hashed_salted_and_checked() {
        let passwords = Passwords::new();
        let password = Secret::new("correct horse battery");
        let hash = passwords.hash(&password).await.expect("hashed");
        let again = passwords.hash(&password).await.expect("hashed");
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        assert_ne!(hash, again, "each has its own salt");
        for (text, hash, right) in [
            ("correct horse battery", Some(&hash), true),
            ("correct horse batterz", Some(&hash), false),
            ("", Some(&hash), false),
            ("correct horse battery", None, false),
        ] {
            let turn = passwords.turn().await.expect("free");
            let found = turn.verify(&Secret::new(text), hash.map(Secret::new)).await;
            assert_eq!(found.expect("checked"), right, "{text}");
        }
    }

    #[test]
    fn a_right_password_is_remembered_for_a_minute_and_for_its_hash() {
        let passwords = Passwords::new();
        let (hash, password) = (Secret::new("hash"), Secret::new("password"));
        passwords.remember(&hash, &password, Timestamp(1000));
        let knows = |hash: &str, password: &str, at| {
            passwords.is_remembered(&Secret::new(hash), &Secret::new(password), Timestamp(at))
        };
        assert!(knows("hash", "password", 60_999));
        assert!(!knows("hash", "password", 61_000));
        assert!(!knows("hash", "other", 1000) && !knows("changed", "password", 1000));
        for number in 0..2 * REMEMBERED {
            passwords.remember(&Secret::new(number.to_string()), &password, Timestamp(2000));
        }
        let remembered = passwords.remembered.lock().expect("lock").len();
        assert_eq!(remembered, REMEMBERED);
    }

    #[test]
    fn weak_and_huge_passwords_are_refused() {
        let check = |text: &str| check_strength(&Secret::new(text)).map_err(|it| it.to_string());
        assert_eq!(
            check("elevenchars"),
            Err("password is too short (minimum is 12 characters)".into())
        );
        assert_eq!(check("twelve chars"), Ok(()));
        assert!(check(&"x".repeat(LONGEST + 1)).is_err());
    }
}
