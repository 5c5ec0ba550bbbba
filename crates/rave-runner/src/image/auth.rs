//! Credentials for registries, as Docker's configuration file holds them, and whose of them count.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use rave_core::secret::Secret;
use serde::Deserialize;

use super::reference::Reference;

/// A name and password, or a token in their place.
#[derive(Clone, Debug)]
pub(crate) enum Credential {
    Password {
        username: String,
        password: Secret,
    },
    /// A refresh token, which the registry's token service takes.
    Identity(Secret),
    /// A token that the registry itself takes.
    Registry(Secret),
}

/// Credentials of one origin, by the registry's host and any part of the path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials(BTreeMap<String, Credential>);

/// A text is no Docker configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthError {
    #[error("{what} is not a Docker configuration with credentials")]
    Syntax {
        what: String,
        source: serde_json::Error,
    },
    #[error("cannot read the credentials in {path}")]
    Read {
        path: std::path::PathBuf,
        source: std::io::Error,
    },
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Default, Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    identitytoken: String,
    #[serde(default)]
    registrytoken: String,
}

impl Credentials {
    /// Reads the text of `DOCKER_AUTH_CONFIG`, or of `~/.docker/config.json`. `what` names it in errors.
    pub(crate) fn parse(text: &str, what: &str) -> Result<Self, AuthError> {
        let config: DockerConfig =
            serde_json::from_str(text).map_err(|source| AuthError::Syntax {
                what: what.to_owned(),
                source,
            })?;
        let entries = config.auths.into_iter();
        Ok(Self(
            entries
                .filter_map(|(key, entry)| Some((host_and_path(&key), credential(entry)?)))
                .collect(),
        ))
    }

    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self, AuthError> {
        let text = std::fs::read_to_string(path).map_err(|source| AuthError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Adds the name and password that a server sent along with a job.
    pub(crate) fn add(&mut self, registry: &str, username: &str, password: &str) {
        let credential = Credential::Password {
            username: username.to_owned(),
            password: Secret::new(password),
        };
        self.0.insert(host_and_path(registry), credential);
    }

    /// Returns the credential with the longest part of the image's path.
    pub(crate) fn find(&self, image: &Reference) -> Option<&Credential> {
        let path = image.path();
        let covers = |key: &str| {
            let rest = path.strip_prefix(key);
            rest.is_some_and(|it| it.is_empty() || it.starts_with('/'))
        };
        let matching = self.0.iter().filter(|(key, _)| covers(key));
        matching.max_by_key(|(key, _)| key.len()).map(|it| it.1)
    }
}

/// Reduces a key such as `https://index.docker.io/v1/` to what names begin with.
fn host_and_path(key: &str) -> String {
    let bare = key.strip_prefix("https://").or(key.strip_prefix("http://"));
    let bare = bare.unwrap_or(key).trim_end_matches('/');
    let bare = bare
        .strip_suffix("/v1")
        .or(bare.strip_suffix("/v2"))
        .unwrap_or(bare);
    match bare {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        other => other.to_owned(),
    }
}

fn credential(entry: Entry) -> Option<Credential> {
    if !entry.identitytoken.is_empty() {
        return Some(Credential::Identity(Secret::new(entry.identitytoken)));
    }
    if !entry.registrytoken.is_empty() {
        return Some(Credential::Registry(Secret::new(entry.registrytoken)));
    }
    let (username, password) = match entry.auth.as_str() {
        "" => (entry.username, entry.password),
        auth => {
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(auth)
                .ok()?;
            let text = String::from_utf8(bytes).ok()?;
            let (username, password) = text.split_once(':')?;
            (
                username.to_owned(),
                password.trim_end_matches('\0').to_owned(),
            )
        }
    };
    (!username.is_empty()).then(|| Credential::Password {
        username,
        password: Secret::new(password),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(credentials: &Credentials, image: &str) -> Option<String> {
        let image = Reference::parse(image).expect("a name");
        match credentials.find(&image)? {
            Credential::Password { username, password } => {
                Some(format!("{username}/{}", password.expose()))
            }
            Credential::Identity(token) | Credential::Registry(token) => {
                Some(token.expose().to_owned())
            }
        }
    }

    #[test]
    fn the_longest_path_counts() {
        let text = r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "aHViOnB3OjE="},
            "reg.example.com:5000": {"username": "all", "password": "p"},
            "reg.example.com:5000/team": {"username": "team", "password": "q"},
            "id.example.com": {"identitytoken": "refresh"},
            "empty.example.com": {}}, "credsStore": "other"}"#;
        let credentials = Credentials::parse(text, "test").expect("credentials");
        let check = |image: &str, expected: Option<&str>| {
            assert_eq!(found(&credentials, image).as_deref(), expected, "{image}");
        };
        check("ruby", Some("hub/pw:1"));
        check("reg.example.com:5000/other/x", Some("all/p"));
        check("reg.example.com:5000/team/x", Some("team/q"));
        check("reg.example.com:5000/teams/x", Some("all/p"));
        check("id.example.com/x", Some("refresh"));
        check("empty.example.com/x", None);
        check("elsewhere.example.com/x", None);
        assert!(
            !format!("{credentials:?}").contains("pw:1"),
            "nothing secret is printed"
        );
    }

    #[test]
    fn nonsense_is_named() {
        let error = Credentials::parse("nonsense", "DOCKER_AUTH_CONFIG").expect_err("refused");
        assert!(error.to_string().contains("DOCKER_AUTH_CONFIG"));
    }
}
