//! Caches in an object store that speaks S3, shared by runners on several machines. Archives stream from and into files.

use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use rave_core::time::Timestamp;
use regex::Regex;
use reqwest::{Method, Response, StatusCode, Url};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

use super::sign::{Request, Signer};
use crate::config::S3Cache;

/// From where on an archive is sent in parts. A single request may carry 5 GiB, but one that breaks begins anew.
const PART_BYTES: u64 = 16 << 20;
const ATTEMPTS: u32 = 3;

/// The bucket.
#[derive(Debug)]
pub(crate) struct S3 {
    http: reqwest::Client,
    signer: Signer,
    origin: String,
    host: String,
    /// The part of an object's path before its name: the bucket, where that is not part of the host, and the prefix.
    base: String,
    part_bytes: u64,
}

/// The bucket cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum S3Error {
    #[error("the address {0:?} of the cache's server is not one")]
    Address(String),
    #[error("cannot reach the cache's server")]
    Network(#[source] reqwest::Error),
    #[error("the cache's server answers {status}: {message}")]
    Refused { status: StatusCode, message: String },
    #[error("the cache's server answers what cannot be understood")]
    Answer,
    #[error("cannot use the file of a cache")]
    File(#[source] std::io::Error),
}

impl S3Error {
    /// Says whether the same request may succeed a little later.
    fn is_transient(&self) -> bool {
        match self {
            Self::Network(_) => true,
            Self::Refused { status, .. } => status.is_server_error() || status.as_u16() == 429,
            _ => false,
        }
    }
}

impl S3 {
    /// Opens a bucket. `short_token` tells the caches of runners apart that do not share theirs.
    pub(crate) fn open(config: &S3Cache, short_token: &str) -> Result<Self, S3Error> {
        let address = match config.server_address.trim() {
            "" => format!("s3.{}.amazonaws.com", config.region),
            address => address.trim_end_matches('/').to_owned(),
        };
        let address = match address.split_once("://") {
            Some(_) => address,
            None if config.insecure => format!("http://{address}"),
            None => format!("https://{address}"),
        };
        let invalid = || S3Error::Address(config.server_address.clone());
        let url = Url::parse(&address).map_err(|_| invalid())?;
        let name = url
            .host_str()
            .filter(|_| matches!(url.scheme(), "http" | "https"));
        let name = name.ok_or_else(invalid)?;
        // Only Amazon's own servers have a host for each bucket without being asked.
        let by_path = config
            .path_style
            .unwrap_or_else(|| !name.ends_with(".amazonaws.com"));
        let port = url.port().map(|it| format!(":{it}")).unwrap_or_default();
        let (host, mut base) = match by_path {
            true => (format!("{name}{port}"), format!("/{}", config.bucket)),
            false => (format!("{}.{name}{port}", config.bucket), String::new()),
        };
        let prefix = config.path.trim_matches('/');
        if !prefix.is_empty() {
            base.push_str(&format!("/{prefix}"));
        }
        if !config.shared {
            base.push_str(&format!("/runner/{short_token}"));
        }
        // A provider may be installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut http = reqwest::Client::builder();
        if url.scheme() == "http" {
            http = http.tls_certs_only([]);
        }
        let http = http
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(120))
            .build()
            .map_err(S3Error::Network)?;
        Ok(Self {
            http,
            origin: format!("{}://{host}", url.scheme()),
            signer: Signer {
                region: config.region.clone(),
                access_key: config.access_key.clone(),
                secret_key: config.secret_key.clone(),
                session_token: config.session_token.clone(),
            },
            host,
            base,
            part_bytes: PART_BYTES,
        })
    }

    /// Returns the path of a project's cache.
    pub(crate) fn object(&self, project_id: i64, key: &str) -> String {
        format!("{}/project/{project_id}/{key}", self.base)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<(reqwest::Body, u64)>,
        now: Timestamp,
    ) -> Result<Response, S3Error> {
        let request = Request {
            method: method.as_str(),
            origin: &self.origin,
            host: &self.host,
            path,
            query,
        };
        let mut request = self
            .http
            .request(method.clone(), self.signer.sign(&request, now));
        if let Some((body, len)) = body {
            request = request.header("Content-Length", len).body(body);
        }
        let response = request.send().await.map_err(S3Error::Network)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let text = response.text().await.unwrap_or_default();
        let message = element(&text, "Code").unwrap_or_default();
        Err(S3Error::Refused { status, message })
    }

    /// Fetches an object into a file. Returns whether there is one.
    pub(crate) async fn fetch(
        &self,
        path: &str,
        into: &Path,
        now: Timestamp,
    ) -> Result<bool, S3Error> {
        for attempt in 1.. {
            match self.try_fetch(path, into, now).await {
                Err(S3Error::Refused { status, .. }) if status == StatusCode::NOT_FOUND => {
                    return Ok(false);
                }
                Err(error) if error.is_transient() && attempt < ATTEMPTS => {
                    tracing::debug!(%error, attempt, "cannot fetch a cache; trying again");
                    tokio::time::sleep(Duration::from_millis(200 << attempt)).await;
                }
                done => return done.map(|()| true),
            }
        }
        unreachable!("the loop returns at its last attempt")
    }

    async fn try_fetch(&self, path: &str, into: &Path, now: Timestamp) -> Result<(), S3Error> {
        let response = self.send(Method::GET, path, &[], None, now).await?;
        let mut file = File::create(into).await.map_err(S3Error::File)?;
        let mut body = response.bytes_stream();
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(S3Error::Network)?;
            file.write_all(&piece).await.map_err(S3Error::File)?;
        }
        file.flush().await.map_err(S3Error::File)
    }

    /// Stores a file as an object: at once, or in parts when it is large. Readers see the old object until the end.
    pub(crate) async fn store(
        &self,
        path: &str,
        file: &Path,
        now: Timestamp,
    ) -> Result<(), S3Error> {
        let len = tokio::fs::metadata(file)
            .await
            .map_err(S3Error::File)?
            .len();
        if len <= self.part_bytes {
            return self.put(path, &[], file, (0, len), now).await.map(drop);
        }
        let begun = self
            .send(Method::POST, path, &[("uploads", "")], Some(empty()), now)
            .await?;
        let text = begun.text().await.map_err(S3Error::Network)?;
        let upload = element(&text, "UploadId").ok_or(S3Error::Answer)?;
        let stored = self.store_parts(path, &upload, file, len, now).await;
        if stored.is_err() {
            // What arrived would be paid for until somebody finds it.
            let query = [("uploadId", upload.as_str())];
            drop(self.send(Method::DELETE, path, &query, None, now).await);
        }
        stored
    }

    async fn store_parts(
        &self,
        path: &str,
        upload: &str,
        file: &Path,
        len: u64,
        now: Timestamp,
    ) -> Result<(), S3Error> {
        // Ten thousand parts are the most that a server takes.
        let size = self.part_bytes.max(len.div_ceil(10_000));
        let mut list = String::new();
        for (number, start) in
            (1_u64..).zip((0..len).step_by(usize::try_from(size).unwrap_or(usize::MAX)))
        {
            let number = number.to_string();
            let query = [("partNumber", number.as_str()), ("uploadId", upload)];
            let range = (start, size.min(len - start));
            let tag = self.put(path, &query, file, range, now).await?;
            list.push_str(&format!(
                "<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"
            ));
        }
        let body = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>");
        let len = body.len() as u64;
        let query = [("uploadId", upload)];
        let done = self
            .send(Method::POST, path, &query, Some((body.into(), len)), now)
            .await?;
        let text = done.text().await.map_err(S3Error::Network)?;
        // The answer begins before the server is sure, so that a failure may follow a good status.
        match element(&text, "Code") {
            Some(message) if text.contains("<Error>") => Err(S3Error::Refused {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                message,
            }),
            _ => Ok(()),
        }
    }

    /// Sends a piece of a file, and returns the tag that the server gives it.
    async fn put(
        &self,
        path: &str,
        query: &[(&str, &str)],
        file: &Path,
        (start, len): (u64, u64),
        now: Timestamp,
    ) -> Result<String, S3Error> {
        for attempt in 1.. {
            let mut opened = File::open(file).await.map_err(S3Error::File)?;
            opened
                .seek(std::io::SeekFrom::Start(start))
                .await
                .map_err(S3Error::File)?;
            let stream = tokio_util::io::ReaderStream::with_capacity(opened.take(len), 256 << 10);
            let body = Some((reqwest::Body::wrap_stream(stream), len));
            match self.send(Method::PUT, path, query, body, now).await {
                Err(error) if error.is_transient() && attempt < ATTEMPTS => {
                    tracing::debug!(%error, attempt, "cannot store a cache; trying again");
                    tokio::time::sleep(Duration::from_millis(200 << attempt)).await;
                }
                done => {
                    let tag = done?
                        .headers()
                        .get("ETag")
                        .and_then(|it| it.to_str().ok())
                        .map(str::to_owned);
                    return Ok(tag.unwrap_or_default());
                }
            }
        }
        unreachable!("the loop returns at its last attempt")
    }
}

