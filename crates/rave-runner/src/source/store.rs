//! Fetched objects, kept for all working copies of a repository on this machine.
//!
//! There is one bare repository per project, remote and kind of history. A fetch into it runs in an executor of its own that sees
//! nothing of any job, so that what is in it came from the server and from nowhere else. A working copy then gets its packs,
//! as copies that share their blocks where the file system can do that, and keeps those that no job has touched since. They
//! are no links, neither hard ones nor alternates: a job may change its files, and pack up its `.git` and carry it away.
//! Jobs of one pipeline find what the first of them fetched, and ask the server for nothing.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedMutexGuard;

use super::Remote;
use super::script::{BadCommit, store_commands};
use crate::job::place::{Place, remove_tree};
use crate::script::quote;
use crate::wire;

/// What of an earlier `.git` a working copy keeps: its list of files.
const KEPT_FILES: [&str; 1] = ["index"];
/// The repositories of submodules, and large files.
const KEPT_DIRECTORIES: [&str; 2] = ["modules", "lfs"];

/// The stores of all projects.
#[derive(Debug)]
pub(crate) struct Stores {
    dir: PathBuf,
    limit_bytes: u64,
    busy: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// One store, while a job has it for itself.
#[derive(Debug)]
pub(crate) struct Store {
    dir: PathBuf,
    owner: Option<u32>,
    fetched: Fetched,
    _alone: OwnedMutexGuard<()>,
}

/// What was fetched for a commit: where the refs of its working copies are written down.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    key: String,
}

impl Fetched {
    fn of(git: &wire::GitInfo) -> Self {
        let text = format!("{}\n{}\n{:?}", git.sha, git.depth, git.refspecs);
        Self { key: hash(&text) }
    }

    /// Returns where it is in the store.
    pub(super) fn directory(&self) -> String {
        format!("snapshots/{}", self.key)
    }

    /// Returns what to fetch into a store for a refspec of a working copy, and the command that lists what a working copy has
    /// of it. `None` for a refspec without a destination.
    ///
    /// A ref is stored by the hash of its name, so that a branch `a` of yesterday is not in the way of a branch `a/b`.
    pub(super) fn mapped(&self, refspec: &str) -> Option<(String, String)> {
        let (from, to) = refspec.trim_start_matches('+').split_once(':')?;
        let below = to.strip_prefix("refs/").filter(|it| !it.is_empty())?;
        if below.starts_with("tags/") {
            return Some((format!("+{from}:{to}"), ":".to_owned()));
        }
        let list = |format: &str, pattern: &str| {
            let (format, pattern) = (quote(format), quote(pattern));
            format!("rave_git for-each-ref --format={format} {pattern}")
        };
        if let Some(prefix) = below.strip_suffix('*') {
            let all = format!("refs/all/{prefix}");
            let listed = list("%(objectname) refs/%(refname:lstrip=2)", &all);
            return Some((format!("+{from}:{all}*"), listed));
        }
        let tip = format!("refs/tips/{}", hash(to));
        let format = format!("%(objectname) {}", to.replace('%', "%%"));
        Some((format!("+{from}:{tip}"), list(&format, &tip)))
    }
}

fn hash(text: &str) -> String {
    hex::encode(&Sha256::digest(text.as_bytes())[..20])
}

impl Stores {
    pub(crate) fn new(dir: PathBuf, limit_bytes: u64) -> Self {
        Self {
            dir,
            limit_bytes,
            busy: Mutex::default(),
        }
    }

    /// Says whether stores are wanted at all.
    pub(crate) const fn enabled(&self) -> bool {
        self.limit_bytes > 0
    }

    fn lock(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.entry(name.to_owned()).or_default().clone()
    }

