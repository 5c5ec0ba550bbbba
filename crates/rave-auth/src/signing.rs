//! The key by which this instance signs statements about users and jobs, and the form in which it is published.
//!
//! Verifiers know RS256 (RFC 7518), so it is an RSA key. It is made when it is first needed, because that takes longer
//! than the rest of the first start.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rave_core::port::{Issuer, PortError};
use rave_core::secret::Secret;
use ring::rand::SystemRandom;
use ring::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use rsa::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, LineEnding};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;

use crate::Auth;

const BITS: usize = 2048;

/// The key, made or read at its first use.
pub(crate) struct SigningKey {
    file: Option<PathBuf>,
    key: OnceCell<Arc<Key>>,
}

/// A key that is ready to sign.
pub(crate) struct Key {
    pair: RsaKeyPair,
    /// What tells it from other keys: its thumbprint (RFC 7638).
    id: String,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("cannot use the signing key {path}")]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the signing key {path} is not an RSA key in PKCS #8 form")]
    Format { path: PathBuf },
    #[error("cannot make a signing key")]
    Make(#[source] rsa::Error),
    #[error("cannot encode the signing key")]
    Encode,
    #[error("the task that makes the signing key failed")]
    Task,
    #[error("cannot sign")]
    Sign,
}

impl SigningKey {
    pub(crate) fn new(file: Option<PathBuf>) -> Self {
        Self {
            file,
            key: OnceCell::new(),
        }
    }

    /// Returns the key. The first call reads it or makes it, which may take a second.
    pub(crate) async fn get(&self) -> Result<Arc<Key>, KeyError> {
        let load = || async {
            let file = self.file.clone();
            let loaded = tokio::task::spawn_blocking(move || match file {
                Some(file) => Key::at(&file),
                None => Key::of(&make()?),
            });
            loaded.await.map_err(|_| KeyError::Task)?.map(Arc::new)
        };
        self.key.get_or_try_init(load).await.cloned()
    }
}

impl Key {
    /// Reads the key of a file, or makes one and writes it there.
    fn at(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::File {
            path: path.to_owned(),
            source,
        };
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let key = rsa::RsaPrivateKey::from_pkcs8_pem(&text);
                let format = |()| KeyError::Format {
                    path: path.to_owned(),
                };
                Self::of(&key.map_err(|_| format(()))?)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let key = make()?;
                write(path, &key).map_err(failed)?;
                // Another process may have been faster; the file decides.
                let text = std::fs::read_to_string(path).map_err(failed)?;
                let kept = rsa::RsaPrivateKey::from_pkcs8_pem(&text);
                Self::of(&kept.unwrap_or(key))
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn of(key: &rsa::RsaPrivateKey) -> Result<Self, KeyError> {
        let der = key.to_pkcs8_der().map_err(|_| KeyError::Encode)?;
        let pair = RsaKeyPair::from_pkcs8(der.as_bytes()).map_err(|_| KeyError::Encode)?;
        let (exponent, modulus) = parts(&pair);
        let canonical = format!(r#"{{"e":"{exponent}","kty":"RSA","n":"{modulus}"}}"#);
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(canonical));
        Ok(Self { pair, id })
    }

    /// Returns the public half as a JSON Web Key (RFC 7517).
    pub(crate) fn public(&self) -> Value {
        let (exponent, modulus) = parts(&self.pair);
        json!({"kty": "RSA", "kid": self.id, "e": exponent, "n": modulus, "use": "sig", "alg": "RS256"})
    }

    fn sign(&self, claims: &Value) -> Result<String, KeyError> {
        let header = json!({"alg": "RS256", "kid": self.id, "typ": "JWT"});
        let mut token = URL_SAFE_NO_PAD.encode(header.to_string());
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(claims.to_string()));
        let mut signature = vec![0; self.pair.public().modulus_len()];
        self.pair
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                token.as_bytes(),
                &mut signature,
            )
            .map_err(|_| KeyError::Sign)?;
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(signature));
        Ok(token)
    }
}

/// Returns exponent and modulus as a JSON Web Key has them.
fn parts(pair: &RsaKeyPair) -> (String, String) {
    let public: ring::rsa::PublicKeyComponents<Vec<u8>> = pair.public_key().into();
    (
        URL_SAFE_NO_PAD.encode(public.e),
        URL_SAFE_NO_PAD.encode(public.n),
    )
}

fn make() -> Result<rsa::RsaPrivateKey, KeyError> {
    rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, BITS).map_err(KeyError::Make)
}

/// Writes a key so that the file is there whole or not at all, and never replaces one.
fn write(path: &Path, key: &rsa::RsaPrivateKey) -> std::io::Result<()> {
    let text = key
        .to_pkcs8_pem(LineEnding::LF)
        .map_err(std::io::Error::other)?;
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&draft, path);
    std::fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[async_trait]
impl Issuer for Auth {
    async fn sign(&self, claims: &Value) -> Result<Secret, PortError> {
        let failed = |it: KeyError| PortError::new("signing an identity token", it);
        let key = self.signing.get().await.map_err(failed)?;
        key.sign(claims).map(Secret::new).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    #[test]
    fn a_key_is_made_once_and_signs_what_its_public_half_verifies() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("key.pem");
        let key = Key::at(&path).expect("made");
        assert_eq!(Key::at(&path).expect("read").id, key.id);
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&path)
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).expect("read").count(), 1);

        let token = key.sign(&json!({"sub": "x"})).expect("signed");
        let (signed, signature) = token.rsplit_once('.').expect("three parts");
        let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64");
        let public =
            UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.pair.public_key().as_ref());
        public
            .verify(signed.as_bytes(), &signature)
            .expect("the signature fits");
        assert!(public.verify(b"else", &signature).is_err());
    }

    #[test]
    fn a_file_that_is_no_key_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("key.pem");
        std::fs::write(&path, "hello").expect("written");
        let error = Key::at(&path).err().expect("refused").to_string();
        assert!(error.contains("key.pem is not an RSA key"), "{error}");
    }
}
