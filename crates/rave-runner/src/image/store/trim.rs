//! What the store forgets: images above its limit, and layers that nothing names.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use super::super::reference::Digest;
use super::Store;
use super::record::Record;
use crate::job::place::remove_tree;

impl Store {
    pub(super) fn records(&self) -> Vec<(PathBuf, SystemTime, Record)> {
        let entries = fs::read_dir(self.dir.join("images"))
            .into_iter()
            .flatten()
            .flatten();
        let read = |entry: fs::DirEntry| {
            let path = entry.path();
            let used = entry.metadata().and_then(|it| it.modified()).ok()?;
            let record = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
            Some((path, used, record))
        };
        entries.filter_map(read).collect()
    }

    /// Deletes the images that were not used for longest, until the rest is small enough.
    pub(super) fn trim(&self) {
        let mut records = self.records();
        records.sort_by_key(|it| it.1);
        loop {
            let sizes: HashMap<&str, u64> = records
                .iter()
                .flat_map(|it| &it.2.layers)
                .map(|it| (it.digest.as_str(), it.bytes))
                .collect();
            if sizes.values().sum::<u64>() <= self.limit_bytes {
                break;
            }
            let leased: HashSet<Digest> = self.leases().keys().cloned().collect();
            // An image in use keeps its layers in any case; one whose layers are merely shared does not count as such.
            let unused = |record: &Record| !record.layers().iter().all(|it| leased.contains(it));
            let Some(oldest) = records.iter().position(|it| unused(&it.2)) else {
                break;
            };
            let (path, _, record) = records.remove(oldest);
            tracing::info!(image = record.name, "an image is deleted to make room");
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot delete the record of an image");
                break;
            }
        }
        self.delete_unnamed(&records);
    }

    /// Deletes layers that neither an image nor a job names.
    pub(super) fn delete_unnamed(&self, records: &[(PathBuf, SystemTime, Record)]) {
        let named: HashSet<Digest> = records.iter().flat_map(|it| it.2.layers()).collect();
        let mut gone = Vec::new();
        {
            // No job gets a lease while layers are taken away.
            let leases = self.leases();
            let unfinished = self.dir.join("unfinished");
            for entry in fs::read_dir(self.dir.join("layers"))
                .into_iter()
                .flatten()
                .flatten()
            {
                let name = entry.file_name();
                let hex = name
                    .to_str()
                    .map(|it| it.trim_end_matches(".size"))
                    .unwrap_or_default();
                let digest = Digest::parse(&format!("sha256:{hex}"));
                if digest.is_some_and(|it| named.contains(&it) || leases.contains_key(&it)) {
                    continue;
                }
                let away = unfinished.join(&name);
                if fs::rename(entry.path(), &away).is_ok() {
                    gone.push(away);
                }
            }
        }
        for path in gone {
            if let Err(error) = remove_tree(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot delete a layer that is not needed any more");
            }
        }
    }
}
