//! Other caches behind this one: asked once for what is missing, believed by their signatures, and kept.
//!
//! A path that an upstream has is written down when its narinfo is first asked for; its NAR is fetched when that is asked for,
//! and not sent before it was found to be right. An upstream that fails never makes what is here fail.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use rave_core::net::is_public;
use rave_core::time::Timestamp;
use rave_nix::{HashPart, NarInfo, PublicKey};
use rave_store::Error;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Client, Url};
use tokio::sync::Semaphore;

use super::Caches;
use super::receive::Expected;
use crate::config::millis;
use crate::error::CacheError;
use crate::keys::OpenCache;
use crate::memory::{Key, Served};
use crate::model::{CacheId, NewPath, Source, StoredPath, Upstream};
use crate::rights::{Allowed, Kind};
use crate::store::paths;

const CONNECT: Duration = Duration::from_secs(5);
const NARINFO: Duration = Duration::from_secs(10);
/// How long a transfer may stand still.
const STALL: Duration = Duration::from_secs(60);
const NARINFO_BYTES: usize = 256 * 1024;
/// Requests to all upstreams together.
const AT_ONCE: usize = 64;
/// How many absent paths are remembered.
const ABSENT: usize = 100_000;
/// How long an upstream that failed is left alone.
const FAILED_MS: i64 = 30_000;
const FETCHES: usize = 1024;
const REDIRECTS: usize = 5;

/// Held by whoever fetches something; others wait for it.
type Flight = Arc<tokio::sync::Mutex<()>>;

/// What is known of upstream caches, and who is asking them.
pub(crate) struct Upstreams {
    /// `None` when none can be made: one without the guard would be worse.
    client: OnceLock<Option<Client>>,
    guard: Guard,
    slots: Semaphore,
    /// Until when a path counts as absent.
    absent: Mutex<HashMap<(CacheId, HashPart), Timestamp>>,
    /// Until when an upstream is left alone, by its URL.
    failed: Mutex<HashMap<String, Timestamp>>,
    /// One fetch of each thing at a time.
    flights: Mutex<HashMap<(CacheId, Key), Flight>>,
}

#[derive(Clone, Copy)]
struct Guard {
    private: bool,
}

impl Guard {
    fn allows(self, address: std::net::IpAddr) -> bool {
        self.private || is_public(address)
    }

    /// Whether a URL may be asked as far as it says itself: an address in it is never looked up.
    fn allows_url(self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host.parse().map_or(true, |address| self.allows(address))
    }

    /// Follows a few redirects, each judged like the first address.
    fn follow(self, attempt: Attempt<'_>) -> Action {
        if attempt.previous().len() > REDIRECTS {
            attempt.error("it redirects too often")
        } else if self.allows_url(attempt.url()) {
            attempt.follow()
        } else {
            attempt.error("it redirects into the server's own neighbourhood")
        }
    }
}

/// Names resolve to allowed addresses only, and the connection goes to one of these.
impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = *self;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|it| guard.allows(it.ip())).collect();
            if allowed.is_empty() {
                return Err("the upstream is in the server's own neighbourhood".into());
            }
            Ok::<Addrs, _>(Box::new(allowed.into_iter()))
        })
    }
}

impl Upstreams {
    pub(crate) fn new(private: bool) -> Self {
        Self {
            client: OnceLock::new(),
            guard: Guard { private },
            slots: Semaphore::new(AT_ONCE),
            absent: Mutex::default(),
            failed: Mutex::default(),
            flights: Mutex::default(),
        }
    }

    fn client(&self) -> Result<&Client, String> {
        let client = self.client.get_or_init(|| {
            let _ = rustls::crypto::ring::default_provider().install_default();
            let guard = self.guard;
            let builder = Client::builder()
                .dns_resolver(Arc::new(self.guard))
                .connect_timeout(CONNECT)
                .read_timeout(STALL)
                .redirect(Policy::custom(move |attempt| guard.follow(attempt)));
            let made = builder.build();
            made.inspect_err(
                |error| tracing::error!(%error, "cannot make a client for upstream caches"),
            )
            .ok()
        });
        let none = || "no client can be made for upstream caches".to_owned();
        client.as_ref().ok_or_else(none)
    }

