//! Secrets of a `HashiCorp` Vault or `OpenBao`: log in with the job's identity token, read, give the login up.

use reqwest::Url;
use serde_json::Value;

use super::{SecretError, ask, client};
use crate::wire;

/// The logins of one job, one for each server and identity.
#[derive(Default)]
pub(super) struct Sessions(Vec<Session>);

struct Session {
    server: wire::VaultServer,
    client: reqwest::Client,
    url: Url,
    token: String,
}

impl Sessions {
    /// Reads one field of one secret.
    pub(super) async fn read(
        &mut self,
        key: &str,
        source: &wire::VaultSecret,
    ) -> Result<String, SecretError> {
        let known = self.0.iter().position(|it| it.server == source.server);
        let at = match known {
            Some(at) => at,
            None => {
                self.0.push(Session::open(key, &source.server).await?);
                self.0.len() - 1
            }
        };
        self.0[at].read(key, source).await
    }

    /// Gives up the logins. Those that cannot be given up end by themselves.
    pub(super) async fn close(self) {
        for session in self.0 {
            let address = session.url.join("v1/auth/token/revoke-self");
            if let Ok(address) = address {
                let _ = session.request(session.client.post(address)).send().await;
            }
        }
    }
}

impl Session {
    async fn open(key: &str, server: &wire::VaultServer) -> Result<Self, SecretError> {
        if server.url.trim().is_empty() {
            return Err(SecretError::NoServer {
                key: key.to_owned(),
            });
        }
        let (client, url) = client(key, &server.url)?;
        let mut session = Self {
            server: server.clone(),
            client,
            url,
            token: String::new(),
        };
        let login = session.address(key, &["auth", &server.auth.path, "login"])?;
        let request = session.client.post(login).json(&server.auth.data);
        let answer = ask(
            key,
            &session.url,
            "the login",
            session.in_namespace(request),
        )
        .await?;
        let token = answer["auth"]["client_token"].as_str();
        token
            .ok_or_else(|| SecretError::Answer {
                key: key.to_owned(),
                what: "the answer to the login holds no token".to_owned(),
            })?
            .clone_into(&mut session.token);
        Ok(session)
    }

    async fn read(&self, key: &str, source: &wire::VaultSecret) -> Result<String, SecretError> {
        let engine = &source.engine;
        let versioned = engine.name == "kv-v2";
        let mut parts = vec![engine.path.as_str()];
        if versioned {
            parts.push("data");
        }
        parts.push(&source.path);
        let request = self.request(self.client.get(self.address(key, &parts)?));
        let answer = ask(key, &self.url, "reading the secret", request).await?;
        let data = if versioned {
            &answer["data"]["data"]
        } else {
            &answer["data"]
        };
        match &data[&source.field] {
            Value::Null => Err(SecretError::Answer {
                key: key.to_owned(),
                what: format!("{} has no field {}", source.path, source.field),
            }),
            Value::String(text) => Ok(text.clone()),
            other => Ok(other.to_string()),
        }
    }

    /// Returns an address below `/v1`; each part may have several segments.
    fn address(&self, key: &str, parts: &[&str]) -> Result<Url, SecretError> {
        let mut url = self.url.clone();
        let invalid = || SecretError::Url {
            key: key.to_owned(),
            url: self.server.url.clone(),
        };
        let segments = parts
            .iter()
            .flat_map(|it| it.split('/'))
            .filter(|it| !it.is_empty());
        // Each segment is escaped, and none may lead elsewhere.
        if segments.clone().any(|it| it == "." || it == "..") {
            return Err(SecretError::Answer {
                key: key.to_owned(),
                what: "the path of a secret may not have the segments . or ..".to_owned(),
            });
        }
        url.path_segments_mut()
            .map_err(|()| invalid())?
            .pop_if_empty()
            .push("v1")
            .extend(segments);
        Ok(url)
    }

    fn in_namespace(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match self.server.namespace.as_str() {
            "" => request,
            namespace => request.header("X-Vault-Namespace", namespace),
        }
    }

    fn request(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        let request = request.header("X-Vault-Token", &self.token);
        self.in_namespace(request)
    }
}
