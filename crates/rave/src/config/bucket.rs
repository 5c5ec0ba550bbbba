//! The section of a bucket for caches.

use std::path::PathBuf;

use super::reader::Reader;

/// A bucket for caches.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    pub(crate) server_address: String,
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) credentials_file: PathBuf,
    pub(crate) path: String,
    pub(crate) shared: bool,
}

impl Bucket {
    /// Reads the section. `None` when it names no bucket.
    pub(super) fn read(reader: &mut Reader) -> Option<Self> {
        const SECTION: &str = "runner.cache";
        let mut text = |key: &str| reader.text(SECTION, key).unwrap_or_default();
        let found = Self {
            server_address: text("s3_server_address"),
            name: text("s3_bucket"),
            region: text("s3_region"),
            credentials_file: PathBuf::from(text("s3_credentials_file")),
            path: text("path"),
            shared: reader.flag(SECTION, "shared").unwrap_or_default(),
        };
        if found.name.is_empty() {
            return None;
        }
        if found.credentials_file.as_os_str().is_empty() {
            let why = "must name a file when s3_bucket is set".to_owned();
            reader.complain(SECTION, "s3_credentials_file", why);
        }
        Some(found)
    }
}
