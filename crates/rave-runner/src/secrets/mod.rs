//! The secrets that a job asks other servers for, fetched before it starts and masked in its log.

mod vault;

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Url;

use crate::wire;

/// How long one request to another server may take.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The largest answer of another server.
const ANSWER_BYTES: usize = 1 << 20;

/// A secret that was fetched.
pub(crate) struct Resolved {
    pub(crate) key: String,
    pub(crate) value: String,
    /// The job gets the path of a file that holds the value.
    pub(crate) file: bool,
}

/// Why a secret could not be fetched. Never holds a token or a value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("secret {key}: this runner cannot ask {provider}")]
    Provider { key: String, provider: String },
    #[error("secret {key}: no server is named; set VAULT_SERVER_URL")]
    NoServer { key: String },
    #[error("secret {key}: {url:?} is not an http or https URL")]
    Url { key: String, url: String },
    #[error("secret {key}: cannot reach {host}")]
    Unreachable {
        key: String,
        host: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("secret {key}: {host} answered {status} to {doing}{said}")]
    Refused {
        key: String,
        host: String,
        doing: &'static str,
        status: u16,
        said: String,
    },
    #[error("secret {key}: {what}")]
    Answer { key: String, what: String },
}

/// Fetches all secrets of a job, one after another.
pub(crate) async fn resolve(
    wanted: &BTreeMap<String, wire::Secret>,
) -> Result<Vec<Resolved>, SecretError> {
    let mut vaults = vault::Sessions::default();
    let mut resolved = Vec::new();
    for (key, secret) in wanted {
        let Some(source) = &secret.vault else {
            let provider = secret.others.keys().next();
            return Err(SecretError::Provider {
                key: key.clone(),
                provider: provider.map_or_else(|| "an unnamed provider".to_owned(), Clone::clone),
            });
        };
        resolved.push(Resolved {
            key: key.clone(),
            value: vaults.read(key, source).await?,
            file: secret.file.unwrap_or(true),
        });
    }
    vaults.close().await;
    Ok(resolved)
}

/// Makes a client for a server. A server without TLS needs no certificates, which small machines may lack.
fn client(key: &str, url: &str) -> Result<(reqwest::Client, Url), SecretError> {
    let invalid = || SecretError::Url {
        key: key.to_owned(),
        url: url.to_owned(),
    };
    let parsed = Url::parse(&format!("{}/", url.trim_end_matches('/'))).map_err(|_| invalid())?;
    let mut builder = reqwest::Client::builder();
    match parsed.scheme() {
        "http" => builder = builder.tls_certs_only([]),
        "https" => {}
        _ => return Err(invalid()),
    }
    let client = builder
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|source| unreachable(key, &parsed, source))?;
    Ok((client, parsed))
}

fn unreachable(key: &str, url: &Url, source: reqwest::Error) -> SecretError {
    SecretError::Unreachable {
        key: key.to_owned(),
        host: host(url),
        // An address may hold what should not be in a log.
        source: source.without_url(),
    }
}

fn host(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

/// Sends a request and reads its answer as JSON.
async fn ask(
    key: &str,
    url: &Url,
    doing: &'static str,
    request: reqwest::RequestBuilder,
) -> Result<serde_json::Value, SecretError> {
    let mut answer = request
        .send()
        .await
        .map_err(|it| unreachable(key, url, it))?;
    let status = answer.status();
    let mut body = Vec::new();
    while let Some(piece) = answer
        .chunk()
        .await
        .map_err(|it| unreachable(key, url, it))?
    {
        if body.len() + piece.len() > ANSWER_BYTES {
            return Err(SecretError::Answer {
                key: key.to_owned(),
                what: format!("the answer to {doing} is larger than {ANSWER_BYTES} bytes"),
            });
        }
        body.extend_from_slice(&piece);
    }
    let parsed: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    if status.is_success() {
        return Ok(parsed);
    }
    let errors = parsed["errors"].as_array().into_iter().flatten();
    let said: Vec<&str> = errors.filter_map(serde_json::Value::as_str).collect();
    Err(SecretError::Refused {
        key: key.to_owned(),
        host: host(url),
        doing,
        status: status.as_u16(),
        said: if said.is_empty() {
            String::new()
        } else {
            format!(": {}", said.join("; "))
        },
    })
}
