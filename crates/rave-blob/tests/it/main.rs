//! The store on both engines: what goes in comes out, once stored, checked, whatever happens in between.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod damage;
mod import;
mod model;
mod objects;
mod sweeps;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rave_blob::{Blobs, ByteStream, ChunkSizes, Digest, Options, PutOptions, Stored};
use rave_core::{
    secret::Secret,
    time::{ManualClock, Timestamp},
};
use rave_store::{DatabaseUrl, Db};
use rave_testkit::PostgresServer;

/// Declares that each test runs on both engines.
#[macro_export]
macro_rules! on_both_engines {
    ($($name:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() { super::$name($crate::World::sqlite().await).await; })+
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() { super::$name($crate::World::postgres().await).await; })+
        }
    };
}

/// Small chunks and small packs, so that little content makes many of both.
pub(crate) const OPTIONS: Options = Options {
    chunks: ChunkSizes {
        min_bytes: 256,
        average_bytes: 1024,
        max_bytes: 4096,
    },
    level: 3,
    pack_bytes: 64 << 10,
    lease: std::time::Duration::from_secs(3600),
};

/// A store of one test's own.
pub(crate) struct World {
    pub(crate) blobs: Blobs,
    pub(crate) db: Db,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) directory: tempfile::TempDir,
}

impl World {
    pub(crate) async fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = DatabaseUrl::Sqlite(directory.path().join("rave.db"));
        Self::open(url, directory).await
    }

    pub(crate) async fn postgres() -> Self {
        let url = PostgresServer::shared().create_database();
        Self::open(
            DatabaseUrl::Postgres(Secret::new(url)),
            tempfile::tempdir().unwrap(),
        )
        .await
    }

    async fn open(url: DatabaseUrl, directory: tempfile::TempDir) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp(1_767_323_045_678)));
        let db = Db::open(&url, clock.clone(), rave_store::Options::default())
            .await
            .unwrap();
        db.migrate(&[rave_blob::MIGRATIONS]).await.unwrap();
        let blobs = Blobs::on_disk(db.clone(), directory.path().join("blobs"), OPTIONS)
            .await
            .unwrap();
        Self {
            blobs,
            db,
            clock,
            directory,
        }
    }

    /// Opens the store again, as the next process does.
    pub(crate) async fn reopen(&mut self) {
        let root = self.directory.path().join("blobs");
        self.blobs = Blobs::on_disk(self.db.clone(), root, OPTIONS)
            .await
            .unwrap();
        self.blobs.recover().await.unwrap();
    }

    pub(crate) async fn put(&self, content: &[u8]) -> Stored {
        self.blobs
            .put(pieces(content), PutOptions::at_most(u64::MAX))
            .await
            .unwrap()
    }

    pub(crate) async fn read(&self, digest: &Digest) -> Vec<u8> {
        let reader = self.blobs.get(digest, None).await.unwrap();
        collect(reader.into_stream()).await.unwrap()
    }

    /// Returns the files of the packs.
    pub(crate) fn packs(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.directory.path().join("blobs/packs")).unwrap();
        let mut files: Vec<PathBuf> = files.map(|it| it.unwrap().path()).collect();
        files.sort_unstable();
        files
    }

    pub(crate) fn packed_bytes(&self) -> u64 {
        self.packs()
            .iter()
            .map(|it| it.metadata().unwrap().len())
            .sum()
    }
}

/// A stream of uneven pieces.
pub(crate) fn pieces(content: &[u8]) -> ByteStream<'static> {
    let content = Bytes::copy_from_slice(content);
    stream::unfold((content, 1), |(mut rest, length)| async move {
        let piece = rest.split_to(length.min(rest.len()));
        (!piece.is_empty()).then_some((Ok(piece), (rest, length * 3 + 1)))
    })
    .boxed()
}

pub(crate) async fn collect(stream: ByteStream<'static>) -> std::io::Result<Vec<u8>> {
    let parts: Vec<Bytes> = stream.try_collect().await?;
    Ok(parts.concat())
}

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut step = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| step()).collect()
}
