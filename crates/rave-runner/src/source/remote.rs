//! Where a repository is, and what proves that the job may read it.

use reqwest::Url;

/// A repository's address, taken apart so that no credential is in an argument or on disk.
#[derive(Clone)]
pub(crate) struct Remote {
    pub(super) url: String,
    credentials: Option<Credentials>,
}

#[derive(Clone)]
struct Credentials {
    origin: String,
    username: String,
    password: String,
}

impl Remote {
    pub(crate) fn parse(repo_url: &str) -> Self {
        let plain = || Self {
            url: repo_url.to_owned(),
            credentials: None,
        };
        let Ok(mut url) = Url::parse(repo_url) else {
            return plain();
        };
        let decode = |it: &str| percent_decode(it);
        let (username, password) = (decode(url.username()), url.password().map(decode));
        let Some(password) = password else {
            return plain();
        };
        if url.set_username("").is_err() || url.set_password(None).is_err() {
            return plain();
        }
        let origin = url.origin().ascii_serialization();
        Self {
            url: url.to_string(),
            credentials: Some(Credentials {
                origin,
                username,
                password,
            }),
        }
    }

    /// Returns the secret part, for the mask.
    pub(crate) fn password(&self) -> Option<&str> {
        self.credentials.as_ref().map(|it| it.password.as_str())
    }

    /// Returns the environment in which git finds the credentials, for this server only. With `force_https`, addresses by
    /// which people with SSH keys name repositories of this server stand for those that a job can reach. `certificates` is
    /// a file with those that the server's is signed with, empty for none beside the system's.
    pub(crate) fn environment(
        &self,
        force_https: bool,
        certificates: &str,
    ) -> Vec<(String, String)> {
        let mut environment = vec![("GIT_TERMINAL_PROMPT".to_owned(), "0".to_owned())];
        let mut config: Vec<(String, String)> = Vec::new();
        if let Some(Credentials {
            origin,
            username,
            password,
        }) = &self.credentials
        {
            let key = format!("credential.{origin}.helper");
            let helper = "!f() { test \"$1\" = get && printf 'username=%s\\npassword=%s\\n' \
                          \"$RAVE_GIT_USERNAME\" \"$RAVE_GIT_PASSWORD\"; }; f";
            environment.push(("RAVE_GIT_USERNAME".to_owned(), username.clone()));
            environment.push(("RAVE_GIT_PASSWORD".to_owned(), password.clone()));
            // An empty helper forgets those of the machine.
            config.extend([(key.clone(), String::new()), (key, helper.to_owned())]);
        }
        if force_https {
            config.extend(self.instead_of());
        }
        if let Some((origin, _)) = self.origin().filter(|_| !certificates.is_empty()) {
            // For this server only: submodules from elsewhere are checked with the system's.
            let key = format!("http.{origin}/.sslCAInfo");
            config.push((key, certificates.to_owned()));
        }
        if !config.is_empty() {
            environment.push(("GIT_CONFIG_COUNT".to_owned(), config.len().to_string()));
        }
        for (number, (key, value)) in config.into_iter().enumerate() {
            environment.push((format!("GIT_CONFIG_KEY_{number}"), key));
            environment.push((format!("GIT_CONFIG_VALUE_{number}"), value));
        }
        environment
    }

    /// Lists the settings that put this server's address in place of others of the same host.
    fn instead_of(&self) -> Vec<(String, String)> {
        let Some((origin, host)) = self.origin() else {
            return Vec::new();
        };
        [format!("git@{host}:"), format!("ssh://git@{host}/")]
            .map(|it| (format!("url.{origin}/.insteadOf"), it))
            .into()
    }

    /// Returns the address of the server and its name, if it speaks HTTP.
    fn origin(&self) -> Option<(String, String)> {
        let url = Url::parse(&self.url).ok()?;
        let named = matches!(url.scheme(), "http" | "https");
        let host = url.host_str().filter(|_| named)?.to_owned();
        Some((url.origin().ascii_serialization(), host))
    }
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match hex.and_then(|it| u8::from_str_radix(it, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_leave_the_address() {
        let remote =
            Remote::parse("https://gitlab-ci-token:s%2Fcret@git.example:8443/team/app.git");
        assert_eq!(remote.url, "https://git.example:8443/team/app.git");
        assert_eq!(remote.password(), Some("s/cret"));
        let environment = remote.environment(false, "");
        let key = (
            "GIT_CONFIG_KEY_1".to_owned(),
            "credential.https://git.example:8443.helper".to_owned(),
        );
        assert!(environment.contains(&key), "{environment:?}");
        let forced = remote.environment(true, "/t/ca.pem");
        for (key, value) in [
            ("GIT_CONFIG_COUNT", "5"),
            (
                "GIT_CONFIG_KEY_4",
                "http.https://git.example:8443/.sslCAInfo",
            ),
            ("GIT_CONFIG_VALUE_4", "/t/ca.pem"),
            (
                "GIT_CONFIG_KEY_2",
                "url.https://git.example:8443/.insteadOf",
            ),
            ("GIT_CONFIG_VALUE_2", "git@git.example:"),
        ] {
            let pair = (key.to_owned(), value.to_owned());
            assert!(forced.contains(&pair), "{forced:?}");
        }
        let plain = Remote::parse("file:///srv/app.git");
        assert_eq!(
            (plain.url.as_str(), plain.password()),
            ("file:///srv/app.git", None)
        );
    }
}
