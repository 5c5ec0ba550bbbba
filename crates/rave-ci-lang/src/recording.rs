//! A tree whose answers are kept, so that a plan can be made again when the tree is gone or has changed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde::{Deserialize, Serialize};

use crate::{Foreign, OpenError, RemoteError, RemoteFile, Requester, Tree};

/// What a file asked of a tree, and what the tree answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answers(Vec<(Question, Reply)>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Question {
    Read(String),
    Files,
    Changed,
    ChangedSince(String),
    Open(String, Option<String>, Requester),
    OpenComponent(String, String, Requester),
    ReadAt(Foreign, String),
    FilesAt(Foreign),
    Remote(RemoteFile),
    Template(String),
    Artifact(String, String),
    Oversize(Option<Foreign>, String),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    Text(Option<String>),
    Paths(Option<Vec<String>>),
    Opened(Result<Foreign, OpenError>),
    Remote(Result<String, RemoteError>),
    Artifact(Result<String, String>),
    Size(Option<u64>),
}

/// A short form of [`Answers`], for asking whether a tree still gives them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fingerprints(Vec<(Question, u64)>);

impl Answers {
    /// Leaves out lists of more paths than this: they are long, and the commit can be asked again.
    #[must_use]
    pub fn without_long_lists(self, paths: usize) -> Self {
        let short = |reply: &Reply| match reply {
            Reply::Paths(Some(list)) => list.len() <= paths,
            _ => true,
        };
        Self(self.0.into_iter().filter(|it| short(&it.1)).collect())
    }

    /// Returns whether a file among the answers contains a word.
    #[must_use]
    pub fn mention(&self, word: &str) -> bool {
        self.0.iter().any(|(_, reply)| match reply {
            Reply::Text(Some(text)) | Reply::Remote(Ok(text)) | Reply::Artifact(Ok(text)) => {
                text.contains(word)
            }
            _ => false,
        })
    }

    /// Returns the short form.
    #[must_use]
    pub fn fingerprints(&self) -> Fingerprints {
        let all = self.0.iter();
        Fingerprints(all.map(|it| (it.0.clone(), fingerprint(&it.1))).collect())
    }
}

impl Fingerprints {
    /// Asks a tree everything again. Returns whether it still gives the same answers.
    pub fn hold(&self, tree: &dyn Tree) -> bool {
        let mut all = self.0.iter();
        all.all(|(question, expected)| fingerprint(&question.put(tree)) == *expected)
    }
}

fn fingerprint(reply: &Reply) -> u64 {
    let mut hasher = DefaultHasher::new();
    reply.hash(&mut hasher);
    hasher.finish()
}

impl Question {
    fn put(&self, tree: &dyn Tree) -> Reply {
        match self {
            Self::Read(path) => Reply::Text(tree.read(path)),
            Self::Files => Reply::Paths(Some(tree.files())),
            Self::Changed => Reply::Paths(tree.changed()),
            Self::ChangedSince(reference) => Reply::Paths(tree.changed_since(reference)),
            Self::Open(project, reference, by) => {
                Reply::Opened(tree.open(project, reference.as_deref(), *by))
            }
            Self::OpenComponent(project, version, by) => {
                Reply::Opened(tree.open_component(project, version, *by))
            }
            Self::ReadAt(at, path) => Reply::Text(tree.read_at(at, path)),
            Self::FilesAt(at) => Reply::Paths(Some(tree.files_at(at))),
            Self::Remote(file) => Reply::Remote(tree.remote(file)),
            Self::Template(name) => Reply::Text(tree.template(name)),
            Self::Artifact(job, path) => Reply::Artifact(tree.artifact(job, path)),
            Self::Oversize(at, path) => Reply::Size(tree.oversize(at.as_ref(), path)),
        }
    }
}

/// Where answers come from, for the one way in which both trees below ask.
trait Oracle {
    fn ask(&self, question: Question) -> Reply;
}

/// Asks another tree and keeps its answers.
pub struct Recording<'t> {
    tree: &'t dyn Tree,
    answers: RefCell<Answers>,
}

impl<'t> Recording<'t> {
    pub fn new(tree: &'t dyn Tree) -> Self {
        Self {
            tree,
            answers: RefCell::default(),
        }
    }

    /// Returns the answers so far.
    pub fn into_answers(self) -> Answers {
        self.answers.into_inner()
    }
}

impl Oracle for Recording<'_> {
    fn ask(&self, question: Question) -> Reply {
        let reply = question.put(self.tree);
        let mut answers = self.answers.borrow_mut();
        answers.0.push((question, reply.clone()));
        reply
    }
}

/// Gives recorded answers, and asks another tree what was not asked then.
pub struct Replaying<'t> {
    answers: HashMap<Question, Reply>,
    tree: &'t dyn Tree,
}

impl<'t> Replaying<'t> {
    pub fn new(answers: Answers, tree: &'t dyn Tree) -> Self {
        Self {
            answers: answers.0.into_iter().collect(),
            tree,
        }
    }
}