    fn check(&self, url: &Url) -> Result<(), CacheError> {
        match self.guard.allows_url(url) {
            true => Ok(()),
            false => Err(CacheError::Upstream(format!(
                "{url} is in the server's own neighbourhood: set cache.private_upstreams to allow it."
            ))),
        }
    }

    /// Waits for one's turn to fetch something.
    fn flight(&self, cache: CacheId, key: Key) -> Flight {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if flights.len() >= FETCHES {
            flights.retain(|_, it| Arc::strong_count(it) > 1);
        }
        flights.entry((cache, key)).or_default().clone()
    }

    fn is_absent(&self, cache: CacheId, hash: HashPart, now: Timestamp) -> bool {
        let absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        absent.get(&(cache, hash)).is_some_and(|until| now < *until)
    }

    fn note_absent(&self, cache: CacheId, hash: HashPart, until: Timestamp, now: Timestamp) {
        let mut absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        if absent.len() >= ABSENT {
            absent.retain(|_, until| now < *until);
        }
        if absent.len() < ABSENT {
            absent.insert((cache, hash), until);
        }
    }

    fn is_failed(&self, url: &str, now: Timestamp) -> bool {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get(url).is_some_and(|until| now < *until)
    }

    fn note_failed(&self, url: &str, now: Timestamp) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.retain(|_, until| now < *until);
        failed.insert(url.to_owned(), now.plus_millis(FAILED_MS));
    }
}

/// What an upstream says of a path.
enum Answer {
    Found(Box<NarInfo>),
    Absent,
    Failed(String),
}

impl Caches {
    /// Returns a path that an upstream has, written down from now on. `None`: no upstream has it, or none answers.
    pub(crate) async fn pull_info(
        &self,
        cache: &Arc<OpenCache>,
        hash: HashPart,
    ) -> Option<StoredPath> {
        let id = cache.cache.id;
        let pulls = cache.cache.settings.upstreams.iter().filter(|it| it.pull);
        let upstreams: Vec<&Upstream> = pulls.collect();
        if upstreams.is_empty() || self.upstreams.is_absent(id, hash, self.now()) {
            return None;
        }
        let flight = self.upstreams.flight(id, Key::Path(hash));
        let _turn = flight.lock().await;
        // Whoever was first may have found it, or that there is none.
        let text = hash.to_string();
        let find = || {
            let text = text.clone();
            self.db
                .read("cache_find", move |tx| paths::find(tx, id, &text))
        };
        if let Ok(Some(found)) = find().await {
            return found.visible.then_some(found);
        }
        if self.upstreams.is_absent(id, hash, self.now()) {
            return None;
        }
        let mut all_absent = true;
        for upstream in upstreams {
            match self.ask(cache, upstream, hash).await {
                Answer::Absent => {}
                Answer::Failed(why) => {
                    all_absent = false;
                    tracing::warn!(cache = %cache.name(), upstream = upstream.url, why, "an upstream cache does not answer");
                }
                Answer::Found(narinfo) => match self.take_over(cache, upstream, *narinfo).await {
                    Ok(()) => return find().await.ok().flatten().filter(|it| it.visible),
                    Err(error) => {
                        let error = rave_http::error::chain(&error);
                        tracing::warn!(cache = %cache.name(), upstream = upstream.url, error, "refused a path of an upstream cache");
                    }
                },
            }
        }
        if all_absent {
            let now = self.now();
            let until = now.plus_millis(millis(self.config.absent_for));
            self.upstreams.note_absent(id, hash, until, now);
        }
        None
    }

