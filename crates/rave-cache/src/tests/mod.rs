//! The part on both engines, with real accounts and a real store of objects.

mod attached;
mod collecting;
mod pushing;

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream;
use rave_auth::{Auth, AuthConfig};
use rave_blob::{Blobs, Sweeper};
use rave_core::id::UserId;
use rave_core::permission::{Principal, UserPrincipal, Via};
use rave_core::port::{JobIdentity, JobTokens, PortError};
use rave_core::sealing::SealingKey;
use rave_core::secret::{Secret, TokenDigest};
use rave_core::time::{Clock, ManualClock, Timestamp};
use rave_nix::nar::{Event, NarEncoder};
use rave_nix::{HashPart, PathInfo, Sha256, StorePath};
use rave_store::{DatabaseUrl, Db, Options};
use rave_testkit::PostgresServer;

use crate::error::CacheError;
use crate::model::{CacheName, Settings};
use crate::rights::{Allowed, Kind, Pull, Push};
use crate::service::visit::Visitor;
use crate::store::paths::Added;
use crate::{CacheConfig, Caches, Ports};

/// Declares that each test runs on both engines.
macro_rules! on_both_engines {
    ($($name:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(crate::tests::World::sqlite().await).await; })+
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(crate::tests::World::postgres().await).await; })+
        }
    };
}
pub(crate) use on_both_engines;

struct NoJobs;

#[async_trait]
impl JobTokens for NoJobs {
    async fn find_job(&self, _: &TokenDigest) -> Result<Option<JobIdentity>, PortError> {
        Ok(None)
    }
}

/// An instance of one test's own, with one cache.
pub(crate) struct World {
    pub(crate) caches: Arc<Caches>,
    pub(crate) auth: Arc<Auth>,
    pub(crate) clock: Arc<ManualClock>,
    blobs: Blobs,
    _directory: tempfile::TempDir,
}

pub(crate) const DAY_MS: i64 = 24 * 3_600_000;

impl World {
    pub(crate) async fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = DatabaseUrl::Sqlite(directory.path().join("rave.db"));
        Self::open(url, directory).await
    }

    pub(crate) async fn postgres() -> Self {
        let url = PostgresServer::shared().create_database();
        let directory = tempfile::tempdir().unwrap();
        Self::open(DatabaseUrl::Postgres(Secret::new(url)), directory).await
    }

    async fn open(url: DatabaseUrl, directory: tempfile::TempDir) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp(1_767_323_045_678)));
        let given: Arc<dyn Clock> = clock.clone();
        let options = Options {
            connect_timeout: std::time::Duration::from_secs(30),
            pool_size: 4,
            ..Options::default()
        };
        let db = Db::open(&url, given.clone(), options).await.unwrap();
        db.migrate(&[
            rave_blob::MIGRATIONS,
            rave_auth::MIGRATIONS,
            crate::MIGRATIONS,
        ])
        .await
        .unwrap();
        let auth = Auth::new(db.clone(), Arc::new(NoJobs), AuthConfig::default());
        let blobs = Blobs::on_disk(db.clone(), directory.path(), rave_blob::Options::default())
            .await
            .unwrap();
        let ports = Ports {
            directory: auth.clone(),
            authenticator: auth.clone(),
        };
        let config = CacheConfig::new("http://rave.test".into());
        let key = SealingKey::parse(&SealingKey::generate().unwrap()).unwrap();
        let caches = Caches::new(db, blobs.clone(), ports, given, config, key);
        let world = Self {
            caches,
            auth,
            clock,
            blobs,
            _directory: directory,
        };
        world.create("main", Settings::default()).await;
        world
    }

    /// Does what time makes due, in the caches and then in the store of objects.
    pub(crate) async fn tidy(&self) {
        self.caches.tidy().await.unwrap();
        let grace = std::time::Duration::from_secs(6 * 3600);
        let sweeper = Sweeper::new(self.blobs.clone(), vec![self.caches.clone()], grace);
        sweeper.sweep().await.unwrap();
    }

    pub(crate) async fn create(&self, name: &str, settings: Settings) {
        let name = CacheName::parse(name).unwrap();
        self.caches
            .create(&admin(), &name, settings, None)
            .await
            .unwrap();
    }

    pub(crate) async fn allowed<K: Kind>(&self, name: &str) -> Allowed<K> {
        self.caches.allow(&admin(), name).await.unwrap()
    }

    /// Pushes a file under a name that refers to others, as Attic's clients do.
    pub(crate) async fn push(&self, name: &str, refers_to: &[&str]) -> Result<Added, CacheError> {
        self.push_to("main", name, refers_to).await
    }

    pub(crate) async fn push_to(
        &self,
        cache: &str,
        name: &str,
        refers_to: &[&str],
    ) -> Result<Added, CacheError> {
        let nar = nar(name);
        let info = info(name, &nar, refers_to);
        let allowed = self.allowed::<Push>(cache).await;
        let body = stream::iter([Ok(bytes::Bytes::from(nar))]);
        let (_, added) = self.caches.upload(&allowed, info, Box::pin(body)).await?;
        Ok(added)
    }

    /// Returns which of some names can be had.
    pub(crate) async fn visible(&self, names: &[&str]) -> String {
        let allowed = self.allowed::<Pull>("main").await;
        let mut visible = Vec::new();
        for name in names {
            let found = self
                .caches
                .find_path(&allowed, path(name).hash_part())
                .await
                .unwrap();
            if found.is_some() {
                visible.push(*name);
            }
        }
        visible.join(" ")
    }
}

/// The administrator.
pub(crate) fn admin() -> Visitor {
    Visitor::Known(user(1, true))
}

pub(crate) fn user(id: i64, admin: bool) -> Principal {
    Principal::User(UserPrincipal {
        id: UserId(id),
        username: format!("user{id}"),
        name: format!("User {id}"),
        admin,
        via: Via::Password,
    })
}

/// Returns a path for a name, that follows from nothing.
pub(crate) fn path(name: &str) -> StorePath {
    let hash = Sha256::of(name.as_bytes());
    let (part, _) = hash.0.split_first_chunk::<20>().unwrap();
    StorePath::new(HashPart(*part), name).unwrap()
}

/// Returns the NAR of a file with some content.
pub(crate) fn nar(content: &str) -> Vec<u8> {
    let mut encoder = NarEncoder::new(Vec::new());
    let events = [
        Event::Regular {
            executable: false,
            size: content.len() as u64,
            offset: 0,
        },
        Event::Contents(content.as_bytes()),
        Event::End,
    ];
    for event in events {
        encoder.write(&event).unwrap();
    }
    encoder.finish()
}

pub(crate) fn info(name: &str, nar: &[u8], refers_to: &[&str]) -> PathInfo {
    PathInfo {
        path: path(name),
        nar_hash: Sha256::of(nar),
        nar_size: nar.len() as u64,
        references: PathInfo::sorted(refers_to.iter().map(|it| path(it)).collect()),
        deriver: None,
        signatures: Vec::new(),
        content_address: None,
    }
}
