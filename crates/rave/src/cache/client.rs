//! Requests to one cache: the Attic API, and what every Nix binary cache answers.

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use rave_core::secret::Secret;
use rave_nix::{CacheInfo, HashPart, NarInfo, PathInfo, PublicKey, StoreDir};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::servers::Place;
use super::wire::{CacheConfig, GetMissingPaths, MissingPaths, Refusal, UploadInfo, UploadResult};
use crate::failure::hinted;

/// How long a connection may take to come about, and may be silent.
const CONNECT: Duration = Duration::from_secs(15);
const SILENCE: Duration = Duration::from_secs(300);
/// How often something that may go well another time is tried.
const ATTEMPTS: u32 = 5;
/// A description that is longer goes before the NAR: servers limit the length of headers.
const MAX_HEADER: usize = 4096;
/// The largest narinfo, and the largest answer of the API.
const MAX_NARINFO: usize = 4 << 20;
const MAX_ANSWER: usize = 64 << 20;

/// A cache, or any Nix binary cache to read from.
#[derive(Clone, Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    /// Where the API is, with a slash at its end. None: it has only what Nix itself asks for.
    api: Option<Url>,
    /// Where the binary cache is, with a slash at its end.
    substituter: Url,
    token: Option<Secret>,
    /// The cache's name, or the address.
    pub(super) name: String,
}

fn http() -> anyhow::Result<reqwest::Client> {
    crate::runner::install_tls();
    reqwest::Client::builder()
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE)
        .tcp_nodelay(true)
        .user_agent(concat!("rave/", env!("CARGO_PKG_VERSION")))
        .build()
        .context("cannot prepare for requests")
}

impl Client {
    pub(super) fn new(place: Place) -> anyhow::Result<Self> {
        let substituter = place.api.join(&format!("{}/", place.cache))?;
        Ok(Self {
            http: http()?,
            api: Some(place.api),
            substituter,
            token: place.token,
            name: place.cache,
        })
    }

    /// A binary cache of which nothing more is known.
    pub(super) fn plain(url: &str, token: Option<Secret>) -> anyhow::Result<Self> {
        let substituter = super::servers::endpoint(url)?;
        Ok(Self {
            http: http()?,
            api: None,
            substituter,
            token,
            name: url.to_owned(),
        })
    }

    pub(super) fn token(&self) -> Option<&Secret> {
        self.token.as_ref()
    }

    /// Returns the address that Nix is told.
    pub(super) fn substituter(&self) -> &Url {
        &self.substituter
    }

    /// Asks the server for the cache's configuration and follows it where it says that the cache is elsewhere.
    pub(super) async fn open(place: Place) -> anyhow::Result<(Self, CacheConfig)> {
        let mut client = Self::new(place)?;
        let config = client.config().await?;
        if let Some(api) = &config.api_endpoint {
            client.api = Some(super::servers::endpoint(api)?);
        }
        if let Some(substituter) = &config.substituter_endpoint {
            client.substituter = super::servers::endpoint(substituter)?;
        }
        Ok((client, config))
    }

    pub(super) async fn config(&self) -> anyhow::Result<CacheConfig> {
        let url = self.api(&format!("_api/v1/cache-config/{}", self.name))?;
        let response = self
            .ask(
                Method::GET,
                url,
                &format!("cannot ask for the cache {}", self.name),
            )
            .await?;
        json(response).await
    }

    /// Sends JSON to the API and passes over the answer's body.
    pub(super) async fn command<T: Serialize>(
        &self,
        method: Method,
        tail: &str,
        body: Option<&T>,
        doing: &str,
    ) -> anyhow::Result<Response> {
        let mut request = self.authorized(self.http.request(method, self.api(tail)?));
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request
            .send()
            .await
            .map_err(|error| unreachable_server(&error, doing))?;
        self.accept(response, doing).await
    }

    /// Asks the API, and reads the JSON of its answer.
    pub(super) async fn query<T: DeserializeOwned>(
        &self,
        tail: &str,
        query: &[(&str, &str)],
        doing: &str,
    ) -> anyhow::Result<T> {
        let mut url = self.api(tail)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        json(self.ask(Method::GET, url, doing).await?).await
    }

    /// Returns which of some paths the cache lacks.
    pub(super) async fn missing(
        &self,
        paths: &[PathInfo],
    ) -> anyhow::Result<std::collections::HashSet<HashPart>> {
        let body = GetMissingPaths {
            cache: &self.name,
            store_path_hashes: paths
                .iter()
                .map(|it| it.path.hash_part().to_string())
                .collect(),
        };
        let doing = format!("cannot ask the cache {} what it lacks", self.name);
        let response = self
            .command(
                Method::POST,
                "_api/v1/get-missing-paths",
                Some(&body),
                &doing,
            )
            .await?;
        let answer: MissingPaths = json(response).await?;
        answer
            .missing_paths
            .iter()
            .map(|it| Ok(it.parse()?))
            .collect()
    }

