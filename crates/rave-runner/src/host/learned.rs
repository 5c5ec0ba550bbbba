//! What jobs needed before, kept by the runner for servers that do not keep it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use rave_core::memory::{History, Run, history_name};
use serde::{Deserialize, Serialize};

/// How many jobs are remembered; beyond, those that ran the longest ago are forgotten.
const REMEMBERED: usize = 2000;

/// The memory of one runner, in a small file.
#[derive(Debug)]
pub(crate) struct Learned {
    path: PathBuf,
    book: Mutex<Book>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Book {
    /// How many runs were noted: the age of the others is told by it.
    #[serde(default)]
    notes: u64,
    #[serde(default)]
    jobs: BTreeMap<String, Entry>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Entry {
    at: u64,
    runs: History,
}

impl Learned {
    /// Opens the file. One that cannot be read counts as empty: it holds only what can be learned again.
    pub(crate) fn open(path: PathBuf) -> Self {
        let book = fs::read(&path).ok();
        let book = book.and_then(|it| serde_json::from_slice(&it).ok());
        Self {
            path,
            book: Mutex::new(book.unwrap_or_default()),
        }
    }

    fn key(server: &str, project: i64, job: &str) -> String {
        format!("{server} {project} {}", history_name(job))
    }

    /// Returns what a job is expected to need, if it ran before.
    pub(crate) fn expected(&self, server: &str, project: i64, job: &str) -> Option<u64> {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.jobs
            .get(&Self::key(server, project, job))?
            .runs
            .estimate()
    }

    /// Remembers a run and writes the file. Blocks for as long as that takes.
    pub(crate) fn note(
        &self,
        server: &str,
        project: i64,
        job: &str,
        run: Run,
        success: bool,
    ) -> io::Result<()> {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.notes += 1;
        let at = book.notes;
        let entry = book
            .jobs
            .entry(Self::key(server, project, job))
            .or_default();
        entry.at = at;
        entry.runs.note(run, success);
        if book.jobs.len() > REMEMBERED {
            let oldest = book.jobs.iter().min_by_key(|it| it.1.at);
            if let Some(oldest) = oldest.map(|it| it.0.clone()) {
                book.jobs.remove(&oldest);
            }
        }
        let dir = self.path.parent().ok_or(io::ErrorKind::NotFound)?;
        let file = tempfile::NamedTempFile::new_in(dir)?;
        serde_json::to_writer(&file, &*book)?;
        file.persist(&self.path).map(drop).map_err(|it| it.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(mib: u64) -> Run {
        Run {
            peak_bytes: mib << 20,
            outgrew: false,
        }
    }

    #[test]
    fn what_was_learned_outlives_the_runner() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("memory.json");
        let learned = Learned::open(path.clone());
        assert_eq!(learned.expected("https://a", 1, "build"), None);
        learned
            .note("https://a", 1, "build 1/2", run(100), true)
            .expect("written");
        let again = Learned::open(path.clone());
        assert_eq!(again.expected("https://a", 1, "build 2/2"), Some(120 << 20));
        assert_eq!(again.expected("https://b", 1, "build"), None);
        fs::write(&path, "{").expect("written");
        assert_eq!(Learned::open(path).expected("https://a", 1, "build"), None);
    }

    #[test]
    fn jobs_that_ran_long_ago_are_forgotten() {
        let dir = tempfile::tempdir().expect("a directory");
        let learned = Learned::open(dir.path().join("memory.json"));
        {
            let mut book = learned.book.lock().expect("not poisoned");
            book.notes = 9000;
            for number in 0..REMEMBERED {
                let entry = Entry {
                    at: 1 + number as u64,
                    runs: History::default(),
                };
                book.jobs
                    .insert(Learned::key("s", 1, &format!("job{number}")), entry);
            }
        }
        learned
            .note("s", 1, "new", run(100), true)
            .expect("written");
        let book = learned.book.lock().expect("not poisoned");
        assert_eq!(book.jobs.len(), REMEMBERED);
        assert!(!book.jobs.contains_key("s 1 job0") && book.jobs.contains_key("s 1 new"));
    }
}
