//! What the system's git says of a working tree. Every answer is optional: a directory without a repository has a
//! pipeline, too.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use rave_core::name::ObjectId;
use rave_core::port::Commit;

/// A directory in which git may be asked.
#[derive(Clone, Debug)]
pub(crate) struct Git {
    directory: PathBuf,
}

/// What is checked out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub(crate) commit: Option<Commit>,
    /// `None`: no branch, but a commit.
    pub(crate) branch: Option<String>,
    /// Tags of the commit.
    pub(crate) tags: Vec<String>,
    /// What the remote, or else this repository, calls its default branch.
    pub(crate) default_branch: Option<String>,
}

/// What the configuration says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// URL of `origin`, or else of the first remote.
    pub(crate) remote_url: Option<String>,
    pub(crate) user_name: Option<String>,
    pub(crate) user_email: Option<String>,
}

impl Git {
    pub(crate) fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command
            .arg("-C")
            .arg(&self.directory)
            // A hook or an alias of the user's must not run, and no file may be written meanwhile.
            .args([
                "--no-optional-locks",
                "-c",
                "core.fsmonitor=false",
                "-c",
                "core.quotePath=false",
            ])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        command
    }

    /// Returns what a command prints. `None`: it failed.
    pub(crate) fn output(&self, arguments: &[&str]) -> Option<Vec<u8>> {
        let output = self.command(arguments).output().ok()?;
        output.status.success().then_some(output.stdout)
    }

    fn text(&self, arguments: &[&str]) -> Option<String> {
        let output = self.output(arguments)?;
        Some(String::from_utf8_lossy(&output).trim_end().to_owned())
    }

    /// Returns paths that a command ends with NUL.
    fn paths(&self, arguments: &[&str]) -> Option<Vec<String>> {
        Some(nul_terminated(&self.output(arguments)?))
    }

    /// Returns what is checked out and what is configured, from three processes that run side by side.
    pub(crate) fn facts(&self) -> (Head, Settings) {
        let pattern = r"^(remote\..*\.url|user\.(name|email))$";
        let settings = self
            .command(&["config", "-z", "--get-regexp", pattern])
            .spawn();
        let references = self
            .command(&[
                "for-each-ref",
                "--format=%(refname) %(symref)",
                "refs/remotes/origin/HEAD",
                "refs/heads/main",
                "refs/heads/master",
            ])
            .spawn();
        let mut head = self.head();
        head.default_branch = references
            .and_then(std::process::Child::wait_with_output)
            .ok()
            .and_then(|it| Self::default_branch_of(&String::from_utf8_lossy(&it.stdout)));
        let settings = settings
            .and_then(std::process::Child::wait_with_output)
            .map(|it| Settings::parse(&it.stdout))
            .unwrap_or_default();
        (head, settings)
    }

    fn head(&self) -> Head {
        let format = "--format=%H%x00%P%x00%an%x00%ae%x00%aI%x00%cn%x00%ce%x00%cI%x00%D%x00%B";
        let shown = self.text(&[
            "log",
            "-1",
            "--decorate=full",
            "--no-show-signature",
            format,
        ]);
        match shown {
            Some(shown) => Head::parse(&shown),
            None => Head {
                branch: self.text(&["symbolic-ref", "--short", "HEAD"]),
                ..Head::default()
            },
        }
    }

    /// Returns the branch that the remote, or else this repository, calls its default one.
    fn default_branch_of(references: &str) -> Option<String> {
        let lines = references.lines();
        let mut remote = lines
            .clone()
            .filter_map(|it| it.split_once(' ')?.1.strip_prefix("refs/remotes/origin/"));
        let own = || {
            ["main", "master"].into_iter().find(|name| {
                let mut names = references.lines().map(|it| it.split(' ').next());
                names.any(|it| it == Some(&format!("refs/heads/{name}")))
            })
        };
        remote.next().or_else(own).map(str::to_owned)
    }

    /// Returns the commit that a name stands for: a branch, a tag, a remote's branch, a commit.
    pub(crate) fn commit_of(&self, name: &str) -> Option<String> {
        if name.starts_with('-') {
            return None;
        }
        let candidates = [name.to_owned(), format!("refs/remotes/origin/{name}")];
        candidates.iter().find_map(|it| {
            let wanted = format!("{it}^{{commit}}");
            self.text(&[
                "rev-parse",
                "--verify",
                "--quiet",
                "--end-of-options",
                &wanted,
            ])
        })
    }

    /// Returns a file of a commit.
    pub(crate) fn file_at(&self, commit: &str, path: &str) -> Option<Vec<u8>> {
        self.output(&["cat-file", "blob", &format!("{commit}:./{path}")])
    }

    /// Returns the files of a commit.
    pub(crate) fn files_at(&self, commit: &str) -> Option<Vec<String>> {
        self.paths(&["ls-tree", "-r", "-z", "--name-only", commit])
    }

    /// Whether the repository ignores this directory of it, and has no file of it nevertheless.
    pub(crate) fn ignores_directory(&self) -> bool {
        let ignored = self.output(&["check-ignore", "--quiet", "--", "."]);
        ignored.is_some()
            && self
                .paths(&["ls-files", "-z"])
                .is_none_or(|it| it.is_empty())
    }

    /// Returns the tags of the repository.
    pub(crate) fn tags(&self) -> Vec<String> {
        let tags = self.text(&["tag", "--list"]).unwrap_or_default();
        tags.lines().map(str::to_owned).collect()
    }

    /// Returns the files of the working tree: tracked ones that exist, and those that are neither tracked nor ignored.
    pub(crate) fn files(&self) -> Option<Vec<String>> {
        let entries = self.paths(&[
            "ls-files",
            "-z",
            "-t",
            "--cached",
            "--others",
            "--deleted",
            "--exclude-standard",
        ])?;
        let deleted: std::collections::HashSet<&str> = entries
            .iter()
            .filter_map(|it| it.strip_prefix("R "))
            .collect();
        let mut files: Vec<String> = entries
            .iter()
            .filter_map(|it| it.get(2..))
            .filter(|it| !deleted.contains(it))
            .map(str::to_owned)
            .collect();
        files.dedup();
        Some(files)
    }

    /// Returns the paths that differ between the working tree and the merge base with a commit. `None`: nothing in common.
    pub(crate) fn changed_since(&self, commit: &str) -> Option<Vec<String>> {
        let base = self.text(&["merge-base", "HEAD", commit])?;
        let mut paths = self.paths(&[
            "diff",
            "--name-only",
            "-z",
            "--no-renames",
            "--no-ext-diff",
            "--relative",
            &base,
            "--",
        ])?;
        paths.extend(self.paths(&["ls-files", "-z", "--others", "--exclude-standard"])?);
        Some(paths)
    }
}

