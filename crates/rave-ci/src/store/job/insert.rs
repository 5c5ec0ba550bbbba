//! How jobs come to be: with their pipeline, and as a new try of an ended one.

use std::collections::BTreeMap;

use rave_ci_lang::JobPlan;
use rave_core::id::{JobId, PipelineId, ProjectId, UserId};
use rave_core::job::JobState;
use rave_core::pipeline::Node;
use rave_core::time::Timestamp;
use rave_store::{Error, Tx, params};

use super::change::{Stored, stored_of};
use super::when_label;
use crate::features;
use crate::store::{int, number, resource, state_label, to_json};

/// A job of a new pipeline.
pub(crate) struct NewJob {
    pub(crate) node: Node,
    pub(crate) plan: JobPlan,
    pub(crate) timeout_ms: i64,
    /// What its variables ask for of memory before it begins.
    pub(crate) memory_asked: Option<u64>,
}

/// Adds the jobs of a new pipeline in order, each in its node's state, which is [`JobState::Created`].
pub(crate) fn insert_all(
    tx: &mut Tx<'_>,
    pipeline: PipelineId,
    project: ProjectId,
    protected: bool,
    user: Option<UserId>,
    jobs: &[NewJob],
) -> Result<(), Error> {
    const AT_ONCE: usize = 100;
    let now = tx.now();
    let groups = resource_groups(tx, project, jobs)?;
    let mut position = 0;
    for jobs in jobs.chunks(AT_ONCE) {
        let (mut rows, mut values) = (Vec::new(), Vec::new());
        for job in jobs {
            let needs = job.node.needs.as_ref().map(to_json).transpose()?;
            let group = job.plan.resource_group.as_deref();
            let group = group.and_then(|it| groups.get(it)).copied();
            let row = params![
                pipeline.0,
                project.0,
                number(position),
                &job.plan.name,
                &job.plan.stage,
                number(job.node.stage),
                needs,
                when_label(job.node.when),
                job.node.start_in_millis,
                to_json(&job.plan)?,
                to_json(&job.plan.tags)?,
                protected,
                "created",
                job.node.allow_failure,
                job.node.allow_failure,
                user.map(|it| it.0),
                job.timeout_ms,
                now,
                job.node.road.bridge,
                job.node.interruptible,
                group,
                to_json(&features::needed(&job.plan))?,
                job.memory_asked.map(int),
            ];
            let first = values.len() + 1;
            let places = (first..first + row.len()).map(|it| format!("${it}"));
            rows.push(format!("({})", places.collect::<Vec<_>>().join(", ")));
            values.extend_from_slice(row);
            position += 1;
        }
        let sql = format!(
            "INSERT INTO ci_job (pipeline_id, project_id, position, name, stage, stage_index, needs, run_when, start_in_ms,
                 plan, tags, protected, status, may_fail, allow_failure, user_id, timeout_ms, created_at, bridge,
                 interruptible, resource_group_id, features, memory_asked) VALUES {}",
            rows.join(", ")
        );
        tx.execute(&sql, &values)?;
    }
    Ok(())
}

/// Returns the resource groups that jobs name.
fn resource_groups<'a>(
    tx: &mut Tx<'_>,
    project: ProjectId,
    jobs: &'a [NewJob],
) -> Result<BTreeMap<&'a str, i64>, Error> {
    let mut groups = BTreeMap::new();
    for name in jobs
        .iter()
        .filter_map(|it| it.plan.resource_group.as_deref())
    {
        if !groups.contains_key(name) {
            groups.insert(name, resource::ensure(tx, project, name)?);
        }
    }
    Ok(groups)
}

/// A new try of an ended job.
pub(crate) struct NewTry {
    /// Who tries it again; `None`: the rules do.
    pub(crate) user: Option<UserId>,
    /// The state in which it begins.
    pub(crate) state: JobState,
    pub(crate) due_at: Option<Timestamp>,
    /// The memory that it gets, where that is not what the old one had.
    pub(crate) memory_given: Option<u64>,
}

/// Puts a new try in the place of an ended job. Returns its id.
pub(crate) fn insert_retry(
    tx: &mut Tx<'_>,
    old: JobId,
    new: &NewTry,
) -> Result<(JobId, Stored), Error> {
    tx.execute(
        "UPDATE ci_job SET retried = 1, version = version + 1 WHERE id = $1",
        params![old.0],
    )?;
    let sql = "INSERT INTO ci_job (pipeline_id, project_id, position, name, stage, stage_index, needs, run_when, start_in_ms,
                   plan, tags, protected, status, may_fail, allow_failure, tries, user_id, variables, timeout_ms, created_at,
                   bridge, interruptible, resource_group_id, features, memory_asked, memory_given, queued_at, due_at)
               SELECT pipeline_id, project_id, position, name, stage, stage_index, needs, run_when, start_in_ms,
                   plan, tags, protected, CAST($5 AS TEXT), may_fail, may_fail,
                   tries + 1, COALESCE(CAST($2 AS BIGINT), user_id), variables, timeout_ms, CAST($3 AS BIGINT),
                   bridge, interruptible, resource_group_id, features, memory_asked,
                   COALESCE(CAST($7 AS BIGINT), memory_given), CAST($6 AS BIGINT), CAST($4 AS BIGINT)
               FROM ci_job WHERE id = $1 RETURNING id, name, stage, started_at, resource_group_id";
    let now = tx.now();
    let queued_at = (new.state == JobState::Pending).then_some(now);
    let params = params![
        old.0,
        new.user.map(|it| it.0),
        now,
        new.due_at,
        state_label(new.state),
        queued_at,
        new.memory_given.map(int),
    ];
    let row = tx.query_one(sql, params)?;
    Ok((JobId(row.int("id")?), stored_of(&row)?))
}