fn empty() -> (reqwest::Body, u64) {
    (reqwest::Body::from(""), 0)
}

/// Returns the text of the first element of a name. The answers that matter here are a few flat elements.
fn element(xml: &str, name: &str) -> Option<String> {
    let pattern = Regex::new(&format!("<{name}>([^<]*)</{name}>")).ok()?;
    Some(pattern.captures(xml)?.get(1)?.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rave_core::secret::Secret;

    fn config(server_address: &str) -> S3Cache {
        S3Cache {
            server_address: server_address.to_owned(),
            insecure: false,
            bucket: "b".to_owned(),
            region: "eu-north-1".to_owned(),
            access_key: "a".to_owned(),
            secret_key: Secret::new("s"),
            session_token: None,
            path: "/ci/".to_owned(),
            shared: false,
            path_style: None,
        }
    }

    fn check(config: &S3Cache, origin: &str, object: &str) {
        let s3 = S3::open(config, "short").expect("opened");
        assert_eq!(
            (s3.origin.as_str(), s3.object(7, "k").as_str()),
            (origin, object)
        );
    }

    #[test]
    fn objects_are_where_other_runners_have_them() {
        check(
            &config(""),
            "https://b.s3.eu-north-1.amazonaws.com",
            "/ci/runner/short/project/7/k",
        );
        let mut own = config("minio.example:9000");
        own.shared = true;
        check(&own, "https://minio.example:9000", "/b/ci/project/7/k");
        own.insecure = true;
        check(&own, "http://minio.example:9000", "/b/ci/project/7/k");
        own.path_style = Some(false);
        check(&own, "http://b.minio.example:9000", "/ci/project/7/k");
        assert!(S3::open(&config("ftp://x"), "short").is_err());
    }

    #[test]
    fn answers_are_read() {
        let xml = "<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code><Key>k</Key></Error>";
        assert_eq!(element(xml, "Code").as_deref(), Some("NoSuchKey"));
        assert_eq!(element("<html>", "Code"), None);
    }
}