    /// Uploads a path, whose NAR the body gives.
    pub(super) async fn upload(
        &self,
        store: &StoreDir,
        info: &PathInfo,
        body: reqwest::Body,
    ) -> Result<UploadResult, UploadError> {
        let description = serde_json::to_string(&UploadInfo::new(&self.name, store, info))
            .map_err(anyhow::Error::from)?;
        let request = self.authorized(self.http.put(self.api("_api/v1/upload-path")?));
        let (request, front) = match description.len() < MAX_HEADER {
            true => (
                request.header("X-Attic-Nar-Info", description),
                String::new(),
            ),
            false => (
                request.header("X-Attic-Nar-Info-Preamble-Size", description.len()),
                description,
            ),
        };
        let length = info.nar_size + front.len() as u64;
        let body = match front.is_empty() {
            true => body,
            false => super::transfer::behind(front, body),
        };
        let request = request
            .header(reqwest::header::CONTENT_LENGTH, length)
            .body(body);
        let doing = "cannot upload";
        let response = request
            .send()
            .await
            .map_err(|error| UploadError::Again(unreachable_server(&error, doing)))?;
        let again = is_passing(response.status());
        match self.accept(response, doing).await {
            Ok(response) => Ok(response.json().await.unwrap_or_default()),
            Err(error) if again => Err(UploadError::Again(error)),
            Err(error) => Err(UploadError::Final(error)),
        }
    }

    pub(super) async fn cache_info(&self) -> anyhow::Result<CacheInfo> {
        let url = self.substituter.join("nix-cache-info")?;
        let response = self
            .ask(
                Method::GET,
                url,
                &format!("{} does not answer as a binary cache", self.name),
            )
            .await?;
        let bytes = limited(response, MAX_NARINFO).await?;
        Ok(CacheInfo::parse(&String::from_utf8_lossy(&bytes))?)
    }

    /// Returns what the cache says of a path. `None`: it does not have it.
    pub(super) async fn narinfo(
        &self,
        store: &StoreDir,
        path: HashPart,
    ) -> anyhow::Result<Option<NarInfo>> {
        let url = self.substituter.join(&format!("{path}.narinfo"))?;
        let doing = format!("cannot ask {} for {path}", self.name);
        let response = self.send(Method::GET, url, &doing).await?;
        if matches!(
            response.status(),
            StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::FORBIDDEN
        ) {
            return Ok(None);
        }
        let response = self.accept(response, &doing).await?;
        let bytes = limited(response, MAX_NARINFO).await?;
        let text = String::from_utf8(bytes).context("the narinfo is not text")?;
        let narinfo = NarInfo::parse(store, &text)
            .with_context(|| format!("{} answers wrongly for {path}", self.name))?;
        if narinfo.info.path.hash_part() != path {
            bail!(
                "{} was asked for {path} and answers with {}",
                self.name,
                narinfo.info.path
            );
        }
        Ok(Some(narinfo))
    }

    /// Begins to download a NAR.
    pub(super) async fn nar(&self, narinfo: &NarInfo) -> anyhow::Result<Response> {
        let url = self.substituter.join(&narinfo.url)?;
        let doing = format!("cannot download {}", narinfo.info.path);
        self.ask(Method::GET, url, &doing).await
    }

    fn api(&self, tail: &str) -> anyhow::Result<Url> {
        let api = self.api.as_ref().with_context(|| {
            format!("{} is given as a plain binary cache, and this needs a server that one is logged in to", self.name)
        })?;
        Ok(api.join(tail)?)
    }

    async fn ask(&self, method: Method, url: Url, doing: &str) -> anyhow::Result<Response> {
        let response = self.send(method, url, doing).await?;
        self.accept(response, doing).await
    }

    /// Asks without a body, several times if need be.
    async fn send(&self, method: Method, url: Url, doing: &str) -> anyhow::Result<Response> {
        let mut attempt = 1;
        loop {
            let request = self.http.request(method.clone(), url.clone());
            // Other hosts, which a narinfo may name, are not told the token.
            let request = match url.host_str() == self.substituter.host_str() || self.is_api(&url) {
                true => self.authorized(request),
                false => request,
            };
            let answer = request.send().await;
            let passing = match &answer {
                Ok(response) => is_passing(response.status()),
                Err(error) => !error.is_builder(),
            };
            if passing && attempt < ATTEMPTS {
                tokio::time::sleep(delay(attempt)).await;
                attempt += 1;
                continue;
            }
            return answer.map_err(|error| unreachable_server(&error, doing));
        }
    }

