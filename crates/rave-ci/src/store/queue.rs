//! The jobs that wait for a runner, in the order in which they get one.

use std::collections::{BTreeMap, BTreeSet};

use rave_core::id::{JobId, ProjectId};
use rave_store::{Error, Row, Tx, params};

use super::{Conditions, count, json, opt_count};

/// A job that waits for a runner.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) job: JobId,
    pub(crate) version: i64,
    pub(crate) project: ProjectId,
    pub(crate) name: String,
    /// The memory that it gets because its last try had too little.
    pub(crate) given_bytes: Option<u64>,
    pub(crate) wants: Wants,
}

const CANDIDATE: &str =
    "id, version, project_id, name, memory_given, tags, protected, features, memory_asked";

fn candidate_of(row: &Row) -> Result<Candidate, Error> {
    Ok(Candidate {
        job: JobId(row.int("id")?),
        version: row.int("version")?,
        project: ProjectId(row.int("project_id")?),
        name: row.text("name")?,
        given_bytes: opt_count(row, "memory_given")?,
        wants: wants_of(row)?,
    })
}

/// What a job wants of its runner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wants {
    pub(crate) tags: Vec<String>,
    /// Whether the job is of a protected branch or tag.
    pub(crate) protected: bool,
    pub(crate) features: Vec<String>,
    /// The memory that its variables ask for.
    pub(crate) memory_bytes: Option<u64>,
}

fn wants_of(row: &Row) -> Result<Wants, Error> {
    Ok(Wants {
        tags: json(row, "tags")?,
        protected: row.bool("protected")?,
        features: json(row, "features")?,
        memory_bytes: opt_count(row, "memory_asked")?,
    })
}

/// Returns the projects with waiting jobs: those first that have the fewest jobs with runners of the instance, and of these
/// the one whose job waits longest. So a project with a hundred jobs does not keep others from theirs.
pub(crate) fn projects(tx: &mut Tx<'_>) -> Result<Vec<ProjectId>, Error> {
    let sql = "SELECT w.project_id AS project_id, MIN(w.id) AS oldest, COALESCE(MAX(b.busy), 0) AS busy
               FROM ci_job AS w LEFT JOIN (
                   SELECT j.project_id AS project_id, COUNT(*) AS busy
                   FROM ci_job AS j JOIN ci_runner AS r ON r.id = j.runner_id
                   WHERE j.status IN ('assigned', 'running', 'canceling') AND r.runner_type = 'instance_type'
                   GROUP BY j.project_id) AS b ON b.project_id = w.project_id
               WHERE w.status = 'pending' GROUP BY w.project_id ORDER BY busy, oldest";
    tx.query(sql, &[])?
        .iter()
        .map(|row| Ok(ProjectId(row.int("project_id")?)))
        .collect()
}

/// Returns up to `limit` jobs of these projects that wait for a runner, after `after`, in the order in which they came.
pub(crate) fn of_projects(
    tx: &mut Tx<'_>,
    projects: &[ProjectId],
    after: JobId,
    limit: u32,
) -> Result<Vec<Candidate>, Error> {
    if projects.is_empty() {
        return Ok(Vec::new());
    }
    let mut where_ = Conditions::default();
    where_.add_plain("status = 'pending'");
    where_.add("id > ?", after.0);
    where_.add_any("project_id", projects.iter().map(|it| it.0));
    let conditions = where_.sql();
    let limit = where_.param(i64::from(limit));
    let sql =
        format!("SELECT {CANDIDATE} FROM ci_job WHERE {conditions} ORDER BY id LIMIT {limit}");
    tx.query(&sql, where_.params())?
        .iter()
        .map(candidate_of)
        .collect()
}

