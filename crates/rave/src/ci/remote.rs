//! Files of other servers, kept in the user's cache directory so that a second look needs no network.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rave_ci_lang::{RemoteError, RemoteFile};
use sha2::{Digest as _, Sha256};

/// For how long a copy is good, also when the file does not ask for a cache: who works on a file looks often.
const FRESH: Duration = Duration::from_secs(300);
const TIMEOUT: Duration = Duration::from_secs(20);
/// Requests at once.
const PARALLEL: usize = 8;

type Answer = Result<String, RemoteError>;

/// Fetches each URL at most once. Clones share the answers.
#[derive(Clone, Debug)]
pub(crate) struct Fetcher {
    directory: Option<PathBuf>,
    offline: bool,
    /// Largest file.
    pub(crate) limit_bytes: usize,
    answers: Arc<Mutex<HashMap<String, Answer>>>,
}

impl Fetcher {
    /// `directory` is where copies are kept; without one, none are.
    pub(crate) fn new(directory: Option<PathBuf>, offline: bool, limit_bytes: usize) -> Self {
        Self {
            directory,
            offline,
            limit_bytes,
            answers: Arc::default(),
        }
    }

    /// Knows nothing and asks nobody.
    #[cfg(test)]
    pub(crate) fn offline() -> Self {
        Self::new(None, true, 1 << 20)
    }

    pub(crate) fn fetch(&self, file: &RemoteFile) -> Answer {
        self.prefetch(std::slice::from_ref(file));
        self.known()
            .get(&file.url)
            .cloned()
            .unwrap_or(Err(RemoteError::OutOfTime))
    }

    /// Gets what is not there yet, several files at a time.
    pub(crate) fn prefetch(&self, files: &[RemoteFile]) {
        let mut wanted = Vec::new();
        for file in files {
            let known = self.known().contains_key(&file.url);
            if known || wanted.contains(&file.url) {
                continue;
            }
            let fresh = FRESH.max(Duration::from_secs(file.cache_secs));
            match self.stored(&file.url, (!self.offline).then_some(fresh)) {
                Some(text) => self.answer(&file.url, Ok(text)),
                None if self.offline => {
                    let reason = "it is not in the cache, and --offline forbids to fetch it";
                    self.answer(&file.url, Err(RemoteError::Refused(reason.to_owned())));
                }
                None => wanted.push(file.url.clone()),
            }
        }
        for group in wanted.chunks(PARALLEL) {
            for (url, answer) in group.iter().zip(fetch_all(group, self.limit_bytes)) {
                if let Ok(text) = &answer {
                    self.store(url, text);
                }
                // An old copy is better than none when there is no network.
                let answer = match answer {
                    Err(RemoteError::Failed { error, attempts }) => self
                        .stored(url, None)
                        .ok_or(RemoteError::Failed { error, attempts }),
                    answer => answer,
                };
                self.answer(url, answer);
            }
        }
    }

    fn answer(&self, url: &str, answer: Answer) {
        self.known().insert(url.to_owned(), answer);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Answer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, url: &str) -> Option<PathBuf> {
        let name = hex::encode(Sha256::digest(url.as_bytes()));
        Some(self.directory.as_ref()?.join(name))
    }

    /// Returns a copy that is not older than `fresh`, or of any age.
    fn stored(&self, url: &str, fresh: Option<Duration>) -> Option<String> {
        let path = self.path(url)?;
        let age = std::fs::metadata(&path).ok()?.modified().ok()?.elapsed();
        // A copy from the future is as good as a new one.
        let age = age.unwrap_or_default();
        if fresh.is_some_and(|it| age > it) {
            return None;
        }
        std::fs::read_to_string(path).ok()
    }

    /// Keeps a copy. That this fails is no reason to stop.
    fn store(&self, url: &str, text: &str) {
        if let Some(path) = self.path(url) {
            let _ = write(&path, text.as_bytes());
        }
    }
}

/// Writes a file so that nobody sees half of it.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

/// Fetches side by side. This is the only place of these commands that needs a runtime.
fn fetch_all(urls: &[String], limit_bytes: usize) -> Vec<Answer> {
    let fetched = || -> anyhow::Result<Vec<Answer>> {
        crate::runner::install_tls();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .user_agent(concat!("rave/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            for (index, url) in urls.iter().cloned().enumerate() {
                let client = client.clone();
                tasks.spawn(async move { (index, get(&client, &url, limit_bytes).await) });
            }
            let mut answers = tasks.join_all().await;
            answers.sort_by_key(|it| it.0);
            answers.into_iter().map(|it| it.1).collect()
        }))
    };
    fetched().unwrap_or_else(|error| urls.iter().map(|_| Err(failed(&error))).collect())
}

fn not_of_the_web() -> RemoteError {
    RemoteError::Refused("only http and https are fetched".to_owned())
}

fn failed(error: &anyhow::Error) -> RemoteError {
    RemoteError::Failed {
        error: format!("{error:#}"),
        attempts: 1,
    }
}

async fn get(client: &reqwest::Client, url: &str, limit_bytes: usize) -> Answer {
    let address = reqwest::Url::parse(url).map_err(|_| not_of_the_web())?;
    if !matches!(address.scheme(), "http" | "https") {
        return Err(not_of_the_web());
    }
    let unavailable = |error: reqwest::Error| failed(&error.into());
    let mut response = client.get(address).send().await.map_err(unavailable)?;
    if !response.status().is_success() {
        return Err(RemoteError::Status {
            status: response.status().as_u16(),
            attempts: 1,
        });
    }
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(unavailable)? {
        body.extend_from_slice(&piece);
        if body.len() > limit_bytes {
            return Err(RemoteError::TooLarge);
        }
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// Returns the directory in which copies and plans may be kept.
#[expect(
    clippy::disallowed_methods,
    reason = "where a user's caches are is said by the user's environment"
)]
pub(crate) fn cache_directory() -> Option<PathBuf> {
    let named = |key| {
        std::env::var_os(key)
            .map(PathBuf::from)
            .filter(|it| it.is_absolute())
    };
    let base = named("XDG_CACHE_HOME").or_else(|| Some(named("HOME")?.join(".cache")))?;
    Some(base.join("rave"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_serve_without_a_network() {
        let directory = tempfile::tempdir().unwrap();
        let file = RemoteFile {
            url: "https://example.org/a.yml".to_owned(),
            cache_secs: 0,
        };
        let fetcher = || Fetcher::new(Some(directory.path().join("deep")), true, 1 << 20);
        assert!(
            matches!(fetcher().fetch(&file), Err(RemoteError::Refused(it)) if it.contains("--offline"))
        );
        fetcher().store(&file.url, "a: 1");
        assert_eq!(fetcher().fetch(&file), Ok("a: 1".to_owned()));
    }

    #[test]
    fn only_web_addresses_are_asked() {
        let answers = fetch_all(&["file:///etc/passwd".to_owned(), "no url".to_owned()], 1);
        assert_eq!(answers, [Err(not_of_the_web()), Err(not_of_the_web())]);
    }
}