    /// Opens the store of a project's remote once no other job has it. May be dropped while it waits.
    pub(crate) async fn open(
        &self,
        project_id: i64,
        git: &wire::GitInfo,
        remote: &Remote,
        owner: Option<u32>,
    ) -> Store {
        let history = if git.depth > 0 { "shallow" } else { "full" };
        let text = format!("{history}\n{}\n{}", git.repo_object_format, remote.url);
        let name = format!("{project_id}-{}", hash(&text));
        let alone = self.lock(&name).lock_owned().await;
        Store {
            dir: self.dir.join(&name),
            owner,
            fetched: Fetched::of(git),
            _alone: alone,
        }
    }

    /// Removes what a fetch left beside its store when its runner was killed.
    pub(crate) fn sweep(&self) {
        for store in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            if let Err(error) = Place::of_store(&store.path(), None).remove_temporary() {
                tracing::warn!(%error, "cannot clean up beside fetched objects");
            }
        }
    }

    /// Deletes the least recently used stores above the limit, except those in use.
    pub(crate) fn evict(&self) -> io::Result<()> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.dir)?.flatten() {
            let used = fs::metadata(entry.path().join(USED)).and_then(|it| it.modified());
            let used = used.unwrap_or(SystemTime::UNIX_EPOCH);
            all.push((used, size_bytes(&entry.path()), entry.file_name()));
        }
        all.sort();
        let mut total: u64 = all.iter().map(|it| it.1).sum();
        for (_, len, name) in all {
            if total <= self.limit_bytes {
                break;
            }
            let Ok(_alone) = self.lock(&name.to_string_lossy()).try_lock_owned() else {
                continue;
            };
            let path = self.dir.join(&name);
            remove_tree(&path)?;
            total -= len;
            tracing::info!(path = %path.display(), size_bytes = len, "deleted fetched objects to make room");
        }
        Ok(())
    }
}

/// Where the repository is in a store.
const REPOSITORY: &str = "fetch/repo";

/// The file whose time says when a store was last used.
const USED: &str = "used";

/// Returns what the packs of a store take; the rest is little.
fn size_bytes(store: &Path) -> u64 {
    let packs = fs::read_dir(store.join(REPOSITORY).join("objects/pack"));
    let sizes = packs.into_iter().flatten().flatten();
    sizes
        .filter_map(|it| it.metadata().ok())
        .map(|it| it.len())
        .sum()
}

impl Store {
    /// Returns the directories for the executor that fetches into the store.
    pub(crate) fn place(&self) -> Place {
        Place::of_store(&self.dir, self.owner)
    }

    /// Writes the commands that fetch.
    pub(crate) fn commands(
        &self,
        git: &wire::GitInfo,
        remote: &Remote,
        user_agent: &str,
    ) -> Result<String, BadCommit> {
        store_commands(git, remote, user_agent, &self.fetched)
    }

    fn repository(&self) -> PathBuf {
        self.dir.join(REPOSITORY)
    }

    fn snapshot(&self) -> PathBuf {
        self.repository().join(self.fetched.directory())
    }

    /// Says whether everything is there without asking the server.
    pub(crate) fn has_all(&self) -> bool {
        self.snapshot().join("packed-refs").exists()
    }

    /// Throws the store away: something in it is broken.
    pub(crate) fn discard(&self) -> io::Result<()> {
        remove_tree(&self.dir)
    }

