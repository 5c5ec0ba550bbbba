//! One command's view of a project: where it is, what the event is, and the compiled file.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rave_ci_lang::{
    Compiled, Diagnostic, Diagnostics, Limits, Linted, Recording, SourceFile, Tree as _,
};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::arguments::{EventArgs, PlaceArgs};
use super::env_file;
use super::git::{Git, remote_project};
use super::occasion::{Local, Occasion};
use super::plan_cache::Slot;
use super::remote::{Fetcher, cache_directory};
use super::tree::{Changes, WorkingTree};
use crate::failure::hinted;

const FILE: &str = ".gitlab-ci.yml";
/// The author's own machine bears more than a server that everyone pushes to.
const JOBS: usize = 10_000;
const NODES: usize = 5_000_000;

/// A project on this machine and an event.
#[derive(Debug)]
pub(crate) struct Session {
    /// Top of the project.
    pub(crate) root: PathBuf,
    pub(crate) git: Option<Git>,
    /// Path of the file from the top.
    pub(crate) file: String,
    pub(crate) text: String,
    pub(crate) occasion: Occasion,
    pub(crate) tree: WorkingTree,
    pub(crate) limits: Limits,
    /// Where plans are kept. `None`: they are not.
    plans: Option<PathBuf>,
}

impl Session {
    /// Finds the project and reads what the event would be.
    pub(crate) fn open(place: &PlaceArgs, event: &EventArgs) -> anyhow::Result<Self> {
        let file = place.file.clone().unwrap_or_else(|| FILE.to_owned());
        let start = place.cwd.clone().unwrap_or_else(|| PathBuf::from("."));
        let start = start
            .canonicalize()
            .with_context(|| format!("cannot work in {}", start.display()))?;
        let root = find_root(&start, &file).to_owned();
        let repository = start.ancestors().any(|it| it.join(".git").exists());
        let git = repository.then(|| Git::new(&root));
        // A directory that the repository around it ignores is none of it.
        let git = git.filter(|it| root.join(".git").exists() || !it.ignores_directory());
        let text = read_file(&root, &file)?;
        let (head, settings) = git.as_ref().map(Git::facts).unwrap_or_default();
        let directory = root.file_name().map(|it| it.to_string_lossy().into_owned());
        let occasion = Local {
            args: event,
            directory: directory.as_deref().unwrap_or("project"),
            file: &file,
            head: &head,
            settings: &settings,
            project_variables: env_file::read(&root)?,
        }
        .occasion()?;
        let changes = match &event.changes {
            Some(paths) => Changes::Given(paths.clone()),
            None if occasion.event.has_range() => Changes::Since(occasion.target.clone()),
            None => Changes::Unknown,
        };
        let mut projects = Vec::new();
        if let Some(own) = settings.remote_url.as_deref().and_then(remote_project) {
            projects.push((own.path, root.clone()));
        }
        for (path, directory) in &place.projects {
            let found = PathBuf::from(directory);
            let found = found.canonicalize().with_context(|| {
                format!("--project {path}={directory}: there is no such directory")
            })?;
            projects.push((path.clone(), found));
        }
        let mut limits = Limits {
            jobs: JOBS,
            nodes: NODES,
            ..Limits::default()
        };
        for (key, value) in &place.limits {
            limits.set(key, *value);
        }
        let cache = cache_directory().map(|it| it.join("remote"));
        let fetcher = Fetcher::new(cache, place.offline, limits.file_bytes);
        let tree = WorkingTree::new(&root, git.clone(), changes, projects, fetcher);
        Ok(Self {
            root,
            git,
            file,
            text,
            occasion,
            tree,
            limits,
            plans: cache_directory()
                .filter(|_| !place.no_cache)
                .map(|it| it.join("plans")),
        })
    }

    pub(crate) fn source(&self) -> SourceFile<'_> {
        SourceFile {
            path: &self.file,
            text: &self.text,
        }
    }

    /// Compiles the file for the event, unless nothing has changed since it was compiled the last time.
    pub(crate) fn compile(&self) -> Result<Compiled, Diagnostics> {
        self.part_of_plan("plan", |it| it)
    }

    /// Compiles the file like [`Session::compile`], for a part of the plan that is kept by itself, under the name `kind`.
    pub(crate) fn part_of_plan<T: Serialize + DeserializeOwned>(
        &self,
        kind: &str,
        part: impl FnOnce(Compiled) -> T,
    ) -> Result<T, Diagnostics> {
        let (source, context) = (self.source(), &self.occasion.context);
        let slot = self
            .plans
            .as_ref()
            .and_then(|it| Slot::new(it, kind, &source, context, &self.limits));
        if let Some(known) = slot.as_ref().and_then(|it| it.load(&self.tree)) {
            return Ok(known);
        }
        let recording = Recording::new(&self.tree);
        let compiled = rave_ci_lang::compile(&source, context, &recording, &self.limits)?;
        let part = part(compiled);
        if let Some(slot) = slot {
            let answers = recording.into_answers();
            // An included file may ask for what is never the same.
            if !answers.mention("CI_PIPELINE_CREATED_AT") {
                slot.store(answers.fingerprints(), &part);
            }
        }
        Ok(part)
    }

    /// Compiles the file, and also returns it merged.
    pub(crate) fn lint(&self) -> Linted {
        rave_ci_lang::lint(
            &self.source(),
            &self.occasion.context,
            &self.tree,
            &self.limits,
        )
    }

    /// Compiles the file as it was at a commit, for the same event. `None`: there was none.
    ///
    /// # Errors
    /// When there is no such commit.
    pub(crate) fn compile_at(
        &self,
        reference: &str,
    ) -> anyhow::Result<Option<Result<Compiled, Diagnostics>>> {
        let commit = self.git.as_ref().and_then(|it| it.commit_of(reference));
        let commit = commit.ok_or_else(|| {
            let hint = "name a branch, a tag or a commit of this repository";
            hinted(format!("there is no commit {reference}"), hint, None)
        })?;
        let tree = self.tree.at(commit);
        let Some(text) = tree.read(&self.file) else {
            return Ok(None);
        };
        let source = SourceFile {
            path: &self.file,
            text: &text,
        };
        let context = &self.occasion.context;
        Ok(Some(rave_ci_lang::compile(
            &source,
            context,
            &tree,
            &self.limits,
        )))
    }

    /// Returns the failure of a file that is not valid: all that is wrong, and what to do about files that are elsewhere.
    pub(crate) fn invalid(&self, errors: &Diagnostics) -> anyhow::Error {
        let shown: Vec<String> = errors.iter().map(Diagnostic::render).collect();
        let text = format!(
            "{} is not valid\n\n{}",
            self.file,
            shown.join("\n").trim_end()
        );
        match self.tree.missing_projects().first() {
            Some(project) => hinted(
                text,
                format!("say where the files of {project} are: --project {project}=DIR"),
                None,
            ),
            None => anyhow::Error::msg(text),
        }
    }
}

/// Returns the nearest directory with the file or a repository, or else the first one.
fn find_root<'a>(start: &'a Path, file: &str) -> &'a Path {
    let mut above = start.ancestors();
    let found = above.find(|it| it.join(file).is_file() || it.join(".git").exists());
    found.unwrap_or(start)
}

fn read_file(root: &Path, file: &str) -> anyhow::Result<String> {
    let path = root.join(file);
    match std::fs::read(&path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) => {
            let hint = "work in the project, or name the file with --file or the directory with -C";
            let text = format!("cannot read {}", path.display());
            Err(hinted(text, hint, Some(error.into())))
        }
    }
}
