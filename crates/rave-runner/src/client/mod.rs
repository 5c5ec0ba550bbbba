//! The client of the runner API: one method per call, each with the protocol's retries.
//!
//! What the answers mean for a job is left to [`crate::report`] and [`crate::job`].

pub(crate) mod artifacts;
pub(crate) mod lifecycle;
mod retry;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rave_core::secret::Secret;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde_json::json;
use tokio::time::Instant;

use crate::config::{ConfigError, RunnerConfig};
use crate::host::{Offer, Usage};
use crate::metrics::{Metrics, RunnerLabels};
use crate::wire;

/// A call to the server failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No answer, or a broken one.
    #[error("cannot {what}")]
    Network {
        /// What was being done.
        what: &'static str,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The server refused.
    #[error("cannot {what}: the server answers {status} {message}")]
    Status {
        /// What was being done.
        what: &'static str,
        /// The answer's status.
        status: StatusCode,
        /// What the server says of it.
        message: String,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
    /// The answer is not what the protocol says.
    #[error("cannot {what}: the server's answer cannot be understood")]
    Answer {
        /// What was being done.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A local file failed while it was sent or received.
    #[error("cannot {what}: a local file failed")]
    File {
        /// What was being done.
        what: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl ClientError {
    /// Returns the status the server refused with.
    #[must_use]
    pub const fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// Prints an error with everything that caused it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// The client.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    api: Url,
    token: Secret,
    system_id: String,
    info: wire::Info,
    last_update: Mutex<Option<String>>,
    /// The server picks jobs by what they need of memory.
    knows_offers: AtomicBool,
    metrics: Arc<Metrics>,
    labels: RunnerLabels,
}

/// What the server says on every answer about a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct JobAnswer {
    pub(crate) status: u16,
    /// `Job-Status`, empty when absent.
    pub(crate) job_status: String,
    /// How often the server wants to hear, when it says so.
    pub(crate) interval: Option<Duration>,
    /// The server shows logs live and takes them in small pieces.
    pub(crate) live: bool,
    /// The size that the server holds of the log.
    pub(crate) size: Option<u64>,
}

impl JobAnswer {
    fn of(response: &Response) -> Self {
        let text = |name: &str| text_of(response.headers(), name);
        let seconds = text("X-GitLab-Trace-Update-Interval").and_then(|it| it.parse().ok());
        Self {
            status: response.status().as_u16(),
            job_status: text("Job-Status").unwrap_or_default(),
            interval: seconds.map(|it: u64| Duration::from_secs(it.min(900))),
            live: is_live(response.headers()),
            size: text("Range").and_then(|it| it.rsplit_once('-')?.1.parse().ok()),
        }
    }
}

fn text_of(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get(name)
        .and_then(|it| it.to_str().ok())
        .map(str::to_owned)
}

/// Says whether the server marks itself as one that forwards logs at once.
fn is_live(headers: &HeaderMap) -> bool {
    headers
        .get("X-Rave-Live")
        .is_some_and(|it| it.as_bytes() == b"1")
}

impl Client {
    pub(crate) fn new(config: &RunnerConfig) -> Result<Self, ConfigError> {
        let invalid = || ConfigError::Url {
            url: config.url.clone(),
        };
        let base = config
            .url
            .trim_end_matches('/')
            .trim_end_matches("/ci")
            .trim_end_matches('/');
        let api = Url::parse(&format!("{base}/api/v4/")).map_err(|_| invalid())?;
        if !matches!(api.scheme(), "http" | "https") || !api.has_host() {
            return Err(invalid());
        }
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        // A provider may be installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder();
        if api.scheme() == "http" {
            // Certificates are of no use here, and a small machine may have none, which would be an error.
            builder = builder.tls_certs_only([]);
        }
        builder = config.tls.apply(builder)?;
        let http = builder
            .user_agent(format!("rave-runner {} ({os}/{arch})", config.version))
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(600))
            .timeout(Duration::from_secs(3600))
            // Job tokens travel in a header that a redirect would carry to another host.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(ConfigError::Http)?;
        let info = wire::Info {
            name: "rave-runner".to_owned(),
            version: config.version.clone(),
            revision: config.version.clone(),
            platform: os,
            architecture: arch,
            executor: config.executor.name(),
            shell: "bash",
            features: wire::Features::of_this_runner(&config.executor),
        };
        let (token, system_id) = (config.token.clone(), config.system_id.clone());
        Ok(Self {
            http,
            api,
            token,
            system_id,
            info,
            last_update: Mutex::new(None),
            knows_offers: AtomicBool::new(false),
            metrics: config.metrics.clone(),
            labels: config.labels(),
        })
    }

    /// Whether the server reads what an offer says, so that it gives no job that does not fit.
    pub(crate) fn knows_offers(&self) -> bool {
        self.knows_offers.load(Ordering::Relaxed)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let id = RandomState::new();
        let id = format!("{:016x}{:016x}", id.hash_one(0), id.hash_one(1));
        // The paths are ours and plain, so joining cannot fail; the base stands in if it ever did.
        let url = self.api.join(path).unwrap_or_else(|_| self.api.clone());
        self.http.request(method, url).header("X-Request-Id", id)
    }

    fn note(&self, call: (&'static str, &'static str), status: StatusCode, since: Instant) {
        let took = since.elapsed();
        self.metrics.call(&self.labels, call, status.as_u16(), took);
    }

    /// Asks for a job, waiting as long as the server holds the request.
    ///
    /// May be dropped at any point: the server does not give a job to a connection that is gone.
    pub(crate) async fn request_job(
        &self,
        offer: &Offer,
    ) -> Result<Option<(wire::Job, bool)>, ClientError> {
        let what = "ask for a job";
        let last_update = self
            .last_update
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let memory = wire::MemoryOffer::from(offer);
        let mut body = json!({
            "token": self.token.expose(), "system_id": self.system_id, "info": self.info, "memory": memory,
        });
        if let Some(last_update) = last_update {
            body["last_update"] = last_update.into();
        }
        let since = Instant::now();
        let request = self
            .request(Method::POST, "jobs/request")
            .header(ACCEPT, "application/json");
        let sent = request
            .header("RUNNER-TOKEN", self.token.expose())
            .json(&body)
            .send()
            .await;
        let response = sent.map_err(|source| ClientError::Network { what, source })?;
        self.note(("request_job", "POST"), response.status(), since);
        self.knows_offers.store(
            response.headers().contains_key("X-Rave-Memory"),
            Ordering::Relaxed,
        );
        if let Some(version) = text_of(response.headers(), "X-GitLab-Last-Update") {
            *self
                .last_update
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(version);
        }
        match response.status() {
            StatusCode::CREATED => {
                let live = is_live(response.headers());
                let bytes = response
                    .bytes()
                    .await
                    .map_err(|source| ClientError::Network { what, source })?;
                let job = serde_json::from_slice(&bytes)
                    .map_err(|source| ClientError::Answer { what, source })?;
                Ok(Some((job, live)))
            }
            StatusCode::NO_CONTENT => Ok(None),
            _ => Err(refused(what, response).await),
        }
    }

    /// Tells the server the state of a job. Any answer of the server is a success here.
    pub(crate) async fn update_job(
        &self,
        id: i64,
        update: &Update<'_>,
    ) -> Result<JobAnswer, ClientError> {
        let body = wire::JobUpdate {
            info: &self.info,
            token: update.token,
            state: update.state,
            failure_reason: update.failure_reason,
            checksum: update.checksum,
            output: wire::Output {
                checksum: update.checksum,
                bytesize: update.len,
            },
            exit_code: update.exit_code.filter(|it| *it != 0),
            usage: update.usage,
        };
        let since = Instant::now();
        let response = retry::send("report the state of a job", || {
            let request = self
                .request(Method::PUT, &format!("jobs/{id}"))
                .header("JOB-TOKEN", update.token);
            request.header(ACCEPT, "application/json").json(&body)
        })
        .await?;
        self.note(("update_job", "PUT"), response.status(), since);
        Ok(JobAnswer::of(&response))
    }

    /// Appends to a job's log at `offset`. Any answer of the server is a success here.
    pub(crate) async fn append_trace(
        &self,
        id: i64,
        token: &str,
        offset: u64,
        bytes: bytes::Bytes,
        debug: bool,
    ) -> Result<JobAnswer, ClientError> {
        let since = Instant::now();
        let last = (offset + bytes.len() as u64).saturating_sub(1);
        let response = retry::send("send a job's log", || {
            self.request(
                Method::PATCH,
                &format!("jobs/{id}/trace?debug_trace={debug}"),
            )
            .header("JOB-TOKEN", token)
            .header(CONTENT_TYPE, "text/plain")
            .header("Content-Range", format!("{offset}-{last}"))
            .body(bytes.clone())
        })
        .await?;
        self.note(("patch_trace", "PATCH"), response.status(), since);
        Ok(JobAnswer::of(&response))
    }
}

/// One `PUT /jobs/:id`.
#[derive(Clone, Debug)]
pub(crate) struct Update<'a> {
    pub(crate) token: &'a str,
    pub(crate) state: &'static str,
    pub(crate) failure_reason: Option<&'a str>,
    pub(crate) exit_code: Option<i32>,
    pub(crate) checksum: &'a str,
    pub(crate) len: u64,
    pub(crate) usage: Option<&'a Usage>,
}

/// Reads what the server says of its refusal. An overlong body is not read.
async fn refused(what: &'static str, response: Response) -> ClientError {
    let status = response.status();
    let retry_after = retry_after(response.headers());
    let short = response.content_length().is_none_or(|it| it < 65_536);
    let body = if short {
        response.text().await.unwrap_or_default()
    } else {
        String::new()
    };
    let message = serde_json::from_str::<serde_json::Value>(&body)
        .ok()
        .and_then(|it| match it.get("message") {
            Some(serde_json::Value::String(text)) => Some(text.clone()),
            Some(other) => Some(other.to_string()),
            None => None,
        });
    ClientError::Status {
        what,
        status,
        message: message.unwrap_or_default(),
        retry_after,
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .parse()
        .ok()
        .map(Duration::from_secs)
}
