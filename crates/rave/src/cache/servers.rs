//! The servers that this user is logged in to, and which cache a name on the command line means.
//!
//! The file has the keys of attic's own configuration, which is read as well: who is logged in there need not log in again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rave_core::secret::Secret;
use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::files;
use crate::failure::hinted;

/// The files of both clients.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct Servers {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) default_server: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) servers: BTreeMap<String, Server>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct Server {
    pub(super) endpoint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token_file: Option<PathBuf>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({})", self.endpoint)
    }
}

impl Server {
    fn secret(&self) -> anyhow::Result<Option<Secret>> {
        match (&self.token, &self.token_file) {
            (Some(token), _) => Ok(Some(Secret::new(token))),
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path);
                let text =
                    text.with_context(|| format!("cannot read the token in {}", path.display()))?;
                Ok(Some(Secret::new(text.trim())))
            }
            (None, None) => Ok(None),
        }
    }
}

/// A cache and how to get at it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Where the Attic API is, with a slash at its end.
    pub(super) api: Url,
    pub(super) cache: String,
    pub(super) token: Option<Secret>,
}

/// Where the files are.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) own: PathBuf,
    pub(super) attic: Option<PathBuf>,
    /// A token for caches that are given by URL, `RAVE_CACHE_TOKEN`.
    pub(super) token: Option<Secret>,
}

impl Files {
    pub(super) fn from_environment(own: Option<PathBuf>) -> anyhow::Result<Self> {
        let config = files::config_home();
        let own = own.or_else(|| Some(config.as_ref()?.join("rave/cache.toml")));
        Ok(Self {
            own: own.context("there is no home directory to keep logins in: say --config FILE")?,
            attic: config.map(|it| it.join("attic/config.toml")),
            token: files::environment("RAVE_CACHE_TOKEN").map(Secret::new),
        })
    }

    /// Reads our own file.
    pub(super) fn load(&self) -> anyhow::Result<Servers> {
        read(&self.own)
    }

    pub(super) fn store(&self, servers: &Servers) -> anyhow::Result<()> {
        let text = toml::to_string(servers).context("cannot write the logins as TOML")?;
        files::replace(&self.own, &text, files::Mode::Private)
    }

    /// Reads both files. What is in our own counts.
    fn load_all(&self) -> anyhow::Result<Servers> {
        let mut all = self.load()?;
        if let Some(path) = &self.attic {
            let other = read(path)?;
            for (name, server) in other.servers {
                all.servers.entry(name).or_insert(server);
            }
            all.default_server = all.default_server.or(other.default_server);
        }
        Ok(all)
    }

    /// Finds the cache that is meant by `CACHE`, `SERVER:CACHE` or a URL that ends with the cache's name.
    pub(super) fn find(&self, text: &str) -> anyhow::Result<Place> {
        let all = self.load_all()?;
        if text.contains("://") {
            return self.by_url(text, &all);
        }
        let (server, cache) = match text.split_once(':') {
            Some((server, cache)) => (Some(server), cache),
            None => (None, text),
        };
        check_name(cache)?;
        let only = || {
            all.servers
                .keys()
                .next()
                .filter(|_| all.servers.len() == 1)
                .map(String::as_str)
        };
        let name = server.or(all.default_server.as_deref()).or_else(only);
        let found = name.and_then(|it| all.servers.get(it));
        let Some(found) = found else {
            let text = match name {
                Some(name) => format!("there is no login to a server {name:?}"),
                None => "there is no login to a server".to_owned(),
            };
            return Err(hinted(text, "rave cache login NAME URL [TOKEN]", None));
        };
        Ok(Place {
            api: endpoint(&found.endpoint)?,
            cache: cache.to_owned(),
            token: found.secret()?,
        })
    }

    fn by_url(&self, text: &str, all: &Servers) -> anyhow::Result<Place> {
        let url = text.trim_end_matches('/');
        let (base, cache) = url
            .rsplit_once('/')
            .context("the URL of a cache ends with its name")?;
        check_name(cache)?;
        let api = endpoint(base)?;
        let same = |it: &&Server| endpoint(&it.endpoint).is_ok_and(|it| it == api);
        let token = match (&self.token, all.servers.values().find(same)) {
            (Some(token), _) => Some(token.clone()),
            (None, Some(server)) => server.secret()?,
            (None, None) => None,
        };
        Ok(Place {
            api,
            cache: cache.to_owned(),
            token,
        })
    }
}

fn read(path: &Path) -> anyhow::Result<Servers> {
    match std::fs::read_to_string(path) {
        Ok(text) => toml::from_str(&text)
            .with_context(|| format!("{} is not what it should be", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Servers::default()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Reads the address of a server.
pub(super) fn endpoint(text: &str) -> anyhow::Result<Url> {
    let url = Url::parse(&format!("{}/", text.trim_end_matches('/')));
    let url = url.with_context(|| format!("{text:?} is not the address of a server"))?;
    if !matches!(url.scheme(), "http" | "https") || url.query().is_some() {
        bail!("{text:?} is not an address that begins with http:// or https:// and has no query");
    }
    Ok(url)
}

/// Checks the name of a cache as servers do.
pub(super) fn check_name(name: &str) -> anyhow::Result<()> {
    let allowed = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | '_' | '+');
    let first = name.starts_with(|it: char| it.is_ascii_alphanumeric());
    if !first || name.len() > 50 || !name.chars().all(allowed) {
        bail!(
            "{name:?} cannot be the name of a cache: up to 50 letters, digits, `-`, `_` and `+`, the first a letter or digit"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(own: &str, attic: &str) -> (tempfile::TempDir, Files) {
        let dir = tempfile::tempdir().unwrap();
        let files = Files {
            own: dir.path().join("own.toml"),
            attic: Some(dir.path().join("attic.toml")),
            token: None,
        };
        std::fs::write(&files.own, own).unwrap();
        std::fs::write(files.attic.as_ref().unwrap(), attic).unwrap();
        (dir, files)
    }

    const ATTIC: &str = "default-server = \"theirs\"\n[servers.theirs]\nendpoint = \"https://a.example/x\"\ntoken = \"t1\"\n";

    #[test]
    fn a_name_means_a_cache_of_a_server() {
        let (_dir, files) = files("[servers.ours]\nendpoint = \"http://b:1/\"\n", ATTIC);
        let check = |text: &str, api: &str, cache: &str, token: Option<&str>| {
            let place = files.find(text).unwrap();
            let found = place.token.as_ref().map(Secret::expose);
            assert_eq!(
                (place.api.as_str(), place.cache.as_str(), found),
                (api, cache, token),
                "{text}"
            );
        };
        check("main", "https://a.example/x/", "main", Some("t1"));
        check("ours:main", "http://b:1/", "main", None);
        check(
            "https://a.example/x/main/",
            "https://a.example/x/",
            "main",
            Some("t1"),
        );
        check("https://c.example/main", "https://c.example/", "main", None);
        assert!(files.find("absent:main").is_err());
        assert!(files.find("ours:..").is_err());
        assert!(files.find("ftp://b/main").is_err());
    }

    #[test]
    fn our_own_file_counts_and_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let (_dir, files) = files("", ATTIC);
        let mut servers = files.load().unwrap();
        servers.servers.insert(
            "theirs".to_owned(),
            Server {
                endpoint: "http://b:1".to_owned(),
                token: Some("secret".to_owned()),
                token_file: None,
            },
        );
        files.store(&servers).unwrap();
        assert_eq!(files.find("main").unwrap().api.as_str(), "http://b:1/");
        let mode = std::fs::metadata(&files.own).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!format!("{servers:?}").contains("secret"));
    }
}
