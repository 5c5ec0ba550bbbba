//! What happens without a request: repositories come and go with their projects, pushes that a crash cut off are
//! recorded, and packs are kept few.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use rave_core::event::{Event, EventKind};
use rave_core::id::ProjectId;
use rave_store::{
    Consumer, Engine, Error as StoreError, HandleError, Progress, StepError, Worker, run_worker,
};
use tokio_util::sync::CancellationToken;

use crate::error::GitError;
use crate::repository::clear_locks;
use crate::service::Git;
use crate::store::{self, OpenPush};
use crate::sync::Scope;

/// How long the pushes of a process that died stay its own, where several processes share a database.
const LEASE_MS: i64 = 15_000;
/// How many pushes make a repository worth repacking.
const PUSHES: i64 = 20;
const REPACK_DEADLINE: Duration = Duration::from_secs(30 * 60);

/// Runs all workers until `shutdown`.
pub(crate) async fn run(git: &Arc<Git>, shutdown: CancellationToken) {
    let kinds = &[
        EventKind::ProjectCreated,
        EventKind::ProjectUpdated,
        EventKind::ProjectDeleted,
    ];
    let handler = |event: Event| {
        let git = git.clone();
        async move { handle(&git, event).await }
    };
    let projects = Consumer::new(git.db.clone(), "git-repositories").kinds(kinds);
    tokio::join!(
        projects.run(handler, shutdown.clone()),
        run_worker(Recovery(git.clone()), shutdown.clone()),
        run_worker(Maintenance(git.clone()), shutdown),
    );
}

/// Does to the repository what happened to its project.
async fn handle(git: &Git, event: Event) -> Result<(), HandleError> {
    let Some(project) = event.what.project else {
        return Ok(());
    };
    let done = match event.what.kind {
        EventKind::ProjectDeleted => delete(git, project).await,
        _ => match git.directory.load_project(project).await {
            Ok(Some(project)) => git.repositories.point_head(&git.runner, &project).await,
            Ok(None) => Ok(()),
            Err(error) => Err(error.into()),
        },
    };
    done.map_err(|it| HandleError::Transient(it.into()))
}

async fn delete(git: &Git, project: ProjectId) -> Result<(), GitError> {
    git.repositories.remove(project).await?;
    let forgotten: Result<(), StoreError> = git
        .db
        .write("git_forget", move |tx| store::forget_project(tx, project))
        .await;
    Ok(forgotten?)
}

/// Records what pushes did whose process died, or whose recording failed.
struct Recovery(Arc<Git>);

impl Worker for Recovery {
    fn name(&self) -> &'static str {
        "git-recovery"
    }

    async fn step(&mut self) -> Result<Progress, StepError> {
        let git = &self.0;
        let open = orphans(git).await?;
        let mut progress = Progress::Idle;
        for push in open {
            if recover(git, &push)
                .await
                .map_err(|it| StepError::new(format!("cannot record push {}", push.id), it))?
            {
                progress = Progress::Worked;
            }
        }
        Ok(progress)
    }

    async fn wait(&mut self) {
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
}

/// Lists the pushes that no living process answers for.
async fn orphans(git: &Git) -> Result<Vec<OpenPush>, StoreError> {
    let own = git.db.holder().to_owned();
    let alone = git.db.engine() == Engine::Sqlite;
    let open = git
        .db
        .write::<_, StoreError, _>("git_orphans", move |tx| {
            if !alone {
                tx.try_lease(&lease(&own), &own, LEASE_MS)?;
            }
            let mut orphans = Vec::new();
            for push in store::open_pushes(tx)? {
                // Whoever can take a process's lease knows that it is gone.
                let ours = push.holder == own
                    || alone
                    || tx.try_lease(&lease(&push.holder), &own, LEASE_MS)?;
                orphans.extend(ours.then_some(push));
            }
            Ok(orphans)
        })
        .await?;
    Ok(open
        .into_iter()
        .filter(|it| !git.is_active(it.id))
        .collect())
}

fn lease(holder: &str) -> String {
    format!("git-process:{holder}")
}

/// Records one push. Returns whether it could: not while git, which outlived its server, is still at work.
async fn recover(git: &Arc<Git>, push: &OpenPush) -> Result<bool, GitError> {
    let gate = git.repositories.gate(push.project);
    let Ok(_alone) = gate.pushes.try_write() else {
        return Ok(false);
    };
    let path = git.repositories.receiving(push.id);
    // Gone when the push never came so far.
    let held = File::open(&path).is_ok_and(|it| it.try_lock().is_err());
    if held {
        return Ok(false);
    }
    match git.directory.load_project(push.project).await? {
        None => delete(git, push.project).await?,
        Some(project) => {
            let repository = git.repository(&project).await?;
            let cleared = clear_locks(&repository)?;
            let events = git
                .record_refs(&project, Scope::All, push.occasion.clone(), vec![push.id])
                .await?;
            tracing::warn!(
                project.id = project.id.0,
                push.id,
                cleared,
                moved = events.len(),
                "recorded a push that was cut off"
            );
        }
    }
    let _ = std::fs::remove_file(&path);
    Ok(true)
}

/// Keeps packs few, so that fetches stay quick: a geometric repack writes about as much as was pushed.
struct Maintenance(Arc<Git>);

impl Worker for Maintenance {
    fn name(&self) -> &'static str {
        "git-maintenance"
    }

    async fn step(&mut self) -> Result<Progress, StepError> {
        crate::pages::forget_syntaxes();
        let git = &self.0;
        let next = git
            .db
            .read::<_, StoreError, _>("git_most_pushed", |tx| store::most_pushed(tx, PUSHES))
            .await?;
        let Some((project, pushes)) = next else {
            return Ok(Progress::Idle);
        };
        let packed = maintain(git, project).await;
        // A repository that cannot be repacked must not keep the others waiting; its next pushes make it come again.
        if let Err(error) = packed {
            tracing::warn!(project.id = project.0, error = %rave_http::error::chain(&error), "cannot repack a repository");
        }
        git.db
            .write::<_, StoreError, _>("git_maintained", move |tx| {
                store::maintained(tx, project, pushes)
            })
            .await?;
        Ok(Progress::Worked)
    }

    async fn wait(&mut self) {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
}

async fn maintain(git: &Git, project: ProjectId) -> Result<(), GitError> {
    let repository = git.repositories.path(project);
    let steps: [(&'static str, &[&str]); 3] = [
        ("pack-refs", &["pack-refs", "--all", "--prune"]),
        (
            "repack",
            &["repack", "-d", "-q", "--geometric=2", "--write-midx"],
        ),
        (
            "commit-graph",
            &[
                "commit-graph",
                "write",
                "--reachable",
                "--changed-paths",
                "--no-progress",
            ],
        ),
    ];
    for (name, arguments) in steps {
        let limits = (64 << 10, REPACK_DEADLINE);
        git.runner
            .run_with(&repository, name, arguments, Vec::new(), limits.0, limits.1)
            .await?
            .need(name)?;
    }
    Ok(())
}
