//! Objects of the former layout, a file each under `objects/`, on their way into packs.
//!
//! A file goes once its object is stored, so an import that was cut off goes on where it ended. A file whose bytes are not
//! what its name says is left where it is: it was damaged before, and deleting it would destroy what may be rescued.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use futures_util::StreamExt as _;

use crate::{Blobs, Digest, PutError, PutOptions, StoreError};

/// How much of a file is read at once.
const PIECE_BYTES: usize = 256 << 10;

impl Blobs {
    /// Puts every object of the former layout that lies in `root`. Returns how many there were.
    pub(crate) async fn import(&self, root: &Path) -> Result<usize, StoreError> {
        let objects = root.join("objects");
        let shards = list(objects.clone()).await?;
        let mut count = 0;
        for shard in &shards {
            for path in list(shard.clone()).await? {
                count += usize::from(self.import_file(shard, path).await?);
            }
            remove_directory(shard.clone()).await;
        }
        if !shards.is_empty() {
            tracing::info!(
                objects = count,
                "moved objects of the former layout into packs"
            );
            remove_directory(objects).await;
            // Uploads that were cut off.
            let _ = tokio::fs::remove_dir_all(root.join("tmp")).await;
        }
        Ok(count)
    }

    async fn import_file(&self, shard: &Path, path: PathBuf) -> Result<bool, StoreError> {
        let Some(digest) = digest(shard, &path) else {
            tracing::warn!(path = %path.display(), "left a file that is no object");
            return Ok(false);
        };
        let failed = |it: PutError| {
            StoreError::new(format!("cannot take in the object {}", path.display()), it)
        };
        let file = tokio::fs::File::open(&path)
            .await
            .map_err(|it| failed(PutError::Io(it)))?;
        let stream = tokio_util::io::ReaderStream::with_capacity(file, PIECE_BYTES);
        let options = PutOptions {
            limit_bytes: u64::MAX,
            expected: Some(digest),
        };
        match self.put(stream.boxed(), options).await {
            Ok(_) => {}
            Err(PutError::Mismatch { actual, .. }) => {
                tracing::error!(path = %path.display(), %actual, "left an object whose bytes are not what its name says");
                return Ok(false);
            }
            Err(other) => return Err(failed(other)),
        }
        tokio::fs::remove_file(&path)
            .await
            .map_err(|it| failed(PutError::Io(it)))?;
        Ok(true)
    }
}

/// Reads a digest out of the names of a file and its directory: `objects/ab/cdef…`.
fn digest(shard: &Path, path: &Path) -> Option<Digest> {
    let (first, rest) = (shard.file_name()?.to_str()?, path.file_name()?.to_str()?);
    format!("{first}{rest}").parse().ok()
}

/// Returns what lies in a directory, in order; nothing when there is none.
async fn list(directory: PathBuf) -> Result<Vec<PathBuf>, StoreError> {
    let what = format!("cannot list {}", directory.display());
    let listed = tokio::task::spawn_blocking(move || -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(directory) {
            Err(it) if it.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut paths = entries
            .map(|it| it.map(|it| it.path()))
            .collect::<io::Result<Vec<_>>>()?;
        paths.sort_unstable();
        Ok(paths)
    });
    let listed = listed.await.map_err(io::Error::other).flatten();
    listed.map_err(|it| StoreError::new(what, it))
}

/// Removes a directory unless something is left in it.
async fn remove_directory(path: PathBuf) {
    let _ = tokio::fs::remove_dir(path).await;
}
