//! What conditions ask of the event and the commit, each question put to the tree once.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use crate::expression::Patterns;
use crate::glob::Glob;
use crate::{EventContext, Foreign, Limits, Tree};

/// Bytes of patterns, with braces written out, that one compilation may compile; beyond, clauses hold.
const MAX_GLOB_BYTES: usize = 1024 * 1024;
/// So many clauses of full size are compared before the rest holds unseen.
const CLAUSES: usize = 200;

/// Where a file is, and with it the files beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The commit of the pipeline.
    Commit,
    /// A commit of another project.
    Foreign(Foreign),
    /// In no repository: on another server, or among the templates.
    Nowhere,
}

pub(crate) struct Facts<'a> {
    pub(crate) event: &'a EventContext,
    pub(crate) tree: &'a dyn Tree,
    pub(crate) limits: &'a Limits,
    pub(crate) patterns: Rc<Patterns>,
    files: OnceCell<Rc<[String]>>,
    foreign_files: RefCell<HashMap<Foreign, Rc<[String]>>>,
    changed: OnceCell<Option<Vec<String>>>,
    /// How much may still be spent on compiling globs.
    globs_left: Cell<usize>,
    /// How many more comparisons all clauses together may make.
    comparisons_left: Cell<usize>,
    /// The path that made the last clause hold, for `explain`.
    matched: RefCell<Option<String>>,
}

impl<'a> Facts<'a> {
    pub(crate) fn new(event: &'a EventContext, tree: &'a dyn Tree, limits: &'a Limits) -> Self {
        Self {
            event,
            tree,
            limits,
            patterns: Rc::default(),
            files: OnceCell::new(),
            foreign_files: RefCell::default(),
            changed: OnceCell::new(),
            globs_left: Cell::new(MAX_GLOB_BYTES),
            comparisons_left: Cell::new(limits.comparisons.saturating_mul(CLAUSES)),
            matched: RefCell::default(),
        }
    }

    /// Returns all files of a place, sorted.
    pub(crate) fn files(&self, place: &Place) -> Rc<[String]> {
        let sorted = |mut files: Vec<String>| {
            files.sort_unstable();
            Rc::from(files)
        };
        match place {
            Place::Commit => self.files.get_or_init(|| sorted(self.tree.files())).clone(),
            Place::Foreign(foreign) => self
                .foreign_files
                .borrow_mut()
                .entry(foreign.clone())
                .or_insert_with(|| sorted(self.tree.files_at(foreign)))
                .clone(),
            Place::Nowhere => Rc::default(),
        }
    }

    /// Keeps a path that matched. Returns whether there is one.
    fn note(&self, path: Option<&String>) -> bool {
        self.matched.replace(path.cloned());
        path.is_some()
    }

    /// Returns the path that made the last clause hold, and forgets it.
    pub(crate) fn take_matched(&self) -> Option<String> {
        self.matched.take()
    }

    /// Returns how many paths the event changed. `None`: it has no range.
    pub(crate) fn changed_count(&self) -> Option<usize> {
        let changed = self.changed.get_or_init(|| self.tree.changed());
        changed.as_ref().map(Vec::len)
    }

    /// Returns whether one of the changed paths matches one of the patterns. Without a range, everything changed.
    pub(crate) fn any_changed(&self, patterns: &[String]) -> bool {
        let Some(changed) = self.changed.get_or_init(|| self.tree.changed()) else {
            return true;
        };
        if !self.may_compare(changed.len(), patterns.len()) {
            return true;
        }
        let Some(globs) = self.globs(patterns.iter()) else {
            return true;
        };
        let mut changed = changed.iter();
        self.note(changed.find(|path| globs.iter().any(|it| it.matches(path))))
    }