    /// Gives objects and refs to the working copy in `work`, in which no process may be at work. Returns whether there was
    /// a working copy before. Nothing of an earlier one stays but what is [kept](KEPT_DIRECTORIES) and packs that are as they were given.
    pub(crate) fn give(&self, work: &Path, now: SystemTime) -> io::Result<bool> {
        fs::File::create(self.dir.join(USED))?.set_modified(now)?;
        let git = work.join(".git");
        let record = self.dir.join("given").join(hash(&work.to_string_lossy()));
        let given: Packs = fs::read(&record)
            .ok()
            .and_then(|it| serde_json::from_slice(&it).ok())
            .unwrap_or_default();
        let known = clear(&git, &given)?;
        for dir in ["", "objects", "objects/pack", "objects/info"] {
            let dir = git.join(dir);
            if !dir.exists() {
                fs::create_dir(&dir)?;
            }
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))?;
            chown(&dir, self.owner, self.owner)?;
        }
        let mut now_given = Packs::new();
        for (name, from) in packs(&self.repository())? {
            let to = git.join("objects/pack").join(&name);
            if !to.exists() {
                fs::copy(from, &to)?;
                fs::set_permissions(&to, fs::Permissions::from_mode(0o444))?;
                chown(&to, self.owner, self.owner)?;
            }
            now_given.insert(name, Mark::of(&to)?);
        }
        fs::create_dir_all(self.dir.join("given"))?;
        fs::write(record, serde_json::to_vec(&now_given)?)?;
        for name in ["packed-refs", "shallow"] {
            let from = self.snapshot().join(name);
            if from.exists() {
                let to = git.join(name);
                fs::copy(from, &to)?;
                chown(&to, self.owner, self.owner)?;
            }
        }
        Ok(known)
    }
}

/// The packs that a working copy was given, by name.
type Packs = BTreeMap<String, Mark>;

/// What changes when somebody changes a file. No ordinary user can set the time in it back.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    inode: u64,
    size_bytes: u64,
    changed_secs: i64,
    changed_nanos: i64,
}

impl Mark {
    fn of(path: &Path) -> io::Result<Self> {
        let meta = fs::symlink_metadata(path)?;
        Ok(Self {
            inode: meta.ino(),
            size_bytes: meta.len(),
            changed_secs: meta.ctime(),
            changed_nanos: meta.ctime_nsec(),
        })
    }
}

/// Lists the packs of a repository with the files that belong to them.
fn packs(repository: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let ends = [".pack", ".idx", ".rev"];
    let mut found = Vec::new();
    for entry in fs::read_dir(repository.join("objects/pack"))? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string()
            && name.starts_with("pack-")
            && ends.iter().any(|it| name.ends_with(it))
        {
            found.push((name, entry.path()));
        }
    }
    Ok(found)
}

/// Empties a `.git` but for [`KEPT_FILES`], [`KEPT_DIRECTORIES`] and packs that are as they were given, and returns whether it was a repository.
fn clear(git: &Path, given: &Packs) -> io::Result<bool> {
    match fs::symlink_metadata(git) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Ok(meta) if meta.is_dir() => {}
        _ => {
            remove_tree(git)?;
            return Ok(false);
        }
    }
    retain(git, |name, kind, _| match name {
        "objects" => kind.is_dir(),
        name if KEPT_FILES.contains(&name) => kind.is_file(),
        name => KEPT_DIRECTORIES.contains(&name) && kind.is_dir(),
    })?;
    let (objects, packs) = (git.join("objects"), git.join("objects/pack"));
    if objects.exists() {
        retain(&objects, |name, kind, _| name == "pack" && kind.is_dir())?;
    }
    if packs.exists() {
        retain(&packs, |name, kind, path| {
            kind.is_file() && Mark::of(path).ok().as_ref() == given.get(name)
        })?;
    }
    Ok(true)
}

