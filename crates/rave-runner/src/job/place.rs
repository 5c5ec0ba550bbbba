//! The directories of a job: where they are for the runner, and where the job sees them.

use std::fs;
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use crate::exec::Layout;
use crate::files::tree::{Relative, Tree};
use crate::variables::Variables;
use crate::wire::Job;

/// Where working copies are in a sandbox: the same in every slot, so that tools which record paths find their caches.
const INSIDE: &str = "/builds";

/// What a job sees as `/tmp`, beside its file variables, whose names have no dot. It stays from the job's first script to
/// its last.
const SCRATCH: &str = ".tmp";

/// Where a slot keeps what a job changes in its image.
const IMAGE: &str = ".image";

/// The directories of one job.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The working copy and the directory beside it, as the runner sees them.
    project: PathBuf,
    temporary: PathBuf,
    /// What both are below.
    base: PathBuf,
    /// The same as the job sees them.
    pub(crate) job_builds: String,
    pub(crate) job_project: String,
    pub(crate) job_temporary: String,
    owner: Option<u32>,
}

impl Place {
    /// Chooses the directories of a job in one slot.
    ///
    /// Where jobs do not see the path, it has the project's number, so that a project that takes over another's name does not
    /// take over its files; and jobs of protected refs have a working copy of their own, in which no other job planted
    /// anything.
    pub(crate) fn new(builds: &Path, slot: usize, job: &Job, layout: Layout) -> Self {
        let info = &job.job_info;
        let named = Relative::new(Path::new(&info.project_full_path));
        let numbered = || PathBuf::from(format!("project-{}", info.project_id));
        let name = named.map_or_else(numbered, |it| it.as_path().to_owned());
        let slot_dir = builds.join(slot.to_string());
        let protected = if job.git_info.protected {
            "-protected"
        } else {
            ""
        };
        let (base, job_builds) = match layout.disposable {
            true => (
                slot_dir.join(format!("{}{protected}", info.project_id)),
                PathBuf::from(INSIDE),
            ),
            false => (slot_dir.clone(), slot_dir),
        };
        Self::below(&base, &job_builds, &name, layout.owner)
    }

    /// Chooses the directories for fetching into the store of objects in `dir`.
    pub(crate) fn of_store(dir: &Path, owner: Option<u32>) -> Self {
        // An executor may keep something beside what all places of a project are below.
        let base = dir.join("fetch");
        Self::below(&base, Path::new(INSIDE), Path::new("repo"), owner)
    }

    fn below(base: &Path, job_builds: &Path, name: &Path, owner: Option<u32>) -> Self {
        let beside = |base: &Path| base.join(format!("{}.tmp", name.display()));
        Self {
            project: base.join(name),
            temporary: beside(base),
            job_project: job_builds.join(name).display().to_string(),
            job_temporary: beside(job_builds).display().to_string(),
            job_builds: job_builds.display().to_string(),
            base: base.to_owned(),
            owner,
        }
    }

    /// Moves to the directory that the job asks for, as the job sees it. `None` when it is not below [`Self::job_builds`].
    pub(crate) fn moved(&self, path: &str) -> Option<Self> {
        let below = Path::new(path).strip_prefix(&self.job_builds).ok()?;
        let name = Relative::new(below)?;
        let job_builds = Path::new(&self.job_builds);
        Some(Self::below(
            &self.base,
            job_builds,
            name.as_path(),
            self.owner,
        ))
    }

    /// Returns where the working copy is for the runner.
    pub(crate) fn project(&self) -> &Path {
        &self.project
    }

    /// Returns where the file variables are for the runner.
    pub(crate) fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Makes the directories and writes the file variables.
    pub(crate) fn prepare(&self, empty: bool, variables: &Variables) -> io::Result<()> {
        let foreign =
            |meta: &fs::Metadata| !meta.is_dir() || self.owner.is_some_and(|it| it != meta.uid());
        match fs::symlink_metadata(&self.project) {
            // Files of another user, as after a change of the configuration, would only be in the way.
            Ok(meta) if empty || foreign(&meta) => remove_tree(&self.project)?,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.remove_temporary()?;
        for dir in [&self.project, &self.temporary] {
            if let Some(parent) = dir.parent() {
                fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o755)
                    .create(parent)?;
            }
            match fs::create_dir(dir) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => {
                    made?;
                    std::os::unix::fs::chown(dir, self.owner, self.owner)?;
                }
            }
        }
        // A job may have locked its directory, which would lock out every job after it.
        fs::set_permissions(&self.project, fs::Permissions::from_mode(0o755))?;
        fs::set_permissions(&self.temporary, fs::Permissions::from_mode(0o700))?;
        let scratch = self.temporary.join(SCRATCH);
        fs::create_dir(&scratch)?;
        fs::set_permissions(&scratch, fs::Permissions::from_mode(0o1777))?;
        std::os::unix::fs::chown(&scratch, self.owner, self.owner)?;
        for (key, content) in variables.files() {
            let path = self.temporary.join(key);
            let mut file = fs::File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)?;
            io::Write::write_all(&mut file, content.as_bytes())?;
            std::os::unix::fs::chown(&path, self.owner, self.owner)?;
        }
        Ok(())
    }

    /// Removes the file variables and everything else beside the working copy.
    pub(crate) fn remove_temporary(&self) -> io::Result<()> {
        match remove_tree(&self.temporary) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Opens the working copy, for reading and writing what a job may have arranged.
    pub(crate) fn project_tree(&self) -> io::Result<Tree> {
        Tree::open(&self.project, self.owner)
    }

    /// Opens the directory beside the working copy.
    pub(crate) fn temporary_tree(&self) -> io::Result<Tree> {
        Tree::open(&self.temporary, self.owner)
    }

    /// Returns where a job's changes to its image are kept: in the slot, beside its projects.
    pub(crate) fn image_scratch(&self) -> PathBuf {
        self.base.with_file_name(IMAGE)
    }

    /// Returns where a job's virtual machine is kept: in the slot, beside its projects.
    pub(crate) fn machine_dir(&self, name: &str) -> PathBuf {
        self.base.with_file_name(name)
    }

    /// Lists the directories below which everything is that a job can write to the machine's disk.
    pub(crate) fn written(&self) -> Vec<PathBuf> {
        vec![
            self.project.clone(),
            self.temporary.clone(),
            self.image_scratch(),
            self.machine_dir(crate::exec::vm::DIRECTORY),
        ]
    }

    /// Makes the job's owner the owner of everything in its directories. An image has more users than one.
    pub(crate) fn take_back(&self) -> io::Result<()> {
        let Some(owner) = self.owner else {
            return Ok(());
        };
        for dir in [&self.project, &self.temporary] {
            take(dir, owner)?;
        }
        Ok(())
    }

    /// Lists what the sandbox lets a job write: outside and inside.
    pub(crate) fn writable(&self) -> Vec<(PathBuf, PathBuf)> {
        let mounts = self.mounts().into_iter();
        let mut writable: Vec<_> = mounts.map(|it| (it.0, PathBuf::from(it.1))).collect();
        writable.push((self.temporary.join(SCRATCH), PathBuf::from("/tmp")));
        writable
    }

    /// Lists the directories that a job has in common with the runner: outside and inside.
    pub(crate) fn mounts(&self) -> Vec<(PathBuf, String)> {
        vec![
            (self.project.clone(), self.job_project.clone()),
            (self.temporary.clone(), self.job_temporary.clone()),
        ]
    }

    /// Returns the user that the files belong to, when it is not the runner's own.
    pub(crate) const fn owner(&self) -> Option<u32> {
        self.owner
    }
}

