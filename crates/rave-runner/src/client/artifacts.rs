//! Artifacts over HTTP: uploads stream from a file and downloads stream into one.

use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::header::LOCATION;
use reqwest::multipart::{Form, Part};
use reqwest::{Response, StatusCode, Url};
use tokio::io::AsyncWriteExt as _;

use super::{Client, ClientError, refused, retry};

/// An artifact that is ready to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Upload<'a> {
    pub(crate) job_id: i64,
    pub(crate) token: &'a str,
    pub(crate) file: &'a Path,
    pub(crate) filename: &'a str,
    pub(crate) artifact_type: &'a str,
    pub(crate) artifact_format: &'a str,
    pub(crate) expire_in: &'a str,
}

const UPLOAD: &str = "upload artifacts";
const DOWNLOAD: &str = "download artifacts";

impl Client {
    /// Uploads an artifact: three attempts, six while the server is only unavailable.
    pub(crate) async fn upload_artifact(&self, upload: &Upload<'_>) -> Result<(), ClientError> {
        let mut url = self.artifacts_url(upload.job_id);
        let parameters = [
            ("artifact_format", upload.artifact_format),
            ("artifact_type", upload.artifact_type),
            ("expire_in", upload.expire_in),
        ];
        url.query_pairs_mut()
            .extend_pairs(parameters.iter().filter(|it| !it.1.is_empty()));
        let mut redirected = false;
        for attempt in 1.. {
            let error = match self.try_upload(&url, upload).await {
                Ok(response) if response.status() == StatusCode::CREATED => return Ok(()),
                Ok(response)
                    if response.status() == StatusCode::TEMPORARY_REDIRECT && !redirected =>
                {
                    if let Some(next) = location(&url, &response) {
                        // Another host of the same server: the path and its parameters stay ours.
                        let moved = url.set_scheme(next.scheme()).is_ok()
                            && url.set_host(next.host_str()).is_ok();
                        redirected = moved && url.set_port(next.port()).is_ok();
                    }
                    if redirected {
                        continue;
                    }
                    refused(UPLOAD, response).await
                }
                Ok(response) => refused(UPLOAD, response).await,
                Err(error) => error,
            };
            let attempts = match error.status().map(|it| it.as_u16()) {
                Some(503) => 6,
                Some(400 | 401 | 403 | 404 | 405 | 413) => 1,
                _ => 3,
            };
            if attempt >= attempts {
                return Err(error);
            }
            tracing::debug!(job.id = upload.job_id, %error, attempt, "an upload of artifacts failed; trying again");
            tokio::time::sleep(retry::pause(attempt)).await;
        }
        unreachable!("the loop returns at its last attempt")
    }

    async fn try_upload(&self, url: &Url, upload: &Upload<'_>) -> Result<Response, ClientError> {
        let opened = tokio::fs::File::open(upload.file).await;
        let file = opened.map_err(|source| ClientError::File {
            what: UPLOAD,
            source,
        })?;
        let part = Part::stream(reqwest::Body::from(file)).file_name(upload.filename.to_owned());
        let part = part.mime_str("application/octet-stream");
        let part = part.map_err(|source| ClientError::Network {
            what: UPLOAD,
            source,
        })?;
        let request = self
            .http
            .post(url.clone())
            .header("JOB-TOKEN", upload.token);
        let sent = request
            .multipart(Form::new().part("file", part))
            .send()
            .await;
        sent.map_err(|source| ClientError::Network {
            what: UPLOAD,
            source,
        })
    }

    /// Downloads the archive of job `job_id` into `into`, in three attempts.
    pub(crate) async fn download_artifact(
        &self,
        job_id: i64,
        token: &str,
        into: &Path,
    ) -> Result<(), ClientError> {
        for attempt in 1.. {
            let error = match self.try_download(job_id, token, into, attempt == 1).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let hopeless = matches!(error.status().map(|it| it.as_u16()), Some(401 | 403 | 404));
            if hopeless || attempt == 3 {
                return Err(error);
            }
            tracing::debug!(job.id = job_id, %error, attempt, "a download of artifacts failed; trying again");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        unreachable!("the loop returns at its last attempt")
    }

    async fn try_download(
        &self,
        job_id: i64,
        token: &str,
        into: &Path,
        direct: bool,
    ) -> Result<(), ClientError> {
        let mut url = self.artifacts_url(job_id);
        if direct {
            url.query_pairs_mut().append_pair("direct_download", "true");
        }
        let network = |source| ClientError::Network {
            what: DOWNLOAD,
            source,
        };
        let local = |source| ClientError::File {
            what: DOWNLOAD,
            source,
        };
        let mut response = self
            .http
            .get(url.clone())
            .header("JOB-TOKEN", token)
            .send()
            .await
            .map_err(network)?;
        if matches!(
            response.status(),
            StatusCode::FOUND | StatusCode::TEMPORARY_REDIRECT
        ) && let Some(next) = location(&url, &response)
        {
            // The address carries its own permission; the token is for the server alone.
            response = self.http.get(next).send().await.map_err(network)?;
        }
        if response.status() != StatusCode::OK {
            return Err(refused(DOWNLOAD, response).await);
        }
        let mut file = tokio::fs::File::create(into).await.map_err(local)?;
        let mut body = response.bytes_stream();
        while let Some(piece) = body.next().await {
            file.write_all(&piece.map_err(network)?)
                .await
                .map_err(local)?;
        }
        file.flush().await.map_err(local)
    }

    fn artifacts_url(&self, job_id: i64) -> Url {
        self.api
            .join(&format!("jobs/{job_id}/artifacts"))
            .unwrap_or_else(|_| self.api.clone())
    }
}

fn location(base: &Url, response: &Response) -> Option<Url> {
    let next = base
        .join(response.headers().get(LOCATION)?.to_str().ok()?)
        .ok()?;
    matches!(next.scheme(), "http" | "https").then_some(next)
}
