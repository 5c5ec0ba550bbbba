//! Artifacts over HTTP: uploads stream from a file and downloads stream into one.

use std::io;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::header::{
    CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, LAST_MODIFIED, LOCATION, RANGE,
};
use reqwest::multipart::{Form, Part};
use reqwest::{Response, StatusCode, Url};
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};
use tokio_util::io::ReaderStream;

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
/// How much of a file is read at once.
const PIECE: usize = 64 << 10;
/// The longest that one transfer may take: the job's own time ends it earlier, and what is silent for long does.
const LONGEST_TRANSFER: Duration = Duration::from_secs(7 * 86_400);

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
        let local = |source| ClientError::File {
            what: UPLOAD,
            source,
        };
        let file = tokio::fs::File::open(upload.file).await.map_err(local)?;
        let length = file.metadata().await.map_err(local)?.len();
        let body = reqwest::Body::wrap_stream(ReaderStream::with_capacity(file, PIECE));
        // With a length the server can refuse what is too large before it is sent, and proxies need not gather it.
        let part = Part::stream_with_length(body, length).file_name(upload.filename.to_owned());
        let part = part.mime_str("application/octet-stream");
        let part = part.map_err(|source| ClientError::Network {
            what: UPLOAD,
            source,
        })?;
        let request = self
            .http
            .post(url.clone())
            .timeout(LONGEST_TRANSFER)
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

    /// Downloads the archive of job `job_id` into `into`. A broken download goes on where it was when the server can do
    /// that; three attempts in a row that bring nothing are the end.
    pub(crate) async fn download_artifact(
        &self,
        job_id: i64,
        token: &str,
        into: &Path,
    ) -> Result<(), ClientError> {
        let file = tokio::fs::File::create(into).await;
        let mut download = Download {
            file: file.map_err(local)?,
            length: 0,
            tag: None,
        };
        let (mut direct, mut failures) = (true, 0);
        loop {
            let before = download.length;
            let result = self
                .try_download(job_id, token, &mut download, direct)
                .await;
            let Err(error) = result else {
                return Ok(());
            };
            // Of a file that could not be written nobody knows how much is there.
            let hopeless = matches!(error, ClientError::File { .. })
                || matches!(error.status().map(|it| it.as_u16()), Some(401 | 403 | 404));
            direct = false;
            failures = if download.length > before {
                1
            } else {
                failures + 1
            };
            if hopeless || failures == 3 {
                return Err(error);
            }
            let length = download.length;
            tracing::debug!(job.id = job_id, %error, failures, length, "a download of artifacts failed; trying again");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn try_download(
        &self,
        job_id: i64,
        token: &str,
        download: &mut Download,
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
        let get = |url: Url| {
            let rest = download.rest();
            self.http.get(url).timeout(LONGEST_TRANSFER).headers(rest)
        };
        let asked = get(url.clone()).header("JOB-TOKEN", token).send().await;
        let mut response = asked.map_err(network)?;
        if matches!(
            response.status(),
            StatusCode::FOUND | StatusCode::TEMPORARY_REDIRECT
        ) && let Some(next) = location(&url, &response)
        {
            // The address carries its own permission; the token is for the server alone.
            response = get(next).send().await.map_err(network)?;
        }
        if !download.goes_on_with(&response) {
            if response.status() != StatusCode::OK {
                // Whatever the server has against the rest, it may still give the whole.
                download.tag = None;
                return Err(refused(DOWNLOAD, response).await);
            }
            download.begin(&response).await.map_err(local)?;
        }
        let mut body = response.bytes_stream();
        while let Some(piece) = body.next().await {
            download
                .append(&piece.map_err(network)?)
                .await
                .map_err(local)?;
        }
        download.file.flush().await.map_err(local)
    }

    fn artifacts_url(&self, job_id: i64) -> Url {
        self.api
            .join(&format!("jobs/{job_id}/artifacts"))
            .unwrap_or_else(|_| self.api.clone())
    }
}

/// A file that is being received.
struct Download {
    file: tokio::fs::File,
    /// How much of it is there.
    length: u64,
    /// What tells this file from others that the server may have at the same address: its strong tag, or its date.
    tag: Option<HeaderValue>,
}

impl Download {
    /// Asks for what is missing, and for all of it if the server has another file by now.
    fn rest(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let (1.., Some(tag)) = (self.length, &self.tag) {
            let range = HeaderValue::from_str(&format!("bytes={}-", self.length));
            headers.extend(range.ok().map(|it| (RANGE, it)));
            headers.insert(IF_RANGE, tag.clone());
        }
        headers
    }

    /// Says whether an answer begins where the file ends.
    fn goes_on_with(&self, response: &Response) -> bool {
        let start = || {
            let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
            let (start, _) = range.strip_prefix("bytes ")?.split_once('-')?;
            start.parse::<u64>().ok()
        };
        response.status() == StatusCode::PARTIAL_CONTENT
            && self.tag.is_some()
            && start() == Some(self.length)
    }

    /// Starts over with an answer that has everything.
    async fn begin(&mut self, response: &Response) -> io::Result<()> {
        let header = |name| response.headers().get(name).cloned();
        let strong = header(ETAG).filter(|it| !it.as_bytes().starts_with(b"W/"));
        self.tag = strong.or_else(|| header(LAST_MODIFIED));
        self.length = 0;
        self.file.set_len(0).await?;
        self.file.rewind().await.map(drop)
    }

    async fn append(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write_all(piece).await?;
        self.length += piece.len() as u64;
        Ok(())
    }
}

fn local(source: io::Error) -> ClientError {
    ClientError::File {
        what: DOWNLOAD,
        source,
    }
}

fn location(base: &Url, response: &Response) -> Option<Url> {
    let next = base
        .join(response.headers().get(LOCATION)?.to_str().ok()?)
        .ok()?;
    matches!(next.scheme(), "http" | "https").then_some(next)
}