/// Removes a directory and everything in it, also directories that a job made read-only. Links are not followed.
///
/// # Errors
/// When something in it cannot be removed.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.is_dir() {
        return fs::remove_file(path);
    }
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            make_removable(path)?;
            fs::remove_dir_all(path)
        }
        removed => removed,
    }
}

/// Changes the owner of everything below a path. Links are not followed, and nothing of the job runs any more.
fn take(path: &Path, owner: u32) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    if meta.uid() != owner || meta.gid() != owner {
        std::os::unix::fs::lchown(path, Some(owner), Some(owner))?;
    }
    if meta.is_dir() {
        // Read whole, so that a deep tree does not hold a descriptor for each of its levels.
        let entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
        for entry in entries {
            take(&entry.path(), owner)?;
        }
    }
    Ok(())
}

fn make_removable(dir: &Path) -> io::Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            make_removable(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(path: &str) -> Job {
        let text = format!(
            r#"{{"id":1,"token":"t","job_info":{{"project_id":7,"project_full_path":"{path}"}}}}"#
        );
        serde_json::from_str(&text).expect("a job")
    }

    fn layout(disposable: bool) -> Layout {
        Layout {
            disposable,
            owner: None,
            direct: disposable,
        }
    }

    #[test]
    fn a_sandbox_shows_the_same_place_in_every_slot() {
        let place = Place::new(Path::new("/var/b"), 3, &job("team/app"), layout(true));
        assert_eq!(place.project, Path::new("/var/b/3/7/team/app"));
        assert_eq!(place.temporary, Path::new("/var/b/3/7/team/app.tmp"));
        assert_eq!(
            (place.job_project.as_str(), place.job_temporary.as_str()),
            ("/builds/team/app", "/builds/team/app.tmp")
        );
        let place = Place::new(Path::new("/var/b"), 0, &job("team/app"), layout(false));
        assert_eq!(place.job_project, "/var/b/0/team/app");
    }

    #[test]
    fn a_path_that_leaves_is_replaced_by_the_projects_number() {
        for path in ["../../etc", "/etc", ""] {
            let place = Place::new(Path::new("/var/b"), 0, &job(path), layout(true));
            assert_eq!(place.project, Path::new("/var/b/0/7/project-7"), "{path:?}");
        }
    }

    #[test]
    fn protected_refs_and_chosen_paths_have_directories_of_their_own() {
        let mut job = job("team/app");
        job.git_info.protected = true;
        let place = Place::new(Path::new("/var/b"), 0, &job, layout(true));
        assert_eq!(place.project, Path::new("/var/b/0/7-protected/team/app"));
        let moved = place.moved("/builds/go/src").expect("inside");
        assert_eq!(moved.project, Path::new("/var/b/0/7-protected/go/src"));
        assert_eq!(moved.job_project, "/builds/go/src");
        for path in ["/builds", "/builds/../etc", "/etc", "go/src", ""] {
            assert!(place.moved(path).is_none(), "{path:?}");
        }
    }

    #[test]
    fn files_are_written_and_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = Place::new(dir.path(), 0, &job("a/b"), layout(false));
        let mut variables = Variables::default();
        let file = crate::wire::Variable {
            key: "KEY".into(),
            value: "v".into(),
            file: true,
            ..Default::default()
        };
        variables.extend_from_job(&[file], &place.job_temporary);
        place.prepare(false, &variables).expect("prepared");
        assert_eq!(
            fs::read_to_string(variables.get("KEY")).expect("readable"),
            "v"
        );
        fs::write(place.project.join("old"), "").expect("written");
        place.prepare(false, &variables).expect("prepared again");
        assert!(place.project.join("old").exists());
        place.prepare(true, &variables).expect("prepared anew");
        assert!(!place.project.join("old").exists());
        place.remove_temporary().expect("removed");
        assert!(!place.temporary.exists() && place.project.exists());
    }
}