impl Oracle for Replaying<'_> {
    fn ask(&self, question: Question) -> Reply {
        let known = self.answers.get(&question).cloned();
        known.unwrap_or_else(|| question.put(self.tree))
    }
}

macro_rules! tree_by_asking {
    ($name:ident) => {
        impl Tree for $name<'_> {
            fn read(&self, path: &str) -> Option<String> {
                text(self.ask(Question::Read(path.to_owned())))
            }

            fn files(&self) -> Vec<String> {
                paths(self.ask(Question::Files)).unwrap_or_default()
            }

            fn changed(&self) -> Option<Vec<String>> {
                paths(self.ask(Question::Changed))
            }

            fn changed_since(&self, reference: &str) -> Option<Vec<String>> {
                paths(self.ask(Question::ChangedSince(reference.to_owned())))
            }

            fn open(
                &self,
                project: &str,
                reference: Option<&str>,
                by: Requester,
            ) -> Result<Foreign, OpenError> {
                let reference = reference.map(str::to_owned);
                opened(self.ask(Question::Open(project.to_owned(), reference, by)))
            }

            fn read_at(&self, at: &Foreign, path: &str) -> Option<String> {
                text(self.ask(Question::ReadAt(at.clone(), path.to_owned())))
            }

            fn files_at(&self, at: &Foreign) -> Vec<String> {
                paths(self.ask(Question::FilesAt(at.clone()))).unwrap_or_default()
            }

            fn open_component(
                &self,
                project: &str,
                version: &str,
                by: Requester,
            ) -> Result<Foreign, OpenError> {
                let (project, version) = (project.to_owned(), version.to_owned());
                opened(self.ask(Question::OpenComponent(project, version, by)))
            }

            fn oversize(&self, at: Option<&Foreign>, path: &str) -> Option<u64> {
                match self.ask(Question::Oversize(at.cloned(), path.to_owned())) {
                    Reply::Size(size_bytes) => size_bytes,
                    _ => None,
                }
            }

            fn prefetch(&self, files: &[RemoteFile]) {
                self.tree.prefetch(files);
            }

            fn remote(&self, file: &RemoteFile) -> Result<String, RemoteError> {
                match self.ask(Question::Remote(file.clone())) {
                    Reply::Remote(answer) => answer,
                    _ => Err(RemoteError::TooLarge),
                }
            }

            fn template(&self, name: &str) -> Option<String> {
                text(self.ask(Question::Template(name.to_owned())))
            }

            fn artifact(&self, job: &str, path: &str) -> Result<String, String> {
                match self.ask(Question::Artifact(job.to_owned(), path.to_owned())) {
                    Reply::Artifact(answer) => answer,
                    _ => Err(String::new()),
                }
            }
        }
    };
}

tree_by_asking!(Recording);
tree_by_asking!(Replaying);

fn text(reply: Reply) -> Option<String> {
    match reply {
        Reply::Text(text) => text,
        _ => None,
    }
}

fn paths(reply: Reply) -> Option<Vec<String>> {
    match reply {
        Reply::Paths(paths) => paths,
        _ => None,
    }
}

fn opened(reply: Reply) -> Result<Foreign, OpenError> {
    match reply {
        Reply::Opened(found) => found,
        _ => Err(OpenError::NoProject),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree that is there as long as its text is.
    struct One(Option<&'static str>);

    impl Tree for One {
        fn read(&self, path: &str) -> Option<String> {
            self.0.filter(|_| path == "a.yml").map(str::to_owned)
        }
        fn files(&self) -> Vec<String> {
            self.0.iter().map(|_| "a.yml".to_owned()).collect()
        }
        fn changed(&self) -> Option<Vec<String>> {
            Some(self.files())
        }
        fn remote(&self, _: &RemoteFile) -> Result<String, RemoteError> {
            Err(RemoteError::Status {
                status: 404,
                attempts: 1,
            })
        }
    }

    #[test]
    fn answers_outlive_their_tree() {
        let (before, after) = (One(Some("x")), One(None));
        let file = RemoteFile {
            url: "https://example.org".to_owned(),
            cache_secs: 0,
        };
        let recording = Recording::new(&before);
        let first = (recording.read("a.yml"), recording.read("b.yml"));
        let refused = recording.remote(&file);
        assert_eq!(recording.files(), ["a.yml"]);
        let answers = recording.into_answers();
        let stored = serde_json::to_string(&answers).unwrap();
        let answers: Answers = serde_json::from_str(&stored).unwrap();
        assert!(answers.fingerprints().hold(&before));
        assert!(!answers.fingerprints().hold(&after));
        let replaying = Replaying::new(answers.clone(), &after);
        assert_eq!((replaying.read("a.yml"), replaying.read("b.yml")), first);
        assert_eq!(replaying.remote(&file), refused);
        assert_eq!(replaying.files(), ["a.yml"]);
        // What was not asked then is asked now.
        assert_eq!(replaying.changed(), Some(Vec::new()));
        let without = Replaying::new(answers.without_long_lists(0), &after);
        assert_eq!(
            (without.files().len(), without.read("a.yml").is_some()),
            (0, true)
        );
    }
}
