//! What jobs used, and what they are therefore expected to need.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use rave_core::id::{JobId, ProjectId};
use rave_core::memory::{History, Run, history_name};
use rave_store::{Error, Tx, params};

use super::{Conditions, json, opt_count, opt_json, to_json};
use crate::usage::Usage;

/// Notes what a job used, and remembers what it needed for its next runs.
pub(crate) fn note(tx: &mut Tx<'_>, job: JobId, usage: &Usage, success: bool) -> Result<(), Error> {
    let sql = "UPDATE ci_job SET resource_usage = $2 WHERE id = $1 AND resource_usage IS NULL
               RETURNING project_id, name";
    // A result that is said twice counts once.
    let Some(row) = tx.query_opt(sql, params![job.0, to_json(usage)?])? else {
        return Ok(());
    };
    if usage.peak_bytes == 0 {
        return Ok(());
    }
    let (project, name) = (ProjectId(row.int("project_id")?), row.text("name")?);
    let mut history = history(tx, project, &name)?;
    let run = Run {
        peak_bytes: usage.peak_bytes,
        outgrew: usage.outgrew,
    };
    history.note(run, success);
    let sql = "INSERT INTO ci_memory (project_id, name, runs) VALUES ($1, $2, $3)
               ON CONFLICT (project_id, name) DO UPDATE SET runs = excluded.runs";
    tx.execute(sql, params![project.0, key(&name), to_json(&history)?])
        .map(drop)
}

/// Returns the name under which a job's runs are remembered.
pub(crate) fn key(job: &str) -> String {
    history_name(job).to_owned()
}

fn history(tx: &mut Tx<'_>, project: ProjectId, job: &str) -> Result<History, Error> {
    let sql = "SELECT runs FROM ci_memory WHERE project_id = $1 AND name = $2";
    match tx.query_opt(sql, params![project.0, key(job)])? {
        Some(row) => json(&row, "runs"),
        None => Ok(History::default()),
    }
}

/// Returns what a job is expected to need of memory, if it ran before.
pub(crate) fn expected(
    tx: &mut Tx<'_>,
    project: ProjectId,
    job: &str,
) -> Result<Option<u64>, Error> {
    Ok(history(tx, project, job)?.estimate())
}

/// Adds what these jobs are expected to need, by project and [`key`], to what is `known`.
pub(crate) fn learn<'a>(
    tx: &mut Tx<'_>,
    jobs: impl Iterator<Item = (ProjectId, &'a str)>,
    known: &mut BTreeMap<(ProjectId, String), Option<u64>>,
) -> Result<(), Error> {
    let mut unknown: BTreeMap<ProjectId, Vec<String>> = BTreeMap::new();
    for (project, job) in jobs {
        if let Entry::Vacant(place) = known.entry((project, key(job))) {
            unknown.entry(project).or_default().push(key(job));
            place.insert(None);
        }
    }
    for (project, names) in unknown {
        let mut where_ = Conditions::default();
        where_.add("project_id = ?", project.0);
        where_.add_any("name", names);
        let sql = format!("SELECT name, runs FROM ci_memory WHERE {}", where_.sql());
        for row in &tx.query(&sql, where_.params())? {
            let history: History = json(row, "runs")?;
            known.insert((project, row.text("name")?), history.estimate());
        }
    }
    Ok(())
}

/// What a job ended with, as far as its memory is concerned.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) usage: Option<Usage>,
    /// What its variables asked for.
    pub(crate) asked_bytes: Option<u64>,
    /// What it was given because its last try had too little.
    pub(crate) given_bytes: Option<u64>,
}

/// Returns what a job that ended had of memory.
pub(crate) fn ended(tx: &mut Tx<'_>, job: JobId) -> Result<Ended, Error> {
    let sql = "SELECT resource_usage, memory_asked, memory_given FROM ci_job WHERE id = $1";
    let row = tx.query_one(sql, params![job.0])?;
    Ok(Ended {
        usage: opt_json(&row, "resource_usage")?,
        asked_bytes: opt_count(&row, "memory_asked")?,
        given_bytes: opt_count(&row, "memory_given")?,
    })
}
