//! Attic's tokens: JSON Web Tokens whose claims say which caches the bearer may do what to.
//!
//! There is no list of revoked ones. RAVE signs with a key of its own; keys of an Attic server that came before are
//! accepted as well, so that the tokens it gave out go on working.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rave_core::secret::Secret;
use rave_core::time::Timestamp;
use ring::hmac;
use ring::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use crate::rights::{Right, Rights};

/// Where the rights are among the claims.
const NAMESPACE: &str = "https://jwt.attic.rs/v1";
/// Longest token that is looked at.
const LONGEST: usize = 16 * 1024;

/// A key by which tokens are checked.
pub(crate) enum TokenKey {
    Hmac(hmac::Key),
    /// The public half, as PKCS#1.
    Rsa(Vec<u8>),
}

/// A key that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InvalidTokenKey(&'static str);

impl TokenKey {
    /// Reads an HMAC secret as Attic's configuration has it: base64.
    pub(crate) fn hs256(base64: &str) -> Result<Self, InvalidTokenKey> {
        let bytes = STANDARD
            .decode(base64.trim())
            .map_err(|_| InvalidTokenKey("is not base64"))?;
        if bytes.is_empty() {
            return Err(InvalidTokenKey("is empty"));
        }
        Ok(Self::Hmac(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// Reads an RSA key as Attic's configuration has it: base64 of a PKCS#1 PEM, of the pair or of its public half.
    pub(crate) fn rs256(base64: &str) -> Result<Self, InvalidTokenKey> {
        let pem = STANDARD
            .decode(base64.trim())
            .map_err(|_| InvalidTokenKey("is not base64"))?;
        let pem = String::from_utf8(pem).map_err(|_| InvalidTokenKey("is not base64 of a PEM"))?;
        let body: String = pem
            .lines()
            .filter(|it| !it.starts_with("-----"))
            .map(str::trim)
            .collect();
        let der = STANDARD
            .decode(body)
            .map_err(|_| InvalidTokenKey("is not base64 of a PEM"))?;
        if pem.contains("BEGIN RSA PUBLIC KEY") {
            return Ok(Self::Rsa(der));
        }
        let pair = RsaKeyPair::from_der(&der)
            .map_err(|_| InvalidTokenKey("is not base64 of a PKCS#1 PEM of at least 2048 bits"))?;
        Ok(Self::Rsa(pair.public_key().as_ref().to_vec()))
    }

    fn verifies(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        match (self, algorithm) {
            (Self::Hmac(key), "HS256") => hmac::verify(key, message, signature).is_ok(),
            (Self::Rsa(der), "RS256") => UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der)
                .verify(message, signature)
                .is_ok(),
            _ => false,
        }
    }
}

/// What a token must say beside its rights. Empty asks for nothing.
#[derive(Clone, Debug, Default)]
pub struct TokenBounds {
    pub issuer: Option<String>,
    pub audiences: Vec<String>,
}

/// What a valid token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) subject: String,
    /// Patterns in the order in which they are written.
    caches: Vec<(String, Rights)>,
}

impl Claims {
    /// Returns the rights to a name: those of the entry that is the name, else of the first pattern that it matches.
    pub(crate) fn rights(&self, name: &str) -> Rights {
        let exact = self.caches.iter().find(|it| it.0 == name);
        exact
            .or_else(|| self.caches.iter().find(|it| matches(&it.0, name)))
            .map_or(Rights::NONE, |it| it.1)
    }
}

/// Whether text looks like a token of this kind, so that nobody else has to be asked.
pub(crate) fn is_token(text: &str) -> bool {
    text.starts_with("eyJ") && text.bytes().filter(|it| *it == b'.').count() == 2
}

/// Checks a token by any of the keys. `None` for whatever is wrong with it.
pub(crate) fn verify(
    text: &str,
    keys: &[TokenKey],
    bounds: &TokenBounds,
    now: Timestamp,
) -> Option<Claims> {
    if text.len() > LONGEST {
        return None;
    }
    let (message, signature) = text.rsplit_once('.')?;
    let (header, claims) = message.split_once('.')?;
    let decode = |it: &str| URL_SAFE_NO_PAD.decode(it).ok();
    let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
    let signature = decode(signature)?;
    if !keys
        .iter()
        .any(|it| it.verifies(&header.alg, message.as_bytes(), &signature))
    {
        return None;
    }
    let claims: WireClaims = serde_json::from_slice(&decode(claims)?).ok()?;
    claims.is_current(now, bounds).then(|| Claims {
        subject: claims.sub.unwrap_or_default(),
        caches: claims.attic.map(|it| it.caches.0).unwrap_or_default(),
    })
}

/// What a token is made of.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    pub subject: String,
    pub valid_secs: i64,
    /// Patterns of names and what may be done to them: `r`, `w`, `d`, `cc`, `cr`, `cq`, `cd`.
    pub caches: Vec<(String, Vec<&'static str>)>,
}

/// Returns the claims of a token.
#[must_use]
pub fn claims_of(request: &TokenRequest, now: Timestamp) -> Value {
    let caches: Map<String, Value> = request
        .caches
        .iter()
        .map(|(pattern, rights)| {
            let rights: Map<String, Value> = rights
                .iter()
                .map(|it| ((*it).to_owned(), json!(1)))
                .collect();
            (pattern.clone(), Value::Object(rights))
        })
        .collect();
    let seconds = now.0 / 1000;
    json!({
        "sub": request.subject,
        "iat": seconds,
        "nbf": seconds,
        "exp": seconds.saturating_add(request.valid_secs),
        NAMESPACE: { "caches": caches },
    })
}

/// Signs claims with an HMAC secret in base64.
pub(crate) fn sign(claims: &Value, base64: &str) -> Result<Secret, InvalidTokenKey> {
    let TokenKey::Hmac(key) = TokenKey::hs256(base64)? else {
        return Err(InvalidTokenKey("is no secret"));
    };
    let header = URL_SAFE_NO_PAD.encode(json!({"alg": "HS256", "typ": "JWT"}).to_string());
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = hmac::sign(&key, message.as_bytes());
    Ok(Secret::new(format!(
        "{message}.{}",
        URL_SAFE_NO_PAD.encode(signature)
    )))
}

/// Whether a pattern covers a name: `*` stands for any run of characters.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(first) else {
        return false;
    };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return name.ends_with(part);
        }
        match name.find(part) {
            Some(at) => name = &name[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

#[derive(Deserialize)]
struct WireClaims {
    sub: Option<String>,
    exp: Option<f64>,
    nbf: Option<f64>,
    iss: Option<String>,
    aud: Option<Audience>,
    #[serde(rename = "https://jwt.attic.rs/v1")]
    attic: Option<Access>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct Access {
    #[serde(default)]
    caches: Ordered,
}

impl WireClaims {
    fn is_current(&self, now: Timestamp, bounds: &TokenBounds) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "seconds are far below 2^53")]
        let now = (now.0 / 1000) as f64;
        let named: Vec<&str> = match &self.aud {
            None => Vec::new(),
            Some(Audience::One(it)) => vec![it],
            Some(Audience::Many(all)) => all.iter().map(String::as_str).collect(),
        };
        self.exp.is_none_or(|it| now < it)
            && self.nbf.is_none_or(|it| it <= now)
            && bounds
                .issuer
                .as_ref()
                .is_none_or(|it| self.iss.as_ref() == Some(it))
            && (bounds.audiences.is_empty()
                || bounds
                    .audiences
                    .iter()
                    .any(|it| named.contains(&it.as_str())))
    }
}

