//! A section of the configuration that names a bucket.

use std::path::PathBuf;

use anyhow::Context as _;
use rave_core::secret::Secret;

use super::reader::Reader;

/// A bucket.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    pub(crate) server_address: String,
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) path: String,
    credentials_file: PathBuf,
}

/// What opens a bucket.
pub(crate) struct Credentials {
    pub(crate) access_key: String,
    pub(crate) secret_key: Secret,
    pub(crate) session_token: Option<Secret>,
}

impl Bucket {
    /// Reads a section. `None` when it names no bucket.
    pub(super) fn read(reader: &mut Reader, section: &str) -> Option<Self> {
        let mut text = |key: &str| reader.text(section, key).unwrap_or_default();
        let found = Self {
            server_address: text("s3_server_address"),
            name: text("s3_bucket"),
            region: text("s3_region"),
            credentials_file: PathBuf::from(text("s3_credentials_file")),
            path: text("path"),
        };
        if found.name.is_empty() {
            return None;
        }
        if found.credentials_file.as_os_str().is_empty() {
            let why = "must name a file when s3_bucket is set".to_owned();
            reader.complain(section, "s3_credentials_file", why);
        }
        Some(found)
    }

    /// Reads the file of its credentials.
    pub(crate) fn credentials(&self) -> anyhow::Result<Credentials> {
        let path = &self.credentials_file;
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let find = |key: &str| {
            let mut pairs = text.lines().filter_map(|it| it.split_once('='));
            let value = pairs.find(|it| it.0.trim() == key)?.1.trim();
            Some(value.to_owned())
        };
        let need =
            |key: &str| find(key).with_context(|| format!("{} has no {key}", path.display()));
        Ok(Credentials {
            access_key: need("aws_access_key_id")?,
            secret_key: Secret::new(need("aws_secret_access_key")?),
            session_token: find("aws_session_token").map(Secret::new),
        })
    }
}