    /// Returns whether a place has a file that matches one of the patterns.
    pub(crate) fn any_exists(&self, patterns: &[String], place: &Place) -> bool {
        let files = self.files(place);
        let (wild, exact): (Vec<&String>, Vec<&String>) = patterns
            .iter()
            .partition(|it| it.contains(['*', '?', '[', '{']));
        let found = |it: &String| {
            let at = files.partition_point(|file| file < it);
            let file = files
                .get(at)
                .filter(|file| *file == it || it.ends_with('/') && file.starts_with(it.as_str()));
            self.note(file)
        };
        if exact.into_iter().any(found) {
            return true;
        }
        if wild.is_empty() {
            return false;
        }
        let top_only = wild
            .iter()
            .all(|it| !it.contains('/') && !it.contains("**"));
        let candidates: Vec<&String> = files
            .iter()
            .filter(|it| !top_only || !it.contains('/'))
            .collect();
        if !self.may_compare(candidates.len(), wild.len()) {
            return true;
        }
        let Some(globs) = self.globs(wild.into_iter()) else {
            return true;
        };
        let mut candidates = candidates.into_iter();
        self.note(candidates.find(|path| globs.iter().any(|it| it.matches(path))))
    }

    /// Returns whether so many comparisons may still be made, by one clause and by all.
    fn may_compare(&self, paths: usize, patterns: usize) -> bool {
        let count = paths.saturating_mul(patterns);
        let left = self.comparisons_left.get().checked_sub(count);
        self.comparisons_left.set(left.unwrap_or(0));
        left.is_some() && count <= self.limits.comparisons
    }

    /// Compiles patterns. `None`: they are too many.
    fn globs<'p>(&self, patterns: impl Iterator<Item = &'p String>) -> Option<Vec<Glob>> {
        patterns
            .map(|pattern| {
                let (glob, cost) = Glob::new(pattern);
                self.globs_left
                    .set(self.globs_left.get().checked_sub(cost)?);
                Some(glob)
            })
            .collect()
    }

    /// Returns the files that a name with `*` stands for: `**` crosses directories, anything else is literal.
    pub(crate) fn matching_wildcard(&self, pattern: &str, place: &Place) -> Vec<String> {
        let glob = Glob::wildcard(pattern);
        self.files(place)
            .iter()
            .filter(|it| glob.matches(it))
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Files(&'static [&'static str], Option<&'static [&'static str]>);

    impl Tree for Files {
        fn read(&self, _: &str) -> Option<String> {
            None
        }
        fn files(&self) -> Vec<String> {
            self.0.iter().map(ToString::to_string).collect()
        }
        fn changed(&self) -> Option<Vec<String>> {
            self.1
                .map(|it| it.iter().map(ToString::to_string).collect())
        }
    }

    const FILES: &[&str] = &["src/lib.rs", "Cargo.toml", "docs/a/b.md", "docs.txt"];

    fn check(tree: &Files, comparisons: usize, test: impl Fn(&Facts<'_>) -> bool, expected: bool) {
        let limits = Limits {
            comparisons,
            ..Limits::default()
        };
        assert_eq!(
            test(&Facts::new(&EventContext::default(), tree, &limits)),
            expected
        );
    }

    #[test]
    fn files_exist() {
        let exists = |pattern: &str, expected| {
            let patterns = [pattern.to_owned()];
            check(
                &Files(FILES, None),
                100,
                |it| it.any_exists(&patterns, &Place::Commit),
                expected,
            );
        };
        exists("Cargo.toml", true);
        exists("cargo.toml", false);
        exists("docs/", true);
        exists("docs/a", false);
        exists("doc", false);
        exists("*.toml", true);
        exists("*.rs", false);
        exists("**/*.rs", true);
        exists("docs/*", false);
        exists("zzz", false);
    }

    #[test]
    fn paths_changed() {
        let patterns = ["src/**/*".to_owned(), "*.md".to_owned()];
        let changed = |paths, comparisons, expected| {
            check(
                &Files(FILES, paths),
                comparisons,
                |it| it.any_changed(&patterns),
                expected,
            );
        };
        changed(None, 100, true);
        changed(Some(&[]), 100, false);
        changed(Some(&["src/a/b.rs"]), 100, true);
        changed(Some(&["docs/x.md"]), 100, false);
        changed(Some(&["docs/x.md"]), 1, true);
    }

    #[test]
    fn wildcards_of_include() {
        let limits = Limits::default();
        let facts = |pattern: &str| {
            Facts::new(&EventContext::default(), &Files(FILES, None), &limits)
                .matching_wildcard(pattern, &Place::Commit)
        };
        assert_eq!(facts("docs/**/*.md"), ["docs/a/b.md"]);
        assert_eq!(facts("**.md"), ["docs/a/b.md"]);
        assert_eq!(facts("docs/*.md"), [""; 0]);
        assert_eq!(facts("[d]*"), [""; 0]);
    }
}
