//! What lists and pages show of a cache.

use rave_nix::HashPart;

use super::Caches;
use crate::error::CacheError;
use crate::model::StoredPath;
use crate::rights::{Allowed, Pull};
use crate::store::paths::{self, PathFilter};
use crate::store::statistics::{self, Figures, Holdings};

impl Caches {
    /// Returns a part of a cache's paths, and how many there are.
    pub(crate) async fn list_paths(
        &self,
        allowed: &Allowed<Pull>,
        filter: PathFilter,
        offset: i64,
        limit: i64,
    ) -> Result<(Vec<StoredPath>, i64), CacheError> {
        let id = allowed.cache.cache.id;
        let found = self.db.read("cache_list", move |tx| {
            paths::list(tx, id, &filter, offset, limit)
        });
        Ok(found.await?)
    }

    /// Returns a path, visible or not.
    pub(crate) async fn load_path(
        &self,
        allowed: &Allowed<Pull>,
        hash: HashPart,
    ) -> Result<StoredPath, CacheError> {
        let id = allowed.cache.cache.id;
        let found = self
            .db
            .read("cache_find", move |tx| {
                paths::find(tx, id, &hash.to_string())
            })
            .await?;
        found.ok_or(CacheError::NoSuchObject("path"))
    }

    /// Returns what is in a cache, and what was asked of it since it was made.
    pub(crate) async fn holdings(
        &self,
        allowed: &Allowed<Pull>,
    ) -> Result<(Holdings, Figures), CacheError> {
        let id = allowed.cache.cache.id;
        self.settle().await?;
        let found = self.db.read("cache_holdings", move |tx| {
            Ok::<_, rave_store::Error>((statistics::holdings(tx, id)?, statistics::total(tx, id)?))
        });
        Ok(found.await?)
    }

    /// Returns what was asked of a cache on each of the latest days.
    pub(crate) async fn days(
        &self,
        allowed: &Allowed<Pull>,
        count: i64,
    ) -> Result<Vec<(i64, Figures)>, CacheError> {
        let id = allowed.cache.cache.id;
        Ok(self
            .db
            .read("cache_days", move |tx| statistics::days(tx, id, count))
            .await?)
    }
}
