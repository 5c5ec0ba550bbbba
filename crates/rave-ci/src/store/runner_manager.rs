//! Rows of the machines that use a runner's token.

use std::collections::BTreeMap;

use rave_core::id::{JobId, RunnerId};
use rave_store::{Error, Row, Tx, params};

use super::{Conditions, int, opt_count, opt_json, to_json};
use crate::model::{MachineInfo, Manager};

const COLUMNS: &str = "id, runner_id, system_id, name, version, revision, platform, architecture, executor, ip_address, features, memory_bytes,
    created_at, contacted_at";

fn of_row(row: &Row) -> Result<Manager, Error> {
    Ok(Manager {
        id: row.int("id")?,
        runner: RunnerId(row.int("runner_id")?),
        info: MachineInfo {
            system_id: row.text("system_id")?,
            name: row.text("name")?,
            version: row.text("version")?,
            revision: row.text("revision")?,
            platform: row.text("platform")?,
            architecture: row.text("architecture")?,
            executor: row.text("executor")?,
            ip_address: row.text("ip_address")?,
            features: opt_json(row, "features")?,
            memory_bytes: opt_count(row, "memory_bytes")?,
        },
        created_at: row.time("created_at")?,
        contacted_at: row.time("contacted_at")?,
    })
}

/// Notes that a machine spoke for a runner.
pub(crate) fn put(tx: &mut Tx<'_>, id: RunnerId, machine: &MachineInfo) -> Result<(), Error> {
    let now = tx.now();
    tx.execute(
        "UPDATE ci_runner SET contacted_at = $2 WHERE id = $1",
        params![id.0, now],
    )?;
    let sql = "INSERT INTO ci_runner_manager (runner_id, system_id, name, version, revision, platform, architecture, executor,
                   graceful, features, ip_address, created_at, contacted_at, memory_bytes)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12, $13)
               ON CONFLICT (runner_id, system_id) DO UPDATE SET name = excluded.name, version = excluded.version,
                   revision = excluded.revision, platform = excluded.platform, architecture = excluded.architecture,
                   executor = excluded.executor, graceful = excluded.graceful, features = excluded.features,
                   ip_address = excluded.ip_address, contacted_at = excluded.contacted_at,
                   memory_bytes = excluded.memory_bytes";
    let params = params![
        id.0,
        &machine.system_id,
        &machine.name,
        &machine.version,
        &machine.revision,
        &machine.platform,
        &machine.architecture,
        &machine.executor,
        machine.is_graceful(),
        machine.features.as_ref().map(to_json).transpose()?,
        &machine.ip_address,
        now,
        machine.memory_bytes.map(int),
    ];
    tx.execute(sql, params).map(drop)
}

/// Notes that whoever has a job is there.
pub(crate) fn touch(tx: &mut Tx<'_>, job: JobId) -> Result<(), Error> {
    let now = tx.now();
    let sql = "UPDATE ci_runner SET contacted_at = $2 WHERE id = (SELECT runner_id FROM ci_job WHERE id = $1)";
    tx.execute(sql, params![job.0, now])?;
    let sql = "UPDATE ci_runner_manager SET contacted_at = $2
               WHERE runner_id = (SELECT runner_id FROM ci_job WHERE id = $1)
               AND system_id = (SELECT system_id FROM ci_job WHERE id = $1)";
    tx.execute(sql, params![job.0, now]).map(drop)
}

/// Deletes one machine of a runner. Returns whether it was known.
pub(crate) fn delete(tx: &mut Tx<'_>, id: RunnerId, system_id: &str) -> Result<bool, Error> {
    let sql = "DELETE FROM ci_runner_manager WHERE runner_id = $1 AND system_id = $2";
    Ok(tx.execute(sql, params![id.0, system_id])? == 1)
}

/// Returns the machines of these runners, of each the last heard of first.
pub(crate) fn of_runners(
    tx: &mut Tx<'_>,
    runners: &[RunnerId],
) -> Result<BTreeMap<RunnerId, Vec<Manager>>, Error> {
    let mut found: BTreeMap<RunnerId, Vec<Manager>> = BTreeMap::new();
    if runners.is_empty() {
        return Ok(found);
    }
    let mut where_ = Conditions::default();
    where_.add_any("runner_id", runners.iter().map(|it| it.0));
    let sql = format!(
        "SELECT {COLUMNS} FROM ci_runner_manager WHERE {} ORDER BY contacted_at DESC, id",
        where_.sql()
    );
    for row in &tx.query(&sql, where_.params())? {
        let manager = of_row(row)?;
        found.entry(manager.runner).or_default().push(manager);
    }
    Ok(found)
}

/// Returns the machines that have or had these jobs.
pub(crate) fn of_jobs(tx: &mut Tx<'_>, jobs: &[JobId]) -> Result<BTreeMap<JobId, Manager>, Error> {
    if jobs.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut where_ = Conditions::default();
    where_.add_any("ci_job.id", jobs.iter().map(|it| it.0));
    let columns: Vec<String> = COLUMNS
        .split(',')
        .map(|it| format!("ci_runner_manager.{}", it.trim()))
        .collect();
    let sql = format!(
        "SELECT ci_job.id AS job_id, {} FROM ci_job JOIN ci_runner_manager
             ON ci_runner_manager.runner_id = ci_job.runner_id AND ci_runner_manager.system_id = ci_job.system_id
         WHERE {}",
        columns.join(", "),
        where_.sql()
    );
    tx.query(&sql, where_.params())?
        .iter()
        .map(|row| Ok((JobId(row.int("job_id")?), of_row(row)?)))
        .collect()
}
