//! Reads from a registry: the pull half of the OCI distribution protocol, with its ways of logging in.
//!
//! Everything that comes back is bounded, and believed only when its digest is right.

mod answer;
mod login;

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, RANGE, WWW_AUTHENTICATE};
use reqwest::redirect::Policy;
use reqwest::{Response, StatusCode, Url};
use sha2::{Digest as _, Sha256};

use super::auth::Credential;
use super::manifest::{Descriptor, INDEX, MANIFEST};
use super::reference::{Digest, Reference};
use answer::{accepted, bounded, unreachable};
use login::{authority, bearer};

/// The longest manifest or configuration that is believed, as in other clients.
const LONGEST_DOCUMENT: u64 = 4 << 20;
/// How often a download that breaks off is taken up again.
const RESUMES: u32 = 5;

/// A registry did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistryError {
    #[error("cannot set up the HTTP client")]
    Client(#[source] reqwest::Error),
    #[error("the registry {0} has no valid address")]
    Address(String),
    #[error("cannot {what}")]
    Network {
        what: String,
        source: reqwest::Error,
    },
    #[error("cannot {what}: the registry answers {status} {message}")]
    Status {
        what: String,
        status: StatusCode,
        message: String,
    },
    #[error("cannot {what}: the answer is longer than {limit_bytes} bytes")]
    TooLong { what: String, limit_bytes: u64 },
    #[error("cannot {what}: the registry sent {actual} in place of {expected}")]
    Digest {
        what: String,
        expected: Digest,
        actual: Digest,
    },
    #[error("cannot log in at {realm}: {reason}")]
    Login { realm: String, reason: String },
    #[error("cannot keep what the registry sends")]
    File(#[source] std::io::Error),
}

impl RegistryError {
    /// Says whether a later try may go better: the other side was not there, or not well.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Network { .. } => true,
            Self::Status { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            _ => false,
        }
    }
}

/// Makes connections to registries. TLS is left out only for this machine and for those named by the administrator.
#[derive(Clone, Debug)]
pub(crate) struct Registries {
    http: reqwest::Client,
    insecure: Vec<String>,
}

/// One repository of a registry, and what was found out about talking to it.
#[derive(Debug)]
pub(crate) struct Repository<'a> {
    registries: &'a Registries,
    reference: &'a Reference,
    credential: Option<&'a Credential>,
    base: Url,
    /// The header that the registry accepted last.
    authorization: tokio::sync::Mutex<Option<HeaderValue>>,
}

impl Registries {
    pub(crate) fn new(insecure: &[String], agent: &str) -> Result<Self, RegistryError> {
        // A provider may be installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // A machine without certificates can still use registries without TLS.
        let http = build(insecure, agent, true).or_else(|_| build(insecure, agent, false));
        Ok(Self {
            http: http.map_err(RegistryError::Client)?,
            insecure: insecure.to_vec(),
        })
    }

    /// Prepares to read one repository.
    pub(crate) fn open<'a>(
        &'a self,
        reference: &'a Reference,
        credential: Option<&'a Credential>,
    ) -> Result<Repository<'a>, RegistryError> {
        let host = reference.host();
        let scheme = if is_plain(host, &self.insecure) {
            "http"
        } else {
            "https"
        };
        let base = format!("{scheme}://{host}/v2/{}/", reference.repository);
        let base = Url::parse(&base).map_err(|_| RegistryError::Address(host.to_owned()))?;
        let authorization = match credential {
            Some(Credential::Registry(token)) => bearer(token.expose()),
            _ => None,
        };
        Ok(Repository {
            registries: self,
            reference,
            credential,
            base,
            authorization: tokio::sync::Mutex::new(authorization),
        })
    }
}

fn build(
    insecure: &[String],
    agent: &str,
    certificates: bool,
) -> Result<reqwest::Client, reqwest::Error> {
    let plain = insecure.to_vec();
    // Blobs are often elsewhere. Credentials do not follow there, and neither does anybody who listens.
    let redirects = Policy::custom(move |attempt| {
        let url = attempt.url();
        if attempt.previous().len() > 5 {
            attempt.error("too many redirects")
        } else if url.scheme() == "https" || authority(url).is_some_and(|it| is_plain(&it, &plain))
        {
            attempt.follow()
        } else {
            attempt.error("the registry leads to an address without TLS")
        }
    });
    let mut builder = reqwest::Client::builder();
    if !certificates {
        builder = builder.tls_certs_only([]);
    }
    builder
        .user_agent(agent)
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(Duration::from_secs(60))
        .redirect(redirects)
        .build()
}

/// Says whether a host is spoken to without TLS.
fn is_plain(host: &str, insecure: &[String]) -> bool {
    if insecure.iter().any(|it| it == host) {
        return true;
    }
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let address = name.parse::<std::net::IpAddr>();
    name == "localhost" || address.is_ok_and(|it| it.is_loopback())
}

