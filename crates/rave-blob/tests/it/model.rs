//! Any order of puts, reads, sweeps and crashes, against a map in memory.
//!
//! A crash is a power failure: the process ends at some change of a pack or of a row, and what it had not waited for is lost.
//! Whatever happens, what was acknowledged and is referred to reads back, nothing else than what was put is ever read, the
//! store comes to rest, and nothing is left once nothing is referred to.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rave_blob::{
    Blobs, ByteStream, Digest, Faults, GetError, Options, PutError, PutOptions, Referrer, Stored,
    Sweeper, Swept,
};
use rave_store::BoxError;

use crate::{OPTIONS, World, collect, noise, pieces};

/// Packs of a few chunks, so that most operations begin, fill or empty one.
const SMALL: Options = Options {
    pack_bytes: 16 << 10,
    ..OPTIONS
};
const LEASE_MS: i64 = OPTIONS.lease.as_secs().cast_signed() * 1000;
const GRACE: Duration = Duration::from_secs(600);
/// As many pieces are gathered at once: a put of more is stored on the way.
const GATHERED: usize = 4096;

/// What an object is made of: some of a few texts, so that objects share.
type Content = Vec<u8>;

#[derive(Clone, Debug)]
enum Op {
    Put(Content, Option<Crash>),
    /// A put whose stream breaks off.
    Break(Content),
    /// A put that takes that long, with a sweep in the middle.
    SlowPut(Content, i64),
    /// A put and a sweep at once.
    PutAndSweep(Content, Option<Crash>),
    Read(usize),
    ReadRange(usize, usize, usize),
    Release(usize),
    Advance(i64),
    Sweep(Option<Crash>),
    Reopen(Option<Crash>),
}

#[derive(Clone, Debug)]
enum Crash {
    /// At a change of a pack, before it is made or before anyone is told.
    Pack { change: u32, untold: bool },
    /// In the transaction that first changes a table so.
    Row {
        table: &'static str,
        verb: &'static str,
    },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let content = || prop::collection::vec(0_u8..8, 0..8);
    let crash = || {
        let row = (
            prop::sample::select(vec!["blob_object", "blob_chunk", "blob_pack"]),
            prop::sample::select(vec!["INSERT", "UPDATE", "DELETE"]),
        );
        prop_oneof![
            (0_u32..5, any::<bool>()).prop_map(|(change, untold)| Crash::Pack { change, untold }),
            row.prop_map(|(table, verb)| Crash::Row { table, verb }),
        ]
    };
    let maybe = move || prop::option::weighted(0.4, crash());
    let time = || {
        prop::sample::select(vec![
            1,
            60_000,
            700_000,
            LEASE_MS / 3,
            LEASE_MS + 1,
            3 * LEASE_MS,
        ])
    };
    let op = prop_oneof![
        6 => (content(), maybe()).prop_map(|(it, crash)| Op::Put(it, crash)),
        1 => content().prop_map(Op::Break),
        2 => (content(), time()).prop_map(|(it, millis)| Op::SlowPut(it, millis)),
        2 => (content(), maybe()).prop_map(|(it, crash)| Op::PutAndSweep(it, crash)),
        2 => any::<usize>().prop_map(Op::Read),
        2 => any::<(usize, usize, usize)>().prop_map(|(it, from, to)| Op::ReadRange(it, from, to)),
        3 => any::<usize>().prop_map(Op::Release),
        4 => time().prop_map(Op::Advance),
        4 => maybe().prop_map(Op::Sweep),
        1 => maybe().prop_map(Op::Reopen),
    ];
    prop::collection::vec(op, 1..40)
}

#[test]
fn whatever_happens_what_was_acknowledged_is_there() {
    let config = Config {
        cases: 20,
        failure_persistence: None,
        max_shrink_iters: 300,
        ..Config::default()
    };
    // The same cases everywhere.
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let run = |ops| {
        runtime.block_on(async {
            let mut model = Model::new().await;
            for op in ops {
                model.run(op).await;
            }
            model.end().await;
        });
        Ok(())
    };
    TestRunner::new_with_rng(config, rng)
        .run(&ops(), run)
        .unwrap_or_else(|it| panic!("{it}"));
}

/// Who refers to what.
#[derive(Default)]
struct Needed(Mutex<HashSet<Digest>>);

#[async_trait]
impl Referrer for Needed {
    async fn referenced(&self, digests: &[Digest]) -> Result<HashSet<Digest>, BoxError> {
        let needed = self.0.lock().unwrap();
        let asked = digests.iter().filter(|it| needed.contains(it));
        Ok(asked.copied().collect())
    }
}

struct Model {
    world: World,
    faults: Faults,
    sweeper: Arc<Sweeper>,
    needed: Arc<Needed>,
    /// Everything that was ever sent, acknowledged or not.
    sent: HashMap<Digest, Vec<u8>>,
}