/// Returns those of these jobs that still wait for a runner.
pub(crate) fn by_id(tx: &mut Tx<'_>, jobs: &[JobId]) -> Result<BTreeMap<JobId, Candidate>, Error> {
    if jobs.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut where_ = Conditions::default();
    where_.add_plain("status = 'pending'");
    where_.add_any("id", jobs.iter().map(|it| it.0));
    let sql = format!("SELECT {CANDIDATE} FROM ci_job WHERE {}", where_.sql());
    tx.query(&sql, where_.params())?
        .iter()
        .map(|row| candidate_of(row).map(|it| (it.job, it)))
        .collect()
}

/// Returns those of these jobs that a runner has.
pub(crate) fn active(tx: &mut Tx<'_>, jobs: &[JobId]) -> Result<BTreeSet<JobId>, Error> {
    if jobs.is_empty() {
        return Ok(BTreeSet::new());
    }
    let mut where_ = Conditions::default();
    where_.add_plain("status IN ('assigned', 'running', 'canceling')");
    where_.add_any("id", jobs.iter().map(|it| it.0));
    let sql = format!("SELECT id FROM ci_job WHERE {}", where_.sql());
    tx.query(&sql, where_.params())?
        .iter()
        .map(|row| Ok(JobId(row.int("id")?)))
        .collect()
}

/// Waiting jobs that any runner treats alike.
#[derive(Clone, Debug)]
pub(crate) struct Class {
    pub(crate) project: ProjectId,
    pub(crate) wants: Wants,
    pub(crate) jobs: u64,
}

/// Returns how many jobs of each sort wait, of those that came before a job on demand, the sort of the oldest first.
pub(crate) fn classes(tx: &mut Tx<'_>, before: Option<JobId>) -> Result<Vec<Class>, Error> {
    let sql = "SELECT project_id, tags, protected, features, memory_asked, COUNT(*) AS jobs, MIN(id) AS oldest FROM ci_job
               WHERE status = 'pending' AND id < $1
               GROUP BY project_id, tags, protected, features, memory_asked ORDER BY oldest";
    let class = |row: &Row| {
        Ok(Class {
            project: ProjectId(row.int("project_id")?),
            wants: wants_of(row)?,
            jobs: count(row, "jobs")?,
        })
    };
    let before = before.map_or(i64::MAX, |it| it.0);
    tx.query(sql, params![before])?.iter().map(class).collect()
}

/// Returns what each of these jobs wants of its runner.
pub(crate) fn wants(tx: &mut Tx<'_>, jobs: &[JobId]) -> Result<BTreeMap<JobId, Wants>, Error> {
    if jobs.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut where_ = Conditions::default();
    where_.add_any("id", jobs.iter().map(|it| it.0));
    let sql = format!(
        "SELECT id, tags, protected, features, memory_asked FROM ci_job WHERE {}",
        where_.sql()
    );
    tx.query(&sql, where_.params())?
        .iter()
        .map(|row| Ok((JobId(row.int("id")?), wants_of(row)?)))
        .collect()
}

/// What the queue was like when a runner took a job from it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct QueueFacts {
    /// How many jobs waited, that one included.
    pub(crate) size: u64,
    /// How many other jobs of the project are with runners of the instance.
    pub(crate) running: u64,
}

/// Describes the queue from which a job of a project was just taken.
pub(crate) fn facts(tx: &mut Tx<'_>, project: ProjectId) -> Result<QueueFacts, Error> {
    let sql = "SELECT COUNT(*) AS jobs FROM ci_job WHERE status = 'pending'";
    let size = count(&tx.query_one(sql, &[])?, "jobs")? + 1;
    let sql = "SELECT COUNT(*) AS jobs FROM ci_job AS j JOIN ci_runner AS r ON r.id = j.runner_id
               WHERE j.status IN ('assigned', 'running', 'canceling') AND j.project_id = $1
               AND r.runner_type = 'instance_type'";
    let running = count(&tx.query_one(sql, params![project.0])?, "jobs")?;
    Ok(QueueFacts {
        size,
        running: running.saturating_sub(1),
    })
}
