//! What the operator decides about continuous integration.

use std::time::Duration;

use rave_ci_lang::Limits;

/// Settings of this part. [`CiConfig::new`] gives the defaults, which suit a small team.
#[derive(Clone, Debug)]
pub struct CiConfig {
    /// The address under which people and runners reach the server, without a trailing slash.
    pub external_url: String,
    /// RAVE's own version.
    pub version: String,
    /// How long a job may run that says nothing else.
    pub job_timeout: Duration,
    /// How long a job may wait for a runner.
    pub pending_timeout: Duration,
    /// How long a runner that was given a job may stay silent before the job goes to another.
    pub assign_timeout: Duration,
    /// How long a runner that works on a job may stay silent before it counts as dead. Stock runners speak every 30 s.
    pub lost_after: Duration,
    /// How often a job is tried again by itself when its runner died, also without `retry` in the file.
    pub lost_retries: u32,
    /// How long a request for a job is held.
    pub long_poll: Duration,
    /// Largest artifact.
    pub artifact_limit_bytes: u64,
    /// How long artifacts live that say nothing else.
    pub artifact_expiry: Duration,
    /// Largest log.
    pub trace_limit_bytes: u64,
    /// How many commits a job fetches that says nothing else.
    pub git_depth: u32,
    /// Whether runners may register themselves with registration tokens, as they did before people made them.
    pub runner_registration: bool,
    /// How long a runner's token counts. `None`: until it is reset.
    pub runner_token_lifetime: Option<Duration>,
    /// Whether `include:remote` may reach this machine and the private network around it.
    pub include_private_addresses: bool,
    /// What planning one pipeline may cost.
    pub limits: Limits,
}

impl CiConfig {
    /// Returns the defaults for a server at this address.
    #[must_use]
    pub fn new(external_url: impl Into<String>, version: impl Into<String>) -> Self {
        const HOUR: u64 = 3600;
        Self {
            external_url: external_url.into(),
            version: version.into(),
            job_timeout: Duration::from_secs(HOUR),
            pending_timeout: Duration::from_secs(24 * HOUR),
            assign_timeout: Duration::from_secs(10),
            lost_after: Duration::from_secs(60),
            lost_retries: 1,
            long_poll: Duration::from_secs(50),
            artifact_limit_bytes: 2 << 30,
            artifact_expiry: Duration::from_secs(30 * 24 * HOUR),
            trace_limit_bytes: 100 << 20,
            git_depth: 20,
            runner_registration: false,
            runner_token_lifetime: None,
            include_private_addresses: false,
            limits: Limits::default(),
        }
    }
}

/// Returns a duration as the database counts.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
