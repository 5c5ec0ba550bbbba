//! The images on this machine: each layer unpacked once, by the digest of its content, and a record per image.
//!
//! A layer appears by a rename when all of it is there, a record after everything it names is on the disk. What no record
//! names is deleted at the next start, so that a crash leaves nothing half there. Layers in use are leased, and stay.

mod blob;
mod record;
mod trim;

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use nix::fcntl::{Flock, FlockArg};
use rave_core::time::Timestamp;
use sha2::{Digest as _, Sha256};

use super::layer::{LayerError, Owners, unpack};
use super::manifest::Platform;
use super::reference::{Digest, Reference};
use crate::job::place::remove_tree;
use crate::runner::make_private;
use blob::{Hashing, decompressed};
pub(crate) use record::Record;

/// The images of one runner.
#[derive(Debug)]
pub(crate) struct Store {
    dir: PathBuf,
    owners: Owners,
    limit_bytes: u64,
    /// How many jobs use a layer.
    leases: Mutex<HashMap<Digest, usize>>,
    _lock: Flock<File>,
}

/// The store failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error(
        "the images in {0} are used by another runner; give each runner a data directory of its own"
    )]
    Used(PathBuf),
    #[error("cannot use {path}")]
    File { path: PathBuf, source: io::Error },
    #[error("cannot unpack the layer {layer}")]
    Layer { layer: Digest, source: LayerError },
    #[error("the layer {expected} unpacks to {actual}")]
    Content { expected: Digest, actual: Digest },
}

/// Layers that stay as long as this value lives.
#[derive(Debug)]
pub(crate) struct Lease {
    store: Arc<Store>,
    layers: Vec<Digest>,
}

impl Lease {
    /// Returns the directories of the layers, from the lowest. A layer that an image has twice counts where it is last:
    /// what is below changes nothing, and the kernel takes no directory twice.
    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        let mut seen = HashSet::new();
        let mut from_above: Vec<_> = self
            .layers
            .iter()
            .rev()
            .filter(|it| seen.insert(*it))
            .collect();
        from_above.reverse();
        from_above
            .into_iter()
            .map(|it| self.store.layer(it))
            .collect()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut leases = self.store.leases();
        for layer in &self.layers {
            if let Some(count) = leases.get_mut(layer) {
                *count -= 1;
                if *count == 0 {
                    leases.remove(layer);
                }
            }
        }
    }
}

