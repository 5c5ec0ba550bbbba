//! Finds the files that artifacts and caches name.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use super::glob::{Glob, GlobError};
use super::tree::{Kind, Relative, Tree};

/// What to find.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) paths: Vec<String>,
    pub(crate) exclude: Vec<String>,
    /// Files that git does not know, when they are wanted too.
    pub(crate) untracked: Vec<String>,
}

/// What was found of one pattern, to be told in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    Found { pattern: String, count: usize },
    Nothing { pattern: String },
    Refused(GlobError),
}

/// Files and directories by path, sorted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Collected {
    pub(crate) paths: BTreeSet<Relative>,
    pub(crate) findings: Vec<Finding>,
}

/// Looks for everything wanted. Links are found but not followed.
pub(crate) fn collect(tree: &Tree, wanted: &Wanted, project_dir: &str) -> io::Result<Collected> {
    let mut collected = Collected::default();
    let mut exclude = Vec::new();
    for pattern in &wanted.exclude {
        match Glob::new(pattern, project_dir) {
            Ok(glob) => exclude.push(glob),
            Err(error) => collected.findings.push(Finding::Refused(error)),
        }
    }
    for pattern in &wanted.paths {
        let finding = match Glob::new(pattern, project_dir) {
            Err(error) => Finding::Refused(error),
            Ok(glob) => {
                let mut found = BTreeSet::new();
                search(tree, &glob, &mut found)?;
                found.retain(|it| !is_excluded(it, &exclude));
                let (pattern, count) = (pattern.clone(), found.len());
                collected.paths.append(&mut found);
                if count == 0 {
                    Finding::Nothing { pattern }
                } else {
                    Finding::Found { pattern, count }
                }
            }
        };
        collected.findings.push(finding);
    }
    let untracked = wanted
        .untracked
        .iter()
        .filter_map(|it| Relative::new(Path::new(it)));
    for path in untracked.filter(|it| !is_excluded(it, &exclude)) {
        if tree
            .entry(&path)?
            .is_some_and(|it| matches!(it.kind, Kind::File | Kind::Symlink))
        {
            collected.paths.insert(path);
        }
    }
    Ok(collected)
}

fn is_excluded(path: &Relative, exclude: &[Glob]) -> bool {
    let text = path.as_path().to_string_lossy();
    exclude.iter().any(|it| it.matches(&text))
}

fn search(tree: &Tree, glob: &Glob, found: &mut BTreeSet<Relative>) -> io::Result<()> {
    let base = Relative::new(Path::new(glob.base()));
    match base {
        None if glob.base().is_empty() && glob.is_plain() => add_all_below(tree, None, found),
        None => walk(tree, None, glob, found),
        Some(base) if glob.is_plain() => add(tree, &base, found),
        Some(base) => match tree.entry(&base)? {
            Some(entry) if entry.kind == Kind::Directory => {
                if glob.matches(&base.as_path().to_string_lossy()) {
                    return add(tree, &base, found);
                }
                walk(tree, Some(&base), glob, found)
            }
            _ => Ok(()),
        },
    }
}

/// Looks through a directory; a directory that matches is taken with everything in it.
fn walk(
    tree: &Tree,
    dir: Option<&Relative>,
    glob: &Glob,
    found: &mut BTreeSet<Relative>,
) -> io::Result<()> {
    for path in children(tree, dir)? {
        if glob.matches(&path.as_path().to_string_lossy()) {
            add(tree, &path, found)?;
        } else if tree
            .entry(&path)?
            .is_some_and(|it| it.kind == Kind::Directory)
        {
            walk(tree, Some(&path), glob, found)?;
        }
    }
    Ok(())
}

fn add(tree: &Tree, path: &Relative, found: &mut BTreeSet<Relative>) -> io::Result<()> {
    match tree.entry(path)?.map(|it| it.kind) {
        Some(Kind::Directory) => {
            found.insert(path.clone());
            add_all_below(tree, Some(path), found)
        }
        Some(Kind::File | Kind::Symlink) => {
            found.insert(path.clone());
            Ok(())
        }
        Some(Kind::Other) | None => Ok(()),
    }
}

fn add_all_below(
    tree: &Tree,
    dir: Option<&Relative>,
    found: &mut BTreeSet<Relative>,
) -> io::Result<()> {
    children(tree, dir)?
        .iter()
        .try_for_each(|it| add(tree, it, found))
}

fn children(tree: &Tree, dir: Option<&Relative>) -> io::Result<Vec<Relative>> {
    let at = dir.map_or(Path::new(""), Relative::as_path);
    Ok(tree
        .names(dir)?
        .iter()
        .filter_map(|it| Relative::new(&at.join(it)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn files_are_found_and_links_stay_links() {
        let (dir, secret) = (
            tempfile::tempdir().expect("a directory"),
            tempfile::tempdir().expect("a directory"),
        );
        for path in [
            "out/a.o",
            "out/sub/b.o",
            "out/sub/c.txt",
            "x.txt",
            "new.log",
        ] {
            fs::create_dir_all(dir.path().join(path).parent().expect("a parent")).expect("made");
            fs::write(dir.path().join(path), path).expect("written");
        }
        fs::write(secret.path().join("key"), "secret").expect("written");
        symlink(secret.path(), dir.path().join("out/link")).expect("linked");
        let tree = Tree::open(dir.path(), None).expect("opened");
        let texts = |it: &[&str]| it.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let wanted = Wanted {
            paths: texts(&["out", "*.txt", "absent", "/etc"]),
            exclude: texts(&["**/*.o"]),
            untracked: texts(&["new.log", "../up", "out/link/key"]),
        };
        let collected = collect(&tree, &wanted, "/p").expect("collected");
        let paths: Vec<String> = collected
            .paths
            .iter()
            .map(|it| it.as_path().display().to_string())
            .collect();
        assert_eq!(
            paths,
            [
                "new.log",
                "out",
                "out/link",
                "out/sub",
                "out/sub/c.txt",
                "x.txt"
            ]
        );
        assert_eq!(
            collected.findings,
            [
                Finding::Found {
                    pattern: "out".to_owned(),
                    count: 4
                },
                Finding::Found {
                    pattern: "*.txt".to_owned(),
                    count: 1
                },
                Finding::Nothing {
                    pattern: "absent".to_owned()
                },
                Finding::Refused(GlobError::Outside("/etc".to_owned())),
            ]
        );
    }
}
