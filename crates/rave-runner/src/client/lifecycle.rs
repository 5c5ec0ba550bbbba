//! The calls by which a runner comes to be and goes: register, verify, unregister, another token.

use reqwest::header::ACCEPT;
use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Client, ClientError, refused, retry};

/// What a registration token makes: the settings that a person would give otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Registration {
    /// What lists show.
    pub description: String,
    /// For whoever maintains it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maintenance_note: Option<String>,
    /// The tags that jobs ask for.
    pub tag_list: String,
    /// Whether it takes jobs without tags.
    pub run_untagged: bool,
    /// Whether other projects may not use it.
    pub locked: bool,
    /// Whether it takes no jobs at first.
    pub paused: bool,
    /// `not_protected` or `ref_protected`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_level: Option<String>,
    /// The longest time of a job, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum_timeout: Option<u64>,
}

/// A runner as the server knows it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Account {
    /// The server's number of it; 0 from very old servers.
    #[serde(default)]
    pub id: i64,
    /// The token, new where the call makes one.
    #[serde(default)]
    pub token: String,
    /// When the token ends, in RFC 3339.
    #[serde(default)]
    pub token_expires_at: Option<String>,
}

impl Client {
    async fn account(
        &self,
        what: &'static str,
        path: &str,
        expected: StatusCode,
        body: &Value,
    ) -> Result<Account, ClientError> {
        let token = body["token"].as_str().unwrap_or_default();
        let response = retry::send(what, || {
            self.request(Method::POST, path)
                .header("RUNNER-TOKEN", token)
                .header(ACCEPT, "application/json")
                .json(body)
        })
        .await?;
        if response.status() != expected {
            return Err(refused(what, response).await);
        }
        let text = response
            .text()
            .await
            .map_err(|source| ClientError::Network { what, source })?;
        // Very old servers answer with the status as a word.
        let is_json = text.trim_start().starts_with('{');
        serde_json::from_str(if is_json { &text } else { "{}" })
            .map_err(|source| ClientError::Answer { what, source })
    }

    /// Makes a runner by a registration token, which is the client's token here.
    pub(crate) async fn register(
        &self,
        registration: &Registration,
    ) -> Result<Account, ClientError> {
        let mut body = serde_json::to_value(registration).unwrap_or_default();
        body["token"] = self.token.expose().into();
        body["info"] = serde_json::to_value(&self.info).unwrap_or_default();
        let what = "register the runner";
        self.account(what, "runners", StatusCode::CREATED, &body)
            .await
    }

    /// Asks whether the server knows the runner's token.
    pub(crate) async fn verify(&self) -> Result<Account, ClientError> {
        let body =
            json!({"token": self.token.expose(), "system_id": self.system_id, "info": self.info});
        let what = "verify the runner's token";
        self.account(what, "runners/verify", StatusCode::OK, &body)
            .await
    }

    /// Gets another token in place of the client's, which is worth nothing from then on.
    pub(crate) async fn reset_token(&self) -> Result<Account, ClientError> {
        let body = json!({"token": self.token.expose()});
        let (what, path) = (
            "reset the runner's token",
            "runners/reset_authentication_token",
        );
        self.account(what, path, StatusCode::CREATED, &body).await
    }

    /// Takes this machine away from the runner, or the runner from the server: one that a person made stays for its other
    /// machines, one that registered itself goes.
    pub(crate) async fn unregister(&self) -> Result<(), ClientError> {
        let what = "unregister the runner";
        let made = self.token.expose().starts_with("glrt-");
        let (path, mut body) = match made {
            true => ("runners/managers", json!({"system_id": self.system_id})),
            false => ("runners", json!({})),
        };
        body["token"] = self.token.expose().into();
        let response = retry::send(what, || {
            self.request(Method::DELETE, path)
                .header("RUNNER-TOKEN", self.token.expose())
                .json(&body)
        })
        .await?;
        if response.status().is_success() {
            Ok(())
        } else {
            Err(refused(what, response).await)
        }
    }
}