fn nul_terminated(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let entries = text.split('\0').filter(|it| !it.is_empty());
    entries.map(str::to_owned).collect()
}

impl Head {
    fn parse(shown: &str) -> Self {
        let mut fields = shown.splitn(10, '\0');
        let mut field = || fields.next().unwrap_or_default().to_owned();
        let (id, parents) = (field(), field());
        let parse = |it: &str| ObjectId::parse(it).ok();
        let commit = parse(&id).map(|id| Commit {
            id,
            parents: parents.split(' ').filter_map(parse).collect(),
            author_name: field(),
            author_email: field(),
            authored_at: field(),
            committer_name: field(),
            committer_email: field(),
            committed_at: field(),
            message: String::new(),
        });
        let decoration = field();
        let names = decoration.split(", ");
        let message = field();
        Self {
            commit: commit.map(|it| Commit { message, ..it }),
            branch: names
                .clone()
                .find_map(|it| it.strip_prefix("HEAD -> refs/heads/"))
                .map(str::to_owned),
            tags: names
                .filter_map(|it| it.strip_prefix("tag: refs/tags/"))
                .map(str::to_owned)
                .collect(),
            default_branch: None,
        }
    }
}

impl Settings {
    fn parse(output: &[u8]) -> Self {
        let mut settings = Self::default();
        for entry in nul_terminated(output) {
            let (key, value) = entry.split_once('\n').unwrap_or((&entry, ""));
            match key {
                "remote.origin.url" => settings.remote_url = Some(value.to_owned()),
                "user.name" => settings.user_name = Some(value.to_owned()),
                "user.email" => settings.user_email = Some(value.to_owned()),
                _ if key.ends_with(".url") => {
                    settings.remote_url.get_or_insert(value.to_owned());
                }
                _ => {}
            }
        }
        settings
    }
}

