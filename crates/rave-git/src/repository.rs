//! Repositories on disk: where they are, how they come and go, and who may work on one at the same time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rave_core::id::ProjectId;
use rave_core::name::RefName;
use rave_core::permission::Project;

use crate::error::GitError;
use crate::git::command::Runner;
use crate::git::refs;

/// All repositories.
#[derive(Debug)]
pub(crate) struct Repositories {
    root: PathBuf,
    gates: Mutex<HashMap<ProjectId, Arc<Gate>>>,
}

/// Who may work on a repository at the same time.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// Held shared while a push is received, exclusively while remains of dead ones are cleared away.
    pub(crate) pushes: Arc<tokio::sync::RwLock<()>>,
    /// Held from reading references to recording them, so that an older reading never overwrites a newer one.
    pub(crate) recording: tokio::sync::Mutex<()>,
}

impl Repositories {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self {
            root,
            gates: Mutex::default(),
        }
    }

    /// Returns where a project's repository is: `<root>/<xx>/<id>.git`.
    pub(crate) fn path(&self, project: ProjectId) -> PathBuf {
        self.root
            .join(format!("{:02x}", project.0 & 0xff))
            .join(format!("{project}.git"))
    }

    /// Returns the file that a push's child holds open, and locked, as long as it lives.
    pub(crate) fn receiving(&self, push: i64) -> PathBuf {
        self.root.join("receiving").join(push.to_string())
    }

    /// Returns the project's gate.
    pub(crate) fn gate(&self, project: ProjectId) -> Arc<Gate> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        // Gates that nobody holds are dropped now and then, so that the map is as large as the work.
        if gates.len() > 256 {
            gates.retain(|_, it| Arc::strong_count(it) > 1);
        }
        gates.entry(project).or_default().clone()
    }

    /// Makes the directories that all repositories share.
    pub(crate) fn prepare(&self) -> Result<(), GitError> {
        let directory = self.root.join("receiving");
        std::fs::create_dir_all(&directory)
            .map_err(|it| GitError::files(format!("make {}", directory.display()), it))
    }

    /// Returns the project's repository, made if it is not there yet.
    pub(crate) async fn ensure(
        &self,
        runner: &Runner,
        project: &Project,
    ) -> Result<PathBuf, GitError> {
        let path = self.path(project.id);
        if tokio::fs::try_exists(path.join("HEAD"))
            .await
            .unwrap_or(false)
        {
            return Ok(path);
        }
        let failed = |source| GitError::files(format!("make {}", path.display()), source);
        let parent = path.parent().unwrap_or(&self.root).to_owned();
        tokio::fs::create_dir_all(&parent).await.map_err(failed)?;
        // Made aside and moved into place: a repository is there as a whole or not at all.
        let fresh = parent.join(format!("new-{}-{}", project.id, uuid::Uuid::now_v7()));
        let branch = format!("--initial-branch={}", project.default_branch);
        let made = fresh.display().to_string();
        let arguments = [
            "init",
            "--quiet",
            "--bare",
            "--template=",
            &branch,
            "--",
            &made,
        ];
        runner.run(&parent, "init", arguments).await?.need("init")?;
        let moved = tokio::fs::rename(&fresh, &path).await;
        if moved.is_err() {
            // Someone else was faster, or the disk refuses: then the repository is not there.
            let _ = tokio::fs::remove_dir_all(&fresh).await;
            if !tokio::fs::try_exists(path.join("HEAD"))
                .await
                .unwrap_or(false)
            {
                moved.map_err(failed)?;
            }
        }
        Ok(path)
    }

    /// Lets `HEAD` lead to the project's default branch.
    pub(crate) async fn point_head(
        &self,
        runner: &Runner,
        project: &Project,
    ) -> Result<(), GitError> {
        let path = self.ensure(runner, project).await?;
        let wanted = format!("refs/heads/{}", project.default_branch);
        let head = tokio::fs::read_to_string(path.join("HEAD")).await;
        let is_there = head.is_ok_and(|it| it.trim() == format!("ref: {wanted}"));
        match RefName::parse(&wanted) {
            Ok(branch) if !is_there => refs::set_head(runner, &path, &branch).await,
            _ => Ok(()),
        }
    }

    /// Removes a project's repository.
    pub(crate) async fn remove(&self, project: ProjectId) -> Result<(), GitError> {
        let path = self.path(project);
        // Moved aside first, so that nobody sees half a repository.
        let gone = self.root.join(format!("removed-{project}"));
        let failed = |source| GitError::files(format!("remove {}", path.display()), source);
        match tokio::fs::rename(&path, &gone).await {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        match tokio::fs::remove_dir_all(&gone).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(()),
        }
    }
}

/// Removes the lock files that a killed `git receive-pack` left. The caller knows that none is alive.
pub(crate) fn clear_locks(repository: &Path) -> Result<usize, GitError> {
    let mut cleared = 0;
    let mut directories = vec![repository.join("refs")];
    let mut remove = |path: PathBuf| {
        std::fs::remove_file(&path)
            .map_err(|it| GitError::files(format!("remove {}", path.display()), it))
            .map(|()| cleared += 1)
    };
    for name in [
        "packed-refs.lock",
        "HEAD.lock",
        "config.lock",
        "shallow.lock",
    ] {
        let path = repository.join(name);
        if path.exists() {
            remove(path)?;
        }
    }
    while let Some(directory) = directories.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|it| it == "lock") {
                remove(path)?;
            }
        }
    }
    let quarantines = std::fs::read_dir(repository.join("objects"));
    for entry in quarantines.into_iter().flatten().flatten() {
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with("tmp_objdir-incoming-")
        {
            // Objects of a push that never happened; git would remove them after two weeks.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    Ok(cleared)
}
