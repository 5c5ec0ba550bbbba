//! Clients that vanish, servers that die, and what is found afterwards.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use rave_core::event::{EventKind, NewEvent};
use rave_core::permission::Visibility;
use rave_store::params;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::server::{Place, Server, Work, blocking, fsck, git_in, pushes};

crate::on_both_engines!(what_a_dead_server_did_not_record_is_recorded);

/// Asks until the answer is yes, with a deadline.
async fn until(mut ask: impl AsyncFnMut() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let all = async {
        while !ask().await {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all)
        .await
        .expect("this happens soon");
}

async fn open_pushes(db: &rave_store::Db) -> i64 {
    db.read::<_, rave_store::Error, _>("test", |tx| {
        tx.query_one("SELECT COUNT(*) AS n FROM git_push", &[])?
            .int("n")
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_vanishes_leaves_a_sound_repository() {
    let server = Server::start().await;
    let project = server.project("team/app");
    let work = server.work("owner", "team/app");
    let pusher = work.clone();
    blocking(move || pusher.git(["push", "-q", "origin", "main"]).ok()).await;
    let before = work.head();
    let noise: Vec<u8> = (0..3_000_000_u32)
        .map(|it| (it.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    std::fs::write(work.0.join("noise"), noise).unwrap();
    let after = work.commit("more", "x");

    let pack = {
        let mut child = git_in(&work.0, ["pack-objects", "--revs", "--stdout", "-q"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(format!("{after}\n^{before}\n").as_bytes())
            .unwrap();
        child.wait_with_output().unwrap().stdout
    };
    let command = format!("{before} {after} refs/heads/main\0 report-status side-band-64k");
    let head = format!("{:04x}{command}0000", command.len() + 4);
    let address = server.address;
    blocking(move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let length = head.len() + pack.len();
        let request = format!(
            "POST /team/app.git/git-receive-pack HTTP/1.1\r\nHost: x\r\nPRIVATE-TOKEN: owner\r\nContent-Length: {length}\r\n\
             Content-Type: application/x-git-receive-pack-request\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&pack[..pack.len() / 2]).unwrap();
        // And gone.
    })
    .await;
    let db = server.db.clone();
    until(async || open_pushes(&db).await == 0).await;
    let repository = server.place.repository(&project);
    fsck(&repository);
    let left: Vec<_> = std::fs::read_dir(repository.join("objects"))
        .unwrap()
        .flatten()
        .filter(|it| it.file_name().to_string_lossy().starts_with("tmp_"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(server.pushes().await.len(), 1);
    blocking(move || work.git(["push", "-q", "origin", "main"]).ok()).await;
    assert_eq!(
        server.pushes().await.len(),
        2,
        "the same push succeeds later"
    );
}

async fn what_a_dead_server_did_not_record_is_recorded(place: Place) {
    let project = place.fake.add("team/app", Visibility::Private);
    let place = {
        let server = place.serve().await;
        let work = server.work("owner", "team/app");
        blocking(move || work.git(["push", "-q", "origin", "main"]).ok()).await;
        assert_eq!(server.pushes().await.len(), 1);
        // The server dies while git is at work: the row is there, the references move, nobody records it.
        server.stop().await;
        server.place.clone()
    };
    let repository = place.repository(&project);
    let work = Work::new(place.directory.path());
    work.git(["clone", "-q", &repository.display().to_string(), "."])
        .ok();
    let after = work.commit("late", "x");
    work.git(["push", "-q", "origin", "main:main", "main:other"])
        .ok();
    std::fs::write(repository.join("refs/heads/main.lock"), "").unwrap();
    let (db, git) = place.git().await;
    db.write::<_, rave_store::Error, _>("test", |tx| {
        tx.execute(
            "INSERT INTO git_push (id, project_id, user_id, options, holder, started_at) VALUES (77, 1, 3, '[\"ci.skip\"]', 'dead', 0)",
            params![],
        )
    })
    .await
    .unwrap();

    // Git outlived the server and still holds its error output: nothing is recorded yet.
    let held = std::fs::File::create(place.directory.path().join("repos/receiving/77")).unwrap();
    held.lock_shared().unwrap();
    let shutdown = CancellationToken::new();
    let workers = TaskTracker::new().spawn(git.run_workers(shutdown.clone()));
    let waited = tokio::time::timeout(
        Duration::from_millis(300),
        until(async || open_pushes(&db).await == 0),
    )
    .await;
    assert!(
        waited.is_err() && pushes(&db).await.len() == 1,
        "git is still at work"
    );
    drop(held);
    until(async || open_pushes(&db).await == 0).await;
    let found = pushes(&db).await;
    let mut late: Vec<_> = found[1..]
        .iter()
        .map(|it| (it.reference.as_str(), it.after.as_str(), it.user))
        .collect();
    late.sort_unstable();
    assert_eq!(
        late,
        [
            ("refs/heads/main", after.as_str(), Some(3)),
            ("refs/heads/other", after.as_str(), Some(3))
        ]
    );
    assert_eq!(found[1].options, ["ci.skip"]);
    assert!(
        !repository.join("refs/heads/main.lock").exists(),
        "the dead push's lock is gone"
    );
    shutdown.cancel();
    workers.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_nothing_is_received() {
    let server = Server::start().await;
    server.project("team/app");
    let work = server.work("owner", "team/app");
    server.db.close().await;
    let said = blocking(move || work.git(["push", "origin", "main"]).fails()).await;
    assert!(said.contains("50"), "{said}");
    let mut file = String::new();
    let head = server
        .place
        .directory
        .path()
        .join("repos/01/1.git/packed-refs");
    let _ = std::fs::File::open(head).map(|mut it| it.read_to_string(&mut file));
    assert!(!file.contains("refs/heads/main"));
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_are_packed_and_go_with_their_projects() {
    let server = Server::start().await;
    let project = server.project("team/app");
    let work = server.work("owner", "team/app");
    for number in 0..3 {
        work.commit("a", &number.to_string());
        let pusher = work.clone();
        blocking(move || pusher.git(["push", "-q", "origin", "main"]).ok()).await;
    }
    server.stop().await;
    let place = server.place.clone();
    let (db, git) = place.git().await;
    db.write::<_, rave_store::Error, _>("test", |tx| {
        tx.execute("UPDATE git_repository SET pushes = 50", params![])
    })
    .await
    .unwrap();
    let shutdown = CancellationToken::new();
    let workers = TaskTracker::new().spawn(git.run_workers(shutdown.clone()));
    until(async || {
        let left = db.read::<_, rave_store::Error, _>("test", |tx| {
            tx.query_one("SELECT pushes FROM git_repository", &[])?
                .int("pushes")
        });
        left.await.unwrap() == 0
    })
    .await;
    let repository = place.repository(&project);
    fsck(&repository);
    assert!(
        repository.join("objects/pack/multi-pack-index").exists(),
        "one index for all packs"
    );
    assert!(repository.join("packed-refs").exists());
    let packs = std::fs::read_dir(repository.join("objects/pack"))
        .unwrap()
        .flatten();
    let bitmaps = packs.filter(|it| it.path().extension().is_some_and(|it| it == "bitmap"));
    assert_eq!(bitmaps.count(), 1, "clones need not walk the history");
    let clone = Work::new(place.directory.path());
    clone
        .git(["clone", "-q", &repository.display().to_string(), "."])
        .ok();
    assert_eq!(clone.head(), work.head());

    place.fake.projects.lock().unwrap().clear();
    db.write::<_, rave_store::Error, _>("test", move |tx| {
        tx.append(NewEvent::new(EventKind::ProjectDeleted, "project/1").project(project.id))
            .map(drop)
    })
    .await
    .unwrap();
    until(async || !repository.exists()).await;
    shutdown.cancel();
    workers.await.unwrap();
    let left = db
        .read::<_, rave_store::Error, _>("test", |tx| tx.query("SELECT 1 AS n FROM git_ref", &[]));
    assert!(left.await.unwrap().is_empty());
}
