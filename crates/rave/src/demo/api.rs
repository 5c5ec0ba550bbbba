//! The few calls of the API that the demo makes.

use std::time::Duration;

use anyhow::{Context as _, bail};
use rave_core::job::Status;
use rave_core::secret::Secret;
use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::Value;

/// How long a push may take to become a pipeline.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the demo looks.
pub(super) const INTERVAL: Duration = Duration::from_millis(150);

/// The API of one project.
pub(super) struct Api {
    client: reqwest::Client,
    server: String,
    project: String,
}

/// A job as the demo shows it.
pub(super) struct Job {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) stage: String,
    pub(super) status: Status,
    pub(super) seconds: Option<f64>,
    pub(super) artifact_bytes: Option<u64>,
}

impl Api {
    pub(super) fn new(server: &str, project: &str, token: &Secret) -> anyhow::Result<Self> {
        let mut value =
            HeaderValue::from_str(token.expose()).context("the token is not a header")?;
        value.set_sensitive(true);
        let headers = HeaderMap::from_iter([(
            reqwest::header::HeaderName::from_static("private-token"),
            value,
        )]);
        let client = reqwest::Client::builder()
            .default_headers(headers)
            .no_proxy()
            // The server is on this machine and speaks HTTP: it works without certificates too.
            .tls_certs_only([])
            .build()
            .context("cannot set up the HTTP client")?;
        Ok(Self {
            client,
            server: server.to_owned(),
            project: project.to_owned(),
        })
    }

    /// Returns the address of a page of the project.
    pub(super) fn page(&self, tail: &str) -> String {
        format!("{}/{}{tail}", self.server, self.project)
    }

    /// Waits for the push to become a pipeline.
    pub(super) async fn wait_for_pipeline(&self) -> anyhow::Result<i64> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let list = self.get("/pipelines").await?;
            if let Some(id) = list[0]["id"].as_i64() {
                return Ok(id);
            }
            if tokio::time::Instant::now() > deadline {
                bail!("no pipeline appeared");
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    pub(super) async fn pipeline_status(&self, pipeline: i64) -> anyhow::Result<Status> {
        let found = self.get(&format!("/pipelines/{pipeline}")).await?;
        let label = found["status"].as_str().unwrap_or_default();
        if let Some(errors) = found["yaml_errors"].as_str() {
            bail!("the pipeline's configuration is not valid: {errors}");
        }
        Status::from_label(label)
            .with_context(|| format!("the pipeline has the unknown status {label:?}"))
    }

    pub(super) async fn jobs(&self, pipeline: i64) -> anyhow::Result<Vec<Job>> {
        let list = self
            .get(&format!("/pipelines/{pipeline}/jobs?per_page=100"))
            .await?;
        let mut jobs: Vec<Job> = list
            .as_array()
            .context("the list of jobs is none")?
            .iter()
            .filter_map(job)
            .collect();
        jobs.sort_by_key(|it| it.id);
        Ok(jobs)
    }

    pub(super) async fn trace(&self, job: i64) -> anyhow::Result<String> {
        let response = self.send(&format!("/jobs/{job}/trace")).await?;
        response.text().await.context("cannot read the log")
    }

    async fn get(&self, tail: &str) -> anyhow::Result<Value> {
        self.send(tail)
            .await?
            .json()
            .await
            .with_context(|| format!("cannot read the answer of {tail}"))
    }

    async fn send(&self, tail: &str) -> anyhow::Result<reqwest::Response> {
        let url = format!(
            "{}/api/v4/projects/{}{tail}",
            self.server,
            self.project.replace('/', "%2F")
        );
        let response = self
            .client
            .get(&url)
            .send()
            .await
            .with_context(|| format!("cannot ask {url}"))?;
        response.error_for_status().context("the server refused")
    }
}

fn job(value: &Value) -> Option<Job> {
    let text = |name: &str| value[name].as_str().map(str::to_owned);
    Some(Job {
        id: value["id"].as_i64()?,
        name: text("name")?,
        stage: text("stage")?,
        status: Status::from_label(value["status"].as_str()?)?,
        seconds: value["duration"].as_f64(),
        artifact_bytes: value["artifacts_file"]["size"].as_u64(),
    })
}
