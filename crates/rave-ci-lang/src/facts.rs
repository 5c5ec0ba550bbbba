//! What conditions ask of the event and the commit, each question put to the tree once.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use crate::expression::Patterns;
use crate::glob::Glob;
use crate::scope::EventVariables;
use crate::{EventContext, Foreign, Limits, OpenError, Requester, Tree};

/// Bytes of patterns, with braces written out, that one compilation may compile; beyond, clauses hold.
const MAX_GLOB_BYTES: usize = 1024 * 1024;
/// So many clauses of full size are compared before the rest holds unseen.
const CLAUSES: usize = 200;

/// Where a file is, and with it the files beside it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// The commit of the pipeline.
    Commit,
    /// A commit of another project.
    Foreign(Foreign),
    /// In no repository: on another server, or among the templates.
    Nowhere,
}

/// What a condition asks whether some path in it matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Paths {
    /// Those that the event changed, or that changed since the merge base with a reference.
    Changed { since: Option<String> },
    /// The files of a place.
    At(Place),
}

/// A project and the reference at which it is asked for.
type Asked = (String, Option<String>);

/// How paths are matched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wanted {
    /// One of these globs.
    Globs(Vec<String>),
    /// This regular expression, anywhere in the path.
    Regexp(String),
}

/// A condition cannot be decided; the sentence says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Undecided(pub(crate) String);

/// Whether paths match, and the first that does.
#[derive(Clone, Debug)]
struct Answer {
    holds: bool,
    matched: Option<String>,
}

pub(crate) struct Facts<'a> {
    pub(crate) event: &'a EventContext,
    /// What the event brings along, found by name.
    pub(crate) variables: Rc<EventVariables<'a>>,
    pub(crate) tree: &'a dyn Tree,
    pub(crate) limits: &'a Limits,
    pub(crate) patterns: Rc<Patterns>,
    files: OnceCell<Rc<[String]>>,
    foreign_files: RefCell<HashMap<Foreign, Rc<[String]>>>,
    changed: OnceCell<Option<Rc<[String]>>>,
    changed_since: RefCell<HashMap<String, Option<Rc<[String]>>>>,
    opened: RefCell<HashMap<Asked, Result<Foreign, OpenError>>>,
    /// `extends` brings one condition into many jobs: it is decided once.
    answers: RefCell<HashMap<(Paths, Wanted), Answer>>,
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
            variables: Rc::new(EventVariables::new(event)),
            tree,
            limits,
            patterns: Rc::new(Patterns::new(limits)),
            files: OnceCell::new(),
            foreign_files: RefCell::default(),
            changed: OnceCell::new(),
            changed_since: RefCell::default(),
            opened: RefCell::default(),
            answers: RefCell::default(),
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

    /// Returns the path that made the last clause hold, and forgets it.
    pub(crate) fn take_matched(&self) -> Option<String> {
        self.matched.take()
    }

    /// Returns how many paths the event changed. `None`: it has no range.
    pub(crate) fn changed_count(&self) -> Option<usize> {
        self.changed().map(|it| it.len())
    }

    fn changed(&self) -> Option<Rc<[String]>> {
        self.changed
            .get_or_init(|| self.tree.changed().map(Rc::from))
            .clone()
    }

    /// Opens another project as the user who asks for the pipeline.
    pub(crate) fn open(
        &self,
        project: &str,
        reference: Option<&str>,
    ) -> Result<Foreign, OpenError> {
        let key = (project.to_owned(), reference.map(str::to_owned));
        self.opened
            .borrow_mut()
            .entry(key)
            .or_insert_with(|| self.tree.open(project, reference, Requester::User))
            .clone()
    }

    /// Returns whether some path matches.
    pub(crate) fn any(&self, paths: Paths, wanted: Wanted) -> Result<bool, Undecided> {
        let key = (paths, wanted);
        let known = self.answers.borrow().get(&key).cloned();
        let answer = match known {
            Some(answer) => answer,
            None => {
                let answer = self.answer(&key.0, &key.1)?;
                self.answers.borrow_mut().insert(key, answer.clone());
                answer
            }
        };
        self.matched.replace(answer.matched);
        Ok(answer.holds)
    }

    fn answer(&self, paths: &Paths, wanted: &Wanted) -> Result<Answer, Undecided> {
        let holds = |holds| Answer {
            holds,
            matched: None,
        };
        let found = |path: Option<&String>| Answer {
            holds: path.is_some(),
            matched: path.cloned(),
        };
        let list = match paths {
            Paths::Changed { since: None } => match self.changed() {
                Some(changed) => changed,
                // Without a range, everything changed.
                None => return Ok(holds(true)),
            },
            Paths::Changed {
                since: Some(reference),
            } => self.changed_since(reference)?,
            Paths::At(place) => self.files(place),
        };
        let patterns = match wanted {
            Wanted::Regexp(body) => {
                let Some(pattern) = self.patterns.find(&format!("/{body}/")) else {
                    return Ok(holds(false));
                };
                return Ok(match self.may_compare(list.len(), 1) {
                    true => found(list.iter().find(|it| pattern.is_match(it))),
                    false => holds(true),
                });
            }
            Wanted::Globs(patterns) => patterns,
        };
        let globs: Vec<&String> = match paths {
            Paths::Changed { .. } => patterns.iter().collect(),
            Paths::At(_) => {
                let is_glob = |it: &&String| it.contains(['*', '?', '[', '{']);
                let (globs, exact): (Vec<&String>, Vec<&String>) =
                    patterns.iter().partition(is_glob);
                if let Some(path) = exact.into_iter().find_map(|it| find_exact(&list, it)) {
                    return Ok(found(Some(path)));
                }
                globs
            }
        };
        if globs.is_empty() || list.is_empty() {
            return Ok(holds(false));
        }
        let deep = globs.iter().any(|it| it.contains('/') || it.contains("**"));
        let is_candidate =
            |it: &&String| deep || matches!(paths, Paths::Changed { .. }) || !it.contains('/');
        let candidates: Vec<&String> = list.iter().filter(is_candidate).collect();
        if !self.may_compare(candidates.len(), globs.len()) {
            return Ok(holds(true));
        }
        let Some(globs) = self.globs(globs.into_iter()) else {
            return Ok(holds(true));
        };
        let matches = |path: &&String| globs.iter().any(|it| it.matches(path));
        Ok(found(candidates.into_iter().find(matches)))
    }

    fn changed_since(&self, reference: &str) -> Result<Rc<[String]>, Undecided> {
        let mut known = self.changed_since.borrow_mut();
        let changed = known
            .entry(reference.to_owned())
            .or_insert_with(|| self.tree.changed_since(reference).map(Rc::from));
        changed
            .clone()
            .ok_or_else(|| Undecided("rules:changes:compare_to is not a valid ref".to_owned()))
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

/// Finds a file by name or, if the name ends in `/`, the first in that directory.
fn find_exact<'f>(files: &'f [String], name: &String) -> Option<&'f String> {
    let file = files.get(files.partition_point(|it| it < name))?;
    (file == name || name.ends_with('/') && file.starts_with(name.as_str())).then_some(file)
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
                |it| {
                    let wanted = Wanted::Globs(patterns.to_vec());
                    it.any(Paths::At(Place::Commit), wanted).unwrap()
                },
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
                |it| {
                    let wanted = Wanted::Globs(patterns.to_vec());
                    it.any(Paths::Changed { since: None }, wanted).unwrap()
                },
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