impl Store {
    /// Opens a directory, and deletes what an earlier runner did not finish.
    pub(crate) fn open(dir: &Path, owners: Owners, limit_bytes: u64) -> Result<Self, StoreError> {
        // Files that belong to others than the sandbox now maps would be of no use.
        let dir = dir.join(match owners {
            Owners::From(base) => format!("ids-{base}"),
            Owners::OneUser => "one-user".to_owned(),
        });
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::File { path, source }
        };
        // What is private stays so, and nobody finds a program there that makes him a user of an image.
        make_private(&dir).map_err(failed(&dir))?;
        for name in ["layers", "images", "unfinished"] {
            let path = dir.join(name);
            fs::create_dir_all(&path).map_err(failed(&path))?;
        }
        let lock = dir.join("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock)
            .map_err(failed(&lock))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|_| StoreError::Used(dir.clone()))?;
        let store = Self {
            dir,
            owners,
            limit_bytes,
            leases: Mutex::default(),
            _lock: lock,
        };
        let unfinished = store.dir.join("unfinished");
        for entry in fs::read_dir(&unfinished)
            .map_err(failed(&unfinished))?
            .flatten()
        {
            remove_tree(&entry.path()).map_err(failed(&entry.path()))?;
        }
        store.delete_unnamed(&store.records());
        Ok(store)
    }

    fn leases(&self) -> MutexGuard<'_, HashMap<Digest, usize>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn layer(&self, digest: &Digest) -> PathBuf {
        self.dir.join("layers").join(digest.hex())
    }

    fn record(&self, image: &Reference, platform: &Platform) -> PathBuf {
        let hash = Sha256::digest(format!("{image} {platform}"));
        self.dir
            .join("images")
            .join(format!("{}.json", hex::encode(hash)))
    }

    /// Keeps layers from being deleted, whether they are here yet or not.
    pub(crate) fn lease(self: &Arc<Self>, layers: Vec<Digest>) -> Lease {
        let mut leases = self.leases();
        for layer in &layers {
            *leases.entry(layer.clone()).or_default() += 1;
        }
        drop(leases);
        Lease {
            store: self.clone(),
            layers,
        }
    }

    /// Returns how large a layer is, if it is here.
    pub(crate) fn layer_bytes(&self, digest: &Digest) -> Option<u64> {
        let text = fs::read_to_string(self.layer(digest).with_extension("size")).ok()?;
        text.trim()
            .parse()
            .ok()
            .filter(|_| self.layer(digest).is_dir())
    }

    /// Returns an image that is here, all of it, and leases it.
    pub(crate) fn find(
        self: &Arc<Self>,
        image: &Reference,
        platform: &Platform,
        now: Timestamp,
    ) -> Option<(Record, Lease)> {
        let path = self.record(image, platform);
        let record: Record = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
        let lease = self.lease(record.layers());
        let whole = record
            .layers()
            .iter()
            .all(|it| self.layer_bytes(it).is_some());
        // The time of the file is when the image was last used, by which old ones are found. A failure only ages it.
        let _ = File::options()
            .write(true)
            .open(&path)
            .and_then(|it| it.set_modified(time(now)));
        whole.then_some((record, lease))
    }

    /// Makes a file for a download, without a name.
    pub(crate) fn blob(&self) -> Result<File, StoreError> {
        let path = self.dir.join("unfinished");
        tempfile::tempfile_in(&path).map_err(|source| StoreError::File { path, source })
    }

    /// Unpacks a layer. Its content has to be what `digest` says.
    pub(crate) fn add_layer(
        &self,
        blob: File,
        digest: &Digest,
        limit_bytes: u64,
    ) -> Result<u64, StoreError> {
        let unfinished = self.dir.join("unfinished");
        let failed = |source| StoreError::File {
            path: unfinished.clone(),
            source,
        };
        let dir = tempfile::tempdir_in(&unfinished).map_err(failed)?;
        let root = dir.path().join("layer");
        fs::create_dir(&root).map_err(failed)?;
        let content = decompressed(blob).map_err(failed)?;
        // Headers and padding are not content, but a stream of nothing else has to end, too.
        let most = limit_bytes.saturating_mul(2).saturating_add(64 << 20);
        let content = Hashing {
            from: content.take(most),
            hash: Sha256::new(),
        };
        let unpacked = unpack(content, &root, self.owners, limit_bytes);
        let (content, bytes) = unpacked.map_err(|source| StoreError::Layer {
            layer: digest.clone(),
            source,
        })?;
        let actual = Digest::of(&content.hash.finalize().into());
        if actual != *digest {
            return Err(StoreError::Content {
                expected: digest.clone(),
                actual,
            });
        }
        let target = self.layer(digest);
        let failed = |source| StoreError::File {
            path: target.clone(),
            source,
        };
        fs::write(target.with_extension("size"), bytes.to_string()).map_err(failed)?;
        match fs::rename(&root, &target) {
            // The same layer came by another way meanwhile.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            renamed => renamed.map_err(failed)?,
        }
        Ok(bytes)
    }

    /// Records an image whose layers are all here, and makes room.
    pub(crate) fn commit(
        &self,
        image: &Reference,
        platform: &Platform,
        record: &Record,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let path = self.record(image, platform);
        let written = || -> io::Result<()> {
            // Everything that the record names has to be on the disk before it.
            nix::unistd::syncfs(File::open(&self.dir)?)?;
            let mut file = tempfile::NamedTempFile::new_in(self.dir.join("unfinished"))?;
            serde_json::to_writer(&mut file, record)?;
            file.flush()?;
            file.as_file().set_modified(time(now))?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            Ok(())
        };
        written().map_err(|source| StoreError::File {
            path: path.clone(),
            source,
        })?;
        self.trim();
        Ok(())
    }
}

fn time(now: Timestamp) -> SystemTime {
    let millis = u64::try_from(now.0).unwrap_or(0);
    SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(millis)
}

#[cfg(test)]
mod tests {
    use super::super::manifest::Settings;
    use super::super::tar::tests::entry;
    use super::*;
    use std::io::Seek as _;
    use std::os::unix::fs::PermissionsExt as _;

    struct Bench {
        dir: tempfile::TempDir,
        store: Arc<Store>,
    }

    fn open(dir: &Path) -> Result<Arc<Store>, StoreError> {
        Store::open(dir, Owners::OneUser, 3000).map(Arc::new)
    }

