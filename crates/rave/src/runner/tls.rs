//! Certificates for the connection between a runner and its server: where they are, and what is in them.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use rave_core::secret::Secret;
use rave_runner::Tls;

/// Files of certificates, by the names that gitlab-runner has for them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct TlsFiles {
    /// Certificates, as PEM, that the server's may be signed with besides those that this machine trusts; jobs and their git
    /// trust them too
    #[arg(
        long = "tls-ca-file",
        value_name = "FILE",
        env = "CI_SERVER_TLS_CA_FILE"
    )]
    pub(super) ca: Option<PathBuf>,
    /// This runner's own certificate, as PEM, for a server that asks for one
    #[arg(
        long = "tls-cert-file",
        value_name = "FILE",
        env = "CI_SERVER_TLS_CERT_FILE"
    )]
    pub(super) cert: Option<PathBuf>,
    /// The key of that certificate, as PEM
    #[arg(
        long = "tls-key-file",
        value_name = "FILE",
        env = "CI_SERVER_TLS_KEY_FILE"
    )]
    pub(super) key: Option<PathBuf>,
}

impl TlsFiles {
    /// Reads the files; `directory` is what relative paths begin at.
    pub(super) fn read(&self, directory: &Path) -> anyhow::Result<Tls> {
        let read = |path: &Option<PathBuf>| -> anyhow::Result<Option<String>> {
            let Some(path) = path else {
                return Ok(None);
            };
            let path = directory.join(path);
            let text = std::fs::read_to_string(&path);
            text.map(Some)
                .with_context(|| format!("cannot read {}", path.display()))
        };
        let identity = match (read(&self.cert)?, read(&self.key)?) {
            (Some(certificate), Some(key)) => Some(Secret::new(format!("{certificate}\n{key}"))),
            (None, None) => None,
            _ => anyhow::bail!("tls-cert-file and tls-key-file go together"),
        };
        Ok(Tls {
            roots: read(&self.ca)?,
            identity,
        })
    }

    /// Returns the keys of a configuration file that name the files, wherever it is read.
    pub(super) fn keys(&self) -> Vec<(&'static str, String)> {
        let keys = [
            ("tls-ca-file", &self.ca),
            ("tls-cert-file", &self.cert),
            ("tls-key-file", &self.key),
        ];
        let shown = |path: &PathBuf| {
            let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            absolute.display().to_string()
        };
        keys.into_iter()
            .filter_map(|(key, path)| Some((key, shown(path.as_ref()?))))
            .collect()
    }
}