impl Repository<'_> {
    /// Returns the manifest or index that `wanted`, a tag or digest, stands for, and its digest.
    pub(crate) async fn manifest(&self, wanted: &str) -> Result<(Digest, Vec<u8>), RegistryError> {
        let what = format!("get the manifest of {}", self.reference);
        let accept = [MANIFEST, INDEX].concat().join(", ");
        let mut headers = HeaderMap::new();
        headers.insert(
            ACCEPT,
            HeaderValue::from_str(&accept).unwrap_or(HeaderValue::from_static("*/*")),
        );
        let response = self
            .get(&format!("manifests/{wanted}"), headers, &what)
            .await?;
        let body = bounded(response, LONGEST_DOCUMENT, &what).await?;
        let actual = Digest::of(&Sha256::digest(&body).into());
        match Digest::parse(wanted) {
            Some(expected) if expected != actual => Err(RegistryError::Digest {
                what,
                expected,
                actual,
            }),
            _ => Ok((actual, body)),
        }
    }

    /// Returns a small blob.
    pub(crate) async fn document(&self, digest: &Digest) -> Result<Vec<u8>, RegistryError> {
        let what = format!("get the configuration of {}", self.reference);
        let response = self
            .get(&format!("blobs/{digest}"), HeaderMap::new(), &what)
            .await?;
        let body = bounded(response, LONGEST_DOCUMENT, &what).await?;
        let actual = Digest::of(&Sha256::digest(&body).into());
        if actual != *digest {
            let expected = digest.clone();
            return Err(RegistryError::Digest {
                what,
                expected,
                actual,
            });
        }
        Ok(body)
    }

    /// Downloads a blob into an empty file. What breaks off is taken up where it ended.
    pub(crate) async fn download(
        &self,
        descriptor: &Descriptor,
        digest: &Digest,
        into: &mut File,
    ) -> Result<(), RegistryError> {
        let what = format!("get the layer {digest} of {}", self.reference);
        let mut progress = Progress {
            hash: Sha256::new(),
            len: 0,
        };
        let mut resumes = 0;
        loop {
            let before = progress.len;
            let ended = self
                .receive(digest, descriptor.size, into, &mut progress, &what)
                .await;
            match ended {
                Ok(()) => break,
                Err(error) if error.is_passing() && resumes < RESUMES => {
                    // A connection that brought something forward counts as none that failed.
                    resumes = if progress.len > before {
                        0
                    } else {
                        resumes + 1
                    };
                    tracing::debug!(
                        error = crate::client::chain(&error),
                        len = progress.len,
                        "a download breaks off"
                    );
                    tokio::time::sleep(Duration::from_millis(200 << resumes)).await;
                }
                Err(error) => return Err(error),
            }
        }
        let actual = Digest::of(&progress.hash.finalize().into());
        if actual != *digest {
            let expected = digest.clone();
            return Err(RegistryError::Digest {
                what,
                expected,
                actual,
            });
        }
        into.seek(SeekFrom::Start(0))
            .map(drop)
            .map_err(RegistryError::File)
    }

    async fn receive(
        &self,
        digest: &Digest,
        size: u64,
        into: &mut File,
        progress: &mut Progress,
        what: &str,
    ) -> Result<(), RegistryError> {
        let mut headers = HeaderMap::new();
        if progress.len > 0 {
            let rest = HeaderValue::from_str(&format!("bytes={}-", progress.len));
            headers.extend(rest.ok().map(|it| (RANGE, it)));
        }
        let mut response = self.get(&format!("blobs/{digest}"), headers, what).await?;
        if response.status() != StatusCode::PARTIAL_CONTENT && progress.len > 0 {
            // A server that knows no ranges begins anew.
            into.set_len(0).map_err(RegistryError::File)?;
            into.seek(SeekFrom::Start(0)).map_err(RegistryError::File)?;
            *progress = Progress {
                hash: Sha256::new(),
                len: 0,
            };
        }
        let network = |source| unreachable(what, source);
        while let Some(piece) = response.chunk().await.map_err(network)? {
            progress.len += piece.len() as u64;
            if progress.len > size {
                return Err(RegistryError::TooLong {
                    what: what.to_owned(),
                    limit_bytes: size,
                });
            }
            progress.hash.update(&piece);
            into.write_all(&piece).map_err(RegistryError::File)?;
        }
        Ok(())
    }

    /// Sends a request, and once more with a token or password when the registry asks for one.
    async fn get(
        &self,
        path: &str,
        headers: HeaderMap,
        what: &str,
    ) -> Result<Response, RegistryError> {
        let known = self.authorization.lock().await.clone();
        let response = self.send(path, headers.clone(), known, what).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return accepted(response, what).await;
        }
        let challenges: Vec<String> = response
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|it| it.to_str().ok().map(str::to_owned))
            .collect();
        let Some(fresh) = self.log_in(&challenges).await? else {
            return accepted(response, what).await;
        };
        *self.authorization.lock().await = Some(fresh.clone());
        let response = self.send(path, headers, Some(fresh), what).await?;
        accepted(response, what).await
    }

    async fn send(
        &self,
        path: &str,
        headers: HeaderMap,
        authorization: Option<HeaderValue>,
        what: &str,
    ) -> Result<Response, RegistryError> {
        let url = self
            .base
            .join(path)
            .map_err(|_| RegistryError::Address(self.base.to_string()))?;
        let mut request = self.registries.http.get(url).headers(headers);
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        request
            .send()
            .await
            .map_err(|source| unreachable(what, source))
    }
}

struct Progress {
    hash: Sha256,
    len: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_left_out_only_where_it_may() {
        let named = ["reg.example.com:5000".to_owned()];
        for (host, plain) in [
            ("localhost:5000", true),
            ("127.0.0.1:1", true),
            ("127.8.0.1", true),
            ("[::1]:5000", true),
            ("reg.example.com:5000", true),
            ("reg.example.com", false),
            ("localhost.example.com", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(is_plain(host, &named), plain, "{host}");
        }
    }
}