    fn bench() -> Bench {
        let dir = tempfile::tempdir().expect("a directory");
        let store = open(dir.path()).expect("opened");
        Bench { dir, store }
    }

    fn image(name: &str) -> Reference {
        Reference::parse(name).expect("a name")
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp(millis)
    }

    impl Bench {
        fn add(
            &self,
            content: &str,
            claimed: Option<&Digest>,
        ) -> Result<(Digest, u64), StoreError> {
            let tar = [entry("file", b'0', "", content.as_bytes()), vec![0; 1024]].concat();
            let digest = Digest::of(&Sha256::digest(&tar).into());
            let mut packed =
                flate2::write::GzEncoder::new(self.store.blob()?, flate2::Compression::fast());
            packed.write_all(&tar).expect("packed");
            let mut blob = packed.finish().expect("packed");
            blob.rewind().expect("rewound");
            let bytes = self
                .store
                .add_layer(blob, claimed.unwrap_or(&digest), 1 << 20)?;
            Ok((digest, bytes))
        }

        fn commit(&self, name: &str, layers: &[(Digest, u64)], now: i64) {
            let record = Record::new(&image(name), &layers[0].0, Settings::default(), layers);
            self.store
                .commit(&image(name), &Platform::of_this_machine(), &record, at(now))
                .expect("committed");
        }

        fn find(&self, name: &str, now: i64) -> Option<Lease> {
            self.store
                .find(&image(name), &Platform::of_this_machine(), at(now))
                .map(|it| it.1)
        }
    }

    #[test]
    fn an_image_is_found_again() {
        let bench = bench();
        let layer = bench.add("one", None).expect("unpacked");
        bench.commit("one", std::slice::from_ref(&layer), 1);
        let lease = bench.find("one", 2).expect("found");
        let dirs = lease.directories();
        assert_eq!(
            fs::read_to_string(dirs[0].join("file")).expect("there"),
            "one"
        );
        let mode = fs::metadata(&bench.store.dir)
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(bench.find("other", 2).is_none());
        assert!(matches!(open(bench.dir.path()), Err(StoreError::Used(_))));
        let lease = bench.store.lease(vec![layer.0.clone(), layer.0.clone()]);
        assert_eq!(
            lease.directories().len(),
            1,
            "the kernel takes no directory twice"
        );
    }

    #[test]
    fn content_that_is_not_what_it_claims_leaves_nothing() {
        let bench = bench();
        let other = Digest::of(&[7; 32]);
        assert!(matches!(
            bench.add("x", Some(&other)),
            Err(StoreError::Content { .. })
        ));
        assert_eq!(bench.store.layer_bytes(&other), None);
        let left = |name: &str| {
            fs::read_dir(bench.store.dir.join(name))
                .expect("listed")
                .count()
        };
        assert_eq!((left("layers"), left("unfinished")), (0, 0));
    }

    #[test]
    fn what_was_not_finished_is_gone_after_a_restart() {
        let Bench { dir, store } = bench();
        let bench = Bench { dir, store };
        let kept = bench.add("kept", None).expect("unpacked");
        bench.commit("kept", std::slice::from_ref(&kept), 1);
        let unnamed = bench.add("unnamed", None).expect("unpacked").0;
        fs::create_dir_all(bench.store.dir.join("unfinished/half/layer")).expect("made");
        let Bench { dir, store } = bench;
        drop(store);
        let store = open(dir.path()).expect("opened again");
        assert!(store.layer_bytes(&kept.0).is_some() && store.layer_bytes(&unnamed).is_none());
        assert_eq!(
            fs::read_dir(store.dir.join("unfinished"))
                .expect("listed")
                .count(),
            0
        );
    }

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let bench = bench();
        let shared = bench.add("shared", None).expect("unpacked");
        let add = |name: &str, now: i64| {
            let own = bench.add(&name.repeat(900), None).expect("unpacked");
            bench.commit(name, &[shared.clone(), own], now);
        };
        add("a", 1);
        add("b", 2);
        drop(bench.find("a", 3).expect("there"));
        add("c", 4);
        assert!(
            bench.find("b", 5).is_none(),
            "the one that was not used for longest"
        );
        let in_use = bench.find("a", 6).expect("there");
        add("d", 7);
        assert!(bench.find("a", 8).is_some(), "in use");
        assert!(bench.find("c", 8).is_none() && bench.find("d", 8).is_some());
        drop(in_use);
        assert!(
            bench.store.layer_bytes(&shared.0).is_some(),
            "others need it"
        );
    }
}
