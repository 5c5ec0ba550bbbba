//! Files of other servers, for `include:remote`.
//!
//! Whoever can push names the addresses, so a request goes out only to the public internet unless the operator says
//! otherwise, and time, size and number are bounded. No credentials of ours travel along.

mod cache;
mod guard;

use std::sync::OnceLock;
use std::time::Duration;

use rave_ci_lang::{RemoteError, RemoteFile};
use rave_core::time::Timestamp;
use reqwest::header::LOCATION;
use reqwest::{Client, Url, redirect};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};

use cache::Cache;
use guard::{Blocked, Guard};

const ATTEMPTS: u32 = 3;
/// Before the second attempt; twice that before the third.
const BACKOFF: Duration = Duration::from_millis(250);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
const REDIRECTS: usize = 5;
/// Requests of all pipelines together.
const AT_ONCE: usize = 16;

/// Fetches files, and remembers those whose readers allow it.
pub(crate) struct RemoteFiles {
    guard: Guard,
    version: String,
    /// Made when the first file is asked for.
    client: OnceLock<Client>,
    slots: Semaphore,
    cache: Cache,
}

/// Why one attempt gave nothing.
enum Failure {
    Refused(String),
    Status(u16),
    /// The kind of error, with its article.
    Broken(&'static str),
    TooLarge,
}

impl Failure {
    /// Whether another attempt may end better.
    fn passes(&self) -> bool {
        match self {
            Self::Status(status) => *status >= 500,
            Self::Broken(_) => true,
            Self::Refused(_) | Self::TooLarge => false,
        }
    }

    fn after(self, attempts: u32) -> RemoteError {
        match self {
            Self::Refused(why) => RemoteError::Refused(why),
            Self::Status(status) => RemoteError::Status { status, attempts },
            Self::Broken(error) => RemoteError::Failed {
                error: error.to_owned(),
                attempts,
            },
            Self::TooLarge => RemoteError::TooLarge,
        }
    }
}

impl From<Blocked> for Failure {
    fn from(blocked: Blocked) -> Self {
        Self::Refused(blocked.to_string())
    }
}

impl RemoteFiles {
    pub(crate) fn new(private_addresses: bool, version: &str) -> Self {
        Self {
            guard: Guard::new(private_addresses),
            version: version.to_owned(),
            client: OnceLock::new(),
            slots: Semaphore::new(AT_ONCE),
            cache: Cache::default(),
        }
    }

    /// Returns the text at a URL, from the cache if it is young enough.
    pub(crate) async fn fetch(
        &self,
        file: &RemoteFile,
        limit_bytes: usize,
        deadline: Instant,
        now: Timestamp,
    ) -> Result<String, RemoteError> {
        if let Some(text) = self.cache.find(&file.url, file.cache_secs, now) {
            return Ok(text);
        }
        let fetched = timeout_at(deadline, self.try_thrice(&file.url, limit_bytes)).await;
        let text = fetched.unwrap_or(Err(RemoteError::OutOfTime))?;
        if file.cache_secs > 0 {
            self.cache.put(&file.url, &text, now);
        }
        Ok(text)
    }

    async fn try_thrice(&self, url: &str, limit_bytes: usize) -> Result<String, RemoteError> {
        let Ok(_slot) = self.slots.acquire().await else {
            return Err(RemoteError::OutOfTime);
        };
        let url = Url::parse(url.trim())
            .map_err(|error| RemoteError::Refused(format!("its address is not valid: {error}")))?;
        let mut attempt = 1;
        loop {
            match self.once(url.clone(), limit_bytes).await {
                Ok(text) => return Ok(text),
                Err(failure) if attempt < ATTEMPTS && failure.passes() => {
                    sleep(BACKOFF * attempt).await;
                    attempt += 1;
                }
                Err(failure) => return Err(failure.after(attempt)),
            }
        }
    }

    /// Asks once and follows redirects, each of which is checked like the first address.
    async fn once(&self, mut url: Url, limit_bytes: usize) -> Result<String, Failure> {
        for _ in 0..=REDIRECTS {
            self.guard.check(&url)?;
            let sent = self.client()?.get(url.clone()).send().await;
            let mut response = sent.map_err(|error| broken(&error))?;
            let status = response.status();
            if status.is_redirection() {
                let target = response.headers().get(LOCATION);
                let target = target.and_then(|it| url.join(it.to_str().ok()?).ok());
                url = target.ok_or(Failure::Status(status.as_u16()))?;
                continue;
            }
            if !status.is_success() {
                return Err(Failure::Status(status.as_u16()));
            }
            let mut bytes = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(|error| broken(&error))? {
                if bytes.len() + chunk.len() > limit_bytes {
                    return Err(Failure::TooLarge);
                }
                bytes.extend_from_slice(&chunk);
            }
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
        Err(Failure::Refused(format!(
            "it was redirected more than {REDIRECTS} times"
        )))
    }

    fn client(&self) -> Result<&Client, Failure> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        // A provider may be installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            Client::builder()
                .user_agent(format!("rave/{}", self.version))
                .timeout(ATTEMPT_TIMEOUT)
                .connect_timeout(ATTEMPT_TIMEOUT)
                .redirect(redirect::Policy::none())
                // A proxy would resolve names itself, past the check of addresses.
                .no_proxy()
                .dns_resolver(self.guard)
        };
        // A machine may have no certificates; then files still come without TLS.
        let built = builder()
            .build()
            .or_else(|_| builder().tls_certs_only([]).build());
        let client = built.map_err(|_| Failure::Broken("HTTP"))?;
        Ok(self.client.get_or_init(|| client))
    }
}

/// Classifies an error in GitLab's words, and finds our own refusal in it.
fn broken(error: &reqwest::Error) -> Failure {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if let Some(blocked) = cause.downcast_ref::<Blocked>() {
            return Failure::Refused(blocked.to_string());
        }
        source = cause.source();
    }
    if error.is_timeout() {
        Failure::Broken("a timeout")
    } else if error.is_connect() {
        Failure::Broken("a socket")
    } else {
        Failure::Broken("HTTP")
    }
}

#[cfg(test)]
mod tests;
