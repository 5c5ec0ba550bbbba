//! Addresses that carry their own permission, as S3 understands them: AWS Signature Version 4 in the query.

use rave_core::secret::Secret;
use rave_core::time::Timestamp;
use ring::hmac;
use sha2::{Digest as _, Sha256};

/// How long an address is good for: as long as one transfer may take, and more.
const EXPIRES_SECS: u32 = 3600;

/// Who signs, and for where.
#[derive(Clone, Debug)]
pub(super) struct Signer {
    pub(super) region: String,
    pub(super) access_key: String,
    pub(super) secret_key: Secret,
    pub(super) session_token: Option<Secret>,
}

/// A request to be signed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    /// `https://host` without a path.
    pub(super) origin: &'a str,
    /// What the `Host` header says.
    pub(super) host: &'a str,
    /// The path, not encoded, with its first slash.
    pub(super) path: &'a str,
    pub(super) query: &'a [(&'a str, &'a str)],
}

impl Signer {
    /// Returns the address that does the request for whoever has it.
    pub(super) fn sign(&self, request: &Request<'_>, now: Timestamp) -> String {
        let time: String = now
            .rfc3339()
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        // Without the milliseconds.
        let time = format!("{}Z", time.get(..15).unwrap_or_default());
        let date = time.get(..8).unwrap_or_default();
        let scope = format!("{date}/{}/s3/aws4_request", self.region);
        let (credential, expires) = (
            format!("{}/{scope}", self.access_key),
            EXPIRES_SECS.to_string(),
        );
        let mut query = vec![
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Credential", &credential),
            ("X-Amz-Date", &time),
            ("X-Amz-Expires", &expires),
            ("X-Amz-SignedHeaders", "host"),
        ];
        if let Some(token) = &self.session_token {
            query.push(("X-Amz-Security-Token", token.expose()));
        }
        query.extend_from_slice(request.query);
        let mut query: Vec<(String, String)> = query
            .into_iter()
            .map(|(key, value)| (encode(key, false), encode(value, false)))
            .collect();
        query.sort();
        let query: Vec<String> = query
            .into_iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let (query, path) = (query.join("&"), encode(request.path, true));
        let canonical = format!(
            "{}\n{path}\n{query}\nhost:{}\n\nhost\nUNSIGNED-PAYLOAD",
            request.method, request.host
        );
        let digest = hex::encode(Sha256::digest(canonical));
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{digest}");
        let first = format!("AWS4{}", self.secret_key.expose());
        let key = [date, &self.region, "s3", "aws4_request"]
            .into_iter()
            .fold(first.into_bytes(), |key, part| mac(&key, part));
        let signature = hex::encode(mac(&key, &text));
        format!(
            "{}{path}?{query}&X-Amz-Signature={signature}",
            request.origin
        )
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

/// Encodes everything but what never needs it, as S3 does before it compares.
fn encode(text: &str, slashes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
        if plain || (slashes && byte == b'/') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(token: Option<&str>) -> Signer {
        Signer {
            region: "us-east-1".to_owned(),
            access_key: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_key: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            session_token: token.map(Secret::new),
        }
    }

    fn check(token: Option<&str>, request: &Request<'_>, expected: &str) {
        // 2013-05-24T00:00:00Z
        let url = signer(token).sign(request, Timestamp(1_369_353_600_000));
        assert!(
            url.ends_with(&format!("&X-Amz-Signature={expected}")),
            "{url}"
        );
    }

    #[test]
    fn signatures_are_those_of_other_clients() {
        let request = Request {
            method: "GET",
            origin: "https://examplebucket.s3.amazonaws.com",
            host: "examplebucket.s3.amazonaws.com",
            path: "/test.txt",
            query: &[],
        };
        check(
            None,
            &request,
            "b6853c82ee714d27db80198e4344d53703faf33b6bcce8dbc96a96879a857a22",
        );
        let request = Request {
            method: "PUT",
            origin: "http://localhost:9000",
            host: "localhost:9000",
            path: "/cache/project/7/a key+\u{e9}/x",
            query: &[("partNumber", "2"), ("uploadId", "a/b+c")],
        };
        check(
            Some("to/ken="),
            &request,
            "db388c184df4e87050f73fb054fe3374421f5aaa6f4b2cb0c67e6c9a94f0436a",
        );
    }
}
