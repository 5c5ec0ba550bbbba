//! How one logs in at a registry: by a password, or by a token from where the registry says.

use rave_core::secret::Secret;
use reqwest::Url;
use reqwest::header::HeaderValue;
use serde::Deserialize;

use super::super::auth::Credential;
use super::answer::{accepted, bounded, unreachable};
use super::{LONGEST_DOCUMENT, RegistryError, Repository, is_plain};

pub(super) fn authority(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    Some(
        url.port()
            .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")),
    )
}

pub(super) fn bearer(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

pub(super) fn basic(username: &str, password: &Secret) -> Option<HeaderValue> {
    use base64::Engine as _;
    let pair = format!("{username}:{}", password.expose());
    let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
    let mut value = HeaderValue::from_str(&format!("Basic {encoded}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl Repository<'_> {
    /// Answers a registry's challenge. `None` when there is nothing to answer it with.
    pub(super) async fn log_in(
        &self,
        challenges: &[String],
    ) -> Result<Option<HeaderValue>, RegistryError> {
        let challenges: Vec<Challenge> = challenges
            .iter()
            .filter_map(|it| Challenge::parse(it))
            .collect();
        if let Some(challenge) = challenges.iter().find(|it| it.scheme == "bearer") {
            return self
                .fetch_token(challenge)
                .await
                .map(|it| bearer(it.expose()));
        }
        let wants_password = challenges.iter().any(|it| it.scheme == "basic");
        Ok(match self.credential {
            Some(Credential::Password { username, password }) if wants_password => {
                basic(username, password)
            }
            _ => None,
        })
    }

    /// Gets a token from where the registry says, with the credential or without.
    async fn fetch_token(&self, challenge: &Challenge) -> Result<Secret, RegistryError> {
        let realm = challenge.realm.clone();
        let refused = |reason: &str| RegistryError::Login {
            realm: realm.clone(),
            reason: reason.to_owned(),
        };
        let url = Url::parse(&challenge.realm).map_err(|_| refused("it is not an address"))?;
        let plain = authority(&url).is_some_and(|it| is_plain(&it, &self.registries.insecure));
        if url.scheme() != "https" && !(url.scheme() == "http" && plain) {
            return Err(refused("it is not reached by TLS"));
        }
        let http = &self.registries.http;
        let scope = format!("repository:{}:pull", self.reference.repository);
        let query = [("service", challenge.service.as_str()), ("scope", &scope)];
        let request = match self.credential {
            Some(Credential::Identity(token)) => {
                let fields = [
                    ("grant_type", "refresh_token"),
                    ("client_id", "rave"),
                    ("refresh_token", token.expose()),
                ];
                let body: Vec<String> = query
                    .iter()
                    .chain(&fields)
                    .map(|(key, value)| format!("{key}={}", encode(value)))
                    .collect();
                http.post(url)
                    .header("Content-Type", "application/x-www-form-urlencoded")
                    .body(body.join("&"))
            }
            Some(Credential::Password { username, password }) => http
                .get(url)
                .query(&query)
                .basic_auth(username, Some(password.expose())),
            _ => http.get(url).query(&query),
        };
        let what = format!("log in at {realm}");
        let network = |source| unreachable(&what, source);
        let response = accepted(request.send().await.map_err(network)?, &what).await?;
        let body = bounded(response, LONGEST_DOCUMENT, &what).await?;
        let answer: TokenAnswer =
            serde_json::from_slice(&body).map_err(|_| refused("the answer holds no token"))?;
        let token = answer
            .token
            .or(answer.access_token)
            .filter(|it| !it.is_empty());
        token
            .map(Secret::new)
            .ok_or_else(|| refused("the answer holds no token"))
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
}

/// What a registry says of how to log in.
#[derive(Debug, Default, PartialEq, Eq)]
struct Challenge {
    scheme: String,
    realm: String,
    service: String,
}

impl Challenge {
    /// Reads `Bearer realm="…",service="…"`.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, mut rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        let mut challenge = Self {
            scheme: scheme.to_ascii_lowercase(),
            ..Self::default()
        };
        while let Some((key, after)) = rest.split_once('=') {
            let (value, after) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => after.split_at(after.find(',').unwrap_or(after.len())),
            };
            match key.trim_matches([' ', ',']).to_ascii_lowercase().as_str() {
                "realm" => challenge.realm = value.to_owned(),
                "service" => challenge.service = value.to_owned(),
                _ => {}
            }
            rest = after;
        }
        Some(challenge)
    }
}

/// Escapes a value of a form.
fn encode(value: &str) -> String {
    let plain = |it: u8| it.is_ascii_alphanumeric() || b"-._~".contains(&it);
    value
        .bytes()
        .map(|it| {
            if plain(it) {
                char::from(it).to_string()
            } else {
                format!("%{it:02X}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let text = r#"Bearer realm="https://auth.example.com/token?a=b",service="reg, one",scope="x",error=invalid"#;
        let challenge = Challenge::parse(text).expect("a challenge");
        assert_eq!(challenge.realm, "https://auth.example.com/token?a=b");
        assert_eq!(
            (challenge.scheme.as_str(), challenge.service.as_str()),
            ("bearer", "reg, one")
        );
        assert_eq!(
            Challenge::parse("Basic").map(|it| it.scheme).as_deref(),
            Some("basic")
        );
        assert_eq!(
            Challenge::parse("Bearer realm=\"x").map(|it| it.realm),
            None
        );
        let plain = Challenge::parse("Basic realm=here, charset=UTF-8").expect("a challenge");
        assert_eq!(plain.realm, "here");
    }

    #[test]
    fn values_of_a_form_are_escaped() {
        assert_eq!(encode("a b&c"), "a%20b%26c");
    }
}