impl Model {
    async fn new() -> Self {
        let world = World::sqlite().await;
        let needed = Arc::new(Needed::default());
        let sweeper = Sweeper::new(world.blobs.clone(), vec![needed.clone()], GRACE);
        let mut model = Self {
            world,
            faults: Faults::default(),
            sweeper: Arc::new(sweeper),
            needed,
            sent: HashMap::new(),
        };
        model.reopen(None).await;
        model
    }

    async fn run(&mut self, op: Op) {
        match op {
            Op::Put(content, crash) => {
                let text = self.text(&content);
                self.arm(crash.as_ref()).await;
                let put = self.put(pieces(&text)).await;
                self.settle(put.map(drop), crash).await;
            }
            Op::Break(content) => {
                let text = self.text(&content);
                let broken = stream::once(async { Err(std::io::Error::other("gone")) });
                let put = self.put(pieces(&text).chain(broken).boxed()).await;
                assert!(matches!(put, Err(PutError::Stream(_))), "{put:?}");
            }
            Op::SlowPut(content, millis) => self.slow_put(&content, millis).await,
            Op::PutAndSweep(content, crash) => {
                let text = self.text(&content);
                self.arm(crash.as_ref()).await;
                let sweeper = self.sweeper.clone();
                let (put, swept) = tokio::join!(self.put(pieces(&text)), sweeper.sweep());
                let both = put.map(drop).map_err(|it| it.to_string());
                let both = both.and(swept.map(drop).map_err(|it| it.to_string()));
                self.settle(both, crash).await;
            }
            Op::Read(index) => {
                if let Some(digest) = self.pick(index) {
                    self.check(&digest).await;
                }
            }
            Op::ReadRange(index, from, to) => self.read_range(index, from, to).await,
            Op::Release(index) => {
                if let Some(digest) = self.pick(index) {
                    self.needed.0.lock().unwrap().remove(&digest);
                }
            }
            Op::Advance(millis) => {
                self.world.clock.advance(millis);
            }
            Op::Sweep(crash) => {
                self.arm(crash.as_ref()).await;
                let swept = self.sweeper.sweep().await;
                self.settle(swept.map(drop), crash).await;
            }
            Op::Reopen(crash) => self.reopen(crash).await,
        }
    }

    fn text(&mut self, content: &[u8]) -> Vec<u8> {
        let text: Vec<u8> = content
            .iter()
            .flat_map(|it| match it {
                0 => vec![0; 5000],
                // So little that its label is longer.
                1 => b"tiny".to_vec(),
                it => noise(3000 + usize::from(*it) * 500, u64::from(*it)),
            })
            .collect();
        self.sent.insert(Digest::of(&text), text.clone());
        text
    }

    /// Puts an object, and refers to it as soon as that is acknowledged.
    async fn put(&self, stream: ByteStream<'_>) -> Result<Stored, PutError> {
        let blobs: &Blobs = &self.world.blobs;
        let stored = blobs.put(stream, PutOptions::at_most(u64::MAX)).await?;
        self.needed.0.lock().unwrap().insert(stored.digest);
        Ok(stored)
    }

