//! A process that is killed while it puts: what it acknowledged is there, what is visible is whole.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    sync::Arc,
};

use rave_blob::{BlobStore, Digest, DiskStore};
use rave_core::time::SystemClock;

use crate::{Place, files_in, put};

/// Where the child finds its directory; only the child has it.
const VARIABLE: &str = "RAVE_TEST_BLOBS";
const MARK: &str = "acknowledged ";
const ENOUGH: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_loses_nothing() {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test that is its own child has no other way to be told"
    )]
    if let Ok(root) = std::env::var(VARIABLE) {
        put_forever(&root).await;
        return;
    }
    let place = Place::new().await;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "crash::a_killed_process_loses_nothing",
            "--exact",
            "--nocapture",
        ])
        .env(VARIABLE, place.root())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let acknowledged = tokio::task::spawn_blocking(move || {
        let mut digests = Vec::new();
        for line in output.lines() {
            if let Some(digest) = line.unwrap().strip_prefix(MARK) {
                digests.push(digest.parse::<Digest>().unwrap());
            }
            if digests.len() == ENOUGH {
                // SIGKILL; lines that were written before it still arrive.
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        digests
    });
    let acknowledged = acknowledged.await.unwrap();
    assert!(acknowledged.len() >= ENOUGH);
    // The killed puts were cut at any point, with several under way.
    let store = DiskStore::open(place.root(), Arc::new(SystemClock))
        .await
        .unwrap();
    assert_eq!(files_in(&place.root().join("tmp")), 0);
    for digest in &acknowledged {
        assert!(store.contains(digest).await.unwrap(), "lost {digest}");
    }
    for entry in store.list(None, usize::MAX).await.unwrap() {
        store.verify(&entry.digest).await.unwrap();
    }
}

async fn put_forever(root: &str) {
    let store = DiskStore::open(root, Arc::new(SystemClock)).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..4_u32 {
        let store = store.clone();
        tasks.spawn(async move {
            for number in 0_u32.. {
                let content = [task.to_le_bytes(), number.to_le_bytes()]
                    .concat()
                    .repeat(50_000);
                let object = put(&store, &content, u64::MAX).await.unwrap();
                // One write per line: half a line is no acknowledgement.
                let line = format!("\n{MARK}{}\n", object.digest);
                std::io::stdout().write_all(line.as_bytes()).unwrap();
            }
        });
    }
    tasks.join_all().await;
}

/// The moment between the last write and the rename leaves a whole file in `tmp/`; it was never promised to anyone.
#[tokio::test]
async fn what_was_written_but_not_renamed_is_removed() {
    let place = Place::new().await;
    std::fs::write(place.root().join("tmp/put-abc"), "complete").unwrap();
    let store = DiskStore::open(place.root(), Arc::new(SystemClock))
        .await
        .unwrap();
    assert_eq!(files_in(&place.root().join("tmp")), 0);
    assert!(!store.contains(&Digest::of(b"complete")).await.unwrap());
    let object = put(&store, b"complete", 100).await.unwrap();
    store.verify(&object.digest).await.unwrap();
}