    /// Whether any upstream has a path.
    pub(crate) async fn is_upstream(&self, cache: &OpenCache, hash: HashPart) -> bool {
        for upstream in &cache.cache.settings.upstreams {
            if let Answer::Found(_) = self.ask(cache, upstream, hash).await {
                return true;
            }
        }
        false
    }

    async fn ask(&self, cache: &OpenCache, upstream: &Upstream, hash: HashPart) -> Answer {
        let now = self.now();
        if self.upstreams.is_failed(&upstream.url, now) {
            return Answer::Failed("it failed lately".into());
        }
        let asked = tokio::time::timeout(NARINFO, self.get_narinfo(cache, upstream, hash)).await;
        match asked {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => {
                self.upstreams.note_failed(&upstream.url, now);
                Answer::Failed(why)
            }
            Err(_) => {
                self.upstreams.note_failed(&upstream.url, now);
                Answer::Failed("it takes too long".into())
            }
        }
    }

    async fn get_narinfo(
        &self,
        cache: &OpenCache,
        upstream: &Upstream,
        hash: HashPart,
    ) -> Result<Answer, String> {
        let url =
            Url::parse(&format!("{}/{hash}.narinfo", upstream.url)).map_err(|it| it.to_string())?;
        self.upstreams.check(&url).map_err(|it| it.to_string())?;
        let _slot = self
            .upstreams
            .slots
            .acquire()
            .await
            .map_err(|it| it.to_string())?;
        let response = self.upstreams.client()?.get(url).send().await;
        let mut response = response.map_err(|it| rave_http::error::chain(&it))?;
        match response.status().as_u16() {
            200 => {}
            403 | 404 | 410 => return Ok(Answer::Absent),
            other => return Err(format!("it answers {other}")),
        }
        let mut text = Vec::new();
        while let Some(piece) = response
            .chunk()
            .await
            .map_err(|it| rave_http::error::chain(&it))?
        {
            text.extend_from_slice(&piece);
            if text.len() > NARINFO_BYTES {
                return Err("its narinfo is too long".into());
            }
        }
        let text = String::from_utf8(text).map_err(|it| it.to_string())?;
        let narinfo = NarInfo::parse(&cache.store_dir, &text).map_err(|it| it.to_string())?;
        if narinfo.info.path.hash_part() != hash {
            return Err("its narinfo is of another path".into());
        }
        Ok(Answer::Found(Box::new(narinfo)))
    }

    /// Writes down a path of an upstream, if one of its keys vouches for it.
    async fn take_over(
        &self,
        cache: &Arc<OpenCache>,
        upstream: &Upstream,
        narinfo: NarInfo,
    ) -> Result<(), CacheError> {
        let keys: Vec<PublicKey> = upstream
            .public_keys
            .iter()
            .filter_map(|it| it.parse().ok())
            .collect();
        let info = narinfo.info;
        let believed = info.signed_by(&cache.store_dir, &keys).is_some()
            || info.is_content_addressed(&cache.store_dir);
        if !believed {
            return Err(CacheError::Upstream(format!(
                "{} is not signed by a key of the upstream.",
                info.path
            )));
        }
        let base = Url::parse(&format!("{}/", upstream.url)).map_err(CacheError::invalid)?;
        let url = base.join(&narinfo.url).map_err(CacheError::invalid)?;
        let fetch_from = Source {
            url: url.to_string(),
            compression: narinfo.compression.name().to_owned(),
        };
        let new = NewPath {
            info,
            fetch_from: Some(fetch_from),
            pushed_by: format!("upstream {}", upstream.url),
        };
        // Its references are where it came from.
        self.put_pulled(cache, new).await
    }

