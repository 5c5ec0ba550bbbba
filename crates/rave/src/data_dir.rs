//! The data directory: what lies where, readable by its owner only.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use rave_core::sealing::{InvalidKey, SealingKey};
use rave_core::secret::{Secret, TokenKind, generate_token};

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataDirError {
    #[error("cannot prepare {path}")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A key that others can read is a key that others have.
    #[error("{path} can be read by others (mode {mode:o})")]
    Exposed { path: PathBuf, mode: u32 },
    #[error("another RAVE is running with {path}")]
    InUse { path: PathBuf },
    #[error("{path} holds no key")]
    Key {
        path: PathBuf,
        #[source]
        source: InvalidKey,
    },
    #[error("cannot make a key")]
    Random(#[from] rave_core::secret::NoRandomness),
}

/// The data directory.
#[derive(Clone, Debug)]
pub(crate) struct DataDir(PathBuf);

/// Held while a server uses the directory.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: nix::fcntl::Flock<File>,
}

impl DataDir {
    /// Makes the directory and what is missing in it.
    pub(crate) fn open(path: &Path) -> Result<Self, DataDirError> {
        make_dir(path)?;
        let path = path.canonicalize().map_err(|source| DataDirError::Io {
            path: path.to_owned(),
            source,
        })?;
        let dir = Self(path);
        for part in ["repos", "blobs", "keys", "run"] {
            make_dir(&dir.0.join(part))?;
        }
        for entry in fs::read_dir(dir.0.join("keys"))
            .map_err(|source| dir.io("keys", source))?
            .flatten()
        {
            refuse_exposed(&entry.path())?;
        }
        Ok(dir)
    }

    /// Claims the directory for this process. The lock ends with the process, however it ends.
    pub(crate) fn lock(&self) -> Result<Lock, DataDirError> {
        let path = self.0.join("run/lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path);
        let file = file.map_err(|source| DataDirError::Io {
            path: path.clone(),
            source,
        })?;
        match nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Lock { _file: file }),
            Err(_) => Err(DataDirError::InUse {
                path: self.0.clone(),
            }),
        }
    }

    /// Notes the name under which this process holds leases, and returns its predecessor's. To be called with the lock
    /// held, which proves that the predecessor is dead.
    pub(crate) fn succeed(&self, holder: &str) -> Result<Option<String>, DataDirError> {
        let path = self.0.join("run/holder");
        let before = fs::read_to_string(&path)
            .ok()
            .map(|it| it.trim().to_owned());
        write_key(&path, holder).map_err(|source| DataDirError::Io { path, source })?;
        Ok(before.filter(|it| !it.is_empty()))
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.0.join("rave.db")
    }

    pub(crate) fn repos(&self) -> PathBuf {
        self.0.join("repos")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.0.join("blobs")
    }

    /// The key that signs identity tokens.
    pub(crate) fn signing_key(&self) -> PathBuf {
        self.0.join("keys/identity-signing.pem")
    }

    /// What may be deleted at any time while no server runs: sockets, hooks, builds and caches of jobs.
    pub(crate) fn run(&self) -> PathBuf {
        self.0.join("run")
    }

    /// Returns the embedded runner's token, made at the first start.
    pub(crate) fn runner_token(&self) -> Result<Secret, DataDirError> {
        let path = self.0.join("keys/embedded-runner-token");
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Secret::new(text.trim())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let token = generate_token(TokenKind::Runner)?;
                write_key(&path, token.expose())
                    .map_err(|source| DataDirError::Io { path, source })?;
                Ok(token)
            }
            Err(source) => Err(DataDirError::Io { path, source }),
        }
    }

    /// Returns the key that seals the values of variables, made at the first start. Without it they are lost.
    pub(crate) fn sealing_key(&self) -> Result<SealingKey, DataDirError> {
        let path = self.0.join("keys/sealing-key");
        let io = |source| DataDirError::Io {
            path: path.clone(),
            source,
        };
        let text = match fs::read_to_string(&path) {
            Ok(text) => Secret::new(text.trim()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let text = SealingKey::generate()?;
                write_key(&path, text.expose()).map_err(io)?;
                text
            }
            Err(source) => return Err(io(source)),
        };
        SealingKey::parse(&text).map_err(|source| DataDirError::Key {
            path: path.clone(),
            source,
        })
    }

    fn io(&self, part: &str, source: io::Error) -> DataDirError {
        DataDirError::Io {
            path: self.0.join(part),
            source,
        }
    }
}

fn make_dir(path: &Path) -> Result<(), DataDirError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| DataDirError::Io {
        path: path.to_owned(),
        source,
    })
}

fn refuse_exposed(path: &Path) -> Result<(), DataDirError> {
    let metadata = fs::metadata(path).map_err(|source| DataDirError::Io {
        path: path.to_owned(),
        source,
    })?;
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 == 0 {
        Ok(())
    } else {
        Err(DataDirError::Exposed {
            path: path.to_owned(),
            mode,
        })
    }
}

/// Writes a key so that after a crash it is there whole or not at all.
fn write_key(path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension("new");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&draft)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    fs::rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_private_and_stay_the_same() {
        let root = tempfile::tempdir().expect("temporary directory");
        let dir = DataDir::open(&root.path().join("data")).expect("made");
        let token = dir.runner_token().expect("made");
        assert_eq!(dir.runner_token().expect("read"), token);
        let key = dir.0.join("keys/embedded-runner-token");
        assert_eq!(fs::metadata(&key).expect("exists").mode() & 0o777, 0o600);
        dir.sealing_key().expect("made");
        let seal = dir.0.join("keys/sealing-key");
        assert_eq!(fs::metadata(&seal).expect("exists").mode() & 0o777, 0o600);
        let text = fs::read_to_string(&seal).expect("read");
        dir.sealing_key().expect("read");
        assert_eq!(fs::read_to_string(&seal).expect("read"), text);
        fs::write(&seal, "nonsense").expect("written");
        assert!(matches!(dir.sealing_key(), Err(DataDirError::Key { .. })));
        assert_eq!(fs::metadata(&dir.0).expect("exists").mode() & 0o777, 0o700);

        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("chmod");
        assert!(matches!(
            DataDir::open(&dir.0),
            Err(DataDirError::Exposed { mode: 0o644, .. })
        ));
    }

    #[test]
    fn only_one_server_uses_a_directory() {
        let root = tempfile::tempdir().expect("temporary directory");
        let dir = DataDir::open(root.path()).expect("made");
        let lock = dir.lock().expect("free");
        assert!(matches!(dir.lock(), Err(DataDirError::InUse { .. })));
        drop(lock);
        dir.lock().expect("free again");
        assert_eq!(dir.succeed("first").expect("noted"), None);
        assert_eq!(
            dir.succeed("second").expect("noted").as_deref(),
            Some("first")
        );
    }
}