/// Where a project lives, as the URL of a remote tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RemoteProject {
    /// Such as `https://gitlab.com`.
    pub(crate) server: String,
    /// Such as `group/project`.
    pub(crate) path: String,
}

/// Reads the URL of a remote: `https://host/group/project.git`, `ssh://git@host:22/…`, `git@host:group/project.git`.
pub(crate) fn remote_project(url: &str) -> Option<RemoteProject> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("scp", url));
    let (authority, path) = match scheme {
        "http" | "https" | "ssh" | "git" => rest.split_once('/')?,
        "scp" => rest.split_once(':')?,
        _ => return None,
    };
    let host = authority.rsplit_once('@').map_or(authority, |it| it.1);
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    // One letter before the colon is a drive, and a path has no host.
    if host.len() < 2 || host.contains('/') || !path.contains('/') {
        return None;
    }
    let server = match scheme {
        "http" | "https" => format!("{scheme}://{host}"),
        // The port of ssh says nothing of the web.
        _ => format!("https://{}", host.split(':').next().unwrap_or(host)),
    };
    Some(RemoteProject {
        server,
        path: path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_names_server_and_project() {
        let check = |url: &str, expected: Option<(&str, &str)>| {
            let found = remote_project(url);
            let found = found
                .as_ref()
                .map(|it| (it.server.as_str(), it.path.as_str()));
            assert_eq!(found, expected, "{url}");
        };
        check(
            "https://gitlab.com/a/b.git",
            Some(("https://gitlab.com", "a/b")),
        );
        check(
            "http://user:word@localhost:8080/a/b/c",
            Some(("http://localhost:8080", "a/b/c")),
        );
        check(
            "git@gitlab.com:a/b.git",
            Some(("https://gitlab.com", "a/b")),
        );
        check(
            "ssh://git@x.org:2222/a/b.git/",
            Some(("https://x.org", "a/b")),
        );
        check("/srv/git/b.git", None);
        check("../b", None);
        check("C:/src/a/b", None);
        check("file:///srv/a/b", None);
        check("https://x.org/b", None);
    }

    #[test]
    fn the_remote_names_the_default_branch() {
        let check = |references: &str, expected: Option<&str>| {
            assert_eq!(
                Git::default_branch_of(references).as_deref(),
                expected,
                "{references}"
            );
        };
        let both = "refs/heads/main \nrefs/heads/master \n";
        check(both, Some("main"));
        check("refs/heads/master \n", Some("master"));
        check(
            &format!("{both}refs/remotes/origin/HEAD refs/remotes/origin/trunk/x\n"),
            Some("trunk/x"),
        );
        check("", None);
    }

    #[test]
    fn a_head_is_read() {
        let sha = "1".repeat(40);
        let shown = format!(
            "{sha}\0{sha} {sha}\0A\0a@x\0T1\0C\0c@x\0T2\0HEAD -> refs/heads/f/x, tag: refs/tags/v1, refs/remotes/origin/f/x\0Title\n\nBody"
        );
        let head = Head::parse(&shown);
        let commit = head.commit.expect("a commit");
        assert_eq!(commit.id.as_str(), sha);
        assert_eq!(commit.parents.len(), 2);
        assert_eq!(
            (commit.author_email.as_str(), commit.committed_at.as_str()),
            ("a@x", "T2")
        );
        assert_eq!(commit.message, "Title\n\nBody");
        assert_eq!(
            (head.branch.as_deref(), head.tags),
            (Some("f/x"), vec!["v1".to_owned()])
        );
        assert!(Head::parse("").commit.is_none());
    }

    #[test]
    fn settings_prefer_origin() {
        let settings =
            Settings::parse(b"remote.fork.url\nF\0remote.origin.url\nO\0user.name\nAda\0");
        assert_eq!(settings.remote_url.as_deref(), Some("O"));
        assert_eq!(settings.user_name.as_deref(), Some("Ada"));
        assert_eq!(
            Settings::parse(b"remote.fork.url\nF\0")
                .remote_url
                .as_deref(),
            Some("F")
        );
    }
}
