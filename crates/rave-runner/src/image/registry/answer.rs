//! The answers of a registry: bounded, and in words that may be shown.

use reqwest::Response;
use serde::Deserialize;

use super::RegistryError;

/// An address may hold a signature, which has no place in a log.
pub(super) fn unreachable(what: &str, source: reqwest::Error) -> RegistryError {
    RegistryError::Network {
        what: what.to_owned(),
        source: source.without_url(),
    }
}

/// Returns an answer that is a success, or says what the registry says.
pub(super) async fn accepted(response: Response, what: &str) -> Result<Response, RegistryError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = bounded(response, 64 << 10, what).await.unwrap_or_default();
    Err(RegistryError::Status {
        what: what.to_owned(),
        status,
        message: complaint(&body),
    })
}

/// Returns the messages in a registry's error, in one line.
pub(super) fn complaint(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<Message>,
    }
    #[derive(Deserialize)]
    struct Message {
        #[serde(default)]
        message: String,
    }
    let errors = serde_json::from_slice(body).unwrap_or(Errors { errors: Vec::new() });
    let said: Vec<String> = errors.errors.into_iter().map(|it| it.message).collect();
    let clean = |it: char| if it.is_control() { ' ' } else { it };
    said.join("; ").chars().take(300).map(clean).collect()
}

pub(super) async fn bounded(
    mut response: Response,
    limit_bytes: u64,
    what: &str,
) -> Result<Vec<u8>, RegistryError> {
    let mut body = Vec::new();
    let network = |source| unreachable(what, source);
    while let Some(piece) = response.chunk().await.map_err(network)? {
        body.extend_from_slice(&piece);
        if body.len() as u64 > limit_bytes {
            return Err(RegistryError::TooLong {
                what: what.to_owned(),
                limit_bytes,
            });
        }
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_short_and_of_one_line() {
        let body = br#"{"errors": [{"code": "X", "message": "no\nsuch"}, {"code": "Y"}]}"#;
        assert_eq!(complaint(body), "no such; ");
        assert_eq!(complaint(b"<html>"), "");
    }
}
