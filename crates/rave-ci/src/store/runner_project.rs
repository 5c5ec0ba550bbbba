//! Which projects a project's runner works for: the one that owns it, and those that use it too.

use rave_core::id::{ProjectId, RunnerId};
use rave_store::{Error, Tx, params};

use super::runner;
use crate::model::Runner;

/// Returns the projects of a runner, its owner first. A runner of a group or the instance has none of its own.
pub(crate) fn of_runner(tx: &mut Tx<'_>, runner: &Runner) -> Result<Vec<ProjectId>, Error> {
    let mut projects: Vec<ProjectId> = runner.project.into_iter().collect();
    let sql = "SELECT project_id FROM ci_runner_share WHERE runner_id = $1 ORDER BY project_id";
    for row in &tx.query(sql, params![runner.id.0])? {
        projects.push(ProjectId(row.int("project_id")?));
    }
    Ok(projects)
}

/// Lets a project use a runner. Returns whether it did not before.
pub(crate) fn insert(tx: &mut Tx<'_>, id: RunnerId, project: ProjectId) -> Result<bool, Error> {
    let sql = "INSERT INTO ci_runner_share (runner_id, project_id) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    Ok(tx.execute(sql, params![id.0, project.0])? == 1)
}

/// Takes a runner from a project that does not own it. Returns whether it used it.
pub(crate) fn delete(tx: &mut Tx<'_>, id: RunnerId, project: ProjectId) -> Result<bool, Error> {
    let sql = "DELETE FROM ci_runner_share WHERE runner_id = $1 AND project_id = $2";
    Ok(tx.execute(sql, params![id.0, project.0])? == 1)
}

/// Takes all runners from a project that is gone. One that it owned goes to another project that uses it, or goes too.
pub(crate) fn forget(tx: &mut Tx<'_>, project: ProjectId) -> Result<(), Error> {
    tx.execute(
        "DELETE FROM ci_runner_share WHERE project_id = $1",
        params![project.0],
    )?;
    let owned = "SELECT id FROM ci_runner WHERE project_id = $1";
    for row in &tx.query(owned, params![project.0])? {
        let id = RunnerId(row.int("id")?);
        let heir = "SELECT MIN(project_id) AS heir FROM ci_runner_share WHERE runner_id = $1";
        match tx.query_one(heir, params![id.0])?.opt_int("heir")? {
            Some(heir) => {
                delete(tx, id, ProjectId(heir))?;
                let sql = "UPDATE ci_runner SET project_id = $2 WHERE id = $1";
                tx.execute(sql, params![id.0, heir])?;
            }
            None => drop(runner::delete(tx, id)?),
        }
    }
    Ok(())
}