    async fn slow_put(&mut self, content: &[u8], millis: i64) {
        let text = self.text(content);
        // The first half is stored while the rest is waited for.
        let (first, rest) = text.split_at(text.len() / 2);
        let step = (first.len() / (2 * GATHERED)).max(1);
        let first: Vec<_> = first.chunks(step).map(Bytes::copy_from_slice).collect();
        let (sweeper, clock) = (self.sweeper.clone(), self.world.clock.clone());
        let rest = Bytes::copy_from_slice(rest);
        let rest = stream::once(async move {
            clock.advance(millis);
            sweeper.sweep().await.map_err(std::io::Error::other)?;
            Ok(rest)
        });
        let first = stream::iter(first.into_iter().map(Ok));
        match self.put(first.chain(rest).boxed()).await {
            Ok(_) => assert!(millis <= LEASE_MS / 2, "longer than chunks are promised"),
            Err(PutError::TooSlow { .. }) => assert!(millis > LEASE_MS / 2),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn pick(&self, index: usize) -> Option<Digest> {
        let mut needed: Vec<Digest> = self.needed.0.lock().unwrap().iter().copied().collect();
        needed.sort_unstable();
        (!needed.is_empty()).then(|| needed[index % needed.len()])
    }

    async fn read_range(&self, index: usize, from: usize, to: usize) {
        let Some(digest) = self.pick(index) else {
            return;
        };
        let text = &self.sent[&digest];
        let (one, other) = (from % (text.len() + 1), to % (text.len() + 1));
        let (from, to) = (one.min(other), one.max(other));
        let reader = self
            .world
            .blobs
            .get(&digest, Some(from as u64..to as u64))
            .await
            .unwrap();
        assert!(collect(reader.into_stream()).await.unwrap() == text[from..to]);
    }

    /// Reads an object that was sent: what is there is what was sent, and what is referred to is there.
    async fn check(&self, digest: &Digest) {
        let needed = self.needed.0.lock().unwrap().contains(digest);
        match self.world.blobs.get(digest, None).await {
            Ok(reader) => {
                let read = collect(reader.into_stream()).await.unwrap();
                assert!(read == self.sent[digest], "other bytes than were sent");
            }
            Err(GetError::NotFound(_)) => assert!(!needed, "{digest} is gone"),
            Err(other) => panic!("{other:?}"),
        }
    }

    async fn check_all(&self) {
        for digest in self.sent.keys() {
            self.check(digest).await;
        }
    }

    async fn arm(&self, crash: Option<&Crash>) {
        match crash {
            Some(Crash::Pack { change, untold }) => self.faults.end_at(*change, *untold),
            Some(Crash::Row { table, verb }) => {
                let sql = format!(
                    "CREATE TRIGGER crash BEFORE {verb} ON {table} BEGIN SELECT RAISE(ABORT, 'crash'); END"
                );
                self.execute(sql).await;
            }
            None => {}
        }
    }

    /// Goes on after an operation: one that failed ended the process.
    async fn settle<E: std::fmt::Debug>(&mut self, result: Result<(), E>, crash: Option<Crash>) {
        match (result, crash) {
            (Err(error), None) => panic!("{error:?}"),
            (_, None) => {}
            // The fault is not for whoever comes next, whether it happened or not.
            (_, Some(_)) => self.reopen(None).await,
        }
    }

    /// Loses what may be lost, and begins again as the next process does.
    async fn reopen(&mut self, crash: Option<Crash>) {
        self.execute("DROP TRIGGER IF EXISTS crash".to_owned())
            .await;
        self.lose_power().await;
        for crash in [crash, None] {
            self.faults = Faults::default();
            let root = self.world.directory.path().join("blobs");
            let db = self.world.db.clone();
            self.world.blobs = Blobs::on_disk_with_faults(db, root, SMALL, self.faults.clone())
                .await
                .unwrap();
            self.arm(crash.as_ref()).await;
            let recovered = self.world.blobs.recover().await;
            self.execute("DROP TRIGGER IF EXISTS crash".to_owned())
                .await;
            assert!(crash.is_some() || recovered.is_ok(), "{recovered:?}");
        }
        let needed: Arc<Needed> = self.needed.clone();
        let sweeper = Sweeper::new(self.world.blobs.clone(), vec![needed], GRACE);
        self.sweeper = Arc::new(sweeper);
        self.check_all().await;
    }

    /// Overwrites everything that no one waited for.
    async fn lose_power(&self) {
        for lost in self.faults.unsettled() {
            let name = self.world.db.read("name", move |tx| {
                let sql = "SELECT name FROM blob_pack WHERE id = $1";
                tx.query_opt(sql, &[lost.pack.into()])?
                    .map(|it| it.text("name"))
                    .transpose()
            });
            let name: Result<_, rave_store::Error> = name.await;
            let Some(name) = name.unwrap() else { continue };
            let path = self.world.directory.path().join("blobs/packs");
            let path = path.join(format!("{name}.pack"));
            if let Ok(file) = std::fs::OpenOptions::new().write(true).open(path) {
                let nothing = vec![0; usize::try_from(lost.length_bytes).unwrap()];
                file.write_all_at(&nothing, lost.position).unwrap();
            }
        }
    }

    async fn execute(&self, sql: String) {
        let done: Result<_, rave_store::Error> = self
            .world
            .db
            .write("test", move |tx| tx.execute(&sql, &[]).map(drop))
            .await;
        done.unwrap();
    }

    async fn sweep_after_lease(&self) -> Swept {
        self.world.clock.advance(LEASE_MS + 700_000);
        self.sweeper.sweep().await.unwrap()
    }

    async fn end(&mut self) {
        for _ in 0..6 {
            self.sweep_after_lease().await;
        }
        self.check_all().await;
        assert_eq!(
            self.sweep_after_lease().await,
            Swept::default(),
            "the store does not come to rest"
        );
        self.reopen(None).await;
        let verified = self.world.blobs.verify(false, |_| {}).await.unwrap();
        assert!(
            verified.is_sound() && verified.strays.is_empty(),
            "{verified:?}"
        );
        self.needed.0.lock().unwrap().clear();
        for _ in 0..4 {
            self.sweep_after_lease().await;
        }
        assert!(self.world.packs().is_empty(), "{:?}", self.world.packs());
        let rows = self.world.db.read("count", |tx| {
            let sql =
                "SELECT (SELECT COUNT(*) FROM blob_object) + (SELECT COUNT(*) FROM blob_chunk)
                + (SELECT COUNT(*) FROM blob_pack) AS n";
            tx.query_one(sql, &[])?.int("n")
        });
        let rows: Result<i64, rave_store::Error> = rows.await;
        assert_eq!(rows.unwrap(), 0);
    }
}