/// A map whose order counts: of several patterns the first decides.
#[derive(Default)]
struct Ordered(Vec<(String, Rights)>);

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Ordered;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of patterns")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered, A::Error> {
                let mut list = Vec::new();
                while let Some((pattern, rights)) =
                    map.next_entry::<String, Map<String, Value>>()?
                {
                    let granted = |key: &str| rights.get(key).is_some_and(is_true);
                    let held = Right::ALL.into_iter().filter(|it| granted(it.1));
                    list.push((pattern, held.fold(Rights::NONE, |all, it| all.with(it.0))));
                }
                Ok(Ordered(list))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

fn is_true(value: &Value) -> bool {
    value.as_bool().unwrap_or_else(|| value.as_i64() == Some(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "c2VjcmV0LXNlY3JldC1zZWNyZXQ=";
    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn check(text: &str, bounds: &TokenBounds, now: Timestamp) -> Option<Claims> {
        verify(text, &[TokenKey::hs256(SECRET).unwrap()], bounds, now)
    }

    fn token(claims: &Value) -> String {
        sign(claims, SECRET).unwrap().expose().to_owned()
    }

    #[test]
    fn patterns_may_have_stars_anywhere() {
        for (pattern, name, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "anything", true),
            ("team-*", "team-x", true),
            ("team-*", "team", false),
            ("*-ci", "x-ci", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxcyyb", false),
            ("*a*", "bab", true),
            ("**", "", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_token_gives_what_the_first_matching_pattern_says() {
        let text = format!(
            r#"{{"sub":"ci","exp":{},"{NAMESPACE}":{{"caches":{{"z*":{{"r":1}},"*":{{"w":1,"r":0}},"zz":{{"cd":true}}}}}}}}"#,
            NOW.0 / 1000 + 60
        );
        let claims = check(&token_of_text(&text), &TokenBounds::default(), NOW).expect("valid");
        assert_eq!(claims.subject, "ci");
        assert_eq!(claims.rights("zebra"), Rights::NONE.with(Right::Pull));
        assert_eq!(claims.rights("ant"), Rights::NONE.with(Right::Push));
        assert_eq!(
            claims.rights("zz"),
            Rights::NONE.with(Right::Destroy),
            "the name itself comes first"
        );
        let later = NOW.plus_millis(60_000);
        assert!(check(&token_of_text(&text), &TokenBounds::default(), later).is_none());
    }

    fn token_of_text(claims: &str) -> String {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
        let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
        let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(SECRET).unwrap());
        let signature = hmac::sign(&key, message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    #[test]
    fn only_the_right_key_time_issuer_and_audience_count() {
        let request = TokenRequest {
            subject: "me".into(),
            valid_secs: 60,
            caches: vec![("*".into(), vec!["r"])],
        };
        let claims = claims_of(&request, NOW);
        let good = token(&claims);
        let open = TokenBounds::default();
        assert!(check(&good, &open, NOW).is_some());
        assert!(
            check(&good, &open, Timestamp(NOW.0 - 2000)).is_none(),
            "not yet"
        );
        assert!(check(&good[..good.len() - 2], &open, NOW).is_none());
        assert!(verify(&good, &[TokenKey::hs256("eHg=").unwrap()], &open, NOW).is_none());
        let unsigned = format!(
            "{}.{}.",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        assert!(check(&unsigned, &open, NOW).is_none());
        let bounds = TokenBounds {
            issuer: Some("us".into()),
            audiences: vec!["caches".into()],
        };
        assert!(check(&good, &bounds, NOW).is_none());
        let mut bound = claims;
        bound["iss"] = json!("us");
        bound["aud"] = json!(["others", "caches"]);
        assert!(check(&token(&bound), &bounds, NOW).is_some());
    }

    #[test]
    fn keys_that_are_none_are_refused() {
        for wrong in ["", "%%%", "eHg="] {
            assert!(TokenKey::rs256(wrong).is_err(), "{wrong}");
        }
        assert!(TokenKey::hs256("").is_err() && TokenKey::hs256("%").is_err());
    }
}
