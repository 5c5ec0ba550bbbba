//! The files themselves: names, renames, syncs and deletes. Everything here blocks.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read as _},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use rave_core::time::{Clock, Timestamp};
use sha2::{Digest as _, Sha256};

use super::incoming::Incoming;
use crate::{BlobEntry, Digest};

/// How much is read at once to verify an object.
const PIECE: usize = 256 * 1024;

pub(super) struct Files {
    root: PathBuf,
    clock: Arc<dyn Clock>,
    /// Held while an object's file is replaced, made young or deleted, so that a put never relies on an object that a
    /// sweep is about to delete.
    changing: Mutex<()>,
}

impl Files {
    pub(super) fn new(root: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self {
            root,
            clock,
            changing: Mutex::new(()),
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    fn objects(&self) -> PathBuf {
        self.root.join("objects")
    }

    pub(super) fn path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.objects().join(&name[..2]).join(&name[2..])
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn prepare(&self) -> io::Result<()> {
        let mut private = DirBuilder::new();
        private.recursive(true).mode(0o700);
        private.create(self.objects())?;
        private.create(self.temporary())?;
        let mut removed = 0;
        for entry in fs::read_dir(self.temporary())? {
            fs::remove_file(entry?.path())?;
            removed += 1;
        }
        if removed > 0 {
            tracing::info!(
                objects = removed,
                "removed objects that a crash had left unfinished"
            );
        }
        sync_directory(&self.root)
    }

    /// Gives a complete object its name. Of two puts of the same bytes, the second only makes the object young.
    pub(super) fn keep(&self, incoming: Incoming) -> io::Result<Digest> {
        let complete = incoming.finish(system_time(self.clock.now()))?;
        let path = self.path(&complete.digest);
        let directory = path.parent().unwrap_or(&self.root);
        let _changing = self.lock();
        match File::open(&path) {
            // A file that lost bytes is not that object: it is replaced.
            Ok(file) if file.metadata()?.len() == complete.size_bytes => {
                file.set_modified(system_time(self.clock.now()))?;
                return Ok(complete.digest);
            }
            Err(it) if it.kind() != io::ErrorKind::NotFound => return Err(it),
            _ => {}
        }
        if !directory.try_exists()? {
            DirBuilder::new().mode(0o700).create(directory)?;
            sync_directory(&self.objects())?;
        }
        complete.file.persist(&path).map_err(|it| it.error)?;
        sync_directory(directory)?;
        Ok(complete.digest)
    }

    pub(super) fn delete(&self, digest: &Digest, put_until: Timestamp) -> io::Result<bool> {
        let path = self.path(digest);
        let _changing = self.lock();
        let metadata = match fs::metadata(&path) {
            Err(it) if it.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other?,
        };
        if timestamp(metadata.modified()?) > put_until {
            return Ok(false);
        }
        // Not synced: an object that returns after a power failure is swept again.
        fs::remove_file(&path)?;
        Ok(true)
    }

    pub(super) fn list(&self, after: Option<Digest>, limit: usize) -> io::Result<Vec<BlobEntry>> {
        let first = after.map(|it| it.to_string()[..2].to_owned());
        let mut entries = Vec::new();
        for name in sorted_names(&self.objects())?
            .into_iter()
            .filter(|it| first.as_ref().is_none_or(|first| it >= first))
        {
            let directory = self.objects().join(&name);
            for rest in sorted_names(&directory)? {
                if entries.len() >= limit {
                    return Ok(entries);
                }
                // A file of another name is not ours and is left alone.
                let Ok(digest) = format!("{name}{rest}").parse::<Digest>() else {
                    continue;
                };
                if after.is_some_and(|after| digest <= after) {
                    continue;
                }
                match fs::metadata(directory.join(&rest)) {
                    Ok(it) => entries.push(BlobEntry {
                        digest,
                        size_bytes: it.len(),
                        put_at: timestamp(it.modified()?),
                    }),
                    Err(it) if it.kind() == io::ErrorKind::NotFound => {}
                    Err(it) => return Err(it),
                }
            }
        }
        Ok(entries)
    }

    pub(super) fn hash(&self, digest: &Digest) -> io::Result<Digest> {
        let mut file = File::open(self.path(digest))?;
        let (mut hasher, mut piece) = (Sha256::new(), vec![0; PIECE]);
        loop {
            match file.read(&mut piece)? {
                0 => return Ok(hasher.into()),
                read => hasher.update(&piece[..read]),
            }
        }
    }
}

/// Makes the names in a directory survive a power failure.
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn sorted_names(directory: &Path) -> io::Result<Vec<String>> {
    let names = fs::read_dir(directory)?
        .filter_map(|it| it.map(|it| it.file_name().into_string().ok()).transpose());
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}

fn system_time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(at.0).unwrap_or(0))
}

fn timestamp(at: SystemTime) -> Timestamp {
    let since = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
