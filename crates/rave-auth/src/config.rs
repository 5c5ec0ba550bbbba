//! What about accounts can be set.

/// How long credentials live and how many wrong ones are taken.
#[derive(Clone, Debug)]
pub struct AuthConfig {
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
            session_idle_secs: 7 * 24 * 3600,
            tries_per_minute: 10,
            invitation_secs: 7 * 24 * 3600,
        }
    }
}