    fn is_api(&self, url: &Url) -> bool {
        self.api
            .as_ref()
            .is_some_and(|it| it.host_str() == url.host_str())
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        }
    }

    /// Turns a refusal into an error.
    async fn accept(&self, response: Response, doing: &str) -> anyhow::Result<Response> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        // RAVE's own part of the API.
        let is_ours = response.url().path().contains("/_api/v1/caches");
        let host = response.url().host_str().unwrap_or_default().to_owned();
        let bytes = limited(response, 64 << 10).await.unwrap_or_default();
        let why = match serde_json::from_slice::<Refusal>(&bytes) {
            Ok(refusal) => format!("{} ({})", refusal.message, refusal.error),
            Err(_) => String::from_utf8_lossy(&bytes).chars().take(300).collect(),
        };
        let source = anyhow!("{host} answers {status}: {}", why.trim());
        let hint = match (status, self.token.is_some()) {
            (StatusCode::UNAUTHORIZED, true) => {
                "the token may have run out, or does not allow this for this cache: rave cache login NAME URL TOKEN"
            }
            (StatusCode::UNAUTHORIZED, false) => {
                "this needs a token: rave cache login NAME URL TOKEN"
            }
            (StatusCode::FORBIDDEN, _) => "the token does not allow this for this cache",
            (StatusCode::NOT_FOUND, _) if is_ours => {
                "either there is no such thing in the cache, or the server is not RAVE and lacks this"
            }
            (StatusCode::NOT_FOUND, _) => {
                "is the cache's name right? `rave cache create` makes one"
            }
            (StatusCode::INSUFFICIENT_STORAGE, _) => {
                "the server's disk or the cache's quota is full: `rave cache gc` frees what retention lets go"
            }
            _ => return Err(source.context(doing.to_owned())),
        };
        Err(hinted(doing, hint, Some(source)))
    }
}

/// Why an upload failed, and whether it may go well another time.
#[derive(Debug)]
pub(super) enum UploadError {
    Again(anyhow::Error),
    Final(anyhow::Error),
}

impl From<anyhow::Error> for UploadError {
    fn from(error: anyhow::Error) -> Self {
        Self::Final(error)
    }
}

/// Tries an upload until it goes well, fails for good, or failed too often.
pub(super) async fn persist<T>(
    mut attempt: impl AsyncFnMut() -> Result<T, UploadError>,
) -> anyhow::Result<T> {
    let mut count = 1;
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(UploadError::Final(error)) => return Err(error),
            Err(UploadError::Again(error)) if count == ATTEMPTS => return Err(error),
            Err(UploadError::Again(_)) => tokio::time::sleep(delay(count)).await,
        }
        count += 1;
    }
}

fn delay(attempt: u32) -> Duration {
    Duration::from_millis(200) * 3_u32.pow(attempt - 1)
}

/// Whether the same request may be answered otherwise soon.
fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

fn unreachable_server(error: &reqwest::Error, doing: &str) -> anyhow::Error {
    anyhow!("{}", rave_http::error::chain(error)).context(doing.to_owned())
}

async fn json<T: DeserializeOwned>(response: Response) -> anyhow::Result<T> {
    let url = response.url().clone();
    let bytes = limited(response, MAX_ANSWER).await?;
    serde_json::from_slice(&bytes)
        .with_context(|| format!("{url} does not answer as the API of a cache does"))
}

async fn limited(mut response: Response, limit: usize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(piece) = response.chunk().await? {
        if bytes.len() + piece.len() > limit {
            bail!("{} answers with more than {limit} bytes", response.url());
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// Reads the keys that a server gave for a cache: one, or also those that it had before.
pub(super) fn public_keys(config: &CacheConfig) -> anyhow::Result<Vec<PublicKey>> {
    let all = config
        .public_keys
        .iter()
        .flatten()
        .chain(&config.public_key);
    let mut keys: Vec<PublicKey> = Vec::new();
    for text in all {
        let key = text
            .parse()
            .context("the server gives a public key that is none")?;
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    Ok(keys)
}

/// Reads the store that a cache is for.
pub(super) fn store_dir(config: &CacheConfig) -> anyhow::Result<StoreDir> {
    match &config.store_dir {
        Some(dir) => StoreDir::new(dir).context("the server gives a store directory that is none"),
        None => Ok(StoreDir::default()),
    }
}
