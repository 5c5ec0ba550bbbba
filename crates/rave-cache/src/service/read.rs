//! What goes out: narinfo files out of memory, NARs, logs.

use std::sync::Arc;

use rave_blob::{ByteStream, Digest};
use rave_nix::{HashPart, NarInfo, Sha256};

use super::Caches;
use crate::bytes::{SERVED, put_failed};
use crate::error::CacheError;
use crate::keys::OpenCache;
use crate::memory::{Key, Served};
use crate::model::StoredPath;
use crate::rights::{Allowed, Pull, Push};
use crate::store::extras::{self, LogRow};
use crate::store::paths;

/// The largest build log that is taken.
const LOG_BYTES: u64 = 256 << 20;

impl Caches {
    /// Returns a visible path, out of memory if it was asked for lately. What the cache does not have may be in a cache
    /// behind it.
    pub(crate) async fn find_path(
        &self,
        allowed: &Allowed<Pull>,
        hash: HashPart,
    ) -> Result<Option<Arc<Served>>, CacheError> {
        let cache = &allowed.cache;
        let (id, generation, key) = (cache.cache.id, cache.generation, Key::Path(hash));
        let now = self.now();
        let epoch = match self.index.find(id, generation, key, now) {
            Ok(known) => return Ok(known),
            Err(epoch) => epoch,
        };
        let text = hash.to_string();
        let found = self
            .db
            .read("cache_find", move |tx| paths::find(tx, id, &text))
            .await?;
        let known = match found {
            Some(path) => path.visible.then(|| Arc::new(serve(cache, path))),
            None => match self.pull_info(cache, hash).await {
                // It was written down, which changed the epoch: the next question finds it in the database.
                Some(pulled) => return Ok(Some(Arc::new(serve(cache, pulled)))),
                None => None,
            },
        };
        self.index
            .put(id, generation, key, known.clone(), epoch, now);
        Ok(known)
    }

    /// Returns a visible path of the cache that has this NAR.
    pub(crate) async fn find_nar(
        &self,
        allowed: &Allowed<Pull>,
        nar: Sha256,
    ) -> Result<Option<Arc<Served>>, CacheError> {
        let cache = &allowed.cache;
        let (id, generation, key) = (cache.cache.id, cache.generation, Key::Nar(nar));
        let now = self.now();
        let epoch = match self.index.find(id, generation, key, now) {
            Ok(known) => return Ok(known),
            Err(epoch) => epoch,
        };
        let digest = nar.to_base16();
        let found = self
            .db
            .read("cache_find_nar", move |tx| {
                paths::find_by_nar(tx, id, &digest)
            })
            .await?;
        let known = found.map(|it| Arc::new(serve(cache, it)));
        self.index
            .put(id, generation, key, known.clone(), epoch, now);
        Ok(known)
    }

    /// Stores a build log as it comes, which may be packed.
    pub(crate) async fn put_log(
        &self,
        allowed: &Allowed<Push>,
        drv: String,
        encoding: Option<String>,
        incoming: ByteStream<'_>,
    ) -> Result<(), CacheError> {
        let stored = self
            .objects
            .put(incoming, LOG_BYTES, None)
            .await
            .map_err(put_failed)?;
        let log = LogRow {
            digest: stored.digest.to_string(),
            encoding,
        };
        let id = allowed.cache.cache.id;
        let done = self.db.write("cache_put_log", move |tx| {
            extras::put_log(tx, id, &drv, &log)
        });
        Ok(done.await?)
    }

    /// Opens a build log. Returns how it is packed as well.
    pub(crate) async fn open_log(
        &self,
        allowed: &Allowed<Pull>,
        drv: String,
    ) -> Result<Option<(ByteStream<'static>, Option<String>)>, CacheError> {
        let id = allowed.cache.cache.id;
        let found = self
            .db
            .read("cache_find_log", move |tx| extras::find_log(tx, id, &drv))
            .await?;
        let Some(log) = found else {
            return Ok(None);
        };
        let digest: Digest = log
            .digest
            .parse()
            .map_err(|it| CacheError::internal("a log has no digest", it))?;
        let stream = self.objects.get(&digest).await?;
        Ok(stream.map(|it| (it, log.encoding)))
    }

    /// Returns a realisation, or a part of a build trace, by its file's name.
    pub(crate) async fn find_realisation(
        &self,
        allowed: &Allowed<Pull>,
        name: String,
    ) -> Result<Option<String>, CacheError> {
        let id = allowed.cache.cache.id;
        let found = self
            .db
            .read("cache_find_realisation", move |tx| {
                extras::find_realisation(tx, id, &name)
            })
            .await?;
        Ok(found)
    }
}

/// Writes the narinfo of a path, signed.
pub(crate) fn serve(cache: &OpenCache, stored: StoredPath) -> Served {
    let mut info = stored.path.info;
    info.signatures = cache.signatures(&info);
    let (hash, nar_hash, nar_size) = (info.path.hash_part(), info.nar_hash, info.nar_size);
    let narinfo = NarInfo {
        info,
        url: format!("nar/{}.nar{}", nar_hash.to_nix32(), SERVED.suffix()),
        compression: SERVED,
        file_hash: None,
        file_size: None,
    };
    Served {
        id: stored.id,
        hash,
        narinfo: narinfo.to_text(&cache.store_dir).into(),
        nar_hash,
        nar_size,
        fetch_from: stored.path.fetch_from,
    }
}