    async fn put_pulled(&self, cache: &OpenCache, new: NewPath) -> Result<(), CacheError> {
        let id = cache.cache.id;
        let elsewhere = paths::Elsewhere {
            found: new
                .info
                .references
                .iter()
                .map(|it| it.hash_part().to_string())
                .collect(),
            presumed: false,
        };
        let key = Key::Path(new.info.path.hash_part());
        self.db
            .write("cache_pull", move |tx| {
                if crate::store::caches::lock(tx, id)? {
                    paths::add(tx, id, &new, &elsewhere, false)?;
                }
                Ok::<_, Error>(())
            })
            .await?;
        self.index.forget(id, key);
        Ok(())
    }

    /// Has the NAR of a path here, fetched from an upstream if it never was.
    pub(crate) async fn fetch_if_needed<K: Kind>(
        &self,
        allowed: &Allowed<K>,
        served: &Served,
    ) -> Result<(), CacheError> {
        let Some(source) = &served.fetch_from else {
            return Ok(());
        };
        let id = allowed.cache.cache.id;
        let digest = rave_blob::Digest::new(served.nar_hash.0);
        let key = Key::Nar(served.nar_hash);
        let flight = self.upstreams.flight(id, key);
        let _turn = flight.lock().await;
        if !self.objects.contains(&digest).await? {
            self.fetch(source, served).await?;
        }
        let hash = served.nar_hash.to_base16();
        self.db
            .write("cache_fetched", move |tx| {
                paths::note_fetched(tx, id, &hash)
            })
            .await?;
        self.index.forget(id, Key::Path(served.hash));
        self.index.forget(id, key);
        Ok(())
    }

    async fn fetch(&self, source: &Source, served: &Served) -> Result<(), CacheError> {
        let failed =
            |why: String| CacheError::Upstream(format!("Cannot fetch {}: {why}", source.url));
        let url = Url::parse(&source.url).map_err(|it| failed(it.to_string()))?;
        self.upstreams.check(&url)?;
        let compression = source.compression.parse().map_err(CacheError::invalid)?;
        let _slot = self
            .upstreams
            .slots
            .acquire()
            .await
            .map_err(|it| failed(it.to_string()))?;
        let client = self.upstreams.client().map_err(failed)?;
        let response = client.get(url).send().await;
        let response = response.map_err(|it| failed(rave_http::error::chain(&it)))?;
        match response.status().as_u16() {
            200 => {}
            404 | 410 => return Err(CacheError::NoSuchObject("NAR")),
            other => return Err(failed(format!("it answers {other}"))),
        }
        let incoming = response.bytes_stream().map_err(std::io::Error::other);
        let expected = Expected {
            nar_hash: Some(served.nar_hash),
            nar_size: Some(served.nar_size),
            hashes_file: false,
        };
        let received = self
            .receive(Box::pin(incoming), compression, expected)
            .await;
        let received = received.map_err(|it| failed(rave_http::error::chain(&it)))?;
        self.metrics.pulled(received.nar_size);
        Ok(())
    }
}

/// Checks what somebody calls an upstream.
pub(crate) fn check(upstream: &Upstream) -> Result<(), CacheError> {
    let url = Url::parse(&upstream.url)
        .map_err(|it| CacheError::Invalid(format!("`{}` is no URL: {it}", upstream.url)))?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.query().is_none()
        && url.fragment().is_none();
    if !plain || upstream.url.ends_with('/') || upstream.url.len() > 1000 {
        return Err(CacheError::Invalid(format!(
            "`{}` is not the URL of a cache such as https://cache.nixos.org.",
            upstream.url
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_neighbourhood_are_not_asked_however_they_are_written() {
        let allows = |private, url: &str| Guard { private }.allows_url(&Url::parse(url).unwrap());
        for url in [
            "http://127.0.0.1/x",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://[::1]:8080/",
            "http://[::ffff:10.0.0.1]/",
            "http://169.254.169.254/latest",
            "http://192.168.1.1/",
        ] {
            assert!(!allows(false, url), "{url}");
            assert!(allows(true, url), "{url}");
        }
        for url in ["https://cache.nixos.org/", "https://1.1.1.1/"] {
            assert!(allows(false, url), "{url}");
        }
    }
}