/// Removes what is in a directory, except what is to be kept.
fn retain(dir: &Path, keep: impl Fn(&str, fs::FileType, &Path) -> bool) -> io::Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let (kind, path) = (entry.file_type()?, entry.path());
        let name = entry.file_name();
        if !name.to_str().is_some_and(|it| keep(it, kind, &path)) {
            remove_tree(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(refspec: &str, fetched: &str, listed: &str) {
        let git = wire::GitInfo::default();
        let mapped = Fetched::of(&git)
            .mapped(refspec)
            .expect("has a destination");
        let hashes = regex::Regex::new("[0-9a-f]{40}").expect("a pattern");
        let plain = |text: &str| hashes.replace_all(text, "#").into_owned();
        assert_eq!(
            (plain(&mapped.0), plain(&mapped.1)),
            (fetched.to_owned(), listed.to_owned())
        );
    }

    #[test]
    fn refspecs_are_mapped_into_the_store_and_back() {
        check(
            "+refs/heads/50%:refs/remotes/origin/50%",
            "+refs/heads/50%:refs/tips/#",
            "rave_git for-each-ref --format='%(objectname) refs/remotes/origin/50%%' 'refs/tips/#'",
        );
        check(
            "+refs/heads/*:refs/remotes/origin/*",
            "+refs/heads/*:refs/all/remotes/origin/*",
            "rave_git for-each-ref --format='%(objectname) refs/%(refname:lstrip=2)' 'refs/all/remotes/origin/'",
        );
        check(
            "refs/tags/v1:refs/tags/v1",
            "+refs/tags/v1:refs/tags/v1",
            ":",
        );
        assert!(
            Fetched::of(&wire::GitInfo::default())
                .mapped("refs/heads/x")
                .is_none()
        );
    }

    #[test]
    fn a_planted_repository_leaves_nothing_behind() {
        let dir = tempfile::tempdir().expect("a directory");
        let git = dir.path().join("work/.git");
        for path in [
            "hooks/post-checkout",
            "objects/info/alternates",
            "config",
            "modules/a/HEAD",
            "refs/replace/x",
            "objects/pack/pack-1.pack",
        ] {
            fs::create_dir_all(git.join(path).parent().expect("a parent")).expect("made");
            fs::write(git.join(path), "planted").expect("written");
        }
        std::os::unix::fs::symlink("/etc/passwd", git.join("index")).expect("linked");
        assert!(clear(&git, &Packs::new()).expect("cleared"));
        let names: Vec<_> = fs::read_dir(&git)
            .expect("listed")
            .flatten()
            .map(|it| it.file_name())
            .collect();
        assert_eq!(names.len(), 2, "modules and objects: {names:?}");
        assert_eq!(
            fs::read_dir(git.join("objects")).expect("listed").count(),
            1
        );
        assert_eq!(packs(&git).expect("listed"), []);
        let pack = git.join("objects/pack/pack-1.pack");
        let mut given = Packs::new();
        for kept in [true, false] {
            fs::write(&pack, "given").expect("written");
            given.insert("pack-1.pack".to_owned(), Mark::of(&pack).expect("there"));
            if !kept {
                fs::remove_file(&pack).expect("removed");
                fs::write(&pack, "other").expect("written");
            }
            clear(&git, &given).expect("cleared");
            assert_eq!(pack.exists(), kept);
        }
        fs::remove_dir_all(&git).expect("removed");
        std::os::unix::fs::symlink(dir.path(), &git).expect("linked");
        assert!(!clear(&git, &Packs::new()).expect("cleared") && !git.exists());
        assert!(dir.path().join("work").exists());
    }

    #[tokio::test]
    async fn the_store_used_longest_ago_goes_first_but_not_under_a_job() {
        let dir = tempfile::tempdir().expect("a directory");
        for (number, name) in ["old", "middle", "new"].into_iter().enumerate() {
            let packs = dir.path().join(name).join("fetch/repo/objects/pack");
            fs::create_dir_all(&packs).expect("made");
            fs::write(packs.join("pack-1.pack"), [0; 100]).expect("written");
            let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(number as u64);
            let used = fs::File::create(dir.path().join(name).join(USED)).expect("made");
            used.set_modified(at).expect("set");
        }
        let stores = Stores::new(dir.path().to_owned(), 150);
        let held = stores.lock("old").lock_owned().await;
        stores.evict().expect("evicted");
        let left = |name: &str| dir.path().join(name).exists();
        assert_eq!(
            (left("old"), left("middle"), left("new")),
            (true, false, false)
        );
        drop(held);
        Stores::new(dir.path().to_owned(), 50)
            .evict()
            .expect("evicted");
        assert!(!left("old"));
    }
}
