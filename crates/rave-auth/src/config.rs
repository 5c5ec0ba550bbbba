//! What about accounts can be set.

use std::path::PathBuf;

/// How long credentials live, how many wrong ones are taken, and what signs the instance's own.
#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// The file of the key that signs identity tokens, made when it is first needed. `None`: for this process only.
    pub signing_key: Option<PathBuf>,
    /// A session that is not used for so long ends.
    pub session_idle_secs: i64,
    /// Wrong passwords that one address, or all addresses for one account, may try per minute.
    pub tries_per_minute: usize,
    /// How long an invitation of a new user can be accepted. The first administrator's never ends.
    pub invitation_secs: i64,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            signing_key: None,
            session_idle_secs: 7 * 24 * 3600,
            tries_per_minute: 10,
            invitation_secs: 7 * 24 * 3600,
        }
    }
}
